//! The tracker on sockets: HTTP/1 (BEP 3, 48) and UDP (BEP 15), over the same swarms.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use samara_tracker::serve::{ServeConfig, Server};
//!
//! let server = Server::bind(ServeConfig::default())?;
//! let handle = server.handle();
//! let path = handle.add_file("/big.iso.torrent", vec![], "application/x-bittorrent")?;
//! println!("samara get http://{}{path}", server.local_addr());
//! server.run(std::future::pending::<()>()).await;
//! # Ok(()) }
//! ```
//!
//! `/announce` and `/scrape` are the tracker; `/`, `/stats.json` and `/metrics` say how it is,
//! `/health` that it is, and `/ready` that it does not end; the owner may add files. Policy lives in [`crate::swarm`]; here are sockets and limits.

mod access;
mod config;
mod ear;
mod families;
mod handle;
mod http;
mod keys;
mod live;
mod load;
mod pages;
mod shards;
mod shared;
mod snapshot;
mod traffic;
pub(crate) mod udp;

#[cfg(test)]
mod tests;

pub use access::{Access, AccessError, MAX_LISTED};
pub use config::{FileError, ServeConfig, ServeError, TrustIp};
pub use handle::{Handle, MAX_FILES};
pub use http::{ProxyHeader, TlsError, TlsFiles};
pub use keys::{KeysError, MAX_COUNTED, MAX_KEY, MAX_KEYS, MIN_KEY};
pub use shared::{AddressError, SharedAddress, SharedStats};
pub use snapshot::{Restored, SnapshotError};
pub use udp::UdpStats;

use ear::{Ear, Front};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval, interval_at};

/// How often the store forgets who is overdue.
const EXPIRE_EVERY: Duration = Duration::from_secs(1);

/// A tracker that listens.
#[derive(Debug)]
pub struct Server {
    ears: Vec<Ear>,
    local_addr: SocketAddr,
    https_addr: Option<SocketAddr>,
    config: ServeConfig,
    handle: Handle,
    udp: udp::Bound,
}

impl Server {
    /// Takes the port. Nobody is answered before [`Server::run`], but connections queue up.
    pub fn bind(config: ServeConfig) -> Result<Self, ServeError> {
        let (ear, local_addr) = Ear::open(config.listen, false)?;
        let mut ears = vec![ear];
        let mut https_addr = None;
        if let Some((listen, _)) = &config.https {
            let (ear, addr) = Ear::open(*listen, true)?;
            ears.push(ear);
            https_addr = Some(addr);
        }
        let handle = Handle::new(&config)?;
        let udp = udp::Bound::new(&config, &handle)?;
        Ok(Self {
            udp,
            ears,
            local_addr,
            https_addr,
            config,
            handle,
        })
    }

    /// Where it listens, with the port that it was given if 0 was asked for.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Where it listens for HTTPS, likewise.
    #[must_use]
    pub fn https_addr(&self) -> Option<SocketAddr> {
        self.https_addr
    }

    /// Where it listens for UDP, likewise.
    #[must_use]
    pub fn udp_addrs(&self) -> &[SocketAddr] {
        &self.udp.local_addrs
    }

    /// Figures, files and names.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Puts back the swarms of [`ServeConfig::state`], if there is such a file. One that is damaged is
    /// put aside with a line in the log; an error is a file that cannot be opened.
    pub fn restore(&self) -> Result<Option<Restored>, SnapshotError> {
        match &self.config.state {
            Some(path) => snapshot::restore(&self.handle, path),
            None => Ok(None),
        }
    }

    /// Answers until `shutdown` is ready; then answers what was asked already, and ends.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self {
            ears,
            local_addr,
            https_addr,
            config,
            handle,
            udp,
        } = self;
        let udp_addrs = udp.local_addrs.clone();
        let udp = match udp.start(&handle) {
            Ok(running) => running,
            Err(error) => {
                tracing::error!(%error, "the tracker cannot start its threads");
                return;
            }
        };
        let sharing = match handle.share(&config) {
            Ok(running) => running,
            Err(error) => {
                tracing::error!(%error, "the tracker cannot start its threads");
                return;
            }
        };
        tracing::info!(%local_addr, ?https_addr, ?udp_addrs, "tracker listens");
        let (stop, stopping) = watch::channel(());
        let front = Front::new(&config, handle.clone(), stopping);
        let mut saver = Saver::new(&config, &handle);
        let mut listening = JoinSet::new();
        for ear in ears {
            if let Err(error) = ear.listen(&front, config.workers, &mut listening) {
                tracing::error!(%error, "the tracker cannot listen");
                return;
            }
        }
        let mut shutdown = pin!(shutdown);
        let mut load = load::Load::default();
        let mut expire = interval(EXPIRE_EVERY);
        expire.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                _ = expire.tick() => {
                    handle.store().expire(handle.now());
                    handle.weigh(&mut load);
                    if udp.has_failed() {
                        tracing::error!("a thread of the UDP tracker failed: ending");
                        break;
                    }
                }
                () = saver.next() => {}
                Some(ended) = listening.join_next() => {
                    tracing::error!(?ended, "the tracker cannot listen any more: ending");
                    break;
                }
            }
        }
        handle.set_ending();
        let _ = stop.send(());
        while listening.join_next().await.is_some() {}
        // Threads look every 200 ms whether they should end.
        drop(udp);
        // What was announced until now is told.
        let _ = tokio::task::spawn_blocking(move || drop(sharing)).await;
        saver.last().await;
        tracing::info!(%local_addr, "tracker ends");
    }
}

/// Writes the state from time to time, beside everything else.
struct Saver {
    state: Option<PathBuf>,
    handle: Handle,
    every: Interval,
}

impl Saver {
    fn new(config: &ServeConfig, handle: &Handle) -> Self {
        // The first is due after the first interval, not at once.
        let period = config.save_every.max(Duration::from_millis(10));
        let mut every = interval_at(tokio::time::Instant::now() + period, period);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            state: config.state.clone(),
            handle: handle.clone(),
            every,
        }
    }

    /// Waits until it is time, and begins. Never ready where there is no file to write. One at a time:
    /// whoever comes while another writes waits for it.
    async fn next(&mut self) {
        let Some(path) = self.state.clone() else {
            return std::future::pending().await;
        };
        self.every.tick().await;
        let handle = self.handle.clone();
        tokio::task::spawn_blocking(move || save(&handle, &path));
    }

    /// Once more, and to the end.
    async fn last(self) {
        if let Some(path) = self.state {
            let written = tokio::task::spawn_blocking(move || save(&self.handle, &path));
            let _ = written.await;
        }
    }
}

/// Writes the state. What goes wrong is logged, and the next time may go well.
fn save(handle: &Handle, path: &Path) {
    let _alone = handle.begin_saving();
    match snapshot::save(handle, path) {
        Ok(bytes) => tracing::debug!(bytes, path = %path.display(), "state saved"),
        Err(error) => tracing::error!(%error, "the state could not be saved"),
    }
}

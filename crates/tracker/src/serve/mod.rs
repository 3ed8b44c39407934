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
mod handle;
mod http;
mod keys;
mod live;
mod load;
mod pages;
mod shards;
mod shared;
mod snapshot;
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

use crate::guard::Place;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval, interval_at, sleep, timeout};

/// Connections that the kernel holds for us until they are accepted: a fleet of a thousand hosts
/// may start in the same second.
const BACKLOG: i32 = 1_024;

/// How long a connection may take to end once the server does.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How often the store forgets who is overdue.
const EXPIRE_EVERY: Duration = Duration::from_secs(1);

/// Pause after the system refused to accept: most likely there are too many open files, and asking
/// again at once would only burn time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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
        let front = Front {
            permits: Arc::new(Semaphore::new(config.max_connections)),
            scarce: config.max_connections / 4,
            handle,
            stopping,
        };
        let mut saver = Saver::new(&config, &front.handle);
        let mut listening = JoinSet::new();
        for ear in ears {
            listening.spawn(ear.listen(front.clone()));
        }
        let mut shutdown = pin!(shutdown);
        let mut load = load::Load::default();
        let mut expire = interval(EXPIRE_EVERY);
        expire.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                _ = expire.tick() => {
                    front.handle.store().expire(front.handle.now());
                    front.handle.weigh(&mut load);
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
        front.handle.set_ending();
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

/// A socket that connections come to.
#[derive(Debug)]
struct Ear {
    listener: std::net::TcpListener,
    /// Whether they speak TLS.
    tls: bool,
}

impl Ear {
    fn open(listen: SocketAddr, tls: bool) -> Result<(Self, SocketAddr), ServeError> {
        let (listener, local_addr) = open(listen)
            .or_else(|error| open_without_ipv6(listen, error))
            .map_err(|source| ServeError::Listen(listen, source))?;
        Ok((Self { listener, tls }, local_addr))
    }

    /// Serves what comes until the server ends; then lets those that are being answered finish.
    async fn listen(self, front: Front) {
        let mut stopping = front.stopping.clone();
        let listener = match TcpListener::from_std(self.listener) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(%error, "the tracker cannot run");
                return;
            }
        };
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                Some(ended) = connections.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "a connection's task failed");
                    }
                }
                accepted = front.accept(&listener) => {
                    if let Some(accepted) = accepted {
                        connections.spawn(front.clone().serve(accepted, self.tls));
                    }
                }
                _ = stopping.changed() => break,
            }
        }
        drop(listener);
        // Those that answer have their answer out in this time, and those that only wait are cut.
        let all = async { while connections.join_next().await.is_some() {} };
        let _ = timeout(LAST_WORDS, all).await;
        connections.shutdown().await;
    }
}

/// What every connection needs.
#[derive(Clone)]
struct Front {
    permits: Arc<Semaphore>,
    /// Places below which clients are asked to give up theirs.
    scarce: usize,
    handle: Handle,
    stopping: watch::Receiver<()>,
}

/// A connection that may be served, and what it holds.
struct Accepted {
    stream: TcpStream,
    socket: IpAddr,
    /// Its place among those of its address and network; a proxy's count for themselves.
    _place: Option<Place>,
    _permit: OwnedSemaphorePermit,
}

impl Front {
    /// The next connection that may be served. Waits for a free place first, so that those beyond
    /// the limit queue in the kernel instead of being turned away. Nothing is lost if it is dropped
    /// while it waits.
    async fn accept(&self, listener: &TcpListener) -> Option<Accepted> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok()?;
        let (stream, addr) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                if !is_aborted(&error) {
                    tracing::warn!(%error, "cannot accept connections");
                    sleep(ACCEPT_PAUSE).await;
                }
                return None;
            }
        };
        let socket = addr.ip().to_canonical();
        let place = if self.handle.see().live.is_proxy(socket) {
            None
        } else {
            match self.handle.guard().connect(socket) {
                Ok(place) => Some(place),
                Err(limit) => {
                    tracing::debug!(%addr, ?limit, "too many connections");
                    return None;
                }
            }
        };
        Some(Accepted {
            stream,
            socket,
            _place: place,
            _permit: permit,
        })
    }

    async fn serve(self, accepted: Accepted, tls: bool) {
        let Accepted { stream, socket, .. } = &accepted;
        let socket = *socket;
        // Answers are one small write each: waiting to fill a packet only delays them.
        let _ = stream.set_nodelay(true);
        let asker = http::Asker {
            seen: self.handle.see(),
            handle: self.handle.clone(),
            socket,
        };
        let hurry = || {
            self.permits.available_permits() < self.scarce
                || self.stopping.has_changed().unwrap_or(true)
        };
        // The place and the permit are held to the end.
        let Accepted {
            stream,
            _place,
            _permit,
            ..
        } = accepted;
        let ended = match self.handle.tls().filter(|_| tls) {
            None => http::serve(stream, asker, hurry).await,
            Some(tls) => {
                let handshake = tls.acceptor().accept(stream);
                match timeout(asker.seen.live.head_timeout, handshake).await {
                    Ok(Ok(stream)) => http::serve(stream, asker, hurry).await,
                    Ok(Err(error)) => Err(error),
                    Err(_) => Err(io::ErrorKind::TimedOut.into()),
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(client = %socket, %error, "connection failed");
        }
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

fn open(listen: SocketAddr) -> io::Result<(std::net::TcpListener, SocketAddr)> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(
        Domain::for_address(listen),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if listen.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // On Unix this is about connections of an earlier run that are still closing. On Windows it
    // would let two programs have one port.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&listen.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    let listener = std::net::TcpListener::from(socket);
    let local = listener.local_addr()?;
    Ok((listener, local))
}

/// `[::]` means "everywhere"; where a machine has no IPv6, that is 0.0.0.0.
fn open_without_ipv6(
    listen: SocketAddr,
    error: io::Error,
) -> io::Result<(std::net::TcpListener, SocketAddr)> {
    let not_taken = error.kind() != io::ErrorKind::AddrInUse;
    if listen.is_ipv6() && listen.ip().is_unspecified() && not_taken {
        let everywhere = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), listen.port());
        return open(everywhere).map_err(|_| error);
    }
    Err(error)
}

/// A connection that was gone before it was accepted: nothing is wrong with us.
fn is_aborted(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

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
//! It stands on hyper rather than on a web framework because the limits are the point: time for a
//! head, life of a connection, connections at a time and from one address.

mod access;
mod config;
mod handle;
mod http;
mod pages;
mod shards;
mod snapshot;
pub(crate) mod udp;

#[cfg(test)]
mod tests;

pub use access::{Access, AccessError, MAX_LISTED};
pub use config::{FileError, ServeConfig, ServeError, TrustIp};
pub use handle::{Handle, MAX_FILES};
pub use snapshot::{Restored, SnapshotError};
pub use udp::UdpStats;

use crate::guard::Place;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
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

/// How long a connection may take to end once it has been asked to.
const GRACE: Duration = Duration::from_secs(3);

/// How often the store forgets who is overdue.
const EXPIRE_EVERY: Duration = Duration::from_secs(1);

/// Pause after the system refused to accept: most likely there are too many open files, and asking
/// again at once would only burn time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A tracker that listens.
#[derive(Debug)]
pub struct Server {
    listener: std::net::TcpListener,
    local_addr: SocketAddr,
    config: ServeConfig,
    handle: Handle,
    udp: udp::Bound,
}

impl Server {
    /// Takes the port. Nobody is answered before [`Server::run`], but connections queue up.
    pub fn bind(config: ServeConfig) -> Result<Self, ServeError> {
        let listen = config.listen;
        let (listener, local_addr) = open(listen)
            .or_else(|error| open_without_ipv6(listen, error))
            .map_err(|source| ServeError { listen, source })?;
        let handle = Handle::new(&config);
        let udp = udp::Bound::new(&config, &handle)?;
        Ok(Self {
            udp,
            listener,
            local_addr,
            config,
            handle,
        })
    }

    /// Where it listens, with the port that it was given if 0 was asked for.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
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
            listener,
            local_addr,
            config,
            handle,
            udp,
        } = self;
        let listener = match TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(%local_addr, %error, "the tracker cannot run");
                return;
            }
        };
        let udp_addrs = udp.local_addrs.clone();
        let udp = match udp.start(&handle) {
            Ok(running) => running,
            Err(error) => {
                tracing::error!(%error, "the tracker cannot start its threads");
                return;
            }
        };
        tracing::info!(%local_addr, ?udp_addrs, "tracker listens");
        let (stop, stopping) = watch::channel(());
        let front = Front {
            permits: Arc::new(Semaphore::new(config.max_connections)),
            config: Arc::new(config),
            handle,
            stopping,
        };
        let mut connections = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        let mut saver = Saver::new(&front);
        let mut expire = interval(EXPIRE_EVERY);
        expire.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                accepted = front.accept(&listener) => {
                    if let Some((stream, client, permit)) = accepted {
                        connections.spawn(front.clone().serve(stream, client, permit));
                    }
                }
                _ = expire.tick() => {
                    front.handle.store().expire(front.handle.now());
                    if udp.has_failed() {
                        tracing::error!("a thread of the UDP tracker failed: ending");
                        break;
                    }
                }
                () = saver.next() => {}
                Some(ended) = connections.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "a connection's task failed");
                    }
                }
            }
        }
        front.handle.set_ending();
        drop(listener);
        let _ = stop.send(());
        let all = async { while connections.join_next().await.is_some() {} };
        let _ = timeout(GRACE, all).await;
        // Threads look every 200 ms whether they should end.
        drop(udp);
        saver.last().await;
        tracing::info!(%local_addr, "tracker ends");
    }
}

/// What every connection needs.
#[derive(Clone)]
struct Front {
    permits: Arc<Semaphore>,
    config: Arc<ServeConfig>,
    handle: Handle,
    stopping: watch::Receiver<()>,
}

impl Front {
    /// The next connection that may be served. Waits for a free place first, so that those beyond
    /// the limit queue in the kernel instead of being turned away. Nothing is lost if it is dropped
    /// while it waits.
    async fn accept(
        &self,
        listener: &TcpListener,
    ) -> Option<(TcpStream, Client, OwnedSemaphorePermit)> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok()?;
        match listener.accept().await {
            Ok((stream, addr)) => {
                let ip = addr.ip().to_canonical();
                match self.handle.guard().connect(ip) {
                    Ok(place) => Some((stream, Client { ip, _place: place }, permit)),
                    Err(limit) => {
                        tracing::debug!(%addr, ?limit, "too many connections");
                        None
                    }
                }
            }
            Err(error) => {
                if !is_aborted(&error) {
                    tracing::warn!(%error, "cannot accept connections");
                    sleep(ACCEPT_PAUSE).await;
                }
                None
            }
        }
    }

    async fn serve(mut self, stream: TcpStream, client: Client, permit: OwnedSemaphorePermit) {
        // Answers are one small write each: waiting to fill a packet only delays them.
        let _ = stream.set_nodelay(true);
        let ip = client.ip;
        let service = service_fn(|request| {
            let mut response = http::answer(&self.handle, self.config.trust_ip, ip, &request);
            // When places are short, a client that has its answer gives up its own.
            if self.permits.available_permits() < self.config.max_connections / 4 {
                response = http::closing(response);
            }
            async move { Ok::<_, Infallible>(response) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.config.head_timeout)
            .max_buf_size(self.config.max_head.max(8 * 1024))
            .pipeline_flush(true)
            .half_close(true)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        tokio::select! {
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::debug!(client = %ip, %error, "connection failed");
                }
            }
            () = sleep(self.config.connection_life) => {
                connection.as_mut().graceful_shutdown();
                let _ = timeout(GRACE, connection).await;
            }
            _ = self.stopping.changed() => {
                connection.as_mut().graceful_shutdown();
                let _ = timeout(GRACE, connection).await;
            }
        }
        drop((client, permit));
    }
}

/// Writes the state from time to time, beside everything else.
struct Saver {
    state: Option<PathBuf>,
    handle: Handle,
    every: Interval,
}

impl Saver {
    fn new(front: &Front) -> Self {
        // The first is due after the first interval, not at once.
        let period = front.config.save_every.max(Duration::from_millis(10));
        let mut every = interval_at(tokio::time::Instant::now() + period, period);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            state: front.config.state.clone(),
            handle: front.handle.clone(),
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

/// Who is at the other end, and the place that it takes.
struct Client {
    ip: IpAddr,
    _place: Place,
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

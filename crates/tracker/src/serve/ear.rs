//! Where connections come in: they are taken several at a time, the simple ones are answered at once, and each of
//! the others gets a task of its own.

use super::ServeConfig;
use super::config::ServeError;
use super::handle::Handle;
use super::http::{self, Begun};
use super::traffic::Traffic;
use crate::guard::Place;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinSet, yield_now};
use tokio::time::{sleep, timeout};

/// Connections that the kernel holds for us until they are accepted: a fleet of a thousand hosts
/// may start in the same second.
const BACKLOG: i32 = 1_024;

/// Connections that are taken before the first of them is answered. Each is some 30 us of work.
const BATCH: usize = 32;

/// Connections a millisecond from which they are let gather: below, each is answered when it comes.
const BUSY: u64 = 4;

/// For how long they are let gather. Waking up for every one or two is a quarter of what they cost.
const GATHER: Duration = Duration::from_millis(1);

/// How long a connection may take to end once the server does.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Pause after the system refused to accept: most likely there are too many open files, and asking
/// again at once would only burn time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A socket that connections come to.
#[derive(Debug)]
pub(super) struct Ear {
    listener: std::net::TcpListener,
    /// Whether they speak TLS.
    tls: bool,
}

impl Ear {
    pub(super) fn open(listen: SocketAddr, tls: bool) -> Result<(Self, SocketAddr), ServeError> {
        let (listener, local_addr) = open(listen)
            .or_else(|error| open_without_ipv6(listen, error))
            .map_err(|source| ServeError::Listen(listen, source))?;
        Ok((Self { listener, tls }, local_addr))
    }

    /// Serves what comes, as tasks that are put into `listening`, until the server ends. As many as `hands`
    /// take turns: while one waits for connections, the others answer those that they have taken.
    pub(super) fn listen(
        self,
        front: &Front,
        hands: usize,
        listening: &mut JoinSet<()>,
    ) -> io::Result<()> {
        let gate = Arc::new(Mutex::new(Gate {
            listener: Listener::new(self.listener)?,
            traffic: Traffic::new(BUSY),
            gathers: false,
        }));
        for _ in 0..hands.max(1) {
            listening.spawn(serve(Arc::clone(&gate), front.clone(), self.tls));
        }
        Ok(())
    }
}

/// Takes connections and serves them until the server ends; then lets those that are being answered finish.
async fn serve(gate: Arc<Mutex<Gate>>, front: Front, tls: bool) {
    let mut stopping = front.stopping.clone();
    let mut connections = JoinSet::new();
    let mut batch = Vec::with_capacity(BATCH);
    #[cfg(target_os = "linux")]
    let mut door = http::Door::new(&front.handle);
    loop {
        tokio::select! {
            biased;
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a connection's task failed");
                }
            }
            () = front.accept(&gate, &mut batch) => {}
            _ = stopping.changed() => break,
        }
        if batch.is_empty() {
            continue;
        }
        for accepted in batch.drain(..) {
            #[cfg(target_os = "linux")]
            let begun = match tls {
                true => Some(Begun::default()),
                false => front.answer(&mut door, &accepted),
            };
            #[cfg(not(target_os = "linux"))]
            let begun = Some(Begun::default());
            if let Some(begun) = begun {
                connections.spawn(front.clone().serve(accepted, begun, tls));
            }
        }
        // Those inside have their turn.
        yield_now().await;
    }
    drop(gate);
    // Those that answer have their answer out in this time, and those that only wait are cut.
    let all = async { while connections.join_next().await.is_some() {} };
    let _ = timeout(LAST_WORDS, all).await;
    connections.shutdown().await;
}

/// Where connections come in, and how many do. Whoever has it waits for them.
struct Gate {
    listener: Listener,
    traffic: Traffic,
    /// Whether they are let gather before they are taken.
    gathers: bool,
}

/// What every connection needs.
#[derive(Clone)]
pub(super) struct Front {
    permits: Arc<Semaphore>,
    /// Places below which clients are asked to give up theirs.
    scarce: usize,
    handle: Handle,
    stopping: watch::Receiver<()>,
}

/// A connection that may be served, and what it holds.
struct Accepted {
    stream: Stream,
    socket: IpAddr,
    /// Its place among those of its address and network; a proxy's count for themselves.
    _place: Option<Place>,
    _permit: OwnedSemaphorePermit,
}

impl Front {
    pub(super) fn new(config: &ServeConfig, handle: Handle, stopping: watch::Receiver<()>) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(config.max_connections)),
            scarce: config.max_connections / 4,
            handle,
            stopping,
        }
    }

    /// Whether places are short, so that whoever has an answer gives up its own.
    fn hurry(&self) -> bool {
        self.permits.available_permits() < self.scarce
            || self.stopping.has_changed().unwrap_or(true)
    }

    /// The next connections that may be served, after a wait for the first. A free place is waited for
    /// before that, so that those beyond the limit queue in the kernel instead of being turned away. Nothing
    /// is lost if it is dropped while it waits.
    async fn accept(&self, gate: &Mutex<Gate>, batch: &mut Vec<Accepted>) {
        let mut gate = gate.lock().await;
        if gate.gathers {
            // Not a timer: the runtime would wake up for each connection that comes meanwhile, and that is what is
            // to be saved. Whatever else this thread has to do waits as long; other threads go on.
            std::thread::sleep(GATHER);
        }
        self.fill(&mut gate, batch).await;
        let busy = gate.traffic.note(self.handle.now(), batch.len());
        // A full batch says that more wait already.
        gate.gathers = busy && batch.len() < BATCH;
    }

    async fn fill(&self, gate: &mut Gate, batch: &mut Vec<Accepted>) {
        let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else {
            return;
        };
        let mut came = Some((gate.listener.first().await, permit));
        while let Some((accepted, permit)) = came {
            match accepted {
                Ok((stream, addr)) => batch.extend(self.admit(stream, addr, permit)),
                Err(error) if is_aborted(&error) => {}
                // It is met again when what there is has been served.
                Err(_) if !batch.is_empty() => return,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections");
                    sleep(ACCEPT_PAUSE).await;
                    return;
                }
            }
            if batch.len() >= BATCH {
                return;
            }
            let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
                return;
            };
            came = gate.listener.more().map(|accepted| (accepted, permit));
        }
    }

    /// Whether its address and its network have places left.
    fn admit(
        &self,
        stream: Stream,
        addr: SocketAddr,
        permit: OwnedSemaphorePermit,
    ) -> Option<Accepted> {
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

    /// Answers at once what can be; what there is left to do, if anything.
    #[cfg(target_os = "linux")]
    fn answer(&self, door: &mut http::Door, accepted: &Accepted) -> Option<Begun> {
        let Accepted { stream, socket, .. } = accepted;
        door.answer(stream, *socket, self.hurry())
            .unwrap_or_else(|error| {
                tracing::debug!(client = %socket, %error, "connection failed");
                None
            })
    }

    async fn serve(self, accepted: Accepted, begun: Begun, tls: bool) {
        // The place and the permit are held to the end.
        let Accepted {
            stream,
            socket,
            _place,
            _permit,
        } = accepted;
        if let Err(error) = self.talk(stream, socket, begun, tls).await {
            tracing::debug!(client = %socket, %error, "connection failed");
        }
    }

    async fn talk(
        &self,
        stream: Stream,
        socket: IpAddr,
        begun: Begun,
        tls: bool,
    ) -> io::Result<()> {
        let stream = watched(stream)?;
        let asker = http::Asker {
            seen: self.handle.see(),
            handle: self.handle.clone(),
            socket,
        };
        let hurry = || self.hurry();
        let Some(tls) = self.handle.tls().filter(|_| tls) else {
            return http::serve(stream, asker, begun, hurry).await;
        };
        let handshake = tls.acceptor().accept(stream);
        let Ok(stream) = timeout(asker.seen.live.head_timeout, handshake).await else {
            return Err(io::ErrorKind::TimedOut.into());
        };
        http::serve(stream?, asker, begun, hurry).await
    }
}

#[cfg(not(target_os = "linux"))]
use plain::{Listener, Stream, watched};
#[cfg(target_os = "linux")]
use unwatched::{Listener, Stream, watched};

/// Connections that the system is not asked to watch before there is something to wait for: half of what
/// a short one costs.
#[cfg(target_os = "linux")]
mod unwatched {
    use crate::sys::now::{announce_with_data, watch};
    use std::io;
    use std::net::{SocketAddr, TcpListener};
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    pub(super) type Stream = std::net::TcpStream;

    pub(super) struct Listener(AsyncFd<TcpListener>);

    impl Listener {
        pub(super) fn new(listener: TcpListener) -> io::Result<Self> {
            // A client that has connected and says nothing holds no place, and nobody is woken up for it.
            announce_with_data(&listener)?;
            watch(listener).map(Self)
        }

        /// The next connection. Nothing is lost if it is dropped while it waits.
        pub(super) async fn first(&mut self) -> io::Result<(Stream, SocketAddr)> {
            loop {
                if let Some(accepted) = self.more() {
                    return accepted;
                }
                self.0.readable().await?.retain_ready();
            }
        }

        /// One that has come already.
        pub(super) fn more(&mut self) -> Option<io::Result<(Stream, SocketAddr)>> {
            match self.0.try_io(Interest::READABLE, TcpListener::accept) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
                accepted => Some(accepted),
            }
        }
    }

    pub(super) fn watched(stream: Stream) -> io::Result<tokio::net::TcpStream> {
        stream.set_nonblocking(true)?;
        tokio::net::TcpStream::from_std(stream)
    }
}

#[cfg(not(target_os = "linux"))]
mod plain {
    use std::io;
    use std::net::SocketAddr;
    use tokio::net::TcpListener;

    pub(super) type Stream = tokio::net::TcpStream;

    pub(super) struct Listener(TcpListener);

    impl Listener {
        pub(super) fn new(listener: std::net::TcpListener) -> io::Result<Self> {
            TcpListener::from_std(listener).map(Self)
        }

        /// The next connection. Nothing is lost if it is dropped while it waits.
        pub(super) async fn first(&mut self) -> io::Result<(Stream, SocketAddr)> {
            self.0.accept().await
        }

        /// One at a time here.
        pub(super) fn more(&mut self) -> Option<io::Result<(Stream, SocketAddr)>> {
            None
        }
    }

    pub(super) fn watched(stream: Stream) -> io::Result<Stream> {
        // Answers are one small write each: waiting to fill a packet only delays them.
        let _ = stream.set_nodelay(true);
        Ok(stream)
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
    // Answers are one small write each: waiting to fill a packet only delays them. On Linux, connections have
    // this from the socket that they came to.
    #[cfg(target_os = "linux")]
    socket.set_tcp_nodelay(true)?;
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

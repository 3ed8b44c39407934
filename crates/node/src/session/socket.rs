//! Sockets as we want them: listeners for both families, connections that send at once.

#[cfg(target_os = "linux")]
use super::pacing::Control;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::time::timeout;

/// Connections that the kernel keeps for us until we accept them. A fleet that starts at once comes
/// in one burst; the kernel cuts this to its own limit.
const BACKLOG: i32 = 1024;
/// A dial that takes longer is given up. A lost SYN is sent again after 1 and 3 s, so two may be lost.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(6);
/// Payload that the kernel takes beyond what it has sent, bytes: the least, and what it is at first. "Served" then means nearly
/// sent: what is queued below us can no longer be overtaken by a choke or an urgent message, and our own requests wait behind it.
/// With 16 leeches of 20 Mbit/s, 16 KiB instead of 128 (and as small windows above) raise the efficiency from 0.82 to 0.88.
const UNSENT_MIN: u32 = 16 * 1024;
/// The least where a limit follows the uplink ([`super::Uplink`]): that sees a queue the later the more is kept here. On a fast
/// path so few would only mean more wakings.
const UNSENT_FOLLOWED: u32 = 4 * 1024;
/// ... and the most: two of the largest segments, enough to keep a loopback or 10 Gbit/s transfer going between two turns.
const UNSENT_MAX: u32 = 128 * 1024;
/// The unsent bytes should last this part of a second (4 ms), in which a busy machine gets round to the next write.
const UNSENT_SHARE: u64 = 256;
/// Length of one measurement of how fast a connection sends.
const MEASURED_OVER: Duration = Duration::from_millis(50);

/// Keeps as little unsent in a socket as its speed allows.
#[derive(Debug)]
pub(crate) struct Unsent {
    least: u32,
    limit: u32,
    began: Instant,
    bytes: u64,
}

impl Unsent {
    /// Of a connection whose uplink a limit follows, or of another.
    pub(crate) fn new(followed: bool) -> Self {
        Self {
            least: if followed {
                UNSENT_FOLLOWED
            } else {
                UNSENT_MIN
            },
            limit: UNSENT_MIN,
            began: Instant::now(),
            bytes: 0,
        }
    }

    /// The kernel took `bytes`.
    pub(crate) fn sent(&mut self, stream: &TcpStream, bytes: usize) {
        self.bytes += bytes as u64;
        let took = self.began.elapsed();
        if took < MEASURED_OVER {
            return;
        }
        let rate = u128::from(self.bytes) * 1_000_000_000 / took.as_nanos().max(1);
        let limit = limit_for(u64::try_from(rate).unwrap_or(u64::MAX), self.least);
        (self.began, self.bytes) = (Instant::now(), 0);
        if limit != self.limit {
            self.limit = limit;
            set_unsent(stream, limit);
        }
    }
}

/// What may be unsent at `rate` bytes a second; powers of two, so that it is seldom changed.
fn limit_for(rate: u64, least: u32) -> u32 {
    let bytes = u32::try_from(rate / UNSENT_SHARE).unwrap_or(UNSENT_MAX);
    bytes.clamp(least, UNSENT_MAX).next_power_of_two()
}

fn set_unsent(stream: &TcpStream, limit: u32) {
    // A connection works without it, only slower: a system that lacks it is no error.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = SockRef::from(stream).set_tcp_notsent_lowat(limit);
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = (stream, limit);
}

/// Whether both ends are this machine's.
pub(super) fn on_this_host(stream: &TcpStream) -> bool {
    match (stream.local_addr(), stream.peer_addr()) {
        (Ok(ours), Ok(theirs)) => {
            ours.ip() == theirs.ip() || theirs.ip().to_canonical().is_loopback()
        }
        _ => false,
    }
}

/// A listener on `addr`. The unspecified IPv6 address takes IPv4 as well where the system can do that.
pub(crate) fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() && addr.ip().is_unspecified() {
        let _ = socket.set_only_v6(false);
    }
    // A port is free again at once when a program is restarted; two programs still cannot share it.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Connects to `addr`, from the address that we listen on if that is a particular one, so that trackers
/// and peers see us where we can be reached.
pub(crate) async fn dial(addr: SocketAddr, listen: IpAddr) -> io::Result<TcpStream> {
    let socket = if addr.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    if binds(listen, addr.ip()) {
        socket.bind(SocketAddr::new(listen, 0))?;
    }
    #[cfg(target_os = "linux")]
    let control = Control::of_call(&socket, addr.ip());
    let stream = timeout(CONNECT_TIMEOUT, socket.connect(addr))
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer"))??;
    #[cfg(target_os = "linux")]
    control.settle(&stream);
    Ok(stream)
}

/// A socket whose packets go to `addr` and that hears nobody else, bound like [`dial`] does it.
pub(crate) fn datagrams(addr: SocketAddr, listen: IpAddr) -> io::Result<UdpSocket> {
    let from = match addr {
        _ if binds(listen, addr.ip()) => listen,
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = std::net::UdpSocket::bind((from, 0))?;
    socket.connect(addr)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

/// Whether a connection to `to` is made from `listen`: it must be a particular address that has a way
/// there, and a loopback address has none to the outside.
fn binds(listen: IpAddr, to: IpAddr) -> bool {
    !listen.is_unspecified()
        && listen.is_ipv4() == to.is_ipv4()
        && listen.is_loopback() == to.is_loopback()
}

/// What every peer connection is set to.
pub(crate) fn tune(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    set_unsent(stream, UNSENT_MIN);
}

/// IPv4 addresses that came through an IPv6 socket, as what they are.
pub(crate) fn normal(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_unspecified_address_takes_both_families() {
        let Ok(listener) = listen("[::]:0".parse().expect("address")) else {
            return; // a machine without IPv6
        };
        let port = listener.local_addr().expect("bound").port();
        let to = SocketAddr::new(IpAddr::from([127, 0, 0, 1]), port);
        let any = IpAddr::from([0, 0, 0, 0]);
        let (dialled, accepted) = tokio::join!(dial(to, any), listener.accept());
        dialled.expect("connected");
        let (_, from) = accepted.expect("accepted");
        assert!(normal(from).is_ipv4(), "{from}");
    }

    #[test]
    fn fast_connections_may_have_more_unsent() {
        assert_eq!(limit_for(0, UNSENT_MIN), UNSENT_MIN);
        assert_eq!(limit_for(0, UNSENT_FOLLOWED), UNSENT_FOLLOWED);
        assert_eq!(limit_for(6_000_000, UNSENT_MIN), 32 * 1024);
        assert_eq!(limit_for(600_000_000, UNSENT_MIN), UNSENT_MAX);
        assert_eq!(limit_for(u64::MAX, UNSENT_FOLLOWED), UNSENT_MAX);
    }

    #[test]
    fn connections_are_made_from_a_particular_address_only() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("address");
        assert!(binds(ip("10.0.0.1"), ip("10.0.0.2")));
        assert!(binds(ip("127.0.0.2"), ip("127.0.0.1")));
        assert!(!binds(ip("0.0.0.0"), ip("10.0.0.2")));
        assert!(!binds(ip("127.0.0.1"), ip("8.8.8.8")));
        assert!(!binds(ip("10.0.0.1"), ip("::1")));
    }
}

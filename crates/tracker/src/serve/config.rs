//! What the server can be told, and why it may not start.

use super::http::{ProxyHeader, TlsError, TlsFiles};
use super::keys::KeysError;
use super::shared::SharedAddress;
use crate::guard::{Limits, Net};
use crate::swarm;
use std::error::Error;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Whose word about their own address is taken (`ip=`, and `ipv4=`, `ipv6=` of BEP 7).
///
/// Believed from anybody, it turns a tracker into a weapon: a liar points a whole swarm at a victim
/// (bittorrent.org issue 100).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TrustIp {
    /// Nobody's: a peer is where its connection comes from.
    #[default]
    Never,
    /// That of programs on this machine, which would otherwise be known as 127.0.0.1 and be told to
    /// nobody else: a seed beside its tracker (what BEP 3 has `ip` for).
    Loopback,
    /// Everybody's. For closed networks and tests.
    Always,
}

impl fmt::Display for TrustIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Never => "never",
            Self::Loopback => "loopback",
            Self::Always => "always",
        })
    }
}

impl FromStr for TrustIp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Never, Self::Loopback, Self::Always]
            .into_iter()
            .find(|trust| trust.to_string() == text)
            .ok_or_else(|| format!("'{text}' is none of never, loopback, always"))
    }
}

impl TrustIp {
    pub(super) fn covers(self, ip: IpAddr) -> bool {
        match self {
            Self::Never => false,
            Self::Loopback => ip.is_loopback(),
            Self::Always => true,
        }
    }
}

/// Settings of a [`Server`](super::Server).
#[derive(Clone, Debug)]
pub struct ServeConfig {
    /// Where to listen. `[::]` takes IPv4 as well; port 0 takes any that is free.
    pub listen: SocketAddr,
    /// Where to listen for UDP (BEP 15); nowhere by default. `[::]` takes IPv4 as well.
    pub udp: Vec<SocketAddr>,
    /// Where to listen for HTTPS, and with which certificate; nowhere by default.
    pub https: Option<(SocketAddr, TlsFiles)>,
    /// Threads that answer over UDP, for each address.
    pub workers: usize,
    /// What connection ids are made with; `None` draws it. Trackers that stand behind one name must
    /// have the same, and so must one that wants its clients' ids to outlive a restart.
    pub udp_secret: Option<[u8; 16]>,
    /// How long a connection id is accepted, at least. BEP 15: two minutes.
    pub udp_id_life: Duration,
    /// The policy of the swarms.
    pub policy: swarm::Config,
    /// Announces a second, over HTTP and UDP together, beyond which intervals grow.
    pub wanted_rate: u64,
    /// A file in which the swarms outlive the process; `None` for none.
    pub state: Option<PathBuf>,
    /// How often it is written; also when the server ends. A million swarms of two peers are 62 MB; a build
    /// without much optimisation, on a machine that was busy with other things, took 1.9 s with
    /// synchronising, and held each of the 256 parts for 5 ms (test `what_upkeep_costs`).
    pub save_every: Duration,
    /// A store in which several trackers behind one name share their swarms; `None` for none.
    pub shared: Option<SharedAddress>,
    /// Determines who is told of whom; `None` draws one.
    pub seed: Option<u64>,
    /// Whose `ip=` is believed.
    pub trust_ip: TrustIp,
    /// Networks of our own reverse proxies: they are asked, in [`Self::proxy_header`], who their clients
    /// are. Nobody else's word is taken.
    pub proxies: Vec<Net>,
    /// The header in which these proxies say it.
    pub proxy_header: ProxyHeader,
    /// A file with the keys of those who may use the tracker; `None` lets everybody.
    pub keys: Option<PathBuf>,
    /// Networks that may look at `/`, `/stats.json` and `/metrics`; empty: everybody may.
    pub pages_for: Vec<Net>,
    /// Connections at a time; more wait in the kernel's queue (1,024) until one is free. Below the
    /// 1,024 files that a process may usually have open, with room for the peers beside it.
    pub max_connections: usize,
    /// How much one client may ask for, over HTTP and UDP together. Connections beyond its own are
    /// closed at once.
    pub limits: Limits,
    /// Time for the head of a request to arrive whole, and for which a connection may be idle
    /// between two. Long enough that a leech that waits for a seed (2 s) keeps its connection.
    pub head_timeout: Duration,
    /// Life of a connection, whatever it does: one that reads its answers too slowly must end too.
    pub connection_life: Duration,
    /// Bytes of a request's head. A scrape of 100 swarms is 7,400 at the most.
    pub max_head: usize,
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 6969),
            udp: Vec::new(),
            https: None,
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            udp_secret: None,
            udp_id_life: Duration::from_secs(120),
            policy: swarm::Config::default(),
            // A tenth of what one core answers over UDP (docs/tracker.md), so that there is room for HTTP.
            wanted_rate: 25_000,
            state: None,
            save_every: Duration::from_secs(60),
            shared: None,
            seed: None,
            trust_ip: TrustIp::Never,
            proxies: Vec::new(),
            proxy_header: ProxyHeader::default(),
            keys: None,
            pages_for: Vec::new(),
            max_connections: 512,
            limits: Limits::default(),
            head_timeout: Duration::from_secs(10),
            connection_life: Duration::from_secs(600),
            max_head: 16 * 1024,
        }
    }
}

/// Why the server does not start, or does not take new settings.
#[derive(Debug)]
pub enum ServeError {
    /// It cannot listen there.
    Listen(SocketAddr, io::Error),
    /// The keys of a private tracker cannot be read.
    Keys(KeysError),
    /// HTTPS cannot be served.
    Tls(TlsError),
}

impl ServeError {
    /// Whether another program has the port.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        matches!(self, Self::Listen(_, source) if source.kind() == io::ErrorKind::AddrInUse)
    }
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (listen, source) = match self {
            Self::Listen(listen, source) => (listen, source),
            Self::Keys(error) => return write!(f, "{error}"),
            Self::Tls(error) => return write!(f, "HTTPS: {error}"),
        };
        write!(f, "the tracker cannot listen on {listen}: ")?;
        match source.kind() {
            io::ErrorKind::AddrInUse => f.write_str(
                "another program has that port; stop it, or choose another port (0 takes any that \
                 is free)",
            ),
            io::ErrorKind::PermissionDenied => f.write_str(
                "this user may not; ports below 1024 usually need privileges, choose a higher one",
            ),
            io::ErrorKind::AddrNotAvailable => f.write_str(
                "this machine has no such address; use 0.0.0.0 or [::] for all that it has",
            ),
            _ => write!(f, "{source}"),
        }
    }
}

impl Error for ServeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Listen(_, source) => Some(source),
            Self::Keys(error) => Some(error),
            Self::Tls(error) => Some(error),
        }
    }
}

impl From<KeysError> for ServeError {
    fn from(error: KeysError) -> Self {
        Self::Keys(error)
    }
}

impl From<TlsError> for ServeError {
    fn from(error: TlsError) -> Self {
        Self::Tls(error)
    }
}

/// Why a file cannot be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileError {
    /// The tracker itself answers at this path.
    Reserved,
    /// There are as many files as the server holds ([`MAX_FILES`](super::MAX_FILES)).
    TooMany,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reserved => "the tracker itself answers at this path: use another name",
            Self::TooMany => "the tracker holds as many files as it can",
        })
    }
}

impl Error for FileError {}

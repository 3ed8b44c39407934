//! The settings of `samara tracker`: every key with its default and its reason, from a TOML file, and
//! back to one.

use crate::args::{self, Span, read_toml};
use crate::exit::{Exit, Failure};
use samara_tracker::guard::{Limits, Net, Pace};
use samara_tracker::serve::{ProxyHeader, ServeConfig, SharedAddress, TlsFiles, TrustIp};
use samara_tracker::swarm;
use serde::{Deserialize, Deserializer, de};
use std::fmt::{self, Display, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// A value that TOML holds as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said<T>(pub T);

impl<'de, T: FromStr<Err: Display>> Deserialize<'de> for Said<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map(Self).map_err(de::Error::custom)
    }
}

/// A secret of 16 bytes, as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret([u8; 16]);

impl FromStr for Secret {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u128::from_str_radix(text, 16).ok().filter(|_| is_hex);
        let number = number.ok_or("a secret is 32 hexadecimal digits")?;
        Ok(Self(number.to_be_bytes()))
    }
}

impl Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// How a value stands in the file; `None` if there is none.
trait Write {
    fn toml(&self) -> Option<String>;
}

macro_rules! as_written {
    ($($kind:ty),*) => { $(impl Write for $kind {
        fn toml(&self) -> Option<String> {
            Some(self.to_string())
        }
    })* };
}
as_written!(bool, u16, u32, u64, usize);

impl<T: Display> Write for Said<T> {
    fn toml(&self) -> Option<String> {
        Some(format!("\"{}\"", self.0))
    }
}

impl Write for PathBuf {
    fn toml(&self) -> Option<String> {
        let mut out = String::from("\"");
        for char in self.display().to_string().chars() {
            match char {
                '"' | '\\' => out.extend(['\\', char]),
                _ if char.is_control() => {
                    // Writing to a String cannot fail.
                    let _ = write!(out, "\\u{:04x}", u32::from(char));
                }
                _ => out.push(char),
            }
        }
        out.push('"');
        Some(out)
    }
}

impl<T: Write> Write for Option<T> {
    fn toml(&self) -> Option<String> {
        self.as_ref().and_then(Write::toml)
    }
}

impl<T: Write> Write for Vec<T> {
    fn toml(&self) -> Option<String> {
        let items: Vec<_> = self.iter().filter_map(Write::toml).collect();
        Some(format!("[{}]", items.join(", ")))
    }
}

/// Declares the tables: a struct each, its defaults, and how it is written with its reasons. What has no
/// value is written as a comment with an example.
macro_rules! tables {
    ($($(#[doc = $title:literal])* $table:ident $name:ident {
        $($(#[doc = $doc:literal])* $key:ident: $kind:ty = $default:expr $(, $example:literal)?;)*
    })*) => {
        /// Everything that can be set.
        #[derive(Clone, Debug, PartialEq, Eq, Default, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Config {
            $($(#[doc = $title])* pub $name: $table,)*
        }

        $($(#[doc = $title])*
        #[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
        #[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
        pub struct $table {
            $($(#[doc = $doc])* pub $key: $kind,)*
        }

        impl Default for $table {
            fn default() -> Self {
                Self { $($key: $default,)* }
            }
        })*

        impl Config {
            /// The whole file, with reasons and defaults.
            pub fn print(&self) -> String {
                let mut out = String::from(HEAD);
                let default = Self::default();
                $(
                    table(&mut out, stringify!($name), &[$($title),*]);
                    $(key(
                        &mut out,
                        stringify!($key),
                        &[$($doc),*],
                        (self.$name.$key.toml(), default.$name.$key.toml()),
                        concat!("" $(, $example)?),
                    );)*
                )*
                out
            }
        }
    };
}

const HEAD: &str = "\
# Settings of `samara tracker --config FILE`. What is left out has its default; flags of the command line win.
# SIGHUP reads this file again, with the files that it names: (restart) marks what a running tracker does
# not take over. Lengths of time are written like \"90s\", \"10m\" or \"1h30m\".
";

fn table(out: &mut String, name: &str, title: &[&str]) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "\n[{name}]");
    for line in title {
        let _ = writeln!(out, "#{line}");
    }
}

fn key(
    out: &mut String,
    name: &str,
    doc: &[&str],
    (value, default): (Option<String>, Option<String>),
    example: &str,
) {
    let name = name.replace('_', "-");
    out.push('\n');
    for line in doc {
        let _ = writeln!(out, "#{line}");
    }
    let shown = default.as_deref().unwrap_or("none");
    let _ = writeln!(out, "# Default: {shown}");
    let _ = match value {
        Some(value) => writeln!(out, "{name} = {value}"),
        None => writeln!(out, "# {name} = {example}"),
    };
}

/// `[::]:6969` as well; the other defaults come from the tracker itself.
const USUAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 6969);

/// Connections of a tracker that has the machine for itself. `share` keeps to the 512 of the library.
const CONNECTIONS: usize = 10_000;

fn said(ms: u64) -> Said<Span> {
    Said(Span(Duration::from_millis(ms)))
}

fn serve() -> ServeConfig {
    ServeConfig::default()
}

fn policy() -> swarm::Config {
    swarm::Config::default()
}

fn limits() -> Limits {
    Limits::default()
}

tables! {
    /// The tracker over HTTP, its status page, /stats.json and /metrics.
    Http http {
        /// Where to listen; "[::]:6969" takes IPv4 as well. (restart)
        listen: Said<SocketAddr> = Said(USUAL);
        /// Connections at a time, HTTPS included; more wait in the kernel's queue. (restart)
        max_connections: usize = CONNECTIONS;
        /// Time for a request to arrive whole, and for which a connection may be idle.
        head_timeout: Said<Span> = Said(Span(serve().head_timeout));
        /// Life of a connection, whatever it does.
        connection_life: Said<Span> = Said(Span(serve().connection_life));
        /// Longest head of a request in bytes. A scrape of 100 swarms is 7,400 at the most.
        max_head: usize = serve().max_head;
        /// Networks that may look at the pages about the tracker (/, /stats.json, /metrics); empty: everybody.
        pages_for: Vec<Said<Net>> = Vec::new();
    }
    /// The same over TLS. All three keys, or none.
    Https https {
        /// Where to listen. (restart)
        listen: Option<Said<SocketAddr>> = None, "\"0.0.0.0:443\"";
        /// The certificate with its chain, in PEM. Read again at SIGHUP; connections go on.
        cert: Option<PathBuf> = None, "\"/etc/samara/fullchain.pem\"";
        /// Its private key, in PEM.
        key: Option<PathBuf> = None, "\"/etc/samara/privkey.pem\"";
    }
    /// The tracker over UDP (BEP 15).
    Udp udp {
        /// Where to listen; nowhere if empty. (restart)
        listen: Vec<Said<SocketAddr>> = Vec::new();
        /// Threads for each address; 0 is one a core. (restart)
        workers: u16 = 0;
        /// How long a connection id is accepted, at least. BEP 15 says two minutes. (restart)
        id_life: Said<Span> = Said(Span(serve().udp_id_life));
        /// What connection ids are made with: 32 hexadecimal digits that nobody else knows (openssl rand -hex 16
        /// prints some), drawn at the start if there are none. Trackers behind one name need the same. (restart)
        secret: Option<Said<Secret>> = None, "\"8b1a9953c4611296a827abf8c47804d7\"";
    }
    /// What outlives the process.
    State state {
        /// The file that keeps the swarms, written now and then and at the end, read at the start. (restart)
        file: Option<PathBuf> = None, "\"/var/lib/samara-tracker/tracker.state\"";
        /// How often it is written: what a crash may lose. (restart)
        save_every: Said<Span> = Said(Span(serve().save_every));
        /// A Redis or Valkey in which several trackers behind one name share their swarms: redis://HOST,
        /// redis+sentinel://HOST,HOST/NAME or redis+cluster://HOST,HOST, each with [USER:PASSWORD@], [:PORT],
        /// [/DATABASE] and [?prefix=WORD]. The password is not printed. Each needs the same udp.secret. (restart)
        shared: Option<Said<SharedAddress>> = None, "\"redis://10.0.0.5\"";
    }
    /// Who may use it, and whose word is taken. The files are read again at SIGHUP.
    Access access {
        /// Serve only the info-hashes in this file, one a line.
        allow: Option<PathBuf> = None, "\"/etc/samara/allow.txt\"";
        /// Serve none of the info-hashes in this file.
        deny: Option<PathBuf> = None, "\"/etc/samara/deny.txt\"";
        /// Private mode: serve only those who have a key of this file in their announce address,
        /// http://TRACKER/KEY/announce. A key (16 to 128 letters, digits, - and _) a line, then the name of its
        /// owner if the metrics are to count it (100 names at the most).
        keys: Option<PathBuf> = None, "\"/etc/samara/keys.txt\"";
        /// Our own reverse proxies, as addresses or networks. They alone are asked who their clients are, and
        /// they have to say so. A proxy's connections have no limit of their own.
        proxies: Vec<Said<Net>> = Vec::new();
        /// Where they say it: x-forwarded-for or forwarded. The rightmost address that is none of ours counts.
        proxy_header: Said<ProxyHeader> = Said(serve().proxy_header);
        /// Whose ip= is believed: never, loopback (programs on this machine), or always (closed networks).
        trust_ip: Said<TrustIp> = Said(serve().trust_ip);
    }
    /// How much one client may ask for. An address is an IPv4 address or an IPv6 /64, a network an IPv4 /24 or
    /// an IPv6 /48. A pace of 0 is no limit; loopback has none.
    Limited limits {
        /// Requests of one address, in the long run.
        address_per_second: u32 = limits().address.per_second;
        /// Requests of one address at once: a client announces all its torrents when it starts.
        address_burst: u32 = limits().address.burst;
        /// Requests of one network, in the long run.
        network_per_second: u32 = limits().network.per_second;
        /// Requests of one network at once.
        network_burst: u32 = limits().network.burst;
        /// Announces of one peer to one torrent, in the long run.
        peer_per_second: u32 = limits().peer.per_second;
        /// Announces of one peer to one torrent at once.
        peer_burst: u32 = limits().peer.burst;
        /// Connections of one address at a time.
        address_connections: usize = limits().address_connections;
        /// Connections of one network at a time.
        network_connections: usize = limits().network_connections;
    }
    /// What swarms are told.
    Policy policy {
        /// Start a new download while the swarm has no seed.
        allow_seedless: bool = policy().allow_seedless;
        /// Interval of a leech that waits for a seed.
        waiting_interval: Said<Span> = said(policy().waiting_interval);
        /// Shortest interval otherwise: that of a swarm in which much happens.
        shortest_interval: Said<Span> = said(policy().shortest_interval);
        /// Longest interval: that of a swarm in which nothing happens.
        longest_interval: Said<Span> = said(policy().longest_interval);
        /// Intervals vary by so many per cent up and down.
        jitter_percent: u32 = policy().jitter_percent;
        /// Announces a second that one swarm may cost: large swarms have longer intervals.
        announces_per_second: u64 = policy().announces_per_second;
        /// Announces a second, over HTTP and UDP together, beyond which all intervals grow.
        wanted_rate: u64 = serve().wanted_rate;
        /// Peers handed out where a request does not say.
        default_numwant: u32 = policy().default_numwant;
        /// Most peers handed out.
        max_numwant: u32 = policy().max_numwant;
        /// Most swarms; 72 bytes each.
        max_torrents: usize = policy().max_torrents;
        /// Most peers in all swarms; about 20 bytes each.
        max_peers: usize = policy().max_peers;
        /// Most peers of a swarm.
        max_peers_per_torrent: usize = policy().max_peers_per_torrent;
        /// Most peers of one address in a swarm, 255 at the most.
        max_peers_per_address: usize = policy().max_peers_per_address;
        /// How long the count of downloads of an empty swarm is kept.
        empty_life: Said<Span> = said(policy().empty_life);
    }
    /// The log, on stderr. Keys never stand in it; addresses of peers do from "debug" on.
    Log log {
        /// error, warn, info, debug or trace; -v asks for more. (restart)
        level: Said<Level> = Said(Level::Warn);
        /// text, or json: one object a line. (restart)
        format: Said<Format> = Said(Format::Text);
    }
}

macro_rules! words {
    ($(#[doc = $doc:literal])* $name:ident { $($case:ident $word:literal),* }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $(#[doc = $word] $case),* }

        impl Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self { $(Self::$case => $word),* })
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok(Self::$case),)*
                    _ => Err(format!("'{text}' is none of {}", [$($word),*].join(", "))),
                }
            }
        }
    };
}

words! {
    /// How much is logged.
    Level { Error "error", Warn "warn", Info "info", Debug "debug", Trace "trace" }
}
words! {
    /// How the log is written.
    Format { Text "text", Json "json" }
}

impl Config {
    /// What is in force: the file, if there is one, and the flags, which win.
    pub fn new(file: Option<&Path>, flags: &args::Tracker) -> Result<Self, Failure> {
        let mut config: Self = match file {
            Some(path) => read_toml(path)?,
            None => Self::default(),
        };
        let args::Tracker {
            http,
            https,
            tls_cert,
            tls_key,
            udp,
            workers,
            state,
            shared,
            allow,
            deny,
            keys,
            log_format,
            allow_seedless,
            print_config: _,
        } = flags.clone();
        if let Some(http) = http {
            config.http.listen = Said(http);
        }
        if !udp.is_empty() {
            config.udp.listen = udp.into_iter().map(Said).collect();
        }
        config.https.listen = https.map(Said).or(config.https.listen);
        config.https.cert = tls_cert.or(config.https.cert);
        config.https.key = tls_key.or(config.https.key);
        config.udp.workers = workers.unwrap_or(config.udp.workers);
        config.state.file = state.or(config.state.file);
        config.state.shared = shared.map(Said).or(config.state.shared);
        config.access.allow = allow.or(config.access.allow);
        config.access.deny = deny.or(config.access.deny);
        config.access.keys = keys.or(config.access.keys);
        config.log.format = log_format.map_or(config.log.format, Said);
        config.policy.allow_seedless |= allow_seedless;
        config.check()?;
        Ok(config)
    }

    /// What no single key can be blamed for.
    fn check(&self) -> Result<(), Failure> {
        let wrong = |why: &str| Err(Failure::new(Exit::Usage, why));
        let https = &self.https;
        let parts = [
            https.listen.is_some(),
            https.cert.is_some(),
            https.key.is_some(),
        ];
        if parts.contains(&true) && parts.contains(&false) {
            return wrong("HTTPS needs all three: where to listen, a certificate and its key");
        }
        let policy = &self.policy;
        let Span(shortest) = policy.shortest_interval.0;
        let Span(longest) = policy.longest_interval.0;
        let Span(waiting) = policy.waiting_interval.0;
        if shortest > longest
            || shortest < Duration::from_secs(1)
            || waiting < Duration::from_secs(1)
        {
            return wrong(
                "policy: intervals are at least 1s, and the shortest at most the longest",
            );
        }
        if policy.jitter_percent > 50 || policy.max_peers_per_address > 255 {
            return wrong(
                "policy: jitter-percent is at most 50, max-peers-per-address at most 255",
            );
        }
        if self.http.max_connections == 0 || self.http.max_head < 1_024 {
            return wrong("http: max-connections is at least 1, max-head at least 1024");
        }
        Ok(())
    }

    /// For the tracker.
    pub fn serve(&self) -> ServeConfig {
        let Self {
            http,
            https,
            udp,
            state,
            access,
            ..
        } = self;
        let nets = |nets: &[Said<Net>]| nets.iter().map(|net| net.0).collect();
        let https = https
            .listen
            .zip(https.cert.clone())
            .zip(https.key.clone())
            .map(|((listen, cert), key)| (listen.0, TlsFiles { cert, key }));
        let defaults = ServeConfig::default();
        ServeConfig {
            listen: http.listen.0,
            https,
            udp: udp.listen.iter().map(|addr| addr.0).collect(),
            workers: match udp.workers {
                0 => defaults.workers,
                workers => workers.into(),
            },
            udp_id_life: udp.id_life.0.0,
            udp_secret: udp.secret.map(|secret| secret.0.0),
            policy: self.policy(),
            state: state.file.clone(),
            save_every: state.save_every.0.0,
            shared: state.shared.clone().map(|shared| shared.0),
            trust_ip: access.trust_ip.0,
            proxies: nets(&access.proxies),
            proxy_header: access.proxy_header.0,
            keys: access.keys.clone(),
            pages_for: nets(&http.pages_for),
            max_connections: http.max_connections,
            wanted_rate: self.policy.wanted_rate,
            limits: self.limits(),
            head_timeout: http.head_timeout.0.0,
            connection_life: http.connection_life.0.0,
            max_head: http.max_head,
            ..defaults
        }
    }

    fn limits(&self) -> Limits {
        let limits = &self.limits;
        let pace = |per_second, burst| Pace { per_second, burst };
        Limits {
            address: pace(limits.address_per_second, limits.address_burst),
            network: pace(limits.network_per_second, limits.network_burst),
            peer: pace(limits.peer_per_second, limits.peer_burst),
            address_connections: limits.address_connections,
            network_connections: limits.network_connections,
        }
    }

    fn policy(&self) -> swarm::Config {
        let policy = &self.policy;
        let ms = |span: Said<Span>| u64::try_from(span.0.0.as_millis()).unwrap_or(u64::MAX);
        swarm::Config {
            allow_seedless: policy.allow_seedless,
            waiting_interval: ms(policy.waiting_interval),
            shortest_interval: ms(policy.shortest_interval),
            longest_interval: ms(policy.longest_interval),
            jitter_percent: policy.jitter_percent,
            announces_per_second: policy.announces_per_second,
            default_numwant: policy.default_numwant,
            max_numwant: policy.max_numwant,
            max_torrents: policy.max_torrents,
            max_peers: policy.max_peers,
            max_peers_per_torrent: policy.max_peers_per_torrent,
            max_peers_per_address: policy.max_peers_per_address,
            empty_life: ms(policy.empty_life),
            ..swarm::Config::default()
        }
    }

    /// What differs from `before` and needs a restart.
    pub fn needs_restart(&self, before: &Self) -> Vec<&'static str> {
        let connections = |config: &Self| config.http.max_connections;
        [
            (self.http.listen != before.http.listen, "http.listen"),
            (
                connections(self) != connections(before),
                "http.max-connections",
            ),
            (self.https.listen != before.https.listen, "https.listen"),
            (self.udp != before.udp, "udp"),
            (self.state != before.state, "state"),
            (self.log != before.log, "log"),
        ]
        .into_iter()
        .filter_map(|(differs, name)| differs.then_some(name))
        .collect()
    }
}

#[cfg(test)]
mod tests;

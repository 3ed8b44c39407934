//! What an announce is answered, before it is written down.

use super::record::Role;
use super::store::SwarmStats;
use samara_proto::tracker::AnnounceReply;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Where the peers of an answer go: into a packet, or a list.
pub trait Sink {
    /// An IPv4 peer.
    fn v4(&mut self, ip: Ipv4Addr, port: u16);
    /// An IPv6 peer.
    fn v6(&mut self, ip: Ipv6Addr, port: u16);
    /// Whether there is room for both families, or for the asker's only.
    fn takes_both(&self) -> bool;
}

/// Peers as a list, of both families.
#[derive(Clone, Debug, Default)]
pub struct Listed(pub Vec<SocketAddr>);

impl Sink for Listed {
    fn v4(&mut self, ip: Ipv4Addr, port: u16) {
        self.0.push(SocketAddr::new(ip.into(), port));
    }

    fn v6(&mut self, ip: Ipv6Addr, port: u16) {
        self.0.push(SocketAddr::new(ip.into(), port));
    }

    fn takes_both(&self) -> bool {
        true
    }
}

/// An answer, without its peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Seconds until the next announce.
    pub interval: u32,
    /// Seconds that must pass before an earlier one.
    pub min_interval: Option<u32>,
    /// What the asker is; `None` if it has left.
    pub role: Option<Role>,
    /// Whether downloads may begin.
    pub open: bool,
    /// The swarm in numbers.
    pub stats: SwarmStats,
}

impl Answer {
    /// What a leech should know about a swarm without a seed.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let stats = &self.stats;
        let since = if stats.had_seed {
            "no seed any more"
        } else {
            "no seed yet"
        };
        let (n, begun) = (stats.waiting, stats.leeches - stats.waiting);
        let plural =
            |n: u32, one: &'static str, many: &'static str| if n == 1 { one } else { many };
        match self.role? {
            Role::Waiting => Some(format!(
                "{since}: {n} {} waiting",
                plural(n, "leech is", "leeches are")
            )),
            Role::Leech if !self.open => Some(format!(
                "{since}: {begun} {} with what they have",
                plural(begun, "leech goes on", "leeches go on")
            )),
            _ => None,
        }
    }

    /// The answer with its peers, to one that asks from `source`.
    #[must_use]
    pub fn reply(&self, peers: Listed, source: IpAddr) -> AnnounceReply {
        AnnounceReply {
            interval: self.interval,
            min_interval: self.min_interval,
            complete: Some(self.stats.seeds),
            incomplete: Some(self.stats.leeches),
            downloaded: Some(self.stats.downloaded),
            peers: peers.0,
            peer_ids: Vec::new(),
            warning: self.warning(),
            tracker_id: None,
            external_ip: Some(source.to_canonical()),
        }
    }
}

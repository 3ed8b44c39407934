//! How much one client, one network and one peer may ask for: limits that HTTP and UDP share.
//!
//! Requests are counted by address (an IPv4 address, an IPv6 /64), by network (an IPv4 /24, an IPv6
//! /48: what one customer of a provider usually has), and by peer and torrent. Connections, where there are
//! any, by address and network. Loopback is exempt: nobody can come from there but the machine itself.
//!
//! A limit of requests is a pace with a burst, kept in a table whose size never changes
//! ([`Paces`]); connections are counted exactly ([`Places`]), with no more entries than there are
//! connections. Time is an argument.

mod net;
mod paces;
mod places;

pub use net::{Net, NetError};
pub use places::Place;

use crate::swarm::mix;
use paces::Paces;
use places::Places;
use samara_proto::InfoHash;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// So many requests a second in the long run, and so many at once. A pace of 0 is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// In the long run.
    pub per_second: u32,
    /// At once, after a pause.
    pub burst: u32,
}

impl Pace {
    /// No limit.
    pub const ANY: Self = Self {
        per_second: 0,
        burst: 0,
    };
}

/// The limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests of one address. A client announces each of its torrents once an interval, all at once
    /// when it starts; a provider's NAT has hundreds of clients behind one address.
    pub address: Pace,
    /// Requests of one network.
    pub network: Pace,
    /// Announces of one peer to one torrent. The shortest interval that the tracker asks for is two
    /// seconds; a client that misreads it and hammers (rtorrent issue 1424) costs no more than this.
    pub peer: Pace,
    /// Connections at a time from one address.
    pub address_connections: usize,
    /// Connections at a time from one network.
    pub network_connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            address: Pace {
                per_second: 500,
                burst: 5_000,
            },
            network: Pace {
                per_second: 5_000,
                burst: 50_000,
            },
            peer: Pace {
                per_second: 2,
                burst: 20,
            },
            address_connections: 256,
            network_connections: 1_024,
        }
    }
}

/// Which limit a client has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// That of its address.
    Address,
    /// That of its network.
    Network,
    /// That of this peer for this torrent.
    Peer,
}

impl Limit {
    /// In words, for whoever is turned away.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Address => "too many requests from your address: ask less often",
            Self::Network => "too many requests from your network: ask less often",
            Self::Peer => "this torrent was announced too often: wait for the interval",
        }
    }
}

/// Who was turned away, counted since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct GuardStats {
    /// Requests, by the limit of their address.
    pub address: u64,
    /// Requests, by the limit of their network.
    pub network: u64,
    /// Announces, by the limit of one peer for one torrent.
    pub peer: u64,
    /// Connections, by the limit of their address.
    pub address_connections: u64,
    /// Connections, by the limit of their network.
    pub network_connections: u64,
}

/// Keeps the limits. One for all servers of a tracker; threads share it without waiting for each other.
#[derive(Debug)]
pub struct Guard {
    addresses: Paces,
    networks: Paces,
    peers: Paces,
    places: Arc<Places>,
    turned_away: [AtomicU64; 3],
}

impl Guard {
    /// A guard that has seen nobody. Without `seed`, nobody can choose addresses that share a place in
    /// its tables.
    #[must_use]
    pub fn new(limits: &Limits, seed: u64) -> Self {
        let paces = |pace, n| Paces::new(pace, [mix(seed, n), mix(!seed, n + 1)]);
        Self {
            addresses: paces(limits.address, 1),
            networks: paces(limits.network, 3),
            peers: paces(limits.peer, 5),
            places: Arc::new(Places::new(
                limits.address_connections,
                limits.network_connections,
            )),
            turned_away: Default::default(),
        }
    }

    /// Goes on with other limits.
    pub fn set_limits(&self, limits: &Limits) {
        self.addresses.set_pace(limits.address);
        self.networks.set_pace(limits.network);
        self.peers.set_pace(limits.peer);
        self.places
            .set_limits(limits.address_connections, limits.network_connections);
    }

    /// Whether a request from `ip` may be answered, at `now` in milliseconds. It counts if it may; one
    /// that may not does not make it worse for its network.
    pub fn request(&self, now: u64, ip: IpAddr) -> Result<(), Limit> {
        let ip = ip.to_canonical();
        if ip.is_loopback() {
            return Ok(());
        }
        if !self.addresses.take(now, address_key(ip)) {
            return Err(self.turn_away(Limit::Address));
        }
        if !self.networks.take(now, network_key(ip)) {
            return Err(self.turn_away(Limit::Network));
        }
        Ok(())
    }

    /// Whether the peer at `addr` may announce to this torrent, at `now` in milliseconds.
    pub fn announce(&self, now: u64, info_hash: &InfoHash, addr: SocketAddr) -> Result<(), Limit> {
        let ip = addr.ip().to_canonical();
        if ip.is_loopback() {
            return Ok(());
        }
        let [a, b, c, d, e, f, g, h, ..] = info_hash.0;
        let torrent = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        let peer = host_key(ip) ^ (u64::from(addr.port()) << 32);
        if self.peers.take(now, mix(torrent, peer)) {
            Ok(())
        } else {
            Err(self.turn_away(Limit::Peer))
        }
    }

    /// A place for a connection from `ip`, which it has until it is dropped.
    pub fn connect(&self, ip: IpAddr) -> Result<Place, Limit> {
        self.places.enter(ip.to_canonical())
    }

    fn turn_away(&self, limit: Limit) -> Limit {
        if let Some(count) = self.turned_away.get(limit as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        limit
    }

    /// What has been counted.
    #[must_use]
    pub fn stats(&self) -> GuardStats {
        let requests = |limit: Limit| {
            let count = self.turned_away.get(limit as usize);
            count.map_or(0, |count| count.load(Ordering::Relaxed))
        };
        let (address_connections, network_connections) = self.places.turned_away();
        GuardStats {
            address: requests(Limit::Address),
            network: requests(Limit::Network),
            peer: requests(Limit::Peer),
            address_connections,
            network_connections,
        }
    }
}

/// An IPv4 address, or the /64 of an IPv6 one: whoever has one of its addresses has all of them.
fn address_key(ip: IpAddr) -> u64 {
    match ip {
        // No IPv6 /64 looks like this: 0::/64 holds nobody but loopback and mapped addresses.
        IpAddr::V4(ip) => u64::from(ip.to_bits()),
        IpAddr::V6(ip) => (ip.to_bits() >> 64) as u64,
    }
}

/// An IPv4 /24, or an IPv6 /48.
fn network_key(ip: IpAddr) -> u64 {
    match ip {
        IpAddr::V4(ip) => u64::from(ip.to_bits() >> 8),
        IpAddr::V6(ip) => (ip.to_bits() >> 80) as u64 | 1 << 63,
    }
}

/// The whole address.
fn host_key(ip: IpAddr) -> u64 {
    match ip {
        IpAddr::V4(ip) => u64::from(ip.to_bits()),
        IpAddr::V6(ip) => mix((ip.to_bits() >> 64) as u64, ip.to_bits() as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn guard(address: u32, network: u32) -> Guard {
        let pace = |burst| Pace {
            per_second: 1,
            burst,
        };
        let limits = Limits {
            address: pace(address),
            network: pace(network),
            peer: pace(2),
            ..Limits::default()
        };
        Guard::new(&limits, 7)
    }

    #[test]
    fn an_address_and_a_network_have_limits_of_their_own() {
        let guard = guard(3, 5);
        for _ in 0..3 {
            assert_eq!(guard.request(0, ip("192.0.2.1")), Ok(()));
        }
        assert_eq!(guard.request(0, ip("192.0.2.1")), Err(Limit::Address));
        assert_eq!(
            guard.request(0, ip("::ffff:192.0.2.1")),
            Err(Limit::Address)
        );
        assert_eq!(guard.request(0, ip("192.0.2.2")), Ok(()));
        assert_eq!(guard.request(0, ip("192.0.2.3")), Ok(()));
        assert_eq!(guard.request(0, ip("192.0.2.4")), Err(Limit::Network));
        // The network next to it has nothing to do with it.
        assert_eq!(guard.request(0, ip("192.0.3.4")), Ok(()));
        // A second later there is one more of each.
        assert_eq!(guard.request(1_000, ip("192.0.2.1")), Ok(()));
        assert_eq!(guard.request(1_000, ip("192.0.2.1")), Err(Limit::Address));
        let stats = guard.stats();
        assert_eq!((stats.address, stats.network), (3, 1));
    }

    #[test]
    fn an_ipv6_host_cannot_escape_within_its_64_nor_its_48() {
        let guard = guard(2, 4);
        assert_eq!(guard.request(0, ip("2001:db8:1:1::1")), Ok(()));
        assert_eq!(guard.request(0, ip("2001:db8:1:1::2")), Ok(()));
        assert_eq!(
            guard.request(0, ip("2001:db8:1:1:ffff::")),
            Err(Limit::Address)
        );
        assert_eq!(guard.request(0, ip("2001:db8:1:2::1")), Ok(()));
        assert_eq!(guard.request(0, ip("2001:db8:1:3::1")), Ok(()));
        assert_eq!(guard.request(0, ip("2001:db8:1:4::1")), Err(Limit::Network));
        assert_eq!(guard.request(0, ip("2001:db8:2::1")), Ok(()));
    }

    #[test]
    fn a_peer_that_hammers_one_torrent_is_told_so_and_others_are_not() {
        let guard = guard(0, 0);
        let (one, two) = (InfoHash([1; 20]), InfoHash([2; 20]));
        let peer = |port| SocketAddr::new(ip("192.0.2.1"), port);
        assert_eq!(guard.announce(0, &one, peer(1)), Ok(()));
        assert_eq!(guard.announce(0, &one, peer(1)), Ok(()));
        assert_eq!(guard.announce(0, &one, peer(1)), Err(Limit::Peer));
        assert_eq!(
            guard.announce(0, &one, peer(2)),
            Ok(()),
            "behind the same NAT"
        );
        assert_eq!(guard.announce(0, &two, peer(1)), Ok(()), "another torrent");
        assert_eq!(guard.announce(1_000, &one, peer(1)), Ok(()));
        assert_eq!(guard.stats().peer, 1);
    }

    #[test]
    fn loopback_and_limits_of_0_are_none() {
        let guard = guard(1, 1);
        for _ in 0..100 {
            assert_eq!(guard.request(0, ip("127.0.0.1")), Ok(()));
            assert_eq!(guard.request(0, ip("::1")), Ok(()));
        }
        guard.set_limits(&Limits {
            address: Pace::ANY,
            network: Pace::ANY,
            ..Limits::default()
        });
        for _ in 0..100 {
            assert_eq!(guard.request(0, ip("192.0.2.1")), Ok(()));
        }
    }
}

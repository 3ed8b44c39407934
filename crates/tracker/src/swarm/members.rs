//! Who is in one swarm: identities, addresses, roles, and the pools that peers are drawn from.
//!
//! A peer is one identity (peer id and key) with at most one address a family. Every address stands
//! in exactly one *pool*: the peers of one family, role and scope. Who may be told to whom is a
//! question of these three alone, so that a fair choice among those that qualify costs O(numwant):
//! nothing is drawn and then thrown away.
//!
//! Costs: find by identity or address O(log n), change of role or address O(log n), a draw
//! O(k log k). Peers live in numbered slots that do not move, so that the walk that expires them
//! can stop anywhere and go on later.

use super::config::Config;
use super::rng::Rng;
use samara_proto::{InfoHash, PeerId};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

pub(super) type Slot = u32;

/// Who a peer is: its id, and the key that proves it where it sends one. Somebody who has read the
/// id in a dictionary reply cannot move or remove a peer that has a key.
pub(super) type Identity = (PeerId, Option<u32>);

/// What a peer is to the swarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Has everything.
    Seed,
    /// Lacks something, and has begun: it has pieces, or has been told of peers.
    Leech,
    /// Has nothing, and has not been told of anybody, since there is no seed.
    Waiting,
}

/// From where an address can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scope {
    Public,
    /// RFC 1918, link-local, shared (RFC 6598), unique local.
    Private,
    Loopback,
}

impl Scope {
    pub(super) fn of(ip: IpAddr) -> Self {
        match ip {
            _ if ip.is_loopback() => Self::Loopback,
            IpAddr::V4(ip) => {
                let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
                if ip.is_private() || ip.is_link_local() || shared {
                    Self::Private
                } else {
                    Self::Public
                }
            }
            IpAddr::V6(ip) if ip.is_unique_local() || ip.is_unicast_link_local() => Self::Private,
            IpAddr::V6(_) => Self::Public,
        }
    }

    /// Whether an asker in this scope can be told of an address in `other`: outward, never inward.
    fn reaches(self, other: Self) -> bool {
        other <= self
    }
}

/// Index of an address family in arrays.
pub(super) fn family(ip: IpAddr) -> usize {
    usize::from(ip.is_ipv6())
}

/// One address of a peer.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    pub(super) addr: SocketAddr,
    /// When it was last heard of.
    pub(super) seen: u64,
    /// Interval that it was told then.
    pub(super) told: u64,
    /// How long it has been seen to take between announces.
    pub(super) pace: u64,
    pub(super) expires: u64,
    /// Its place in its pool.
    at: u32,
}

#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) identity: Identity,
    pub(super) role: Role,
    /// Has lacked something while we knew it.
    pub(super) was_leech: bool,
    /// Its completion has been counted.
    pub(super) counted: bool,
    pub(super) ends: [Option<Endpoint>; 2],
}

impl Peer {
    fn seen(&self) -> u64 {
        let ends = self.ends.iter().flatten();
        ends.map(|end| end.seen).max().unwrap_or(0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Class {
    family: usize,
    role: Role,
    scope: Scope,
}

/// One swarm.
#[derive(Clone, Debug)]
pub(super) struct Swarm {
    pub(super) info_hash: InfoHash,
    slots: Vec<Option<Peer>>,
    free: Vec<Slot>,
    by_identity: BTreeMap<Identity, Slot>,
    by_addr: BTreeMap<SocketAddr, Slot>,
    /// Only the classes that have occurred: one or two in nearly every swarm, 18 at most.
    pools: Vec<(Class, Vec<Slot>)>,
    counts: [u32; 3],
    /// Where the walk that expires goes on.
    cursor: usize,
    pub(super) downloaded: u32,
    pub(super) had_seed: bool,
    /// Bytes of the torrent, where it is registered.
    pub(super) size: Option<u64>,
    /// Most that any peer has said is left.
    pub(super) largest_left: u64,
    pub(super) registered: bool,
    /// How long the membership has been as it is, roughly: see [`Swarm::changed`].
    calm: u64,
    /// Up to when time has been counted as calm.
    settled: u64,
    /// When somebody last announced.
    pub(super) touched: u64,
}

impl Swarm {
    pub(super) fn new(info_hash: InfoHash, now: u64) -> Self {
        Self {
            info_hash,
            slots: Vec::new(),
            free: Vec::new(),
            by_identity: BTreeMap::new(),
            by_addr: BTreeMap::new(),
            pools: Vec::new(),
            counts: [0; 3],
            cursor: 0,
            downloaded: 0,
            had_seed: false,
            size: None,
            largest_left: 0,
            registered: false,
            calm: 0,
            settled: now,
            touched: now,
        }
    }

    pub(super) fn count(&self, role: Role) -> u32 {
        self.counts[role as usize]
    }

    pub(super) fn len(&self) -> usize {
        self.by_identity.len()
    }

    pub(super) fn find(&self, identity: &Identity) -> Option<Slot> {
        self.by_identity.get(identity).copied()
    }

    pub(super) fn peer(&self, slot: Slot) -> Option<&Peer> {
        self.slots.get(slot as usize)?.as_ref()
    }

    pub(super) fn peer_mut(&mut self, slot: Slot) -> Option<&mut Peer> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    /// All peers, in the order of their slots.
    pub(super) fn peers(&self) -> impl Iterator<Item = &Peer> {
        self.slots.iter().flatten()
    }

    /// Lets the time since the last visit count as calm.
    pub(super) fn settle(&mut self, now: u64) {
        self.calm = self.calm.saturating_add(now.saturating_sub(self.settled));
        self.settled = self.settled.max(now);
    }

    /// Notes that a peer has come, left or completed. The calm shrinks by that peer's share of a
    /// turnover: at once to nothing in a swarm of a few, little by little in a large one, where it
    /// comes to rest at the time that a quarter of the swarm takes to change.
    pub(super) fn changed(&mut self, config: &Config) {
        let peers = (self.len() as u64).max(config.turnover).max(1);
        let calm = u128::from(self.calm) * u128::from(config.turnover) / u128::from(peers);
        self.calm = self.calm.saturating_sub(calm as u64);
    }

    pub(super) fn calm(&self) -> u64 {
        self.calm
    }

    /// Adds a peer that has no address yet.
    pub(super) fn insert(&mut self, identity: Identity, role: Role) -> Slot {
        let peer = Peer {
            identity,
            role,
            was_leech: false,
            counted: false,
            ends: [None, None],
        };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(peer);
                slot
            }
            None => {
                self.slots.push(Some(peer));
                (self.slots.len() - 1) as Slot
            }
        };
        self.by_identity.insert(identity, slot);
        self.counts[role as usize] += 1;
        slot
    }

    /// Forgets a peer.
    pub(super) fn remove(&mut self, slot: Slot) {
        self.drop_end(slot, 0);
        self.drop_end(slot, 1);
        let Some(peer) = self.slots.get_mut(slot as usize).and_then(Option::take) else {
            return;
        };
        self.by_identity.remove(&peer.identity);
        self.counts[peer.role as usize] -= 1;
        self.free.push(slot);
        if self.by_identity.is_empty() {
            // Nothing is left to number, and an empty swarm should not cost what a full one did.
            self.slots = Vec::new();
            self.free = Vec::new();
            self.pools = Vec::new();
            self.cursor = 0;
        }
    }

    pub(super) fn set_role(&mut self, slot: Slot, role: Role) {
        let Some(peer) = self.peer(slot) else { return };
        let old = peer.role;
        if old == role {
            return;
        }
        let moved = [0, 1].map(|family| self.leave_pool(slot, family));
        if let Some(peer) = self.peer_mut(slot) {
            peer.role = role;
        }
        self.counts[old as usize] -= 1;
        self.counts[role as usize] += 1;
        for (family, was_there) in moved.into_iter().enumerate() {
            if was_there {
                self.join_pool(slot, family);
            }
        }
    }

    /// Gives a peer an address, in place of the one of that family that it had. Whoever had the
    /// address before loses it, and is forgotten if it was the last.
    pub(super) fn set_end(&mut self, slot: Slot, end: Endpoint) {
        let family = family(end.addr.ip());
        match self.by_addr.get(&end.addr) {
            Some(&holder) if holder != slot => {
                self.drop_end(holder, family);
                if self
                    .peer(holder)
                    .is_some_and(|p| p.ends[1 - family].is_none())
                {
                    self.remove(holder);
                }
            }
            // Nearly every announce: the same peer at the same address.
            Some(_) => {
                let held = self.peer_mut(slot).and_then(|p| p.ends[family].as_mut());
                if let Some(held) = held {
                    *held = Endpoint { at: held.at, ..end };
                }
                return;
            }
            None => {}
        }
        self.drop_end(slot, family);
        self.by_addr.insert(end.addr, slot);
        if let Some(peer) = self.peer_mut(slot) {
            peer.ends[family] = Some(end);
        }
        self.join_pool(slot, family);
    }

    fn drop_end(&mut self, slot: Slot, family: usize) {
        self.leave_pool(slot, family);
        let end = self
            .peer_mut(slot)
            .and_then(|peer| peer.ends[family].take());
        if let Some(end) = end {
            self.by_addr.remove(&end.addr);
        }
    }

    fn class(&self, slot: Slot, family: usize) -> Option<(Class, u32)> {
        let peer = self.peer(slot)?;
        let end = peer.ends[family].as_ref()?;
        let class = Class {
            family,
            role: peer.role,
            scope: Scope::of(end.addr.ip()),
        };
        Some((class, end.at))
    }

    fn join_pool(&mut self, slot: Slot, family: usize) {
        let Some((class, _)) = self.class(slot, family) else {
            return;
        };
        let at = match self.pools.iter_mut().find(|(held, _)| *held == class) {
            Some((_, pool)) => {
                pool.push(slot);
                pool.len() - 1
            }
            None => {
                self.pools.push((class, vec![slot]));
                0
            }
        };
        self.place(slot, family, at);
    }

    /// Takes an address out of its pool; whether it was in one. The last of the pool takes its place.
    fn leave_pool(&mut self, slot: Slot, family: usize) -> bool {
        let Some((class, at)) = self.class(slot, family) else {
            return false;
        };
        let Some((_, pool)) = self.pools.iter_mut().find(|(held, _)| *held == class) else {
            return false;
        };
        pool.swap_remove(at as usize);
        if let Some(&moved) = pool.get(at as usize) {
            self.place(moved, family, at as usize);
        }
        true
    }

    fn place(&mut self, slot: Slot, family: usize, at: usize) {
        let end = self.peer_mut(slot).and_then(|p| p.ends[family].as_mut());
        if let Some(end) = end {
            end.at = at as u32;
        }
    }

    /// Forgets addresses that are overdue, and peers that have none left. Looks at no more than
    /// `budget` peers; says at how many it looked, and whether it came to the end of the swarm.
    pub(super) fn expire(&mut self, now: u64, budget: usize, config: &Config) -> (usize, bool) {
        let mut looked = 0;
        while looked < budget && self.cursor < self.slots.len() {
            let slot = self.cursor as Slot;
            self.cursor += 1;
            looked += 1;
            let Some(peer) = self.peer(slot) else {
                continue;
            };
            let overdue = |end: &Option<Endpoint>| end.as_ref().is_none_or(|e| e.expires <= now);
            match [overdue(&peer.ends[0]), overdue(&peer.ends[1])] {
                [true, true] => {
                    self.remove(slot);
                    self.changed(config);
                }
                [true, false] => self.drop_end(slot, 0),
                [false, true] => self.drop_end(slot, 1),
                [false, false] => {}
            }
        }
        let done = self.cursor >= self.slots.len();
        if done {
            self.cursor = 0;
        }
        (looked, done)
    }

    /// Makes room for one more peer at `ip`, if the limits ask for it or the tracker is `full`; how
    /// many had to go (0 to 2).
    pub(super) fn make_room(
        &mut self,
        ip: IpAddr,
        full: bool,
        config: &Config,
        rng: &mut Rng,
    ) -> u64 {
        let mut evicted = 0;
        if Scope::of(ip) != Scope::Loopback {
            let (first, last) = neighbours(ip);
            let held = self.by_addr.range(first..=last);
            let (mut count, mut oldest) = (0, None);
            for (_, &slot) in held {
                count += 1;
                let seen = self.peer(slot).map_or(0, Peer::seen);
                if oldest.is_none_or(|(least, _)| seen < least) {
                    oldest = Some((seen, slot));
                }
            }
            if count >= config.max_peers_per_address
                && let Some((_, slot)) = oldest
            {
                self.remove(slot);
                evicted += 1;
            }
        }
        if self.len() >= config.max_peers_per_torrent || (full && evicted == 0 && self.len() > 0) {
            let slots = self.slots.len() as u32;
            let oldest = (0..SAMPLES)
                .map(|_| rng.below(slots.max(1)))
                .filter_map(|slot| Some((self.peer(slot)?.seen(), slot)))
                .min();
            let any = || self.by_identity.values().next().map(|slot| (0, *slot));
            if let Some((_, slot)) = oldest.or_else(any) {
                self.remove(slot);
                evicted += 1;
            }
        }
        evicted
    }

    /// Draws `want` addresses for an asker, each of those that qualify equally likely: of `roles`,
    /// reachable from `scope`, not the asker itself. Its own family comes first; the other gets a
    /// quarter, since an asker may well have both, and whatever the first does not fill.
    pub(super) fn draw(
        &self,
        asker: Slot,
        by: &Asker<'_>,
        rng: &mut Rng,
    ) -> Vec<(SocketAddr, PeerId)> {
        let (own, other) = (by.family, 1 - by.family);
        let there = [
            self.eligible(asker, own, by),
            self.eligible(asker, other, by),
        ];
        let to_other = there[1].min(by.want / 4);
        let to_own = there[0].min(by.want - to_other);
        let to_other = there[1].min(by.want - to_own);
        let mut out = Vec::with_capacity((to_own + to_other) as usize);
        let mut picks = Vec::new();
        for (family, n, k) in [(own, there[0], to_own), (other, there[1], to_other)] {
            picks.clear();
            rng.choose(n, k, &mut picks);
            out.extend(
                picks
                    .iter()
                    .filter_map(|&pick| self.nth(asker, family, by, pick)),
            );
        }
        out
    }

    fn qualifying(
        &self,
        family: usize,
        by: &Asker<'_>,
    ) -> impl Iterator<Item = &(Class, Vec<Slot>)> {
        self.pools.iter().filter(move |(class, _)| {
            class.family == family
                && by.roles.contains(&class.role)
                && by.scope.reaches(class.scope)
        })
    }

    fn eligible(&self, asker: Slot, family: usize, by: &Asker<'_>) -> u32 {
        let own = self.class(asker, family).map(|(class, _)| class);
        self.qualifying(family, by)
            .map(|(class, pool)| pool.len() as u32 - u32::from(own == Some(*class)))
            .sum()
    }

    /// The `pick`-th of the qualifying pools laid end to end, the asker left out.
    fn nth(
        &self,
        asker: Slot,
        family: usize,
        by: &Asker<'_>,
        mut pick: u32,
    ) -> Option<(SocketAddr, PeerId)> {
        let own = self.class(asker, family);
        for (class, pool) in self.qualifying(family, by) {
            let hole = own.filter(|(held, _)| held == class).map(|(_, at)| at);
            let len = pool.len() as u32 - u32::from(hole.is_some());
            if pick < len {
                let at = pick + u32::from(hole.is_some_and(|hole| pick >= hole));
                let peer = self.peer(*pool.get(at as usize)?)?;
                let end = peer.ends[family].as_ref()?;
                return Some((end.addr, peer.identity.0));
            }
            pick -= len;
        }
        None
    }
}

/// Slots looked at to find one that can make room.
pub(super) const SAMPLES: usize = 8;

/// What decides who an asker is told of.
#[derive(Debug)]
pub(super) struct Asker<'a> {
    pub(super) family: usize,
    pub(super) scope: Scope,
    pub(super) roles: &'a [Role],
    pub(super) want: u32,
}

impl Endpoint {
    pub(super) fn new(addr: SocketAddr, now: u64, config: &Config) -> Self {
        Self {
            addr,
            seen: now,
            told: 0,
            pace: config.unproven_pace,
            expires: now,
            at: 0,
        }
    }
}

/// First and last address that count as one host: an IPv4 address, or an IPv6 /64.
fn neighbours(ip: IpAddr) -> (SocketAddr, SocketAddr) {
    let last = match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() | u128::from(u64::MAX)).into(),
    };
    let first = match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
    };
    (SocketAddr::new(first, 0), SocketAddr::new(last, u16::MAX))
}

#[cfg(test)]
impl Swarm {
    /// Panics unless every index agrees with every other.
    pub(super) fn check(&self) {
        let peers: Vec<(Slot, &Peer)> = (0..)
            .zip(&self.slots)
            .filter_map(|(slot, peer)| Some((slot, peer.as_ref()?)))
            .collect();
        assert_eq!(peers.len(), self.by_identity.len());
        assert_eq!(peers.len() + self.free.len(), self.slots.len());
        let mut ends = 0;
        let mut counts = [0; 3];
        for (slot, peer) in peers {
            counts[peer.role as usize] += 1;
            assert_eq!(self.by_identity.get(&peer.identity), Some(&slot));
            assert!(peer.ends.iter().any(Option::is_some), "nowhere");
            for (family, end) in peer.ends.iter().enumerate() {
                let Some(end) = end else { continue };
                ends += 1;
                assert_eq!(self.by_addr.get(&end.addr), Some(&slot));
                let (class, at) = self.class(slot, family).expect("has an address");
                let pool = self.pools.iter().find(|(held, _)| *held == class);
                assert_eq!(pool.expect("pool").1[at as usize], slot);
            }
        }
        assert_eq!(counts, self.counts);
        assert_eq!(ends, self.by_addr.len());
        assert_eq!(ends, self.pools.iter().map(|(_, pool)| pool.len()).sum());
    }
}

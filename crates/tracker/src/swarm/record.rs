//! What is kept of a peer: 8 bytes for IPv4, 20 for IPv6.
//!
//! The form on the wire (6 and 18 bytes) and two bytes of our own: until when it is expected, and
//! three bits. What a peer is to the swarm is not written down: it is where in its pool it stands.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

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
            IpAddr::V4(ip) => Self::of_v4(ip),
            IpAddr::V6(ip) => Self::of_v6(ip),
        }
    }

    fn of_v4(ip: Ipv4Addr) -> Self {
        let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
        if ip.is_loopback() {
            Self::Loopback
        } else if ip.is_private() || ip.is_link_local() || shared {
            Self::Private
        } else {
            Self::Public
        }
    }

    fn of_v6(ip: Ipv6Addr) -> Self {
        if ip.is_loopback() {
            Self::Loopback
        } else if ip.is_unique_local() || ip.is_unicast_link_local() {
            Self::Private
        } else {
            Self::Public
        }
    }

    /// Whether an asker in this scope can be told of an address in `other`: outward, never inward.
    pub(super) fn reaches(self, other: Self) -> bool {
        other <= self
    }
}

/// Milliseconds of a tick, in which it is counted until when a peer is expected.
const TICK: u64 = 2_000;

/// Ticks come round after so many; a deadline is one of these. The walk that expires must see every
/// peer within half of it (2.3 hours) of its deadline, else the peer seems to have half of it left.
const TICKS: u16 = 1 << 13;

/// Longest time that a peer can be expected for, in milliseconds: 2.27 hours, twice the two missed
/// announces of the longest interval that anybody asks for.
pub(super) const MAX_LIFE: u64 = (TICKS as u64 / 2 - 1) * TICK;

/// A moment, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tick(u64);

impl Tick {
    pub(super) fn at(now: u64) -> Self {
        Self(now / TICK)
    }
}

/// The two bytes of our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Meta(u16);

impl Meta {
    const COUNTABLE: u16 = 1 << 15;
    const PROMPT: u16 = 1 << 14;
    const PAUSED: u16 = 1 << 13;

    /// Whether its download to the end, once it says so, is still to be counted.
    pub(super) fn countable(self) -> bool {
        self.0 & Self::COUNTABLE != 0
    }

    /// Whether it has been seen to come when it was told to.
    pub(super) fn prompt(self) -> bool {
        self.0 & Self::PROMPT != 0
    }

    /// Whether it wants no more than it has (BEP 21).
    pub(super) fn paused(self) -> bool {
        self.0 & Self::PAUSED != 0
    }

    fn with(self, bit: u16, on: bool) -> Self {
        Self(if on { self.0 | bit } else { self.0 & !bit })
    }

    pub(super) fn with_countable(self, on: bool) -> Self {
        self.with(Self::COUNTABLE, on)
    }

    pub(super) fn with_prompt(self, on: bool) -> Self {
        self.with(Self::PROMPT, on)
    }

    pub(super) fn with_paused(self, on: bool) -> Self {
        self.with(Self::PAUSED, on)
    }

    /// Expected for `life` milliseconds from `now`; rounded up to a tick.
    pub(super) fn with_life(self, now: u64, life: u64) -> Self {
        let deadline = (now + life.min(MAX_LIFE)).div_ceil(TICK);
        Self(self.0 & !(TICKS - 1) | (deadline % u64::from(TICKS)) as u16)
    }

    /// Ticks until it is overdue; 0 if it is.
    pub(super) fn remaining_ticks(self, now: Tick) -> u16 {
        let deadline = self.0 & (TICKS - 1);
        let remaining = deadline.wrapping_sub((now.0 % u64::from(TICKS)) as u16) & (TICKS - 1);
        if remaining < TICKS / 2 { remaining } else { 0 }
    }

    pub(super) fn overdue(self, now: Tick) -> bool {
        self.remaining_ticks(now) == 0
    }

    /// Milliseconds until it is overdue, 2,000 too many at the most; 0 if it is.
    pub(super) fn remaining(self, now: u64) -> u64 {
        let ticks = u64::from(self.remaining_ticks(Tick::at(now)));
        (ticks * TICK).saturating_sub(now % TICK)
    }
}

/// An address, and what is known of who is there.
pub(super) trait Record: Copy + Default {
    /// Whether it is the same address and port.
    fn same(&self, other: &Self) -> bool;
    /// Whether it counts as the same host: an IPv4 address, an IPv6 /64.
    fn same_host(&self, other: &Self) -> bool;
    /// A number of address and port, for a table.
    fn hash(&self, key: u64) -> u64;
    /// A number of the host.
    fn host_hash(&self, key: u64) -> u64;
    fn meta(&self) -> Meta;
    fn set_meta(&mut self, meta: Meta);
    fn scope(&self) -> Scope;
    fn addr(&self) -> SocketAddr;
}

/// An IPv4 peer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Four {
    ip: u32,
    port: u16,
    meta: Meta,
}

/// An IPv6 peer. Bytes, so that an array of them has no gaps.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Six {
    ip: [u8; 16],
    port: u16,
    meta: Meta,
}

const _: () = assert!(size_of::<Four>() == 8 && size_of::<Six>() == 20);

/// A multiplication folded onto itself, as in wyhash. Without the key, nobody can choose numbers that
/// meet.
pub(crate) fn mix(value: u64, key: u64) -> u64 {
    let wide = u128::from(value ^ key) * 0x9e37_79b9_7f4a_7c15;
    (wide >> 64) as u64 ^ wide as u64
}

impl Four {
    pub(super) fn new(ip: Ipv4Addr, port: u16) -> Self {
        Self {
            ip: ip.to_bits(),
            port,
            meta: Meta::default(),
        }
    }

    pub(super) fn ip(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.ip)
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

impl Record for Four {
    fn same(&self, other: &Self) -> bool {
        self.ip == other.ip && self.port == other.port
    }

    fn same_host(&self, other: &Self) -> bool {
        self.ip == other.ip
    }

    fn hash(&self, key: u64) -> u64 {
        mix(u64::from(self.ip) << 16 | u64::from(self.port), key)
    }

    fn host_hash(&self, key: u64) -> u64 {
        mix(self.ip.into(), !key)
    }

    fn meta(&self) -> Meta {
        self.meta
    }

    fn set_meta(&mut self, meta: Meta) {
        self.meta = meta;
    }

    fn scope(&self) -> Scope {
        Scope::of_v4(self.ip())
    }

    fn addr(&self) -> SocketAddr {
        SocketAddr::new(self.ip().into(), self.port)
    }
}

impl Six {
    pub(super) fn new(ip: Ipv6Addr, port: u16) -> Self {
        Self {
            ip: ip.octets(),
            port,
            meta: Meta::default(),
        }
    }

    pub(super) fn ip(&self) -> Ipv6Addr {
        Ipv6Addr::from(self.ip)
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Network and host part.
    fn halves(&self) -> [u64; 2] {
        let bits = u128::from_be_bytes(self.ip);
        [(bits >> 64) as u64, bits as u64]
    }
}

impl Record for Six {
    fn same(&self, other: &Self) -> bool {
        self.ip == other.ip && self.port == other.port
    }

    fn same_host(&self, other: &Self) -> bool {
        self.halves()[0] == other.halves()[0]
    }

    fn hash(&self, key: u64) -> u64 {
        let [net, host] = self.halves();
        mix(mix(net, key) ^ host, key.rotate_left(32)) ^ mix(self.port.into(), key)
    }

    fn host_hash(&self, key: u64) -> u64 {
        mix(self.halves()[0], !key)
    }

    fn meta(&self) -> Meta {
        self.meta
    }

    fn set_meta(&mut self, meta: Meta) {
        self.meta = meta;
    }

    fn scope(&self) -> Scope {
        Scope::of_v6(self.ip())
    }

    fn addr(&self) -> SocketAddr {
        SocketAddr::new(self.ip().into(), self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_come_round() {
        for start in [0, 1, 1_999, 2_000, 16_383_000, 16_384_000, 1_000_000_007] {
            let meta = Meta::default().with_prompt(true).with_life(start, 20_000);
            assert!(!meta.overdue(Tick::at(start)));
            assert!(!meta.overdue(Tick::at(start + 19_999)), "{start}");
            assert!(meta.overdue(Tick::at(start + 22_000)));
            assert!(meta.overdue(Tick::at(start + 8_000_000)), "seen late");
            let remaining = meta.remaining(start);
            assert!((20_000..22_000).contains(&remaining), "{start} {remaining}");
            let longest = meta.with_life(start, u64::MAX / 2);
            assert!(!longest.overdue(Tick::at(start + MAX_LIFE - 2_000)));
            assert!(longest.overdue(Tick::at(start + MAX_LIFE + 2_000)));
            assert!(longest.prompt() && !longest.countable() && !longest.paused());
        }
    }

    #[test]
    fn bits_do_not_touch_each_other() {
        let meta = Meta::default()
            .with_countable(true)
            .with_paused(true)
            .with_life(0, 7_000);
        assert!(meta.countable() && meta.paused() && !meta.prompt());
        let meta = meta.with_countable(false);
        assert!(!meta.countable() && meta.paused());
        assert_eq!(meta.remaining_ticks(Tick::at(0)), 4);
    }
}

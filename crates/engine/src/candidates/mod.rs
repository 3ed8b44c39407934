//! Addresses that may be peers, and which of them to dial.

use crate::rng::Rng;
use crate::time::{Duration, Instant};
use core::net::{IpAddr, Ipv6Addr, SocketAddr};
use samara_proto::PeerId;
use std::collections::{BTreeMap, BTreeSet};

/// Addresses kept. A flood of them from a tracker or a peer costs this much memory and no more.
const CANDIDATES_MAX: usize = 2000;

/// Bans kept; the oldest addresses are not forgotten, new ones are then only disconnected.
const BANS_MAX: usize = 4000;

/// First pause after a failure; it doubles with each.
const RETRY_MIN: Duration = Duration::from_secs(2);

/// Longest pause between two attempts.
const RETRY_MAX: Duration = Duration::from_secs(600);

/// After this many failures in a row an address is forgotten; a tracker may name it again.
const FAILURES_MAX: u32 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Connected,
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    state: State,
    failures: u32,
    retry_at: Instant,
    /// It had everything when we last met.
    seed: bool,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Candidates {
    known: BTreeMap<SocketAddr, Candidate>,
    banned_ips: BTreeSet<IpAddr>,
    banned_addrs: BTreeSet<SocketAddr>,
    banned_ids: BTreeSet<PeerId>,
    /// Dials that are not answered yet. Beside the candidates, and not a state of theirs: what a peer says of
    /// itself changes those, and must not change how many dials we count.
    dialling: BTreeSet<SocketAddr>,
    rng: Rng,
}

impl Candidates {
    pub(crate) fn new(rng: Rng) -> Self {
        Self {
            known: BTreeMap::new(),
            banned_ips: BTreeSet::new(),
            banned_addrs: BTreeSet::new(),
            banned_ids: BTreeSet::new(),
            dialling: BTreeSet::new(),
            rng,
        }
    }

    /// Dials under way.
    pub(crate) fn dialling(&self) -> usize {
        self.dialling.len()
    }

    /// Notes an address. Unusable ones (port 0, unspecified, multicast, banned) are left out.
    pub(crate) fn add(&mut self, now: Instant, addr: SocketAddr) {
        let usable = addr.port() != 0 && !addr.ip().is_unspecified() && !addr.ip().is_multicast();
        if !usable || self.is_banned(addr, None) || self.known.contains_key(&addr) {
            return;
        }
        if self.known.len() >= CANDIDATES_MAX && !self.evict() {
            return;
        }
        let fresh = Candidate {
            state: State::Idle,
            failures: 0,
            retry_at: now,
            seed: false,
        };
        self.known.insert(addr, fresh);
    }

    /// Makes room by forgetting the idle address that failed most.
    fn evict(&mut self) -> bool {
        let idle = self.known.iter().filter(|(addr, c)| self.is_free(addr, c));
        let worst = idle.max_by_key(|(_, c)| c.failures).map(|(addr, _)| *addr);
        worst.is_some_and(|addr| self.known.remove(&addr).is_some())
    }

    /// Neither connected nor being dialled.
    fn is_free(&self, addr: &SocketAddr, candidate: &Candidate) -> bool {
        candidate.state == State::Idle && !self.dialling.contains(addr)
    }

    /// Takes up to `want` addresses to dial now, at random. `seeds_too`: whether to bother those that
    /// have everything.
    pub(crate) fn take(&mut self, now: Instant, want: usize, seeds_too: bool) -> Vec<SocketAddr> {
        let mut due: Vec<SocketAddr> = self
            .known
            .iter()
            .filter(|(addr, c)| {
                self.is_free(addr, c) && c.retry_at <= now && (seeds_too || !c.seed)
            })
            .map(|(addr, _)| *addr)
            .collect();
        self.rng.shuffle(&mut due);
        due.truncate(want);
        self.dialling.extend(&due);
        due
    }

    /// When the next address is due; `None` if none is idle.
    pub(crate) fn next_due(&self, seeds_too: bool) -> Option<Instant> {
        let idle = self
            .known
            .iter()
            .filter(|(addr, c)| self.is_free(addr, c) && (seeds_too || !c.seed));
        idle.map(|(_, c)| c.retry_at).min()
    }

    /// A dial came to nothing.
    pub(crate) fn failed(&mut self, now: Instant, addr: SocketAddr) {
        self.dialling.remove(&addr);
        let Some(candidate) = self.known.get_mut(&addr) else {
            return;
        };
        candidate.state = State::Idle;
        candidate.failures += 1;
        let pause = RETRY_MIN
            .times(1 << candidate.failures.min(20))
            .min(RETRY_MAX);
        candidate.retry_at = now + pause;
        if candidate.failures >= FAILURES_MAX {
            self.known.remove(&addr);
        }
    }

    /// A dial succeeded.
    pub(crate) fn connected(&mut self, addr: SocketAddr) {
        self.dialling.remove(&addr);
        self.met(addr);
    }

    fn met(&mut self, addr: SocketAddr) {
        if let Some(candidate) = self.known.get_mut(&addr) {
            candidate.state = State::Connected;
            candidate.failures = 0;
        }
    }

    /// A peer that we did not dial turns out to listen at `addr`.
    pub(crate) fn listens(&mut self, now: Instant, addr: SocketAddr) {
        self.add(now, addr);
        self.met(addr);
    }

    /// The connection to `addr` is gone. `pause`: before it is worth another try.
    pub(crate) fn gone(&mut self, now: Instant, addr: SocketAddr, pause: Duration, seed: bool) {
        if let Some(candidate) = self.known.get_mut(&addr) {
            candidate.state = State::Idle;
            candidate.seed = seed;
            candidate.retry_at = now + pause.max(RETRY_MIN);
        }
    }

    /// The peer is not spoken to again. A public address is banned whole; behind a private or
    /// loopback one there may be many peers, so there only this port and this peer id are.
    pub(crate) fn ban(
        &mut self,
        addr: SocketAddr,
        listens: Option<SocketAddr>,
        id: Option<PeerId>,
    ) {
        if self.banned_ids.len() + self.banned_addrs.len() + self.banned_ips.len() >= BANS_MAX {
            return;
        }
        if is_shared(addr.ip()) {
            self.banned_addrs.insert(addr);
            self.banned_addrs.extend(listens);
            self.banned_ids.extend(id);
        } else {
            self.banned_ips.insert(network(addr.ip()));
        }
        for addr in [Some(addr), listens].into_iter().flatten() {
            self.known.remove(&addr);
        }
    }

    /// Whether the peer is banned.
    pub(crate) fn is_banned(&self, addr: SocketAddr, id: Option<PeerId>) -> bool {
        self.banned_ips.contains(&network(addr.ip()))
            || self.banned_addrs.contains(&addr)
            || id.is_some_and(|id| self.banned_ids.contains(&id))
    }

    /// Never dial this address again: it is our own.
    pub(crate) fn forget(&mut self, addr: SocketAddr) {
        self.known.remove(&addr);
        if self.banned_addrs.len() < BANS_MAX {
            self.banned_addrs.insert(addr);
        }
    }
}

/// Whether many hosts may be behind one address of this kind.
#[must_use]
pub fn is_shared(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// What one host can have as many addresses of as it likes: an IPv4 address, or an IPv6 /64.
#[must_use]
pub fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Seed;

    fn at(secs: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(secs)
    }

    fn addr(n: u32) -> SocketAddr {
        SocketAddr::from((n.to_be_bytes(), 6881))
    }

    fn candidates() -> Candidates {
        Candidates::new(Rng::new(Seed(1), "candidates"))
    }

    #[test]
    fn failures_are_tried_again_later_and_forgotten_in_the_end() {
        let mut c = candidates();
        c.add(at(0), addr(0x0102_0304));
        let mut now = at(0);
        let mut last_pause = 0;
        for failure in 1..=FAILURES_MAX {
            assert_eq!(c.take(now, 9, true), [addr(0x0102_0304)]);
            assert_eq!(c.take(now, 9, true), []);
            c.failed(now, addr(0x0102_0304));
            assert_eq!(c.dialling(), 0);
            if failure < FAILURES_MAX {
                let due = c.next_due(true).expect("known");
                let pause = due.since(now).as_secs();
                assert!(pause > last_pause);
                (now, last_pause) = (due, pause);
            }
        }
        assert_eq!(c.next_due(true), None);
    }

    #[test]
    fn floods_are_bounded() {
        let mut c = candidates();
        for n in 0..10_000 {
            c.add(at(0), addr(0x0800_0000 + n));
        }
        assert_eq!(c.known.len(), CANDIDATES_MAX);
        let picked = c.take(at(0), 5, true);
        assert_eq!(picked.len(), 5);
        assert_eq!(c.dialling(), 5);
    }

    #[test]
    fn useless_addresses_are_left_out() {
        let mut c = candidates();
        for text in [
            "1.2.3.4:0",
            "0.0.0.0:6881",
            "224.0.0.1:6881",
            "[::]:1",
            "[ff02::1]:6881",
        ] {
            c.add(at(0), text.parse().expect("valid"));
        }
        assert_eq!(c.take(at(0), 9, true), []);
    }

    #[test]
    fn bans_hold_for_public_hosts_and_for_single_peers_behind_shared_addresses() {
        let mut c = candidates();
        let public: SocketAddr = "8.8.8.8:1000".parse().expect("valid");
        c.ban(public, None, Some(PeerId([1; 20])));
        assert!(c.is_banned("8.8.8.8:2000".parse().expect("valid"), None));
        assert!(!c.is_banned(addr(0x0909_0909), Some(PeerId([1; 20]))));
        c.ban("[2a00:1:2:3::1]:1".parse().expect("valid"), None, None);
        assert!(c.is_banned("[2a00:1:2:3:4::5]:6".parse().expect("valid"), None));
        assert!(!c.is_banned("[2a00:1:2:4::1]:1".parse().expect("valid"), None));
        let local: SocketAddr = "127.0.0.1:50000".parse().expect("valid");
        let listens: SocketAddr = "127.0.0.1:6881".parse().expect("valid");
        c.ban(local, Some(listens), Some(PeerId([2; 20])));
        assert!(c.is_banned(local, None) && c.is_banned(listens, None));
        let neighbour: SocketAddr = "127.0.0.1:6882".parse().expect("valid");
        assert!(!c.is_banned(neighbour, Some(PeerId([3; 20]))));
        assert!(
            c.is_banned(neighbour, Some(PeerId([2; 20]))),
            "the same peer, back on a new port"
        );
        c.add(at(0), listens);
        assert_eq!(c.take(at(0), 9, true), []);
    }

    #[test]
    fn seeds_do_not_dial_seeds() {
        let mut c = candidates();
        c.add(at(0), addr(0x0102_0304));
        c.take(at(0), 1, true);
        c.connected(addr(0x0102_0304));
        c.gone(at(0), addr(0x0102_0304), Duration::ZERO, true);
        assert_eq!(c.take(at(100), 1, false), []);
        assert_eq!(c.take(at(100), 1, true).len(), 1);
    }

    /// Found by fuzzing: who came in by itself and names an address that we are dialling made us forget the
    /// dial, so that more than the limit could be under way.
    #[test]
    fn attack_21_who_names_an_address_that_is_dialled_does_not_end_the_dial() {
        let mut all = candidates();
        (1..=9).for_each(|n| all.add(at(0), addr(n)));
        let dialled = all.take(at(0), 3, true);
        assert_eq!(all.dialling(), 3);
        for dialled in &dialled {
            all.listens(at(1), *dialled);
            assert_eq!(all.dialling(), 3);
            all.gone(at(2), *dialled, Duration::ZERO, false);
            assert_eq!(all.dialling(), 3);
        }
        // Not dialled twice at once, though its pause is over.
        assert_eq!(all.take(at(100), 9, true).len(), 6);
        all.ban(dialled[0], None, None);
        assert_eq!(all.dialling(), 9);
        dialled.iter().for_each(|addr| all.failed(at(101), *addr));
        assert_eq!(all.dialling(), 6);
    }
}

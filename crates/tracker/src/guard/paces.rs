//! Many paces in a table that never grows.
//!
//! A generic cell rate algorithm (ITU-T I.371) in a sketch: what is kept for a key is the moment at
//! which its burst would be whole again, in two places of a table that are found by two keyed hashes. The
//! earlier of the two is what counts (as in a count-min sketch), so that a key is limited by others only
//! where *both* of its places are held by others that are at their limit. Nothing is evicted, nothing is
//! locked, nothing about anybody is kept but two times. Who wants to lock out everybody has to
//! keep half of the table at its limit, which is [`SLOTS`] / 2 times the pace of one.

use super::Pace;
use crate::swarm::mix;
use std::sync::atomic::{AtomicU64, Ordering};

/// Places of a table: 512 KiB, which stay in a core's second-level cache.
pub(super) const SLOTS: usize = 1 << 16;

/// Parts of a millisecond, as a shift: a pace of a million a second is one every thousand of them.
const FINE: u32 = 20;

/// Longest that anybody can be kept out by what has been: an hour, in milliseconds.
const MEMORY: u64 = 3_600_000;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Paces {
    slots: Box<[AtomicU64]>,
    keys: [u64; 2],
    /// Parts of a millisecond that a request costs; 0 is no limit.
    cost: AtomicU64,
    /// Parts of a millisecond that may be owed.
    credit: AtomicU64,
}

impl Paces {
    pub(super) fn new(pace: Pace, keys: [u64; 2]) -> Self {
        let paces = Self {
            slots: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
            keys,
            cost: AtomicU64::new(0),
            credit: AtomicU64::new(0),
        };
        paces.set_pace(pace);
        paces
    }

    pub(super) fn set_pace(&self, pace: Pace) {
        let cost = (1_000_u64 << FINE)
            .checked_div(pace.per_second.into())
            .unwrap_or(0);
        let credit = cost.saturating_mul(pace.burst.max(1).into());
        self.credit
            .store(credit.min(MEMORY << FINE), Ordering::Relaxed);
        self.cost.store(cost, Ordering::Relaxed);
    }

    /// Whether `key` may have one more, at `now` in milliseconds.
    pub(super) fn take(&self, now: u64, key: u64) -> bool {
        let cost = self.cost.load(Ordering::Relaxed);
        if cost == 0 {
            return true;
        }
        let now = now << FINE;
        let slots = self.keys.map(|secret| {
            let place = mix(mix(key, secret), !secret) as usize % SLOTS;
            self.slots.get(place)
        });
        let [Some(one), Some(two)] = slots else {
            return true; // there are SLOTS of them
        };
        let held = |slot: &AtomicU64| slot.load(Ordering::Relaxed);
        let next = held(one).min(held(two)).max(now) + cost;
        if next - now > self.credit.load(Ordering::Relaxed) {
            return false;
        }
        // Whoever is further on in one of them stays there. Two threads at once may count one for two:
        // that is what a limit can bear, and a lock is not.
        one.fetch_max(next, Ordering::Relaxed);
        two.fetch_max(next, Ordering::Relaxed);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paces(per_second: u32, burst: u32) -> Paces {
        Paces::new(Pace { per_second, burst }, [3, 5])
    }

    #[test]
    fn a_burst_and_then_the_pace() {
        let paces = paces(10, 5);
        let start = 864_000_000;
        assert_eq!((0..20).filter(|_| paces.take(start, 1)).count(), 5);
        // In ten seconds there are a hundred, however often it is asked.
        let given = (0..10_000).filter(|ms| paces.take(start + ms, 1)).count();
        assert!((99..=100).contains(&given), "{given}");
        // A pause brings the burst back, and no more than it.
        assert_eq!((0..20).filter(|_| paces.take(start + 60_000, 1)).count(), 5);
    }

    /// A flood from as many networks as there are places does not shut out whoever asks now and then.
    #[test]
    fn a_flood_leaves_room_for_others() {
        let paces = paces(10, 10);
        for ms in 0..1_000 {
            // Five hundred networks, each ten times beyond its pace.
            for n in 0..50 {
                paces.take(ms, 1_000 + (ms * 50 + n) % 500);
            }
        }
        let shut_out = (0..10_000)
            .filter(|n| !paces.take(1_000, 1_000_000 + n))
            .count();
        // Both places taken by those at their limit: (1000 / 65536)^2 = 1 in 4,300.
        assert!(shut_out <= 15, "{shut_out} of 10000");
    }

    #[test]
    fn the_largest_numbers_do_no_harm() {
        for pace in [(1, u32::MAX), (u32::MAX, u32::MAX), (u32::MAX, 0), (1, 0)] {
            let paces = paces(pace.0, pace.1);
            assert!(paces.take(0, u64::MAX), "{pace:?}");
            assert!(paces.take(1 << 40, 0), "{pace:?}");
        }
    }
}

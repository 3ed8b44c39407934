//! Rates as rolling averages.

use crate::time::{Duration, Instant, bytes_per_second};

const SLOTS: usize = 20;
const WIDTH: Duration = Duration::from_secs(1);

/// Bytes a second over the last 20 s (Cohen 2003), in slots of one second. Adding is O(1), reading
/// O(slots).
#[derive(Clone, Debug, Default)]
pub(crate) struct Rate {
    slots: [u64; SLOTS],
    /// Number of the newest slot, counted from the start of the run.
    newest: u64,
    began: Option<Instant>,
}

impl Rate {
    /// Bytes passed.
    pub(crate) fn add(&mut self, now: Instant, bytes: u64) {
        self.began.get_or_insert(now);
        self.roll(now);
        if let Some(slot) = self.slots.get_mut(place(self.newest)) {
            *slot += bytes;
        }
    }

    /// Bytes a second over the last 20 s, or since the first byte if that is more recent.
    pub(crate) fn rolling(&self, now: Instant) -> u64 {
        self.over(now, SLOTS as u64)
    }

    /// Bytes a second over the last 3 s: what people want to see.
    pub(crate) fn recent(&self, now: Instant) -> u64 {
        self.over(now, 3)
    }

    /// Bytes a second over the last 20 s that are more than a `burst` in which buffers were filled.
    pub(crate) fn sustained(&self, now: Instant, burst: u64) -> u64 {
        let (bytes, elapsed) = self.sum(now, SLOTS as u64);
        bytes_per_second(bytes.saturating_sub(burst), elapsed)
    }

    fn over(&self, now: Instant, slots: u64) -> u64 {
        let (bytes, elapsed) = self.sum(now, slots);
        bytes_per_second(bytes, elapsed)
    }

    /// Bytes in the last slots, and the time that these have lasted.
    fn sum(&self, now: Instant, slots: u64) -> (u64, Duration) {
        let least = Duration::from_millis(500);
        let Some(began) = self.began else {
            return (0, least);
        };
        let current = slot_of(now);
        let oldest = (current + 1).saturating_sub(slots);
        let kept = (self.newest + 1).saturating_sub(SLOTS as u64);
        let sum = (oldest.max(kept)..=self.newest.min(current))
            .filter_map(|slot| self.slots.get(place(slot)))
            .sum();
        let from = Instant::ZERO + WIDTH.times(oldest);
        let elapsed = now.since(from.max(began));
        // The first bytes come in a burst: a rate over less than half a second means little.
        (sum, elapsed.max(least))
    }

    fn roll(&mut self, now: Instant) {
        let current = slot_of(now);
        if current >= self.newest + SLOTS as u64 {
            self.slots = [0; SLOTS];
        } else {
            for slot in self.newest + 1..=current {
                if let Some(slot) = self.slots.get_mut(place(slot)) {
                    *slot = 0;
                }
            }
        }
        self.newest = self.newest.max(current);
    }
}

fn place(slot: u64) -> usize {
    slot as usize % SLOTS
}

fn slot_of(now: Instant) -> u64 {
    now.as_nanos() / WIDTH.as_nanos()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    #[test]
    fn steady_traffic_has_its_rate() {
        let mut rate = Rate::default();
        for tenth in 0..600 {
            rate.add(at(tenth * 100), 1000);
        }
        let rolling = rate.rolling(at(60_000));
        assert!((9_400..10_100).contains(&rolling), "{rolling}");
        assert!((9_000..10_100).contains(&rate.recent(at(60_000))));
    }

    #[test]
    fn what_filled_a_buffer_is_not_sustained() {
        let mut rate = Rate::default();
        rate.add(at(0), 1_000_000);
        for second in 0..10 {
            rate.add(at(second * 1000), 50_000);
        }
        assert!(rate.recent(at(1000)) > 1_000_000);
        for second in 1..10 {
            let sustained = rate.sustained(at(second * 1000), 1_000_000);
            assert!((50_000..110_000).contains(&sustained), "{sustained}");
        }
        assert_eq!(rate.sustained(at(9000), 1 << 40), 0);
    }

    #[test]
    fn old_traffic_is_forgotten() {
        let mut rate = Rate::default();
        rate.add(at(0), 1_000_000);
        assert!(rate.rolling(at(1000)) > 0);
        assert_eq!(rate.recent(at(10_000)), 0);
        assert_eq!(rate.rolling(at(25_000)), 0);
        rate.add(at(100_000), 10);
        assert_eq!(rate.rolling(at(100_000)), 0);
        assert_eq!(rate.rolling(at(101_000)), 0);
        rate.add(at(101_000), 100_000);
        assert!(rate.rolling(at(101_000)) > 4_000);
    }
}

//! What happens next: events ordered by (time, sequence), so that what is said first at one moment
//! happens first, in every run.
//!
//! A calendar (Brown 1988) of three parts. What is due within a millisecond is in a small heap, which the nearest
//! cache holds; what is due within four seconds lies unordered in slots of a millisecond, each of which becomes
//! the small heap when its turn comes; the rest is in a heap of its own. Nearly all events are about blocks, which are due
//! within seconds, so a push appends to a slot, and a pop sees the events of one millisecond instead of all.

use core::cmp::Ordering;
use samara_engine::Instant;
use std::collections::BinaryHeap;

/// Width of a slot as a power of two of nanoseconds: 1.05 ms. Ten thousand hosts at 400 kbit/s have 160 events in it.
const WIDTH: u32 = 20;

/// Slots of the calendar: 4.3 s. The clocks that tick every second fit, those of ten seconds do not.
const SLOTS: u64 = 4096;

/// Empty slots whose memory is kept for the next that is filled.
const SPARE_MAX: usize = 64;

#[derive(Debug)]
struct Entry<E> {
    at: Instant,
    sequence: u64,
    event: E,
}

impl<E> Entry<E> {
    fn slot(&self) -> u64 {
        self.at.as_nanos() >> WIDTH
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    /// Reversed: the heap is a max-heap, and the earliest is wanted.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}

/// Events to come. A push is O(1) for what is due within seconds; a pop is O(log n) in the events of a millisecond.
#[derive(Debug)]
pub struct Queue<E> {
    /// All events of the slots before `next`.
    near: BinaryHeap<Entry<E>>,
    /// The first slot whose events are not in `near`.
    next: u64,
    /// Events of slot `s`, for `s` from `next` to `next + SLOTS`, stand at `s % SLOTS`.
    slots: Vec<Vec<Entry<E>>>,
    /// A bit for each of them that is not empty.
    filled: Vec<u64>,
    /// All that is later.
    far: BinaryHeap<Entry<E>>,
    spare: Vec<Vec<Entry<E>>>,
    pushed: u64,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self {
            near: BinaryHeap::new(),
            next: 0,
            slots: core::iter::repeat_with(Vec::new)
                .take(SLOTS as usize)
                .collect(),
            filled: vec![0; SLOTS as usize / 64],
            far: BinaryHeap::new(),
            spare: Vec::new(),
            pushed: 0,
        }
    }
}

impl<E> Queue<E> {
    /// `event` happens at `at`, after everything that was pushed for that moment before.
    pub fn push(&mut self, at: Instant, event: E) {
        let entry = Entry {
            at,
            sequence: self.pushed,
            event,
        };
        self.pushed += 1;
        let slot = entry.slot();
        if slot < self.next {
            self.near.push(entry);
        } else if slot < self.next + SLOTS {
            self.file(entry);
        } else {
            self.far.push(entry);
        }
    }

    /// The earliest event.
    pub fn pop(&mut self) -> Option<(Instant, E)> {
        loop {
            if let Some(entry) = self.near.pop() {
                return Some((entry.at, entry.event));
            }
            self.turn()?;
        }
    }

    /// Events pushed so far: the cost of a run in the simulator's own coin.
    #[must_use]
    pub fn pushed(&self) -> u64 {
        self.pushed
    }

    /// Puts an event into its slot.
    fn file(&mut self, entry: Entry<E>) {
        let at = (entry.slot() % SLOTS) as usize;
        let into = &mut self.slots[at];
        if into.is_empty() {
            self.filled[at / 64] |= 1 << (at % 64);
            if into.capacity() == 0 {
                *into = self.spare.pop().unwrap_or_default();
            }
        }
        into.push(entry);
    }

    /// Makes the next slot that has events the small heap; `None` if no events are left.
    fn turn(&mut self) -> Option<()> {
        match self.next_filled() {
            Some(slot) => {
                let at = (slot % SLOTS) as usize;
                self.filled[at / 64] &= !(1 << (at % 64));
                let events = core::mem::take(&mut self.slots[at]);
                let emptied = core::mem::replace(&mut self.near, BinaryHeap::from(events));
                if self.spare.len() < SPARE_MAX {
                    self.spare.push(emptied.into_vec());
                }
                self.next = slot + 1;
            }
            // What is far is later than any slot: the calendar goes on there.
            None => self.next = self.far.peek()?.slot(),
        }
        while let Some(entry) = self.far.peek()
            && entry.slot() < self.next + SLOTS
            && let Some(entry) = self.far.pop()
        {
            self.file(entry);
        }
        Some(())
    }

    /// The first slot from `next` on that has events.
    fn next_filled(&self) -> Option<u64> {
        let begin = self.next % SLOTS;
        let words = self.filled.len();
        let first = (begin / 64) as usize;
        // The word where it begins is looked at twice: from there on, and at the end what is before.
        (0..=words).find_map(|step| {
            let at = (first + step) % words;
            let mut word = self.filled[at];
            let from = begin % 64;
            if step == 0 {
                word &= u64::MAX << from;
            } else if step == words {
                word &= !(u64::MAX << from);
            }
            (word != 0).then(|| {
                let place = at as u64 * 64 + u64::from(word.trailing_zeros());
                self.next + (place + SLOTS - begin) % SLOTS
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use samara_engine::Seed;
    use samara_engine::rng::Rng;

    #[test]
    fn by_time_then_by_order_of_pushing() {
        let mut queue = Queue::default();
        for (at, name) in [(5, 'c'), (1, 'a'), (5, 'd'), (1, 'b')] {
            queue.push(Instant::from_nanos(at), name);
        }
        let order: String = core::iter::from_fn(|| queue.pop().map(|(_, name)| name)).collect();
        assert_eq!(order, "abcd");
    }

    /// Against a plain sorted list: times from the same moment to far beyond the calendar, pushed while others are popped.
    #[test]
    fn as_a_sorted_list_does() {
        let mut rng = Rng::new(Seed(1), "queue");
        let mut queue = Queue::default();
        let mut list: Vec<(Instant, u32)> = Vec::new();
        let mut now = Instant::ZERO;
        for number in 0..20_000 {
            let reach = [0, 1_000, 1 << WIDTH, 1 << 30, SLOTS << WIDTH, 1 << 40];
            let within = *rng.choose(&reach).expect("there are some");
            let later = (u128::from(rng.next_u64()) * u128::from(within)) >> 64;
            let at = Instant::from_nanos(now.as_nanos() + later as u64);
            queue.push(at, number);
            list.push((at, number));
            if rng.one_in(2) {
                let least = (0..list.len()).min_by_key(|&place| list[place]);
                let expected = least.map(|place| list.swap_remove(place));
                assert_eq!(queue.pop(), expected);
                now = expected.map_or(now, |(at, _)| at);
            }
            if rng.one_in(500) {
                list.sort_unstable();
                for expected in list.drain(..) {
                    assert_eq!(queue.pop(), Some(expected));
                    now = expected.0;
                }
                assert_eq!(queue.pop(), None);
            }
        }
    }
}

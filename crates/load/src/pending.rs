//! Which questions wait for an answer, shared between who asks and who listens.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Questions that may wait; the next takes the place of the oldest, which is then unanswered.
const PLACE_BITS: u32 = 20;
const PLACES: usize = 1 << PLACE_BITS;

/// What kind of a question a transaction id belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Announce,
    Scrape,
    Connect,
    /// One that must not be answered.
    Forged,
}

const KINDS: [Kind; 4] = [Kind::Announce, Kind::Scrape, Kind::Connect, Kind::Forged];

/// See the module's documentation. Times are nanoseconds since the start, plus one: 0 is "nobody".
#[derive(Debug)]
pub(crate) struct Pending {
    places: Vec<(AtomicU64, AtomicU32)>,
    next: AtomicU32,
    unanswered: AtomicU64,
}

impl Default for Pending {
    fn default() -> Self {
        Self {
            places: (0..PLACES).map(|_| Default::default()).collect(),
            next: AtomicU32::new(0),
            unanswered: AtomicU64::new(0),
        }
    }
}

impl Pending {
    /// A transaction id for a question that was to be asked at `due`. Only one thread asks.
    pub(crate) fn ask(&self, kind: Kind, due: u64) -> u32 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let kind_bits = KINDS.iter().position(|known| *known == kind).unwrap_or(0) as u32;
        let place = number % PLACES as u32;
        let lap = number >> PLACE_BITS;
        let id = place | (kind_bits << PLACE_BITS) | (lap << (PLACE_BITS + 2));
        if kind != Kind::Forged {
            let (when, tag) = &self.places[place as usize];
            if when.swap(0, Ordering::Relaxed) != 0 {
                self.unanswered.fetch_add(1, Ordering::Relaxed);
            }
            tag.store(id, Ordering::Relaxed);
            when.store(due + 1, Ordering::Release);
        }
        id
    }

    /// An answer came: what kind of a question it answers, and when that was to be asked if nobody has
    /// answered it before.
    pub(crate) fn answered(&self, id: u32) -> (Kind, Option<u64>) {
        let kind = KINDS[(id >> PLACE_BITS) as usize % KINDS.len()];
        let (when, tag) = &self.places[id as usize % PLACES];
        let due = when.load(Ordering::Acquire);
        if due == 0 || tag.load(Ordering::Relaxed) != id || kind == Kind::Forged {
            return (kind, None);
        }
        let taken = when.compare_exchange(due, 0, Ordering::Relaxed, Ordering::Relaxed);
        (kind, taken.ok().map(|due| due - 1))
    }

    /// Questions that were given up, and those that still wait: all at the end of a run.
    pub(crate) fn unanswered(&self) -> u64 {
        let waiting = self.places.iter();
        let waiting = waiting.filter(|(when, _)| when.load(Ordering::Relaxed) != 0);
        self.unanswered.load(Ordering::Relaxed) + waiting.count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_counts_once() {
        let pending = Pending::default();
        let first = pending.ask(Kind::Announce, 0);
        let second = pending.ask(Kind::Scrape, 70);
        assert_eq!(pending.answered(second), (Kind::Scrape, Some(70)));
        assert_eq!(pending.answered(second), (Kind::Scrape, None));
        assert_eq!(pending.unanswered(), 1);
        assert_eq!(pending.answered(first), (Kind::Announce, Some(0)));
        assert_eq!(pending.unanswered(), 0);
    }

    #[test]
    fn a_place_that_is_taken_again_was_not_answered() {
        let pending = Pending::default();
        let old = pending.ask(Kind::Announce, 1);
        for n in 1..PLACES as u64 {
            pending.ask(Kind::Forged, n);
        }
        let new = pending.ask(Kind::Announce, 2);
        assert_eq!(old as usize % PLACES, new as usize % PLACES);
        assert_eq!(pending.answered(old).1, None, "too late");
        assert_eq!(pending.answered(new).1, Some(2));
        assert_eq!(pending.unanswered(), 1);
        let forged = pending.ask(Kind::Forged, 3);
        assert_eq!(pending.answered(forged), (Kind::Forged, None));
    }
}

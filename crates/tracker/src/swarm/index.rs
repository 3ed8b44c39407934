//! Where in a large pool an address stands, and how many addresses a host has there.
//!
//! An open table of places: the addresses themselves stay in the pool, so that an entry is 4 bytes,
//! 5 to 9 a peer with the gaps. Beside it counters of hosts, one byte each: several hosts may share
//! one, so that what they say is "at most so many".

use super::record::Record;
use crate::sys::prefetch::prefetch;

/// No entry.
const EMPTY: u32 = u32::MAX;

#[derive(Clone, Debug)]
pub(super) struct Index {
    places: Box<[u32]>,
    hosts: Box<[u8]>,
    used: usize,
}

impl Index {
    /// More peers of one host than this are not told from this many.
    pub(super) const MOST_OF_HOST: usize = 255;

    /// The index of a whole pool, with room for a quarter more.
    pub(super) fn of<R: Record>(all: &[R], key: u64) -> Self {
        let size = (all.len() * 5 / 3).max(16).next_power_of_two();
        let mut out = Self {
            places: vec![EMPTY; size].into_boxed_slice(),
            hosts: vec![0; size].into_boxed_slice(),
            used: 0,
        };
        for (at, record) in all.iter().enumerate() {
            out.add(record.hash(key), record.host_hash(key), at);
        }
        out
    }

    /// Whether one more leaves a quarter of the table free: beyond, runs get long.
    pub(super) fn has_room(&self) -> bool {
        self.used < self.places.len() / 4 * 3
    }

    /// Whether a pool of `len` would do with much less.
    pub(super) fn is_loose(&self, len: usize) -> bool {
        self.places.len() > 64 && len < self.places.len() / 8
    }

    fn mask(&self) -> usize {
        self.places.len() - 1
    }

    /// What an entry holds.
    fn at(&self, slot: usize) -> u32 {
        self.places.get(slot).copied().unwrap_or(EMPTY)
    }

    fn put(&mut self, slot: usize, place: u32) {
        if let Some(entry) = self.places.get_mut(slot) {
            *entry = place;
        }
    }

    /// The counter of a host; there are as many as entries.
    fn count(&mut self, host: u64) -> Option<&mut u8> {
        let slot = host as usize & self.mask();
        self.hosts.get_mut(slot)
    }

    /// The entry that `is` recognises, among those that stand where `hash` may.
    fn entry(&self, hash: u64, is: impl Fn(usize) -> bool) -> Option<usize> {
        let mut slot = hash as usize & self.mask();
        for _ in 0..self.places.len() {
            match self.at(slot) {
                EMPTY => return None,
                place if is(place as usize) => return Some(slot),
                _ => slot = (slot + 1) & self.mask(),
            }
        }
        None
    }

    /// Asks for the entry where a search for `hash` begins.
    pub(super) fn prefetch(&self, hash: u64) {
        if let Some(entry) = self.places.get(hash as usize & self.mask()) {
            prefetch(entry);
        }
    }

    /// The place where a search for `hash` looks first.
    pub(super) fn likely(&self, hash: u64) -> Option<usize> {
        let place = self.places.get(hash as usize & self.mask()).copied();
        let place = place.filter(|place| *place != EMPTY);
        place.map(|place| place as usize)
    }

    /// The place that `is` recognises.
    pub(super) fn find(&self, hash: u64, is: impl Fn(usize) -> bool) -> Option<usize> {
        self.entry(hash, is).map(|slot| self.at(slot) as usize)
    }

    pub(super) fn add(&mut self, hash: u64, host: u64, at: usize) {
        let mut slot = hash as usize & self.mask();
        while self.at(slot) != EMPTY {
            slot = (slot + 1) & self.mask();
        }
        self.put(slot, at as u32);
        self.used += 1;
        if let Some(count) = self.count(host) {
            *count = count.saturating_add(1);
        }
    }

    /// Somebody went from one place to another.
    pub(super) fn moved(&mut self, hash: u64, from: usize, to: usize) {
        if let Some(slot) = self.entry(hash, |place| place == from) {
            self.put(slot, to as u32);
        }
    }

    /// Two have changed places: the first is at `one` now, and the second at `other`.
    pub(super) fn swapped(&mut self, first: u64, second: u64, one: usize, other: usize) {
        let first = self.entry(first, |place| place == other);
        let second = self.entry(second, |place| place == one);
        for (slot, place) in [(first, one), (second, other)] {
            if let Some(slot) = slot {
                self.put(slot, place as u32);
            }
        }
    }

    /// Takes out the entry of `at`, and closes the gap: `hash_of` a place says where its entry would
    /// like to be.
    pub(super) fn remove(
        &mut self,
        hash: u64,
        host: u64,
        at: usize,
        hash_of: impl Fn(usize) -> u64,
    ) {
        let Some(mut gap) = self.entry(hash, |place| place == at) else {
            return;
        };
        let mask = self.mask();
        let mut slot = gap;
        loop {
            slot = (slot + 1) & mask;
            let place = self.at(slot);
            if place == EMPTY {
                break;
            }
            let home = hash_of(place as usize) as usize & mask;
            // It may move into the gap unless its home lies between the two.
            if slot.wrapping_sub(home) & mask >= slot.wrapping_sub(gap) & mask {
                self.put(gap, place);
                gap = slot;
            }
        }
        self.put(gap, EMPTY);
        self.used -= 1;
        // At the top it is no longer known how many there are, until the next rebuilding.
        if let Some(count) = self.count(host)
            && usize::from(*count) < Self::MOST_OF_HOST
        {
            *count = count.saturating_sub(1);
        }
    }

    /// Peers of a host, at most.
    pub(super) fn of_host(&self, host: u64) -> usize {
        let count = self.hosts.get(host as usize & self.mask());
        count.copied().unwrap_or(0).into()
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn used(&self) -> usize {
        self.used
    }
}

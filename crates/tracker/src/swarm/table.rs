//! From an info-hash to the number of its swarm.
//!
//! Four bytes an entry: 24 bits of number, and 8 of the hash, so that a look at a wrong swarm, which
//! is a cache miss, is made once in 256.

use super::record::mix;
use crate::sys::prefetch::prefetch;
use samara_proto::InfoHash;

const EMPTY: u32 = u32::MAX;
const NUMBER: u32 = (1 << 24) - 1;

/// Most swarms of one table.
pub(super) const MOST: usize = NUMBER as usize;

#[derive(Clone, Debug)]
pub(super) struct Table {
    entries: Box<[u32]>,
    used: usize,
    key: u64,
}

impl Table {
    pub(super) fn new(key: u64) -> Self {
        Self {
            entries: vec![EMPTY; 16].into_boxed_slice(),
            used: 0,
            key,
        }
    }

    /// A number that nobody can foresee who does not have the key: an attacker chooses info-hashes.
    pub(super) fn hash(&self, info_hash: &InfoHash) -> u64 {
        let bytes = &info_hash.0;
        let [one @ .., _, _, _, _, _, _, _, _, _, _, _, _] = bytes;
        let [_, _, _, _, _, _, _, _, two @ .., _, _, _, _] = bytes;
        let [_, _, _, _, _, _, _, _, _, _, _, _, three @ ..] = bytes;
        let [one, two, three] = [one, two, three].map(|word| u64::from_le_bytes(*word));
        mix(mix(one, self.key) ^ two, self.key.rotate_left(29)) ^ mix(three, !self.key)
    }

    fn tag(hash: u64) -> u32 {
        (hash >> 56) as u32
    }

    /// What is at a place, which the mask keeps inside the table.
    fn at(&self, at: usize) -> u32 {
        self.entries.get(at).copied().unwrap_or(EMPTY)
    }

    fn set(&mut self, at: usize, entry: u32) {
        if let Some(place) = self.entries.get_mut(at) {
            *place = entry;
        }
    }

    /// The entry of what hashes to `hash`; `is` compares a number's.
    fn entry(&self, hash: u64, is: impl Fn(u32) -> bool) -> Option<usize> {
        let mask = self.entries.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let entry = self.at(at);
            if entry == EMPTY {
                return None;
            }
            if entry >> 24 == Self::tag(hash) && is(entry & NUMBER) {
                return Some(at);
            }
            at = (at + 1) & mask;
        }
    }

    /// Asks for the entry where a search begins.
    pub(super) fn prefetch(&self, hash: u64) {
        let mask = self.entries.len() - 1;
        if let Some(entry) = self.entries.get(hash as usize & mask) {
            prefetch(entry);
        }
    }

    /// The number that is most likely that of what hashes to `hash`: the first with the same 8 bits.
    pub(super) fn likely(&self, hash: u64) -> Option<u32> {
        let at = self.entry(hash, |_| true)?;
        Some(self.at(at) & NUMBER)
    }

    pub(super) fn find(&self, info_hash: &InfoHash, is: impl Fn(u32) -> bool) -> Option<u32> {
        let at = self.entry(self.hash(info_hash), is)?;
        Some(self.at(at) & NUMBER)
    }

    /// Adds one that is not there. `hash_of` says the info-hash of a number.
    pub(super) fn insert(
        &mut self,
        info_hash: &InfoHash,
        number: u32,
        hash_of: impl Fn(u32) -> InfoHash,
    ) {
        if self.used + 1 > self.entries.len() / 4 * 3 {
            let double = vec![EMPTY; self.entries.len() * 2].into_boxed_slice();
            let old = core::mem::replace(&mut self.entries, double);
            for entry in old.into_iter().filter(|entry| *entry != EMPTY) {
                self.put(&hash_of(entry & NUMBER), entry & NUMBER);
            }
        }
        self.put(info_hash, number);
        self.used += 1;
    }

    fn put(&mut self, info_hash: &InfoHash, number: u32) {
        let hash = self.hash(info_hash);
        let mask = self.entries.len() - 1;
        let mut at = hash as usize & mask;
        while self.at(at) != EMPTY {
            at = (at + 1) & mask;
        }
        // A tag and a number of all ones together would be EMPTY; numbers stay below MOST.
        self.set(at, Self::tag(hash) << 24 | number);
    }

    pub(super) fn remove(
        &mut self,
        info_hash: &InfoHash,
        number: u32,
        hash_of: impl Fn(u32) -> InfoHash,
    ) {
        let Some(mut gap) = self.entry(self.hash(info_hash), |other| other == number) else {
            return;
        };
        let mask = self.entries.len() - 1;
        let mut at = gap;
        loop {
            at = (at + 1) & mask;
            let entry = self.at(at);
            if entry == EMPTY {
                break;
            }
            let home = self.hash(&hash_of(entry & NUMBER)) as usize & mask;
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(gap) & mask {
                self.set(gap, entry);
                gap = at;
            }
        }
        self.set(gap, EMPTY);
        self.used -= 1;
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn len(&self) -> usize {
        self.used
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::rng::Rng;

    /// Against a list, with few different hashes so that runs collide and wrap.
    #[test]
    fn it_finds_what_is_there() {
        let mut rng = Rng::new(3);
        let name = |number: u32| {
            let mut hash = [0; 20];
            hash[16..].copy_from_slice(&(number % 700).to_be_bytes());
            InfoHash(hash)
        };
        let mut table = Table::new(9);
        let mut there = vec![false; 700];
        for _ in 0..60_000 {
            let number = rng.below(700);
            let found = table.find(&name(number), |other| other == number);
            assert_eq!(found.is_some(), there[number as usize]);
            if found.is_some() {
                table.remove(&name(number), number, name);
            } else {
                table.insert(&name(number), number, name);
            }
            there[number as usize] ^= true;
            assert_eq!(table.len(), there.iter().filter(|is| **is).count());
        }
    }
}

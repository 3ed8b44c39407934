//! Whose fault a failed piece is.
//!
//! If all blocks came from one peer, it is that peer's. Otherwise the blocks' digests are kept with
//! their givers; when the piece is good at last, whoever gave a block that differs is proven wrong
//! (*smart ban*, as libtorrent does with checksums). A peer that merely shared a bad piece with a
//! liar is never banned for it.

use crate::fault::Proof;
use core::net::SocketAddr;
use std::collections::{BTreeMap, BTreeSet};

/// Failed pieces remembered; beyond it the first are forgotten. Each costs about 40 bytes a block.
const PIECES_MAX: usize = 256;

/// Failed versions of one piece that are kept: more givers do not get off by failing it again.
const VERSIONS_MAX: usize = 8;

type Version = Vec<(Option<SocketAddr>, u64)>;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Blame {
    failed: BTreeMap<u32, Vec<Version>>,
}

impl Blame {
    /// Whether digests are wanted when `piece` is good.
    pub(crate) fn remembers(&self, piece: u32) -> bool {
        self.failed.contains_key(&piece)
    }

    /// A piece failed. Returns the giver if it was one alone.
    pub(crate) fn failed(
        &mut self,
        piece: u32,
        givers: &[Option<SocketAddr>],
        digests: &[u64],
    ) -> Option<SocketAddr> {
        let distinct: BTreeSet<_> = givers.iter().flatten().collect();
        if let (1, Some(&&only)) = (distinct.len(), distinct.first()) {
            return Some(only);
        }
        if self.failed.len() >= PIECES_MAX && !self.remembers(piece) {
            self.failed.pop_first();
        }
        let versions = self.failed.entry(piece).or_default();
        if versions.len() < VERSIONS_MAX && givers.len() == digests.len() {
            versions.push(
                givers
                    .iter()
                    .copied()
                    .zip(digests.iter().copied())
                    .collect(),
            );
        }
        None
    }

    /// A piece is good. Returns who gave wrong blocks of it before, with one of them as proof.
    pub(crate) fn good(&mut self, piece: u32, digests: &[u64]) -> BTreeMap<SocketAddr, Proof> {
        let versions = self.failed.remove(&piece).unwrap_or_default();
        let mut guilty = BTreeMap::new();
        for version in &versions {
            for (block, ((giver, was), is)) in (0..).zip(version.iter().zip(digests)) {
                if let Some(giver) = giver
                    && was != is
                {
                    guilty.entry(*giver).or_insert(Proof::Block {
                        piece,
                        block,
                        gave: *was,
                        right: *is,
                    });
                }
            }
        }
        guilty
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(port: u16) -> Option<SocketAddr> {
        Some(SocketAddr::from(([10, 0, 0, 1], port)))
    }

    #[test]
    fn one_giver_alone_is_guilty_at_once() {
        let mut blame = Blame::default();
        assert_eq!(blame.failed(3, &[addr(1), addr(1)], &[1, 2]), addr(1));
        assert!(!blame.remembers(3));
    }

    #[test]
    fn the_liar_is_proven_and_the_others_are_not_blamed() {
        let mut blame = Blame::default();
        assert_eq!(
            blame.failed(3, &[addr(1), addr(2), addr(3)], &[10, 99, 30]),
            None
        );
        assert!(blame.remembers(3));
        let guilty = blame.good(3, &[10, 20, 30]);
        let proof = Proof::Block {
            piece: 3,
            block: 1,
            gave: 99,
            right: 20,
        };
        assert_eq!(guilty, BTreeMap::from([(addr(2).expect("one"), proof)]));
        assert!(blame.good(3, &[10, 20, 30]).is_empty());
    }

    #[test]
    fn memory_is_bounded() {
        let mut blame = Blame::default();
        for piece in 0..10_000 {
            blame.failed(piece % 1000, &[addr(1), addr(2)], &[1, 2]);
        }
        assert!(blame.failed.len() <= PIECES_MAX);
        assert!(
            blame
                .failed
                .values()
                .all(|versions| versions.len() <= VERSIONS_MAX)
        );
    }
}

//! Whose fault a failed piece is.
//!
//! If all blocks came from one peer, it is that peer's. Otherwise the blocks' digests are kept with
//! their givers; when the piece is good at last, whoever gave a block that differs is proven wrong
//! (*smart ban*, as libtorrent does with checksums). A peer that merely shared a bad piece with a
//! liar is never banned for it.

use crate::fault::Proof;
use core::net::SocketAddr;
use std::collections::{BTreeMap, BTreeSet};

/// Blocks of failed versions that are remembered, of all pieces together; beyond it the first pieces are
/// forgotten. A block costs 40 bytes: 5 MiB. That is 4,096 versions of the largest pieces that we make (512 KiB,
/// 32 blocks), and eight of pieces of 256 MiB.
const BLOCKS_MAX: usize = 128 << 10;

/// Failed versions of one piece that are kept: more givers do not get off by failing it again.
const VERSIONS_MAX: usize = 8;

type Version = Vec<(Option<SocketAddr>, u64)>;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Blame {
    failed: BTreeMap<u32, Vec<Version>>,
    /// Blocks in all versions.
    blocks: usize,
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
        let held = self.failed.get(&piece).map_or(0, Vec::len);
        if held < VERSIONS_MAX
            && givers.len() == digests.len()
            && self.make_room(piece, givers.len())
        {
            let version = givers.iter().copied().zip(digests.iter().copied());
            let versions = self.failed.entry(piece).or_default();
            versions.push(version.collect());
            self.blocks += givers.len();
        }
        None
    }

    /// Room for one more version of `piece`, at the cost of others; false if it cannot be had. The
    /// versions of a piece that are there already are worth more than one more.
    fn make_room(&mut self, piece: u32, blocks: usize) -> bool {
        while self.blocks + blocks > BLOCKS_MAX {
            let Some(other) = self.failed.keys().copied().find(|other| *other != piece) else {
                return false;
            };
            self.take(other);
        }
        true
    }

    fn take(&mut self, piece: u32) -> Vec<Version> {
        let versions = self.failed.remove(&piece).unwrap_or_default();
        self.blocks -= versions.iter().map(Vec::len).sum::<usize>();
        versions
    }

    /// A piece is good. Returns who gave wrong blocks of it before, with one of them as proof.
    pub(crate) fn good(&mut self, piece: u32, digests: &[u64]) -> BTreeMap<SocketAddr, Proof> {
        let versions = self.take(piece);
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
    fn attack_15_the_liar_is_proven_and_the_others_are_not_blamed() {
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
        let held = |blame: &Blame| -> usize {
            let versions = blame.failed.values().flatten();
            versions.map(Vec::len).sum()
        };
        // Pieces of 512 KiB, of 256 MiB, and one of 4 GiB.
        for blocks in [32, 16 << 10, 256 << 10] {
            let givers: Vec<_> = (0..blocks).map(|n| addr(n as u16 % 9)).collect();
            let digests: Vec<u64> = (0..blocks).collect();
            for n in 0..10_000_000 / blocks {
                blame.failed(n as u32 % 1000, &givers, &digests);
                assert!(blame.blocks <= BLOCKS_MAX);
            }
            assert_eq!(held(&blame), blame.blocks);
            assert!(blame.failed.values().all(|all| all.len() <= VERSIONS_MAX));
        }
        for piece in 0..1000 {
            blame.good(piece, &[]);
        }
        assert_eq!((blame.blocks, blame.failed.len()), (0, 0));
    }

    #[test]
    fn attack_15_who_fails_other_pieces_is_remembered_for_this_one() {
        let mut blame = Blame::default();
        let givers: Vec<_> = (0..16 << 10).map(|n| addr(n % 2)).collect();
        let digests: Vec<u64> = (0..16 << 10).collect();
        for piece in 0..100 {
            blame.failed(piece, &givers, &digests);
        }
        let mut right = digests.clone();
        right[4] = 77;
        assert_eq!(blame.good(99, &right).len(), 1);
    }
}

//! Pieces that are in memory.
//!
//! v1 and hybrid pieces are checked by SHA-1, padding included; v2 pieces by the root of the tree over
//! their 16 KiB leaves (BEP 52), where a file's last piece ends with the file.

use crate::hash::{Message, sha1_many, sha1_many_parts, sha256_many_parts};
use bytes::Bytes;
use samara_proto::metainfo::{File, Info, Version};
use samara_proto::{Sha256, merkle};
use std::ops::Range;

/// Whether `blocks` are the data of `piece`: its bytes from the first one on, cut anyhow, padding not
/// included. False if there are too few or too many, or if the torrent has no hash for the piece.
#[must_use]
pub fn piece_ok(info: &Info, piece: u32, blocks: &[Bytes]) -> bool {
    parts_ok(info, &[(piece, blocks)]) == [true]
}

/// The same for many pieces, which is several times as fast as one after the other.
#[must_use]
pub fn pieces_ok(info: &Info, pieces: &[(u32, Vec<Bytes>)]) -> Vec<bool> {
    let pieces: Vec<(u32, &[Bytes])> = pieces
        .iter()
        .map(|(piece, blocks)| (*piece, blocks.as_slice()))
        .collect();
    parts_ok(info, &pieces)
}

/// A digest of every block, to tell later who sent the wrong one: when a piece fails and then
/// succeeds, the blocks whose digests differ were wrong (smart ban). The first 64 bits of SHA-1: to
/// pass off a wrong block would take 2^64 tries.
#[must_use]
pub fn block_digests(blocks: &[Bytes]) -> Vec<u64> {
    let messages: Vec<&[u8]> = blocks.iter().map(AsRef::as_ref).collect();
    let mut digests = vec![[0; 20]; blocks.len()];
    sha1_many(&messages, &mut digests);
    let first = |digest: &[u8; 20]| {
        let (first, _) = digest.split_first_chunk::<8>()?;
        Some(u64::from_be_bytes(*first))
    };
    digests
        .iter()
        .map(|digest| first(digest).unwrap_or_default())
        .collect()
}

/// Whether each of `pieces` is what the torrent says.
pub(super) fn parts_ok<B: AsRef<[u8]>>(info: &Info, pieces: &[(u32, &[B])]) -> Vec<bool> {
    let mut ok = vec![false; pieces.len()];
    // Those of the right length.
    let fit: Vec<usize> = (0..pieces.len())
        .filter(|&at| {
            let (piece, parts) = &pieces[at];
            let held: u64 = parts.iter().map(|part| part.as_ref().len() as u64).sum();
            *piece < info.geometry.pieces() && held == u64::from(info.geometry.data_len(*piece))
        })
        .collect();
    let pieces: Vec<(u32, &[B])> = fit.iter().map(|&at| pieces[at]).collect();
    let verdicts = match info.version {
        Version::V1 | Version::Hybrid => v1_ok(info, &pieces),
        Version::V2 => v2_ok(info, &pieces),
    };
    for (at, verdict) in fit.into_iter().zip(verdicts) {
        ok[at] = verdict;
    }
    ok
}

fn v1_ok<B: AsRef<[u8]>>(info: &Info, pieces: &[(u32, &[B])]) -> Vec<bool> {
    let messages: Vec<Message<'_, B>> = pieces
        .iter()
        .map(|&(piece, parts)| Message {
            parts,
            zeros: u64::from(info.geometry.piece_len(piece) - info.geometry.data_len(piece)),
        })
        .collect();
    let mut digests = vec![[0; 20]; messages.len()];
    sha1_many_parts(&messages, &mut digests);
    pieces
        .iter()
        .zip(&digests)
        .map(|(&(piece, _), digest)| v1_hash(info, piece) == Some(digest))
        .collect()
}

/// SHA-1 that `piece` must have.
pub(super) fn v1_hash(info: &Info, piece: u32) -> Option<&[u8]> {
    let start = piece as usize * 20;
    info.pieces.get(start..start + 20)
}

fn v2_ok<B: AsRef<[u8]>>(info: &Info, pieces: &[(u32, &[B])]) -> Vec<bool> {
    let mut leaves = Leaves::default();
    let ranges: Vec<Range<usize>> = pieces
        .iter()
        .map(|(_, parts)| {
            let first = leaves.ranges.len();
            leaves.cut(parts.iter().map(AsRef::as_ref));
            first..leaves.ranges.len()
        })
        .collect();
    let digests = leaves.digests();
    pieces
        .iter()
        .zip(ranges)
        .map(|(&(piece, _), range)| leaves_ok(info, piece, &digests[range]))
        .collect()
}

/// Whether these leaf hashes are those of `piece` of a v2 torrent.
pub(super) fn leaves_ok(info: &Info, piece: u32, leaves: &[Sha256]) -> bool {
    let Some(file) = file_of(info, piece) else {
        return false;
    };
    let piece_length = info.geometry.piece_length();
    let expected = if file.length > u64::from(piece_length) {
        let inside = info.geometry.piece_start(piece) - file.offset;
        let index = usize::try_from(inside / u64::from(piece_length)).ok();
        index.and_then(|index| file.layer.get(index))
    } else {
        file.root.as_ref()
    };
    expected
        .is_some_and(|expected| merkle::verify_piece(leaves, file.length, piece_length, expected))
}

/// The file that a v2 piece belongs to.
fn file_of(info: &Info, piece: u32) -> Option<&File> {
    let start = info.geometry.piece_start(piece);
    let after = info.files.partition_point(|file| file.offset <= start);
    let before = info.files.get(..after)?;
    let file = before.iter().rev().find(|file| file.length > 0)?;
    (start - file.offset < file.length).then_some(file)
}

/// Data cut into 16 KiB leaves, none of it copied.
#[derive(Default)]
pub(super) struct Leaves<'a> {
    slices: Vec<&'a [u8]>,
    /// Which slices are each leaf.
    ranges: Vec<Range<usize>>,
}

impl<'a> Leaves<'a> {
    /// Adds the leaves of a file, or of a piece of one; the last may be short.
    pub(super) fn cut(&mut self, parts: impl IntoIterator<Item = &'a [u8]>) {
        const LEAF: usize = merkle::LEAF as usize;
        let (mut first, mut held) = (self.slices.len(), 0);
        for mut part in parts {
            while !part.is_empty() {
                let (slice, rest) = part.split_at(part.len().min(LEAF - held));
                self.slices.push(slice);
                held += slice.len();
                part = rest;
                if held == LEAF {
                    self.ranges.push(first..self.slices.len());
                    (first, held) = (self.slices.len(), 0);
                }
            }
        }
        if held > 0 {
            self.ranges.push(first..self.slices.len());
        }
    }

    /// Number of leaves so far.
    pub(super) fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Their hashes, all at a time.
    pub(super) fn digests(&self) -> Vec<Sha256> {
        let messages: Vec<Message<'_, &[u8]>> = self
            .ranges
            .iter()
            .map(|range| Message::new(&self.slices[range.clone()]))
            .collect();
        let mut digests = vec![[0; 32]; messages.len()];
        sha256_many_parts(&messages, &mut digests);
        digests.into_iter().map(Sha256).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, blocks, packed, with_v1_hashes};

    fn samples() -> Vec<Info> {
        let files = [
            ("t/a", 100_000),
            ("t/e", 0),
            ("t/b", 5),
            ("t/c", 65_536),
            ("t/d", 40_000),
        ];
        vec![
            with_v1_hashes(packed(32768, &files)),
            testing::v2(32768, &files, false),
            testing::v2(32768, &files, true),
            testing::v2(16384, &files, false),
            testing::v2(1 << 20, &files, false),
            with_v1_hashes(testing::v1(
                32768,
                &[("a", 40_000, 0), ("b", 9, 65_536)],
                98_304,
            )),
        ]
    }

    #[test]
    fn right_pieces_pass_and_every_wrong_byte_shows() {
        for info in samples() {
            let pieces: Vec<(u32, Vec<Bytes>)> = (0..info.geometry.pieces())
                .map(|piece| (piece, blocks(&info, piece)))
                .collect();
            assert!(
                pieces_ok(&info, &pieces).iter().all(|&ok| ok),
                "{:?}",
                info.version
            );
            for (piece, blocks) in &pieces {
                assert!(piece_ok(&info, *piece, blocks));
                let whole: Vec<u8> = blocks.concat();
                for at in [0, whole.len() / 2, whole.len() - 1] {
                    let mut wrong = whole.clone();
                    wrong[at] ^= 1;
                    assert!(!piece_ok(&info, *piece, &[wrong.into()]));
                }
                // Cut anyhow.
                let odd: Vec<Bytes> = whole.chunks(777).map(|part| part.to_vec().into()).collect();
                assert!(piece_ok(&info, *piece, &odd));
                let short: Bytes = whole[1..].to_vec().into();
                assert!(!piece_ok(&info, *piece, std::slice::from_ref(&short)));
                let long = [short, Bytes::from_static(b"xy")];
                assert!(!piece_ok(&info, *piece, &long));
            }
            assert!(!piece_ok(&info, info.geometry.pieces(), &[]));
        }
    }

    #[test]
    fn one_wrong_piece_does_not_spoil_its_neighbours() {
        for info in samples() {
            let mut pieces: Vec<(u32, Vec<Bytes>)> = (0..info.geometry.pieces())
                .map(|piece| (piece, blocks(&info, piece)))
                .collect();
            pieces[0].1.pop();
            let verdicts = pieces_ok(&info, &pieces);
            assert!(!verdicts[0] && verdicts[1..].iter().all(|&ok| ok));
        }
    }

    #[test]
    fn without_hashes_nothing_passes() {
        let mut info = testing::v2(16384, &[("a", 100_000)], false);
        let blocks = blocks(&info, 0);
        info.files[0].layer.clear();
        assert!(!piece_ok(&info, 0, &blocks));
        let info = packed(16384, &[("a", 100_000)]);
        assert!(!piece_ok(&info, 0, &blocks));
    }

    #[test]
    fn digests_tell_blocks_apart() {
        let blocks: Vec<Bytes> = (0..20u8).map(|byte| vec![byte; 100].into()).collect();
        let digests = block_digests(&blocks);
        let mut sorted = digests.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), 20);
        assert_eq!(block_digests(&blocks[3..4]), digests[3..4]);
    }
}

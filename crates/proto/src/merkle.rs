//! Merkle trees of SHA-256 over 16 KiB leaves (BEP 52).
//!
//! Nothing here hashes file data: leaf hashes come from whoever has the fast kernels. A tree over `n`
//! leaves is as wide as the next power of two; the leaves that are missing are 32 zero bytes (not the
//! hash of zeros). The hashes of one level that cover `piece length` bytes each are a file's *piece
//! layer*. A file no longer than one piece has no layer: its only piece hash is the root.

use crate::hash::Sha256;
use sha2::Digest;

/// Bytes that a leaf covers.
pub const LEAF: u32 = 16 * 1024;

/// Levels that any tree can have: 2^63 bytes are 2^49 leaves.
const MAX_LEVELS: u32 = 64;

/// The hash of two siblings.
#[must_use]
pub fn parent(left: &Sha256, right: &Sha256) -> Sha256 {
    let mut hasher = sha2::Sha256::new();
    hasher.update(left.0);
    hasher.update(right.0);
    Sha256(hasher.finalize().into())
}

/// The root of a tree of `2^levels` missing leaves: what stands for a piece that is past the end of
/// its file when `2^levels` leaves are a piece.
#[must_use]
pub fn pad(levels: u32) -> Sha256 {
    let mut hash = Sha256::default();
    for _ in 0..levels.min(MAX_LEVELS) {
        hash = parent(&hash, &hash);
    }
    hash
}

/// Levels between the leaves and the hashes of pieces of `piece_length` bytes (a power of two of at
/// least [`LEAF`]).
#[must_use]
pub fn piece_levels(piece_length: u32) -> u32 {
    (piece_length / LEAF).max(1).ilog2()
}

/// The root of the tree whose lowest level is `hashes`, filled up to a power of two with `filler`.
/// All zeros if there are none. O(n), in place.
fn root_over(mut hashes: Vec<Sha256>, mut filler: Sha256) -> Sha256 {
    while hashes.len() > 1 {
        hashes = level_above(&hashes, &filler);
        filler = parent(&filler, &filler);
    }
    hashes.first().copied().unwrap_or_default()
}

/// The level above `hashes`; an odd one out has `filler` for its sibling.
fn level_above(hashes: &[Sha256], filler: &Sha256) -> Vec<Sha256> {
    hashes
        .chunks(2)
        .map(|pair| match pair {
            [left, right] => parent(left, right),
            [left, ..] => parent(left, filler),
            [] => *filler,
        })
        .collect()
}

/// The root over leaf hashes: a file's `pieces root`, whatever its piece length.
#[must_use]
pub fn root(leaves: &[Sha256]) -> Sha256 {
    root_over(leaves.to_vec(), Sha256::default())
}

/// The hash of one piece out of a file longer than a piece: the root over its leaves in a tree as wide
/// as a whole piece, also where the last piece is short.
#[must_use]
pub fn piece_root(leaves: &[Sha256], piece_length: u32) -> Sha256 {
    let mut hashes = leaves.to_vec();
    let mut filler = Sha256::default();
    for _ in 0..piece_levels(piece_length) {
        hashes = level_above(&hashes, &filler);
        filler = parent(&filler, &filler);
    }
    hashes.first().copied().unwrap_or_default()
}

/// The piece layer over all leaves of a file that is longer than one piece.
#[must_use]
pub fn layer(leaves: &[Sha256], piece_length: u32) -> Vec<Sha256> {
    let width = (piece_length / LEAF).max(1) as usize;
    leaves
        .chunks(width)
        .map(|piece| piece_root(piece, piece_length))
        .collect()
}

/// The `pieces root` over a piece layer.
#[must_use]
pub fn root_of_layer(layer: &[Sha256], piece_length: u32) -> Sha256 {
    root_over(layer.to_vec(), pad(piece_levels(piece_length)))
}

/// Whether `layer` is the piece layer of a file of `length` bytes whose root is `root`.
#[must_use]
pub fn verify_layer(layer: &[Sha256], length: u64, piece_length: u32, root: &Sha256) -> bool {
    piece_length > 0
        && layer.len() as u64 == length.div_ceil(u64::from(piece_length))
        && root_of_layer(layer, piece_length) == *root
}

/// Whether the leaf hashes of a whole piece give what `expected` says the piece must be. `expected` is
/// the entry of the piece layer, or the file's root if the file is no longer than a piece.
#[must_use]
pub fn verify_piece(
    leaves: &[Sha256],
    file_length: u64,
    piece_length: u32,
    expected: &Sha256,
) -> bool {
    let got = if file_length > u64::from(piece_length) {
        piece_root(leaves, piece_length)
    } else {
        root(leaves)
    };
    got == *expected
}

/// Whether `hash`, the node number `index` of its level, is under `root`: `uncles` are the siblings on
/// the way up, lowest first (the proof hashes of a `hashes` message, BEP 52).
#[must_use]
pub fn verify_proof(hash: &Sha256, mut index: u64, uncles: &[Sha256], root: &Sha256) -> bool {
    let mut hash = *hash;
    for uncle in uncles {
        hash = if index & 1 == 0 {
            parent(&hash, uncle)
        } else {
            parent(uncle, &hash)
        };
        index >>= 1;
    }
    index == 0 && hash == *root
}

/// The proof that goes with node `index` of `layer`: siblings up to the root, lowest first. `filler`
/// is the hash that stands for missing nodes of that level ([`pad`]).
#[must_use]
pub fn proof(layer: &[Sha256], mut index: usize, mut filler: Sha256) -> Vec<Sha256> {
    let mut uncles = Vec::new();
    let mut hashes = layer.to_vec();
    while hashes.len() > 1 {
        uncles.push(hashes.get(index ^ 1).copied().unwrap_or(filler));
        hashes = level_above(&hashes, &filler);
        filler = parent(&filler, &filler);
        index >>= 1;
    }
    uncles
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(n: usize) -> Vec<Sha256> {
        (0..n)
            .map(|i| Sha256(sha2::Sha256::digest((i as u64).to_be_bytes()).into()))
            .collect()
    }

    /// The definition, word for word: fill up with zero leaves, hash pairs until one is left.
    fn naive(leaves: &[Sha256], width: usize) -> Sha256 {
        let mut hashes = leaves.to_vec();
        hashes.resize(width, Sha256::default());
        while hashes.len() > 1 {
            hashes = hashes.chunks(2).map(|p| parent(&p[0], &p[1])).collect();
        }
        hashes[0]
    }

    #[test]
    fn roots_are_as_defined() {
        for n in 1..70 {
            let all = leaves(n);
            assert_eq!(root(&all), naive(&all, n.next_power_of_two()), "{n} leaves");
        }
        assert_eq!(root(&[]), Sha256::default());
    }

    #[test]
    fn layers_lead_to_the_same_root() {
        for piece_length in [LEAF, 2 * LEAF, 8 * LEAF] {
            let width = (piece_length / LEAF) as usize;
            for n in width + 1..70 {
                let all = leaves(n);
                let pieces = layer(&all, piece_length);
                assert_eq!(pieces.len(), n.div_ceil(width));
                assert_eq!(root_of_layer(&pieces, piece_length), root(&all));
                let last = &all[(pieces.len() - 1) * width..];
                assert_eq!(pieces[pieces.len() - 1], naive(last, width));
                let length = n as u64 * u64::from(LEAF) - 5;
                assert!(verify_layer(&pieces, length, piece_length, &root(&all)));
                assert!(!verify_layer(&pieces, length, piece_length, &pieces[0]));
                assert!(!verify_layer(
                    &pieces[1..],
                    length,
                    piece_length,
                    &root(&all)
                ));
            }
        }
    }

    #[test]
    fn a_short_file_is_its_own_piece() {
        let three = leaves(3);
        assert!(verify_piece(&three, 40_000, 8 * LEAF, &naive(&three, 4)));
        assert!(!verify_piece(&three, 40_000, 8 * LEAF, &naive(&three, 8)));
        assert!(verify_piece(&three, 1 << 30, 8 * LEAF, &naive(&three, 8)));
        assert_eq!(piece_root(&three, LEAF), three[0]);
    }

    #[test]
    fn proofs() {
        for n in [1, 2, 3, 5, 8, 13] {
            let all = leaves(n);
            let top = root(&all);
            for (i, leaf) in all.iter().enumerate() {
                let uncles = proof(&all, i, pad(0));
                assert!(verify_proof(leaf, i as u64, &uncles, &top));
                assert!(!verify_proof(leaf, i as u64 + 1, &uncles, &top));
                assert!(!verify_proof(&pad(1), i as u64, &uncles, &top));
            }
        }
    }
}

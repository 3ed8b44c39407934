//! How long pieces should be.

use samara_proto::metainfo::{MAX_PIECE_CREATED, MAX_PIECES, MIN_PIECE_V2, Version};

/// Pieces that a torrent should at least have. Getting M pieces to N hosts takes about M + log2 N
/// piece-times (Mundinger, Weber and Weiss 2008), so the cost of cutting stays within 1% if
/// M >= 100 log2 N: a thousand for a thousand hosts.
pub const TARGET_PIECES: u64 = 1000;

/// Longest piece that can be asked for, in bytes. Each thread that hashes holds one in memory, and so
/// does everybody who downloads it.
pub const MAX_PIECE_LARGE: u32 = 64 * 1024 * 1024;

/// Pieces up to which shorter ones are taken to save padding: what pickers are made to handle with
/// ease.
const MANY_PIECES: u64 = 100_000;

/// Chooses the piece length for files of `lengths` bytes: the longest of 16 KiB to 512 KiB that still
/// gives [`TARGET_PIECES`] pieces.
///
/// Hybrid torrents pad every file to a whole piece, and clients that do not know padding download
/// and store it. So with many small files pieces get shorter, until padding is at most a quarter of
/// the data. With `allow_large` pieces grow past 512 KiB, but only if there would be more pieces
/// than a torrent can have.
#[must_use]
pub fn choose(lengths: &[u64], version: Version, allow_large: bool) -> u32 {
    let total = lengths
        .iter()
        .fold(0_u64, |sum, len| sum.saturating_add(*len));
    let mut length = MAX_PIECE_CREATED;
    while length > MIN_PIECE_V2 && total / u64::from(length) < TARGET_PIECES {
        length /= 2;
    }
    if version == Version::Hybrid && lengths.len() > 1 {
        let padding = |piece: u32| -> u64 {
            let piece = u64::from(piece);
            lengths
                .iter()
                .map(|len| (piece - len % piece) % piece)
                .sum()
        };
        while length > MIN_PIECE_V2
            && total / u64::from(length / 2) <= MANY_PIECES
            && padding(length) > total / 4
        {
            length /= 2;
        }
    }
    let pieces = |piece: u32| -> u64 {
        let piece = u64::from(piece);
        match version {
            Version::V1 => total.div_ceil(piece),
            _ => lengths.iter().map(|len| len.div_ceil(piece)).sum(),
        }
    };
    let most = if allow_large {
        MAX_PIECE_LARGE
    } else {
        MAX_PIECE_CREATED
    };
    while length < most && pieces(length) > u64::from(MAX_PIECES) {
        length *= 2;
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1024;
    const GIB: u64 = 1024 * 1024 * KIB;

    #[test]
    fn enough_pieces_and_never_above_512_kib() {
        for (total, want) in [
            (1, 16),
            (16 * 1000 * KIB, 16),
            (32 * 1000 * KIB, 32),
            (100 * 1024 * KIB, 64),
            (GIB, 512),
            (1000 * GIB, 512),
            (5000 * GIB, 512),
        ] {
            let got = choose(&[total], Version::V1, false);
            assert_eq!(u64::from(got), want * KIB, "{total} bytes");
        }
        assert_eq!(choose(&[5000 * GIB], Version::V1, true), 4 * 1024 * 1024);
    }

    #[test]
    fn many_small_files_get_short_pieces_in_hybrids() {
        // Ten thousand files of 100 KiB: 512 KiB pieces would be four fifths padding.
        let small = vec![100 * KIB; 10_000];
        assert_eq!(choose(&small, Version::V2, false), 512 * 1024);
        assert_eq!(choose(&small, Version::Hybrid, false), 16 * 1024);
        // A big file among them makes the padding small in proportion.
        let mut mixed = vec![GIB, GIB, GIB, GIB];
        mixed.extend([KIB; 1000]);
        assert_eq!(choose(&mixed, Version::Hybrid, false), 512 * 1024);
    }
}

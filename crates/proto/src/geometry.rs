//! How a torrent's bytes are cut: pieces, blocks and spans.
//!
//! A *piece* is what is hashed, a *block* (16 KiB) is what is asked for, a *span* is any range inside
//! one piece. Two lengths of a piece differ where a file is followed by padding (BEP 47, and every
//! hybrid torrent): [`Geometry::piece_len`] is what is hashed and may be asked for on the wire,
//! [`Geometry::data_len`] is the part of it that is not padding and so worth fetching. Padding only
//! ever counts here when it fills the end of a piece; its bytes are zeros.

/// Bytes of a block: the largest request that every client answers (BEP 3 and all since 2003).
pub const BLOCK: u32 = 16 * 1024;

/// A range of bytes inside one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// Index of the piece.
    pub piece: u32,
    /// First byte, counted from the start of the piece.
    pub offset: u32,
    /// Length in bytes.
    pub length: u32,
}

impl Span {
    /// Index of the block that starts where this span starts.
    #[must_use]
    pub fn block(&self) -> u32 {
        self.offset / BLOCK
    }
}

/// How one torrent is cut into pieces and blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Geometry {
    piece_length: u32,
    pieces: u32,
    last_len: u32,
    /// Pieces whose data ends before a full piece does: (index, data length), sorted by index. The
    /// last piece of the torrent is here only if it is padded.
    tails: Box<[(u32, u32)]>,
    /// v2 only: a tail is the end of the piece as well (nothing is hashed or sent after it).
    tails_are_ends: bool,
    data_total: u64,
}

impl Geometry {
    /// A torrent of `total` bytes without padding, cut into pieces of `piece_length` bytes.
    ///
    /// `None` if `piece_length` is 0, `total` is 0, or there would be more than `u32::MAX` pieces.
    #[must_use]
    pub fn new(piece_length: u32, total: u64) -> Option<Self> {
        Self::with_tails(piece_length, total, Vec::new(), false)
    }

    /// The same, with the pieces whose data ends early. `tails` holds (piece, data length) sorted by
    /// piece; `tails_are_ends` says that such a piece is short (v2) rather than padded (v1, hybrid).
    #[must_use]
    pub fn with_tails(
        piece_length: u32,
        total: u64,
        tails: Vec<(u32, u32)>,
        tails_are_ends: bool,
    ) -> Option<Self> {
        if piece_length == 0 || total == 0 {
            return None;
        }
        let pieces = u32::try_from(total.div_ceil(u64::from(piece_length))).ok()?;
        let last_len = (total - u64::from(pieces - 1) * u64::from(piece_length)) as u32;
        let mut geometry = Self {
            piece_length,
            pieces,
            last_len,
            tails: Box::default(),
            tails_are_ends,
            data_total: total,
        };
        let sorted = tails.is_sorted_by(|one, next| one.0 < next.0);
        let fits = tails
            .iter()
            .all(|&(piece, len)| piece < pieces && len > 0 && len <= geometry.piece_len(piece));
        if !sorted || !fits {
            return None;
        }
        let padding: u64 = tails
            .iter()
            .map(|&(piece, len)| u64::from(geometry.piece_len(piece) - len))
            .sum();
        geometry.data_total -= padding;
        geometry.tails = tails.into_boxed_slice();
        Some(geometry)
    }

    /// Length of every piece but the short ones, in bytes.
    #[must_use]
    pub fn piece_length(&self) -> u32 {
        self.piece_length
    }

    /// Number of pieces; at least 1.
    #[must_use]
    pub fn pieces(&self) -> u32 {
        self.pieces
    }

    /// Bytes worth fetching: everything but padding.
    #[must_use]
    pub fn data_total(&self) -> u64 {
        self.data_total
    }

    /// Bytes of `piece` that are hashed and may be asked for.
    #[must_use]
    pub fn piece_len(&self, piece: u32) -> u32 {
        if self.tails_are_ends
            && let Some(len) = self.tail(piece)
        {
            return len;
        }
        // A peer may name any piece: no sum of it.
        if piece == self.pieces - 1 {
            self.last_len
        } else {
            self.piece_length
        }
    }

    /// Bytes of `piece` before any padding.
    #[must_use]
    pub fn data_len(&self, piece: u32) -> u32 {
        self.tail(piece).unwrap_or_else(|| self.piece_len(piece))
    }

    /// Number of blocks of `piece` that hold data.
    #[must_use]
    pub fn blocks(&self, piece: u32) -> u32 {
        self.data_len(piece).div_ceil(BLOCK)
    }

    /// The span of block `block` of `piece`, without padding.
    #[must_use]
    pub fn block_span(&self, piece: u32, block: u32) -> Span {
        let offset = block.saturating_mul(BLOCK);
        Span {
            piece,
            offset,
            length: BLOCK.min(self.data_len(piece).saturating_sub(offset)),
        }
    }

    /// Whether a peer may ask for `span`: not empty, inside one piece.
    #[must_use]
    pub fn contains(&self, span: Span) -> bool {
        span.piece < self.pieces
            && span.length > 0
            && span
                .offset
                .checked_add(span.length)
                .is_some_and(|end| end <= self.piece_len(span.piece))
    }

    /// Where `piece` begins in the torrent's byte space (in a v2 torrent, files begin at pieces, so
    /// there are gaps after short pieces).
    #[must_use]
    pub fn piece_start(&self, piece: u32) -> u64 {
        u64::from(piece) * u64::from(self.piece_length)
    }

    fn tail(&self, piece: u32) -> Option<u32> {
        if self.tails.is_empty() {
            return None;
        }
        let at = self
            .tails
            .binary_search_by_key(&piece, |&(index, _)| index)
            .ok()?;
        Some(self.tails.get(at)?.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_piece_is_short() {
        let g = Geometry::new(32768, 100_000).expect("valid");
        assert_eq!(g.pieces(), 4);
        assert_eq!(g.piece_len(3), 100_000 - 3 * 32768);
        assert_eq!(g.blocks(0), 2);
        assert_eq!(g.blocks(3), 1);
        assert_eq!(g.block_span(3, 0).length, 1696);
        let data: u64 = (0..4).map(|p| u64::from(g.data_len(p))).sum();
        assert_eq!(data, g.data_total());
    }

    #[test]
    fn padded_tails_are_hashed_but_not_fetched() {
        let g = Geometry::with_tails(65536, 3 * 65536, vec![(1, 10)], false).expect("valid");
        assert_eq!((g.piece_len(1), g.data_len(1), g.blocks(1)), (65536, 10, 1));
        assert_eq!(g.data_total(), 2 * 65536 + 10);
        assert!(g.contains(Span {
            piece: 1,
            offset: 0,
            length: 65536
        }));
        let v2 = Geometry::with_tails(65536, 3 * 65536, vec![(1, 10)], true).expect("valid");
        assert_eq!(v2.piece_len(1), 10);
        assert!(!v2.contains(Span {
            piece: 1,
            offset: 0,
            length: 11
        }));
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(Geometry::new(0, 1).is_none());
        assert!(Geometry::new(1, 0).is_none());
        assert!(Geometry::new(1, u64::MAX).is_none());
        assert!(Geometry::with_tails(16, 32, vec![(2, 1)], false).is_none());
        let g = Geometry::new(16384, 16385).expect("valid");
        assert!(!g.contains(Span {
            piece: 0,
            offset: u32::MAX,
            length: 2
        }));
        assert!(!g.contains(Span {
            piece: 1,
            offset: 0,
            length: 2
        }));
        assert!(!g.contains(Span {
            piece: 1,
            offset: 0,
            length: 0
        }));
    }
}

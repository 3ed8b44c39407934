//! Payload of pieces that are not complete yet.

use bytes::Bytes;
use samara_proto::Span;
use samara_proto::geometry::Geometry;
use std::collections::BTreeMap;

/// Blocks by piece. The engine bounds it (`Config::memory`): it keeps nothing that it did not ask for.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pieces: BTreeMap<u32, Vec<Bytes>>,
}

impl Kept {
    /// Holds a block until its piece is taken or forgotten.
    pub(crate) fn keep(&mut self, geometry: &Geometry, span: Span, payload: Bytes) {
        let blocks = self
            .pieces
            .entry(span.piece)
            .or_insert_with(|| vec![Bytes::new(); geometry.blocks(span.piece) as usize]);
        if let Some(block) = blocks.get_mut(span.block() as usize) {
            *block = payload;
        }
    }

    /// Blocks `from` up to `to` of a piece; none if one of them is not here.
    pub(crate) fn blocks(&self, piece: u32, from: u32, to: u32) -> &[Bytes] {
        let blocks = self.pieces.get(&piece).map_or(&[][..], Vec::as_slice);
        let blocks = blocks.get(from as usize..to as usize).unwrap_or_default();
        if blocks.iter().any(Bytes::is_empty) {
            return &[];
        }
        blocks
    }

    /// All blocks of a piece in order. A block that was never kept is empty, and the piece then fails
    /// its checksum.
    pub(crate) fn take(&mut self, piece: u32) -> Vec<Bytes> {
        self.pieces.remove(&piece).unwrap_or_default()
    }

    pub(crate) fn forget(&mut self, piece: u32) {
        self.pieces.remove(&piece);
    }
}

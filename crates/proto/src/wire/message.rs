//! Messages between peers, as types, and their bytes.

use crate::geometry::Span;
use bytes::{BufMut, Bytes, BytesMut};

/// Which hashes of a file's merkle tree are meant (BEP 52).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashRange {
    /// `pieces root` of the file.
    pub root: crate::hash::Sha256,
    /// Layer the hashes are of; 0 is the leaves.
    pub base_layer: u32,
    /// First hash in that layer.
    pub index: u32,
    /// Number of hashes; a power of two, at least 2, at most 512.
    pub length: u32,
    /// Number of uncle layers asked for as proof.
    pub proof_layers: u32,
}

/// Everything a peer can say but a block: payload is a [`super::Frame::Block`] and is sent by
/// [`block_header`] followed by the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Nothing; says that the connection is alive.
    KeepAlive,
    /// No requests are answered from now on.
    Choke,
    /// Requests are answered from now on.
    Unchoke,
    /// The receiver has something the sender wants.
    Interested,
    /// It has not.
    NotInterested,
    /// The sender has this piece now.
    Have(u32),
    /// All that the sender has, in wire form.
    Bitfield(Bytes),
    /// Please send this.
    Request(Span),
    /// No longer needed.
    Cancel(Span),
    /// DHT port (BEP 5).
    Port(u16),
    /// A piece that would be good to fetch here (BEP 6).
    Suggest(u32),
    /// The sender has everything (BEP 6).
    HaveAll,
    /// The sender has nothing (BEP 6).
    HaveNone,
    /// A request that will not be answered (BEP 6).
    Reject(Span),
    /// A piece that may be asked for while choked (BEP 6).
    AllowedFast(u32),
    /// Extension protocol (BEP 10): 0 is the handshake, other numbers as negotiated.
    Extended {
        /// Number of the extension, from the receiver's handshake.
        id: u8,
        /// Its bytes.
        payload: Bytes,
    },
    /// Asks for hashes of a merkle tree (BEP 52).
    HashRequest(HashRange),
    /// Hashes, and uncles as proof (BEP 52).
    Hashes {
        /// Which ones.
        range: HashRange,
        /// 32 bytes each.
        hashes: Bytes,
    },
    /// A hash request that will not be answered (BEP 52).
    HashReject(HashRange),
}

impl Message {
    /// Appends the message with its length prefix.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::KeepAlive => out.put_u32(0),
            Self::Choke => plain(out, 0),
            Self::Unchoke => plain(out, 1),
            Self::Interested => plain(out, 2),
            Self::NotInterested => plain(out, 3),
            Self::Have(piece) => with_piece(out, 4, *piece),
            Self::Bitfield(bits) => with_bytes(out, 5, &[], bits),
            Self::Request(span) => with_span(out, 6, *span),
            Self::Cancel(span) => with_span(out, 8, *span),
            Self::Port(port) => {
                out.put_u32(3);
                out.put_u8(9);
                out.put_u16(*port);
            }
            Self::Suggest(piece) => with_piece(out, 13, *piece),
            Self::HaveAll => plain(out, 14),
            Self::HaveNone => plain(out, 15),
            Self::Reject(span) => with_span(out, 16, *span),
            Self::AllowedFast(piece) => with_piece(out, 17, *piece),
            Self::Extended { id, payload } => with_bytes(out, 20, &[*id], payload),
            Self::HashRequest(range) => with_range(out, 21, range, &[]),
            Self::Hashes { range, hashes } => with_range(out, 22, range, hashes),
            Self::HashReject(range) => with_range(out, 23, range, &[]),
        }
    }
}

/// The 13 bytes that go before the payload of a block.
#[must_use]
pub fn block_header(span: Span) -> [u8; 13] {
    let mut out = [0; 13];
    out[..4].copy_from_slice(&(span.length + 9).to_be_bytes());
    out[4] = 7;
    out[5..9].copy_from_slice(&span.piece.to_be_bytes());
    out[9..].copy_from_slice(&span.offset.to_be_bytes());
    out
}

fn plain(out: &mut BytesMut, id: u8) {
    out.put_u32(1);
    out.put_u8(id);
}

fn with_piece(out: &mut BytesMut, id: u8, piece: u32) {
    out.put_u32(5);
    out.put_u8(id);
    out.put_u32(piece);
}

fn with_span(out: &mut BytesMut, id: u8, span: Span) {
    out.put_u32(13);
    out.put_u8(id);
    out.put_u32(span.piece);
    out.put_u32(span.offset);
    out.put_u32(span.length);
}

fn with_bytes(out: &mut BytesMut, id: u8, head: &[u8], bytes: &[u8]) {
    out.put_u32((1 + head.len() + bytes.len()) as u32);
    out.put_u8(id);
    out.extend_from_slice(head);
    out.extend_from_slice(bytes);
}

fn with_range(out: &mut BytesMut, id: u8, range: &HashRange, hashes: &[u8]) {
    out.put_u32((1 + 48 + hashes.len()) as u32);
    out.put_u8(id);
    out.extend_from_slice(&range.root.0);
    for number in [
        range.base_layer,
        range.index,
        range.length,
        range.proof_layers,
    ] {
        out.put_u32(number);
    }
    out.extend_from_slice(hashes);
}

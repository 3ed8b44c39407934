//! From bytes to messages, without copying payload.

use super::message::{HashRange, Message};
use crate::geometry::Span;
use crate::hash::Sha256;
use bytes::{Buf, Bytes, BytesMut};
use core::fmt;

/// Longest payload of a block that is accepted: 128 KiB, the largest request that old clients make.
/// Samara itself asks for 16 KiB.
pub const MAX_BLOCK: u32 = 128 * 1024;

/// Longest message that is neither a block nor a bitfield. Metadata pieces are 16 KiB and a bit, a
/// PEX message or 512 hashes with proof less; libtorrent's limit is 1 MiB for everything.
const MAX_MESSAGE: u32 = 256 * 1024;

/// Why the other side is not speaking the protocol. The connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireError {
    /// The length prefix is beyond what this kind of message may have. Nothing was allocated.
    TooLong {
        /// Kind of the message.
        id: u8,
        /// Length it claims, in bytes.
        length: u32,
    },
    /// The length does not fit the kind of message.
    BadLength {
        /// Kind of the message.
        id: u8,
        /// Length it claims, in bytes.
        length: u32,
    },
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { id, length } => {
                write!(
                    f,
                    "message of kind {id} claims {length} bytes, more than is allowed"
                )
            }
            Self::BadLength { id, length } => {
                write!(f, "message of kind {id} cannot be {length} bytes long")
            }
        }
    }
}

impl core::error::Error for WireError {}

/// What a peer said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A message without payload.
    Message(Message),
    /// A block: its place, and its bytes as a slice of the buffer they were read into.
    Block {
        /// Where the bytes belong.
        span: Span,
        /// The bytes.
        payload: Bytes,
    },
}

/// Cuts a stream into frames.
#[derive(Clone, Copy, Debug)]
pub struct Decoder {
    max_bitfield: u32,
}

impl Decoder {
    /// A decoder for a torrent of `pieces` pieces.
    #[must_use]
    pub fn new(pieces: u32) -> Self {
        Self {
            max_bitfield: pieces.div_ceil(8) + 1,
        }
    }

    /// Takes the next frame off `buf`; `None` if it is not complete yet. Unknown kinds of messages
    /// are skipped (BEP 3 leaves them to extensions).
    pub fn decode(&self, buf: &mut BytesMut) -> Result<Option<Frame>, WireError> {
        loop {
            let Some(header) = buf.first_chunk::<4>() else {
                return Ok(None);
            };
            let length = u32::from_be_bytes(*header);
            if length == 0 {
                buf.advance(4);
                return Ok(Some(Frame::Message(Message::KeepAlive)));
            }
            let Some(&id) = buf.get(4) else {
                return Ok(None);
            };
            self.check_length(id, length)?;
            if buf.len() - 4 < length as usize {
                return Ok(None);
            }
            buf.advance(5);
            let body = buf.split_to(length as usize - 1).freeze();
            let bad = WireError::BadLength { id, length };
            if let Some(frame) = read_body(id, body).ok_or(bad)? {
                return Ok(Some(frame));
            }
        }
    }

    /// Bytes that must still arrive before the frame at the front of `buf` is whole; 0 if unknown.
    #[must_use]
    pub fn missing(buf: &[u8]) -> usize {
        buf.first_chunk::<4>().map_or(0, |header| {
            (4 + u32::from_be_bytes(*header) as usize).saturating_sub(buf.len())
        })
    }

    fn check_length(&self, id: u8, length: u32) -> Result<(), WireError> {
        let max = match id {
            5 => self.max_bitfield,
            7 => MAX_BLOCK + 9,
            _ => MAX_MESSAGE,
        };
        if length > max {
            Err(WireError::TooLong { id, length })
        } else {
            Ok(())
        }
    }
}

/// `None`: the length is wrong. `Some(None)`: not a kind that is known.
#[expect(clippy::option_option, reason = "three outcomes, one caller")]
fn read_body(id: u8, mut body: Bytes) -> Option<Option<Frame>> {
    let want = match id {
        0..=3 | 14 | 15 => Some(0),
        4 | 13 | 17 => Some(4),
        6 | 8 | 16 => Some(12),
        9 => Some(2),
        21 | 23 => Some(48),
        _ => None,
    };
    if want.is_some_and(|want| want != body.len()) {
        return None;
    }
    let message = match id {
        0 => Message::Choke,
        1 => Message::Unchoke,
        2 => Message::Interested,
        3 => Message::NotInterested,
        4 => Message::Have(body.get_u32()),
        5 => Message::Bitfield(body),
        6 => Message::Request(read_span(body)),
        7 => {
            if body.len() < 8 {
                return None;
            }
            let (piece, offset) = (body.get_u32(), body.get_u32());
            let span = Span {
                piece,
                offset,
                length: body.len() as u32,
            };
            return Some(Some(Frame::Block {
                span,
                payload: body,
            }));
        }
        8 => Message::Cancel(read_span(body)),
        9 => Message::Port(body.get_u16()),
        13 => Message::Suggest(body.get_u32()),
        14 => Message::HaveAll,
        15 => Message::HaveNone,
        16 => Message::Reject(read_span(body)),
        17 => Message::AllowedFast(body.get_u32()),
        20 => {
            if body.is_empty() {
                return None;
            }
            let id = body.get_u8();
            Message::Extended { id, payload: body }
        }
        21 => Message::HashRequest(read_range(&mut body)?),
        22 => {
            let range = read_range(&mut body)?;
            if !body.len().is_multiple_of(Sha256::LEN) {
                return None;
            }
            Message::Hashes {
                range,
                hashes: body,
            }
        }
        23 => Message::HashReject(read_range(&mut body)?),
        _ => return Some(None),
    };
    Some(Some(Frame::Message(message)))
}

/// Twelve bytes are there: the caller has checked.
fn read_span(mut body: Bytes) -> Span {
    Span {
        piece: body.get_u32(),
        offset: body.get_u32(),
        length: body.get_u32(),
    }
}

fn read_range(body: &mut Bytes) -> Option<HashRange> {
    if body.len() < 48 {
        return None;
    }
    let root = Sha256::from_slice(&body.split_to(32))?;
    Some(HashRange {
        root,
        base_layer: body.get_u32(),
        index: body.get_u32(),
        length: body.get_u32(),
        proof_layers: body.get_u32(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::block_header;

    fn samples() -> Vec<Message> {
        let span = Span {
            piece: 1,
            offset: 16384,
            length: 16384,
        };
        let range = HashRange {
            root: Sha256([7; 32]),
            base_layer: 0,
            index: 512,
            length: 512,
            proof_layers: 3,
        };
        vec![
            Message::KeepAlive,
            Message::Choke,
            Message::Unchoke,
            Message::Interested,
            Message::NotInterested,
            Message::Have(9),
            Message::Bitfield(Bytes::from_static(&[0xf0, 1])),
            Message::Request(span),
            Message::Cancel(span),
            Message::Port(6881),
            Message::Suggest(2),
            Message::HaveAll,
            Message::HaveNone,
            Message::Reject(span),
            Message::AllowedFast(3),
            Message::Extended {
                id: 3,
                payload: Bytes::from_static(b"d1:ai1ee"),
            },
            Message::HashRequest(range),
            Message::Hashes {
                range,
                hashes: Bytes::from_static(&[1; 64]),
            },
            Message::HashReject(range),
        ]
    }

    #[test]
    fn messages_survive_any_cut_of_the_stream() {
        let mut wire = BytesMut::new();
        for message in samples() {
            message.encode(&mut wire);
        }
        let span = Span {
            piece: 4,
            offset: 32768,
            length: 5,
        };
        wire.extend_from_slice(&block_header(span));
        wire.extend_from_slice(b"hello");
        let mut want: Vec<Frame> = samples().into_iter().map(Frame::Message).collect();
        want.push(Frame::Block {
            span,
            payload: Bytes::from_static(b"hello"),
        });
        for step in [1, 2, 3, 7, 64, wire.len()] {
            let decoder = Decoder::new(16);
            let (mut buf, mut got) = (BytesMut::new(), Vec::new());
            for chunk in wire.chunks(step) {
                buf.extend_from_slice(chunk);
                while let Some(frame) = decoder.decode(&mut buf).expect("legal") {
                    got.push(frame);
                }
            }
            assert_eq!(got, want, "in steps of {step}");
        }
    }

    #[test]
    fn attack_15_lengths_are_checked_before_anything_is_kept() {
        let decoder = Decoder::new(16);
        let try_with = |length: u32, id: u8| {
            let mut buf = BytesMut::from(&length.to_be_bytes()[..]);
            buf.extend_from_slice(&[id]);
            decoder.decode(&mut buf)
        };
        assert!(matches!(
            try_with(u32::MAX, 7),
            Err(WireError::TooLong { .. })
        ));
        assert!(matches!(
            try_with(u32::MAX, 200),
            Err(WireError::TooLong { .. })
        ));
        assert!(matches!(try_with(4, 5), Err(WireError::TooLong { .. })));
        assert_eq!(try_with(9 + MAX_BLOCK, 7), Ok(None));
        for (length, id) in [
            (2u32, 0u8),
            (4, 4),
            (12, 6),
            (8, 7),
            (1, 20),
            (40, 21),
            (50, 22),
        ] {
            let mut buf = BytesMut::from(&length.to_be_bytes()[..]);
            buf.extend_from_slice(&[id]);
            buf.resize(4 + length as usize, 0);
            assert_eq!(
                decoder.decode(&mut buf),
                Err(WireError::BadLength { id, length })
            );
        }
    }

    #[test]
    fn unknown_kinds_are_skipped() {
        let mut buf = BytesMut::from(&[0, 0, 0, 3, 99, 1, 2, 0, 0, 0, 1, 1][..]);
        let got = Decoder::new(1).decode(&mut buf);
        assert_eq!(got, Ok(Some(Frame::Message(Message::Unchoke))));
    }
}

//! Parts of pieces that are passed on before the piece is whole: Samara's own extension (BEP 10), for torrents with SHA-1 piece
//! hashes.
//!
//! SHA-1 is a chain: every block of 64 bytes takes one *chaining value* to the next, and the last one is the hash. Whoever
//! knows the value before the last part of a piece can hash that part alone and compare with the piece's hash in the torrent; if they
//! are equal, the value is right too, and the part before it can be checked against it. So a piece can be verified part by part from
//! its **end**, and nobody needs to be believed: to forge a value is as hard as to find data for a given SHA-1.
//!
//! | message | first byte | then |
//! | --- | --- | --- |
//! | chain | 0 | piece (u32), length of a part (u32), the values before parts 1, 2, ... (20 bytes each) |
//! | coming | 1 | piece (u32): the end of it is here and verified, the rest is being fetched; it may be asked for |
//! | gone | 2 | piece (u32): what was said of it is no longer so |
//!
//! Numbers are big-endian. A chain is sent to whoever asks for a block of the piece; it does not matter who sends it.

use crate::hash::Sha1;
use bytes::{BufMut, Bytes, BytesMut};

/// Name of the extension.
pub const PARTS: &str = "samara_parts";

/// The number under which Samara wants to receive its messages.
pub const PARTS_ID: u8 = 3;

/// Most values in a message: 5 KiB.
const VALUES_MAX: usize = 255;

/// A message of the extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartsMessage {
    /// What is needed to verify a piece part by part.
    Chain {
        /// Index of the piece.
        piece: u32,
        /// Bytes of a part; the last one may be shorter.
        step: u32,
        /// SHA-1's chaining value before every part but the first.
        values: Vec<Sha1>,
    },
    /// The end of a piece is here and verified, and the rest is on its way.
    Coming {
        /// Index of the piece.
        piece: u32,
    },
    /// It is not.
    Gone {
        /// Index of the piece.
        piece: u32,
    },
}

impl PartsMessage {
    /// The payload of the message.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::new();
        match self {
            Self::Chain {
                piece,
                step,
                values,
            } => {
                bytes.put_u8(0);
                bytes.put_u32(*piece);
                bytes.put_u32(*step);
                for value in values {
                    bytes.put_slice(value.as_ref());
                }
            }
            Self::Coming { piece } => {
                bytes.put_u8(1);
                bytes.put_u32(*piece);
            }
            Self::Gone { piece } => {
                bytes.put_u8(2);
                bytes.put_u32(*piece);
            }
        }
        bytes.freeze()
    }

    /// Reads a payload; `None` if it is malformed or of an unknown kind.
    #[must_use]
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let (kind, rest) = payload.split_first()?;
        let (piece, rest) = rest.split_first_chunk()?;
        let piece = u32::from_be_bytes(*piece);
        match (kind, rest) {
            (0, rest) => {
                let (step, rest) = rest.split_first_chunk()?;
                let (values, left) = rest.as_chunks();
                let fits = left.is_empty() && values.len() <= VALUES_MAX;
                fits.then(|| Self::Chain {
                    piece,
                    step: u32::from_be_bytes(*step),
                    values: values.iter().copied().map(Sha1).collect(),
                })
            }
            (1, []) => Some(Self::Coming { piece }),
            (2, []) => Some(Self::Gone { piece }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_round_trip() {
        for sent in [
            PartsMessage::Coming { piece: 7 },
            PartsMessage::Gone { piece: u32::MAX },
            PartsMessage::Chain {
                piece: 1,
                step: 65536,
                values: vec![Sha1([1; 20]), Sha1([2; 20])],
            },
            PartsMessage::Chain {
                piece: 1,
                step: 65536,
                values: Vec::new(),
            },
        ] {
            assert_eq!(PartsMessage::decode(&sent.encode()), Some(sent));
        }
    }

    #[test]
    fn what_is_too_short_too_long_or_unknown_is_no_message() {
        let chain = PartsMessage::Chain {
            piece: 1,
            step: 65536,
            values: vec![Sha1([1; 20]); VALUES_MAX + 1],
        };
        let chain = chain.encode();
        assert_eq!(PartsMessage::decode(&chain), None);
        for length in [0, 1, 4, 5, 8, 10, 28, 30] {
            assert_eq!(PartsMessage::decode(&chain[..length]), None, "{length}");
        }
        assert_eq!(PartsMessage::decode(&[1, 0, 0, 0, 1, 0]), None);
        assert_eq!(PartsMessage::decode(&[3, 0, 0, 0, 1]), None);
    }
}

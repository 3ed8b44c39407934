//! The extension handshake (BEP 10) and metadata exchange (BEP 9).

use super::parts::PARTS;
use crate::bencode::{Encoder, parse_prefix};
use bytes::Bytes;

/// Name of the metadata extension (BEP 9).
pub const UT_METADATA: &str = "ut_metadata";

/// The number under which Samara wants to receive metadata messages.
pub const UT_METADATA_ID: u8 = 2;

/// What a peer says of itself in extension message 0. Every part is optional, wrong types are taken
/// as absent: a strange handshake costs features, not the connection.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ExtendedHandshake {
    /// Number under which the sender wants metadata messages; 0 or absent: it does not.
    pub ut_metadata: Option<u8>,
    /// Number under which the sender wants messages about parts of pieces; 0 or absent: it does not.
    pub parts: Option<u8>,
    /// Size of the info dictionary in bytes.
    pub metadata_size: Option<u64>,
    /// Name and version of the client.
    pub client: Option<String>,
    /// Port the sender listens on.
    pub port: Option<u16>,
    /// Requests that the sender lets wait (`reqq`).
    pub request_queue: Option<u32>,
    /// The sender will not download any more (BEP 21).
    pub upload_only: bool,
}

impl ExtendedHandshake {
    /// The payload of the message.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut e = Encoder::new();
        e.dict(|d| {
            d.key("m").dict(|m| {
                if let Some(id) = self.parts {
                    m.key(PARTS).int(i64::from(id));
                }
                if let Some(id) = self.ut_metadata {
                    m.key(UT_METADATA).int(i64::from(id));
                }
            });
            if let Some(size) = self.metadata_size {
                d.key("metadata_size").int(size as i64);
            }
            if let Some(client) = &self.client {
                d.key("v").bytes(client);
            }
            if let Some(port) = self.port {
                d.key("p").int(i64::from(port));
            }
            if let Some(queue) = self.request_queue {
                d.key("reqq").int(i64::from(queue));
            }
            if self.upload_only {
                d.key("upload_only").int(1);
            }
        });
        Bytes::from(e.finish())
    }

    /// Reads a payload; `None` if it is not a dictionary.
    #[must_use]
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let (value, _) = parse_prefix(payload).ok()?;
        let dict = value.as_dict()?;
        let number = |key: &str| dict.int(key).and_then(|int| u64::try_from(int).ok());
        let message = |name: &str| {
            let id = dict.dict("m")?.int(name)?;
            u8::try_from(id).ok().filter(|id| *id != 0)
        };
        let client = dict
            .bytes("v")
            .map(|v| String::from_utf8_lossy(v).chars().take(64).collect());
        Some(Self {
            ut_metadata: message(UT_METADATA),
            parts: message(PARTS),
            metadata_size: number("metadata_size"),
            client,
            port: number("p")
                .and_then(|port| u16::try_from(port).ok())
                .filter(|port| *port != 0),
            request_queue: number("reqq").map(|queue| queue.min(u64::from(u32::MAX)) as u32),
            upload_only: number("upload_only").is_some_and(|flag| flag != 0),
        })
    }
}

/// A message of the metadata extension (BEP 9). Metadata pieces are 16 KiB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetadataMessage {
    /// Please send this piece of the info dictionary.
    Request {
        /// Index of the piece.
        piece: u32,
    },
    /// Here it is.
    Data {
        /// Index of the piece.
        piece: u32,
        /// Size of the whole info dictionary in bytes.
        total_size: u64,
        /// The bytes.
        data: Bytes,
    },
    /// It will not be sent.
    Reject {
        /// Index of the piece.
        piece: u32,
    },
}

impl MetadataMessage {
    /// The payload of the message.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let (kind, piece) = match self {
            Self::Request { piece } => (0, piece),
            Self::Data { piece, .. } => (1, piece),
            Self::Reject { piece } => (2, piece),
        };
        let mut e = Encoder::new();
        e.dict(|d| {
            d.key("msg_type").int(kind);
            d.key("piece").int(i64::from(*piece));
            if let Self::Data { total_size, .. } = self {
                d.key("total_size").int(*total_size as i64);
            }
        });
        if let Self::Data { data, .. } = self {
            e.raw(data);
        }
        Bytes::from(e.finish())
    }

    /// Reads a payload; `None` if it is malformed or of an unknown kind.
    #[must_use]
    pub fn decode(payload: &Bytes) -> Option<Self> {
        let (value, used) = parse_prefix(payload).ok()?;
        let dict = value.as_dict()?;
        let piece = u32::try_from(dict.int("piece")?).ok()?;
        match dict.int("msg_type")? {
            0 => Some(Self::Request { piece }),
            1 => Some(Self::Data {
                piece,
                total_size: u64::try_from(dict.int("total_size")?).ok()?,
                data: payload.slice(used..),
            }),
            2 => Some(Self::Reject { piece }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::parts::PARTS_ID;
    use super::*;

    #[test]
    fn handshake_round_trip() {
        let sent = ExtendedHandshake {
            ut_metadata: Some(UT_METADATA_ID),
            parts: Some(PARTS_ID),
            metadata_size: Some(1234),
            client: Some("Samara 0.1".into()),
            port: Some(6881),
            request_queue: Some(500),
            upload_only: true,
        };
        assert_eq!(ExtendedHandshake::decode(&sent.encode()), Some(sent));
        assert_eq!(
            ExtendedHandshake::decode(b"de"),
            Some(ExtendedHandshake::default())
        );
    }

    #[test]
    fn nonsense_costs_features_only() {
        let got = ExtendedHandshake::decode(
            b"d1:md11:ut_metadatai-3ee13:metadata_sizei-1e1:pi70000e4:reqq3:abc1:vi1ee",
        );
        assert_eq!(got, Some(ExtendedHandshake::default()));
        assert_eq!(ExtendedHandshake::decode(b"le"), None);
        assert_eq!(ExtendedHandshake::decode(b""), None);
    }

    #[test]
    fn metadata_round_trip() {
        for sent in [
            MetadataMessage::Request { piece: 0 },
            MetadataMessage::Reject { piece: 3 },
            MetadataMessage::Data {
                piece: 1,
                total_size: 20_000,
                data: Bytes::from_static(b"xyz"),
            },
        ] {
            assert_eq!(MetadataMessage::decode(&sent.encode()), Some(sent));
        }
        let negative = Bytes::from_static(b"d8:msg_typei0e5:piecei-1ee");
        assert_eq!(MetadataMessage::decode(&negative), None);
        let huge = Bytes::from_static(b"d8:msg_typei0e5:piecei4294967296ee");
        assert_eq!(MetadataMessage::decode(&huge), None);
    }
}

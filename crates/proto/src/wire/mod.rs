//! The peer wire protocol (BEP 3, 6, 10, 52): handshake, messages, and a decoder that does not copy.

mod decode;
mod extended;
mod handshake;
mod message;
mod parts;

pub use decode::{Decoder, Frame, MAX_BLOCK, WireError};
pub use extended::{ExtendedHandshake, MetadataMessage, UT_METADATA, UT_METADATA_ID};
pub use handshake::{HANDSHAKE_LEN, Handshake, Reserved};
pub use message::{HashRange, Message, block_header};
pub use parts::{PARTS, PARTS_ID, PartsMessage};

//! Bencode (BEP 3): a strict reader that borrows, and a writer that sorts.
//!
//! The reader refuses what is not canonical (leading zeros, `-0`, keys out of order or twice,
//! trailing bytes), is bounded in depth, and never recurses on input. It keeps the raw bytes of every
//! value, so that an info dictionary can be hashed exactly as it came.

mod encode;
mod parse;

pub use encode::{DictEncoder, Encoder};
pub use parse::{Dict, Error, Kind, MAX_DEPTH, Value, parse, parse_prefix};

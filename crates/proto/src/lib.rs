//! BitTorrent's bytes and types.
//!
//! This crate turns bytes into types and back, and does nothing else: it has no clock, no randomness,
//! no sockets, no files and no threads. Nothing that a remote side sends makes it panic, and nothing
//! is allocated on the word of a length that has not been checked against a named limit.

// Remote input never panics. Tests may.
#![cfg_attr(
    not(test),
    deny(
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

pub mod bencode;
pub mod bitfield;
pub mod geometry;
pub mod hash;
pub mod magnet;
pub mod merkle;
pub mod metainfo;
pub mod tracker;
pub mod wire;

pub use bitfield::Bitfield;
pub use geometry::{BLOCK, Geometry, Span};
pub use hash::{InfoHash, PeerId, Sha1, Sha256};

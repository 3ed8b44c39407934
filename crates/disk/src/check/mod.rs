//! Bytes against the hashes of the torrent: pieces in memory before they are written, pieces on disk,
//! and whole files once everything is there.

mod files;
mod parallel;
mod part;
mod piece;
mod pieces;

pub use files::{FileCheck, Outcome, check_files};
pub use parallel::{CheckError, Control};
pub use part::{chain_of, part_ok};
pub use piece::{block_digests, piece_ok, pieces_ok};
pub use pieces::{verify, verify_some};

#[cfg(test)]
mod tests;

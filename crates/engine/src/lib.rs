//! A BitTorrent peer's decisions, without input or output.
//!
//! [`Torrent`] is told facts ([`Input`]) and says what it wants done ([`Output`]). It has no clock, no
//! entropy, no sockets, no files, no threads; time and randomness are arguments, payload bytes never
//! enter. The same seed and the same inputs give the same outputs, byte for byte. [`io`] holds the
//! contract between a torrent and whoever drives it.

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

mod announce;
mod blame;
mod candidates;
mod choker;
pub mod config;
pub mod fault;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
pub mod io;
pub mod metadata;
mod peer;
mod picker;
pub mod record;
mod reveal;
pub mod rng;
pub mod shaper;
pub mod time;
mod torrent;

pub use candidates::{is_shared, network};
pub use config::Config;
pub use fault::{PeerFault, Proof, Sanction};
pub use io::{
    Announce, AnnounceEvent, Answer, Deadline, Event, FilesOutcome, Goodbye, Input, Output,
    Outputs, PeerKey, Phase, PieceOutcome, Reason, SeedGoal, Snapshot, Spec, TrackerKey,
};
pub use rng::Seed;
pub use time::{Duration, Instant};
pub use torrent::Torrent;

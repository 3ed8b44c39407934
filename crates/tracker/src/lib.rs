//! A BitTorrent tracker: who is in each swarm, and the servers that say so.
//!
//! [`swarm`] is the membership table and its policy, pure; `serve` puts it on sockets, and `guard` limits
//! what one client may ask for. The simulator uses the first alone (`default-features = false`).

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

#[cfg(feature = "serve")]
pub mod guard;
#[cfg(feature = "serve")]
pub mod serve;
pub mod swarm;
mod sys;

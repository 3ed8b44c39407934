//! The membership table and its policy, pure: time and randomness are arguments.
//!
//! [`Store`] has no clock, no entropy, no sockets and no map whose order of iteration varies: the
//! same calls with the same seed give the same answers, so that the simulator runs the very tracker
//! that the world talks to.
//!
//! # Who is told of whom
//!
//! A seed is told of leeches, a leech of everybody, nobody of itself, and nobody of an address that
//! it cannot reach (a public asker of private ones, another host of loopback). Among those that
//! qualify the choice is uniform.
//!
//! # The seed rule
//!
//! While a swarm has no seed, a leech that has nothing is not told of anybody and nobody is told of
//! it: it waits, asks again every two seconds, and begins as soon as a seed has announced. One that
//! has begun goes on, with or without a seed. A leech has begun if it says so (`downloaded` above 0,
//! or less `left` than the torrent has bytes) or if it has been told of peers before. The size of
//! the torrent is what was registered, else what the peer says in `size`, else the most that anybody
//! in the swarm has ever had left. `docs/decisions/0002-seed-rule.md` has the reasons.
//!
//! # When they come again
//!
//! The interval follows the *calm* of the swarm: see [`Config::calm_divisor`] and its neighbours. A
//! peer is forgotten 2.2 times after the longer of the interval it was told and the pace it has been
//! seen to keep.

mod config;
mod members;
mod rng;
mod store;

#[cfg(test)]
mod tests;

pub use config::Config;
pub use members::Role;
pub use store::{Announce, PeerInfo, Stats, Store, SwarmStats};

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
//! peer is forgotten 2.2 times after the longer of the interval it was told and the pace it may be
//! thought to keep: five minutes, until it has been seen to come when it was told to.
//!
//! # What it costs
//!
//! A peer is known by its address: 8 bytes for IPv4, 20 for IPv6, of which two are ours (until when
//! it is expected, and three bits). A swarm is 64 bytes, one cache line, and holds its first three
//! peers there; beyond, an array, sorted by role, with a table of places from 24 peers on. Nothing
//! else is kept: no peer ids, no keys, no times. A peer that announces over both families counts once
//! in each. Everything that is done for an announce costs O(1) and O(numwant).

mod answer;
mod config;
mod index;
mod members;
mod news;
mod pool;
mod record;
mod rng;
mod saved;
mod slab;
mod store;
mod table;
mod visit;

#[cfg(test)]
mod tests;

pub use answer::{Answer, Listed, Sink};
pub use config::Config;
pub use news::{News, Of};
pub use record::Role;
#[cfg(feature = "serve")]
pub(crate) use record::mix;
pub use saved::SavedSwarm;
pub use store::{Announce, Elsewhere, PREFETCHES, PeerInfo, Stats, Store, SwarmStats, Trail};

//! A BitTorrent tracker: who is in each swarm, and the servers that say so.
//!
//! [`swarm`] is the membership table and its policy, pure; `serve` puts it on sockets. The simulator
//! uses the first without the second (`default-features = false`).

#[cfg(feature = "serve")]
pub mod serve;
pub mod swarm;
mod sys;

//! A whole swarm in one thread, from one seed number.
//!
//! The engine and the tracker's store run here unmodified, on a simulated network, disk and clock.
//! [`scenario`] says what a world is made of, [`world`] runs it, [`checkers`] watch every event, and
//! [`report`] is what came of it; [`published`] sets it against the literature, [`replay`] runs recordings of
//! real torrents. `docs/simulation.md` has the models, their cost, and the figures.

pub mod checkers;
pub mod host;
pub mod net;
pub mod published;
pub mod replay;
pub mod report;
pub mod scenario;
pub mod tracker;
pub mod world;

pub use report::Report;
pub use scenario::Scenario;
pub use world::{World, run};

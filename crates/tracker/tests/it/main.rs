//! The tracker as its users meet it, with other people's programs.

// One program, whose rooms see each other.
#![allow(unreachable_pub)]

mod servers;
mod shared;
mod trackers;

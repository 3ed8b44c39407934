//! Torrents on disk: bytes <-> files.
//!
//! This crate is synchronous: every call does its work on the caller's thread and returns when it is
//! done (the checks that use all cores start scoped threads of their own). There are no sockets and
//! no async here; the shell around it decides on which thread what runs.
//!
//! * [`store`]: where a torrent's bytes are in its files; reads, writes, sync.
//! * [`hash`]: many SHA-1 and SHA-256 digests at a time.
//! * [`check`]: pieces and whole files against the hashes of the torrent.
//! * [`resume`]: the journal of what was verified, which survives a kill.
//! * [`seam`]: where tests make the disk fail.

pub mod check;
pub mod create;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
pub mod hash;
pub mod resume;
pub mod seam;
pub mod store;

#[cfg(test)]
mod faults;
#[cfg(any(test, fuzzing))]
mod testing;

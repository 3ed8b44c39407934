//! The program as users run it: real processes, real sockets, real files, and other people's clients.
//!
//! Nothing leaves this machine: tests use 127.0.0.0/8, or a network namespace of their own where other
//! clients would refuse that range. Waiting is always for something that happens, under a generous
//! time-out; no test measures time.

// Nothing of a test is reachable from outside; `pub` says "for the other modules".
#![allow(unreachable_pub)]

mod bad_input;
mod command_line;
mod corrupt;
mod data;
mod failures;
mod foreign;
mod hostile;
mod http;
mod large;
mod many_files;
mod namespace;
mod process;
mod reliability;
mod resume;
mod share;
mod swarm;
mod tracker;

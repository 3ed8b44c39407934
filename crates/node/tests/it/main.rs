//! Real sockets, real files: sessions on loopback.

mod harness;
mod hostile;
mod swarm;
mod trouble;

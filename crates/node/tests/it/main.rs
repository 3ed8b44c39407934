//! Real sockets, real files: sessions on loopback.

mod harness;
mod hostile;
mod magnets;
mod swarm;
mod trouble;

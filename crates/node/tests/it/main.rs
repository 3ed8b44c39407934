//! Real sockets, real files: sessions on loopback.

mod disk;
mod harness;
mod hostile;
mod limits;
mod magnets;
mod recording;
mod swarm;
mod trouble;

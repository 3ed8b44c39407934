//! Samara's engine on real sockets and disks: the library that programs use.
//!
//! A [`Session`] owns one peer port; a torrent that is added to it gets a task of its own, which drives
//! one [`samara_engine::Torrent`]. This crate moves bytes and waits; what to do is the engine's to say.
//!
//! ```text
//!   accept, dial --- handshake ---> torrent task (one engine, no locks) <--- answers --- trackers
//!                                     ^  |                ^   |
//!                 batches of frames   |  |  parcels       |   |  whole pieces
//!                                     |  v                |   v
//!                      peer reader, peer writer      hash and write threads, journal
//! ```
//!
//! ```no_run
//! use samara_node::{AddTorrent, Mode, Session, SessionConfig};
//! use samara_proto::metainfo::Metainfo;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let session = Session::start(SessionConfig::default()).await?;
//! let metainfo = Metainfo::from_bytes(&std::fs::read("some.torrent")?)?;
//! let torrent = session.add(AddTorrent::new(metainfo, "downloads", Mode::Get)).await?;
//! let mut events = torrent.events();
//! while let Some(event) = events.recv().await {
//!     println!("{event:?}");
//! }
//! # Ok(())
//! # }
//! ```

mod clock;
mod error;
mod limits;
mod metadata;
mod peer;
mod session;
mod sys;
mod torrent;
mod tracker;
mod workers;

pub use error::NodeError;
pub use session::{PeerLimits, Session, SessionConfig};
pub use torrent::{AddTorrent, Mode, Outcome, Torrent, TorrentEvent};
pub use tracker::ScrapeEntry;

/// 64 bits of the system's entropy.
fn entropy() -> u64 {
    let mut bytes = [0; 8];
    if let Err(error) = getrandom::getrandom(&mut bytes) {
        // Names and tie-breaks only, nothing secret: the clock will do.
        tracing::warn!(%error, "no entropy from the system");
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        return now.map_or(0, |now| now.as_nanos() as u64);
    }
    u64::from_ne_bytes(bytes)
}

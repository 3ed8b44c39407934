//! What a torrent tells its user, and how it ends.

use crate::error::NodeError;
use samara_engine::{PeerFault, Proof};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Events kept for a receiver that is not there yet; the oldest are dropped beyond this. Enough for
/// everything until the first peer, and for a piece each of a large torrent.
const BACKLOG_MAX: usize = 65_536;

/// Something that happened to a torrent.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum TorrentEvent {
    /// What is on disk is being checked against its hashes.
    Verifying {
        /// Bytes that were checked.
        done: u64,
        /// Bytes to check.
        total: u64,
    },
    /// The torrent is open, and takes part in the swarm from now on.
    Ready {
        /// Pieces that are here.
        have: u32,
        /// Pieces of the torrent.
        pieces: u32,
    },
    /// A peer is connected.
    PeerConnected {
        /// Its address.
        addr: SocketAddr,
    },
    /// A peer is gone.
    PeerGone {
        /// Its address.
        addr: SocketAddr,
        /// What it did wrong, if that is why.
        fault: Option<PeerFault>,
    },
    /// A peer will not be spoken to again.
    PeerBanned {
        /// Its address.
        addr: SocketAddr,
        /// What it did.
        fault: PeerFault,
        /// What shows it: piece, block, digests.
        proof: Proof,
    },
    /// A piece is here, verified and written.
    PieceVerified {
        /// The piece.
        piece: u32,
    },
    /// A piece failed its checksum and will be fetched again.
    PieceRejected {
        /// The piece.
        piece: u32,
        /// Who sent blocks of it.
        peers: Vec<SocketAddr>,
    },
    /// A tracker answered.
    TrackerAnswered {
        /// Its address.
        url: String,
        /// Seeds in the swarm by its count.
        seeds: Option<u32>,
        /// Leeches in the swarm by its count.
        leeches: Option<u32>,
        /// Peers that it named.
        peers: usize,
    },
    /// A tracker could not be asked, or refused.
    TrackerFailed {
        /// Its address.
        url: String,
        /// Why, in plain words.
        message: String,
        /// When a tracker is asked next.
        retry_in: Duration,
    },
    /// What a tracker says to people.
    TrackerWarning(String),
    /// Something that the user should know and need not act on.
    Notice(String),
    /// All pieces are here, files are being checked.
    CheckingFiles,
    /// Everything is here and checked.
    Complete {
        /// Bytes of all files.
        bytes: u64,
        /// Files.
        files: usize,
        /// `"pieces+file"`: every file was checked against its whole-file hash too; `"pieces"`: the
        /// torrent has none for some file.
        verified: &'static str,
        /// Time since the torrent was added, seconds.
        seconds: f64,
    },
    /// Everything is here, and others are served.
    Seeding,
    /// The goal of seeding is reached; the torrent leaves.
    GoalReached,
    /// It has left the swarm. The last event.
    Stopped {
        /// Payload sent in this run, bytes.
        uploaded: u64,
        /// Payload received and kept in this run, bytes.
        downloaded: u64,
    },
    /// It could not go on. What was verified is kept. Followed by `Stopped`.
    Failed(NodeError),
}

/// How a torrent ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// It was stopped, or reached its goal.
    Stopped,
    /// It could not go on.
    Failed(NodeError),
    /// The data to be seeded are not those of the torrent.
    Mismatch {
        /// Pieces that are right.
        have: u32,
        /// Pieces of the torrent.
        pieces: u32,
        /// What is wrong, and where.
        message: String,
    },
}

/// Carries events to whoever listens. The first listener also gets what was said before.
#[derive(Debug, Default)]
pub(crate) struct Bus {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Until there is a first listener.
    backlog: VecDeque<TorrentEvent>,
    listeners: Vec<UnboundedSender<TorrentEvent>>,
    had_one: bool,
    /// The torrent has ended: whoever listens now hears what is left and then the end.
    closed: bool,
}

impl Bus {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn say(&self, event: TorrentEvent) {
        let mut state = self.lock();
        if !state.had_one {
            if state.backlog.len() >= BACKLOG_MAX {
                state.backlog.pop_front();
            }
            state.backlog.push_back(event);
            return;
        }
        state
            .listeners
            .retain(|listener| listener.send(event.clone()).is_ok());
    }

    pub(crate) fn listen(&self) -> UnboundedReceiver<TorrentEvent> {
        let (send, receive) = unbounded_channel();
        let mut state = self.lock();
        for event in std::mem::take(&mut state.backlog) {
            let _ = send.send(event);
        }
        state.had_one = true;
        if !state.closed {
            state.listeners.push(send);
        }
        receive
    }

    /// Ends the streams of all listeners.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.listeners.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_listener_misses_nothing() {
        let bus = Bus::default();
        bus.say(TorrentEvent::CheckingFiles);
        let mut first = bus.listen();
        let mut second = bus.listen();
        bus.say(TorrentEvent::Seeding);
        bus.close();
        assert!(matches!(first.try_recv(), Ok(TorrentEvent::CheckingFiles)));
        assert!(matches!(first.try_recv(), Ok(TorrentEvent::Seeding)));
        assert!(first.blocking_recv().is_none());
        assert!(matches!(second.try_recv(), Ok(TorrentEvent::Seeding)));
    }

    #[test]
    fn what_nobody_hears_is_bounded() {
        let bus = Bus::default();
        for piece in 0..BACKLOG_MAX as u32 + 10 {
            bus.say(TorrentEvent::PieceVerified { piece });
        }
        let first = bus.listen().try_recv();
        assert!(matches!(
            first,
            Ok(TorrentEvent::PieceVerified { piece: 10 })
        ));
    }
}

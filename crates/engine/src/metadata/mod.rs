//! From an info-hash to the info dictionary: pieces of it from many peers (BEP 9).
//!
//! The dictionary has one hash over all of it, so a bad piece is noticed only at the end, and not who
//! sent it. Therefore: the first attempt takes pieces from everybody, which is fast. If it fails, each
//! further attempt takes all pieces from one peer, and a peer whose attempt fails has lied and is
//! banned. With `n` liars it takes at most `n + 2` attempts. Peers may also lie about the size; the size
//! that most of them name is tried first, and each ban takes a vote away.
//!
//! The same shape as [`crate::Torrent`]: facts in, wishes out, time as an argument, no I/O. The driver
//! computes the hash, as it does for pieces of a torrent.

use crate::io::PeerKey;
use crate::time::{Duration, Instant};
use bytes::{Bytes, BytesMut};
use samara_proto::wire::{ExtendedHandshake, MetadataMessage};
use std::collections::BTreeMap;

/// Largest info dictionary that is fetched, bytes. 20 bytes a piece for 500,000 pieces are 10 MB; peers
/// that name more are not asked.
pub const METADATA_MAX: u64 = 16 << 20;

/// Bytes of a piece of metadata (BEP 9).
const PIECE: u64 = 16 * 1024;

/// Requests that wait with one peer. Old clients answer one at a time and drop floods.
const REQUESTS: usize = 4;

/// A request that is not answered in this time is given to somebody else.
const ANSWER_MAX: Duration = Duration::from_secs(6);

/// Times that a peer may let a request run out before it is let go.
const TIMEOUTS_MAX: u32 = 2;

/// Something for the driver to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Ask a peer for a piece.
    Ask {
        /// The connection.
        peer: PeerKey,
        /// The number under which the peer wants metadata messages.
        id: u8,
        /// Index of the piece.
        piece: u32,
    },
    /// Close a connection: it cannot help. With `ban`, never speak to it again.
    Part {
        /// The connection.
        peer: PeerKey,
        /// Whether it lied.
        ban: bool,
    },
    /// See whether these bytes have the hash; answered by [`Fetch::checked`].
    Check(Bytes),
}

/// One peer, as far as it is of interest here.
#[derive(Clone, Debug)]
struct Peer {
    id: u8,
    size: u32,
    asked: Vec<(u32, Instant)>,
    timeouts: u32,
}

/// One try to get all pieces.
#[derive(Clone, Debug)]
struct Attempt {
    size: u32,
    /// The only peer that may be asked; `None`: everybody who named this size.
    only: Option<PeerKey>,
    pieces: Vec<Option<Bytes>>,
    givers: Vec<PeerKey>,
}

/// Fetches one info dictionary.
#[derive(Clone, Debug, Default)]
pub struct Fetch {
    peers: BTreeMap<PeerKey, Peer>,
    attempt: Option<Attempt>,
    /// The driver is computing a hash.
    checking: bool,
    /// An attempt with several givers has failed: from now on one peer at a time.
    wary: bool,
}

impl Fetch {
    /// Nothing asked of anybody yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Pieces that are here, and pieces that there are by the size that is believed now.
    #[must_use]
    pub fn progress(&self) -> (u32, u32) {
        self.attempt.as_ref().map_or((0, 0), |attempt| {
            let here = attempt.pieces.iter().flatten().count();
            (here as u32, attempt.pieces.len() as u32)
        })
    }

    /// When to call [`Self::tick`] next.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.peers
            .values()
            .flat_map(|peer| &peer.asked)
            .map(|(_, at)| *at + ANSWER_MAX)
            .min()
            .unwrap_or(Instant::NEVER)
    }

    /// A peer has said what it understands (BEP 10).
    pub fn handshake(
        &mut self,
        now: Instant,
        peer: PeerKey,
        hello: &ExtendedHandshake,
        out: &mut Vec<Wish>,
    ) {
        let size = hello
            .metadata_size
            .filter(|size| (1..=METADATA_MAX).contains(size));
        let (Some(id), Some(size)) = (hello.ut_metadata, size) else {
            return self.part(now, peer, false, out);
        };
        // A second handshake may change the number, not what was asked.
        let known = self.peers.entry(peer).or_insert(Peer {
            id,
            size: size as u32,
            asked: Vec::new(),
            timeouts: 0,
        });
        known.id = id;
        self.go_on(now, out);
    }

    /// A peer has answered.
    pub fn message(
        &mut self,
        now: Instant,
        peer: PeerKey,
        message: MetadataMessage,
        out: &mut Vec<Wish>,
    ) {
        match message {
            // We have nothing to give, and whoever asks learns that by not being answered.
            MetadataMessage::Request { .. } => {}
            MetadataMessage::Reject { .. } => self.part(now, peer, false, out),
            MetadataMessage::Data {
                piece,
                total_size,
                data,
            } => self.on_data(now, (peer, piece), total_size, data, out),
        }
    }

    fn on_data(
        &mut self,
        now: Instant,
        (key, piece): (PeerKey, u32),
        total_size: u64,
        data: Bytes,
        out: &mut Vec<Wish>,
    ) {
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        let Some(at) = peer.asked.iter().position(|(asked, _)| *asked == piece) else {
            return; // it came too late, or nobody asked
        };
        peer.asked.swap_remove(at);
        let size = u64::from(peer.size);
        let want = PIECE.min(size.saturating_sub(u64::from(piece) * PIECE));
        if total_size != size || data.len() as u64 != want {
            return self.part(now, key, false, out);
        }
        if let Some(attempt) = &mut self.attempt
            && attempt.size == peer.size
            && attempt.only.is_none_or(|only| only == key)
            && let Some(slot @ None) = attempt.pieces.get_mut(piece as usize)
        {
            *slot = Some(data);
            if !attempt.givers.contains(&key) {
                attempt.givers.push(key);
            }
        }
        self.go_on(now, out);
    }

    /// A connection is gone.
    pub fn peer_down(&mut self, now: Instant, peer: PeerKey, out: &mut Vec<Wish>) {
        self.peers.remove(&peer);
        self.go_on(now, out);
    }

    /// Answers [`Wish::Check`] when the hash was wrong. (When it is right, there is nothing left to do.)
    pub fn failed(&mut self, now: Instant, out: &mut Vec<Wish>) {
        self.checking = false;
        let givers = self
            .attempt
            .take()
            .map_or_else(Vec::new, |attempt| attempt.givers);
        self.wary = true;
        match givers.as_slice() {
            [liar] => self.part(now, *liar, true, out),
            _ => self.go_on(now, out),
        }
    }

    /// The deadline has come.
    pub fn tick(&mut self, now: Instant, out: &mut Vec<Wish>) {
        let mut useless = Vec::new();
        for (key, peer) in &mut self.peers {
            let before = peer.asked.len();
            peer.asked.retain(|(_, at)| *at + ANSWER_MAX > now);
            if peer.asked.len() < before {
                peer.timeouts += 1;
                if peer.timeouts >= TIMEOUTS_MAX {
                    useless.push(*key);
                }
            }
        }
        for key in useless {
            self.peers.remove(&key);
            out.push(Wish::Part {
                peer: key,
                ban: false,
            });
        }
        self.go_on(now, out);
    }

    fn part(&mut self, now: Instant, peer: PeerKey, ban: bool, out: &mut Vec<Wish>) {
        self.peers.remove(&peer);
        out.push(Wish::Part { peer, ban });
        self.go_on(now, out);
    }

    /// Whatever can be done next: begin an attempt, ask, or have the result checked.
    fn go_on(&mut self, now: Instant, out: &mut Vec<Wish>) {
        if self.checking {
            return;
        }
        if self.is_hopeless() {
            self.attempt = self.begin();
        }
        let Some(attempt) = &self.attempt else { return };
        let here: Option<Vec<&Bytes>> = attempt.pieces.iter().map(Option::as_ref).collect();
        if let Some(pieces) = here {
            let mut whole = BytesMut::with_capacity(attempt.size as usize);
            for piece in pieces {
                whole.extend_from_slice(piece);
            }
            self.checking = true;
            out.push(Wish::Check(whole.freeze()));
            return;
        }
        self.ask(now, out);
    }

    /// No attempt, or one that nobody is left for.
    fn is_hopeless(&self) -> bool {
        self.attempt.as_ref().is_none_or(|attempt| {
            let helps = |(key, peer): (&PeerKey, &Peer)| {
                peer.size == attempt.size && attempt.only.is_none_or(|only| only == *key)
            };
            !self.peers.iter().any(helps)
        })
    }

    /// A new attempt at the size that most peers name; the smaller one if two are named as often.
    fn begin(&self) -> Option<Attempt> {
        let mut votes: BTreeMap<u32, usize> = BTreeMap::new();
        for peer in self.peers.values() {
            *votes.entry(peer.size).or_default() += 1;
        }
        let (size, _) = votes
            .into_iter()
            .max_by_key(|&(size, votes)| (votes, core::cmp::Reverse(size)))?;
        let mut willing = self.peers.iter().filter(|(_, peer)| peer.size == size);
        let only = if self.wary {
            willing.next().map(|(key, _)| *key)
        } else {
            None
        };
        let count = u64::from(size).div_ceil(PIECE) as usize;
        Some(Attempt {
            size,
            only,
            pieces: vec![None; count],
            givers: Vec::new(),
        })
    }

    fn ask(&mut self, now: Instant, out: &mut Vec<Wish>) {
        let Some(attempt) = &self.attempt else { return };
        let asked = |peers: &BTreeMap<PeerKey, Peer>, piece: u32| {
            let waits = |peer: &Peer| peer.asked.iter().any(|(asked, _)| *asked == piece);
            peers.values().any(waits)
        };
        let mut missing = attempt
            .pieces
            .iter()
            .zip(0u32..)
            .filter(|(slot, _)| slot.is_none())
            .map(|(_, piece)| piece)
            .filter(|piece| !asked(&self.peers, *piece))
            .collect::<Vec<_>>()
            .into_iter();
        let (size, only) = (attempt.size, attempt.only);
        let willing = self
            .peers
            .iter_mut()
            .filter(|(key, peer)| peer.size == size && only.is_none_or(|only| only == **key));
        let mut willing: Vec<(&PeerKey, &mut Peer)> = willing.collect();
        // Round and round, so that all help.
        for _ in 0..REQUESTS {
            for (key, peer) in &mut willing {
                if peer.asked.len() >= REQUESTS {
                    continue;
                }
                let Some(piece) = missing.next() else { return };
                peer.asked.push((piece, now));
                let (peer, id) = (**key, peer.id);
                out.push(Wish::Ask { peer, id, piece });
            }
        }
    }
}

#[cfg(test)]
mod tests;

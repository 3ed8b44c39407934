//! Who is told of a new piece, and when.
//!
//! A Have is nine bytes, and costs what any message costs: two system calls and two wake-ups. With 50 leeches on one machine
//! there are more Haves than blocks. Most of them change nothing at once: the peer has the piece itself, or may not ask us
//! now. So a Have waits for the next message or block to that peer and leaves with it; without one it waits for
//! [`crate::Config::have_wait`], and for the next look at everybody where the peer has the piece, or is choked and waits for a
//! slot anyway. It does not wait where that could keep somebody idle: see [`matters_now`].

use super::Torrent;
use crate::io::{Output, Outputs, PeerKey};
use crate::peer::Peer;
use crate::time::Instant;
use samara_proto::wire::{Message, PartsMessage};
use std::collections::BTreeMap;

/// What one peer has not been told.
#[derive(Debug)]
struct Untold {
    pieces: Vec<u32>,
    /// When it is told, whatever else there is to say.
    due: Instant,
}

/// Pieces that peers have not been told of. None waits longer than from one look at everybody to the next.
#[derive(Debug)]
pub(super) struct News {
    untold: BTreeMap<PeerKey, Untold>,
    /// The first moment at which somebody is told.
    due: Instant,
}

impl News {
    pub(super) fn new() -> Self {
        Self {
            untold: BTreeMap::new(),
            due: Instant::NEVER,
        }
    }

    /// When [`Torrent::tell_news`] has something to do.
    pub(super) fn deadline(&self) -> Instant {
        self.due
    }

    fn add(&mut self, peer: PeerKey, piece: u32, due: Instant) {
        let untold = self.untold.entry(peer).or_insert(Untold {
            pieces: Vec::new(),
            due,
        });
        // What was to be told as coming may be here by now.
        if untold.pieces.last() != Some(&piece) {
            untold.pieces.push(piece);
        }
        untold.due = untold.due.min(due);
        self.due = self.due.min(due);
    }

    /// Nothing waits any longer.
    pub(super) fn hurry(&mut self, now: Instant) {
        for untold in self.untold.values_mut() {
            untold.due = now;
            self.due = now;
        }
    }

    /// The peer is gone.
    pub(super) fn gone(&mut self, peer: PeerKey) {
        self.untold.remove(&peer);
    }

    /// We have these pieces no more: nobody is told of them.
    pub(super) fn withdraw(&mut self, pieces: &[u32]) {
        self.untold.retain(|_, untold| {
            untold.pieces.retain(|piece| !pieces.contains(piece));
            !untold.pieces.is_empty()
        });
    }

    /// Takes what a peer is to be told, if there is anything.
    fn take(&mut self, peer: PeerKey) -> Option<(PeerKey, Vec<u32>)> {
        let untold = self.untold.remove(&peer)?;
        Some((peer, untold.pieces))
    }

    /// Takes what has waited long enough.
    fn take_due(&mut self, now: Instant) -> Vec<(PeerKey, Vec<u32>)> {
        self.due = Instant::NEVER;
        let mut taken = Vec::new();
        self.untold.retain(|peer, untold| {
            let waits = untold.due > now;
            if waits {
                self.due = self.due.min(untold.due);
            } else {
                taken.push((*peer, core::mem::take(&mut untold.pieces)));
            }
            waits
        });
        taken
    }
}

/// Whether a peer could do something with a Have that it cannot do without it. `free`: whoever is interested is served at
/// once.
fn matters_now(peer: &Peer, lacks: bool, free: bool) -> bool {
    if lacks {
        // It may ask us, and has nothing to ask for; or it believes that we have nothing for it, and could have a slot
        // if it knew better.
        let idle = !peer.choked && peer.requests.is_empty() && peer.serving == 0;
        return idle || !peer.interested && free;
    }
    // A seed that shows its pieces one by one ends our turn, or shows the next, when it hears that we have what it showed.
    // While we ask it for more, every request takes the news along.
    !peer.choking_us && peer.asked.is_empty() && !peer.counted_as_seed
}

impl Torrent {
    /// A piece is here: notes who is to hear of it. The last one is told at once, for it makes a seed of us.
    pub(super) fn spread(&mut self, now: Instant, piece: u32) {
        let free = self.has_slot() || self.uplink.is_idle();
        for (key, peer) in &self.peers {
            let lacks = !peer.has.get(piece);
            let due = if matters_now(peer, lacks, free) {
                now
            } else if lacks && (!peer.choked || !peer.interested) {
                now + self.config.have_wait
            } else {
                // Who is choked and waits for a slot could not ask us for it: it is told when we unchoke it. Also to
                // those who have it: two leeches that finish together would otherwise never learn that the other
                // is a seed now, and wait for each other.
                Instant::NEVER
            };
            self.news.add(*key, piece, due);
        }
        if self.picker.have().is_full() {
            self.news.hurry(now);
        }
    }

    /// Tells those who have waited long enough, and those whom `out` has something for anyway, from its place `from` on.
    pub(super) fn tell_news(&mut self, now: Instant, from: usize, out: &mut Outputs) {
        if self.news.untold.is_empty() {
            self.news.due = Instant::NEVER;
            return;
        }
        let mut told = Vec::new();
        for output in out.iter().skip(from) {
            if let Output::Send { peer, .. }
            | Output::Serve { peer, .. }
            | Output::ServeHeld { peer, .. } = output
            {
                told.extend(self.news.take(*peer));
            }
        }
        if self.news.due <= now {
            told.extend(self.news.take_due(now));
        }
        for (key, pieces) in told {
            for piece in pieces {
                if self.picker.have().get(piece) {
                    self.send(now, key, Message::Have(piece), out);
                } else if self.parts.is_coming(piece)
                    && let Some(id) = self.peers.get(&key).and_then(|peer| peer.parts)
                {
                    let payload = PartsMessage::Coming { piece }.encode();
                    self.send(now, key, Message::Extended { id, payload }, out);
                }
            }
        }
    }
}

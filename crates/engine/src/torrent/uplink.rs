//! In what order requests are served.
//!
//! A piece is of use to the swarm when it is whole: only then can it be passed on. So the uplink is not shared out
//! block by block among all that are served. They stand in a line; whoever is first gets a whole piece as fast as the
//! uplink carries it, then it goes to the end. The others get what the first cannot take. In the simulator's swarm with
//! uplinks of 5 to 80 Mbit/s this raises the efficiency from 0.84 to 0.87.
//!
//! What is handed to transports cannot be taken back by a cancel or a choke, and our own requests to a peer wait behind it:
//! together they hold [`SHARE`] of a second, and each no more than [`crate::peer::Peer::serve_window`].

use super::Torrent;
use crate::io::{Output, Outputs, PeerKey, Phase};
use crate::time::{Duration, Instant};
use samara_proto::wire::Message;
use std::collections::VecDeque;

/// All transports together hold this part of what we send in a second (62 ms) ...
const SHARE: u64 = 16;

/// ... and at least this many bytes: four blocks.
const SHARE_MIN: u64 = 64 << 10;

/// A peer that passes pieces on by parts has this much in its turn: the sooner it has a part the sooner others have it.
const PART_TURN: u64 = 32 << 10;

/// Longest turn; a piece takes 0.8 s at 5 Mbit/s. A peer that takes longer is slow itself, and must not hold up the line.
const TURN_MAX: Duration = Duration::from_secs(1);

/// What a transport has not taken for this long does not count: a frozen receiver holds up nobody.
const STUCK_AFTER: Duration = Duration::from_millis(150);

/// Shortest time between looks for stuck ones, which cost O(peers).
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// When the uplink has had nothing to do for this long, one more peer may ask: a round trip of a wide
/// network, in which the next request may come.
const IDLE: Duration = Duration::from_millis(20);

/// Who is served next, and what is under way.
#[derive(Debug)]
pub(super) struct Uplink {
    /// Peers with requests that wait, each once.
    line: VecDeque<PeerKey>,
    /// Bytes that transports have not taken yet, and those among them that are with stuck ones.
    under_way: u64,
    stuck: u64,
    stuck_looked_at: Instant,
    /// Look again then, since all that is under way may be stuck.
    wake: Instant,
    /// When one more peer may ask; `NEVER` if that is of no use before something happens.
    idle_at: Option<Instant>,
}

impl Uplink {
    pub(super) fn new() -> Self {
        Self {
            line: VecDeque::new(),
            under_way: 0,
            stuck: 0,
            stuck_looked_at: Instant::ZERO,
            wake: Instant::NEVER,
            idle_at: None,
        }
    }

    /// When [`Torrent::look_after_the_uplink`] has something to do.
    pub(super) fn deadline(&self) -> Instant {
        self.wake.min(self.idle_at.unwrap_or(Instant::NEVER))
    }

    /// Somebody wants something: an idle uplink may have use for it.
    pub(super) fn news(&mut self) {
        self.idle_at = None;
    }

    /// A transport has taken these bytes, or will not any more.
    pub(super) fn taken(&mut self, bytes: u64) {
        self.under_way = self.under_way.saturating_sub(bytes);
    }

    /// A peer is gone, and with it what its transport held.
    pub(super) fn gone(&mut self, peer: PeerKey, serving: u64) {
        self.taken(serving);
        self.line.retain(|other| *other != peer);
    }

    pub(super) fn is_idle(&self) -> bool {
        self.under_way == 0 && self.line.is_empty()
    }
}

impl Torrent {
    /// A peer has a request waiting. Who runs out of requests in the middle of its turn, as one does that has just begun
    /// to ask, goes on with it.
    pub(super) fn line_up(&mut self, now: Instant, key: PeerKey) {
        let Some(peer) = self.peers.get_mut(&key).filter(|peer| !peer.in_line) else {
            return;
        };
        peer.in_line = true;
        if peer.turn_bytes > 0 && now.since(peer.turn_began) <= TURN_MAX {
            self.uplink.line.push_front(key);
        } else {
            peer.turn_bytes = 0;
            self.uplink.line.push_back(key);
        }
    }

    /// Hands requests to the transports, in the order of the line, while they may hold more. Cost: O(peers that wait);
    /// every [`LOOK_EVERY`] O(peers).
    pub(super) fn pump(&mut self, now: Instant, out: &mut Outputs) {
        self.uplink.wake = Instant::NEVER;
        let share = (self.up.recent(now) / SHARE).max(SHARE_MIN);
        if self.uplink.under_way * 2 >= share {
            self.look_for_the_stuck(now);
        } else {
            self.uplink.stuck = 0;
        }
        let mut stays = VecDeque::new();
        // Twice: who is at the end of its turn may be the only one there is.
        for _ in 0..self.uplink.line.len() * 2 {
            let room = (share + self.uplink.stuck).saturating_sub(self.uplink.under_way);
            if room == 0 {
                self.uplink.wake = now + LOOK_EVERY;
                break;
            }
            let Some(key) = self.uplink.line.pop_front() else {
                break;
            };
            match self.serve_turn(now, key, room, out) {
                Turn::Over => self.uplink.line.push_back(key),
                Turn::Goes => stays.push_back(key),
                Turn::Done => {}
            }
        }
        stays.append(&mut self.uplink.line);
        self.uplink.line = stays;
    }

    /// Hands at least one block to the transport if its window allows that, and as many more as fit into `room`.
    fn serve_turn(&mut self, now: Instant, key: PeerKey, room: u64, out: &mut Outputs) -> Turn {
        let by_parts = self.passes_parts_on();
        let have = self.picker.have();
        let Some(peer) = self.peers.get_mut(&key) else {
            return Turn::Done;
        };
        let window = peer.serve_window(&self.config, now);
        let mut whole = u64::from(self.geometry.piece_length());
        if by_parts && peer.parts.is_some() {
            whole = whole.min(PART_TURN);
        }
        let mut handed = 0;
        while peer.serving < window
            && handed < room
            && peer.turn_bytes < whole
            && let Some(at) = self.parts.first_ready(have, &peer.requests)
            && let Some(span) = peer.requests.remove(at)
        {
            let bytes = u64::from(span.length);
            if peer.turn_bytes == 0 {
                peer.turn_began = now;
            }
            if peer.serving == 0 {
                peer.served_at = now;
            }
            peer.turn_bytes += bytes;
            peer.serving += bytes;
            handed += bytes;
            peer.said = now;
            out.push(if have.get(span.piece) {
                Output::Serve { peer: key, span }
            } else {
                Output::ServeHeld { peer: key, span }
            });
            self.reveal.handed(span.piece, span.length);
        }
        self.uplink.under_way += handed;
        let late = peer.turn_bytes > 0 && now.since(peer.turn_began) > TURN_MAX;
        let over = peer.turn_bytes >= whole || late;
        if over {
            peer.turn_bytes = 0;
        }
        if self.parts.first_ready(have, &peer.requests).is_none() {
            // Nothing waits, or all of it for something that is still to come.
            peer.in_line = false;
            Turn::Done
        } else if over {
            Turn::Over
        } else {
            Turn::Goes
        }
    }

    fn look_for_the_stuck(&mut self, now: Instant) {
        if now.since(self.uplink.stuck_looked_at) < LOOK_EVERY {
            return;
        }
        self.uplink.stuck_looked_at = now;
        let stuck = self
            .peers
            .values()
            .filter(|peer| peer.serving > 0 && now.since(peer.served_at) >= STUCK_AFTER);
        self.uplink.stuck = stuck.map(|peer| peer.serving).sum();
    }

    /// Goes on when everything is stuck, and lets one more peer ask when those that may ask want nothing. The next round
    /// of choosing takes its slot back.
    pub(super) fn look_after_the_uplink(&mut self, now: Instant, out: &mut Outputs) {
        if self.uplink.wake <= now {
            self.pump(now, out);
        }
        if !self.uplink.is_idle() || self.reveal.is_hiding() || self.peers.is_empty() {
            self.uplink.idle_at = None;
            return;
        }
        let at = *self.uplink.idle_at.get_or_insert(now + IDLE);
        if at > now {
            return;
        }
        self.uplink.idle_at = Some(Instant::NEVER);
        if matches!(self.phase, Phase::Leaving | Phase::Stopped)
            || self.unchoked() >= self.config.upload_slots_max
        {
            return;
        }
        let next = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.choked && peer.interested && !peer.snubbing)
            .min_by_key(|(_, peer)| peer.unchoked_at)
            .map(|(key, _)| *key);
        if let Some(next) = next {
            self.set_choked(now, next, false, out);
            self.uplink.idle_at = Some(now + IDLE);
        }
    }

    /// What waits of a peer that is choked now is void.
    pub(super) fn void_requests(&mut self, now: Instant, key: PeerKey, out: &mut Outputs) {
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        let waiting = core::mem::take(&mut peer.requests);
        if peer.reserved.fast() {
            // BEP 6: a choke voids nothing silently.
            for span in waiting {
                self.send(now, key, Message::Reject(span), out);
            }
        }
    }
}

/// How a turn stands.
enum Turn {
    /// Nothing waits any more.
    Done,
    /// It has had its piece, or its time.
    Over,
    /// It gets more as soon as there is room.
    Goes,
}

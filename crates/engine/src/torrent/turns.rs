//! Whose turn it is to ask.
//!
//! A swarm is fastest when every uplink carries one piece at a time at its full speed: a piece can be passed on only when it is
//! whole, and what is asked of one peer is not asked of another that could give it sooner. (A model of S1 in which each
//! host sends one piece after the other reaches 0.91; two side by side 0.90; three, as slots make them, 0.88.)
//! So peers that say in their extension handshake (`turns`, BEP 10) that they understand turns are chosen like all others,
//! but may ask only when their turn comes: an unchoke begins it, they ask for a piece at once, and a choke ends it, usually before
//! the first block has come. A choke voids nothing of what was asked for (BEP 6). Who has nothing to ask for says that it is not
//! interested, and the next one's turn begins. Other clients keep their slots as always.
//!
//! A turn begins when what was asked for will last the uplink for less than [`Torrent::lead`]. What a slow receiver asked for
//! covers only its own speed, so that more turns begin until the uplink is full, however slow the receivers are.
//!
//! Off unless [`crate::Config::turn_slots`] says otherwise: `docs/decisions/0011-turns.md`.

use super::Torrent;
use crate::io::{Outputs, PeerKey, Phase};
use crate::peer::Peer;
use crate::time::{Duration, Instant, bytes_in, bytes_per_second, time_for};
use samara_proto::BLOCK;
use samara_proto::wire::Message;

/// What was asked for shall last for one and a quarter answers and this: time for a request to come, or two of somebody who passes.
const SPARE: Duration = Duration::from_millis(60);

/// The time from an unchoke to a request until one was seen: with 16 leeches of 20 Mbit/s on sockets the median is 30 ms.
const FIRST_ANSWER: Duration = Duration::from_millis(33);

/// ... and for this long at most. With 50 and 100 ms S1 is the same on sockets, with 150 it loses 0.015.
const LEAD_MAX: Duration = Duration::from_millis(600);

/// Asked for in advance are at least so many bytes, while the speed of the uplink is not known.
const LEAD_MIN: u64 = 96 << 10;

/// One measurement of the uplink is as long as it takes to send this: what sockets take at once at the beginning of a turn, and
/// send later, must not matter.
const MEASURED: u64 = 512 << 10;

/// Bytes that a socket may take at once and send later.
const ABSORBED: u64 = 256 << 10;

/// Bounds of that.
const WINDOW: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// How fast the uplink is, and how fast peers answer.
#[derive(Debug)]
pub(super) struct Pace {
    /// Bytes sent since then, without a pause.
    bytes: u64,
    since: Instant,
    /// Bytes a second that it carries when there is enough to do; forgets slowly (a sixteenth in a second of work), since only
    /// other traffic makes an uplink slower.
    speed: u64,
    /// Smoothed time from an unchoke to a request.
    answer: Duration,
    /// A peer that may ask is not waited for any longer.
    pub(super) wake: Instant,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self {
            bytes: 0,
            since: Instant::ZERO,
            speed: 0,
            answer: FIRST_ANSWER,
            wake: Instant::NEVER,
        }
    }

    /// The uplink was idle until now.
    pub(super) fn begins(&mut self, now: Instant) {
        self.bytes = 0;
        self.since = now;
    }

    /// Bytes were sent, `recent` a second over the last seconds. At the end of a window: when it began, and whether the uplink
    /// was full.
    fn sent(&mut self, now: Instant, bytes: u64, recent: u64) -> Option<(Instant, bool)> {
        self.bytes += bytes;
        let elapsed = now.since(self.since);
        if elapsed < time_for(MEASURED, self.speed).clamp(WINDOW.0, WINDOW.1) {
            return None;
        }
        let rate = bytes_per_second(self.bytes, elapsed);
        let forgotten = self.speed.min(bytes_in(self.speed / 16, elapsed));
        self.speed = recent.max(self.speed - forgotten);
        self.learn(elapsed);
        let window = (self.since, rate >= self.speed - self.speed / 4);
        self.begins(now);
        Some(window)
    }

    /// The uplink has nothing more to do.
    pub(super) fn ends(&mut self, now: Instant) {
        self.learn(now.since(self.since));
        self.begins(now);
    }

    /// It was never idle for so long: it is at least as fast as what was sent without what sockets still hold.
    fn learn(&mut self, elapsed: Duration) {
        let sure = self.bytes.saturating_sub(ABSORBED);
        self.speed = self.speed.max(bytes_per_second(sure, elapsed));
    }

    fn answered(&mut self, took: Duration) {
        self.answer = (self.answer.times(7) + took.min(Duration::from_secs(1))).divided(8);
    }
}

impl Torrent {
    /// What was asked for shall last for so long.
    fn lead(&self) -> Duration {
        let answer = self.pace.answer.times(5).divided(4);
        (answer + SPARE).min(LEAD_MAX)
    }

    fn lead_bytes(&self) -> u64 {
        bytes_in(self.pace.speed, self.lead()).max(LEAD_MIN)
    }

    /// A turn is a piece, or more where a piece is gone before the next one's request can come.
    fn turn_bytes(&self) -> u64 {
        let piece = u64::from(self.geometry.piece_length());
        if self.reveal.is_hiding() {
            return piece; // no more is shown
        }
        piece.max(self.lead_bytes())
    }

    /// Puts a peer among those that are served, or takes it away.
    pub(super) fn set_chosen(
        &mut self,
        now: Instant,
        key: PeerKey,
        chosen: bool,
        out: &mut Outputs,
    ) {
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        peer.chosen = chosen;
        if !peer.turn.takes {
            return self.set_choked(now, key, !chosen, out);
        }
        if chosen {
            peer.unchoked_at = Some(now);
            peer.given_in_turn = 0;
            peer.shown_in_turn = 0;
            self.begin_turns(now, out);
        } else {
            self.end_turn(now, key, out);
        }
    }

    /// The peer has said that it understands turns.
    pub(super) fn on_takes_turns(&mut self, now: Instant, key: PeerKey, out: &mut Outputs) {
        let bytes = self.turn_bytes();
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        // Without BEP 6 a choke would void what was asked for.
        if peer.turn.takes || !peer.reserved.fast() {
            return;
        }
        peer.turn.takes = true;
        if !peer.choked {
            peer.turn.granted = bytes;
            peer.turn.granted_at = Some(now);
        } else if self.reveal.is_partial(key) && self.has_slot(true) {
            // It sees nothing to be interested in: the first move is ours.
            self.set_chosen(now, key, true, out);
        }
    }

    fn end_turn(&mut self, now: Instant, key: PeerKey, out: &mut Outputs) {
        if let Some(peer) = self.peers.get_mut(&key)
            && !peer.choked
        {
            peer.turn.granted = 0;
            peer.choked = true;
            self.send(now, key, Message::Choke, out);
        }
    }

    /// For how much of the time to come the uplink has something to do, in bytes at its full speed; and when a peer that
    /// may ask will have had its time. O(peers).
    fn covered(&self, now: Instant) -> (u64, Instant) {
        let lead = self.lead();
        let patience = self.pace.answer.times(4).max(SPARE);
        let mut wake = Instant::NEVER;
        let mut covered = 0;
        for (key, peer) in self.peers.iter().filter(|(_, peer)| peer.turn.takes) {
            let mut bytes = peer.serving + peer.requests.len() as u64 * u64::from(BLOCK);
            if peer.turn.granted > 0
                && !peer.choked
                && self.may_want(*key, peer)
                && let Some(at) = peer.turn.granted_at
                && at + patience > now
            {
                bytes += peer.turn.granted;
                wake = wake.min(at + patience);
            }
            covered += peer
                .takes_at_most
                .map_or(bytes, |rate| bytes.min(bytes_in(rate, lead)));
        }
        (covered, wake)
    }

    /// While pieces are shown one by one, who was shown none cannot know that it wants it.
    fn may_want(&self, key: PeerKey, peer: &Peer) -> bool {
        peer.interested || self.reveal.is_hiding() && self.reveal.is_partial(key)
    }

    /// Begins turns until the uplink has enough to do.
    pub(super) fn begin_turns(&mut self, now: Instant, out: &mut Outputs) {
        self.pace.wake = Instant::NEVER;
        let off = self.config.turn_slots == 0;
        if off || matches!(self.phase, Phase::Leaving | Phase::Stopped) {
            return;
        }
        for _ in 0..self.peers.len() {
            let (covered, wake) = self.covered(now);
            if covered >= self.lead_bytes() {
                self.pace.wake = wake;
                return;
            }
            let Some(next) = self.next_turn() else {
                return;
            };
            let bytes = self.turn_bytes();
            if let Some(peer) = self.peers.get_mut(&next) {
                peer.choked = false;
                peer.turn.granted = bytes;
                peer.turn.granted_at = Some(now);
                peer.turn.crossed = 0;
                self.send(now, next, Message::Unchoke, out);
                self.show(now, next, out);
            }
        }
    }

    fn waits_for_turn(&self, key: PeerKey, peer: &Peer) -> bool {
        let can = peer.chosen && peer.turn.takes && peer.choked && peer.requests.is_empty();
        // While pieces are shown one by one, a turn lasts until its piece was given.
        let had = self.reveal.is_hiding() && peer.given_in_turn > 0;
        can && !had && self.may_want(key, peer)
    }

    /// Whose turn is next: who has waited longest; while pieces are shown one by one, who has had least. Equals by lot, for two
    /// uploaders that choose alike serve the same peer.
    fn next_turn(&mut self) -> Option<PeerKey> {
        let hiding = self.reveal.is_hiding();
        let mut best = None;
        for (key, peer) in &self.peers {
            if !self.waits_for_turn(*key, peer) {
                continue;
            }
            let rank = if hiding {
                (peer.given, u64::from(peer.has.count()))
            } else {
                (peer.turn.granted_at.map_or(0, |at| 1 + at.as_nanos()), 0)
            };
            let rank = (rank, self.turn_rng.next_u64(), *key);
            if best.is_none_or(|best| rank < best) {
                best = Some(rank);
            }
        }
        best.map(|(_, _, key)| key)
    }

    /// A peer asks for so many bytes: whether it may.
    pub(super) fn may_ask(
        &mut self,
        now: Instant,
        key: PeerKey,
        bytes: u64,
        out: &mut Outputs,
    ) -> bool {
        let turn = self.turn_bytes();
        let Some(peer) = self.peers.get_mut(&key) else {
            return false;
        };
        if !peer.turn.takes {
            return !peer.choked;
        }
        if peer.choked {
            // The end of the turn and the request have crossed.
            peer.turn.crossed += bytes;
            return peer.turn.crossed <= turn;
        }
        if let Some(at) = peer.turn.granted_at
            && peer.turn.granted >= turn
        {
            self.pace.answered(now.since(at));
        }
        peer.turn.granted = peer.turn.granted.saturating_sub(bytes);
        if peer.turn.granted == 0 {
            let mut others = self.peers.iter();
            if self.reveal.is_hiding() || others.any(|(key, peer)| self.waits_for_turn(*key, peer))
            {
                self.end_turn(now, key, out);
            } else if let Some(peer) = self.peers.get_mut(&key) {
                peer.turn.granted = turn;
                // It asks as it likes; nothing says how long an answer takes.
                peer.turn.granted_at = None;
            }
        }
        true
    }

    /// A peer that takes turns wants something, or nothing any more.
    pub(super) fn on_interest_in_turn(
        &mut self,
        now: Instant,
        key: PeerKey,
        interested: bool,
        out: &mut Outputs,
    ) {
        let free = self.has_slot(true);
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        if interested {
            if !peer.chosen && free {
                self.set_chosen(now, key, true, out);
            }
        } else if !self.reveal.is_hiding() && peer.requests.is_empty() {
            if let Some(at) = peer.turn.granted_at
                && !peer.choked
                && peer.turn.granted > 0
            {
                self.pace.answered(now.since(at));
            }
            peer.chosen = false;
            self.end_turn(now, key, out);
        }
        self.begin_turns(now, out);
    }

    /// The transport of `key` took `bytes`. Learns from each measurement who takes less than the uplink could give: only while the
    /// uplink is not full does the speed of a peer say anything of the peer.
    pub(super) fn keep_pace(&mut self, now: Instant, key: PeerKey, bytes: u64) {
        if self.config.turn_slots == 0 {
            return;
        }
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.taken += bytes;
        }
        let recent = self.up.recent(now);
        let Some((since, full)) = self.pace.sent(now, bytes, recent) else {
            if self.uplink.is_free() {
                self.pace.ends(now);
            }
            return;
        };
        let speed = self.pace.speed;
        let elapsed = now.since(since);
        for peer in self.peers.values_mut() {
            let taken = core::mem::take(&mut peer.taken);
            let throughout = peer.serving > 0 && peer.serving_since <= since;
            if !throughout {
                continue;
            }
            let rate = bytes_per_second(taken, elapsed);
            let more = |rate: u64| rate + rate / 4;
            peer.takes_at_most = if full {
                let rate = peer.takes_at_most.map(|before| more(before).max(rate));
                rate.filter(|rate| *rate < speed)
            } else {
                Some(more(rate))
            };
        }
    }
}

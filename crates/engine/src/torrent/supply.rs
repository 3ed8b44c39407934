//! How much a seed's uplink has ahead of it.
//!
//! Whoever is given a slot asks for something a round trip later, which is 100 to 300 ms where requests wait in the asker's own full
//! uplink. A seed that gives a slot away when another is done with it idles for so long, once a turn: with 50 ms from host to host that was
//! 7 % of the time in the simulator's S1. So the next slot is given while what was asked for still lasts [`SUPPLY`].

use super::Torrent;
use super::parts::UPLINK_MIN;
use crate::io::{Outputs, PeerKey};
use crate::peer::Peer;
use crate::time::{Duration, Instant, bytes_in};

/// What those with a slot have asked for should keep the uplink busy for this long. With 50 ms from host to host the simulator's S1 and S2
/// have 0.847 and 0.875 without it, 0.868 and 0.883 with 250 ms, 0.876 and 0.890 with 500 ms, 0.881 and 0.891 with a second.
const SUPPLY: Duration = Duration::from_secs(1);

/// When all pieces have been shown and what was asked for lasts less than this, pieces that were not given yet are shown to one more.
const LOW: Duration = Duration::from_millis(31);

/// When it lasts less than this and the swarm cannot follow, nothing is hidden any more. In S1, where it can, the seed would repeat
/// blocks before there is a copy (0.848 on sockets instead of 0.905); in S2 it stood idle for four seconds without.
const LOW_AHEAD: Duration = Duration::from_millis(125);

/// A transport may swallow this much before the uplink has sent anything, bytes (what a socket of the simulator holds): of a slow uplink it
/// then looks as if nobody asked for more.
const SWALLOWED: u64 = 128 << 10;

/// What a transport has not taken for this long does not count.
const FROZEN: Duration = Duration::from_secs(1);

/// Whoever has just been given a slot asks within this time; until then it counts what it was shown.
const PROMISE: Duration = Duration::from_millis(300);

/// Shortest time between two looks, which cost O(peers).
const LOOK_EVERY: Duration = Duration::from_millis(20);

impl Torrent {
    /// Bytes that a peer gets in its turn while pieces are shown one by one: a piece, or what its part of the uplink carries in half a
    /// second. A turn costs a round trip, in which a fast uplink would have sent a whole piece.
    pub(super) fn hiding_turn(&self, now: Instant) -> u64 {
        let slot = self.uplink_speed(now) / self.choker.slots().max(1) as u64;
        u64::from(self.geometry.piece_length()).max(slot / 2)
    }

    /// Bytes a second that the uplink carries when it is full, as far as it was seen.
    fn uplink_speed(&self, now: Instant) -> u64 {
        self.parts.uplink_speed(self.up.recent(now))
    }

    /// Bytes that should have been asked for at any time.
    pub(super) fn wanted_supply(&self, now: Instant) -> u64 {
        // Pieces that must be whole before they are passed on should be whole soon: then few share the uplink.
        let whole = self.least_slots() != self.config.part_slots;
        let unchoked = self.unchoked() as u64;
        let slow = self.up.sustained(now, unchoked * SWALLOWED) < UPLINK_MIN;
        if slow || whole && !self.outruns_the_swarm() {
            return 0;
        }
        bytes_in(self.uplink_speed(now), SUPPLY)
    }

    /// Whether pieces are given faster than the peers pass them on: each was given two, and they have not half of what was given. O(peers).
    pub(super) fn outruns_the_swarm(&self) -> bool {
        let given = u64::from(self.reveal.given());
        let (mut peers, mut have) = (0, 0);
        for peer in self.peers.values().filter(|peer| !peer.is_seed()) {
            peers += 1;
            have += u64::from(peer.has.count());
        }
        given >= 2 * peers && have * 2 < given * peers
    }

    /// Whether a seed that hides nothing should serve one more: what was asked for lasts less than a round trip or two.
    pub(super) fn is_short_of(&self, now: Instant, supply: u64) -> bool {
        supply < self.wanted_supply(now) / 4
    }

    /// Bytes that a peer has asked for and that are not sent, or that it is just about to ask for.
    pub(super) fn supply_of(&self, now: Instant, key: PeerKey, peer: &Peer) -> u64 {
        if peer.serving > 0 && now.since(peer.served_at) >= FROZEN {
            return 0;
        }
        let waiting = peer.requests.iter().map(|span| u64::from(span.length));
        let began = peer.unchoked_at.map(|at| now.since(at));
        let promised = match began {
            Some(passed) if passed < PROMISE => self.reveal.unasked(key),
            _ => 0,
        };
        waiting.sum::<u64>() + peer.serving + promised
    }

    /// What all that have a slot have asked for. O(peers).
    fn supply(&self, now: Instant) -> u64 {
        let unchoked = self.peers.iter().filter(|(_, peer)| !peer.choked);
        let each = unchoked.map(|(key, peer)| self.supply_of(now, *key, peer));
        each.sum()
    }

    /// Whether what others were shown and have not been given is to be shown again: there is nothing else to send.
    pub(super) fn shows_again(&self, now: Instant) -> bool {
        if !self.reveal.is_hiding() || !self.reveal.all_shown() {
            return false;
        }
        let supply = self.supply(now);
        supply == 0 || supply < bytes_in(self.uplink_speed(now), LOW)
    }

    /// While pieces are shown one by one: whether one more peer should have its turn already, or whether there is nothing left to
    /// be hidden.
    pub(super) fn look_after_supply(&mut self, now: Instant, out: &mut Outputs) {
        if !self.reveal.is_hiding()
            || self.next_rechoke <= now
            || now.since(self.supply_looked_at) < LOOK_EVERY
        {
            return;
        }
        self.supply_looked_at = now;
        let supply = self.supply(now);
        if supply < self.wanted_supply(now) {
            self.next_rechoke = now;
        }
        // What is left was shown to peers that do not hurry. That it is sent twice is no loss where the swarm waits for its own
        // uplinks anyway.
        let low = bytes_in(self.uplink_speed(now), LOW_AHEAD);
        if self.reveal.all_shown() && supply < low && self.outruns_the_swarm() {
            self.stop_hiding(now, out);
        }
    }
}

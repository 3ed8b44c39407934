//! Requests of others, choking.

use super::Torrent;
use crate::choker::{self, Standing};
use crate::fault::PeerFault;
use crate::io::{Outputs, PeerKey, Phase};
use crate::time::{Duration, Instant};
use samara_proto::Span;
use samara_proto::wire::{MAX_BLOCK, Message};

/// A slot that has become free is given away after this long, so that several changes at once cost
/// one round.
const SOON: Duration = Duration::from_millis(50);

impl Torrent {
    pub(super) fn on_request(&mut self, now: Instant, key: PeerKey, span: Span, out: &mut Outputs) {
        if !self.geometry.contains(span) || span.length > MAX_BLOCK {
            return self.on_fault(now, key, PeerFault::BadRequest, out);
        }
        let parts = self
            .peers
            .get(&key)
            .is_some_and(|peer| peer.parts.is_some());
        let have = self.picker.have().get(span.piece);
        if !have && !self.withdrew && !parts {
            return self.on_fault(now, key, PeerFault::RequestForMissing, out);
        }
        let ours = have || parts && self.parts.is_coming(span.piece);
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        if !ours || peer.choked {
            if peer.reserved.fast() {
                self.send(now, key, Message::Reject(span), out);
            }
            return;
        }
        if peer.requests.len() >= self.config.request_queue {
            return self.on_fault(now, key, PeerFault::RequestFlood, out);
        }
        peer.requests.push_back(span);
        if !self.reveal.is_idle() {
            self.reveal.asked(key, span.piece, span.length);
            self.show(now, key, out);
        }
        self.offer_chain(now, key, span.piece, out);
        self.line_up(now, key);
        self.pump(now, out);
    }

    pub(super) fn on_cancel(&mut self, now: Instant, key: PeerKey, span: Span, out: &mut Outputs) {
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        // What is with the transport already is sent all the same.
        if let Some(at) = peer.requests.iter().position(|waiting| *waiting == span) {
            peer.requests.remove(at);
            if peer.reserved.fast() {
                self.send(now, key, Message::Reject(span), out);
            }
        }
    }

    pub(super) fn on_served(&mut self, now: Instant, key: PeerKey, bytes: u64, out: &mut Outputs) {
        let turn = self.hiding_turn(now);
        self.totals.uploaded += bytes;
        self.up.add(now, bytes);
        if let Some(peer) = self.peers.get_mut(&key) {
            self.uplink.taken(bytes.min(peer.serving));
            peer.serving = peer.serving.saturating_sub(bytes);
            peer.served_at = now;
            peer.to_it.add(now, bytes);
            let ends = peer.given_in_turn < turn && peer.given_in_turn + bytes >= turn;
            peer.given += bytes;
            peer.given_in_turn += bytes;
            if ends && self.reveal.is_hiding() {
                self.next_rechoke = now;
            }
            self.look_after_supply(now, out);
            self.pump(now, out);
        }
        if self.reveal.is_hiding() && self.reveal.all_given() {
            self.look_after_what_is_shown(now, out);
        }
    }

    pub(super) fn on_serve_failed(
        &mut self,
        now: Instant,
        key: PeerKey,
        span: Span,
        out: &mut Outputs,
    ) {
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        let bytes = u64::from(span.length);
        self.uplink.taken(bytes.min(peer.serving));
        peer.serving = peer.serving.saturating_sub(bytes);
        if peer.reserved.fast() {
            self.send(now, key, Message::Reject(span), out);
        }
        self.pump(now, out);
    }

    pub(super) fn on_interested(
        &mut self,
        now: Instant,
        key: PeerKey,
        interested: bool,
        out: &mut Outputs,
    ) {
        let free = self.has_slot();
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        peer.interested = interested;
        self.uplink.news();
        if interested && peer.choked && free {
            // A free slot waits for nobody's clock: the first byte counts.
            self.set_choked(now, key, false, out);
        } else if !interested && !peer.choked {
            self.rechoke_soon(now);
        }
    }

    /// Peers that have a slot.
    pub(super) fn unchoked(&self) -> usize {
        self.peers.values().filter(|peer| !peer.choked).count()
    }

    /// Whether there is a slot for one more.
    pub(super) fn has_slot(&self) -> bool {
        self.unchoked() < self.choker.slots()
    }

    pub(super) fn rechoke_soon(&mut self, now: Instant) {
        self.next_rechoke = self.next_rechoke.min(now + SOON);
    }

    /// Time between two rounds of choosing at the present speed.
    pub(super) fn rechoke_period(&self, now: Instant) -> Duration {
        let left = self.geometry.data_total() - self.bytes_have;
        if self.phase == Phase::Downloading {
            choker::period(&self.config, left, self.down.rolling(now))
        } else {
            choker::period(
                &self.config,
                self.geometry.data_total(),
                self.up.rolling(now),
            )
        }
    }

    pub(super) fn rechoke(&mut self, now: Instant, out: &mut Outputs) {
        let period = self.rechoke_period(now);
        self.next_rechoke = now + period;
        let hiding = self.reveal.is_hiding();
        self.choker.set_least(self.least_slots());
        let mut served = 0;
        let mut waiting = 0;
        let mut supply = 0;
        let standings: Vec<Standing> = self
            .peers
            .iter()
            .map(|(key, peer)| {
                let waits = peer.serving > 0 || !peer.requests.is_empty();
                let supplies = self.supply_of(now, *key, peer);
                if !peer.choked {
                    supply += supplies;
                    served += 1;
                    waiting += usize::from(waits);
                }
                Standing {
                    peer: *key,
                    // Who was shown nothing yet cannot know that it wants something.
                    interested: peer.interested || hiding && self.reveal.is_partial(*key),
                    snubbing: peer.snubbing,
                    unchoked: !peer.choked,
                    from_it: peer.from_it.rolling(now),
                    to_it: peer.to_it.rolling(now),
                    unchoked_at: peer.unchoked_at,
                    waiting: waits,
                    came: peer.came,
                    unspread: if hiding {
                        self.reveal.unspread(*key)
                    } else {
                        0
                    },
                    supply: supplies,
                    given: peer.given,
                    given_in_turn: if hiding && self.turn_is_spent(*key) {
                        u64::MAX
                    } else {
                        peer.given_in_turn
                    },
                }
            })
            .collect();
        if self.phase != Phase::Downloading {
            // The requests of a leech's peers come and go with what it has just got; only those to a
            // seed tell whether its uplink is full, and will be for a round trip.
            let short = !hiding && self.is_short_of(now, supply);
            self.choker.adapt(served, if short { 0 } else { waiting });
        }
        let turn = self.hiding_turn(now);
        let chosen = if self.phase == Phase::Downloading {
            self.choker.leech_round(now, period, &standings)
        } else if hiding {
            self.choker.first_copy_round(
                (turn, self.wanted_supply(now), self.outruns_the_swarm()),
                &standings,
            )
        } else {
            self.choker.seed_round(now, period, &standings)
        };
        // Choke before unchoke: never more than the slots at once.
        for standing in &standings {
            if standing.unchoked && !chosen.contains(&standing.peer) {
                self.set_choked(now, standing.peer, true, out);
            }
        }
        for standing in &standings {
            if !chosen.contains(&standing.peer) {
                continue;
            }
            if !standing.unchoked {
                self.set_choked(now, standing.peer, false, out);
            } else if hiding && standing.given_in_turn >= turn {
                self.begin_turn(now, standing.peer, out);
            }
        }
    }

    /// While pieces are shown one by one: whether the peer has all that it was shown in this turn, from us or
    /// from another, so that it will ask for nothing more.
    pub(super) fn turn_is_spent(&self, key: PeerKey) -> bool {
        self.peers.get(&key).is_some_and(|peer| {
            let idle = peer.requests.is_empty() && peer.serving == 0;
            peer.shown_in_turn > 0 && idle && !self.reveal.is_waiting_for(key)
        })
    }

    /// Whether the peer has had a piece's worth of bytes since its turn began.
    pub(super) fn turn_is_over(&self, now: Instant, key: PeerKey) -> bool {
        let turn = self.hiding_turn(now);
        let peer = self.peers.get(&key);
        peer.is_some_and(|peer| peer.given_in_turn >= turn)
    }

    /// A peer's turn begins: because it is served now, or because it has had one and nobody has a better
    /// claim to the slot.
    fn begin_turn(&mut self, now: Instant, key: PeerKey, out: &mut Outputs) {
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.unchoked_at = Some(now);
            peer.given_in_turn = 0;
            peer.shown_in_turn = 0;
        }
        self.show(now, key, out);
    }

    /// Gives a peer a slot, or takes it away.
    pub(super) fn set_choked(
        &mut self,
        now: Instant,
        key: PeerKey,
        choked: bool,
        out: &mut Outputs,
    ) {
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        peer.choked = choked;
        if !choked {
            self.send(now, key, Message::Unchoke, out);
            return self.begin_turn(now, key, out);
        }
        self.send(now, key, Message::Choke, out);
        self.void_requests(now, key, out);
    }
}

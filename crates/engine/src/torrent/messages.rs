//! What a peer says.

use super::Torrent;
use crate::fault::{PeerFault, Proof};
use crate::io::{Goodbye, Outputs, PeerKey, Phase};
use crate::time::Instant;
use bytes::Bytes;
use samara_proto::wire::{ExtendedHandshake, Message, MetadataMessage, PARTS_ID, UT_METADATA_ID};
use samara_proto::{BLOCK, Bitfield, Span};

/// Allowed-fast pieces remembered a peer; BEP 6 suggests ten.
const ALLOWED_FAST_MAX: usize = 32;

impl Torrent {
    pub(super) fn on_message(
        &mut self,
        now: Instant,
        key: PeerKey,
        message: Message,
        out: &mut Outputs,
    ) {
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        peer.heard = now;
        let needs_fast = matches!(
            message,
            Message::HaveAll
                | Message::HaveNone
                | Message::Suggest(_)
                | Message::Reject(_)
                | Message::AllowedFast(_)
        );
        if needs_fast && !peer.reserved.fast() {
            self.on_fault(now, key, PeerFault::FastNotNegotiated, out);
            return;
        }
        match message {
            // A suggestion is only that; rarest first knows better.
            Message::KeepAlive | Message::Port(_) | Message::Suggest(_) => {}
            Message::Choke => self.on_choke(now, key),
            Message::Unchoke => self.on_unchoke(now, key, out),
            Message::Interested => self.on_interested(now, key, true, out),
            Message::NotInterested => self.on_interested(now, key, false, out),
            Message::Have(piece) => self.on_have(now, key, piece, out),
            Message::Bitfield(bits) => {
                let bits = Bitfield::from_wire(&bits, self.geometry.pieces());
                self.on_pieces(now, key, bits.ok_or(PeerFault::BadBitfield), out);
            }
            Message::HaveAll => {
                let all = Bitfield::full(self.geometry.pieces());
                self.on_pieces(now, key, Ok(all), out);
            }
            Message::HaveNone => {
                let none = Bitfield::empty(self.geometry.pieces());
                self.on_pieces(now, key, Ok(none), out);
            }
            Message::Request(span) => self.on_request(now, key, span, out),
            Message::Cancel(span) => self.on_cancel(now, key, span, out),
            Message::Reject(span) => self.on_reject(now, key, span, out),
            Message::AllowedFast(piece) => self.on_allowed_fast(now, key, piece, out),
            Message::Extended { id, payload } => self.on_extended(now, key, id, &payload, out),
            // Merkle layers come with the .torrent; who lacks them asks somebody else.
            Message::HashRequest(range) => {
                self.send(now, key, Message::HashReject(range), out);
            }
            Message::Hashes { .. } | Message::HashReject(_) => {}
        }
    }

    /// What the peer has, all at once. Must be the first thing it says about pieces.
    fn on_pieces(
        &mut self,
        now: Instant,
        key: PeerKey,
        bits: Result<Bitfield, PeerFault>,
        out: &mut Outputs,
    ) {
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        let bits = match bits {
            Ok(bits) => bits,
            Err(fault) => return self.on_fault(now, key, fault, out),
        };
        if peer.told_pieces {
            let is_lost = |piece: &u32| !bits.get(*piece) && !peer.coming.contains_key(piece);
            let lost = peer.has.iter().find(is_lost);
            if let Some(piece) = lost
                && peer.told_whole
            {
                let (addr, fault) = (peer.addr, PeerFault::ClaimTakenBack);
                return self.ban(now, addr, (fault, Proof::Claim { piece }), out);
            }
            peer.told_whole = true;
            // aria2 sends a bitfield in place of many haves whenever it is the shorter of the two
            // (DefaultBtInteractive::checkHave). Pieces are only ever added by it.
            let fresh: Vec<u32> = bits.iter().filter(|&piece| !peer.has.get(piece)).collect();
            for piece in fresh {
                self.on_have(now, key, piece, out);
            }
            return;
        }
        peer.told_pieces = true;
        peer.told_whole = true;
        let ours = self.picker.have().words();
        let useful = bits
            .words()
            .iter()
            .zip(ours)
            .map(|(its, ours)| (its & !ours).count_ones());
        peer.useful = useful.sum();
        if bits.is_full() {
            peer.counted_as_seed = true;
            self.picker.seed_changed(true);
        } else {
            self.picker.peer_came(&bits);
        }
        peer.has = bits;
        self.after_news(now, key, out);
    }

    fn on_have(&mut self, now: Instant, key: PeerKey, piece: u32, out: &mut Outputs) {
        if piece >= self.geometry.pieces() {
            return self.on_fault(now, key, PeerFault::PieceOutOfRange, out);
        }
        let lacks = self.picker.lacks(piece);
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        peer.told_pieces = true;
        let came = peer.coming.remove(&piece).is_some();
        if !peer.has.set(piece) && !came {
            return;
        }
        if !came {
            peer.useful += u32::from(lacks);
            self.picker.peer_has(piece);
        }
        self.reveal.has(key, piece);
        if self.reveal.is_hiding() && self.turn_is_spent(key) && !self.turn_is_over(now, key) {
            // The piece came from another.
            self.rechoke_soon(now);
        }
        self.show(now, key, out);
        self.after_news(now, key, out);
    }

    /// The peer has more than before.
    pub(super) fn after_news(&mut self, now: Instant, key: PeerKey, out: &mut Outputs) {
        let Some(peer) = self.peers.get(&key) else {
            return;
        };
        if self.phase == Phase::Seeding && peer.is_seed() {
            // There is another full copy: nothing is to be hidden any more.
            self.reveal.stop_hiding();
            return self.hang_up(now, key, Goodbye::BothSeeds, out);
        }
        self.update_interest(now, key, out);
        self.fill(now, key, out);
    }

    pub(super) fn update_interest(&mut self, now: Instant, key: PeerKey, out: &mut Outputs) {
        let downloading = self.phase == Phase::Downloading;
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        let wants = downloading && peer.useful > 0;
        if wants != peer.am_interested {
            peer.am_interested = wants;
            let message = if wants {
                Message::Interested
            } else {
                Message::NotInterested
            };
            self.send(now, key, message, out);
        }
    }

    fn on_choke(&mut self, now: Instant, key: PeerKey) {
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        peer.choking_us = true;
        peer.snubbing = false;
        peer.waiting_since = now;
        self.picker.open_suspects(key);
        if peer.reserved.fast() {
            // Every request is still answered, by its block or by a reject (BEP 6).
            return;
        }
        // All requests are void, though the blocks of some may be on the way.
        let void = core::mem::take(&mut peer.asked);
        peer.crossing += void.len() as u32;
        for asked in void {
            self.picker.release(key, asked.span);
            self.refill = true;
        }
    }

    fn on_unchoke(&mut self, now: Instant, key: PeerKey, out: &mut Outputs) {
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        peer.choking_us = false;
        peer.paused = false;
        peer.snubbing = false;
        peer.waiting_since = now;
        self.fill(now, key, out);
    }

    fn on_reject(&mut self, now: Instant, key: PeerKey, span: Span, out: &mut Outputs) {
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        peer.allowed_fast.remove(&span.piece);
        if peer.take_asked(span).is_none() {
            return self.on_fault(now, key, PeerFault::UnaskedReject, out);
        }
        peer.paused = !peer.choking_us;
        self.picker.release(key, span);
        self.refill = true;
    }

    fn on_allowed_fast(&mut self, now: Instant, key: PeerKey, piece: u32, out: &mut Outputs) {
        if piece >= self.geometry.pieces() {
            return self.on_fault(now, key, PeerFault::PieceOutOfRange, out);
        }
        let lacks = self.picker.lacks(piece);
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        if lacks && peer.allowed_fast.len() < ALLOWED_FAST_MAX {
            peer.allowed_fast.insert(piece);
            self.fill(now, key, out);
        }
    }

    fn on_extended(
        &mut self,
        now: Instant,
        key: PeerKey,
        id: u8,
        payload: &Bytes,
        out: &mut Outputs,
    ) {
        match id {
            0 => {
                let Some(hello) = ExtendedHandshake::decode(payload) else {
                    return self.on_fault(now, key, PeerFault::BadExtension, out);
                };
                let parts = self.understands_parts();
                let Some(peer) = self.peers.get_mut(&key) else {
                    return;
                };
                peer.ut_metadata = hello.ut_metadata;
                // What is not coming is rejected: both need BEP 6 for it.
                peer.parts = hello.parts.filter(|_| parts && peer.reserved.fast());
                if let Some(queue) = hello.request_queue {
                    peer.pipeline.limit(queue as usize);
                }
                if let Some(port) = hello.port {
                    self.on_listens(now, key, port);
                }
            }
            UT_METADATA_ID => self.on_metadata(now, key, payload, out),
            PARTS_ID => self.on_parts(now, key, payload, out),
            _ => self.on_fault(now, key, PeerFault::BadExtension, out),
        }
    }

    /// Somebody who came by a magnet link wants the info dictionary (BEP 9).
    fn on_metadata(&mut self, now: Instant, key: PeerKey, payload: &Bytes, out: &mut Outputs) {
        let Some(MetadataMessage::Request { piece }) = MetadataMessage::decode(payload) else {
            return self.on_fault(now, key, PeerFault::BadExtension, out);
        };
        let Some(id) = self.peers.get(&key).and_then(|peer| peer.ut_metadata) else {
            return;
        };
        let raw = &self.spec.info.raw;
        let start = piece as usize * BLOCK as usize;
        let answer = if start < raw.len() {
            let end = raw.len().min(start + BLOCK as usize);
            let data = raw.slice(start..end);
            MetadataMessage::Data {
                piece,
                total_size: raw.len() as u64,
                data,
            }
        } else {
            MetadataMessage::Reject { piece }
        };
        self.send(
            now,
            key,
            Message::Extended {
                id,
                payload: answer.encode(),
            },
            out,
        );
    }
}

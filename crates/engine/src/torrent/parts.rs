//! Pieces that are passed on before they are whole.
//!
//! A piece can be passed on when it is verified, and a piece of 512 KiB takes 0.2 to 0.7 s on an uplink of 20 Mbit/s. By the
//! time a swarm of 16 has it, it has been waited for four times. Peers that understand
//! [`PartsMessage`] verify it part by part from its end, with the chaining values of its SHA-1, and pass on what is verified while the
//! rest comes in. Nobody is believed, nothing is served that was not verified, and the piece still has to pass its checksum as a whole
//! before it is written.
//!
//! Who asks for a block of a piece is sent its chain; it asks for the blocks from the last to the first. When its last part is
//! verified it tells its peers that the piece is *coming*, and they may ask it for all of it; requests for what is not verified
//! yet wait. So that no two wait for each other, whoever has said that a piece is coming asks only those for the rest who
//! have it whole, or said that it is coming before. If the rest does not come, what waits is rejected and the word is taken back.

use super::Torrent;
use crate::fault::PeerFault;
use crate::io::{Output, Outputs, PeerKey, Phase};
use crate::peer::Peer;
use crate::time::{Duration, Instant};
use bytes::Bytes;
use samara_proto::metainfo::Version;
use samara_proto::wire::{Message, PartsMessage};
use samara_proto::{BLOCK, Bitfield, Sha1, Span};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Most parts of a piece: a chain is then 2.5 KB, and a part of 16 MiB 128 KiB.
const PARTS_MAX: u32 = 128;

/// Pieces that take the uplink less than this are passed on as soon as they are whole; their chains would cost more than
/// they are worth.
const SLOW: Duration = Duration::from_millis(40);

/// An uplink that never carried this much, bytes a second, passes on whole pieces: with parts, whoever asks waits for seconds for what
/// may not come. In the simulator's swarm of 150 leeches with 50 kB/s the uplinks are used to 0.97 without parts, and to 0.83
/// with them.
pub(super) const UPLINK_MIN: u64 = 256 << 10;

/// Chains of pieces that are here; others are computed again.
const KNOWN_MAX: usize = 64;

/// When no part of a piece that is coming has come for this long, and for four times as long as the last one took, it is not
/// coming.
const STANDS_STILL: Duration = Duration::from_secs(2);

/// A piece that is being fetched, and whose chain somebody has sent.
#[derive(Debug)]
struct Fetched {
    step: u32,
    values: Arc<[Sha1]>,
    /// Bytes from here to the end are verified.
    from: u32,
    /// The part before them is being verified.
    checking: bool,
    /// Peers may ask us for it, since then by [`Parts::clock`].
    coming: Option<u64>,
    /// All blocks are here, and with the disk: nothing is served until they are written.
    whole: bool,
    /// When a part was last verified, and how long it took.
    moved: Instant,
    took: Duration,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// Most bytes a second that were sent, less a thirty-second of it every second; 0 if nothing was.
    speed: u64,
    /// Counts what was heard and said of pieces that are coming.
    clock: u64,
    fetched: BTreeMap<u32, Fetched>,
    /// Chains of pieces that are here, and in which order they became known.
    known: BTreeMap<u32, (u32, Arc<[Sha1]>)>,
    order: VecDeque<u32>,
    /// Pieces whose chains are being computed, and who waits for them.
    computing: BTreeMap<u32, BTreeSet<PeerKey>>,
}

impl Parts {
    /// Bytes a second that the uplink has lately carried when it was full, if it sends `recent` bytes a second now.
    pub(super) fn uplink_speed(&self, recent: u64) -> u64 {
        self.speed.max(recent)
    }

    /// Whether peers may ask us for a piece that is not whole.
    pub(super) fn is_coming(&self, piece: u32) -> bool {
        self.fetched
            .get(&piece)
            .is_some_and(|it| it.coming.is_some())
    }

    /// Whether the block is verified and in memory.
    fn holds(&self, span: Span) -> bool {
        let fetched = self.fetched.get(&span.piece);
        fetched.is_some_and(|it| it.coming.is_some() && !it.whole && span.offset >= it.from)
    }

    /// Place of the first request that can be served, in a queue of them.
    pub(super) fn first_ready(&self, have: &Bitfield, requests: &VecDeque<Span>) -> Option<usize> {
        // What has just come first: the fewest have it.
        if !self.fetched.is_empty()
            && let Some(at) = requests.iter().position(|span| self.holds(*span))
        {
            return Some(at);
        }
        let mut requests = requests.iter();
        requests.position(|span| have.get(span.piece) || self.holds(*span))
    }

    /// All blocks are here.
    pub(super) fn whole(&mut self, piece: u32) {
        if let Some(fetched) = self.fetched.get_mut(&piece) {
            fetched.whole = true;
        }
    }

    fn remember(&mut self, piece: u32, step: u32, values: Arc<[Sha1]>) {
        if self.known.insert(piece, (step, values)).is_none() {
            self.order.push_back(piece);
        }
        if self.order.len() > KNOWN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// A peer is gone.
    pub(super) fn gone(&mut self, peer: PeerKey) {
        for waiting in self.computing.values_mut() {
            waiting.remove(&peer);
        }
    }
}

impl Torrent {
    /// Bytes of a part of `piece`; `None` if it has only one, or cannot be verified by parts.
    fn part_length(&self, piece: u32) -> Option<u32> {
        let (least, info) = (self.config.part_min, &self.spec.info);
        let length = self.geometry.data_len(piece);
        if least == 0 || info.version == Version::V2 || length != self.geometry.piece_len(piece) {
            return None;
        }
        let step = (self.geometry.piece_length() / PARTS_MAX).max(least);
        let step = step.next_multiple_of(BLOCK);
        (step < length).then_some(step)
    }

    /// Whether pieces are passed on by parts now.
    pub(super) fn passes_parts_on(&self) -> bool {
        let speed = self.parts.speed;
        let known = speed >= UPLINK_MIN && self.is_slow(speed);
        self.understands_parts() && (speed == 0 || known)
    }

    /// Regular slots that there are at the least.
    pub(super) fn least_slots(&self) -> usize {
        let parts = self.peers.values().filter(|peer| peer.parts.is_some());
        if self.passes_parts_on() && parts.count() * 2 >= self.peers.len() {
            self.config.part_slots
        } else {
            self.config.upload_slots
        }
    }

    /// Whether we have use for messages about parts at all.
    pub(super) fn understands_parts(&self) -> bool {
        self.part_length(0).is_some()
    }

    pub(super) fn on_parts(
        &mut self,
        now: Instant,
        key: PeerKey,
        payload: &Bytes,
        out: &mut Outputs,
    ) {
        let Some(message) = PartsMessage::decode(payload) else {
            return self.on_fault(now, key, PeerFault::BadExtension, out);
        };
        let (PartsMessage::Chain { piece, .. }
        | PartsMessage::Coming { piece }
        | PartsMessage::Gone { piece }) = message;
        if piece >= self.geometry.pieces() {
            return self.on_fault(now, key, PeerFault::PieceOutOfRange, out);
        }
        match message {
            PartsMessage::Chain { step, values, .. } => {
                self.on_chain(now, key, piece, (step, values), out);
            }
            PartsMessage::Coming { .. } => self.on_coming(now, key, piece, out),
            PartsMessage::Gone { .. } => self.on_gone(now, key, piece, out),
        }
    }

    /// A peer sends the chain of a piece that we asked it for.
    fn on_chain(
        &mut self,
        now: Instant,
        key: PeerKey,
        piece: u32,
        (step, values): (u32, Vec<Sha1>),
        out: &mut Outputs,
    ) {
        let length = self.geometry.data_len(piece);
        let fits = step > 0
            && step.is_multiple_of(BLOCK)
            && length.div_ceil(step) as usize == values.len() + 1
            && self.part_length(piece).is_some();
        let peer = self.peers.get(&key);
        let mut asked = peer.iter().flat_map(|peer| &peer.asked);
        if !fits
            || !asked.any(|asked| asked.span.piece == piece)
            || self.parts.fetched.contains_key(&piece)
        {
            return;
        }
        let fetched = Fetched {
            step,
            values: values.into(),
            from: length,
            checking: false,
            coming: None,
            whole: false,
            moved: now,
            took: Duration::ZERO,
        };
        self.parts.fetched.insert(piece, fetched);
        self.check_part(piece, out);
    }

    /// Has the next part of a piece verified, if all of it is here. The first one is verified with the piece.
    pub(super) fn check_part(&mut self, piece: u32, out: &mut Outputs) {
        let Some(fetched) = self.parts.fetched.get_mut(&piece) else {
            return;
        };
        if fetched.checking || fetched.whole || fetched.from == 0 {
            return;
        }
        let part = (fetched.from - 1) / fetched.step;
        let (from, to) = (part * fetched.step, fetched.from);
        if part == 0 || !self.picker.is_here(piece, from / BLOCK..to.div_ceil(BLOCK)) {
            return;
        }
        let value = |part: u32| fetched.values.get(part as usize - 1).copied();
        let Some(before) = value(part) else {
            return;
        };
        fetched.checking = true;
        out.push(Output::CheckPart {
            piece,
            from,
            to,
            before,
            after: value(part + 1),
        });
    }

    pub(super) fn on_part_done(
        &mut self,
        now: Instant,
        piece: u32,
        from: u32,
        good: bool,
        out: &mut Outputs,
    ) {
        let passes = self.passes_parts_on();
        let Some(fetched) = self.parts.fetched.get_mut(&piece) else {
            return;
        };
        fetched.checking = false;
        if !good {
            // The chain is wrong, or a block. The checksum of the piece will tell which.
            return self.drop_parts(now, piece, out);
        }
        fetched.from = from;
        fetched.took = now.since(fetched.moved);
        fetched.moved = now;
        if fetched.coming.is_none() && passes && self.phase == Phase::Downloading {
            self.parts.clock += 1;
            fetched.coming = Some(self.parts.clock);
            self.spread(now, piece);
        }
        self.serve_ready(now, out);
        self.check_part(piece, out);
    }

    /// Peers whose requests waited for what has come stand in the line again.
    fn serve_ready(&mut self, now: Instant, out: &mut Outputs) {
        let have = self.picker.have();
        let ready = self.peers.iter().filter(|(_, peer)| {
            !peer.in_line && self.parts.first_ready(have, &peer.requests).is_some()
        });
        let ready: Vec<PeerKey> = ready.map(|(key, _)| *key).collect();
        if ready.is_empty() {
            return;
        }
        for key in ready {
            self.line_up(now, key);
        }
        self.pump(now, out);
    }

    /// A piece is verified and written.
    pub(super) fn parts_are_whole(&mut self, now: Instant, piece: u32, out: &mut Outputs) {
        if let Some(fetched) = self.parts.fetched.remove(&piece) {
            self.parts.remember(piece, fetched.step, fetched.values);
            self.serve_ready(now, out);
        }
    }

    /// Nothing is known of a piece any more.
    pub(super) fn drop_parts(&mut self, now: Instant, piece: u32, out: &mut Outputs) {
        self.take_back(now, piece, out);
        self.parts.fetched.remove(&piece);
    }

    /// A piece is not coming: requests for it are rejected, and peers are told.
    fn take_back(&mut self, now: Instant, piece: u32, out: &mut Outputs) {
        let Some(fetched) = self.parts.fetched.get_mut(&piece) else {
            return;
        };
        if fetched.coming.take().is_none() {
            return;
        }
        let payload = PartsMessage::Gone { piece }.encode();
        let keys: Vec<PeerKey> = self.peers.keys().copied().collect();
        for key in keys {
            let Some(peer) = self.peers.get_mut(&key) else {
                continue;
            };
            let Some(id) = peer.parts else {
                continue;
            };
            let (void, stays) = peer.requests.iter().partition(|span| span.piece == piece);
            peer.requests = stays;
            let void: VecDeque<Span> = void;
            for span in void {
                self.send(now, key, Message::Reject(span), out);
            }
            let payload = payload.clone();
            self.send(now, key, Message::Extended { id, payload }, out);
        }
    }

    /// Once a second: what is coming, and does not come?
    pub(super) fn look_after_parts(&mut self, now: Instant, out: &mut Outputs) {
        let speed = self.parts.speed;
        self.parts.speed = (speed - speed / 32).max(self.up.recent(now));
        let fetched = self.parts.fetched.iter();
        let still = fetched.filter(|(_, it)| {
            let patience = it.took.times(4).max(STANDS_STILL);
            it.coming.is_some() && now.since(it.moved) > patience
        });
        let still: Vec<u32> = still.map(|(piece, _)| *piece).collect();
        for piece in still {
            self.take_back(now, piece, out);
        }
        let picker = &self.picker;
        self.parts
            .fetched
            .retain(|piece, it| it.coming.is_some() || picker.is_begun(*piece));
    }

    /// A peer will have a piece, and may be asked for it.
    fn on_coming(&mut self, now: Instant, key: PeerKey, piece: u32, out: &mut Outputs) {
        let lacks = self.picker.lacks(piece);
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        // What it has whole comes first, as always.
        let may = peer.parts.is_some() && peer.told_pieces;
        if !lacks || !may || !peer.has.set(piece) {
            return;
        }
        self.parts.clock += 1;
        peer.coming.insert(piece, self.parts.clock);
        peer.useful += 1;
        self.picker.peer_has(piece);
        self.after_news(now, key, out);
    }

    fn on_gone(&mut self, now: Instant, key: PeerKey, piece: u32, out: &mut Outputs) {
        let lacks = self.picker.lacks(piece);
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        if peer.coming.remove(&piece).is_none() {
            return;
        }
        peer.has.clear(piece);
        peer.useful -= u32::from(lacks);
        self.picker.peer_lost(piece);
        self.update_interest(now, key, out);
    }

    /// What a peer may be asked for of pieces that it has whole, and of those that are coming; `None` if there are none of the latter.
    pub(super) fn split_pieces(&self, peer: &Peer) -> Option<(Bitfield, Bitfield)> {
        if peer.coming.is_empty() {
            return None;
        }
        let mut whole = peer.has.clone();
        let mut coming = Bitfield::empty(whole.len());
        for piece in peer.coming.keys() {
            whole.clear(*piece);
            if !self.could_wait_for_us(peer, *piece) {
                coming.set(*piece);
            }
        }
        Some((whole, coming))
    }

    /// Whether the peer said that the piece is coming when it could know that we had said so.
    pub(super) fn could_wait_for_us(&self, peer: &Peer, piece: u32) -> bool {
        let ours = self.parts.fetched.get(&piece).and_then(|it| it.coming);
        let theirs = peer.coming.get(&piece);
        theirs.is_some_and(|theirs| ours.is_some_and(|ours| ours < *theirs))
    }

    /// Whether blocks are asked for from the end of a piece, so that it can be passed on by parts: the peer knows how, and pieces
    /// take some time to come. Faster ones are read and written better in their order.
    pub(super) fn asks_from_the_end(&self, now: Instant, key: PeerKey) -> bool {
        let knows = self
            .peers
            .get(&key)
            .is_some_and(|peer| peer.parts.is_some());
        knows && self.understands_parts() && self.is_slow(self.down.recent(now))
    }

    fn is_slow(&self, rate: u64) -> bool {
        crate::time::bytes_in(rate, SLOW) < u64::from(self.geometry.piece_length())
    }

    /// A peer asks for a block: it gets the piece's chain, once.
    pub(super) fn offer_chain(
        &mut self,
        now: Instant,
        key: PeerKey,
        piece: u32,
        out: &mut Outputs,
    ) {
        let slow = self.is_slow(self.up.recent(now)) && self.passes_parts_on();
        let Some(step) = self.part_length(piece) else {
            return;
        };
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        let Some(id) = peer.parts.filter(|_| slow && !peer.chains.contains(&piece)) else {
            return;
        };
        let fetched = self.parts.fetched.get(&piece);
        let fetched = fetched.map(|it| (it.step, Arc::clone(&it.values)));
        let Some((step, values)) = fetched.or_else(|| self.parts.known.get(&piece).cloned()) else {
            // A leech has enough to do; seeds compute what nobody has sent them.
            if self.phase == Phase::Seeding {
                let waiting = self.parts.computing.entry(piece).or_default();
                if waiting.is_empty() {
                    out.push(Output::Chain { piece, step });
                }
                waiting.insert(key);
            }
            return;
        };
        if peer.chains.len() >= KNOWN_MAX {
            peer.chains.clear();
        }
        peer.chains.insert(piece);
        let payload = PartsMessage::Chain {
            piece,
            step,
            values: values.to_vec(),
        };
        let payload = payload.encode();
        self.send(now, key, Message::Extended { id, payload }, out);
    }

    /// The chain of a piece is computed; without values it could not be.
    pub(super) fn on_chained(
        &mut self,
        now: Instant,
        piece: u32,
        values: Vec<Sha1>,
        out: &mut Outputs,
    ) {
        let waiting = self.parts.computing.remove(&piece).unwrap_or_default();
        let Some(step) = self.part_length(piece).filter(|_| !values.is_empty()) else {
            return;
        };
        self.parts.remember(piece, step, values.into());
        for key in waiting {
            self.offer_chain(now, key, piece, out);
        }
    }
}

//! Requests, blocks, pieces, whole files.

use super::Torrent;
use crate::fault::{PeerFault, Proof};
use crate::io::{Event, Goodbye, Output, Outputs, PeerKey, Phase, PieceOutcome};
use crate::peer::{Asked, Peer};
use crate::picker::Received;
use crate::time::{Duration, Instant, time_for};
use core::cmp::Reverse;
use core::net::SocketAddr;
use samara_proto::wire::Message;
use samara_proto::{BLOCK, Span};
use std::collections::BTreeSet;

/// Blocks that a peer may send unasked before we hang up. Some come with clients that lose count
/// of cancels; more than this is an attack or a bug that costs us bandwidth.
const UNASKED_MAX: u32 = 64;

/// What a peer will have delivered within this time is not asked of another as well.
const WORTH: Duration = Duration::from_millis(300);

/// In the endgame, a peer whose rate is not known yet has this long before its blocks are asked of
/// another as well.
const PATIENCE: Duration = Duration::from_millis(500);

/// In the endgame, a peer that sent and then sends nothing for this long is not going by its rate any more: its host may have
/// become unreachable. Until it counts as snubbing a minute may pass (seen on the testbed: one of 32 leeches 50 s late).
const SILENT: Duration = Duration::from_secs(2);

/// When a peer that does not send will have sent: any other is faster.
const FOREVER: Duration = Duration::from_secs(1 << 20);

/// Blocks to ask `peer` for now: of pieces that it has, and of those that are coming to it.
fn wants(peer: &Peer) -> (usize, usize) {
    let size = if peer.snubbing {
        1
    } else {
        peer.pipeline.size()
    };
    let waiting = peer.asked.len();
    if peer.coming.is_empty() {
        return (size.saturating_sub(waiting), 0);
    }
    // Blocks that are still to come to the peer itself keep nobody from asking for others. What was asked for as it was coming
    // counts as any other once it is whole: without a bound for both together old requests would pile up.
    let late = |asked: &&Asked| peer.coming.contains_key(&asked.span.piece);
    let late = peer.asked.iter().filter(late).count();
    let most = (size * 2).saturating_sub(waiting);
    let whole = size.saturating_sub(waiting.saturating_sub(late));
    (whole, size.saturating_sub(late).min(most))
}

impl Torrent {
    /// Asks a peer for as much as it should have waiting.
    pub(super) fn fill(&mut self, now: Instant, key: PeerKey, out: &mut Outputs) {
        if self.phase != Phase::Downloading {
            return;
        }
        let Some(peer) = self.peers.get(&key) else {
            return;
        };
        let (want, want_late) = wants(peer);
        let split = self.split_pieces(peer);
        if want + want_late == 0 || peer.useful == 0 || peer.paused {
            return;
        }
        // What failed before is for one peer alone, and for one that delivers, if there is any.
        let steady = !peer.snubbing || !self.anybody_delivers();
        let backwards = self.asks_from_the_end(now, key);
        let mut spans = core::mem::take(&mut self.scratch);
        if peer.choking_us {
            self.picker
                .pick_fast(key, &peer.allowed_fast, want, &mut spans);
        } else {
            if let Some((whole, coming)) = &split {
                self.picker
                    .pick(key, coming, (steady, backwards), want_late, &mut spans);
                self.picker
                    .pick(key, whole, (steady, backwards), want, &mut spans);
            } else {
                self.picker
                    .pick(key, &peer.has, (steady, backwards), want, &mut spans);
            }
            if peer.snubbing {
                // It is tried, and keeps nobody off who delivers.
                self.picker.open_suspects(key);
            }
            if spans.is_empty() && self.picker.is_endgame() {
                self.pick_copies(now, key, want, &mut spans, out);
            }
            self.short |= spans.len() < want;
        }
        self.ask(now, key, &spans, out);
        spans.clear();
        self.scratch = spans;
    }

    /// Whether somebody serves us something that we lack, and is not known to leave us waiting.
    fn anybody_delivers(&self) -> bool {
        let mut peers = self.peers.values();
        peers.any(|peer| !peer.snubbing && !peer.choking_us && peer.useful > 0)
    }

    /// The endgame: takes copies of requests that others have out, from the ends of the longest queues. A
    /// copy is worth it if this peer, with what it has to do already, would deliver in less than three
    /// quarters of the time that the peer asked first still needs for just that block; or if that peer
    /// has had its time and given nothing. The head of a queue is on its way: to ask for it again is waste.
    /// As many copies as may be can all be with peers that do not send; then one of these is relieved of its copy.
    fn pick_copies(
        &mut self,
        now: Instant,
        key: PeerKey,
        want: usize,
        spans: &mut Vec<Span>,
        out: &mut Outputs,
    ) {
        let Some(peer) = self.peers.get(&key) else {
            return;
        };
        let block = time_for(u64::from(BLOCK), peer.pipeline.rate());
        let mut mine = peer.backlog().map(|backlog| backlog + block);
        let mut late: Vec<(Duration, Span)> = Vec::new();
        for holder in self.peers.values() {
            if holder.snubbing || holder.choking_us {
                late.extend(holder.asked.iter().map(|asked| (FOREVER, asked.span)));
                continue;
            }
            // What is still to come to the holder itself is not going by its rate.
            let late_too = holder.asked.iter().filter(|asked| {
                holder.coming.contains_key(&asked.span.piece)
                    && !peer.coming.contains_key(&asked.span.piece)
            });
            late.extend(late_too.map(|asked| (FOREVER, asked.span)));
            let rate = holder.pipeline.rate();
            let silent = now.since(holder.waiting_since);
            if silent > SILENT || rate == 0 && silent > PATIENCE {
                late.extend(holder.asked.iter().map(|asked| (FOREVER, asked.span)));
            } else if rate > 0 && mine.is_some() {
                let mut bytes = 0;
                let queue = holder.asked.iter().map(|asked| {
                    bytes += u64::from(asked.span.length);
                    (time_for(bytes, rate), asked.span)
                });
                late.extend(queue.filter(|(eta, _)| *eta > WORTH));
            }
        }
        late.sort_by_key(|(eta, span)| Reverse((*eta, span.piece, span.offset)));
        let steady = !peer.snubbing;
        for (theirs, span) in late {
            let Some(peer) = self.peers.get(&key) else {
                return;
            };
            let slow = mine.is_some_and(|mine| mine.times(4) >= theirs.times(3));
            if spans.len() >= want || slow {
                break;
            }
            let asked = peer.asked.iter().any(|asked| asked.span == span) || spans.contains(&span);
            if asked || self.could_wait_for_us(peer, span.piece) || !peer.has.get(span.piece) {
                continue;
            }
            let copied = self.picker.copy(key, &peer.has, span)
                || theirs == FOREVER && steady && self.take_copy(now, key, span, out);
            if copied {
                spans.push(span);
                mine = mine.map(|mine| mine + block);
            }
        }
    }

    /// Takes the request for `span` from one that snubs us, and gives it to `key`.
    fn take_copy(&mut self, now: Instant, key: PeerKey, span: Span, out: &mut Outputs) -> bool {
        let holds = |asked: &Asked| asked.span == span;
        let mut peers = self.peers.iter();
        let holder = peers.find(|(_, peer)| peer.snubbing && peer.asked.iter().any(holds));
        let Some(holder) = holder.map(|(holder, _)| *holder) else {
            return false;
        };
        if !self.picker.hand_over(holder, key, span) {
            return false;
        }
        if let Some(peer) = self.peers.get_mut(&holder) {
            peer.take_asked(span);
            peer.crossing += 1;
        }
        self.send(now, holder, Message::Cancel(span), out);
        true
    }

    fn ask(&mut self, now: Instant, key: PeerKey, spans: &[Span], out: &mut Outputs) {
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        if spans.is_empty() {
            return;
        }
        if peer.asked.is_empty() {
            peer.waiting_since = now;
        }
        peer.said = now;
        for &span in spans {
            peer.asked.push_back(Asked { span, at: now });
            out.push(Output::Send {
                peer: key,
                message: Message::Request(span),
            });
        }
    }

    /// Lets every peer with room be asked: blocks have become free, or memory has.
    pub(super) fn fill_all(&mut self, now: Instant, out: &mut Outputs) {
        if self.phase != Phase::Downloading {
            return;
        }
        self.short = false;
        let keys: Vec<PeerKey> = self.peers.keys().copied().collect();
        for key in keys {
            self.fill(now, key, out);
        }
    }

    /// A peer has sent nothing for long though it was asked: others may be asked for the same.
    pub(super) fn on_snubbed(&mut self, now: Instant, key: PeerKey, out: &mut Outputs) {
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        peer.snubbing = true;
        peer.pipeline.restart();
        let void = core::mem::take(&mut peer.asked);
        peer.crossing += void.len() as u32;
        for asked in void {
            self.picker.release(key, asked.span);
            self.send(now, key, Message::Cancel(asked.span), out);
        }
        self.picker.open_suspects(key);
        self.refill = true;
    }

    pub(super) fn on_block(&mut self, now: Instant, key: PeerKey, span: Span, out: &mut Outputs) {
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        let bytes = u64::from(span.length);
        peer.heard = now;
        peer.from_it.add(now, bytes);
        self.down.add(now, bytes);
        match peer.take_asked(span) {
            Some(asked) => {
                peer.pipeline.block(now, asked.at, bytes);
                peer.waiting_since = now;
                peer.snubbing = false;
            }
            None if peer.crossing > 0 => peer.crossing -= 1,
            None => {
                peer.unasked += 1;
                self.totals.wasted += bytes;
                let many = peer.unasked > UNASKED_MAX;
                let fault = if many {
                    PeerFault::UnaskedBlocks
                } else {
                    PeerFault::UnaskedBlock
                };
                return self.on_fault(now, key, fault, out);
            }
        }
        let giver = peer.addr;
        match self.picker.receive(key, giver, span) {
            Received::Unwanted => self.totals.wasted += bytes,
            Received::Kept {
                cancel,
                piece_complete,
            } => {
                self.totals.downloaded += bytes;
                out.push(Output::Keep { span });
                for other in cancel {
                    self.cancel(now, other, span, out);
                }
                self.check_part(span.piece, out);
                if piece_complete {
                    self.parts.whole(span.piece);
                    let digests = self.blame.remembers(span.piece);
                    out.push(Output::Verify {
                        piece: span.piece,
                        digests,
                    });
                }
            }
        }
        self.fill(now, key, out);
    }

    /// `key` need not send `span`: it came from another.
    fn cancel(&mut self, now: Instant, key: PeerKey, span: Span, out: &mut Outputs) {
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        if peer.take_asked(span).is_some() {
            peer.crossing += 1;
            self.send(now, key, Message::Cancel(span), out);
            self.fill(now, key, out);
        }
    }

    pub(super) fn on_piece_done(
        &mut self,
        now: Instant,
        piece: u32,
        outcome: PieceOutcome,
        out: &mut Outputs,
    ) {
        match outcome {
            PieceOutcome::Good(digests) => self.on_piece_good(now, piece, &digests, out),
            PieceOutcome::Bad(digests) => self.on_piece_bad(now, piece, &digests, out),
            PieceOutcome::Disk(text) => {
                self.picker.piece_lost(piece);
                self.drop_parts(now, piece, out);
                self.give_up(now, Event::DiskFailed(text), out);
            }
        }
        self.refill |= self.short;
    }

    fn on_piece_good(&mut self, now: Instant, piece: u32, digests: &[u64], out: &mut Outputs) {
        self.picker.piece_good(piece);
        self.bytes_have += u64::from(self.geometry.data_len(piece));
        out.push(Output::Record { piece });
        out.push(Output::Event(Event::PieceVerified { piece }));
        let guilty = self.blame.good(piece, digests);
        let keys: Vec<PeerKey> = self.peers.keys().copied().collect();
        for key in keys {
            let Some(peer) = self.peers.get_mut(&key) else {
                continue;
            };
            if peer.has.get(piece) {
                peer.useful = peer.useful.saturating_sub(1);
                self.update_interest(now, key, out);
            }
        }
        self.spread(now, piece);
        self.parts_are_whole(now, piece, out);
        for (addr, proof) in guilty {
            self.ban(now, addr, (PeerFault::CorruptBlock, proof), out);
        }
        if self.picker.have().is_full() && self.phase == Phase::Downloading {
            self.start_checking(out);
        }
    }

    fn on_piece_bad(&mut self, now: Instant, piece: u32, digests: &[u64], out: &mut Outputs) {
        let givers = self.picker.piece_bad(piece);
        self.drop_parts(now, piece, out);
        self.totals.rejected += u64::from(self.geometry.data_len(piece));
        let peers: BTreeSet<SocketAddr> = givers.iter().flatten().copied().collect();
        let event = Event::PieceRejected {
            piece,
            peers: peers.into_iter().collect(),
        };
        out.push(Output::Event(event));
        if let Some(culprit) = self.blame.failed(piece, &givers, digests) {
            let proof = Proof::Piece { piece };
            self.ban(now, culprit, (PeerFault::CorruptPiece, proof), out);
        }
        self.refill = true;
    }

    pub(super) fn start_checking(&mut self, out: &mut Outputs) {
        self.phase = Phase::Checking;
        out.push(Output::Event(Event::Checking));
        out.push(Output::CheckFiles);
    }

    /// Somebody else has spoilt pieces that we had.
    pub(super) fn on_pieces_lost(&mut self, now: Instant, pieces: &[u32], out: &mut Outputs) {
        let had = |piece: &u32| self.picker.have().get(*piece);
        let lost: Vec<u32> = pieces.iter().copied().filter(had).collect();
        if lost.is_empty() || matches!(self.phase, Phase::Leaving | Phase::Stopped) {
            return;
        }
        self.overtaken += u32::from(self.phase == Phase::Checking);
        self.reopen(now, &lost, out);
    }

    /// Pieces that were verified are no longer what they were: they are fetched again.
    pub(super) fn reopen(&mut self, now: Instant, pieces: &[u32], out: &mut Outputs) {
        self.phase = Phase::Downloading;
        self.withdrew = true;
        self.news.withdraw(pieces);
        for &piece in pieces
            .iter()
            .filter(|piece| **piece < self.geometry.pieces())
        {
            if self.picker.lacks(piece) {
                continue;
            }
            self.picker.piece_lost(piece);
            self.bytes_have -= u64::from(self.geometry.data_len(piece));
            for peer in self.peers.values_mut().filter(|peer| peer.has.get(piece)) {
                peer.useful += 1;
            }
        }
        let keys: Vec<PeerKey> = self.peers.keys().copied().collect();
        for key in keys {
            self.update_interest(now, key, out);
        }
        self.dial(now, out);
        self.refill = true;
    }

    /// Every file is whole: we are a seed now.
    pub(super) fn on_complete(&mut self, now: Instant, out: &mut Outputs) {
        self.phase = Phase::Seeding;
        self.seeding_since = now;
        self.lacking_at = now;
        self.somebody_asked = true;
        out.push(Output::Event(Event::Complete));
        // Once: who repairs a copy has not made another one.
        if !core::mem::replace(&mut self.told_complete, true) {
            self.announcer.completed(now);
        }
        let peers: Vec<(PeerKey, bool)> = self
            .peers
            .iter()
            .map(|(key, peer)| (*key, peer.is_seed()))
            .collect();
        for (key, is_seed) in peers {
            if is_seed {
                self.hang_up(now, key, Goodbye::BothSeeds, out);
            } else {
                self.update_interest(now, key, out);
            }
        }
        self.rechoke_soon(now);
    }
}

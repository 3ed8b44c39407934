//! Which block to ask a peer for next.
//!
//! The policy is Cohen's (2003): a peer is asked for the rest of the piece that it was asked for first,
//! then for pieces that were begun and left (*strict priority*), then for a new one; a piece that
//! another peer is giving is joined only when there is no new one, so that a seed is not asked for
//! what leeches can give; the first pieces at random until one is complete, because rare pieces come slowly;
//! then the piece that the fewest connected peers have, at random among equals (*rarest first*); and
//! when every missing block has been asked for, copies of requests to peers that will be faster
//! (*endgame*), bounded to [`Limits::copies`] a block.
//!
//! The picker is handed what it needs (who has which pieces, how fast they are) and returns spans; it
//! never asks back.
//!
//! # Cost
//!
//! With P pieces, of which a peer has I that we lack, and B pieces begun (B is bounded by memory: 96 of
//! 512 KiB by default):
//!
//! | operation | cost |
//! | --- | --- |
//! | a peer tells of one more piece | O(1) |
//! | a peer comes or goes with a bitfield | O(pieces it has) |
//! | a peer comes or goes that has everything | O(1) |
//! | pick blocks of begun pieces | O(B) a piece, O(1) a block |
//! | begin a piece, peer has many | O(P / I) expected |
//! | begin a piece, peer has few | O(P / 64 + I) |
//! | a block arrives | O(log B) |
//! | a piece is begun, done or failed | O(most holders of one piece) <= O(peers) |
//!
//! So one pick at 100,000 pieces never looks at more than about 1,600 words and 1,600 candidates;
//! `cargo run --release -p samara-engine --example picker_bench` measures it.

mod bands;
mod partial;

use crate::io::PeerKey;
use crate::rng::Rng;
use bands::Bands;
use core::net::SocketAddr;
use core::ops::Range;
use partial::Partial;
use samara_proto::{Bitfield, Geometry, Span};
use std::collections::{BTreeMap, BTreeSet};

/// What bounds the picker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Pieces that may be in memory at once, begun or being verified; at least 2.
    pub(crate) pieces_in_memory: usize,
    /// Copies of one request that may be out in the endgame.
    pub(crate) copies: usize,
    /// Pieces that are taken at random before rarest first.
    pub(crate) random_first: u32,
}

/// What came of a block.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// Not needed: it is here already, or the piece is.
    Unwanted,
    /// It is to be kept.
    Kept {
        /// Others who were asked for it: their requests are to be cancelled.
        cancel: Vec<PeerKey>,
        /// It was the last one of its piece.
        piece_complete: bool,
    },
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Picker {
    geometry: Geometry,
    limits: Limits,
    /// Pieces that are here and verified.
    have: Bitfield,
    bands: Bands,
    /// Peers that have everything, counted apart.
    seeds: u32,
    partials: BTreeMap<u32, Partial>,
    /// The begun pieces with blocks that nobody was asked for.
    with_free: BTreeSet<u32>,
    /// Complete pieces on their way through the checksum to the disk, with the givers of the blocks.
    verifying: BTreeMap<u32, Vec<Option<SocketAddr>>>,
    /// Pieces that failed once and are not verified yet.
    suspects: BTreeSet<u32>,
    verified_in_this_run: u32,
    rng: Rng,
}

impl Picker {
    pub(crate) fn new(geometry: Geometry, have: Bitfield, limits: Limits, rng: Rng) -> Self {
        let mut picker = Self {
            bands: Bands::new(geometry.pieces()),
            geometry,
            limits,
            have,
            seeds: 0,
            partials: BTreeMap::new(),
            with_free: BTreeSet::new(),
            verifying: BTreeMap::new(),
            suspects: BTreeSet::new(),
            verified_in_this_run: 0,
            rng,
        };
        for piece in 0..picker.geometry.pieces() {
            if !picker.have.get(piece) {
                picker.bands.insert(piece, &mut picker.rng);
            }
        }
        picker
    }

    /// Pieces that are here.
    pub(crate) fn have(&self) -> &Bitfield {
        &self.have
    }

    /// Whether a block of `piece` could still be of use.
    pub(crate) fn lacks(&self, piece: u32) -> bool {
        piece < self.geometry.pieces() && !self.have.get(piece)
    }

    /// Full copies among the connected peers, in thousandths: the least availability, and the share
    /// of pieces above it. O(P); for people.
    pub(crate) fn copies_thousandths(&self) -> u32 {
        let pieces = self.geometry.pieces();
        let least = (0..pieces)
            .map(|p| self.bands.available(p))
            .min()
            .unwrap_or(0);
        let above = (0..pieces)
            .filter(|p| self.bands.available(*p) > least)
            .count() as u64;
        (u32::from(least) + self.seeds) * 1000 + (above * 1000 / u64::from(pieces.max(1))) as u32
    }

    // --- who has what -------------------------------------------------------------------------

    /// A peer came that has everything, or one left (`sign` below zero). O(1).
    pub(crate) fn seed_changed(&mut self, came: bool) {
        self.seeds = if came {
            self.seeds + 1
        } else {
            self.seeds.saturating_sub(1)
        };
    }

    /// A peer came with these pieces.
    pub(crate) fn peer_came(&mut self, bits: &Bitfield) {
        for piece in bits.iter() {
            self.bands.raise(piece, &mut self.rng);
        }
    }

    /// A peer with these pieces left.
    pub(crate) fn peer_left(&mut self, bits: &Bitfield) {
        for piece in bits.iter() {
            self.bands.lower(piece, &mut self.rng);
        }
    }

    /// A peer has one more piece.
    pub(crate) fn peer_has(&mut self, piece: u32) {
        self.bands.raise(piece, &mut self.rng);
    }

    /// A peer has one piece less: it had only promised it.
    pub(crate) fn peer_lost(&mut self, piece: u32) {
        self.bands.lower(piece, &mut self.rng);
    }

    /// Whether all of these blocks of a piece that is not verified yet are here.
    pub(crate) fn is_here(&self, piece: u32, blocks: Range<u32>) -> bool {
        let partial = self.partials.get(&piece);
        partial.is_some_and(|partial| partial.is_here(blocks))
    }

    /// Whether a piece is being fetched or verified.
    pub(crate) fn is_begun(&self, piece: u32) -> bool {
        self.partials.contains_key(&piece) || self.verifying.contains_key(&piece)
    }

    // --- picking ------------------------------------------------------------------------------

    /// Appends up to `want` spans to ask `who` for, who has `bits`. `steady`: it is not known to leave
    /// us waiting; only such a peer is given a piece that failed before, which is for one peer alone. `backwards`: the
    /// last blocks of a piece come first.
    pub(crate) fn pick(
        &mut self,
        who: PeerKey,
        bits: &Bitfield,
        (steady, backwards): (bool, bool),
        want: usize,
        out: &mut Vec<Span>,
    ) {
        let may = |partial: &Partial| partial.may_be_asked_of(who) && (steady || !partial.suspect);
        let goal = out.len() + want;
        while out.len() < goal {
            let piece = self
                .begun(bits, |partial| partial.owner == Some(who) && may(partial))
                .or_else(|| self.begun(bits, |partial| partial.owner.is_none() && may(partial)))
                .or_else(|| self.begin(bits, steady))
                .or_else(|| self.begun(bits, may));
            let Some(piece) = piece else { return };
            self.take(who, piece, (goal - out.len(), backwards), out);
        }
    }

    /// Like [`Picker::pick`] among `fast`, the pieces that may be asked for while choked (BEP 6).
    pub(crate) fn pick_fast(
        &mut self,
        who: PeerKey,
        fast: &BTreeSet<u32>,
        want: usize,
        out: &mut Vec<Span>,
    ) {
        let goal = out.len() + want;
        for &piece in fast {
            if out.len() >= goal {
                return;
            }
            if self.bands.contains(piece) && self.has_room() {
                self.start(piece);
            }
            let partial = self.partials.get(&piece);
            if self.with_free.contains(&piece)
                && partial.is_some_and(|partial| partial.may_be_asked_of(who))
            {
                self.take(who, piece, (goal - out.len(), false), out);
            }
        }
    }

    /// Whether every missing block has been asked for.
    pub(crate) fn is_endgame(&self) -> bool {
        self.bands.order().is_empty() && self.with_free.is_empty() && !self.partials.is_empty()
    }

    /// In the endgame: marks a block that another was asked for as asked of `who` too, who has `bits`.
    /// False if it must not be: it is here, or as many copies are out as may be.
    pub(crate) fn copy(&mut self, who: PeerKey, bits: &Bitfield, span: Span) -> bool {
        let endgame = self.is_endgame();
        let Some(partial) = self.partials.get_mut(&span.piece) else {
            return false;
        };
        endgame
            && bits.get(span.piece)
            && partial.may_be_asked_of(who)
            && partial.copy(span.block(), who, self.limits.copies)
    }

    /// Of the begun pieces that the peer has and that `fit`, the one nearest to its end: it can be passed
    /// on soonest.
    fn begun(&self, bits: &Bitfield, fit: impl Fn(&Partial) -> bool) -> Option<u32> {
        self.with_free
            .iter()
            .copied()
            .filter_map(|piece| Some((piece, self.partials.get(&piece)?)))
            .filter(|(piece, partial)| bits.get(*piece) && fit(partial))
            .min_by_key(|(_, partial)| partial.free())
            .map(|(piece, _)| piece)
    }

    fn has_room(&self) -> bool {
        self.partials.len() + self.verifying.len() < self.limits.pieces_in_memory.max(2)
    }

    /// Begins a piece that the peer has.
    fn begin(&mut self, bits: &Bitfield, steady: bool) -> Option<u32> {
        if !self.has_room() {
            return None;
        }
        let piece = if self.verified_in_this_run + self.have.count() < self.limits.random_first {
            self.random_open(bits)
        } else {
            self.rarest_open(bits)
        }?;
        if self.suspects.contains(&piece) && !steady {
            return None;
        }
        self.start(piece);
        Some(piece)
    }

    fn start(&mut self, piece: u32) {
        self.bands.remove(piece);
        let suspect = self.suspects.contains(&piece);
        self.partials
            .insert(piece, Partial::new(self.geometry.blocks(piece), suspect));
        self.with_free.insert(piece);
    }

    fn random_open(&mut self, bits: &Bitfield) -> Option<u32> {
        let order = self.bands.order();
        let from = self.rng.below(order.len() as u32) as usize;
        let (before, after) = order.split_at_checked(from)?;
        after
            .iter()
            .chain(before)
            .copied()
            .find(|piece| bits.get(*piece))
    }

    fn rarest_open(&mut self, bits: &Bitfield) -> Option<u32> {
        let order = self.bands.order();
        // Expected steps down the order are order / candidates; going through the words of the
        // peer's bitfield costs P / 64 and its pieces. A peer with few pieces is cheaper that way.
        let few = u64::from(bits.count()).pow(2) < order.len() as u64;
        if !few {
            return order.iter().copied().find(|piece| bits.get(*piece));
        }
        let candidates = bits.iter().filter(|piece| self.bands.contains(*piece));
        let mut best: Option<(u16, u32)> = None;
        let mut equals = 0;
        for piece in candidates {
            let rarity = self.bands.available(piece);
            match best {
                Some((least, _)) if rarity > least => {}
                Some((least, _)) if rarity == least => {
                    equals += 1;
                    if self.rng.one_in(equals) {
                        best = Some((rarity, piece));
                    }
                }
                _ => {
                    equals = 1;
                    best = Some((rarity, piece));
                }
            }
        }
        best.map(|(_, piece)| piece)
    }

    fn take(
        &mut self,
        who: PeerKey,
        piece: u32,
        (want, backwards): (usize, bool),
        out: &mut Vec<Span>,
    ) {
        let Some(partial) = self.partials.get_mut(&piece) else {
            return;
        };
        let geometry = &self.geometry;
        partial.take_free(who, want, backwards, |block| {
            out.push(geometry.block_span(piece, block))
        });
        if partial.free() == 0 {
            self.with_free.remove(&piece);
        }
    }

    // --- what happens to requests -------------------------------------------------------------

    /// `who` will not send `span` any more: it choked us, rejected, snubs us, or is gone.
    pub(crate) fn release(&mut self, who: PeerKey, span: Span) {
        let Some(partial) = self.partials.get_mut(&span.piece) else {
            return;
        };
        partial.release(span.block(), who);
        if partial.is_untouched() {
            self.partials.remove(&span.piece);
            self.with_free.remove(&span.piece);
            self.bands.insert(span.piece, &mut self.rng);
        } else if partial.free() > 0 {
            self.with_free.insert(span.piece);
        }
    }

    /// `to` is asked for `span` in the place of `from`. False if it must not be.
    pub(crate) fn hand_over(&mut self, from: PeerKey, to: PeerKey, span: Span) -> bool {
        let partial = self.partials.get_mut(&span.piece);
        partial.is_some_and(|partial| partial.hand_over(span.block(), from, to))
    }

    /// A peer is gone.
    pub(crate) fn peer_gone(&mut self, who: PeerKey) {
        for partial in self.partials.values_mut() {
            if partial.owner == Some(who) {
                partial.owner = None;
            }
        }
        self.open_suspects(who);
    }

    /// `who` gives nothing for now: begun suspects that only it could complete go to another. What is here already
    /// stays; blame is then shared, and a second failure is settled by comparing blocks.
    pub(crate) fn open_suspects(&mut self, who: PeerKey) {
        let partials = self.partials.values_mut();
        for partial in partials.filter(|partial| partial.only == Some(who)) {
            partial.only = None;
        }
    }

    /// A block arrived. `span` must be one that the geometry knows as a whole block.
    pub(crate) fn receive(&mut self, who: PeerKey, giver: SocketAddr, span: Span) -> Received {
        if span != self.geometry.block_span(span.piece, span.block()) {
            return Received::Unwanted;
        }
        let Some(partial) = self.partials.get_mut(&span.piece) else {
            return Received::Unwanted;
        };
        let Some(others) = partial.receive(span.block(), who, giver) else {
            return Received::Unwanted;
        };
        if partial.free() == 0 {
            self.with_free.remove(&span.piece);
        }
        let piece_complete = partial.is_complete();
        if piece_complete && let Some(partial) = self.partials.remove(&span.piece) {
            self.verifying.insert(span.piece, partial.givers());
        }
        Received::Kept {
            cancel: others.into_iter().flatten().collect(),
            piece_complete,
        }
    }

    // --- what happens to pieces ---------------------------------------------------------------

    /// The piece is verified and written. Returns who gave its blocks.
    pub(crate) fn piece_good(&mut self, piece: u32) -> Vec<Option<SocketAddr>> {
        self.have.set(piece);
        self.suspects.remove(&piece);
        self.verified_in_this_run += 1;
        self.verifying.remove(&piece).unwrap_or_default()
    }

    /// The piece failed: it goes back to be picked again. Returns who gave its blocks.
    pub(crate) fn piece_bad(&mut self, piece: u32) -> Vec<Option<SocketAddr>> {
        self.suspects.insert(piece);
        self.reopen(piece)
    }

    /// The piece was lost, for no fault of a peer.
    pub(crate) fn piece_lost(&mut self, piece: u32) -> Vec<Option<SocketAddr>> {
        self.reopen(piece)
    }

    fn reopen(&mut self, piece: u32) -> Vec<Option<SocketAddr>> {
        let givers = self.verifying.remove(&piece).unwrap_or_default();
        self.have.clear(piece);
        if !self.bands.contains(piece) && !self.partials.contains_key(&piece) {
            self.bands.insert(piece, &mut self.rng);
        }
        givers
    }

    /// Whether `who` was asked for `span` and may still send it.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn is_asked(&self, who: PeerKey, span: Span) -> bool {
        let partial = self.partials.get(&span.piece);
        partial.is_some_and(|partial| partial.is_asked(span.block(), who))
    }

    /// Panics unless so many seeds were counted, and so many other holders of every piece.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn check_holders(&self, seeds: usize, holders: impl Fn(u32) -> usize) {
        assert_eq!(self.seeds as usize, seeds);
        for piece in 0..self.geometry.pieces() {
            let counted = usize::from(self.bands.available(piece));
            assert_eq!(counted, holders(piece), "holders of piece {piece}");
        }
    }

    #[cfg(any(test, fuzzing))]
    pub(crate) fn check(&self) {
        self.bands.check();
        let in_memory = self.partials.len() + self.verifying.len();
        assert!(in_memory <= self.limits.pieces_in_memory.max(2));
        for piece in 0..self.geometry.pieces() {
            let places = [
                self.have.get(piece),
                self.bands.contains(piece),
                self.partials.contains_key(&piece),
                self.verifying.contains_key(&piece),
            ];
            let count = places.iter().filter(|is| **is).count();
            assert_eq!(count, 1, "piece {piece} is in {count} states: {places:?}");
        }
        for (piece, partial) in &self.partials {
            partial.check();
            assert_eq!(
                partial.free() > 0,
                self.with_free.contains(piece),
                "piece {piece}"
            );
        }
        assert!(
            self.with_free
                .iter()
                .all(|piece| self.partials.contains_key(piece))
        );
    }
}

#[cfg(test)]
mod tests;

//! The picker against a model that is too simple to be wrong: sets, and walks over all of them.

use crate::io::PeerKey;
use crate::picker::{Limits, Picker, Received};
use crate::rng::{Rng, Seed};
use arbitrary::{Result, Unstructured};
use core::net::SocketAddr;
use samara_proto::{Bitfield, Geometry, Span};
use std::collections::{BTreeMap, BTreeSet};

/// Steps of one history; what follows is not looked at.
const STEPS: usize = 400;

const PEERS: u8 = 5;

/// A block, as (piece, number).
type Block = (u32, u32);

struct Model {
    picker: Picker,
    geometry: Geometry,
    limits: Limits,
    peers: BTreeMap<PeerKey, Bitfield>,
    have: BTreeSet<u32>,
    verifying: BTreeSet<u32>,
    /// Begun pieces.
    begun: BTreeSet<u32>,
    here: BTreeSet<Block>,
    asked: BTreeSet<(Block, PeerKey)>,
    /// Pieces that failed once.
    suspects: BTreeSet<u32>,
}

/// Whatever is done to the picker, in any order: it asks for what is missing and of whom has it, for the
/// rarest first, for as much as may be, and its books balance.
pub fn picker(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let Ok(mut model) = Model::new(&mut u) else {
        return;
    };
    for _ in 0..STEPS {
        if u.is_empty() || model.step(&mut u).is_err() {
            break;
        }
        model.picker.check();
        let begun = model.begun.len() + model.verifying.len();
        assert!(begun <= model.limits.pieces_in_memory.max(2));
    }
}

impl Model {
    fn new(u: &mut Unstructured<'_>) -> Result<Self> {
        let total = 1 + u64::from(u.arbitrary::<u32>()? % 1_000_000);
        let geometry = Geometry::new(32_768, total).ok_or(arbitrary::Error::IncorrectFormat)?;
        let limits = Limits {
            pieces_in_memory: usize::from(u.arbitrary::<u8>()? % 8),
            copies: 2,
            random_first: u32::from(u.arbitrary::<u8>()? % 3),
        };
        let mut have = Bitfield::empty(geometry.pieces());
        for piece in 0..geometry.pieces() {
            if u.arbitrary::<u8>()? % 8 == 0 {
                have.set(piece);
            }
        }
        let rng = Rng::new(Seed(u64::from(u.arbitrary::<u8>()?)), "picker");
        Ok(Self {
            have: have.iter().collect(),
            picker: Picker::new(geometry.clone(), have, limits, rng),
            geometry,
            limits,
            peers: BTreeMap::new(),
            verifying: BTreeSet::new(),
            begun: BTreeSet::new(),
            here: BTreeSet::new(),
            asked: BTreeSet::new(),
            suspects: BTreeSet::new(),
        })
    }

    fn step(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let who = PeerKey(u32::from(u.arbitrary::<u8>()? % PEERS));
        let piece = u32::from(u.arbitrary::<u8>()?) % self.geometry.pieces();
        match u.arbitrary::<u8>()? % 16 {
            0 if !self.peers.contains_key(&who) => {
                let mut bits = Bitfield::empty(self.geometry.pieces());
                for piece in 0..self.geometry.pieces() {
                    if u.arbitrary::<bool>()? {
                        bits.set(piece);
                    }
                }
                self.picker.peer_came(&bits);
                self.peers.insert(who, bits);
            }
            1 => self.leave(who),
            2 | 3 => {
                if let Some(bits) = self.peers.get_mut(&who)
                    && bits.set(piece)
                {
                    self.picker.peer_has(piece);
                }
            }
            4..=7 => {
                let want = usize::from(u.arbitrary::<u8>()? % 8);
                self.pick(who, u.arbitrary::<u8>()? % 8 != 0, want);
            }
            8 => self.copy(who, piece, u32::from(u.arbitrary::<u8>()? % 3)),
            9 => {
                let place = usize::from(u.arbitrary::<u8>()?);
                if let Some(&(block, who)) = self.asked.iter().nth(place % self.asked.len().max(1))
                {
                    self.release(who, block);
                }
            }
            10 => self.verdict(piece, u.arbitrary()?),
            11 => self.receive(who, (piece, u32::from(u.arbitrary::<u8>()? % 3))),
            _ => {
                let place = usize::from(u.arbitrary::<u8>()?);
                if let Some(&(block, who)) = self.asked.iter().nth(place % self.asked.len().max(1))
                {
                    self.receive(who, block);
                }
            }
        }
        Ok(())
    }

    fn leave(&mut self, who: PeerKey) {
        let Some(bits) = self.peers.remove(&who) else {
            return;
        };
        self.picker.peer_gone(who);
        let asked: Vec<Block> = self.asked_of(who);
        for block in asked {
            self.release(who, block);
        }
        self.picker.peer_left(&bits);
    }

    fn asked_of(&self, who: PeerKey) -> Vec<Block> {
        let mine = self.asked.iter().filter(|(_, other)| *other == who);
        mine.map(|(block, _)| *block).collect()
    }

    fn span(&self, (piece, block): Block) -> Span {
        self.geometry.block_span(piece, block)
    }

    fn is_asked(&self, block: Block) -> bool {
        self.asked
            .range((block, PeerKey(0))..=(block, PeerKey(u32::MAX)))
            .next()
            .is_some()
    }

    fn is_free(&self, block: Block) -> bool {
        !self.here.contains(&block) && !self.is_asked(block)
    }

    fn free_blocks(&self, piece: u32) -> usize {
        let blocks = 0..self.geometry.blocks(piece);
        blocks.filter(|block| self.is_free((piece, *block))).count()
    }

    fn is_open(&self, piece: u32) -> bool {
        !self.have.contains(&piece)
            && !self.begun.contains(&piece)
            && !self.verifying.contains(&piece)
    }

    fn holders(&self, piece: u32) -> usize {
        self.peers.values().filter(|bits| bits.get(piece)).count()
    }

    fn has_room(&self) -> bool {
        self.begun.len() + self.verifying.len() < self.limits.pieces_in_memory.max(2)
    }

    fn pick(&mut self, who: PeerKey, steady: bool, want: usize) {
        let Some(bits) = self.peers.get(&who).cloned() else {
            return;
        };
        let random = (self.have.len() as u32) < self.limits.random_first;
        let mut out = Vec::new();
        // Any of the two orders, as it comes.
        let backwards = want % 2 == 1;
        self.picker
            .pick(who, &bits, (steady, backwards), want, &mut out);
        assert!(out.len() <= want);
        for span in &out {
            let block = (span.piece, span.block());
            assert_eq!(*span, self.span(block));
            assert!(bits.get(span.piece), "asks who has not got it");
            assert!(self.is_free(block), "asks for what is here or under way");
            if self.is_open(span.piece) {
                assert!(self.has_room(), "begins more than fits in memory");
                let open = bits.iter().filter(|piece| self.is_open(*piece));
                let rarest = open.map(|piece| self.holders(piece)).min();
                let rarity = Some(self.holders(span.piece));
                assert!(random || rarity == rarest, "not the rarest");
                self.begun.insert(span.piece);
            }
            assert!(self.begun.contains(&span.piece));
            self.asked.insert((block, who));
        }
        if out.len() < want {
            self.nothing_left(&bits, steady);
        }
    }

    /// Fewer were picked than were wanted: was that all?
    fn nothing_left(&self, bits: &Bitfield, steady: bool) {
        for piece in bits.iter().filter(|piece| !self.suspects.contains(piece)) {
            if self.begun.contains(&piece) {
                assert_eq!(
                    self.free_blocks(piece),
                    0,
                    "blocks of begun piece {piece} are left"
                );
            }
            let open = self.is_open(piece) && self.has_room();
            assert!(
                !open || !steady || !self.suspects.is_empty(),
                "piece {piece} is left"
            );
        }
    }

    fn copy(&mut self, who: PeerKey, piece: u32, block: u32) {
        let Some(bits) = self.peers.get(&who).cloned() else {
            return;
        };
        let span = self.span((piece, block.min(self.geometry.blocks(piece) - 1)));
        if !self.picker.copy(who, &bits, span) {
            return;
        }
        let block = (span.piece, span.block());
        assert!(bits.get(piece) && !self.here.contains(&block));
        let open = (0..self.geometry.pieces()).any(|piece| self.is_open(piece));
        let free = self.begun.iter().any(|piece| self.free_blocks(*piece) > 0);
        assert!(!open && !free, "a copy before the endgame");
        assert!(self.is_asked(block), "a copy of what nobody was asked for");
        assert!(self.asked.insert((block, who)), "asked twice");
        let copies = self
            .asked
            .iter()
            .filter(|(other, _)| *other == block)
            .count();
        assert!(copies <= self.limits.copies);
    }

    fn release(&mut self, who: PeerKey, block: Block) {
        self.picker.release(who, self.span(block));
        self.asked.remove(&(block, who));
        let piece = block.0;
        let untouched = self.free_blocks(piece) as u32 == self.geometry.blocks(piece);
        if self.begun.contains(&piece) && untouched {
            self.begun.remove(&piece);
        }
    }

    fn receive(&mut self, who: PeerKey, (piece, block): Block) {
        let block = (piece, block.min(self.geometry.blocks(piece) - 1));
        let giver = SocketAddr::from(([10, 0, 0, who.0 as u8], 1));
        let wanted = self.begun.contains(&piece) && !self.here.contains(&block);
        match self.picker.receive(who, giver, self.span(block)) {
            Received::Unwanted => assert!(!wanted, "a block that is missing is not wanted"),
            Received::Kept {
                cancel,
                piece_complete,
            } => {
                assert!(wanted, "a block that is not missing is kept");
                self.here.insert(block);
                self.asked.remove(&(block, who));
                let others = self.asked.iter().filter(|(other, _)| *other == block);
                let others: BTreeSet<PeerKey> = others.map(|(_, who)| *who).collect();
                assert_eq!(cancel.into_iter().collect::<BTreeSet<_>>(), others);
                self.asked.retain(|(other, _)| *other != block);
                let here = self.here.range((piece, 0)..=(piece, u32::MAX)).count();
                assert_eq!(piece_complete, here as u32 == self.geometry.blocks(piece));
                if piece_complete {
                    self.begun.remove(&piece);
                    self.verifying.insert(piece);
                }
            }
        }
    }

    fn verdict(&mut self, piece: u32, good: bool) {
        let Some(&piece) = self.verifying.range(piece..).next() else {
            return;
        };
        self.verifying.remove(&piece);
        self.here.retain(|(here, _)| *here != piece);
        let givers = if good {
            self.have.insert(piece);
            self.suspects.remove(&piece);
            self.picker.piece_good(piece)
        } else {
            self.suspects.insert(piece);
            self.picker.piece_bad(piece)
        };
        assert_eq!(givers.len() as u32, self.geometry.blocks(piece));
        assert!(
            givers.iter().all(Option::is_some),
            "every block has a giver"
        );
    }
}

//! What the engine wants done, and whether it may want it.

use super::{HONEST, Wire, World};
use samara_engine::{Event, Output, PeerKey};
use samara_proto::wire::Message;
use samara_proto::{BLOCK, Bitfield, Span};

impl World {
    fn live(&mut self, peer: PeerKey, what: &str) -> &mut Wire {
        let wire = self.wires.get_mut(&peer);
        let wire = wire.unwrap_or_else(|| panic!("{what} to {peer:?}, who is not here"));
        assert!(!wire.closed, "{what} to {peer:?}, who was hung up on");
        wire
    }

    pub(super) fn perform(&mut self, output: Output) {
        match output {
            Output::Dial(addr) => {
                self.dialling.push(addr);
                assert!(self.dialling.len() <= self.config.dials_max);
            }
            Output::Hangup { peer, .. } => self.live(peer, "goodbye").closed = true,
            Output::Send { peer, message } => self.sent(peer, &message),
            Output::Serve { peer, span } => {
                assert!(self.have.get(span.piece) && self.geometry.contains(span));
                let wire = self.live(peer, "a block");
                let at = wire.wants.iter().position(|wanted| *wanted == span);
                wire.wants
                    .swap_remove(at.expect("serves what was asked for"));
                wire.serving += u64::from(span.length);
            }
            Output::ServeHeld { peer, span } => {
                let held = self.held.get(&span.piece);
                assert!(held.is_some_and(|held| held.contains(&span.block())));
                let wire = self.live(peer, "a block that is held");
                let at = wire.wants.iter().position(|wanted| *wanted == span);
                wire.wants
                    .swap_remove(at.expect("serves what was asked for"));
                wire.serving += u64::from(span.length);
            }
            Output::CheckPart {
                piece, from, to, ..
            } => {
                let held = self.held.get(&piece).expect("something is held");
                let mut blocks = from / BLOCK..to.div_ceil(BLOCK);
                assert!(from < to && blocks.all(|block| held.contains(&block)));
                self.parts.push((piece, from, to));
            }
            Output::Chain { piece, step } => {
                assert!(self.have.get(piece) && step < self.geometry.data_len(piece));
                self.chains.push((piece, step));
            }
            Output::Keep { span } => self.keep(span),
            Output::Verify { piece, .. } => {
                let blocks = self.held.remove(&piece).expect("something is held");
                assert_eq!(blocks.len() as u32, self.geometry.blocks(piece));
                assert!(self.verifying.insert(piece));
            }
            Output::Forget { piece } => {
                self.held.remove(&piece);
                self.tainted.retain(|(tainted, _)| *tainted != piece);
            }
            Output::Record { piece } => assert!(self.have.get(piece)),
            Output::CheckFiles => {
                assert!(self.have.is_full() && !self.checking);
                self.checking = true;
            }
            Output::Announce(announce) => self.announces.push(announce.tracker),
            Output::Event(Event::DiskFailed(_) | Event::Contradiction(_)) => self.failed = true,
            Output::Event(_) => {}
            Output::Stopped => self.stopped = true,
        }
    }

    fn keep(&mut self, span: Span) {
        let (giver, given) = self.block.expect("keeps when there is a block");
        assert_eq!(given, span);
        assert_eq!(span, self.geometry.block_span(span.piece, span.block()));
        assert!(!self.have.get(span.piece), "keeps what is here");
        let held = self.held.entry(span.piece).or_default();
        assert!(held.insert(span.block()), "a block twice");
        if giver.0 < HONEST {
            self.tainted.insert((span.piece, span.block()));
        }
    }

    fn sent(&mut self, peer: PeerKey, message: &Message) {
        let (have, geometry) = (self.have.clone(), self.geometry.clone());
        let (most, withdrew) = (self.config.pipeline_max, self.withdrew);
        let wire = self.live(peer, "a message");
        match *message {
            Message::Request(span) => {
                assert_eq!(span, geometry.block_span(span.piece, span.block()));
                assert!(
                    span.length > 0 && !have.get(span.piece),
                    "asks for what is here"
                );
                let may = wire.claims.contains(&span.piece) || wire.allowed.contains(&span.piece);
                assert!(may, "asks for a piece that was not announced");
                assert!(!wire.asked.contains(&span), "asks twice");
                wire.asked.push(span);
                assert!(wire.asked.len() <= most, "a longer queue than is allowed");
                let live = self.wires.values().filter(|wire| !wire.closed);
                let out = live.filter(|wire| wire.asked.contains(&span)).count();
                assert!(
                    out <= self.config.endgame_copies.max(1) as usize,
                    "too many copies"
                );
            }
            Message::Cancel(span) => wire.asked.retain(|asked| *asked != span),
            Message::Have(piece) => assert!(have.get(piece)),
            Message::Bitfield(ref bits) => {
                let bits = Bitfield::from_wire(bits, geometry.pieces()).expect("fits");
                assert!(bits.iter().all(|piece| have.get(piece)));
            }
            Message::HaveAll => assert!(have.is_full() && wire.fast),
            Message::HaveNone => assert!(wire.fast),
            Message::Reject(span) => {
                assert!(wire.fast);
                let at = wire.wants.iter().position(|wanted| *wanted == span);
                assert!(at.is_some() || withdrew, "rejects what was not asked for");
                if let Some(at) = at {
                    wire.wants.swap_remove(at);
                }
            }
            // Without the Fast extension a choke voids what waits.
            Message::Choke if !wire.fast => wire.wants.clear(),
            _ => {}
        }
    }
}

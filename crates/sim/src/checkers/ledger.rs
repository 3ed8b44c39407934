//! What both ends of every connection have said and heard: the state that the protocol's rules are
//! about, kept by one who sees both sides.

use super::{Seen, Stage};
use crate::net::FlowId;
use samara_proto::wire::{Message, PARTS_ID, PartsMessage};
use samara_proto::{Bitfield, Span};
use std::collections::VecDeque;

/// One direction of a connection: what its speaker said, and what of it was heard.
#[derive(Clone, Debug)]
pub struct Line {
    /// Who speaks.
    pub speaker: u32,
    /// Whether the speaker's end is up.
    pub up: bool,
    /// The speaker has said something that has to come first, or anything after it.
    pub opened: bool,
    /// The speaker has said that it chokes.
    pub choking: bool,
    /// The listener has heard that it is choked.
    pub choked: bool,
    /// The speaker has said that it is interested.
    pub interested: bool,
    /// The listener has heard so.
    pub interest_heard: bool,
    /// Pieces that the listener has heard of.
    pub have: Bitfield,
    /// Pieces that the listener may ask for while it is choked (BEP 6).
    pub fast: Vec<u32>,
    /// Requests of the speaker without an answer, as it knows; true: it has cancelled.
    pub asked: VecDeque<(Span, bool)>,
    /// Requests heard by the listener that it has to answer; true: it has heard the cancel.
    pub due: VecDeque<(Span, bool)>,
}

/// Protocol state of all connections. Memory: about 300 bytes and a bitfield a connection's end.
#[derive(Debug)]
pub struct Ledger {
    lines: Vec<Line>,
    pieces: u32,
}

impl Ledger {
    /// An empty one.
    #[must_use]
    pub fn new(stage: &Stage) -> Self {
        Self {
            lines: Vec::new(),
            pieces: stage.geometry.pieces(),
        }
    }

    /// The state of one direction, if it was ever opened.
    #[must_use]
    pub fn line(&self, flow: FlowId) -> Option<&Line> {
        self.lines.get(flow.0 as usize)
    }

    /// Takes note of what happened.
    pub fn note(&mut self, seen: &Seen<'_>) {
        match *seen {
            Seen::Up { flow, host, other } => self.open(flow, host, other),
            Seen::Down { flow } => {
                if let Some(line) = self.lines.get_mut(flow.0 as usize) {
                    line.up = false;
                    line.asked = VecDeque::new();
                }
                // The other end may not know yet: what it has heard stays until it does.
                if let Some(line) = self.lines.get_mut(flow.back().0 as usize) {
                    line.due = VecDeque::new();
                    line.have = Bitfield::empty(0);
                }
            }
            Seen::Said { flow, message } => self.said(flow, message),
            Seen::Heard { flow, message } => self.heard(flow, message),
            Seen::Served { flow, span } => {
                if let Some(line) = self.lines.get_mut(flow.back().0 as usize) {
                    settle(&mut line.due, span);
                }
            }
            Seen::Got { flow, span } => {
                if let Some(line) = self.lines.get_mut(flow.back().0 as usize) {
                    settle(&mut line.asked, span);
                }
            }
            _ => {}
        }
    }

    fn open(&mut self, flow: FlowId, host: u32, other: u32) {
        let wanted = (flow.0 | 1) as usize + 1;
        while self.lines.len() < wanted {
            self.lines.push(Line {
                speaker: u32::MAX,
                up: false,
                opened: false,
                choking: true,
                choked: true,
                interested: false,
                interest_heard: false,
                have: Bitfield::empty(self.pieces),
                fast: Vec::new(),
                asked: VecDeque::new(),
                due: VecDeque::new(),
            });
        }
        let line = &mut self.lines[flow.0 as usize];
        line.speaker = host;
        line.up = true;
        self.lines[flow.back().0 as usize].speaker = other;
    }

    fn said(&mut self, flow: FlowId, message: &Message) {
        let Some(line) = self.lines.get_mut(flow.0 as usize) else {
            return;
        };
        if !matches!(message, Message::Extended { .. } | Message::KeepAlive) {
            line.opened = true;
        }
        match message {
            Message::Choke => line.choking = true,
            Message::Unchoke => line.choking = false,
            Message::Interested => line.interested = true,
            Message::NotInterested => line.interested = false,
            Message::Request(span) => line.asked.push_back((*span, false)),
            Message::Cancel(span) => mark(&mut line.asked, *span),
            Message::Reject(span) => {
                if let Some(line) = self.lines.get_mut(flow.back().0 as usize) {
                    settle(&mut line.due, *span);
                }
            }
            _ => {}
        }
    }

    fn heard(&mut self, flow: FlowId, message: &Message) {
        let pieces = self.pieces;
        let Some(line) = self.lines.get_mut(flow.0 as usize) else {
            return;
        };
        match message {
            Message::Choke => line.choked = true,
            Message::Unchoke => line.choked = false,
            Message::Interested => line.interest_heard = true,
            Message::NotInterested => line.interest_heard = false,
            Message::Have(piece) => {
                line.have.set(*piece);
            }
            Message::Bitfield(bits) => {
                line.have = Bitfield::from_wire(bits, pieces).unwrap_or(Bitfield::empty(pieces));
            }
            Message::Extended {
                id: PARTS_ID,
                payload,
            } => match PartsMessage::decode(payload) {
                Some(PartsMessage::Coming { piece }) => {
                    line.have.set(piece);
                }
                Some(PartsMessage::Gone { piece }) => {
                    line.have.clear(piece);
                }
                _ => {}
            },
            Message::HaveAll => line.have = Bitfield::full(pieces),
            Message::AllowedFast(piece) => line.fast.push(*piece),
            Message::Request(span) => line.due.push_back((*span, false)),
            Message::Cancel(span) => mark(&mut line.due, *span),
            Message::Reject(span) => {
                if let Some(line) = self.lines.get_mut(flow.back().0 as usize) {
                    settle(&mut line.asked, *span);
                }
            }
            _ => {}
        }
    }
}

/// Marks a request as cancelled.
fn mark(list: &mut VecDeque<(Span, bool)>, span: Span) {
    if let Some(entry) = list.iter_mut().find(|entry| entry.0 == span && !entry.1) {
        entry.1 = true;
    }
}

/// Takes a request off the list: the one that was not cancelled, if there are two.
fn settle(list: &mut VecDeque<(Span, bool)>, span: Span) {
    let live = list.iter().position(|entry| *entry == (span, false));
    if let Some(at) = live.or_else(|| list.iter().position(|entry| entry.0 == span)) {
        list.remove(at);
    }
}

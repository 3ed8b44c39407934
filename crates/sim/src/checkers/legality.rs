//! Every message of an honest host against the rules of BEP 3 and BEP 6.

use super::{Cast, Checker, Complaints, Ledger, Line, Seen, Stage, Sums, begins_with};
use crate::net::FlowId;
use samara_engine::{Instant, Output};
use samara_proto::wire::{Message, PARTS_ID, PartsMessage};
use samara_proto::{BLOCK, Bitfield, Geometry, Span};
use std::collections::BTreeMap;

/// Requests that may wait at one peer, whatever it says: the largest `reqq` in use.
const WAITING_MAX: usize = 2_000;

/// Whether honest hosts say only what they may.
#[derive(Debug)]
pub struct Legality {
    geometry: Geometry,
    hosts: Vec<Cast>,
    /// What each host has verified.
    have: Vec<Bitfield>,
    /// From where on pieces are verified that are not whole, by host.
    parts: BTreeMap<(u32, u32), u32>,
    wrong: Complaints,
}

impl Legality {
    /// For a world that is about to start.
    #[must_use]
    pub fn new(stage: &Stage) -> Self {
        let pieces = stage.geometry.pieces();
        let have = stage.hosts.iter().zip(&stage.lacks);
        let have = have.map(|(host, lacks)| begins_with(host.seed, *lacks, pieces));
        Self {
            geometry: stage.geometry.clone(),
            have: have.collect(),
            hosts: stage.hosts.clone(),
            parts: BTreeMap::new(),
            wrong: Complaints::default(),
        }
    }

    fn said(&mut self, now: Instant, flow: FlowId, message: &Message, ledger: &Ledger) {
        let (Some(line), Some(back)) = (ledger.line(flow), ledger.line(flow.back())) else {
            return;
        };
        let host = line.speaker;
        if !self.hosts[host as usize].honest {
            return;
        }
        let broken = match message {
            Message::Bitfield(_) | Message::HaveAll | Message::HaveNone if line.opened => {
                Some("what it has, after other messages".into())
            }
            Message::Bitfield(bits) => self.overstates(host, bits),
            Message::HaveAll if !self.have[host as usize].is_full() => {
                Some("that it has everything, which it has not".into())
            }
            // A seed may show its pieces one by one (BEP 16); a leech has no reason to.
            Message::HaveNone
                if !matches!(self.have[host as usize].count(), 0)
                    && !self.have[host as usize].is_full() =>
            {
                Some("that it has nothing, though it has something".into())
            }
            Message::Have(piece) if !self.have[host as usize].get(*piece) => Some(format!(
                "that it has piece {piece}, which it has not verified"
            )),
            Message::Extended {
                id: PARTS_ID,
                payload,
            } => match PartsMessage::decode(payload) {
                Some(PartsMessage::Coming { piece })
                    if !self.parts.contains_key(&(host, piece)) =>
                {
                    Some(format!(
                        "that piece {piece} is coming, of which it has verified nothing"
                    ))
                }
                Some(_) => None,
                None => Some("something of parts that is no message".into()),
            },
            Message::Request(span) => self.bad_request(host, *span, line, back),
            Message::Reject(span) if !back.due.iter().any(|due| due.0 == *span) => Some(format!(
                "no to {span:?}, which is not waiting for an answer"
            )),
            Message::Cancel(span) if !line.asked.contains(&(*span, false)) => {
                Some(format!("cancel to {span:?}, which it had not asked for"))
            }
            _ => None,
        };
        if let Some(what) = broken {
            self.wrong.say(now, || {
                format!("host {host} says to {} {what}", back.speaker)
            });
        }
    }

    fn overstates(&self, host: u32, bits: &[u8]) -> Option<String> {
        let have = &self.have[host as usize];
        let Some(said) = Bitfield::from_wire(bits, have.len()) else {
            return Some("a bitfield of the wrong form".into());
        };
        let lie = said.iter().find(|piece| !have.get(*piece));
        lie.map(|piece| format!("in its bitfield that it has piece {piece}"))
    }

    /// What is wrong with asking for `span`, if anything.
    fn bad_request(&self, host: u32, span: Span, line: &Line, back: &Line) -> Option<String> {
        let fault = if !self.geometry.contains(span) || span.length > BLOCK {
            "is no block of the torrent"
        } else if back.choked && !back.fast.contains(&span.piece) {
            "comes while it is choked"
        } else if !back.have.get(span.piece) {
            "is of a piece that the other never announced"
        } else if self.have[host as usize].get(span.piece) {
            "is of a piece that it has"
        } else if line.asked.contains(&(span, false)) {
            "is asked for already"
        } else if !line.interested {
            "comes without interest"
        } else if line.asked.len() > WAITING_MAX {
            "is one too many"
        } else {
            return None;
        };
        Some(format!("a request: {span:?} {fault}"))
    }

    fn has(&self, host: u32, span: Span) -> bool {
        let part = self.parts.get(&(host, span.piece));
        self.have[host as usize].get(span.piece) || part.is_some_and(|from| *from <= span.offset)
    }

    fn served(&mut self, now: Instant, flow: FlowId, span: Span, ledger: &Ledger) {
        let (Some(line), Some(back)) = (ledger.line(flow), ledger.line(flow.back())) else {
            return;
        };
        let host = line.speaker;
        if !self.hosts[host as usize].honest {
            return;
        }
        let fault = match back.due.iter().find(|due| due.0 == span) {
            None => "which nobody waits for",
            _ if !self.has(host, span) => "which it has not verified",
            Some(_) => return,
        };
        let to = back.speaker;
        self.wrong
            .say(now, || format!("host {host} sends {to} {span:?}, {fault}"));
    }
}

impl Checker for Legality {
    fn name(&self) -> &'static str {
        "legality"
    }

    fn see(&mut self, now: Instant, seen: &Seen<'_>, ledger: Option<&Ledger>) {
        let Some(ledger) = ledger else {
            return;
        };
        match *seen {
            Seen::Said { flow, message } => self.said(now, flow, message, ledger),
            Seen::Served { flow, span } => self.served(now, flow, span, ledger),
            Seen::Part { host, piece, from } => {
                self.parts.insert((host, piece), from);
            }
            // The set comes first in the guard: it takes note in any case.
            Seen::Verified { host, piece } if !self.have[host as usize].set(piece) => {
                let text = format!("host {host} verified piece {piece} twice");
                self.wrong.say(now, || text);
            }
            Seen::Wished {
                host,
                output: Output::Record { piece },
            } if !self.have[host as usize].get(*piece) => {
                self.wrong.say(now, || {
                    format!("host {host} records piece {piece} unverified")
                });
            }
            _ => {}
        }
    }

    fn verdict(&mut self, _sums: &Sums) -> Vec<String> {
        self.wrong.take()
    }
}

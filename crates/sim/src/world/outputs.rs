//! Performing what engines want, bent where the host is a bad citizen.

use super::{Event, World};
use crate::checkers::Seen;
use crate::host::Life;
use crate::net::FlowId;
use crate::scenario::Citizen;
use crate::tracker::Ask;
use core::ops::Range;
use samara_engine::{Announce, Event as Told, Input, Output, PeerKey};
use samara_proto::wire::Message;
use samara_proto::{BLOCK, Sha1, Span};

impl World {
    pub(super) fn perform(&mut self, host: u32, output: Output) {
        match output {
            Output::Dial(addr) => self.dial(host, addr),
            Output::Hangup { peer, .. } => {
                if let Some(flow) = self.flow(host, peer, "hangs up on") {
                    self.hang_up(flow);
                }
            }
            Output::Send { peer, message } => {
                let Some(flow) = self.flow(host, peer, "speaks to") else {
                    return;
                };
                let citizen = self.hosts[host as usize].spec.citizen;
                if citizen != Citizen::FreeRider || message != Message::Unchoke {
                    self.say(flow, message);
                }
            }
            Output::Serve { peer, span } => {
                if let Some(flow) = self.flow(host, peer, "serves") {
                    self.serve_as(host, flow, span, 0);
                }
            }
            Output::ServeHeld { peer, span } => {
                let held = self.hosts[host as usize].disk.flaw(span);
                let Some(flaw) = held else {
                    self.complain(|| {
                        format!("host {host} serves {span:?}, which it does not hold")
                    });
                    return;
                };
                if let Some(flow) = self.flow(host, peer, "serves") {
                    self.serve_as(host, flow, span, flaw);
                }
            }
            Output::CheckPart {
                piece, from, to, ..
            } => self.check_part(host, piece, from..to),
            Output::Chain { piece, step } => {
                // What the values are does not matter: blocks have flaws here, not bytes.
                let length = self.info.geometry.data_len(piece);
                let values = vec![Sha1::default(); length.div_ceil(step) as usize - 1];
                let life = self.hosts[host as usize].starts;
                self.pend(host, life, Input::Chained { piece, values });
            }
            Output::Keep { span } => self.keep(host, span),
            Output::Verify { piece, digests } => {
                let (now, geometry) = (self.now, &self.info.geometry);
                let at = &mut self.hosts[host as usize];
                match at.disk.verify(now, piece, digests, geometry) {
                    Some(done) => self.queue.push(done, Event::Piece(host, at.starts)),
                    None => self.complain(|| {
                        format!("host {host} verifies piece {piece}, of which blocks are missing")
                    }),
                }
            }
            Output::Forget { piece } => {
                let at = &mut self.hosts[host as usize];
                at.disk.forget(piece, &self.info.geometry);
            }
            Output::Record { piece } => {
                self.hosts[host as usize].journal.set(piece);
            }
            Output::CheckFiles => {
                let at = &self.hosts[host as usize];
                let takes = at.disk.reading(self.scenario.total);
                self.queue
                    .push(self.now + takes, Event::Files(host, at.starts));
            }
            Output::Announce(announce) => self.announce(host, announce),
            Output::Event(event) => self.told(host, event),
            Output::Stopped => self.gone(host, Life::Left),
        }
    }

    /// The flow to a peer; a host that does not know that the peer is gone breaks the contract.
    fn flow(&mut self, host: u32, peer: PeerKey, does: &str) -> Option<FlowId> {
        // The other may have hung up: this host keeps the flow until it knows.
        let flow = self.hosts[host as usize].flow(peer);
        debug_assert!(flow.is_none_or(|flow| self.ends[flow.0 as usize].key == Some(peer)));
        if flow.is_none() {
            self.complain(|| format!("host {host} {does} {peer:?}, which is gone"));
        }
        flow
    }

    /// `held`: the flaw that the block itself has.
    fn serve_as(&mut self, host: u32, flow: FlowId, span: Span, held: u64) {
        let at = &mut self.hosts[host as usize];
        at.blocks_sent = at.blocks_sent.wrapping_add(1);
        match at.spec.citizen {
            Citizen::Honest | Citizen::Flapper(_) => self.serve(flow, span, held),
            Citizen::Corruptor(every) => {
                let wrong = at.blocks_sent.is_multiple_of(every.max(1));
                let flaw = u64::from(host + 1) << 32 | u64::from(at.blocks_sent);
                self.serve(flow, span, if wrong { flaw } else { held });
            }
            Citizen::Liar | Citizen::FreeRider => {}
            Citizen::SlowLoris(wait) => {
                at.held_back.push_back((flow, span));
                self.queue
                    .push(self.now + wait, Event::Bend(host, at.starts));
            }
        }
    }

    /// A flapper hangs up on everybody, a slow loris sends one block.
    pub(super) fn bend(&mut self, host: u32, life: u32) {
        let at = &mut self.hosts[host as usize];
        if at.life != Life::Here || at.starts != life {
            return;
        }
        match at.spec.citizen {
            Citizen::Flapper(period) => {
                let open: Vec<FlowId> = at.peers.iter().copied().flatten().collect();
                self.queue.push(self.now + period, Event::Bend(host, life));
                for flow in open {
                    self.reset(flow);
                }
            }
            Citizen::SlowLoris(_) => {
                if let Some((flow, span)) = at.held_back.pop_front()
                    && self.ends[flow.0 as usize].key.is_some()
                {
                    self.serve(flow, span, 0);
                }
            }
            _ => {}
        }
    }

    fn check_part(&mut self, host: u32, piece: u32, part: Range<u32>) {
        let geometry = &self.info.geometry;
        let blocks = part.start / BLOCK..part.end.div_ceil(BLOCK);
        let at = &self.hosts[host as usize];
        let flaws: Option<Vec<u64>> = blocks
            .map(|block| at.disk.flaw(geometry.block_span(piece, block)))
            .collect();
        let Some(flaws) = flaws else {
            self.complain(|| {
                format!("host {host} checks {part:?} of piece {piece} without its blocks")
            });
            return;
        };
        let (life, from) = (at.starts, part.start);
        let good = flaws.iter().all(|flaw| *flaw == 0);
        if good {
            self.see(&Seen::Part { host, piece, from });
        }
        self.pend(host, life, Input::PartDone { piece, from, good });
    }

    fn keep(&mut self, host: u32, span: Span) {
        let flaw = match self.in_hand {
            Some((given, flaw)) if given == span => flaw,
            _ => {
                self.complain(|| format!("host {host} keeps {span:?}, which is not in hand"));
                return;
            }
        };
        let at = &mut self.hosts[host as usize];
        if !at.disk.keep(span, flaw, &self.info.geometry) {
            self.complain(|| format!("host {host} keeps {span:?} twice, or it is no block"));
        }
    }

    fn announce(&mut self, host: u32, announce: Announce) {
        let at = &self.hosts[host as usize];
        let way = self.tracker.delay(at.spec.link.delay);
        let number = self.tracker.post(Ask {
            host,
            life: at.starts,
            addr: at.addr,
            peer_id: at.peer_id,
            announce,
            answer: None,
        });
        self.queue.push(self.now + way, Event::Ask(number));
    }

    fn told(&mut self, host: u32, event: Told) {
        let at = &mut self.hosts[host as usize];
        let counts = !at.spec.seed && at.spec.citizen != Citizen::Liar;
        match event {
            Told::Complete if at.finished.is_none() => {
                at.finished = Some(self.now);
                at.checked = true;
                if counts {
                    self.open -= usize::from(at.gave_up.is_none());
                    self.see(&Seen::Finished { host });
                }
            }
            Told::DiskFailed(text) | Told::Contradiction(text) if at.gave_up.is_none() => {
                at.gave_up = Some(text);
                if counts {
                    self.open -= usize::from(at.finished.is_none());
                    self.see(&Seen::GaveUp { host });
                }
            }
            Told::PeerBanned { addr, .. } => at.banned.push(addr),
            _ => {}
        }
    }

    /// A process is told to stop politely. Only for tests and faults.
    pub(super) fn stop(&mut self, host: u32) {
        let life = self.hosts[host as usize].starts;
        self.pend(host, life, Input::Stop);
    }
}

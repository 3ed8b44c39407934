//! Dialling, connections and what passes over them.

use super::cargo::{Cargo, Content};
use super::{Event, World};
use crate::checkers::Seen;
use crate::host::{Life, address, host_at, source_of};
use crate::net::FlowId;
use core::net::SocketAddr;
use samara_engine::{Duration, Input, PeerKey};
use samara_proto::Span;
use samara_proto::wire::{Message, Reserved};

/// A dial that nobody answers is given up after this long.
const DIAL_TIME_OUT: Duration = Duration::from_secs(10);

/// One end of a connection: the one that speaks on the flow of the same number.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) host: u32,
    /// In which of its lives.
    pub(super) life: u32,
    /// Known to the host under this key; `None` before it is up.
    pub(super) key: Option<PeerKey>,
    /// The host has hung up, or has heard that the other has.
    pub(super) gone: bool,
}

impl World {
    /// A connection costs a round trip for TCP and one for the handshakes; the one that is dialled
    /// has the other's handshake half a round trip earlier.
    pub(super) fn dial(&mut self, host: u32, addr: SocketAddr) {
        let life = self.hosts[host as usize].starts;
        let Some(to) = host_at(addr).filter(|to| (*to as usize) < self.hosts.len()) else {
            let text = format!("host {host} dials {addr}, where nobody can be");
            self.complain(|| text);
            self.pend(host, life, Input::DialFailed { addr });
            return;
        };
        let way = self.net.delay(host, to);
        let target = &self.hosts[to as usize];
        let refused = Event::Refused(host, life, to);
        if target.spec.natted || !self.net.reachable(host, to) {
            self.queue.push(self.now + DIAL_TIME_OUT, refused);
        } else if target.life != Life::Here || to == host {
            self.queue.push(self.now + way.times(2), refused);
        } else {
            let flow = self.net.open(host, to);
            let ends = [(host, life), (to, target.starts)];
            self.ends.extend(ends.map(|(host, life)| End {
                host,
                life,
                key: None,
                gone: false,
            }));
            self.queue
                .push(self.now + way.times(3), Event::Up(flow.back()));
            self.queue.push(self.now + way.times(4), Event::Up(flow));
        }
    }

    pub(super) fn up(&mut self, flow: FlowId) {
        let End {
            host, life, gone, ..
        } = self.ends[flow.0 as usize];
        let other = self.ends[flow.back().0 as usize];
        // The one that dialled has the even flow.
        let outgoing = flow.0 & 1 == 0;
        if !self.lives(host, life) {
            self.ends[flow.0 as usize].gone = true;
            self.net.close(flow);
            if !other.gone && other.key.is_some() {
                let way = self.net.delay(host, other.host);
                self.queue.push(self.now + way, Event::Down(flow.back()));
            }
            return;
        }
        if outgoing && (gone || other.key.is_none()) {
            self.ends[flow.0 as usize].gone = true;
            let addr = address(other.host);
            self.pend(host, life, Input::DialFailed { addr });
            return;
        }
        let addr = match outgoing {
            true => address(other.host),
            false => source_of(other.host, flow.connection()),
        };
        let key = self.hosts[host as usize].key_for(flow);
        self.ends[flow.0 as usize].key = Some(key);
        self.see(&Seen::Up {
            flow,
            host,
            other: other.host,
        });
        let input = Input::PeerUp {
            peer: key,
            addr,
            outgoing,
            peer_id: self.hosts[other.host as usize].peer_id,
            reserved: Reserved::ours(false),
        };
        self.pend(host, life, input);
    }

    /// The speaker of `flow` closes the connection: it is gone for it at once, and for the other when
    /// the word has reached it.
    pub(super) fn hang_up(&mut self, flow: FlowId) {
        let end = &mut self.ends[flow.0 as usize];
        if end.gone {
            return;
        }
        end.gone = true;
        let (host, other) = (end.host, self.ends[flow.back().0 as usize].host);
        self.net.close(flow);
        self.queue.push(self.now, Event::Down(flow));
        let way = self.net.delay(host, other);
        self.queue.push(self.now + way, Event::Down(flow.back()));
    }

    /// The speaker of `flow` learns that the connection is gone.
    pub(super) fn down(&mut self, flow: FlowId) {
        let end = &mut self.ends[flow.0 as usize];
        end.gone = true;
        let Some(key) = end.key.take() else {
            return;
        };
        let (host, life) = (end.host, end.life);
        self.net.close(flow);
        self.see(&Seen::Down { flow });
        let at = &mut self.hosts[host as usize];
        if at.starts == life
            && let Some(place) = at.peers.get_mut(key.0 as usize)
        {
            *place = None;
            self.pend(host, life, Input::PeerDown { peer: key });
        }
    }

    /// The connection breaks in the middle: both ends learn it at once.
    pub(super) fn reset(&mut self, flow: FlowId) {
        for end in [flow, flow.back()] {
            if self.ends[end.0 as usize].key.is_some() {
                self.ends[end.0 as usize].gone = true;
                self.queue.push(self.now, Event::Down(end));
            }
        }
        self.net.close(flow);
        self.net.close(flow.back());
    }

    /// Hands a message to the network.
    pub(super) fn say(&mut self, flow: FlowId, message: Message) {
        self.see(&Seen::Said {
            flow,
            message: &message,
        });
        let wire = wire_len(&message);
        self.transmit(flow, Cargo::message(message), wire, 0);
    }

    /// Hands a block to the network.
    pub(super) fn serve(&mut self, flow: FlowId, span: Span, flaw: u64) {
        self.see(&Seen::Served { flow, span });
        let host = self.ends[flow.0 as usize].host;
        let at = &mut self.hosts[host as usize];
        at.sent += u64::from(span.length);
        if at.spec.seed {
            self.count_seeding(span);
        }
        self.transmit(
            flow,
            Cargo::block(span, flaw),
            span.length + 13,
            span.length,
        );
    }

    fn transmit(&mut self, flow: FlowId, cargo: Cargo, wire: u32, payload: u32) {
        let (mut later, mut facts) = (super::take(&mut self.later), super::take(&mut self.facts));
        let now = self.now;
        self.net
            .send(now, flow, cargo, wire, payload, &mut later, &mut facts);
        self.network(later, facts);
    }

    /// The transport took payload of the one that speaks on `flow`.
    pub(super) fn taken(&mut self, flow: FlowId, bytes: u64) {
        let end = self.ends[flow.0 as usize];
        if let Some(peer) = end
            .key
            .filter(|_| !end.gone && self.lives(end.host, end.life))
        {
            self.tell(end.host, Input::Served { peer, bytes });
        }
    }

    /// Something reaches the one that listens to `flow`.
    pub(super) fn arrived(&mut self, flow: FlowId, cargo: Cargo) {
        let end = self.ends[flow.back().0 as usize];
        let hears = !end.gone && self.lives(end.host, end.life);
        let peer = end.key.filter(|_| hears);
        match (cargo.unpack(), peer) {
            (Content::Message(message), Some(peer)) => {
                self.see(&Seen::Heard {
                    flow,
                    message: &message,
                });
                self.tell(end.host, Input::Message { peer, message });
            }
            (Content::Message(_), None) => {}
            (Content::Block(span, flaw), peer) => {
                self.see(&Seen::Got { flow, span });
                if let Some(peer) = peer {
                    self.in_hand = Some((span, flaw));
                    self.tell(end.host, Input::Block { peer, span });
                    self.in_hand = None;
                }
            }
        }
    }
}

/// Bytes of a message in the stream, its length prefix included.
fn wire_len(message: &Message) -> u32 {
    match message {
        Message::KeepAlive => 4,
        Message::Choke
        | Message::Unchoke
        | Message::Interested
        | Message::NotInterested
        | Message::HaveAll
        | Message::HaveNone => 5,
        Message::Have(_) | Message::Suggest(_) | Message::AllowedFast(_) => 9,
        Message::Request(_) | Message::Cancel(_) | Message::Reject(_) => 17,
        Message::Port(_) => 7,
        Message::Bitfield(bits) => 5 + bits.len() as u32,
        Message::Extended { payload, .. } => 6 + payload.len() as u32,
        Message::HashRequest(_) | Message::HashReject(_) => 53,
        Message::Hashes { hashes, .. } => 53 + hashes.len() as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::{Bytes, BytesMut};

    #[test]
    fn lengths_are_those_of_the_encoder() {
        let span = Span {
            piece: 1,
            offset: 2,
            length: 3,
        };
        for message in [
            Message::KeepAlive,
            Message::Choke,
            Message::HaveAll,
            Message::Have(1),
            Message::Request(span),
            Message::Reject(span),
            Message::Port(1),
            Message::Bitfield(Bytes::from_static(&[0; 7])),
            Message::Extended {
                id: 1,
                payload: Bytes::from_static(&[0; 9]),
            },
        ] {
            let mut out = BytesMut::new();
            message.encode(&mut out);
            assert_eq!(wire_len(&message) as usize, out.len(), "{message:?}");
        }
    }
}

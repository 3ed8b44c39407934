//! A network of hosts whose access links are the only narrow places.
//!
//! The core is wide: two hosts are limited by the uplink of one and the downlink of the other, as in
//! Bharambe et al. 2006 and in the fluid bound of Kumar and Ross 2006. A connection is two flows; a
//! flow carries parcels (a message or a block) in order. The model works on whole blocks:
//!
//! - An *uplink* is a server that sends one turn at a time: deficit round robin with a quantum of one
//!   block over the flows that have something to send. That shares the uplink equally and keeps it
//!   busy while any flow can use it, and costs O(1) a block: no rates are ever solved for.
//! - A *downlink* receives while the sender sends. It delays a parcel only if it has more to take than
//!   it can: then parcels queue in the order of their arrival.
//! - A flow has at most a *window* of bytes that were sent and not acknowledged. It opens as TCP's does
//!   (10 segments at first, RFC 6928, then by what is acknowledged), so that a sender whose receiver
//!   is full turns to others. With both rules the shares come near max-min fairness.
//! - A flow has a *send buffer*: what fits is with the transport ([`NetFact::Taken`]), the rest waits.
//! - Loss costs time and window, as it does with TCP, and never data.

mod flow;

use flow::{Flow, Parcel};
use samara_engine::rng::Rng;
use samara_engine::{Duration, Instant};
use std::collections::VecDeque;

/// Wire bytes of one turn in the round robin: a block and the 13 bytes before it.
const QUANTUM: i64 = 16 * 1024 + 13;

/// Messages without payload are sent in one go up to this many bytes, so that an announcement to 60
/// peers is one event of the uplink rather than 60.
const BATCH: u64 = 1500;

/// First window in bytes: ten segments (RFC 6928).
const FIRST_WINDOW: u64 = 14_480;

/// Smallest window after losses, bytes: two segments.
const LEAST_WINDOW: u64 = 2_896;

/// Place of a host's link in the network.
pub type LinkId = u32;

/// One direction of a connection. Connection `c` has flows `2c` (from the one that dialled) and
/// `2c + 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowId(pub u32);

impl FlowId {
    /// The opposite direction.
    #[must_use]
    pub fn back(self) -> Self {
        Self(self.0 ^ 1)
    }

    /// The connection it belongs to.
    #[must_use]
    pub fn connection(self) -> u32 {
        self.0 >> 1
    }
}

/// How a host is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkSpec {
    /// Bytes a second out.
    pub up: u64,
    /// Bytes a second in.
    pub down: u64,
    /// From the host to the core, one way; two hosts are apart by the sum of theirs.
    pub delay: Duration,
}

/// What all connections have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetSpec {
    /// Bytes of packet headers for a thousand bytes of stream. Ethernet, IP and TCP with timestamps: 66
    /// bytes for a segment of 1448, so 46. Zero in the models of the literature.
    pub header_permille: u64,
    /// Bytes that a socket takes before they are sent.
    pub send_buffer: u64,
    /// Largest window of a flow, bytes.
    pub window: u64,
    /// Turns lost in a million.
    pub loss_per_million: u32,
    /// A message does not wait for the blocks of other connections, as in the models of the literature,
    /// where asking costs nothing, and behind a queue that is fair to packets (`fq_codel`). Otherwise it
    /// waits for its connection's turn, a block a connection, which is about what a first-in first-out
    /// queue does.
    pub messages_first: bool,
}

impl Default for NetSpec {
    fn default() -> Self {
        Self {
            header_permille: 46,
            send_buffer: 128 << 10,
            window: 1 << 20,
            loss_per_million: 0,
            messages_first: false,
        }
    }
}

/// Something the network wants to be told when its time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetEvent {
    /// The uplink has sent its turn.
    Free(LinkId),
    /// The last byte of a turn reaches the receiver's downlink.
    Arrive(FlowId, u16),
    /// The downlink has taken a turn.
    Deliver(FlowId, u16),
    /// An acknowledgement opens the window of a flow that waits for it.
    Ack(FlowId),
}

/// What came of an event.
#[derive(Debug, PartialEq, Eq)]
pub enum NetFact<C> {
    /// The transport took a parcel with this many bytes of payload.
    Taken(FlowId, u64),
    /// A parcel is with the receiver.
    Delivered(FlowId, C),
}

/// What the network wants to happen later.
pub type Later = Vec<(Instant, NetEvent)>;

/// A host's access link.
#[derive(Debug)]
struct Link {
    spec: LinkSpec,
    /// Hosts in different groups do not hear each other.
    group: u8,
    /// Flows that may send, in the order of their turns.
    ring: VecDeque<FlowId>,
    busy: bool,
    /// The flow whose block is being sent.
    sending: Option<FlowId>,
    /// Bytes of messages that went ahead of it: its link is busy for so much longer.
    debt: u64,
    /// When the downlink has taken all that has arrived so far.
    down_free: Instant,
    counts: LinkCounts,
    meter: Vec<u64>,
}

/// What went over a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounts {
    /// Payload sent, bytes.
    pub payload_up: u64,
    /// Payload received, bytes.
    pub payload_down: u64,
    /// Everything sent, headers included, bytes.
    pub wire_up: u64,
    /// Everything received, headers included, bytes.
    pub wire_down: u64,
    /// Nanoseconds in which the uplink was busy.
    pub busy: u64,
}

/// The network. `C` is what its parcels carry; it never looks inside.
#[derive(Debug)]
pub struct Network<C> {
    spec: NetSpec,
    links: Vec<Link>,
    flows: Vec<Flow<C>>,
    rng: Rng,
    /// Width of the bins in which busy time is counted.
    bin: Duration,
    lost_payload: u64,
}

impl<C> Network<C> {
    /// A network without hosts. Busy time of uplinks is counted in bins of `bin`.
    #[must_use]
    pub fn new(spec: NetSpec, rng: Rng, bin: Duration) -> Self {
        Self {
            spec,
            links: Vec::new(),
            flows: Vec::new(),
            rng,
            bin: bin.max(Duration::from_micros(1)),
            lost_payload: 0,
        }
    }

    /// Connects a host.
    pub fn add_link(&mut self, spec: LinkSpec) -> LinkId {
        self.links.push(Link {
            spec,
            group: 0,
            ring: VecDeque::new(),
            busy: false,
            sending: None,
            debt: 0,
            down_free: Instant::ZERO,
            counts: LinkCounts::default(),
            meter: Vec::new(),
        });
        (self.links.len() - 1) as LinkId
    }

    /// Propagation from one host to another, one way.
    #[must_use]
    pub fn delay(&self, from: LinkId, to: LinkId) -> Duration {
        self.links[from as usize].spec.delay + self.links[to as usize].spec.delay
    }

    /// Whether two hosts hear each other.
    #[must_use]
    pub fn reachable(&self, a: LinkId, b: LinkId) -> bool {
        self.links[a as usize].group == self.links[b as usize].group
    }

    /// Opens a connection; the answer is the flow from `from`.
    pub fn open(&mut self, from: LinkId, to: LinkId) -> FlowId {
        let delay = self.delay(from, to);
        let id = FlowId(self.flows.len() as u32);
        self.flows.push(Flow::new(from, to, delay));
        self.flows.push(Flow::new(to, from, delay));
        id
    }

    /// Closes a connection from the sender's side of `flow`: what it has not sent is lost, and it hears
    /// nothing more. What is under way to the other side still arrives.
    pub fn close(&mut self, flow: FlowId) {
        self.lost_payload += self.flows[flow.0 as usize].drop_unsent();
        let back = &mut self.flows[flow.back().0 as usize];
        self.lost_payload += back.drop_unsent() + back.drop_flight();
    }

    /// Hands a parcel to a flow: `wire` bytes of stream, of which `payload` are a block's.
    #[allow(clippy::too_many_arguments)]
    pub fn send(
        &mut self,
        now: Instant,
        flow: FlowId,
        cargo: C,
        wire: u32,
        payload: u32,
        later: &mut Later,
        facts: &mut Vec<NetFact<C>>,
    ) {
        let header = u64::from(wire) * self.spec.header_permille / 1000;
        let line = &mut self.flows[flow.0 as usize];
        if line.closed {
            self.lost_payload += u64::from(payload);
            return;
        }
        let parcel = Parcel {
            wire: wire + header as u32,
            payload,
            cargo,
        };
        if self.may_go_ahead(now, flow, payload) {
            return self.go_ahead(now, flow, parcel, later);
        }
        self.flows[flow.0 as usize].push(parcel);
        self.admit(flow, facts);
        self.list(flow);
        let link = self.flows[flow.0 as usize].from;
        self.pump(now, link, later, facts);
    }

    /// An event's time has come.
    pub fn handle(
        &mut self,
        now: Instant,
        event: NetEvent,
        later: &mut Later,
        facts: &mut Vec<NetFact<C>>,
    ) {
        match event {
            NetEvent::Free(link) => {
                let at = &mut self.links[link as usize];
                at.busy = false;
                if let Some(flow) = at.sending.take() {
                    self.admit(flow, facts);
                    self.list(flow);
                }
                self.pump(now, link, later, facts);
            }
            NetEvent::Arrive(flow, count) => {
                let line = &mut self.flows[flow.0 as usize];
                let bytes = line.arrive(count);
                let to = &mut self.links[line.to as usize];
                let takes = samara_engine::time::time_for(bytes, to.spec.down);
                to.down_free = now.max(to.down_free + takes);
                if to.down_free == now {
                    self.deliver(now, flow, count, later, facts);
                } else {
                    later.push((to.down_free, NetEvent::Deliver(flow, count)));
                }
            }
            NetEvent::Deliver(flow, count) => self.deliver(now, flow, count, later, facts),
            NetEvent::Ack(flow) => {
                let line = &mut self.flows[flow.0 as usize];
                line.acknowledged(now, self.spec.window);
                if line.blocked {
                    // Losses made the window smaller than what is out: more has to come back.
                    if let Some(&(at, _)) = line.acks.front() {
                        later.push((at, NetEvent::Ack(flow)));
                    }
                    return;
                }
                let link = line.from;
                self.list(flow);
                self.pump(now, link, later, facts);
            }
        }
    }

    /// Puts a host into a group; hosts of different groups do not hear each other until they are in one
    /// group again. Connections stay: their ends only notice the silence.
    pub fn set_group(
        &mut self,
        now: Instant,
        link: LinkId,
        group: u8,
        later: &mut Later,
        facts: &mut Vec<NetFact<C>>,
    ) {
        self.links[link as usize].group = group;
        for at in 0..self.flows.len() {
            let (from, to) = (self.flows[at].from, self.flows[at].to);
            if from == link || to == link {
                self.list(FlowId(at as u32));
                self.pump(now, from, later, facts);
            }
        }
    }

    /// Whether a host's uplink is sending.
    #[must_use]
    pub fn is_busy(&self, link: LinkId) -> bool {
        self.links[link as usize].busy
    }

    /// What went over a link so far.
    #[must_use]
    pub fn counts(&self, link: LinkId) -> LinkCounts {
        self.links[link as usize].counts
    }

    /// Nanoseconds of sending by bin.
    #[must_use]
    pub fn meter(&self, link: LinkId) -> &[u64] {
        &self.links[link as usize].meter
    }

    /// Payload that was handed over and never arrived because connections closed, bytes.
    #[must_use]
    pub fn lost_payload(&self) -> u64 {
        self.lost_payload
    }

    /// Payload that is in queues or under way, bytes. O(parcels).
    #[must_use]
    pub fn payload_under_way(&self) -> u64 {
        self.flows.iter().map(Flow::payload).sum()
    }

    fn deliver(
        &mut self,
        now: Instant,
        flow: FlowId,
        count: u16,
        later: &mut Later,
        facts: &mut Vec<NetFact<C>>,
    ) {
        let line = &mut self.flows[flow.0 as usize];
        let counts = &mut self.links[line.to as usize].counts;
        let mut bytes = 0;
        for _ in 0..count {
            // A closed flow has nothing under way any more.
            let Some(parcel) = line.land() else {
                return;
            };
            bytes += u64::from(parcel.wire);
            counts.payload_down += u64::from(parcel.payload);
            counts.wire_down += u64::from(parcel.wire);
            facts.push(NetFact::Delivered(flow, parcel.cargo));
        }
        let back = now + line.delay;
        // A flow that only answers is seldom looked at: its acknowledgements would pile up.
        line.acknowledged(now, self.spec.window);
        line.acks.push_back((back, bytes));
        if line.blocked && line.acks.len() == 1 {
            later.push((back, NetEvent::Ack(flow)));
        }
    }

    /// Whether a parcel may leave now though the uplink is sending another connection's block.
    fn may_go_ahead(&mut self, now: Instant, flow: FlowId, payload: u32) -> bool {
        let line = &mut self.flows[flow.0 as usize];
        if !self.spec.messages_first || payload > 0 || !line.is_empty() {
            return false;
        }
        line.acknowledged(now, self.spec.window);
        let (from, to) = (
            &self.links[line.from as usize],
            &self.links[line.to as usize],
        );
        from.busy && !line.window_is_full() && from.group == to.group
    }

    /// Sends a message between the packets of the block that is being sent. The link pays for it when it has
    /// sent that block.
    fn go_ahead(&mut self, now: Instant, flow: FlowId, parcel: Parcel<C>, later: &mut Later) {
        let line = &mut self.flows[flow.0 as usize];
        let link = &mut self.links[line.from as usize];
        let wire = u64::from(parcel.wire);
        link.debt += wire;
        let departs = now + samara_engine::time::time_for(wire, link.spec.up);
        let arrives = (departs + line.delay).max(line.last_arrival);
        line.last_arrival = arrives;
        line.send(parcel);
        later.push((arrives, NetEvent::Arrive(flow, 1)));
    }

    /// Moves parcels into the send buffer while they fit. An empty buffer takes a parcel of any size.
    fn admit(&mut self, flow: FlowId, facts: &mut Vec<NetFact<C>>) {
        let line = &mut self.flows[flow.0 as usize];
        while let Some(payload) = line.admit(self.spec.send_buffer) {
            if payload > 0 {
                facts.push(NetFact::Taken(flow, u64::from(payload)));
            }
        }
    }

    /// Gives a flow its place in the round if it has something to send and may.
    fn list(&mut self, flow: FlowId) {
        let line = &mut self.flows[flow.0 as usize];
        if line.listed || line.taken == 0 || line.blocked {
            return;
        }
        if self.links[line.from as usize].group != self.links[line.to as usize].group {
            return;
        }
        line.listed = true;
        line.credit = QUANTUM;
        self.links[line.from as usize].ring.push_back(flow);
    }

    /// Starts the next turn of an idle uplink.
    fn pump(&mut self, now: Instant, link: LinkId, later: &mut Later, facts: &mut Vec<NetFact<C>>) {
        if self.links[link as usize].busy {
            return;
        }
        let up = self.links[link as usize].spec.up;
        let mut sent = core::mem::take(&mut self.links[link as usize].debt);
        while sent < BATCH {
            let Some(flow) = self.links[link as usize].ring.pop_front() else {
                break;
            };
            let line = &mut self.flows[flow.0 as usize];
            line.acknowledged(now, self.spec.window);
            let apart = self.links[line.to as usize].group != self.links[link as usize].group;
            let line = &mut self.flows[flow.0 as usize];
            if line.taken == 0 || apart || line.window_is_full() {
                line.listed = false;
                if line.taken > 0 && !apart {
                    line.blocked = true;
                    if let Some(&(at, _)) = line.acks.front() {
                        later.push((at, NetEvent::Ack(flow)));
                    }
                }
                continue;
            }
            let turn = line.take_turn(BATCH as u32);
            sent += turn.wire;
            let departs = now + samara_engine::time::time_for(sent, up);
            let mut arrives = departs + line.delay;
            if self.spec.loss_per_million > 0
                && self.rng.below(1_000_000) < self.spec.loss_per_million
            {
                // Noticed by duplicate acknowledgements and sent again: one round trip late, and
                // everything behind it waits (the stream is in order).
                arrives = arrives + line.delay.times(2);
                line.window = (line.window / 2).max(LEAST_WINDOW);
            }
            arrives = arrives.max(line.last_arrival);
            line.last_arrival = arrives;
            later.push((arrives, NetEvent::Arrive(flow, turn.parcels)));
            line.credit -= turn.wire as i64;
            let link = &mut self.links[link as usize];
            if line.credit <= 0 {
                line.credit += QUANTUM;
                link.ring.push_back(flow);
            } else {
                link.ring.push_front(flow);
            }
            link.counts.payload_up += turn.payload;
            if turn.payload > 0 {
                link.sending = Some(flow);
                break;
            }
            // What messages leave of a small buffer is the next block's; after a block, that is when it is sent.
            self.admit(flow, facts);
        }
        if sent > 0 {
            let link_at = &mut self.links[link as usize];
            let until = now + samara_engine::time::time_for(sent, up);
            link_at.busy = true;
            link_at.counts.wire_up += sent;
            link_at.counts.busy += until.since(now).as_nanos();
            meter(&mut link_at.meter, self.bin, now, until);
            later.push((until, NetEvent::Free(link)));
        }
    }
}

/// Adds the time from `from` to `until` to bins of `bin`.
fn meter(bins: &mut Vec<u64>, bin: Duration, from: Instant, until: Instant) {
    let bin = bin.as_nanos();
    let (mut from, until) = (from.as_nanos(), until.as_nanos());
    while from < until {
        let at = (from / bin) as usize;
        let end = until.min((from / bin + 1) * bin);
        if bins.len() <= at {
            bins.resize(at + 1, 0);
        }
        bins[at] += end - from;
        from = end;
    }
}

#[cfg(test)]
mod tests;

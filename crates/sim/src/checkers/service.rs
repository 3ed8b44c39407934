//! Who is served by whom, for how long: the book that fairness is judged by.

use super::{Cast, Seen, Stage};
use crate::net::FlowId;
use samara_engine::{Duration, Instant};
use samara_proto::wire::Message;
use samara_proto::{BLOCK, Bitfield};
use std::collections::BTreeMap;

/// What one host in seed state did for one leech.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pair {
    /// How long the leech wanted something.
    pub wanted: Duration,
    /// How long of that it was not choked: Legout's service time.
    pub served: Duration,
    /// Bytes of blocks that were sent to it.
    pub bytes: u64,
    /// How often it was unchoked.
    pub turns: u32,
}

/// One end of a connection, by the one that serves.
#[derive(Clone, Copy, Debug)]
struct Lane {
    host: u32,
    other: u32,
    up: bool,
    choked: bool,
    wanted: bool,
    /// Up to when its time is booked.
    since: Instant,
    /// Turns that others got while it waited for one.
    passed: u32,
    /// See [`PassedOver::missed`].
    missed: f64,
}

/// Service by hosts in seed state. A seed that shows its pieces one by one deals in bytes, not in time; it
/// counts from when it has sent every block once.
#[derive(Debug)]
pub struct Book {
    hosts: Vec<Cast>,
    blocks_a_piece: u32,
    lanes: Vec<Option<Lane>>,
    /// Flows on which a host speaks.
    of_host: Vec<Vec<FlowId>>,
    /// From when on a host serves as a seed does.
    seed_since: Vec<Instant>,
    /// What the first seeds have sent so far.
    given: BTreeMap<u32, Bitfield>,
    pairs: BTreeMap<(u32, u32), Pair>,
    turns: Vec<u32>,
}

/// A leech that waits while others get turn after turn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PassedOver {
    /// Who chokes it.
    pub seed: u32,
    /// Who waits.
    pub leech: u32,
    /// Turns of others so far.
    pub turns: u32,
    /// Turns of its own that it would have had by now on average: each of another counts by its chance to get it.
    pub missed: f64,
    /// The same before this turn.
    pub before: f64,
}

impl Book {
    /// For a world that is about to start.
    #[must_use]
    pub fn new(stage: &Stage) -> Self {
        let blocks_a_piece = stage.geometry.piece_length().div_ceil(BLOCK);
        let blocks = stage.geometry.pieces() * blocks_a_piece;
        let seeds = (0u32..).zip(&stage.hosts).filter(|(_, cast)| cast.seed);
        Self {
            given: seeds
                .map(|(host, _)| (host, Bitfield::empty(blocks)))
                .collect(),
            blocks_a_piece,
            lanes: Vec::new(),
            of_host: vec![Vec::new(); stage.hosts.len()],
            seed_since: vec![Instant::NEVER; stage.hosts.len()],
            pairs: BTreeMap::new(),
            turns: vec![0; stage.hosts.len()],
            hosts: stage.hosts.clone(),
        }
    }

    /// What each host in seed state did for each leech.
    pub fn pairs(&self) -> impl Iterator<Item = (u32, u32, Pair)> + '_ {
        self.pairs
            .iter()
            .map(|((seed, leech), pair)| (*seed, *leech, *pair))
    }

    /// Turns that a host gave in seed state.
    #[must_use]
    pub fn turns(&self, host: u32) -> u32 {
        self.turns[host as usize]
    }

    /// Whether the host had everything from the start.
    #[must_use]
    pub fn is_seed(&self, host: u32) -> bool {
        self.hosts[host as usize].seed
    }

    /// Takes note of what happened. The answer is who was passed over once more.
    pub fn note(&mut self, now: Instant, seen: &Seen<'_>) -> Vec<PassedOver> {
        match *seen {
            Seen::Up { flow, host, other } => self.open(now, flow, host, other),
            Seen::Down { flow } => {
                self.settle(now, flow);
                for end in [flow, flow.back()] {
                    if let Some(lane) = self.lane(end) {
                        lane.up &= end != flow;
                        lane.wanted = false;
                    }
                }
                if let Some(host) = self.lane(flow).map(|lane| lane.host) {
                    self.of_host[host as usize].retain(|open| *open != flow);
                }
            }
            Seen::Said { flow, message } => return self.said(now, flow, message),
            Seen::Served { flow, span } => self.served(now, flow, span),
            Seen::Finished { host } if !self.hosts[host as usize].seed => {
                self.seed_since[host as usize] = now;
            }
            _ => {}
        }
        Vec::new()
    }

    /// The run is over: what is open is booked.
    pub fn close(&mut self, now: Instant) {
        for flow in 0..self.lanes.len() as u32 {
            self.settle(now, FlowId(flow));
        }
    }

    fn lane(&mut self, flow: FlowId) -> Option<&mut Lane> {
        self.lanes.get_mut(flow.0 as usize)?.as_mut()
    }

    fn open(&mut self, now: Instant, flow: FlowId, host: u32, other: u32) {
        let at = flow.0 as usize;
        if self.lanes.len() <= at {
            self.lanes.resize(at + 1, None);
        }
        self.lanes[at] = Some(Lane {
            host,
            other,
            up: true,
            choked: true,
            wanted: false,
            since: now,
            passed: 0,
            missed: 0.0,
        });
        self.of_host[host as usize].push(flow);
    }

    /// Books the time of a lane up to now.
    fn settle(&mut self, now: Instant, flow: FlowId) {
        let Some(lane) = self.lanes.get_mut(flow.0 as usize).and_then(Option::as_mut) else {
            return;
        };
        let from = lane.since.max(self.seed_since[lane.host as usize]);
        lane.since = now;
        if lane.up && lane.wanted && from < now {
            let pair = self.pairs.entry((lane.host, lane.other)).or_default();
            pair.wanted = pair.wanted + now.since(from);
            if !lane.choked {
                pair.served = pair.served + now.since(from);
            }
        }
    }

    fn said(&mut self, now: Instant, flow: FlowId, message: &Message) -> Vec<PassedOver> {
        match message {
            Message::Choke | Message::Unchoke => {
                self.settle(now, flow);
                let unchoked = *message == Message::Unchoke;
                let Some(lane) = self.lane(flow) else {
                    return Vec::new();
                };
                lane.choked = !unchoked;
                if unchoked {
                    lane.passed = 0;
                    lane.missed = 0.0;
                }
                let (host, other) = (lane.host, lane.other);
                if unchoked && self.seed_since[host as usize] <= now {
                    self.turns[host as usize] += 1;
                    self.pairs.entry((host, other)).or_default().turns += 1;
                    return self.pass(host, flow);
                }
            }
            Message::Interested | Message::NotInterested => {
                self.settle(now, flow.back());
                if let Some(lane) = self.lane(flow.back()) {
                    lane.wanted = *message == Message::Interested;
                    lane.passed = 0;
                    lane.missed = 0.0;
                }
            }
            _ => {}
        }
        Vec::new()
    }

    /// A turn went to `flow`: all others that wait were passed over.
    fn pass(&mut self, host: u32, flow: FlowId) -> Vec<PassedOver> {
        let lanes = &mut self.lanes;
        let waits = |lane: &&mut Lane| lane.up && lane.wanted && lane.choked;
        let mut waiting = 0;
        for other in &self.of_host[host as usize] {
            let lane = lanes[other.0 as usize].as_mut().filter(waits);
            waiting += u32::from(*other != flow && lane.is_some());
        }
        let mut over = Vec::new();
        for other in &self.of_host[host as usize] {
            let lane = lanes[other.0 as usize].as_mut().filter(waits);
            if let Some(lane) = lane.filter(|_| *other != flow) {
                let before = lane.missed;
                lane.passed += 1;
                lane.missed += 1.0 / f64::from(waiting + 1);
                over.push(PassedOver {
                    seed: host,
                    leech: lane.other,
                    turns: lane.passed,
                    missed: lane.missed,
                    before,
                });
            }
        }
        over
    }

    fn served(&mut self, now: Instant, flow: FlowId, span: samara_proto::Span) {
        let Some((host, other)) = self.lane(flow).map(|lane| (lane.host, lane.other)) else {
            return;
        };
        if let Some(given) = self.given.get_mut(&host) {
            given.set(span.piece * self.blocks_a_piece + span.block());
            // The last piece may be short: its missing blocks are nobody's.
            if given.len() - given.count() < self.blocks_a_piece {
                self.given.remove(&host);
                self.seed_since[host as usize] = now;
            }
        }
        if self.seed_since[host as usize] <= now {
            self.pairs.entry((host, other)).or_default().bytes += u64::from(span.length);
        }
    }
}

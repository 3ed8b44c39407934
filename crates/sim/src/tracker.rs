//! The tracker of a simulated world: the store and policy of the real one, at the end of a wire.

use crate::scenario::TrackerSpec;
use core::net::SocketAddr;
use samara_engine::{Announce, AnnounceEvent, Answer, Duration, Instant};
use samara_proto::tracker::Event;
use samara_proto::{InfoHash, PeerId};
use samara_tracker::swarm;
use std::collections::BTreeMap;

/// After this long without an answer, a host says that the tracker cannot be reached.
pub const TIME_OUT: Duration = Duration::from_secs(15);

/// An announce on its way there, or its answer on its way back.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Who asks.
    pub host: u32,
    /// In which of its lives.
    pub life: u32,
    /// Where it listens.
    pub addr: SocketAddr,
    /// What it calls itself.
    pub peer_id: PeerId,
    /// What it says.
    pub announce: Announce,
    /// What it is told; `None` if nothing.
    pub answer: Option<Answer>,
}

/// The tracker.
#[derive(Debug)]
pub struct Tracker {
    store: swarm::Store,
    spec: TrackerSpec,
    info_hash: InfoHash,
    total: u64,
    /// Whether it does not answer.
    pub down: bool,
    asks: BTreeMap<u32, Ask>,
    next: u32,
    announces: u64,
}

impl Tracker {
    /// A tracker of one swarm of `total` bytes.
    #[must_use]
    pub fn new(spec: TrackerSpec, info_hash: InfoHash, total: u64, seed: u64) -> Self {
        let config = swarm::Config {
            allow_seedless: spec.allow_seedless,
            ..swarm::Config::default()
        };
        Self {
            store: swarm::Store::new(config, seed),
            spec,
            info_hash,
            total,
            down: false,
            asks: BTreeMap::new(),
            next: 0,
            announces: 0,
        }
    }

    /// Takes an announce; the answer is the number under which it travels.
    pub fn post(&mut self, ask: Ask) -> u32 {
        self.asks.insert(self.next, ask);
        self.next += 1;
        self.next - 1
    }

    /// An announce arrives. True if an answer goes back, false if there will be none.
    pub fn serve(&mut self, now: Instant, number: u32) -> bool {
        if self.down {
            return false;
        }
        let Some(ask) = self.asks.get_mut(&number) else {
            return false;
        };
        self.announces += 1;
        let said = ask.announce;
        let announce = swarm::Announce {
            info_hash: self.info_hash,
            peer_id: ask.peer_id,
            key: None,
            source: ask.addr.ip(),
            port: ask.addr.port(),
            also: None,
            downloaded: said.downloaded,
            left: Some(said.left),
            size: Some(self.total),
            event: match said.event {
                AnnounceEvent::Started => Event::Started,
                AnnounceEvent::Periodic => Event::None,
                AnnounceEvent::Completed => Event::Completed,
                AnnounceEvent::Stopped => Event::Stopped,
            },
            numwant: Some(said.num_want),
        };
        let reply = self.store.announce(now.as_nanos() / 1_000_000, &announce);
        self.store.expire(now.as_nanos() / 1_000_000);
        ask.answer = reply.ok().map(|reply| Answer {
            interval: Duration::from_secs(reply.interval.into()),
            min_interval: reply
                .min_interval
                .map(|secs| Duration::from_secs(secs.into())),
            seeds: reply.complete,
            leeches: reply.incomplete,
            completed: reply.downloaded,
            peers: reply.peers,
            warning: reply.warning,
        });
        true
    }

    /// Who asks.
    #[must_use]
    pub fn host_of(&self, number: u32) -> Option<u32> {
        self.asks.get(&number).map(|ask| ask.host)
    }

    /// The answer, or the silence, has come back.
    pub fn collect(&mut self, number: u32) -> Option<Ask> {
        self.asks.remove(&number)
    }

    /// From a host `delay` away from the core, one way.
    #[must_use]
    pub fn delay(&self, delay: Duration) -> Duration {
        self.spec.delay + delay
    }

    /// Announces that were answered.
    #[must_use]
    pub fn announces(&self) -> u64 {
        self.announces
    }
}

//! The swarms of one tracker, in parts that can be used at the same time.
//!
//! Every info-hash belongs to one part, which is a [`Store`] behind a lock of its own. A lock is held
//! for the microsecond that an announce takes; walks that take longer go from part to part. The limits
//! are on all parts together, so that a part may hold as much as it likes while the whole has room.

use crate::swarm::{
    Announce, Answer, Config, Elsewhere, News, SavedSwarm, Sink, Stats, Store, SwarmStats, Trail,
    mix,
};
use samara_proto::InfoHash;
use samara_proto::tracker::{Refusal, ScrapeReply};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Parts. With 16 threads that announce all the time, one in 30 meets another in its part.
const SHARDS: usize = 256;

/// Swarms and peers that one call of [`Shards::expire`] looks at: a few milliseconds a second. A
/// million swarms and two million peers are gone round in a minute.
const EXPIRE_BUDGET: usize = 50_000;

/// Of these, while one lock is held: about a millisecond.
const EXPIRE_AT_ONCE: usize = 10_000;

/// One part, alone on its cache lines: two threads in neighbouring parts do not disturb each other.
#[derive(Debug)]
#[repr(align(128))]
struct Shard(Mutex<Store>);

/// The way to a peer's memory, found step by step.
#[derive(Debug)]
pub(super) struct Way {
    part: usize,
    info_hash: InfoHash,
    addr: SocketAddr,
    trail: Trail,
}

#[derive(Debug)]
pub(super) struct Shards {
    shards: Box<[Shard]>,
    /// Decides which part a swarm is in.
    key: u64,
    swarms: AtomicU64,
    peers: AtomicU64,
    /// Where the walk that expires goes on.
    cursor: AtomicUsize,
}

impl Shards {
    pub(super) fn new(config: &Config, seed: u64) -> Self {
        let store = |n: usize| Store::new(config.clone(), mix(seed, n as u64));
        Self {
            shards: (0..SHARDS).map(|n| Shard(Mutex::new(store(n)))).collect(),
            key: mix(!seed, SHARDS as u64),
            swarms: AtomicU64::new(0),
            peers: AtomicU64::new(0),
            cursor: AtomicUsize::new(0),
        }
    }

    /// Number of the part that `info_hash` belongs to.
    fn number(&self, info_hash: &InfoHash) -> usize {
        let [a, b, c, d, e, f, g, h, ..] = info_hash.0;
        let word = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        (mix(word, self.key) >> 32) as usize % SHARDS
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "a remainder of SHARDS, of which there are so many; there is no part to fall back on"
    )]
    fn shard(&self, number: usize) -> &Shard {
        &self.shards[number % SHARDS]
    }

    /// Works on the part that `info_hash` belongs to.
    fn with<T>(&self, info_hash: &InfoHash, work: impl FnOnce(&mut Store, Elsewhere) -> T) -> T {
        self.at(self.number(info_hash), work)
    }

    /// Works on one part, and notes how what it holds has changed.
    fn at<T>(&self, number: usize, work: impl FnOnce(&mut Store, Elsewhere) -> T) -> T {
        let mut store = lock(&self.shard(number).0);
        let before = store.held();
        let total = self.held();
        let elsewhere = Elsewhere {
            swarms: total.swarms.saturating_sub(before.swarms),
            peers: total.peers.saturating_sub(before.peers),
        };
        let out = work(&mut store, elsewhere);
        let after = store.held();
        // Nearly every announce changes neither.
        for (total, before, after) in [
            (&self.swarms, before.swarms, after.swarms),
            (&self.peers, before.peers, after.peers),
        ] {
            if before != after {
                total.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
            }
        }
        out
    }

    /// Swarms and peers held in all parts.
    pub(super) fn held(&self) -> Elsewhere {
        Elsewhere {
            swarms: self.swarms.load(Ordering::Relaxed),
            peers: self.peers.load(Ordering::Relaxed),
        }
    }

    pub(super) fn announce(
        &self,
        now: u64,
        announce: &Announce,
        sink: &mut impl Sink,
    ) -> Result<Answer, Refusal> {
        self.with(&announce.info_hash, |store, elsewhere| {
            store.announce_to(now, announce, elsewhere, sink)
        })
    }

    /// The beginning of a way to a peer: see [`Shards::prefetch`].
    pub(super) fn way(&self, info_hash: InfoHash, addr: SocketAddr) -> Way {
        Way {
            part: self.number(&info_hash),
            info_hash,
            addr,
            trail: Trail::default(),
        }
    }

    /// One step of [`Store::prefetch`], if nobody else is at work there.
    pub(super) fn prefetch(&self, step: u32, way: &mut Way) {
        if let Ok(store) = self.shard(way.part).0.try_lock() {
            store.prefetch(step, &way.info_hash, way.addr, &mut way.trail);
        }
    }

    /// The counts of swarms. Unknown ones are left out.
    pub(super) fn scrape(&self, info_hashes: &[InfoHash]) -> ScrapeReply {
        let files = info_hashes
            .iter()
            .filter_map(|hash| Some((*hash, self.swarm(*hash)?.scrape())))
            .collect();
        self.count_scrape(info_hashes.first().copied().unwrap_or_default());
        ScrapeReply {
            files,
            min_request_interval: None,
        }
    }

    /// Counts a scrape that was answered from [`Shards::swarm`], in the part of one of its swarms.
    pub(super) fn count_scrape(&self, info_hash: InfoHash) {
        self.with(&info_hash, |store, _| store.count_scrape());
    }

    pub(super) fn swarm(&self, info_hash: InfoHash) -> Option<SwarmStats> {
        self.with(&info_hash, |store, _| store.swarm(info_hash))
    }

    #[cfg(test)]
    pub(super) fn peers(&self, info_hash: InfoHash) -> Vec<crate::swarm::PeerInfo> {
        self.with(&info_hash, |store, _| store.peers(info_hash))
    }

    pub(super) fn register(&self, now: u64, info_hash: InfoHash, size: Option<u64>) {
        self.with(&info_hash, |store, _| store.register(now, info_hash, size));
    }

    /// Goes on with other limits and times.
    pub(super) fn set_config(&self, config: &Config) {
        for shard in &self.shards {
            lock(&shard.0).set_config(config.clone());
        }
    }

    /// Has everybody come less often: see [`Store::set_stretch`].
    pub(super) fn set_stretch(&self, percent: u32) {
        for shard in &self.shards {
            lock(&shard.0).set_stretch(percent);
        }
    }

    /// How many parts there are.
    pub(super) const PARTS: usize = SHARDS;

    /// Appends what one part holds: see [`Store::save`].
    pub(super) fn save(&self, part: usize, now: u64, out: &mut Vec<u8>) {
        self.at(part, |store, _| store.save(now, out));
    }

    /// Puts a swarm back: see [`Store::restore`].
    pub(super) fn restore(&self, now: u64, since: u64, saved: &SavedSwarm<'_>) -> u64 {
        self.with(&saved.info_hash, |store, elsewhere| {
            store.restore(now, since, saved, elsewhere)
        })
    }

    /// Notes up to `room` news in each part from now on: see [`Store::tell`].
    pub(super) fn tell(&self, room: usize) {
        for shard in &self.shards {
            lock(&shard.0).tell(room);
        }
    }

    /// Takes the news of all parts; how many were lost.
    pub(super) fn take_news(&self, out: &mut Vec<News>) -> u64 {
        let take = |shard: &Shard| lock(&shard.0).take_news(out);
        self.shards.iter().map(take).sum()
    }

    /// Takes note of what another tracker tells: see [`Store::learn`].
    pub(super) fn learn(&self, now: u64, news: &News) -> bool {
        self.with(&news.info_hash, |store, elsewhere| {
            store.learn(now, news, elsewhere)
        })
    }

    /// The sum over all parts; some may be a moment older than others.
    pub(super) fn stats(&self) -> Stats {
        let stats = |shard: &Shard| lock(&shard.0).stats();
        self.shards
            .iter()
            .map(stats)
            .fold(Stats::default(), Stats::plus)
    }

    /// Forgets who is overdue; goes round when called every second.
    pub(super) fn expire(&self, now: u64) {
        let mut budget = EXPIRE_BUDGET;
        for _ in 0..SHARDS {
            let number = self.cursor.load(Ordering::Relaxed);
            loop {
                if budget == 0 {
                    return;
                }
                let slice = budget.min(EXPIRE_AT_ONCE);
                budget -= slice;
                let left = self.at(number, |store, _| store.expire_part(now, slice));
                if let Some(left) = left {
                    budget += left;
                    break;
                }
            }
            let next = (number + 1) % SHARDS;
            self.cursor.store(next, Ordering::Relaxed);
        }
    }
}

/// A lock whose holder panicked is taken all the same: a tracker that may have one peer wrong is
/// better than one that answers nobody.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

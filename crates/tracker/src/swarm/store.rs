//! All swarms, and the policy of announces.

use super::answer::{Answer, Listed, Sink};
use super::config::Config;
use super::members::{self, Large, Members, Place, SAMPLES, Swarm, Tenth, everybody, release};
use super::news::{News, Notes, Of};
use super::pool::Counts;
use super::record::Role;
use super::rng::Rng;
use super::saved::flags_of;
use super::slab::Slab;
use super::table::{self, Table};
use super::visit::{Change, Visit, check_address, numbers};
use crate::sys::prefetch::prefetch;
use samara_proto::tracker::{
    AnnounceReply, AnnounceRequest, Event, Refusal, RetryIn, ScrapeCounts, ScrapeReply,
};
use samara_proto::{InfoHash, PeerId};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// Peers and swarms that one call of [`Store::expire`] looks at: about a millisecond.
pub(crate) const EXPIRE_BUDGET: usize = 20_000;

/// Minutes after which a client that found the tracker full may ask again.
const FULL_RETRY: u32 = 15;

/// Steps of [`Store::prefetch`]: table, swarm, pool, index, place.
pub const PREFETCHES: u32 = 5;

/// What one step of [`Store::prefetch`] has found, for the next.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trail {
    hash: u64,
    /// Number of the swarm, most likely.
    number: Option<u32>,
}

/// What a peer announces, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announce {
    /// The swarm.
    pub info_hash: InfoHash,
    /// What the peer calls itself. Not kept: a peer is known by its address.
    pub peer_id: PeerId,
    /// By which it would be known again. Not kept either.
    pub key: Option<u32>,
    /// The address it came from, or one that the server trusts more.
    pub source: IpAddr,
    /// The port on which it listens.
    pub port: u16,
    /// Its address in the other family, where the server trusts its word (BEP 7).
    pub also: Option<SocketAddr>,
    /// Bytes it has fetched.
    pub downloaded: u64,
    /// Bytes it lacks; `None` if it does not know.
    pub left: Option<u64>,
    /// Bytes of the torrent, if it says.
    pub size: Option<u64>,
    /// Why it announces.
    pub event: Event,
    /// How many peers it would like.
    pub numwant: Option<u32>,
}

impl Announce {
    /// The announce in `request`, from `source`. What the request says about addresses is left out.
    #[must_use]
    pub fn new(request: &AnnounceRequest, source: IpAddr) -> Self {
        Self {
            info_hash: request.info_hash,
            peer_id: request.peer_id,
            key: request.key,
            source,
            port: request.port,
            also: None,
            downloaded: request.downloaded,
            left: request.left,
            size: request.size,
            event: request.event,
            numwant: request.numwant,
        }
    }
}

/// One swarm in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SwarmStats {
    /// Peers that have everything.
    pub seeds: u32,
    /// Peers that lack something, those that wait and those that are paused included.
    pub leeches: u32,
    /// Leeches that have nothing and wait for a seed.
    pub waiting: u32,
    /// Leeches that want no more than they have (BEP 21).
    pub paused: u32,
    /// How often it was downloaded to the end.
    pub downloaded: u32,
    /// Whether there has ever been a seed.
    pub had_seed: bool,
}

/// The whole tracker in numbers. Counters count since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Stats {
    /// Swarms, empty ones included.
    pub swarms: u64,
    /// Seeds in all swarms.
    pub seeds: u64,
    /// Leeches in all swarms, those that wait included.
    pub leeches: u64,
    /// Leeches that wait for a seed.
    pub waiting: u64,
    /// Swarms in which everyone has all that it wants: there are seeds, and no leech but paused ones.
    pub complete: u64,
    /// Swarms in which there are leeches and no seed.
    pub seedless: u64,
    /// Announces that were answered.
    pub announces: u64,
    /// Scrapes that were answered.
    pub scrapes: u64,
    /// Announces that were refused.
    pub refusals: u64,
    /// Downloads that were completed.
    pub downloaded: u64,
    /// Peers and swarms that made room for others.
    pub evictions: u64,
}

impl Stats {
    /// The sum of two.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            swarms: self.swarms + other.swarms,
            seeds: self.seeds + other.seeds,
            leeches: self.leeches + other.leeches,
            waiting: self.waiting + other.waiting,
            complete: self.complete + other.complete,
            seedless: self.seedless + other.seedless,
            announces: self.announces + other.announces,
            scrapes: self.scrapes + other.scrapes,
            refusals: self.refusals + other.refusals,
            downloaded: self.downloaded + other.downloaded,
            evictions: self.evictions + other.evictions,
        }
    }
}

/// A member of a swarm, for status pages and tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerInfo {
    /// Where it is.
    pub addr: SocketAddr,
    /// What it is to the swarm.
    pub role: Role,
}

/// What other stores of the same tracker hold: the limits are on all of them together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Elsewhere {
    /// Swarms.
    pub swarms: u64,
    /// Peers.
    pub peers: u64,
}

/// All swarms. Times are milliseconds since any moment that stays the same.
#[derive(Clone, Debug)]
pub struct Store {
    pub(super) config: Config,
    pub(super) rng: Rng,
    /// By how much intervals are longer than they would be, in per cent: see [`Store::set_stretch`].
    stretch: u64,
    /// Of the peers' indexes.
    pub(super) key: u64,
    table: Table,
    pub(super) swarms: Slab<Swarm>,
    pub(super) larges: Slab<Large>,
    /// Sizes of torrents that were made known.
    sizes: BTreeMap<InfoHash, u64>,
    /// Where the walk that expires goes on: a swarm, and a peer of it.
    cursor: (u32, usize),
    pub(super) stats: Stats,
    /// What other trackers behind the same name are to hear.
    pub(super) notes: Notes,
}

impl Store {
    /// An empty one. What `seed` is decides who is told of whom, and where in tables things stand.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Self {
        let mut keys = Rng::new(!seed);
        Self {
            config,
            rng: Rng::new(seed),
            stretch: 100,
            key: keys.next(),
            table: Table::new(keys.next()),
            swarms: Slab::default(),
            larges: Slab::default(),
            sizes: BTreeMap::new(),
            cursor: (0, 0),
            stats: Stats::default(),
            notes: Notes::default(),
        }
    }

    /// Goes on with other limits and times.
    pub fn set_config(&mut self, config: Config) {
        self.config = config;
    }

    /// Has everybody who has begun come less often: 100 is as it should be, 200 half as often. For a
    /// tracker that has more to do than it wants to. Never beyond the longest interval; whoever waits for
    /// a seed costs little and is left alone.
    pub fn set_stretch(&mut self, percent: u32) {
        self.stretch = u64::from(percent.max(100));
    }

    /// Makes a swarm known before anybody announces: it is never evicted, it is served even where
    /// only registered swarms are, and if its `size` in bytes (padding left out) is given, a download
    /// that begins is told from one that goes on without guessing.
    pub fn register(&mut self, now: u64, info_hash: InfoHash, size: Option<u64>) {
        let number = self
            .number(&info_hash)
            .unwrap_or_else(|| self.add(info_hash, now));
        if let Some(swarm) = self.swarms.get_mut(number) {
            swarm.set_registered();
        }
        match size {
            Some(size) => self.sizes.insert(info_hash, size),
            None => self.sizes.remove(&info_hash),
        };
    }

    /// Answers one announce.
    pub fn announce(&mut self, now: u64, announce: &Announce) -> Result<AnnounceReply, Refusal> {
        let mut listed = Listed::default();
        let answer = self.announce_to(now, announce, Elsewhere::default(), &mut listed)?;
        Ok(answer.reply(listed, announce.source))
    }

    /// Answers one announce; the peers go to `sink`. Nothing is allocated for a peer that is known.
    pub fn announce_to(
        &mut self,
        now: u64,
        announce: &Announce,
        elsewhere: Elsewhere,
        sink: &mut impl Sink,
    ) -> Result<Answer, Refusal> {
        let answer = self.answer(now, announce, elsewhere, sink);
        match answer {
            Ok(_) => self.stats.announces += 1,
            Err(_) => self.stats.refusals += 1,
        }
        answer
    }

    fn answer(
        &mut self,
        now: u64,
        announce: &Announce,
        elsewhere: Elsewhere,
        sink: &mut impl Sink,
    ) -> Result<Answer, Refusal> {
        let source = announce.source.to_canonical();
        let stopped = announce.event == Event::Stopped;
        check_address(SocketAddr::new(source, announce.port), stopped)?;
        let number = match self.number(&announce.info_hash) {
            Some(number) => {
                // Where there are others, the newcomer takes the place of one of them.
                if !stopped && self.is_full(elsewhere) && self.is_empty(number) {
                    self.make_room(elsewhere, false)?;
                }
                number
            }
            None if self.config.registered_only => {
                return Err(Refusal {
                    reason: "this tracker does not serve this torrent".into(),
                    retry_in: Some(RetryIn::Never),
                });
            }
            None if stopped => return Ok(self.goodbye(SwarmStats::default())),
            None => {
                self.make_room(elsewhere, true)?;
                self.add(announce.info_hash, now)
            }
        };
        let Some(swarm) = self.swarms.get_mut(number) else {
            return Err(Refusal::new("this swarm was lost: please report it"));
        };
        swarm.touched = swarm.touched.max(Tenth::at(now));
        let mut visit = Visit {
            now,
            config: &self.config,
            rng: &mut self.rng,
            stretch: self.stretch,
            size: None,
            members: Members {
                swarm,
                larges: &mut self.larges,
                key: self.key,
            },
        };
        let before = visit.members.counts();
        let full = |coming: u64| {
            let here = self.stats.seeds + self.stats.leeches + coming;
            here + elsewhere.peers >= self.config.max_peers as u64
        };
        let mut change = Change::default();
        let answer = if stopped {
            change.addrs = visit.leave(announce, source);
            None
        } else {
            if visit.members.swarm.registered() {
                visit.size = self.sizes.get(&announce.info_hash).copied();
            }
            Some(visit.stay(announce, source, full, &mut change, sink))
        };
        let after = visit.members.counts();
        let stats = numbers(visit.members.swarm, after);
        let largest_left = visit.members.swarm.largest_left;
        if before != after {
            self.count(before, after);
        }
        self.stats.evictions += change.evicted;
        self.stats.downloaded += u64::from(change.completed);
        if self.notes.wanted() {
            self.note(announce.info_hash, largest_left, &change);
        }
        Ok(answer.unwrap_or_else(|| self.goodbye(stats)))
    }

    /// Notes what others should hear of an announce.
    fn note(&mut self, info_hash: InfoHash, largest_left: u32, change: &Change) {
        for (nth, addr) in change.addrs.iter().flatten().enumerate() {
            let of = match change.here {
                None => Of::Gone(*addr),
                Some((role, meta, life)) => Of::Here {
                    addr: *addr,
                    flags: flags_of(role, meta),
                    seconds: u16::try_from(life.div_ceil(1_000)).unwrap_or(u16::MAX),
                    // Once, though it has two addresses.
                    completed: change.completed && nth == 0,
                },
            };
            self.notes.push(News {
                info_hash,
                largest_left,
                hearsay: false,
                of,
            });
        }
    }

    /// The answer to one that leaves: counts, and nobody to connect to.
    fn goodbye(&self, stats: SwarmStats) -> Answer {
        let interval = self.config.longest_interval / 1_000;
        Answer {
            interval: u32::try_from(interval).unwrap_or(u32::MAX),
            min_interval: None,
            role: None,
            open: true,
            stats,
        }
    }

    /// The counts of swarms. Unknown ones are left out.
    pub fn scrape(&mut self, info_hashes: &[InfoHash]) -> ScrapeReply {
        self.count_scrape();
        let files = info_hashes.iter().filter_map(|hash| {
            let stats = self.swarm(*hash)?;
            Some((*hash, stats.scrape()))
        });
        ScrapeReply {
            files: files.collect(),
            min_request_interval: None,
        }
    }

    /// Counts a scrape that was answered from [`Store::swarm`].
    pub fn count_scrape(&mut self) {
        self.stats.scrapes += 1;
    }

    /// One swarm in numbers; `None` if nobody has announced to it.
    #[must_use]
    pub fn swarm(&self, info_hash: InfoHash) -> Option<SwarmStats> {
        let swarm = self.swarms.get(self.number(&info_hash)?)?;
        Some(numbers(swarm, members::counts(swarm, &self.larges)))
    }

    /// The members of one swarm, in no order that means anything.
    #[must_use]
    pub fn peers(&self, info_hash: InfoHash) -> Vec<PeerInfo> {
        let mut out = Vec::new();
        let number = self.number(&info_hash);
        if let Some(swarm) = number.and_then(|number| self.swarms.get(number)) {
            everybody(swarm, &self.larges, |addr, role, _| {
                out.push(PeerInfo { addr, role });
            });
        }
        out
    }

    /// The whole tracker in numbers. O(1).
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            swarms: self.swarms.len() as u64,
            ..self.stats
        }
    }

    /// Forgets who is overdue. Bounded work: call it every second or so, and it goes round.
    pub fn expire(&mut self, now: u64) {
        let fresh = self.cursor == (0, 0);
        if let Some(rest) = self.expire_part(now, EXPIRE_BUDGET)
            && !fresh
        {
            self.expire_part(now, rest);
        }
    }

    /// The same up to the end of the last swarm, looking at no more than `budget` swarms and peers.
    /// What is left of the budget at the end; `None` if it is not reached: the next call goes on.
    pub fn expire_part(&mut self, now: u64, mut budget: usize) -> Option<usize> {
        while self.cursor.0 < self.swarms.end() {
            if budget == 0 {
                return None;
            }
            let (number, from) = self.cursor;
            self.cursor = (number + 1, 0);
            budget -= 1;
            let Some(swarm) = self.swarms.get_mut(number) else {
                continue;
            };
            let before = members::counts(swarm, &self.larges);
            let mut members = Members {
                swarm,
                larges: &mut self.larges,
                key: self.key,
            };
            let (looked, gone, rest) = members.expire(now, from, budget);
            budget -= looked.min(budget);
            let after = members.counts();
            for left in 0..gone {
                swarm.changed(now, after.all() + left, &self.config);
            }
            self.count(before, after);
            if after.all() == 0 {
                self.forget_if_stale(now, number);
            } else if let Some(rest) = rest {
                self.cursor = (number, rest);
            }
        }
        self.cursor = (0, 0);
        Some(budget)
    }

    /// Asks for the memory that an announce from `addr` will need. There are [`PREFETCHES`] steps, each
    /// of which needs what the one before has asked for: a caller with many announces does the first
    /// step for all of them, then the second, and so on. Changes nothing but the time it takes.
    pub fn prefetch(&self, step: u32, info_hash: &InfoHash, addr: SocketAddr, trail: &mut Trail) {
        match step {
            0 => {
                trail.hash = self.table.hash(info_hash);
                self.table.prefetch(trail.hash);
                return;
            }
            1 => trail.number = self.table.likely(trail.hash),
            _ => {}
        }
        let Some(slot) = trail.number.and_then(|number| self.swarms.slot(number)) else {
            return;
        };
        let more = match (step, slot) {
            (1, slot) => {
                prefetch(slot);
                true
            }
            (_, None) => false,
            (2, Some(swarm)) => members::prefetch_large(swarm, &self.larges),
            (_, Some(swarm)) => {
                let place = Place::new(addr);
                members::prefetch_place(swarm, &self.larges, &place, self.key, step == 3)
            }
        };
        if !more {
            trail.number = None;
        }
    }

    /// Swarms and peers held.
    #[must_use]
    pub fn held(&self) -> Elsewhere {
        Elsewhere {
            swarms: self.swarms.len() as u64,
            peers: self.stats.seeds + self.stats.leeches,
        }
    }

    pub(super) fn number(&self, info_hash: &InfoHash) -> Option<u32> {
        self.table.find(info_hash, |number| {
            self.swarms
                .get(number)
                .is_some_and(|swarm| swarm.info_hash == *info_hash)
        })
    }

    pub(super) fn add(&mut self, info_hash: InfoHash, now: u64) -> u32 {
        let number = self.swarms.insert(Swarm::new(info_hash, now));
        let swarms = &self.swarms;
        self.table.insert(&info_hash, number, |number| {
            swarms
                .get(number)
                .map_or_else(InfoHash::default, |swarm| swarm.info_hash)
        });
        number
    }

    /// Forgets an empty swarm, unless it is to stay or its count of downloads is to be kept.
    pub(super) fn forget_if_stale(&mut self, now: u64, number: u32) {
        let stale = |swarm: &Swarm| {
            let idle = swarm.touched.age(now);
            !swarm.registered() && (swarm.downloaded() == 0 || idle >= self.config.empty_life)
        };
        if self.swarms.get(number).is_some_and(stale) {
            self.forget(number);
        }
    }

    /// Forgets a swarm, and whoever is still in it.
    fn forget(&mut self, number: u32) {
        let Some(swarm) = self.swarms.get(number) else {
            return;
        };
        let counts = members::counts(swarm, &self.larges);
        release(swarm, &mut self.larges);
        let info_hash = swarm.info_hash;
        let swarms = &self.swarms;
        self.table.remove(&info_hash, number, |number| {
            swarms
                .get(number)
                .map_or_else(InfoHash::default, |swarm| swarm.info_hash)
        });
        self.swarms.remove(number);
        self.count(counts, Counts::default());
    }

    /// Whether there are as many peers in all as there may be.
    pub(super) fn is_full(&self, elsewhere: Elsewhere) -> bool {
        self.held().peers + elsewhere.peers >= self.config.max_peers as u64
    }

    pub(super) fn is_empty(&self, number: u32) -> bool {
        let swarm = self.swarms.get(number);
        swarm.is_some_and(|swarm| {
            // A registered swarm is served all the same.
            !swarm.registered() && members::counts(swarm, &self.larges).all() == 0
        })
    }

    /// Makes room for the first peer of a swarm, which may be a new one, if the limits ask for it: of a
    /// few swarms, the one that matters least and was touched least recently goes. If none of them is
    /// empty or has a single peer, the tracker is full with real work, and says so. When it is peers
    /// that there are too many of, an empty swarm is no help.
    pub(super) fn make_room(
        &mut self,
        elsewhere: Elsewhere,
        new_swarm: bool,
    ) -> Result<(), Refusal> {
        let swarms = self.swarms.len() as u64 + elsewhere.swarms;
        let has_number = self.swarms.len() < table::MOST;
        let has_room = swarms < self.config.max_torrents as u64;
        let full = self.is_full(elsewhere);
        if !full && (!new_swarm || has_number && has_room) {
            return Ok(());
        }
        let end = self.swarms.end();
        let victim = (0..SAMPLES)
            .map(|_| self.rng.below(end.max(1)))
            .filter_map(|number| {
                let swarm = self.swarms.get(number)?;
                let peers = members::counts(swarm, &self.larges).all();
                let small = peers <= 1 && !swarm.registered();
                let helps = peers == 1 || !full;
                (small && helps).then_some((peers, swarm.touched, number))
            })
            .min();
        let Some((_, _, number)) = victim else {
            return Err(Refusal {
                reason: "this tracker is full: please use another".into(),
                retry_in: Some(RetryIn::Minutes(FULL_RETRY)),
            });
        };
        self.forget(number);
        self.stats.evictions += 1;
        Ok(())
    }

    /// Carries a swarm's change over to the totals.
    pub(super) fn count(&mut self, before: Counts, after: Counts) {
        let shift = |total: u64, before: u32, after: u32| {
            (total + u64::from(after)).saturating_sub(u64::from(before))
        };
        let stats = &mut self.stats;
        stats.seeds = shift(stats.seeds, before.seeds, after.seeds);
        let leeches = |counts: Counts| counts.leeches + counts.waiting;
        stats.leeches = shift(stats.leeches, leeches(before), leeches(after));
        stats.waiting = shift(stats.waiting, before.waiting, after.waiting);
        let one = |is: bool| u32::from(is);
        let complete = |counts: Counts| one(counts.is_complete());
        stats.complete = shift(stats.complete, complete(before), complete(after));
        let seedless = |counts: Counts| one(counts.is_seedless());
        stats.seedless = shift(stats.seedless, seedless(before), seedless(after));
    }

    /// Panics if the books do not balance.
    #[cfg(any(test, fuzzing))]
    #[doc(hidden)]
    pub fn check(&self) {
        assert_eq!(self.table.len(), self.swarms.len());
        let mut sums = (0, 0, 0);
        let mut states = (0, 0);
        for number in 0..self.swarms.end() {
            let Some(swarm) = self.swarms.get(number) else {
                continue;
            };
            assert_eq!(self.number(&swarm.info_hash), Some(number));
            members::check(swarm, &self.larges, self.key);
            let counts = members::counts(swarm, &self.larges);
            states.0 += u64::from(counts.is_complete());
            states.1 += u64::from(counts.is_seedless());
            let stats = numbers(swarm, counts);
            sums.0 += u64::from(stats.seeds);
            sums.1 += u64::from(stats.leeches);
            sums.2 += u64::from(stats.waiting);
        }
        let stats = self.stats();
        assert_eq!(sums, (stats.seeds, stats.leeches, stats.waiting));
        assert_eq!(states, (stats.complete, stats.seedless));
    }
}

impl SwarmStats {
    /// Whether everyone has all that it wants, and somebody is there.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.seeds > 0 && self.leeches == self.paused
    }

    /// Whether somebody wants it and nobody has it.
    #[must_use]
    pub fn is_seedless(&self) -> bool {
        self.seeds == 0 && self.leeches > 0
    }

    /// As a scrape says it.
    #[must_use]
    pub fn scrape(&self) -> ScrapeCounts {
        ScrapeCounts {
            complete: self.seeds,
            downloaded: self.downloaded,
            incomplete: self.leeches,
            downloaders: Some(self.leeches.saturating_sub(self.paused)),
        }
    }
}

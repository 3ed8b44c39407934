//! All swarms, and the policy of announces.

use super::config::Config;
use super::members::{Asker, Endpoint, Role, SAMPLES, Scope, Slot, Swarm, family};
use super::rng::Rng;
use samara_proto::tracker::{
    AnnounceReply, AnnounceRequest, Event, Refusal, RetryIn, ScrapeCounts, ScrapeReply,
};
use samara_proto::{InfoHash, PeerId};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// Peers of a swarm that are looked at for expiry whenever somebody announces to it: small swarms
/// are always true to the second, large ones are dealt with by [`Store::expire`].
const EXPIRE_ON_ANNOUNCE: usize = 16;

/// Peers and swarms that one call of [`Store::expire`] looks at: about a millisecond.
const EXPIRE_BUDGET: usize = 20_000;

/// Minutes after which a client that found the tracker full may ask again.
const FULL_RETRY: u32 = 15;

/// What a peer announces, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announce {
    /// The swarm.
    pub info_hash: InfoHash,
    /// What the peer calls itself.
    pub peer_id: PeerId,
    /// By which it is known again.
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
    /// Peers that lack something, those that wait included.
    pub leeches: u32,
    /// Leeches that have nothing and wait for a seed.
    pub waiting: u32,
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

/// A member of a swarm, for status pages and tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerInfo {
    /// What it calls itself.
    pub peer_id: PeerId,
    /// What it is to the swarm.
    pub role: Role,
    /// Its IPv4 address.
    pub v4: Option<SocketAddr>,
    /// Its IPv6 address.
    pub v6: Option<SocketAddr>,
}

/// All swarms. Times are milliseconds since any moment that stays the same.
#[derive(Clone, Debug)]
pub struct Store {
    config: Config,
    rng: Rng,
    index: BTreeMap<InfoHash, u32>,
    swarms: Vec<Option<Box<Swarm>>>,
    free: Vec<u32>,
    /// Where the walk that expires goes on.
    cursor: usize,
    stats: Stats,
}

impl Store {
    /// An empty one.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Self {
        Self {
            config,
            rng: Rng::new(seed),
            index: BTreeMap::new(),
            swarms: Vec::new(),
            free: Vec::new(),
            cursor: 0,
            stats: Stats::default(),
        }
    }

    /// Makes a swarm known before anybody announces: it is never evicted, it is served even where
    /// only registered swarms are, and if its `size` in bytes (padding left out) is given, a download
    /// that begins is told from one that goes on without guessing.
    pub fn register(&mut self, now: u64, info_hash: InfoHash, size: Option<u64>) {
        let slot = match self.index.get(&info_hash) {
            Some(slot) => *slot,
            None => self.add(info_hash, now),
        };
        if let Some(swarm) = self.swarm_mut(slot) {
            swarm.registered = true;
            swarm.size = size;
        }
    }

    /// Answers one announce.
    pub fn announce(&mut self, now: u64, announce: &Announce) -> Result<AnnounceReply, Refusal> {
        let answer = self.answer(now, announce);
        match answer {
            Ok(_) => self.stats.announces += 1,
            Err(_) => self.stats.refusals += 1,
        }
        answer
    }

    fn answer(&mut self, now: u64, announce: &Announce) -> Result<AnnounceReply, Refusal> {
        let source = announce.source.to_canonical();
        let stopped = announce.event == Event::Stopped;
        check_address(SocketAddr::new(source, announce.port), stopped)?;
        let slot = match self.index.get(&announce.info_hash) {
            Some(slot) => *slot,
            None if self.config.registered_only => {
                return Err(Refusal {
                    reason: "this tracker does not serve this torrent".into(),
                    retry_in: Some(RetryIn::Never),
                });
            }
            None if stopped => return Ok(self.goodbye(SwarmStats::default(), source)),
            None => {
                self.make_room()?;
                self.add(announce.info_hash, now)
            }
        };
        let Some(mut swarm) = self.swarms.get_mut(slot as usize).and_then(Option::take) else {
            return Err(Refusal::new("this swarm was lost: please report it"));
        };
        let before = numbers(&swarm);
        swarm.settle(now);
        swarm.touched = swarm.touched.max(now);
        let reply = if stopped {
            if let Some(peer) = swarm.find(&(announce.peer_id, announce.key)) {
                swarm.remove(peer);
                swarm.changed(&self.config);
            }
            self.goodbye(numbers(&swarm), source)
        } else {
            let peer = self.admit(now, &mut swarm, announce, source);
            self.tell(now, &mut swarm, peer, announce, source)
        };
        self.count(before, numbers(&swarm));
        self.swarms[slot as usize] = Some(swarm);
        Ok(reply)
    }

    /// Brings the membership up to date with what a peer says.
    fn admit(&mut self, now: u64, swarm: &mut Swarm, announce: &Announce, source: IpAddr) -> Slot {
        let config = &self.config;
        let identity = (announce.peer_id, announce.key);
        if let Some(left) = announce.left {
            swarm.largest_left = swarm.largest_left.max(left);
        }
        let known = swarm.find(&identity);
        if let Some(slot) = known
            && let Some(peer) = swarm.peer_mut(slot)
        {
            // It is late, but it is here: the walk below must not take it.
            for end in peer.ends.iter_mut().flatten() {
                end.expires = end.expires.max(now + 1);
            }
        }
        swarm.expire(now, EXPIRE_ON_ANNOUNCE, config);
        let is_new = known.is_none();
        if is_new {
            let full = self.stats.seeds + self.stats.leeches >= config.max_peers as u64;
            self.stats.evictions += swarm.make_room(source, full, config, &mut self.rng);
        }
        let done = match announce.left {
            Some(left) => left == 0,
            None => announce.event == Event::Completed,
        };
        // The address comes before the role is decided: whoever had it before is gone then, and if
        // that was the last seed, this is known.
        let slot = known.unwrap_or_else(|| swarm.insert(identity, Role::Waiting));
        let also = announce
            .also
            .map(|addr| SocketAddr::new(addr.ip().to_canonical(), addr.port()));
        let also = also.filter(|addr| family(addr.ip()) != family(source));
        let also = also.filter(|addr| check_address(*addr, false).is_ok());
        for addr in [Some(SocketAddr::new(source, announce.port)), also]
            .into_iter()
            .flatten()
        {
            let had = swarm
                .peer(slot)
                .and_then(|peer| peer.ends[family(addr.ip())].clone());
            let mut end = Endpoint::new(addr, now, config);
            if let Some(had) = had {
                let gap = now.saturating_sub(had.seen);
                // Only an announce that comes because its time has come shows the pace. A second of
                // tolerance: intervals are told in whole seconds.
                let on_time = announce.event == Event::None && gap + 1_000 >= had.told;
                end.pace = if on_time { gap } else { had.pace };
            }
            swarm.set_end(slot, end);
        }
        let was = swarm.peer(slot).map_or(Role::Waiting, |peer| peer.role);
        let seeds = swarm.count(Role::Seed) > 0;
        let role = if done {
            Role::Seed
        } else if was != Role::Waiting
            || seeds
            || config.allow_seedless
            || has_pieces(swarm, announce)
        {
            Role::Leech
        } else {
            Role::Waiting
        };
        swarm.set_role(slot, role);
        swarm.had_seed |= done;
        if let Some(peer) = swarm.peer_mut(slot) {
            peer.was_leech |= !done;
            if done && peer.was_leech && !peer.counted && announce.event == Event::Completed {
                peer.counted = true;
                swarm.downloaded = swarm.downloaded.saturating_add(1);
                self.stats.downloaded += 1;
            }
        }
        if is_new || (done && was != Role::Seed) {
            swarm.changed(&self.config);
        }
        slot
    }

    /// The answer to a member.
    fn tell(
        &mut self,
        now: u64,
        swarm: &mut Swarm,
        slot: Slot,
        announce: &Announce,
        source: IpAddr,
    ) -> AnnounceReply {
        let stats = numbers(swarm);
        let role = swarm.peer(slot).map_or(Role::Waiting, |peer| peer.role);
        let open = stats.seeds > 0 || self.config.allow_seedless;
        let roles: &[Role] = match role {
            Role::Seed => &[Role::Leech, Role::Waiting],
            Role::Leech if open => &[Role::Seed, Role::Leech, Role::Waiting],
            Role::Leech => &[Role::Leech],
            Role::Waiting => &[],
        };
        let wanted = announce.numwant.unwrap_or(self.config.default_numwant);
        let asker = Asker {
            family: family(source),
            scope: Scope::of(source),
            roles,
            want: wanted.min(self.config.max_numwant),
        };
        let (peers, peer_ids) = swarm.draw(slot, &asker, &mut self.rng).into_iter().unzip();
        let interval = self.interval(swarm, role);
        let seconds = ((interval + 500) / 1_000).max(1);
        for end in swarm
            .peer_mut(slot)
            .into_iter()
            .flat_map(|peer| peer.ends.iter_mut().flatten())
            .filter(|end| end.seen == now)
        {
            end.told = seconds * 1_000;
            let life = end.told.max(end.pace) * self.config.expiry_tenths / 10;
            end.expires = now + life.max(self.config.shortest_life);
        }
        // aria2 comes as often as `min interval` allows while it has nobody to talk to.
        let min = match role {
            Role::Waiting => seconds,
            _ => (seconds / 2).clamp(1, (self.config.longest_min_interval / 1_000).max(1)),
        };
        AnnounceReply {
            interval: u32::try_from(seconds).unwrap_or(u32::MAX),
            min_interval: u32::try_from(min).ok(),
            complete: Some(stats.seeds),
            incomplete: Some(stats.leeches),
            downloaded: Some(stats.downloaded),
            peers,
            peer_ids,
            warning: warning(role, &stats, open),
            tracker_id: None,
            external_ip: Some(source),
        }
    }

    /// The answer to one that leaves: counts, and nobody to connect to.
    fn goodbye(&self, stats: SwarmStats, source: IpAddr) -> AnnounceReply {
        AnnounceReply {
            interval: u32::try_from(self.config.longest_interval / 1_000).unwrap_or(u32::MAX),
            complete: Some(stats.seeds),
            incomplete: Some(stats.leeches),
            downloaded: Some(stats.downloaded),
            external_ip: Some(source),
            ..AnnounceReply::default()
        }
    }

    fn interval(&mut self, swarm: &Swarm, role: Role) -> u64 {
        let config = &self.config;
        let at_most = |peers: u64, a_second: u64| peers * 1_000 / a_second.max(1);
        let interval = if role == Role::Waiting {
            let waiting = u64::from(swarm.count(Role::Waiting));
            config
                .waiting_interval
                .max(at_most(waiting, config.waiting_per_second))
        } else {
            let calm = swarm.calm() / config.calm_divisor.max(1);
            calm.max(config.shortest_interval)
                .max(at_most(swarm.len() as u64, config.announces_per_second))
        };
        let interval = interval.min(config.longest_interval);
        self.rng.jitter(interval, config.jitter_percent)
    }

    /// The counts of swarms. Unknown ones are left out.
    pub fn scrape(&mut self, info_hashes: &[InfoHash]) -> ScrapeReply {
        self.stats.scrapes += 1;
        let files = info_hashes.iter().filter_map(|hash| {
            let stats = self.swarm(*hash)?;
            let counts = ScrapeCounts {
                complete: stats.seeds,
                downloaded: stats.downloaded,
                incomplete: stats.leeches,
            };
            Some((*hash, counts))
        });
        ScrapeReply {
            files: files.collect(),
            min_request_interval: None,
        }
    }

    /// One swarm in numbers; `None` if nobody has announced to it.
    #[must_use]
    pub fn swarm(&self, info_hash: InfoHash) -> Option<SwarmStats> {
        self.get(info_hash).map(numbers)
    }

    /// The members of one swarm, in no order that means anything.
    pub fn peers(&self, info_hash: InfoHash) -> impl Iterator<Item = PeerInfo> {
        let peers = self.get(info_hash).into_iter().flat_map(Swarm::peers);
        peers.map(|peer| PeerInfo {
            peer_id: peer.identity.0,
            role: peer.role,
            v4: peer.ends[0].as_ref().map(|end| end.addr),
            v6: peer.ends[1].as_ref().map(|end| end.addr),
        })
    }

    /// The whole tracker in numbers. O(1).
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            swarms: self.index.len() as u64,
            ..self.stats
        }
    }

    /// Forgets who is overdue. Bounded work: call it every second or so, and it goes round.
    pub fn expire(&mut self, now: u64) {
        let mut budget = EXPIRE_BUDGET;
        for _ in 0..self.swarms.len() {
            if budget == 0 {
                return;
            }
            if self.cursor >= self.swarms.len() {
                self.cursor = 0;
            }
            let at = self.cursor;
            let Some(mut swarm) = self.swarms.get_mut(at).and_then(Option::take) else {
                self.cursor += 1;
                budget -= 1;
                continue;
            };
            let before = numbers(&swarm);
            swarm.settle(now);
            let (looked, done) = swarm.expire(now, budget, &self.config);
            budget -= looked.clamp(1, budget);
            self.count(before, numbers(&swarm));
            if swarm.len() == 0 && !swarm.registered && self.is_stale(now, &swarm) {
                self.index.remove(&swarm.info_hash);
                self.free.push(at as u32);
            } else {
                self.swarms[at] = Some(swarm);
            }
            self.cursor += usize::from(done);
        }
    }

    fn is_stale(&self, now: u64, swarm: &Swarm) -> bool {
        swarm.downloaded == 0 || now.saturating_sub(swarm.touched) >= self.config.empty_life
    }

    fn get(&self, info_hash: InfoHash) -> Option<&Swarm> {
        let slot = *self.index.get(&info_hash)?;
        self.swarms.get(slot as usize)?.as_deref()
    }

    fn swarm_mut(&mut self, slot: u32) -> Option<&mut Swarm> {
        self.swarms.get_mut(slot as usize)?.as_deref_mut()
    }

    fn add(&mut self, info_hash: InfoHash, now: u64) -> u32 {
        let swarm = Some(Box::new(Swarm::new(info_hash, now)));
        let slot = match self.free.pop() {
            Some(slot) => {
                self.swarms[slot as usize] = swarm;
                slot
            }
            None => {
                self.swarms.push(swarm);
                (self.swarms.len() - 1) as u32
            }
        };
        self.index.insert(info_hash, slot);
        slot
    }

    /// Makes room for one more swarm, if the limit asks for it: of a few, the one that matters least
    /// and was touched least recently. If none of them is empty or has a single peer, the tracker is
    /// full with real work, and says so. The same when there are too many peers in all.
    fn make_room(&mut self) -> Result<(), Refusal> {
        let peers = self.stats.seeds + self.stats.leeches;
        if self.index.len() < self.config.max_torrents && peers < self.config.max_peers as u64 {
            return Ok(());
        }
        let slots = self.swarms.len() as u32;
        let victim = (0..SAMPLES)
            .map(|_| self.rng.below(slots.max(1)))
            .filter_map(|slot| {
                let swarm = self.swarms.get(slot as usize)?.as_deref()?;
                let small = swarm.len() <= 1 && !swarm.registered;
                small.then_some((swarm.len(), swarm.touched, slot))
            })
            .min();
        let Some((_, _, slot)) = victim else {
            return Err(Refusal {
                reason: "this tracker is full: please use another".into(),
                retry_in: Some(RetryIn::Minutes(FULL_RETRY)),
            });
        };
        if let Some(swarm) = self.swarms.get_mut(slot as usize).and_then(Option::take) {
            self.count(numbers(&swarm), SwarmStats::default());
            self.index.remove(&swarm.info_hash);
            self.free.push(slot);
            self.stats.evictions += 1;
        }
        Ok(())
    }

    /// Carries a swarm's change over to the totals.
    fn count(&mut self, before: SwarmStats, after: SwarmStats) {
        let shift = |total: u64, before: u32, after: u32| {
            (total + u64::from(after)).saturating_sub(u64::from(before))
        };
        let stats = &mut self.stats;
        stats.seeds = shift(stats.seeds, before.seeds, after.seeds);
        stats.leeches = shift(stats.leeches, before.leeches, after.leeches);
        stats.waiting = shift(stats.waiting, before.waiting, after.waiting);
    }

    #[cfg(test)]
    pub(super) fn check(&self) {
        assert_eq!(self.index.len() + self.free.len(), self.swarms.len());
        let mut sums = (0, 0, 0);
        for (hash, slot) in &self.index {
            let swarm = self.swarms[*slot as usize].as_deref().expect("there");
            assert_eq!(swarm.info_hash, *hash);
            swarm.check();
            let stats = numbers(swarm);
            sums.0 += u64::from(stats.seeds);
            sums.1 += u64::from(stats.leeches);
            sums.2 += u64::from(stats.waiting);
        }
        let stats = self.stats();
        assert_eq!(sums, (stats.seeds, stats.leeches, stats.waiting));
    }
}

fn numbers(swarm: &Swarm) -> SwarmStats {
    let waiting = swarm.count(Role::Waiting);
    SwarmStats {
        seeds: swarm.count(Role::Seed),
        leeches: swarm.count(Role::Leech) + waiting,
        waiting,
        downloaded: swarm.downloaded,
        had_seed: swarm.had_seed,
    }
}

/// Whether a leech has something already, as far as can be known.
fn has_pieces(swarm: &Swarm, announce: &Announce) -> bool {
    let size = swarm.size.or(announce.size).unwrap_or(swarm.largest_left);
    announce.downloaded > 0 || announce.left.is_some_and(|left| left < size)
}

fn check_address(addr: SocketAddr, stopped: bool) -> Result<(), Refusal> {
    let ip = addr.ip();
    let reason = if addr.port() == 0 && !stopped {
        "port 0 cannot be connected to: announce the port on which you listen"
    } else if ip.is_unspecified() || ip.is_multicast() || ip == IpAddr::from([255; 4]) {
        "the address you announce from cannot be connected to"
    } else {
        return Ok(());
    };
    Err(Refusal {
        reason: reason.into(),
        retry_in: Some(RetryIn::Never),
    })
}

/// What a leech should know about a swarm without a seed.
fn warning(role: Role, stats: &SwarmStats, open: bool) -> Option<String> {
    let since = if stats.had_seed {
        "no seed any more"
    } else {
        "no seed yet"
    };
    let (n, begun) = (stats.waiting, stats.leeches - stats.waiting);
    let plural = |n: u32, one: &'static str, many: &'static str| if n == 1 { one } else { many };
    match role {
        Role::Waiting => Some(format!(
            "{since}: {n} {} waiting",
            plural(n, "leech is", "leeches are")
        )),
        Role::Leech if !open => Some(format!(
            "{since}: {begun} {} with what they have",
            plural(begun, "leech goes on", "leeches go on")
        )),
        _ => None,
    }
}

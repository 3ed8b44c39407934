//! One peer's visit to one swarm: what it is, until when it is expected, and who it is told of.

use super::answer::{Answer, Sink};
use super::config::Config;
use super::members::{Asker, Members, Place, Swarm, pack};
use super::news::worth_telling;
use super::pool::{Audience, Counts};
use super::record::{MAX_LIFE, Meta, Role, Scope};
use super::rng::Rng;
use super::saved::flags_of;
use super::store::{Announce, SwarmStats};
use samara_proto::tracker::{Event, Refusal, RetryIn};
use std::net::{IpAddr, SocketAddr};

/// Peers of a swarm that are looked at for expiry whenever somebody announces to it: small swarms
/// are always true to the second, large ones are dealt with by
/// [`Store::expire`](super::Store::expire).
const EXPIRE_ON_ANNOUNCE: usize = 16;

/// What an announce did besides the membership.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Change {
    pub(super) evicted: u64,
    pub(super) completed: bool,
    /// What others are to hear: of which addresses, and, unless it has left, what it is and for how
    /// many milliseconds it is expected.
    pub(super) addrs: [Option<SocketAddr>; 2],
    pub(super) here: Option<(Role, Meta, u64)>,
}

/// One peer's visit to one swarm.
pub(super) struct Visit<'a> {
    pub(super) now: u64,
    pub(super) config: &'a Config,
    pub(super) rng: &'a mut Rng,
    /// By how much intervals are to be longer, in per cent.
    pub(super) stretch: u64,
    /// Bytes of the torrent, where it was made known.
    pub(super) size: Option<u64>,
    pub(super) members: Members<'a>,
}

impl Visit<'_> {
    /// Who a member is told of. Partial seeds and seeds have nothing for each other.
    fn audience(role: Role, open: bool, paused: bool) -> Audience {
        match role {
            Role::Seed => Audience::Leeches,
            Role::Leech if !open => Audience::Begun,
            Role::Leech if paused => Audience::Leeches,
            Role::Leech => Audience::All,
            Role::Waiting => Audience::Nobody,
        }
    }

    fn numbers(&self) -> SwarmStats {
        numbers(self.members.swarm, self.members.counts())
    }

    fn changed(&mut self) {
        let peers = self.members.counts().all();
        self.members.swarm.changed(self.now, peers, self.config);
    }

    /// It leaves, at both of its addresses; at which it was there.
    pub(super) fn leave(&mut self, announce: &Announce, source: IpAddr) -> [Option<SocketAddr>; 2] {
        let here = SocketAddr::new(source, announce.port);
        let left = [Some(here), other_half(announce, source)].map(|addr| {
            let place = Place::new(addr?);
            let (_, _, at) = self.members.find(&place)?;
            self.members.remove(&place, at);
            addr
        });
        if left.iter().any(Option::is_some) {
            self.changed();
        }
        left
    }

    /// It comes or goes on, and is told of others.
    // long: one announce from beginning to end; the steps share the swarm they have looked up
    pub(super) fn stay(
        &mut self,
        announce: &Announce,
        source: IpAddr,
        full: impl Fn(u64) -> bool,
        change: &mut Change,
        sink: &mut impl Sink,
    ) -> Answer {
        let now = self.now;
        let place = Place::new(SocketAddr::new(source, announce.port));
        if let Some(left) = announce.left {
            let most = &mut self.members.swarm.largest_left;
            *most = (*most).max(pack(left));
        }
        let gone = self
            .members
            .expire_some(now, &place, EXPIRE_ON_ANNOUNCE, self.rng);
        (0..gone).for_each(|_| self.changed());
        let known = self.members.find(&place);
        if known.is_none() {
            change.evicted = self
                .members
                .make_room(now, &place, full(0), self.config, self.rng);
        }
        let done = match announce.left {
            Some(left) => left == 0,
            None => announce.event == Event::Completed,
        };
        // Whoever starts has not been told of anybody, whoever was there before it.
        let was = known.map(|(role, ..)| role);
        let was = was.filter(|_| announce.event != Event::Started);
        let own = u32::from(known.is_some_and(|(role, ..)| role == Role::Seed));
        let others_seed = self.members.counts().seeds > own;
        let role = self.role(announce, was.unwrap_or(Role::Waiting), done, others_seed);
        let at = match known {
            Some((old, _, at)) if old == role => at,
            Some((_, meta, at)) => {
                if role == Role::Seed && meta.paused() {
                    self.members.set_meta(&place, at, meta.with_paused(false));
                }
                self.members.set_role(&place, at, role)
            }
            None => self.members.insert(&place, role),
        };
        if done {
            self.members.swarm.set_had_seed();
        }
        let mut meta = known.map_or_else(Meta::default, |(_, meta, _)| meta);
        if known.is_none() || (announce.event == Event::Started && !done) {
            meta = meta.with_countable(!done);
        }
        if done && meta.countable() && announce.event == Event::Completed {
            meta = meta.with_countable(false);
            self.members.swarm.add_downloaded(1);
            change.completed = true;
        }
        meta = meta.with_paused(announce.event == Event::Paused && role == Role::Leech);
        if known.is_none() || (done && was != Some(Role::Seed)) {
            self.changed();
        }
        let other = other_half(announce, source);
        let coming = u64::from(known.is_none()).saturating_sub(change.evicted);
        let also = other.and_then(|addr| self.admit_other(addr, role, || full(coming)));
        let stats = self.numbers();
        let open = stats.seeds > 0 || self.config.allow_seedless;
        let interval = self.interval(role, &stats);
        let seconds = ((interval + 500) / 1_000).max(1);
        let (meta, life) = self.expect(announce.event, known.is_some(), meta, seconds * 1_000);
        self.members.set_meta(&place, at, meta.with_life(now, life));
        if let Some((other, at)) = &also {
            let meta = Meta::default().with_paused(meta.paused());
            self.members.set_meta(other, *at, meta.with_life(now, life));
        }
        let same = known.filter(|(old, noted, _)| {
            *old == role && flags_of(role, *noted) == flags_of(role, meta)
        });
        let gap = same.map(|(_, noted, _)| life.saturating_sub(noted.remaining(now)));
        if gap.is_none_or(|gap| worth_telling(now, gap, life)) {
            // Of a second address that was not let in, nobody else should hear either.
            let let_in = other.filter(|_| also.is_some());
            change.addrs = [Some(SocketAddr::new(source, announce.port)), let_in];
            change.here = Some((role, meta, life));
        }
        let asker = Asker {
            place,
            own: Some(at),
            other: also.map(|(_, at)| at),
            scope: Scope::of(source),
            audience: Self::audience(role, open, meta.paused()),
            want: self.want(announce.numwant),
        };
        if asker.want > 0 {
            self.members.draw(&asker, self.rng, sink);
        }
        self.words(role, open, seconds, stats)
    }

    fn role(&self, announce: &Announce, was: Role, done: bool, others_seed: bool) -> Role {
        if done {
            return Role::Seed;
        }
        if was != Role::Waiting
            || others_seed
            || self.config.allow_seedless
            || self.has_pieces(announce)
            || announce.event == Event::Paused
        {
            Role::Leech
        } else {
            Role::Waiting
        }
    }

    /// Whether a leech has something already, as far as can be known.
    fn has_pieces(&self, announce: &Announce) -> bool {
        let less = |left: u64| match self.size.or(announce.size) {
            Some(size) => left < size,
            None => pack(left) < self.members.swarm.largest_left,
        };
        announce.downloaded > 0 || announce.left.is_some_and(less)
    }

    /// The peer's address in the other family; where it stands. A second address is let in where there is
    /// room: nobody is evicted for it.
    fn admit_other(
        &mut self,
        addr: SocketAddr,
        role: Role,
        full: impl Fn() -> bool,
    ) -> Option<(Place, usize)> {
        let place = Place::new(addr);
        let at = match self.members.find(&place) {
            Some((_, meta, at)) => {
                if meta.paused() {
                    self.members.set_meta(&place, at, meta.with_paused(false));
                }
                self.members.set_role(&place, at, role)
            }
            None if full()
                || !self
                    .members
                    .has_room(self.now, &place, self.config, self.rng) =>
            {
                return None;
            }
            None => self.members.insert(&place, role),
        };
        Some((place, at))
    }

    /// For how long it is expected. One that has come when it was told to is expected to do so
    /// again; of others it is thought that they come no more often than every
    /// [`Config::unproven_pace`].
    fn expect(&self, event: Event, known: bool, meta: Meta, told: u64) -> (Meta, u64) {
        let config = self.config;
        let patience = |interval: u64| {
            let life = interval * config.expiry_tenths / 10;
            life.max(config.shortest_life).min(MAX_LIFE)
        };
        let unproven = patience(config.unproven_pace);
        let mut prompt = known && meta.prompt();
        if known && !prompt && event == Event::None && told < config.unproven_pace {
            // What is left of its time says how long ago it last came, if it was told an interval
            // below the pace then. Only an announce that comes because its time has come shows
            // anything: not earlier than half of what it is told now, nor later than half as much
            // again; 2 s are a tick, 1 s is that intervals are told in whole seconds.
            let gap = unproven.checked_sub(meta.remaining(self.now));
            prompt =
                gap.is_some_and(|gap| gap + 3_000 >= told / 2 && gap <= told + told / 2 + 3_000);
        }
        let pace = if prompt { 0 } else { config.unproven_pace };
        (meta.with_prompt(prompt), patience(told.max(pace)))
    }

    fn want(&self, numwant: Option<u32>) -> usize {
        let want = numwant.unwrap_or(self.config.default_numwant);
        want.min(self.config.max_numwant) as usize
    }

    fn words(&self, role: Role, open: bool, seconds: u64, stats: SwarmStats) -> Answer {
        // aria2 comes as often as `min interval` allows while it has nobody to talk to.
        let min = match role {
            Role::Waiting => seconds,
            _ => (seconds / 2).clamp(1, (self.config.longest_min_interval / 1_000).max(1)),
        };
        Answer {
            interval: u32::try_from(seconds).unwrap_or(u32::MAX),
            min_interval: u32::try_from(min).ok(),
            role: Some(role),
            open,
            stats,
        }
    }

    fn interval(&mut self, role: Role, stats: &SwarmStats) -> u64 {
        let config = self.config;
        let at_most = |peers: u32, a_second: u64| u64::from(peers) * 1_000 / a_second.max(1);
        let interval = if role == Role::Waiting {
            config
                .waiting_interval
                .max(at_most(stats.waiting, config.waiting_per_second))
        } else {
            let calm = self.members.swarm.calm(self.now) / config.calm_divisor.max(1);
            let peers = stats.seeds + stats.leeches;
            calm.max(config.shortest_interval)
                .max(at_most(peers, config.announces_per_second))
                .saturating_mul(self.stretch)
                / 100
        };
        let interval = interval.min(config.longest_interval);
        self.rng.jitter(interval, config.jitter_percent)
    }
}

pub(super) fn numbers(swarm: &Swarm, counts: Counts) -> SwarmStats {
    SwarmStats {
        seeds: counts.seeds,
        leeches: counts.leeches + counts.waiting,
        waiting: counts.waiting,
        paused: counts.paused,
        downloaded: swarm.downloaded(),
        had_seed: swarm.had_seed(),
    }
}

/// The asker's address in the other family, if it is one that can be connected to.
fn other_half(announce: &Announce, source: IpAddr) -> Option<SocketAddr> {
    let also = announce.also?;
    let also = SocketAddr::new(also.ip().to_canonical(), also.port());
    let fits = also.is_ipv6() != source.is_ipv6() && check_address(also, false).is_ok();
    fits.then_some(also)
}

pub(super) fn check_address(addr: SocketAddr, stopped: bool) -> Result<(), Refusal> {
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

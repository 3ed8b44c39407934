//! What a run is made of: hosts, links, a torrent, and what goes wrong. Plain data, so that a run can be
//! printed and made again.

mod drawn;
mod named;

pub use drawn::drawn;
pub use named::{NAMES, PIECE_TIME, named};

use crate::net::{LinkSpec, NetSpec};
use samara_engine::{Config, Duration, Instant};

/// Bytes a second of one Mbit/s.
pub const MBIT: u64 = 125_000;

/// A whole run.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What people call it.
    pub name: String,
    /// All randomness grows from here.
    pub seed: u64,
    /// Bytes of a piece.
    pub piece_length: u32,
    /// Bytes of the torrent.
    pub total: u64,
    /// Who takes part, seeds first.
    pub hosts: Vec<HostSpec>,
    /// What all connections have in common.
    pub net: NetSpec,
    /// The tracker.
    pub tracker: TrackerSpec,
    /// What happens to the world, and when.
    pub faults: Vec<(Instant, Fault)>,
    /// From when on nothing is broken any more: everybody who can finish must finish.
    pub healed: Instant,
    /// A run that is not over by then has failed.
    pub limit: Instant,
    /// The run goes on until everybody has left of itself, rather than until the last leech has finished.
    pub until_all_left: bool,
    /// Settings of every engine; the goal of seeding is each host's own.
    pub config: Config,
    /// What is watched.
    pub checks: Checks,
}

/// How closely a run is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checks {
    /// Every message against the protocol: about twice the time, and memory for each connection.
    All,
    /// Only sums and finishes: for large swarms.
    Sums,
}

/// One host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSpec {
    /// Has everything from the start.
    pub seed: bool,
    /// Has all pieces but this one from the start.
    pub lacks: Option<u32>,
    /// How it is connected.
    pub link: LinkSpec,
    /// When it starts.
    pub arrives: Instant,
    /// When it goes.
    pub leaves: Leave,
    /// Cannot be dialled.
    pub natted: bool,
    /// How it behaves.
    pub citizen: Citizen,
    /// What its disk is like.
    pub disk: DiskSpec,
}

impl HostSpec {
    /// A well-behaved host that stays.
    #[must_use]
    pub fn new(seed: bool, up: u64, down: u64) -> Self {
        Self {
            seed,
            lacks: None,
            link: LinkSpec {
                up,
                down,
                delay: Duration::from_millis(5),
            },
            arrives: Instant::ZERO,
            leaves: Leave::Never,
            natted: false,
            citizen: Citizen::Honest,
            disk: DiskSpec::default(),
        }
    }
}

/// When a host goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// It stays to the end of the run.
    Never,
    /// When nobody lacks anything, as far as it can see (what `--seed everyone` does).
    Everyone,
    /// As soon as it has everything.
    WhenComplete,
    /// So long after it has everything.
    After(Duration),
    /// As soon as the others together have one full copy: the harshest seed that is still enough.
    AfterOneCopy,
}

/// How a host behaves. All but the honest one are an unmodified engine whose words and deeds are
/// bent on their way out, so that they know the protocol as well as anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Citizen {
    /// Does what the engine says.
    Honest,
    /// Every `n`-th block that it sends is wrong.
    Corruptor(u32),
    /// Says that it has everything, has nothing, and answers no request.
    Liar,
    /// Downloads and never uploads.
    FreeRider,
    /// Hangs up on everybody every so often.
    Flapper(Duration),
    /// Sends each block only after this long.
    SlowLoris(Duration),
}

/// What a disk is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpec {
    /// Bytes hashed a second. One SHA-1 lane with the SHA instructions does about 1 GB/s.
    pub hash_rate: u64,
    /// Bytes written or read a second.
    pub rate: u64,
    /// Time before every write.
    pub seek: Duration,
    /// It is full after so many pieces.
    pub full_after: Option<u32>,
}

impl Default for DiskSpec {
    fn default() -> Self {
        Self {
            hash_rate: 1_000_000_000,
            rate: 1_000_000_000,
            seek: Duration::ZERO,
            full_after: None,
        }
    }
}

/// The tracker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackerSpec {
    /// From a host's core to the tracker, one way.
    pub delay: Duration,
    /// Lets downloads begin without a seed.
    pub allow_seedless: bool,
}

impl Default for TrackerSpec {
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(10),
            allow_seedless: false,
        }
    }
}

/// Something that happens to the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// These hosts are cut off from the others, and see each other only.
    Split(Vec<u32>),
    /// All hosts see each other again.
    Join,
    /// The process dies; the system closes its connections. What was journalled is kept.
    Crash(u32),
    /// It is started again.
    Restart(u32),
    /// The tracker does not answer.
    TrackerDown,
    /// It answers again.
    TrackerUp,
    /// So many connections, taken at random, are reset.
    Reset(u32),
    /// This host is told to stop politely.
    Stop(u32),
}

impl Scenario {
    /// A quiet world: `seeds` and `leeches` with the given up- and downlinks.
    #[must_use]
    pub fn plain(name: &str, seed: u64, total: u64, piece_length: u32) -> Self {
        Self {
            name: name.into(),
            seed,
            piece_length,
            total,
            hosts: Vec::new(),
            net: NetSpec::default(),
            tracker: TrackerSpec::default(),
            faults: Vec::new(),
            healed: Instant::ZERO,
            limit: Instant::ZERO + Duration::from_secs(24 * 3600),
            until_all_left: false,
            config: Config::default(),
            checks: Checks::All,
        }
    }

    /// Adds `count` hosts like `host`.
    #[must_use]
    pub fn with(mut self, count: usize, host: &HostSpec) -> Self {
        self.hosts.extend(core::iter::repeat_n(host.clone(), count));
        self
    }

    /// Leeches that are expected to get everything.
    pub fn leeches(&self) -> impl Iterator<Item = usize> + '_ {
        let all = self.hosts.iter().enumerate();
        all.filter(|(_, host)| !host.seed && host.citizen != Citizen::Liar)
            .map(|(at, _)| at)
    }

    /// The time before which nobody can make the last leech finish, by Kumar and Ross 2006:
    /// `max(F/u_s, F/d_min, N F/(u_s + sum u))`, headers counted, from the arrival of the first seed.
    /// Hosts that come late, leave or send nothing only make it later.
    #[must_use]
    pub fn bound(&self) -> Duration {
        let wire = self.total as f64 * (1000 + self.net.header_permille) as f64 / 1000.0;
        let rate = |of: &dyn Fn(&HostSpec) -> bool| -> f64 {
            let up = self.hosts.iter().filter(|host| of(host));
            up.map(|host| host.link.up as f64).sum()
        };
        let leeches: Vec<usize> = self.leeches().collect();
        let seeds = rate(&|host| host.seed);
        // Who lacks one piece fetches no more than that, and has the others before any seed has sent them.
        let begun = leeches.iter().any(|&at| self.hosts[at].lacks.is_some());
        let share = f64::from(self.piece_length) / self.total as f64;
        let of_seeds = if begun { share.min(1.0) * wire } else { wire };
        let fresh = |at: &&usize| self.hosts[**at].lacks.is_none();
        let wanted = leeches.iter().filter(fresh).count() as f64;
        // Where no leech can be dialled, leeches have no connections but to seeds.
        let joined = leeches.iter().any(|&at| !self.hosts[at].natted);
        let all = if joined { rate(&|_| true) } else { seeds };
        let down = leeches.iter().filter(fresh);
        let down = down.map(|&at| self.hosts[at].link.down).min();
        let times = [
            of_seeds / seeds.max(1.0),
            wire / down.unwrap_or(u64::MAX) as f64,
            wanted * wire / all.max(1.0),
        ];
        let seconds = times.into_iter().fold(0.0, f64::max);
        let start = self.hosts.iter().filter(|host| host.seed);
        let start = start.map(|host| host.arrives).min().unwrap_or_default();
        start.since(Instant::ZERO) + Duration::from_nanos((seconds * 1e9) as u64)
    }

    /// The bound without packet headers: what measurements on real sockets are set against.
    #[must_use]
    pub fn bound_of_payload(&self) -> Duration {
        let mut bare = self.clone();
        bare.net.header_permille = 0;
        bare.bound()
    }
}

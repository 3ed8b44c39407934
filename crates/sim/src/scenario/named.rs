//! Settings that have a name: those of the literature, and those that Samara's targets are set in.

use super::{Checks, Citizen, HostSpec, Leave, MBIT, Scenario};
use samara_engine::rng::Rng;
use samara_engine::{Duration, Instant, Seed};

/// Names that [`named`] knows, each with a line about it.
pub const NAMES: &[(&str, &str)] = &[
    (
        "s1",
        "16 leeches, every uplink 20 Mbit/s, 64 MiB in pieces of 512 KiB",
    ),
    ("s2", "the same with a seed of 100 Mbit/s"),
    ("mixed", "s1 with uplinks of 5 to 80 Mbit/s"),
    (
        "arrivals",
        "s1 with leeches that come over the time of the transfer",
    ),
    ("leavers", "s1 with leeches that leave when they are done"),
    (
        "onecopy",
        "s1 with a seed that goes as soon as there is one copy",
    ),
    (
        "everyone",
        "20 leeches, all stay until nobody lacks anything",
    ),
    ("tiny", "a torrent of three pieces"),
    ("burst", "1 MiB to 50 hosts"),
    ("one", "one leech only"),
    ("nat", "s1 where only the seed can be dialled"),
    (
        "corruptor",
        "four leeches, one of them sends every tenth block wrong",
    ),
    (
        "citizens",
        "s1 with a liar, a free rider, a flapper, a slow loris and a corruptor",
    ),
    ("riders", "s1 in which every fourth leech gives nothing"),
    ("waiting", "leeches that are there 30 s before the seed"),
    (
        "bharambe",
        "1000 leeches 1500/400 kbit/s, seed 6000, 400 x 256 KiB, leaving at once",
    ),
    (
        "oneclub",
        "40 that lack the same piece, and 120 newcomers; all leave at once, the seed sends half a piece for each",
    ),
];

/// The scenario called `name`, with `leeches` leeches where that is not part of its nature.
#[must_use]
pub fn named(name: &str, seed: u64, leeches: Option<usize>) -> Option<Scenario> {
    let n = leeches.unwrap_or(16);
    let s1 = Scenario::plain(name, seed, 64 << 20, 512 << 10);
    Some(match name {
        "s1" => s1.with(1, &source(20)).with(n, &leech()),
        "s2" => s1.with(1, &source(100)).with(n, &leech()),
        "tiny" => {
            let mut it = s1.with(1, &source(20)).with(n, &leech());
            it.total = 3 * u64::from(it.piece_length) - 1000;
            it
        }
        "burst" => {
            let it = Scenario::plain(name, seed, 1 << 20, 16 << 10);
            it.with(1, &source(20))
                .with(leeches.unwrap_or(50), &leech())
        }
        "one" => s1.with(1, &source(20)).with(1, &leech()),
        "bharambe" => bharambe(seed, leeches.unwrap_or(1000)),
        "oneclub" => one_club(seed, leeches.unwrap_or(120)),
        "everyone" => coming_and_going(name, s1, leeches.unwrap_or(20))?,
        "corruptor" | "citizens" | "riders" => in_bad_company(name, s1, n),
        _ => coming_and_going(name, s1, n)?,
    })
}

/// Bytes a second of a downlink that is never what counts.
const WIDE: u64 = 1000 * MBIT;

fn leech() -> HostSpec {
    HostSpec::new(false, 20 * MBIT, WIDE)
}

fn source(mbit: u64) -> HostSpec {
    HostSpec::new(true, mbit * MBIT, WIDE)
}

/// S1 in which hosts differ, come late or leave.
fn coming_and_going(name: &str, s1: Scenario, n: usize) -> Option<Scenario> {
    let leaving = |leaves, host: HostSpec| HostSpec { leaves, ..host };
    let plain = |it: Scenario| it.with(1, &source(20)).with(n, &leech());
    Some(match name {
        "mixed" => {
            let mut it = plain(s1);
            for (at, leech) in it.hosts.iter_mut().skip(1).enumerate() {
                // 5, 10, 20, 40, 80 and again: every class is there from five leeches on.
                leech.link.up = (5 << (at % 5)) * MBIT;
            }
            it
        }
        "arrivals" => {
            let mut rng = Rng::new(Seed(s1.seed), "arrivals");
            let mut it = plain(s1);
            for leech in it.hosts.iter_mut().skip(1) {
                leech.arrives = Instant::ZERO + Duration::from_millis(rng.below(27_000).into());
            }
            it
        }
        "leavers" => {
            let it = s1.with(1, &source(20));
            it.with(n, &leaving(Leave::WhenComplete, leech()))
        }
        "onecopy" => {
            let it = s1.with(1, &leaving(Leave::AfterOneCopy, source(20)));
            it.with(n, &leech())
        }
        "everyone" => {
            let it = s1.with(1, &leaving(Leave::Everyone, source(20)));
            let mut it = it.with(n, &leaving(Leave::Everyone, leech()));
            it.until_all_left = true;
            it
        }
        "nat" => {
            let mut it = plain(s1);
            it.hosts
                .iter_mut()
                .skip(1)
                .for_each(|host| host.natted = true);
            it
        }
        "waiting" => {
            let mut it = plain(s1);
            it.hosts[0].arrives = Instant::ZERO + Duration::from_secs(30);
            it
        }
        _ => return None,
    })
}

/// S1 with hosts that do not play fair.
fn in_bad_company(name: &str, s1: Scenario, n: usize) -> Scenario {
    let bad = |citizen| HostSpec { citizen, ..leech() };
    let it = s1.with(1, &source(20));
    if name == "corruptor" {
        return it.with(3, &leech()).with(1, &bad(Citizen::Corruptor(10)));
    }
    if name == "riders" {
        let mut it = it.with(n, &leech());
        for at in (1..=n).step_by(4) {
            it.hosts[at].citizen = Citizen::FreeRider;
        }
        return it;
    }
    let them = [
        Citizen::Liar,
        Citizen::FreeRider,
        Citizen::Flapper(Duration::from_secs(3)),
        Citizen::SlowLoris(Duration::from_secs(20)),
        Citizen::Corruptor(10),
    ];
    let it = it.with(n, &leech());
    them.into_iter()
        .fold(it, |it, citizen| it.with(1, &bad(citizen)))
}

/// Bharambe, Herley and Padmanabhan 2006: a flash crowd within 10 s, no headers, messages that cost no
/// time, leaving at once; their default settings (degree 7, 5 uploads at a time).
fn bharambe(seed: u64, leeches: usize) -> Scenario {
    let mut rng = Rng::new(Seed(seed), "arrivals");
    let mut it = Scenario::plain("bharambe", seed, 400 * (256 << 10), 256 << 10);
    it.net.header_permille = 0;
    it.net.messages_first = true;
    it.checks = Checks::Sums;
    it.config.peers_max = 14;
    it.config.peers_wanted = 7;
    it.config.upload_slots = 4;
    it.config.upload_slots_max = 4;
    it.config.optimistic_slots = 1;
    let leech = HostSpec {
        leaves: Leave::WhenComplete,
        ..HostSpec::new(false, 50_000, 187_500)
    };
    let source = HostSpec::new(true, 750_000, 750_000);
    it = it.with(1, &source).with(leeches, &leech);
    for host in it.hosts.iter_mut().skip(1) {
        host.arrives = Instant::ZERO + Duration::from_millis(rng.below(10_000).into());
    }
    it
}

/// Time in which a host of [`one_club`] sends one piece.
pub const PIECE_TIME: Duration = Duration::from_secs(10);

/// Hajek and Zhu 2010: a crowd lacks one and the same piece (the one-club), newcomers get the other pieces from it at
/// once, for downlinks are wide, and join it, and whoever gets the missing piece leaves. A host sends a piece in
/// [`PIECE_TIME`], which is long for the engine's clocks; one newcomer comes in each, and the seed sends half a
/// piece in it.
fn one_club(seed: u64, newcomers: usize) -> Scenario {
    const PIECE: u32 = 64 << 10;
    let mut rng = Rng::new(Seed(seed), "arrivals");
    let mut it = Scenario::plain("oneclub", seed, 8 * u64::from(PIECE), PIECE);
    it.net.header_permille = 0;
    it.net.messages_first = true;
    it.checks = Checks::Sums;
    let seconds = PIECE_TIME.as_nanos() / 1_000_000_000;
    let rate = u64::from(PIECE) / seconds;
    let newcomer = HostSpec {
        leaves: Leave::WhenComplete,
        ..HostSpec::new(false, rate, WIDE)
    };
    let member = HostSpec {
        lacks: Some(0),
        ..newcomer
    };
    it = it.with(1, &HostSpec::new(true, rate / 2, WIDE));
    it = it.with(40, &member).with(newcomers, &newcomer);
    let period = (seconds * 1000) as u32;
    for (at, host) in (0u64..).zip(it.hosts.iter_mut().skip(41)) {
        let from = PIECE_TIME.times(at) + Duration::from_millis(rng.below(period).into());
        host.arrives = Instant::ZERO + from;
    }
    it
}

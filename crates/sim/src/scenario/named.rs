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
    ("waiting", "leeches that are there 30 s before the seed"),
    (
        "bharambe",
        "1000 leeches 1500/400 kbit/s, seed 6000, 400 x 256 KiB, leaving at once",
    ),
];

/// The scenario called `name`, with `leeches` leeches where that is not part of its nature.
#[must_use]
pub fn named(name: &str, seed: u64, leeches: Option<usize>) -> Option<Scenario> {
    let n = leeches.unwrap_or(16);
    let host = HostSpec::new(false, 20 * MBIT, 1000 * MBIT);
    let source = |up: u64| HostSpec::new(true, up * MBIT, 1000 * MBIT);
    let s1 = || Scenario::plain(name, seed, 64 << 20, 512 << 10);
    let mut rng = Rng::new(Seed(seed), "scenario");
    Some(match name {
        "s1" => s1().with(1, &source(20)).with(n, &host),
        "s2" => s1().with(1, &source(100)).with(n, &host),
        "mixed" => {
            let mut it = s1().with(1, &source(20)).with(n, &host);
            for (at, leech) in it.hosts.iter_mut().skip(1).enumerate() {
                // 5, 10, 20, 40, 80 and again: a spread of sixteen with every class in it.
                leech.link.up = (5 << (at % 5)) * MBIT;
            }
            it
        }
        "arrivals" => {
            let mut it = s1().with(1, &source(20)).with(n, &host);
            for leech in it.hosts.iter_mut().skip(1) {
                leech.arrives = Instant::ZERO + Duration::from_millis(rng.below(27_000).into());
            }
            it
        }
        "leavers" => {
            let host = HostSpec {
                leaves: Leave::WhenComplete,
                ..host
            };
            s1().with(1, &source(20)).with(n, &host)
        }
        "onecopy" => {
            let seed = HostSpec {
                leaves: Leave::AfterOneCopy,
                ..source(20)
            };
            s1().with(1, &seed).with(n, &host)
        }
        "everyone" => {
            let stay = |spec: HostSpec| HostSpec {
                leaves: Leave::Everyone,
                ..spec
            };
            let mut it = s1().with(1, &stay(source(20)));
            it = it.with(leeches.unwrap_or(20), &stay(host));
            it.until_all_left = true;
            it
        }
        "tiny" => {
            let mut it = s1().with(1, &source(20)).with(n, &host);
            it.total = 3 * u64::from(it.piece_length) - 1000;
            it
        }
        "burst" => {
            let mut it = Scenario::plain(name, seed, 1 << 20, 16 << 10);
            it = it.with(1, &source(20));
            it.with(leeches.unwrap_or(50), &host)
        }
        "one" => s1().with(1, &source(20)).with(1, &host),
        "nat" => {
            let host = HostSpec {
                natted: true,
                ..host
            };
            s1().with(1, &source(20)).with(n, &host)
        }
        "corruptor" => {
            let it = s1().with(1, &source(20)).with(3, &host);
            let bad = HostSpec {
                citizen: Citizen::Corruptor(10),
                ..host
            };
            it.with(1, &bad)
        }
        "citizens" => {
            let mut it = s1().with(1, &source(20)).with(n, &host);
            for citizen in [
                Citizen::Liar,
                Citizen::FreeRider,
                Citizen::Flapper(Duration::from_secs(3)),
                Citizen::SlowLoris(Duration::from_secs(20)),
                Citizen::Corruptor(10),
            ] {
                let bad = HostSpec {
                    citizen,
                    ..host.clone()
                };
                it = it.with(1, &bad);
            }
            it
        }
        "waiting" => {
            let mut it = s1().with(1, &source(20)).with(n, &host);
            it.hosts[0].arrives = Instant::ZERO + Duration::from_secs(30);
            it
        }
        "bharambe" => bharambe(seed, leeches.unwrap_or(1000)),
        _ => return None,
    })
}

/// Bharambe, Herley and Padmanabhan 2006: a flash crowd within 10 s, no headers, leaving at once; the
/// defaults of their section 4 (degree 7, 5 uploads at a time).
fn bharambe(seed: u64, leeches: usize) -> Scenario {
    let mut rng = Rng::new(Seed(seed), "arrivals");
    let mut it = Scenario::plain("bharambe", seed, 400 * (256 << 10), 256 << 10);
    it.net.header_permille = 0;
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
    let mut source = HostSpec::new(true, 750_000, 750_000);
    // Its paper's seed takes all who come: the tracker alone decides who they are.
    source.link.delay = Duration::from_millis(5);
    it = it.with(1, &source).with(leeches, &leech);
    for host in it.hosts.iter_mut().skip(1) {
        host.arrives = Instant::ZERO + Duration::from_millis(rng.below(10_000).into());
    }
    it
}

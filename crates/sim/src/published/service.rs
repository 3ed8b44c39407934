//! Legout et al. 2006 (equal service by seeds), BEP 16 (copies that a seed sends), Kumar and Ross 2006 (the
//! bound).

use super::{Row, Size};
use crate::checkers::{Shares, jain};
use crate::scenario::{Checks, MBIT, Scenario, named};
use crate::world::{World, run};
use samara_engine::Duration;

/// Jain's index over service times that counts as equal. Turns are drawn: after `k` for each of 12 leeches chance
/// alone leaves 1 / (1 + 11 / 12k), so 0.957 with 20 turns each and 0.975 with the 36 or more that they are here.
const EQUAL: f64 = 0.95;

/// A seed serves leeches whose downlinks differ by a factor of twelve, and nobody else can.
#[must_use]
pub fn equal_service(size: Size) -> Vec<Row> {
    let mut it = named("nat", 1, Some(12)).expect("it has this name");
    it.total = if size == Size::Quick {
        192 << 20
    } else {
        1 << 30
    };
    it.piece_length = 256 << 10;
    it.config.super_seed = false;
    it.config.rechoke_max = Duration::from_millis(if size == Size::Quick { 500 } else { 2000 });
    for (at, leech) in it.hosts.iter_mut().skip(1).enumerate() {
        leech.link.down = (2 + 2 * at as u64) * MBIT;
    }
    let mut world = World::new(it);
    let (watcher, book) = Shares::new(world.stage());
    world.watch(Box::new(watcher));
    let report = world.run();
    let book = book.borrow();
    let pairs: Vec<_> = book.pairs().filter(|(seed, _, _)| *seed == 0).collect();
    let times: Vec<f64> = pairs
        .iter()
        .map(|(_, _, pair)| pair.served.as_nanos() as f64 / pair.wanted.as_nanos().max(1) as f64)
        .collect();
    let index = jain(&times);
    vec![Row {
        source: "Legout 2006",
        setting: format!(
            "{} leeches, downlinks 2 to 24 Mbit/s, one seed",
            pairs.len()
        ),
        published: "the same service time for all".into(),
        found: format!(
            "Jain's index over service times {index:.3} ({} turns)",
            book.turns(0)
        ),
        holds: index >= EQUAL && pairs.len() == 12 && report.violations.is_empty(),
    }]
}

/// A setting of which only sums and finishes are looked at: what single messages have to be, tests of whole swarms see to.
fn sums_of(name: &str, seed: u64) -> Scenario {
    let mut it = named(name, seed, Some(16)).expect("it has this name");
    it.checks = Checks::Sums;
    it
}

/// What the seed has sent when the leeches together have one copy.
#[must_use]
pub fn super_seeding(size: Size) -> Vec<Row> {
    let seeds = if size == Size::Quick { 1 } else { 5 };
    let find = |shows: bool| {
        let mut copies: Vec<f64> = (1..=seeds)
            .map(|seed| {
                let mut it = sums_of("s1", seed);
                it.config.super_seed = shows;
                run(it).copies_for_the_first().unwrap_or(f64::MAX)
            })
            .collect();
        copies.sort_by(f64::total_cmp);
        copies[copies.len() / 2]
    };
    let (one_by_one, all_at_once) = (find(true), find(false));
    vec![Row {
        source: "BEP 16",
        setting: "S1: copies sent until the leeches have one; pieces shown one by one, all at once"
            .into(),
        published: "about 1.05; 1.5 to 2.0".into(),
        found: format!("{one_by_one:.3}; {all_at_once:.3}"),
        holds: one_by_one < 1.1 && all_at_once > 1.15,
    }]
}

/// No run is over before the bound: runs that come near it from above.
#[must_use]
pub fn fluid_bound(size: Size) -> Vec<Row> {
    // One run is a throw: a swarm of 16 uneven uplinks is at 0.67 to 0.75 by the seed.
    let runs = if size == Size::Quick { 3 } else { 20 };
    let settings = [("one", 1), ("s1", 16), ("s2", 16), ("mixed", 16)];
    settings
        .into_iter()
        .map(|(name, leeches)| {
            let best = (1..=runs)
                .map(|seed| run(sums_of(name, seed)).efficiency().unwrap_or(0.0))
                .fold(0.0, f64::max);
            Row {
                source: "Kumar and Ross 2006",
                setting: format!("{name}, {leeches} leeches, best of {runs}"),
                published: "bound over last finish at most 1".into(),
                found: format!("{best:.3}"),
                holds: best <= 1.0 && best > 0.7,
            }
        })
        .collect()
}

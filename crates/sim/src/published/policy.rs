//! Bharambe et al. 2006 and Legout et al. 2006 again: which pieces leeches ask for, and which a seed gives. Both matter where the
//! seed is slow for its swarm.

use super::bharambe::{KBIT, SOURCE, last, world};
use super::{Row, Size};
use crate::report::Report;
use crate::world::run;
use core::fmt;
use samara_proto::BLOCK;

/// Rarest first is given up for random pieces by this: no torrent here has so many.
const RANDOM: u32 = u32::MAX;

/// Uplink of a seed with which every piece is out after two thirds of the time that a leech needs to send a copy.
const SLOW: u64 = 600;

/// What leeches ask for, and whether the seed chooses what it shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    /// Random pieces; the seed shows everything, so leeches choose what it sends.
    Random,
    /// Rarest first; the same seed.
    Rarest,
    /// Rarest first, and a seed that gives every piece once before it gives any twice.
    Smart,
}

/// What the runs of one policy came to, in the mean over some seeds: a single run is a throw.
#[derive(Clone, Copy, Debug)]
struct Means {
    /// Use of the leeches' uplinks.
    used: f64,
    /// Time from arrival to completion, seconds.
    mean: f64,
    /// Last finish, seconds.
    last: f64,
    /// Copies that the seed sent until the leeches together had one.
    copies: f64,
    /// All leeches finished in all runs.
    finished: bool,
}

impl fmt::Display for Means {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "use {:.3}, mean {:.0} s, last {:.0} s, {:.2} copies",
            self.used, self.mean, self.last, self.copies
        )
    }
}

/// Leeches: with fewer than 150, everybody is a neighbour of most others, and what is rare among neighbours is rare.
fn leeches(size: Size) -> usize {
    match size {
        Size::Quick => 150,
        Size::Full => 1000,
    }
}

/// Their setting under one policy. They have no transports that hold data, so here those hold one block beside what is under way.
fn find(size: Size, kbit: u64, policy: Policy) -> Means {
    let runs = if size == Size::Quick { 3 } else { 2 };
    let reports = (1..=runs).map(|seed| {
        let mut it = world(size, leeches(size), seed);
        it.hosts[0].link.up = kbit * KBIT;
        it.hosts[0].link.down = kbit * KBIT;
        it.net.send_buffer = u64::from(BLOCK);
        it.config.super_seed = policy == Policy::Smart;
        if policy == Policy::Random {
            it.config.random_first = RANDOM;
        }
        run(it)
    });
    let reports: Vec<Report> = reports.collect();
    let mean = |of: &dyn Fn(&Report) -> f64| reports.iter().map(of).sum::<f64>() / runs as f64;
    Means {
        used: mean(&|report| report.uplink_use().1),
        mean: mean(&Report::mean_time),
        last: mean(&last),
        copies: mean(&|report| report.copies_for_the_first().unwrap_or(f64::MAX)),
        finished: reports.iter().all(Report::all_finished),
    }
}

fn row(setting: String, published: &str, pair: [Means; 2], holds: bool) -> Row {
    Row {
        source: SOURCE,
        setting,
        published: published.into(),
        found: format!("{}; {}", pair[0], pair[1]),
        holds: holds && pair.iter().all(|means| means.finished),
    }
}

/// Random pieces against rarest first: what is rare stays rare, and is lacking at the end, when uplinks have nothing
/// else to send. With a fast seed every piece is out long before the end, and only the seed notices. Then the smart seed
/// against the plain one.
#[must_use]
pub fn policies(size: Size) -> Vec<Row> {
    let count = leeches(size);
    let [random, rarest, smart] =
        [Policy::Random, Policy::Rarest, Policy::Smart].map(|policy| find(size, SLOW, policy));
    let mut rows = vec![
        row(
            format!("{count} leeches, seed {SLOW} kbit/s: rarest first; random pieces"),
            "random clearly worse",
            [rarest, random],
            random.used + 0.03 < rarest.used
                && random.mean > 1.03 * rarest.mean
                && random.copies > rarest.copies,
        ),
        row(
            format!("{count} leeches, seed {SLOW} kbit/s: plain; smart seed"),
            "smart seed repairs most of the loss",
            [rarest, smart],
            smart.used > rarest.used + 0.015 && smart.mean < 0.985 * rarest.mean,
        ),
    ];
    if size == Size::Full {
        const FAST: u64 = 6000;
        let [random, rarest] =
            [Policy::Random, Policy::Rarest].map(|policy| find(size, FAST, policy));
        rows.push(row(
            format!("{count} leeches, seed {FAST} kbit/s: rarest first; random pieces"),
            "random worse",
            [rarest, random],
            random.copies > 1.3 * rarest.copies,
        ));
    }
    rows
}

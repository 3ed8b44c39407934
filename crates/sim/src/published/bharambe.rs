//! Bharambe, Herley and Padmanabhan 2006: uplink use by size, by policy, by the seed's rate.

use super::{Row, Size};
use crate::report::Report;
use crate::scenario::{Scenario, named};
use crate::world::run;

pub(super) const SOURCE: &str = "Bharambe 2006";

/// Bytes a second of one kbit/s.
pub(super) const KBIT: u64 = 125;

/// Least use of the leeches' uplinks that counts as near 1.
const NEAR_ONE: f64 = 0.93;

/// Largest difference of that use over all sizes that counts as flat.
const FLAT: f64 = 0.06;

/// Their default setting. In small, pieces of 64 KiB instead of 256, so a quarter of the time.
pub(super) fn world(size: Size, leeches: usize, seed: u64) -> Scenario {
    let mut it = named("bharambe", seed, Some(leeches)).expect("it has this name");
    if size == Size::Quick {
        it.piece_length /= 4;
        it.total /= 4;
    }
    it
}

pub(super) fn last(report: &Report) -> f64 {
    let last = report.finishes().last().copied().unwrap_or_default();
    last.as_nanos() as f64 / 1e9
}

fn leeches_use(report: &Report) -> f64 {
    report.uplink_use().1
}

/// From 50 hosts to 8000.
#[must_use]
pub fn sizes(size: Size) -> Vec<Row> {
    let counts: &[usize] = match size {
        Size::Quick => &[50, 150],
        Size::Full => &[50, 100, 200, 500, 1000, 2000, 4000, 8000],
    };
    let (mut rows, mut uses) = (Vec::new(), Vec::new());
    for &count in counts {
        let report = run(world(size, count, 1));
        let used = leeches_use(&report);
        uses.push(used);
        rows.push(Row {
            source: SOURCE,
            setting: format!("{count} leeches 1500/400 kbit/s, seed 6000"),
            published: "uplink use near 1".into(),
            found: format!(
                "{used:.3}; mean {:.0} s, last {:.0} s, bound {:.0} s",
                report.mean_time(),
                last(&report),
                report.bound.as_nanos() as f64 / 1e9
            ),
            holds: used >= NEAR_ONE && report.all_finished(),
        });
    }
    let most = uses.iter().copied().fold(0.0, f64::max);
    let least = uses.iter().copied().fold(1.0, f64::min);
    rows.push(Row {
        source: SOURCE,
        setting: format!("{} to {} leeches", counts[0], counts[counts.len() - 1]),
        published: "flat".into(),
        found: format!("{least:.3} to {most:.3}"),
        holds: most - least <= FLAT,
    });
    rows
}

/// A seed of 200 kbit/s cannot send a copy in less than twice the time that the leeches need; from 400 on
/// it is not what decides. (What a seed gains that chooses what it sends is [`super::policies`]' business.)
#[must_use]
pub fn knee(size: Size) -> Vec<Row> {
    let count = if size == Size::Quick { 60 } else { 1000 };
    let find = |kbit: u64, smart: bool| {
        let mut it = world(size, count, 1);
        it.config.super_seed = smart;
        it.hosts[0].link.up = kbit * KBIT;
        it.hosts[0].link.down = kbit * KBIT;
        run(it)
    };
    let rates: &[u64] = match size {
        Size::Quick => &[200, 400, 800],
        Size::Full => &[200, 400, 800, 1000],
    };
    let plain: Vec<(u64, Report, Report)> = rates
        .iter()
        .map(|&kbit| (kbit, find(kbit, false), find(kbit, true)))
        .collect();
    let bound = |report: &Report| report.bound.as_nanos() as f64 / 1e9;
    plain
        .iter()
        .map(|(kbit, plain, smart)| {
            let holds = match kbit {
                // Never more than half, for the seed needs twice the time.
                200 => leeches_use(plain) < 0.55 && leeches_use(smart) < 0.55,
                400 => leeches_use(plain) > 0.75 && leeches_use(smart) > 0.75,
                _ => leeches_use(smart) > 0.85,
            };
            Row {
                source: SOURCE,
                setting: format!("{count} leeches, seed {kbit} kbit/s: plain, smart seed"),
                published: match kbit {
                    200 => "use at most 0.5".into(),
                    400 => "the knee".into(),
                    _ => "near 1".into(),
                },
                found: format!(
                    "use {:.3}, {:.3}; last {:.0} s, {:.0} s, bound {:.0} s",
                    leeches_use(plain),
                    leeches_use(smart),
                    last(plain),
                    last(smart),
                    bound(plain)
                ),
                holds: holds && last(plain) >= bound(plain) && last(smart) >= bound(smart),
            }
        })
        .collect()
}

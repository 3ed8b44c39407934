//! Many drawn worlds at once, on all cores: a table of what was wrong, and with which seeds.

use samara_sim::scenario::drawn;
use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Seeds listed for each checker; the rest is counted.
const LISTED_MAX: usize = 40;

/// What is kept of a world.
struct Verdict {
    seed: u64,
    finished: bool,
    waste: f64,
    copies: f64,
    wrong: Vec<(String, String)>,
}

/// Runs the worlds of `count` seeds from `first` on and prints what came of it; false if anything was
/// wrong.
pub(crate) fn sweep(first: u64, count: u64, hosts: Option<usize>) -> bool {
    let mut verdicts = run_all(first, count, hosts);
    verdicts.sort_by_key(|verdict| verdict.seed);
    let mut by_checker: BTreeMap<&str, Vec<&Verdict>> = BTreeMap::new();
    for verdict in &verdicts {
        let mut names: Vec<&str> = verdict
            .wrong
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            by_checker.entry(name).or_default().push(verdict);
        }
    }
    let clean = verdicts.iter().filter(|verdict| verdict.wrong.is_empty());
    let whole = verdicts.iter().filter(|verdict| verdict.finished).count();
    let mean = |of: fn(&Verdict) -> f64| {
        verdicts.iter().map(of).sum::<f64>() / verdicts.len().max(1) as f64
    };
    println!(
        "{} worlds, seeds {first} to {}: {} without complaint, {whole} in which every leech finished; payload \
         in vain {:.2} % in the mean, copies from seeds {:.2}",
        verdicts.len(),
        first + count.saturating_sub(1),
        clean.count(),
        100.0 * mean(|verdict| verdict.waste),
        mean(|verdict| verdict.copies),
    );
    for (name, worlds) in &by_checker {
        println!("\n{name}: {} worlds", worlds.len());
        for verdict in worlds.iter().take(LISTED_MAX) {
            let said = verdict.wrong.iter().find(|(by, _)| by == name);
            println!(
                "  --seed {:<8} {}",
                verdict.seed,
                said.map_or("", |(_, what)| what.as_str())
            );
        }
        if worlds.len() > LISTED_MAX {
            println!("  and {} more", worlds.len() - LISTED_MAX);
        }
    }
    by_checker.is_empty()
}

/// Every world runs in one thread; several run side by side, and none knows of the others.
#[allow(clippy::disallowed_methods)]
fn run_all(first: u64, count: u64, hosts: Option<usize>) -> Vec<Verdict> {
    let next = AtomicU64::new(0);
    let verdicts = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= count {
                        return;
                    }
                    let verdict = one(first + at, hosts);
                    verdicts
                        .lock()
                        .unwrap_or_else(|lock| lock.into_inner())
                        .push(verdict);
                }
            });
        }
    });
    verdicts
        .into_inner()
        .unwrap_or_else(|lock| lock.into_inner())
}

fn one(seed: u64, hosts: Option<usize>) -> Verdict {
    let report = samara_sim::run(drawn(seed, hosts));
    Verdict {
        seed,
        finished: report.all_finished(),
        waste: report.waste(),
        copies: report.seed_copies(),
        wrong: report.violations,
    }
}

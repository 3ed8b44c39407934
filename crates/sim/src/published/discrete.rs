//! Mundinger, Weber and Weiss 2008: with equal uplinks and whole pieces, N users have M pieces after
//! M + floor(log2 N) piece-times at the earliest. Nobody may be under it.

use super::{Row, Size};
use crate::host::HOSTS_MAX;
use crate::scenario::{DiskSpec, HostSpec, Scenario};
use crate::world::run;
use samara_engine::Duration;
use samara_proto::BLOCK;
use std::collections::BTreeSet;

const SOURCE: &str = "Mundinger 2008";

/// A block with the 13 bytes before it leaves in one second.
const RATE: u64 = BLOCK as u64 + 13;

/// Piece-times that one schedule of `users` and `pieces` needs at the least, by trying all: in a piece-time every
/// host that has a piece sends one to somebody. For tiny cases: the states are the sets of pieces of all
/// users.
#[must_use]
pub fn optimum(users: u32, pieces: u32) -> u32 {
    let full = (1u8 << pieces) - 1;
    let mut states = BTreeSet::from([vec![0u8; users as usize]]);
    for time in 0.. {
        if states.contains(&vec![full; users as usize]) {
            return time;
        }
        let mut next = BTreeSet::new();
        for state in &states {
            let mut all = BTreeSet::from([state.clone()]);
            // The server sends, then every user, from what it had before.
            for has in core::iter::once(full).chain(state.iter().copied()) {
                all = all
                    .iter()
                    .flat_map(|so_far| sends(has, so_far, pieces))
                    .collect();
            }
            next.extend(all);
        }
        states = next;
    }
    0
}

/// What may become of `state` if somebody who has `has` sends one piece.
fn sends(has: u8, state: &[u8], pieces: u32) -> Vec<Vec<u8>> {
    let mut after = vec![state.to_vec()];
    for piece in (0..pieces).filter(|piece| has & (1 << piece) != 0) {
        for user in 0..state.len() {
            if state[user] & (1 << piece) == 0 {
                let mut next = state.to_vec();
                next[user] |= 1 << piece;
                // Users are alike: their order does not count.
                after.push(next);
            }
        }
    }
    after
}

/// Samara in the same setting: one block a piece, a second a piece, no delays. Its last finish in seconds.
fn samara(users: usize, pieces: u32) -> f64 {
    assert!(users < HOSTS_MAX, "few users");
    let mut it = Scenario::plain("discrete", 1, u64::from(pieces) * u64::from(BLOCK), BLOCK);
    it.net.header_permille = 0;
    it.net.messages_first = true;
    it.tracker.delay = Duration::ZERO;
    it.config.rechoke_max = Duration::from_secs(1);
    let host = |seed| {
        let mut host = HostSpec::new(seed, RATE, 1 << 40);
        host.link.delay = Duration::ZERO;
        host.disk = DiskSpec {
            hash_rate: 1 << 50,
            rate: 1 << 50,
            ..DiskSpec::default()
        };
        host
    };
    let report = run(it.with(1, &host(true)).with(users, &host(false)));
    assert!(report.violations.is_empty(), "{report}");
    let last = report.finishes().last().copied().unwrap_or_default();
    last.as_nanos() as f64 / 1e9
}

/// Tiny cases by trying all schedules, larger ones by the formula.
#[must_use]
pub fn tiny_cases(size: Size) -> Vec<Row> {
    let tiny = [(1, 2), (2, 1), (2, 2), (2, 3), (3, 1), (3, 2)];
    let mut larger = vec![(7, 8), (15, 16)];
    if size == Size::Full {
        larger.extend([(16, 64), (100, 64)]);
    }
    let cases = tiny.map(|case| (case, true)).into_iter();
    let cases = cases.chain(larger.into_iter().map(|case| (case, false)));
    cases
        .map(|((users, pieces), search)| {
            let formula = pieces + (users as u32).ilog2();
            let best = if search {
                optimum(users as u32, pieces)
            } else {
                formula
            };
            let found = samara(users, pieces);
            Row {
                source: SOURCE,
                setting: format!("{users} users, {pieces} pieces of one block"),
                published: format!("optimum {formula} piece-times"),
                found: format!(
                    "{found:.2}{}",
                    if search {
                        format!("; all schedules tried: {best}")
                    } else {
                        String::new()
                    }
                ),
                holds: best == formula && found >= f64::from(best),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trying_all_schedules_finds_the_formula() {
        for (users, pieces) in [(1, 1), (1, 3), (2, 2), (3, 2)] {
            assert_eq!(
                optimum(users, pieces),
                pieces + users.ilog2(),
                "{users} {pieces}"
            );
        }
    }
}

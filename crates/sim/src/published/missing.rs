//! Hajek and Zhu 2010: the missing piece. With peers that leave as soon as they are complete, a swarm in which newcomers
//! come faster than the seed sends pieces grows without bound once a crowd lacks one and the same piece; it is enough
//! that each stays for about one piece more.

use super::{Row, Size};
use crate::report::Report;
use crate::scenario::{Leave, PIECE_TIME, Scenario, named};
use crate::world::run;
use samara_engine::Instant;

const SOURCE: &str = "Hajek and Zhu 2010";

/// Members of the crowd at the start.
const CLUB: usize = 40;

/// The seed's rate in pieces by the newcomers' rate.
fn world(newcomers: usize, rate: f64, stay: Option<u64>) -> Scenario {
    let mut it = named("oneclub", 1, Some(newcomers)).expect("it has this name");
    // The published process passes on whole pieces. With parts the crowd grows to 48 instead of 60 and more.
    it.config.part_min = 0;
    // Larger pieces at the same time a piece: so that a block is not seconds of a queue.
    it.piece_length *= 32;
    it.total *= 32;
    for host in &mut it.hosts {
        host.link.up *= 32;
        if host.seed {
            host.link.up = (host.link.up as f64 * 2.0 * rate) as u64;
        } else if let Some(pieces) = stay {
            host.leaves = Leave::After(PIECE_TIME.times(pieces));
        }
    }
    it
}

/// Who is here when the last newcomer comes.
fn here(report: &Report) -> usize {
    let last = report.hosts.iter().map(|host| host.spec.arrives).max();
    report.leeches_here(last.unwrap_or(Instant::ZERO))
}

/// Growth with a slow seed, none with a fast one, and none when everybody stays a little.
#[must_use]
pub fn missing_piece(size: Size) -> Vec<Row> {
    let newcomers = if size == Size::Quick { 60 } else { 240 };
    let find = |rate, stay| here(&run(world(newcomers, rate, stay)));
    let row = |setting: &str, published: &str, found: usize, holds| Row {
        source: SOURCE,
        setting: format!("{CLUB} lack one piece, {newcomers} come, one in a piece-time; {setting}"),
        published: published.into(),
        found: format!("{found} here when the last comes"),
        holds,
    };
    let slow = find(0.5, None);
    let fast = find(2.0, None);
    let stays = find(0.5, Some(3));
    vec![
        row(
            "the seed sends half a piece in it, all leave at once",
            "grows",
            slow,
            slow >= CLUB + newcomers / 3,
        ),
        row(
            "the seed sends two, all leave at once",
            "stable",
            fast,
            fast < CLUB / 2,
        ),
        row(
            "the seed sends half a piece in it, all stay for three",
            "stable",
            stays,
            2 * stays < slow,
        ),
    ]
}

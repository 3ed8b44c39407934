//! A world drawn from a seed number: whole classes of trouble are on or off, the rest is weighted
//! wildly, so that a hundred numbers see more than a hundred careful settings would.

use super::{Citizen, Fault, HostSpec, Leave, MBIT, Scenario};
use samara_engine::rng::Rng;
use samara_engine::{Duration, Instant, Seed};

/// Faults happen in the first so many seconds; then the world heals.
const TROUBLE: u32 = 60;

/// The world of `seed`, with `leeches` leeches if that is given.
#[must_use]
pub fn drawn(seed: u64, leeches: Option<usize>) -> Scenario {
    let mut rng = Rng::new(Seed(seed), "drawn scenario");
    let piece_length = (16 << 10) << rng.below(6);
    let pieces = 1 + rng.below(120);
    let total = u64::from(pieces) * u64::from(piece_length) - u64::from(rng.below(piece_length));
    let mut it = Scenario::plain("drawn", seed, total, piece_length);
    it.net.loss_per_million = if rng.one_in(2) { rng.below(20_000) } else { 0 };
    it.net.window = (64 << 10) << rng.below(5);
    it.net.send_buffer = (16 << 10) << rng.below(6);
    let leeches = leeches.unwrap_or(2 + rng.below(24) as usize);
    let seeds = if rng.one_in(4) { 2 } else { 1 };
    let (mixed, natted, late) = (rng.one_in(2), rng.one_in(3), rng.one_in(3));
    let (bad, slow_disks, leaving) = (rng.one_in(2), rng.one_in(4), rng.one_in(4));
    for at in 0..seeds + leeches {
        let mut host = HostSpec::new(at < seeds, 20 * MBIT, 200 * MBIT);
        if mixed {
            host.link.up = u64::from(1 + rng.below(100)) * MBIT;
            host.link.down = host.link.up * u64::from(1 + rng.below(8));
        }
        host.link.delay = Duration::from_millis(u64::from(1 + rng.below(60)));
        if at >= seeds {
            host.natted = natted && rng.one_in(2);
            if late {
                host.arrives = Instant::ZERO + Duration::from_millis(rng.below(30_000).into());
            }
            if bad && rng.one_in(4) {
                host.citizen = any_citizen(&mut rng);
            }
            if leaving && host.citizen == Citizen::Honest {
                host.leaves = Leave::WhenComplete;
            }
        } else if rng.one_in(4) {
            host.leaves = Leave::Everyone;
        }
        if slow_disks && rng.one_in(2) {
            host.disk.rate = u64::from(1 + rng.below(50)) * 1_000_000;
            host.disk.seek = Duration::from_millis(rng.below(20).into());
        }
        it.hosts.push(host);
    }
    if rng.one_in(2) {
        trouble(&mut it, &mut rng, seeds as u32);
    }
    it
}

fn any_citizen(rng: &mut Rng) -> Citizen {
    match rng.below(5) {
        0 => Citizen::Corruptor(1 + rng.below(20)),
        1 => Citizen::Liar,
        2 => Citizen::FreeRider,
        3 => Citizen::Flapper(Duration::from_millis(u64::from(500 + rng.below(10_000)))),
        _ => Citizen::SlowLoris(Duration::from_millis(u64::from(rng.below(60_000)))),
    }
}

/// Faults within the first minute; everything they break is mended by its end.
fn trouble(it: &mut Scenario, rng: &mut Rng, seeds: u32) {
    let hosts = it.hosts.len() as u32;
    let second = |at: u32| Instant::ZERO + Duration::from_secs(at.into());
    it.healed = second(TROUBLE);
    for _ in 0..1 + rng.below(6) {
        let from = rng.below(TROUBLE - 10);
        let until = from + 1 + rng.below(TROUBLE - from - 1);
        let (broken, mended) = match rng.below(4) {
            0 => {
                let cut = (0..hosts).filter(|_| rng.one_in(3)).collect();
                (Fault::Split(cut), Fault::Join)
            }
            1 => {
                let host = seeds + rng.below(hosts - seeds);
                (Fault::Crash(host), Fault::Restart(host))
            }
            2 => (Fault::TrackerDown, Fault::TrackerUp),
            _ => (Fault::Reset(1 + rng.below(hosts)), Fault::Join),
        };
        it.faults.push((second(from), broken));
        it.faults.push((second(until), mended));
    }
    it.faults.push((it.healed, Fault::Join));
    it.faults.push((it.healed, Fault::TrackerUp));
    it.faults.sort_by_key(|(at, _)| *at);
}

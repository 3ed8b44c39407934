//! Faults of the network that last: hours in which nobody is awake, and seeds that go at the wrong moment.

use samara_engine::{Duration, Instant};
use samara_sim::run;
use samara_sim::scenario::{Fault, Scenario, named};

fn second(at: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(at)
}

/// A seed and four leeches, 20 Mbit/s each, 16 MiB: about 8 s when nothing is wrong.
fn small(seed: u64) -> Scenario {
    let mut it = named("s1", seed, Some(4)).expect("a name that is known");
    it.total = 16 << 20;
    it
}

fn flawless(scenario: Scenario) -> samara_sim::Report {
    let report = run(scenario);
    assert!(report.violations.is_empty(), "{report}");
    assert!(report.all_finished(), "{report}");
    report
}

#[test]
fn a_tracker_that_is_gone_for_an_hour_delays_those_who_come_and_nobody_else() {
    let mut it = small(21);
    it.faults = vec![
        (second(2), Fault::TrackerDown),
        (second(3_602), Fault::TrackerUp),
    ];
    it.healed = second(3_602);
    it.hosts[4].arrives = second(30);
    let report = flawless(it);
    for host in 1..4 {
        let at = report.hosts[host].finished.expect("finished");
        assert!(at < second(60), "{report}");
    }
    // Who came meanwhile is heard at most five minutes after the tracker is back.
    let late = report.hosts[4].finished.expect("finished");
    assert!(
        late > second(3_602) && late < second(3_602 + 330),
        "{report}"
    );
}

#[test]
fn a_partition_of_an_hour_heals() {
    let mut it = small(22);
    it.faults = vec![
        (second(2), Fault::Split(vec![3, 4])),
        (second(3_602), Fault::Join),
    ];
    it.healed = second(3_602);
    let report = flawless(it);
    for host in [1, 2] {
        let at = report.hosts[host].finished.expect("finished");
        assert!(at < second(60), "the side of the seed goes on: {report}");
    }
}

#[test]
fn a_seed_that_goes_just_before_the_end_and_comes_back_is_enough() {
    for tenth in [55, 60, 65, 70] {
        let mut it = small(23 + tenth);
        let away = Instant::ZERO + Duration::from_millis(tenth * 100);
        it.faults = vec![(away, Fault::Crash(0)), (second(600), Fault::Restart(0))];
        it.healed = second(600);
        flawless(it);
    }
}

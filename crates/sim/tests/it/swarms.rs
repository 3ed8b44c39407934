use samara_engine::{Duration, Instant};
use samara_sim::scenario::{DiskSpec, Fault, Leave, Scenario, drawn, named};
use samara_sim::{Report, run};

fn get(name: &str, seed: u64, leeches: usize) -> Scenario {
    named(name, seed, Some(leeches)).expect("a name that is known")
}

/// Runs it; nothing may be wrong, and everybody finishes.
fn flawless(scenario: Scenario) -> Report {
    let report = run(scenario);
    assert!(report.violations.is_empty(), "{report}");
    assert!(report.all_finished(), "{report}");
    report
}

#[test]
fn twenty_leeches_complete_and_a_seed_number_is_a_run() {
    let small = |seed| {
        let mut it = get("everyone", seed, 20);
        it.total = 8 << 20;
        it.piece_length = 128 << 10;
        flawless(it)
    };
    let (one, again, other) = (small(7), small(7), small(8));
    assert_eq!(
        (one.trace, one.outputs, one.ended),
        (again.trace, again.outputs, again.ended)
    );
    assert_ne!(one.trace, other.trace);
}

#[test]
fn s1_says_how_efficient_it_is() {
    let report = flawless(get("s1", 1, 16));
    println!("{report}");
    let efficiency = report.efficiency().expect("all finished");
    assert!(efficiency > 0.5 && efficiency <= 1.0, "{report}");
    assert!(report.seed_copies() >= 1.0, "{report}");
}

#[test]
fn a_seed_that_goes_after_one_copy_is_enough() {
    let report = flawless(get("onecopy", 2, 8));
    assert_eq!(report.hosts[0].spec.leaves, Leave::Never, "it left");
    assert!(report.first_copy.is_some());
}

#[test]
fn a_corruptor_stops_nobody_and_is_banned_by_who_can_prove_it() {
    let report = flawless(get("corruptor", 3, 4));
    let culprit = report.hosts[4].addr.ip();
    let banned = report.hosts.iter().flat_map(|host| &host.banned);
    let banned: Vec<_> = banned.map(|addr| addr.ip()).collect();
    assert!(banned.contains(&culprit), "{report}");
    assert!(banned.iter().all(|addr| *addr == culprit), "{banned:?}");
    let rejected: u64 = report.hosts.iter().map(|host| host.rejected).sum();
    assert!(rejected > 0, "{report}");
}

#[test]
fn leeches_wait_for_a_seed_and_then_go() {
    let report = flawless(get("waiting", 4, 6));
    let start = Instant::ZERO + Duration::from_secs(30);
    let first = report.hosts.iter().flat_map(|host| &host.pieces_at).min();
    let first = first.expect("somebody has a piece");
    assert!(
        *first > start && first.since(start) < Duration::from_secs(5),
        "{report}"
    );
}

#[test]
fn small_things_finish_too() {
    flawless(get("one", 5, 1));
    flawless(get("tiny", 5, 16));
    flawless(get("burst", 5, 50));
}

#[test]
fn behind_nat_the_seed_alone_serves() {
    let mut it = get("nat", 6, 4);
    it.total = 4 << 20;
    let report = flawless(it);
    assert!((report.seed_copies() - 4.0).abs() < 0.2, "{report}");
}

#[test]
fn bad_citizens_stop_nobody() {
    flawless(get("citizens", 7, 8));
}

#[test]
fn a_full_disk_is_the_end_of_one_and_not_of_others() {
    let mut it = get("s1", 8, 4);
    it.total = 8 << 20;
    it.hosts[2].disk = DiskSpec {
        full_after: Some(3),
        ..DiskSpec::default()
    };
    let report = run(it);
    assert!(report.violations.is_empty(), "{report}");
    assert!(report.hosts[2].gave_up.is_some(), "{report}");
    let others = [1, 3, 4].map(|at| report.hosts[at].finished.is_some());
    assert_eq!(others, [true; 3], "{report}");
}

#[test]
fn a_crash_loses_nothing_that_was_recorded() {
    let second = |at| Instant::ZERO + Duration::from_secs(at);
    let mut it = get("s1", 9, 4);
    it.total = 16 << 20;
    it.faults = vec![(second(4), Fault::Crash(1)), (second(6), Fault::Restart(1))];
    let report = flawless(it);
    // Every piece once: what was recorded before the crash is not fetched again.
    let verified = report.hosts[1].pieces_at.len();
    assert!((32..=33).contains(&verified), "{verified}");
}

#[test]
fn a_split_world_heals() {
    let second = |at| Instant::ZERO + Duration::from_secs(at);
    let mut it = get("s1", 10, 6);
    it.total = 16 << 20;
    it.healed = second(20);
    it.faults = vec![
        (second(2), Fault::Split(vec![4, 5, 6])),
        (second(3), Fault::TrackerDown),
        (second(10), Fault::Reset(10)),
        (second(20), Fault::Join),
        (second(20), Fault::TrackerUp),
    ];
    flawless(it);
}

#[test]
fn drawn_worlds_hold() {
    for seed in 1..=12 {
        let report = run(drawn(seed, None));
        // What is wasted in the endgame among hosts a hundred times as fast as others is a matter of
        // degree; everything else is right or wrong.
        let mut wrong = report.violations.iter();
        assert!(
            wrong.all(|(checker, _)| checker == "waste"),
            "seed {seed}: {report}"
        );
    }
}

//! Every checker is shown a run with one thing wrong, and says so; and the same run without it.

use super::*;
use samara_engine::Seed;
use samara_proto::BLOCK;
use samara_proto::wire::Message;

/// Host 0 is a seed, 1 a leech; flow 0 goes from 1 (who dialled) to 0.
const ASKS: FlowId = FlowId(0);
const GIVES: FlowId = FlowId(1);

fn stage() -> Stage {
    let cast = |seed| Cast {
        seed,
        honest: true,
        gives: true,
        rides: false,
        link: LinkSpec {
            up: 1_000_000,
            down: 1_000_000,
            delay: Duration::ZERO,
        },
        arrives: Instant::ZERO,
        dialled: true,
    };
    Stage {
        geometry: Geometry::new(4 * BLOCK, 8 * u64::from(BLOCK)).expect("valid"),
        hosts: vec![cast(true), cast(false)],
        lacks: vec![None; 2],
        undisturbed: true,
        bound: Duration::from_secs(10),
    }
}

fn block(piece: u32, block: u32) -> Span {
    stage().geometry.block_span(piece, block)
}

fn said(flow: FlowId, message: &Message) -> [Seen<'_>; 2] {
    [Seen::Said { flow, message }, Seen::Heard { flow, message }]
}

/// What a checker says about `seen`.
fn judge(checker: &mut dyn Checker, seen: &[Seen<'_>], sums: &Sums) -> Vec<String> {
    let mut ledger = Ledger::new(&stage());
    for (at, one) in (0..).zip(seen) {
        checker.see(Instant::from_nanos(at), one, Some(&ledger));
        ledger.note(one);
    }
    checker.verdict(sums)
}

fn legality(seen: &[Seen<'_>]) -> String {
    judge(&mut Legality::new(&stage()), seen, &Sums::default()).join("; ")
}

/// Both ends up, the seed has said what it has, the leech is interested and unchoked.
fn opened() -> Vec<Seen<'static>> {
    let up = |flow, host, other| Seen::Up { flow, host, other };
    let mut seen = vec![
        Seen::Joined { host: 0 },
        Seen::Joined { host: 1 },
        up(GIVES, 0, 1),
        up(ASKS, 1, 0),
    ];
    seen.extend(said(GIVES, &Message::HaveAll));
    seen.extend(said(ASKS, &Message::HaveNone));
    seen.extend(said(ASKS, &Message::Interested));
    seen.extend(said(GIVES, &Message::Unchoke));
    seen
}

#[test]
fn a_lawful_exchange_is_lawful() {
    let (first, second) = (block(0, 0), block(0, 1));
    let requests = [Message::Request(first), Message::Request(second)];
    let mut seen = opened();
    requests
        .iter()
        .for_each(|request| seen.extend(said(ASKS, request)));
    for span in [first, second] {
        seen.push(Seen::Served { flow: GIVES, span });
        seen.push(Seen::Got { flow: GIVES, span });
    }
    seen.push(Seen::Verified { host: 1, piece: 0 });
    seen.extend(said(ASKS, &Message::Have(0)));
    assert_eq!(legality(&seen), "");
}

#[test]
fn unlawful_words_are_noticed() {
    let span = block(0, 0);
    let request = Message::Request(span);
    let cancel = Message::Cancel(span);
    let reject = Message::Reject(span);
    let long = Message::Request(Span {
        length: BLOCK + 1,
        ..span
    });
    let none = Message::HaveNone;
    let cases: [(Vec<Seen<'_>>, &str); 8] = [
        (said(ASKS, &Message::Have(1)).to_vec(), "has not verified"),
        (
            said(GIVES, &Message::HaveAll).to_vec(),
            "after other messages",
        ),
        (said(GIVES, &none).to_vec(), "after other messages"),
        (
            [said(ASKS, &request), said(ASKS, &request)].concat(),
            "already",
        ),
        (said(ASKS, &long).to_vec(), "no block"),
        (said(ASKS, &cancel).to_vec(), "had not asked"),
        (said(GIVES, &reject).to_vec(), "not waiting"),
        (
            [said(GIVES, &Message::Choke), said(ASKS, &request)].concat(),
            "while it is choked",
        ),
    ];
    for (wrong, word) in cases {
        let mut seen = opened();
        seen.extend(wrong);
        let verdict = legality(&seen);
        assert!(verdict.contains(word), "{word}: {verdict}");
    }
}

#[test]
fn unlawful_deeds_are_noticed() {
    let span = block(0, 0);
    let request = Message::Request(span);
    let served = Seen::Served { flow: GIVES, span };
    let mut seen = opened();
    seen.push(served);
    assert!(legality(&seen).contains("nobody waits for"));

    let mut twice = opened();
    twice.extend(said(ASKS, &request));
    twice.extend([served, served]);
    assert!(legality(&twice).contains("nobody waits for"));

    let mut has_it = opened();
    has_it.push(Seen::Verified { host: 1, piece: 0 });
    has_it.extend(said(ASKS, &request));
    assert!(legality(&has_it).contains("that it has"));

    let mut uninterested = opened();
    uninterested.extend(said(ASKS, &Message::NotInterested));
    uninterested.extend(said(ASKS, &request));
    assert!(legality(&uninterested).contains("without interest"));

    let mut unannounced = opened();
    unannounced.extend(said(GIVES, &Message::Interested));
    unannounced.extend(said(ASKS, &Message::Unchoke));
    unannounced.extend(said(GIVES, &request));
    assert!(legality(&unannounced).contains("never announced"));

    let mut recorded = opened();
    let record = Output::Record { piece: 1 };
    recorded.push(Seen::Wished {
        host: 1,
        output: &record,
    });
    assert!(legality(&recorded).contains("unverified"));

    let mut twice = opened();
    twice.extend([Seen::Verified { host: 1, piece: 0 }; 2]);
    assert!(legality(&twice).contains("twice"));
}

fn sums() -> Sums {
    let total = 8 * u64::from(BLOCK);
    Sums {
        ended: Instant::from_nanos(20_000_000_000),
        finished: vec![Some(Instant::from_nanos(15_000_000_000))],
        hosts: vec![
            HostSums {
                served: total,
                says: Some([total, 0, 0, 0]),
                wire_up: total,
                up: total,
                busy: 1_000_000_000,
                ..HostSums::default()
            },
            HostSums {
                received: total,
                says: Some([0, total, 0, 0]),
                ..HostSums::default()
            },
        ],
        lost: 0,
        under_way: 0,
    }
}

#[test]
fn bytes_from_nowhere_are_noticed() {
    let stage = stage();
    let fresh = || Conservation::new(&stage);
    let got = |at| Seen::Got {
        flow: GIVES,
        span: block(0, at),
    };
    let served = |at| Seen::Served {
        flow: GIVES,
        span: block(0, at),
    };
    let lawful = [served(0), served(1), got(0), got(1)];
    assert_eq!(judge(&mut fresh(), &lawful, &sums()), Vec::<String>::new());
    assert!(!judge(&mut fresh(), &[got(0)], &sums()).is_empty());
    let swapped = [served(0), served(1), got(1), got(0)];
    assert!(!judge(&mut fresh(), &swapped, &sums()).is_empty());

    let wrongs: [fn(&mut Sums); 5] = [
        |sums| sums.hosts[1].received += 1,
        |sums| sums.lost += 1,
        |sums| sums.hosts[0].wire_up *= 2,
        |sums| sums.hosts[0].busy = u64::MAX / 4,
        |sums| sums.hosts[1].says = Some([0, u64::MAX, 0, 0]),
    ];
    for wrong in wrongs {
        let mut sums = sums();
        wrong(&mut sums);
        assert!(!judge(&mut fresh(), &[], &sums).is_empty());
    }
}

#[test]
fn who_could_have_finished_is_noticed() {
    let stage = stage();
    let fresh = || Progress::new(&stage);
    let here = [Seen::Joined { host: 0 }, Seen::Joined { host: 1 }];
    let verdict = judge(&mut fresh(), &here, &sums());
    assert!(verdict[0].contains("could have finished"), "{verdict:?}");
    let gone = [here.to_vec(), vec![Seen::Left { host: 0 }]].concat();
    assert_eq!(judge(&mut fresh(), &gone, &sums()), Vec::<String>::new());
    let mut done = here.to_vec();
    done.extend((0..2).map(|piece| Seen::Verified { host: 1, piece }));
    done.push(Seen::Finished { host: 1 });
    assert_eq!(judge(&mut fresh(), &done, &sums()), Vec::<String>::new());
    let early = [here.to_vec(), vec![Seen::Finished { host: 1 }]].concat();
    assert!(judge(&mut fresh(), &early, &sums())[0].contains("complete with 0 pieces"));
}

/// Host 0 has everything, 1 nothing, 2 and 3 are as `set` makes them. Who could have finished?
fn could_have(set: impl Fn(&mut Stage), seen: &[Seen<'_>]) -> Vec<String> {
    let mut stage = stage();
    stage.hosts.extend([stage.hosts[1]; 2]);
    stage.lacks = vec![None; 4];
    set(&mut stage);
    let mut all: Vec<Seen<'_>> = (0..2).map(|host| Seen::Joined { host }).collect();
    all.extend(seen);
    judge(&mut Progress::new(&stage), &all, &sums())
        .iter()
        .filter_map(|text| text.split(" could").next().map(str::to_string))
        .collect()
}

#[test]
fn who_cannot_reach_anybody_is_not_blamed_and_who_can_is() {
    let hidden = |hosts: &'static [usize]| {
        move |stage: &mut Stage| {
            hosts
                .iter()
                .for_each(|&host| stage.hosts[host].dialled = false);
        }
    };
    let nobody = Vec::<String>::new();
    let relay = [Seen::Joined { host: 2 }];
    // One of two that can be dialled is enough, in either direction.
    assert_eq!(could_have(hidden(&[0]), &[]), ["host 1"]);
    assert_eq!(could_have(hidden(&[1]), &[]), ["host 1"]);
    assert_eq!(could_have(hidden(&[0, 1]), &[]), nobody);
    // Between two that cannot be: one that fetches and passes on, here and able to.
    assert_eq!(could_have(hidden(&[0, 1]), &relay), ["host 1", "host 2"]);
    assert_eq!(could_have(hidden(&[0, 1, 2]), &relay), nobody);
    let gave_up = [relay[0], Seen::GaveUp { host: 2 }];
    assert_eq!(could_have(hidden(&[0, 1]), &gave_up), nobody);
    let left = [relay[0], Seen::Left { host: 2 }];
    assert_eq!(could_have(hidden(&[0, 1]), &left), nobody);
    let takes = |stage: &mut Stage| {
        hidden(&[0, 1])(stage);
        stage.hosts[2].gives = false;
    };
    assert_eq!(could_have(takes, &relay), ["host 2"]);
    // What each lacks is with another, and what nobody has is nobody's fault.
    let halves = [
        Seen::Left { host: 0 },
        relay[0],
        Seen::Verified { host: 1, piece: 0 },
        Seen::Verified { host: 2, piece: 1 },
    ];
    assert_eq!(could_have(hidden(&[1]), &halves), ["host 1", "host 2"]);
    assert_eq!(could_have(hidden(&[1, 2]), &halves), nobody);
    assert_eq!(could_have(hidden(&[1]), &halves[..3]), nobody);
}

#[test]
fn impossible_speed_and_waste_are_noticed() {
    let stage = stage();
    let mut fast = sums();
    fast.finished = vec![Some(Instant::from_nanos(9_000_000_000))];
    assert_eq!(
        judge(&mut FluidBound::new(&stage), &[], &sums()),
        Vec::<String>::new()
    );
    assert!(!judge(&mut FluidBound::new(&stage), &[], &fast).is_empty());
    let mut waste = sums();
    waste.hosts[1].says = Some([0, 0, 129 * u64::from(BLOCK), 0]);
    assert_eq!(
        judge(&mut Waste::new(&stage), &[], &sums()),
        Vec::<String>::new()
    );
    assert!(!judge(&mut Waste::new(&stage), &[], &waste).is_empty());
}

#[test]
fn complaints_are_bounded() {
    let mut rng = samara_engine::rng::Rng::new(Seed(1), "test");
    let seen: Vec<Seen<'_>> = (0..500)
        .map(|_| Seen::Got {
            flow: GIVES,
            span: block(rng.below(2), 0),
        })
        .collect();
    let verdict = judge(&mut Conservation::new(&stage()), &seen, &sums());
    assert!(verdict.len() <= COMPLAINTS_MAX + 1);
    assert!(verdict.contains(&"and 480 more".to_string()), "{verdict:?}");
}

#[test]
fn jain_s_index_is_between_one_over_n_and_one() {
    assert!((jain(&[3.0; 7]) - 1.0).abs() < 1e-9);
    assert!((jain(&[0.0, 0.0, 0.0, 5.0]) - 0.25).abs() < 1e-9);
    assert!(
        (jain(&[0.0; 4]) - 1.0).abs() < 1e-9,
        "nothing is shared alike"
    );
}

/// Eight leeches that are alike; one of them sends all there is.
#[test]
fn unequal_uploads_of_equals_are_noticed() {
    let mut stage = stage();
    stage.geometry = Geometry::new(BLOCK, 32 * u64::from(BLOCK)).expect("valid");
    stage.hosts.extend([stage.hosts[1]; 7]);
    stage.lacks = vec![None; stage.hosts.len()];
    let sums = |each: [u64; 8]| Sums {
        hosts: [0]
            .iter()
            .chain(&each)
            .map(|served| HostSums {
                served: served * 10 * 64 * u64::from(BLOCK),
                ..HostSums::default()
            })
            .collect(),
        ..Sums::default()
    };
    let say = |each| judge(&mut Fairness::new(&stage), &[], &sums(each)).join("; ");
    assert_eq!(say([10, 9, 11, 10, 12, 8, 10, 10]), "");
    assert!(say([80, 1, 1, 1, 1, 1, 1, 1]).contains("Jain"));
}

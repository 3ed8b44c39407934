use super::*;

/// Announces whenever it is told to, until `until`; how often that was, and the last interval.
fn obey(store: &mut Store, peer: &Announce, from: u64, until: u64) -> (u32, u32) {
    let (mut now, mut times, mut interval) = (from, 0, 0);
    while now < until {
        interval = say(store, now, &with(peer, Event::None, 0)).interval;
        now += u64::from(interval) * 1_000;
        times += 1;
    }
    (times, interval)
}

#[test]
fn intervals_grow_as_a_swarm_settles_and_shrink_when_it_stirs() {
    let mut store = store();
    let first = say(&mut store, 0, &seed(1));
    assert!((4..=6).contains(&first.interval), "{}", first.interval);
    assert!(first.min_interval.is_some_and(|min| min <= first.interval));
    let (times, last) = obey(&mut store, &seed(1), 5_000, 3 * 3_600_000);
    assert!((1_620..=1_980).contains(&last), "{last}");
    // From 5 s to 30 min in steps of half of what has passed.
    assert!(times < 25, "{times}");
    let stirred = say(&mut store, 3 * 3_600_000 + 10_000, &leech(2));
    assert!(stirred.interval <= 6, "{}", stirred.interval);
}

#[test]
fn a_busy_large_swarm_does_not_stay_at_the_shortest_interval() {
    let mut store = store();
    for n in 0..20_000 {
        store.announce(0, &seed(n)).expect("answered");
    }
    let reply = say(&mut store, 0, &leech(30_000));
    // 20,000 peers at 50 announces a second: 400 s.
    assert!((359..=441).contains(&reply.interval), "{}", reply.interval);
    // A peer a second comes and stays eleven minutes (then it is forgotten): the swarm is never at
    // rest, and still the interval is not the shortest.
    let mut store = super::store();
    let mut last = 0;
    for second in 0..7_200_u32 {
        let now = u64::from(second) * 1_000;
        last = store
            .announce(now, &seed(second))
            .expect("answered")
            .interval;
    }
    store.check();
    assert!((30..60).contains(&last), "{last}");
}

#[test]
fn a_peer_is_forgotten_after_two_announces_that_did_not_come() {
    let mut store = store();
    say(&mut store, 0, &seed(1));
    let (_, last) = obey(&mut store, &seed(1), 0, 40_000);
    let told = u64::from(last) * 1_000;
    let next = 40_000 + told; // obey stopped before this announce at the latest
    store.expire(next);
    assert_eq!(store.stats().seeds, 1);
    store.expire(next + told * 3 + 25_000);
    assert_eq!(store.stats().seeds, 0);
}

#[test]
fn one_that_has_shown_that_it_is_quick_is_missed_quickly() {
    let mut store = store();
    say(&mut store, 0, &leech(1));
    say(&mut store, 2_000, &with(&leech(1), Event::None, SIZE));
    store.expire(21_000);
    assert_eq!(store.stats().waiting, 1);
    store.expire(23_000);
    assert_eq!(store.stats().leeches, 0);
}

#[test]
fn one_that_never_comes_more_often_than_every_five_minutes_is_not_forgotten() {
    // libtorrent's min_announce_interval, while the swarm asks for seconds.
    let mut store = store();
    let mut now = 0;
    say(&mut store, now, &seed(1));
    for n in 0..2_000 {
        now += 1_000;
        store.expire(now);
        say(&mut store, now, &seed(10 + n));
        assert!(
            store
                .peers(HASH)
                .iter()
                .any(|peer| peer.addr == addr("50.0.0.1:6881"))
        );
        if now.is_multiple_of(300_000) {
            say(&mut store, now, &with(&seed(1), Event::None, 0));
        }
    }
}

#[test]
fn expiry_is_bounded_and_comes_round() {
    let mut store = store();
    for n in 0..50_000 {
        store.announce(0, &seed(n)).expect("answered");
    }
    let much_later = 5_000_000;
    let mut calls = 0;
    while store.stats().seeds > 0 {
        let before = store.stats().seeds;
        store.expire(much_later);
        assert!(before - store.stats().seeds <= 20_000);
        calls += 1;
    }
    store.check();
    // The walk may stand anywhere when it begins.
    assert!((3..=4).contains(&calls), "{calls}");
    store.expire(much_later);
    assert_eq!(store.stats().swarms, 0);
    store.check();
}

#[test]
fn the_count_of_downloads_outlives_the_swarm_for_a_day() {
    let mut store = store();
    say(&mut store, 0, &leech(1));
    say(&mut store, 0, &with(&leech(1), Event::Completed, 0));
    say(&mut store, 0, &with(&leech(1), Event::Stopped, 0));
    store.expire(80_000_000);
    assert_eq!(store.swarm(HASH).map(|s| s.downloaded), Some(1));
    store.expire(90_000_000);
    assert_eq!(store.swarm(HASH), None);
}

#[test]
fn time_that_goes_backwards_does_no_harm() {
    let mut store = store();
    say(&mut store, 1_000_000, &seed(1));
    say(&mut store, 0, &leech(2));
    store.expire(0);
    say(&mut store, 2_000_000, &leech(2));
}

/// 50 hosts start within 10 seconds, and the seed comes at 12: all must be known to each other
/// quickly, at few requests.
#[test]
fn a_fleet_finds_itself() {
    let mut store = store();
    let mut due: Vec<(u64, u32)> = (0..50).map(|n| (u64::from(n) * 200, n)).collect();
    due.push((12_000, 50));
    let mut edges = std::collections::BTreeSet::new();
    let mut began = [u64::MAX; 51];
    let mut announces = 0;
    let mut joined = [false; 51];
    while let Some(at) = (0..due.len()).min_by_key(|at| due[*at]) {
        let (now, n) = due[at];
        if now > 60_000 {
            break;
        }
        let peer = if n == 50 { seed(n) } else { leech(n) };
        let event = if joined[n as usize] {
            Event::None
        } else {
            Event::Started
        };
        joined[n as usize] = true;
        let reply = say(&mut store, now, &with(&peer, event, peer.left.unwrap_or(0)));
        announces += 1;
        for found in &reply.peers {
            let IpAddr::V4(ip) = found.ip() else { continue };
            let other = ip.to_bits() & 0xffff;
            edges.insert((n.min(other), n.max(other)));
            for host in [n, other] {
                began[host as usize] = began[host as usize].min(now);
            }
        }
        due[at].0 = now + u64::from(reply.interval) * 1_000;
    }
    // With numwant 50 all pairs are told within one interval of the seed's arrival.
    assert_eq!(edges.len(), 51 * 50 / 2);
    assert!(began.iter().all(|at| *at <= 12_000), "{began:?}");
    // 10 s of waiting at 2 s, then 5 s and more: under 20 each in the first minute.
    assert!(announces < 51 * 20, "{announces}");
}

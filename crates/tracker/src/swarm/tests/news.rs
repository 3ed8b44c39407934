//! What one store tells another.

use super::*;
use crate::swarm::rng::Rng;
use crate::swarm::{Elsewhere, News, Of, Role, SavedSwarm};

fn teller() -> Store {
    let mut store = store();
    store.tell(1_000_000);
    store
}

/// Hands over what `from` has to tell; how many pieces of news.
fn pass(now: u64, from: &mut Store, to: &mut Store) -> usize {
    let mut news = Vec::new();
    assert_eq!(from.take_news(&mut news), 0);
    for one in &news {
        to.learn(now, one, Elsewhere::default());
    }
    to.check();
    news.len()
}

fn members(store: &Store, hash: InfoHash) -> Vec<(SocketAddr, Role)> {
    let mut peers: Vec<_> = store.peers(hash).iter().map(|p| (p.addr, p.role)).collect();
    peers.sort();
    peers
}

/// Peers come, complete, pause, leave, at either of two stores that tell each other at once: both know
/// what one store would know that had heard everything.
#[test]
fn two_that_tell_each_other_are_one() {
    // Nobody is overdue here: a store does not know to the second when a peer was at another.
    let patient = || {
        let shortest_life = 2_000_000;
        let config = Config {
            shortest_life,
            ..Config::default()
        };
        Store::new(config, 1)
    };
    let (mut a, mut b, mut one) = (patient(), patient(), patient());
    a.tell(1_000);
    b.tell(1_000);
    let mut rng = Rng::new(7);
    for step in 0..20_000_u64 {
        let now = step * 40;
        let n = rng.below(300);
        let mut peer = leech(n);
        peer.info_hash = InfoHash([(n % 23) as u8; 20]);
        if n.is_multiple_of(5) {
            peer = on(peer, &format!("[2a00::{n:x}]:7"));
        } else if n.is_multiple_of(7) {
            peer.also = Some(addr(&format!("[2a00::{n:x}]:6881")));
        }
        let (event, left) = match rng.below(12) {
            0 => (Event::Started, SIZE),
            1 => (Event::Stopped, SIZE / 2),
            2 | 3 => (Event::Completed, 0),
            4 => (Event::None, 0),
            5 => (Event::Paused, SIZE / 3),
            _ => (Event::None, SIZE / 2),
        };
        let peer = with(&peer, event, left);
        let (from, to) = if rng.below(2) == 0 {
            (&mut a, &mut b)
        } else {
            (&mut b, &mut a)
        };
        from.announce(now, &peer).expect("answered");
        one.announce(now, &peer).expect("answered");
        let mut news = Vec::new();
        from.take_news(&mut news);
        for one in &news {
            to.learn(now, one, Elsewhere::default());
        }
    }
    for store in [&a, &b] {
        store.check();
        for n in 0..23 {
            let hash = InfoHash([n; 20]);
            let (was, is) = (one.swarm(hash), store.swarm(hash));
            let counts = |stats: Option<crate::swarm::SwarmStats>| {
                stats.map(|stats| (stats.downloaded, stats.had_seed))
            };
            assert_eq!(counts(was), counts(is), "swarm {n}");
        }
    }
    let known = |store: &Store| -> Vec<_> {
        let all = (0..23).flat_map(|n| members(store, InfoHash([n; 20])));
        all.collect()
    };
    assert_eq!(known(&a), known(&b));
    assert_eq!(
        a.stats().downloaded + b.stats().downloaded,
        one.stats().downloaded
    );
}

#[test]
fn a_leech_there_is_told_of_a_seed_here() {
    let (mut a, mut b) = (teller(), teller());
    say(&mut a, 0, &seed(1));
    let told = say(&mut b, 0, &leech(2));
    assert!(told.peers.is_empty());
    pass(0, &mut a, &mut b);
    let told = say(&mut b, 2_000, &with(&leech(2), Event::None, SIZE));
    assert_eq!(sorted(&told), ["50.0.0.1:6881"]);
    // And the other way round, until it leaves.
    pass(2_000, &mut b, &mut a);
    let told = say(&mut a, 5_000, &with(&seed(1), Event::None, 0));
    assert_eq!(sorted(&told), ["50.0.0.2:6881"]);
    say(&mut b, 6_000, &with(&leech(2), Event::Stopped, SIZE));
    assert_eq!(pass(6_000, &mut b, &mut a), 1);
    assert_eq!(a.swarm(HASH).map(|s| s.leeches), Some(0));
}

/// Some clients tell every tracker they know at once.
#[test]
fn a_download_is_counted_once_wherever_it_is_told() {
    let (mut a, mut b) = (teller(), teller());
    say(&mut a, 0, &leech(1));
    pass(0, &mut a, &mut b);
    let done = with(&leech(1), Event::Completed, 0);
    say(&mut a, 1_000, &done);
    say(&mut b, 1_000, &done);
    pass(1_000, &mut a, &mut b);
    pass(1_000, &mut b, &mut a);
    for store in [&a, &b] {
        assert_eq!(store.swarm(HASH).map(|s| s.downloaded), Some(1));
    }
    // A count that is repeated is no download.
    let count = |n| News {
        info_hash: HASH,
        largest_left: 0,
        hearsay: true,
        of: Of::Downloaded(n),
    };
    for (told, known) in [(1, 1), (5, 5), (3, 5)] {
        a.learn(0, &count(told), Elsewhere::default());
        assert_eq!(a.swarm(HASH).map(|s| s.downloaded), Some(known));
    }
}

/// The others' deadline never runs out while a peer keeps coming, however often it comes.
#[test]
fn who_comes_again_is_told_of_as_seldom_as_is_safe() {
    for every in [2_000_u64, 5_000, 30_000, 299_000] {
        let (mut a, mut b) = (teller(), teller());
        let mut now = 0;
        let (mut came, mut told) = (0, 0);
        say(&mut a, now, &leech(1));
        pass(now, &mut a, &mut b);
        for _ in 0..500 {
            now += every;
            b.expire(now);
            assert_eq!(b.swarm(HASH).map(|s| s.leeches), Some(1), "{every} {now}");
            say(&mut a, now, &with(&leech(1), Event::None, SIZE));
            came += 1;
            told += pass(now, &mut a, &mut b);
        }
        if every == 2_000 {
            assert!(told * 3 < came * 2, "{told} of {came}");
        }
    }
}

#[test]
fn hearsay_fills_gaps_and_changes_nothing_newer() {
    let mut store = store();
    say(&mut store, 0, &leech(1));
    let here = |n: u8, flags, seconds| News {
        info_hash: HASH,
        largest_left: 0,
        hearsay: true,
        of: Of::Here {
            addr: SocketAddr::from(([50, 0, 0, n], 6881)),
            flags,
            seconds,
            completed: false,
        },
    };
    let mut learn = |now, news| {
        store.learn(now, &news, Elsewhere::default());
        store.check();
        let stats = store.swarm(HASH).expect("there");
        (stats.seeds, stats.leeches)
    };
    assert_eq!(learn(0, here(2, 1, 60)), (0, 2), "a gap");
    assert_eq!(learn(0, here(2, 0, 60)), (1, 1), "a leech has completed");
    assert_eq!(learn(0, here(2, 1, 600)), (1, 1), "a seed remains one");
    // Its life is the longer of both.
    store.expire(300_000);
    store.expire(300_000);
    assert_eq!(store.swarm(HASH).map(|s| s.seeds), Some(1));
    let mut learn = |now, news| store.learn(now, &news, Elsewhere::default());
    assert!(!learn(0, here(3, 3, 60)), "there is no such role");
    assert!(!learn(0, here(3, 32, 60)), "nor such a bit");
    assert!(!learn(0, here(3, 1, 0)), "it is overdue");
    assert!(!learn(
        0,
        News {
            of: Of::Gone(addr("50.0.0.77:6881")),
            ..here(1, 1, 1)
        }
    ));
}

#[test]
fn what_others_tell_keeps_to_the_limits() {
    let mut store = Store::new(
        Config {
            max_torrents: 10,
            max_peers_per_address: 3,
            ..Config::default()
        },
        1,
    );
    for n in 0..100_u8 {
        for port in 1..=6 {
            let news = News {
                info_hash: InfoHash([n % 20; 20]),
                largest_left: 0,
                hearsay: n % 3 == 0,
                of: Of::Here {
                    addr: SocketAddr::from(([50, 0, 0, n], port)),
                    flags: 1,
                    seconds: 60,
                    completed: false,
                },
            };
            store.learn(0, &news, Elsewhere::default());
        }
        store.check();
        assert!(store.stats().swarms <= 10);
    }
    let one = store.peers(InfoHash([3; 20]));
    assert!(one.len() <= 15, "three of each address: {}", one.len());
    let mut private = Store::new(
        Config {
            registered_only: true,
            ..Config::default()
        },
        1,
    );
    let news = News {
        info_hash: HASH,
        largest_left: 0,
        hearsay: false,
        of: Of::Downloaded(1),
    };
    assert!(!private.learn(0, &news, Elsewhere::default()));
}

/// Others would let it in, by limits of their own, and tell of an address that nobody vouches for.
#[test]
fn a_second_address_that_is_not_let_in_is_not_told() {
    let crowded = || {
        let config = Config {
            max_peers_per_address: 2,
            ..Config::default()
        };
        let mut store = Store::new(config, 1);
        store.tell(100);
        store
    };
    let (mut a, mut b) = (crowded(), teller());
    for port in 1..=2 {
        say(&mut a, 0, &on(leech(port), &format!("[2a00::1]:{port}")));
    }
    assert_eq!(pass(0, &mut a, &mut b), 2);
    let mut two = leech(3);
    two.also = Some(addr("[2a00::2]:6881"));
    say(&mut a, 0, &two);
    assert_eq!(pass(0, &mut a, &mut b), 1, "its /64 is full");
    assert_eq!(members(&a, HASH), members(&b, HASH));
    // Where there is room, both are told.
    let mut four = leech(4);
    four.also = Some(addr("[2a01::4]:6881"));
    say(&mut a, 0, &four);
    assert_eq!(pass(0, &mut a, &mut b), 2);
    assert_eq!(members(&a, HASH), members(&b, HASH));
}

#[test]
fn what_nobody_fetches_is_lost_and_counted() {
    let mut store = store();
    say(&mut store, 0, &seed(0));
    let mut news = Vec::new();
    assert_eq!(store.take_news(&mut news), 0);
    assert!(news.is_empty(), "nobody asked");
    store.tell(10);
    for n in 1..=15 {
        say(&mut store, 0, &seed(n));
    }
    assert_eq!((store.take_news(&mut news), news.len()), (5, 10));
    say(&mut store, 0, &seed(20));
    assert_eq!((store.take_news(&mut news), news.len()), (0, 11));
    store.tell(0);
    say(&mut store, 0, &seed(21));
    assert_eq!((store.take_news(&mut news), news.len()), (0, 11));
}

/// Whoever comes anew is told everything again, from what a snapshot would hold.
#[test]
fn a_snapshot_can_be_told() {
    let mut a = store();
    for n in 0..40 {
        let mut peer = leech(n);
        peer.info_hash = InfoHash([(n % 4) as u8; 20]);
        say(&mut a, 0, &peer);
        say(&mut a, 0, &with(&peer, Event::Completed, 0));
    }
    let mut saved = Vec::new();
    a.save(0, &mut saved);
    let mut rest = saved.as_slice();
    let mut b = store();
    while !rest.is_empty() {
        let swarm = SavedSwarm::read(&mut rest).expect("whole");
        for news in swarm.news() {
            b.learn(0, &news, Elsewhere::default());
        }
    }
    b.check();
    for n in 0..4 {
        let hash = InfoHash([n; 20]);
        assert_eq!(a.swarm(hash), b.swarm(hash));
        assert_eq!(members(&a, hash), members(&b, hash));
    }
}

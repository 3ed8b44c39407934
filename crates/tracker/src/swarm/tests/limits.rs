use super::*;
use crate::swarm::{Elsewhere, Listed};

fn config(change: impl FnOnce(&mut Config)) -> Store {
    let mut config = Config::default();
    change(&mut config);
    Store::new(config, 1)
}

fn swarm_no(n: u32) -> InfoHash {
    let mut hash = [0; 20];
    hash[..4].copy_from_slice(&n.to_be_bytes());
    InfoHash(hash)
}

#[test]
fn random_info_hashes_do_not_fill_memory_or_push_out_real_swarms() {
    let mut store = config(|c| c.max_torrents = 100);
    store.register(0, HASH, None);
    for n in 0..5 {
        say(&mut store, 0, &seed(n));
    }
    for n in 0..1_000 {
        let spam = Announce {
            info_hash: swarm_no(n),
            ..leech(n)
        };
        store.announce(u64::from(n), &spam).expect("answered");
        assert!(store.stats().swarms <= 100);
    }
    store.check();
    assert_eq!(store.swarm(HASH).map(|s| s.seeds), Some(5));
    assert_eq!(store.stats().evictions, 901);
}

#[test]
fn a_tracker_that_is_full_of_real_swarms_says_so() {
    let mut store = config(|c| c.max_torrents = 4);
    for n in 0..8 {
        let peer = Announce {
            info_hash: swarm_no(n % 4),
            ..seed(n)
        };
        say(&mut store, 0, &peer);
    }
    let refusal = store.announce(0, &seed(9)).expect_err("full");
    assert!(refusal.reason.contains("full"));
    store.check();
}

#[test]
fn attack_21_an_address_has_so_many_peers_and_no_more() {
    let mut store = config(|c| c.max_peers_per_address = 3);
    for port in 1..=10_u16 {
        let now = u64::from(port) * 2_000;
        say(&mut store, now, &on(seed(0), &format!("50.0.0.1:{port}")));
        let six = format!("[2a00:1:1:1:{port}::9]:{port}");
        say(&mut store, now, &on(seed(0), &six));
        say(&mut store, now, &on(seed(0), &format!("127.0.0.1:{port}")));
    }
    say(&mut store, 20_000, &on(seed(99), "[2a00:1:1:2::9]:1"));
    let asker = on(leech(1_000), "127.0.0.1:1000");
    let told = sorted(&say(&mut store, 20_000, &asker));
    let begin = |text: &str| told.iter().filter(|peer| peer.starts_with(text)).count();
    assert_eq!(begin("50.0.0.1:"), 3);
    assert_eq!(begin("[2a00:1:1:1:"), 3);
    assert_eq!(begin("[2a00:1:1:2:"), 1);
    assert_eq!(begin("127.0.0.1:"), 10, "loopback is exempt");
    // The newest stay.
    assert!(told.contains(&"50.0.0.1:10".into()));
    assert_eq!(store.stats().evictions, 14);
}

#[test]
fn a_swarm_has_so_many_peers_and_no_more() {
    let mut store = config(|c| c.max_peers_per_torrent = 50);
    for n in 0..500 {
        store
            .announce(u64::from(n) * 1_000, &seed(n))
            .expect("answered");
        assert!(store.stats().seeds <= 50);
    }
    store.check();
    let ages: Vec<u32> = store
        .peers(HASH)
        .iter()
        .map(|peer| match peer.addr.ip() {
            IpAddr::V4(ip) => ip.to_bits() & 0xffff,
            IpAddr::V6(_) => panic!("all are IPv4"),
        })
        .collect();
    let young = ages.iter().filter(|n| **n >= 400).count();
    assert!(young > 40, "the oldest go first: {ages:?}");
}

#[test]
fn all_swarms_together_have_so_many_peers_and_no_more() {
    let mut store = config(|c| c.max_peers = 20);
    store.register(0, HASH, None);
    store.register(0, swarm_no(1), None);
    for n in 0..60 {
        say(&mut store, u64::from(n), &seed(n));
        assert!(store.stats().seeds <= 20);
    }
    let other = Announce {
        info_hash: swarm_no(2),
        ..seed(99)
    };
    let refusal = store.announce(60, &other).expect_err("full");
    assert!(refusal.reason.contains("full"));
    // A registered swarm is served all the same.
    let registered = Announce {
        info_hash: swarm_no(1),
        ..seed(99)
    };
    say(&mut store, 60, &registered);
    assert_eq!(store.stats().seeds, 21);
}

#[test]
fn a_private_tracker_serves_what_is_registered() {
    let mut store = config(|c| c.registered_only = true);
    let refusal = store.announce(0, &seed(1)).expect_err("refused");
    assert!(refusal.reason.contains("does not serve this torrent"));
    store.register(0, HASH, Some(SIZE));
    say(&mut store, 0, &seed(1));
    store.expire(5_000_000);
    assert_eq!(store.swarm(HASH).map(|s| s.seeds), Some(0));
    say(&mut store, 5_000_000, &leech(1));
}

/// One host with ten thousand ports in a swarm of ten thousand others: it gets its share and no more,
/// and nobody else pays for it.
#[test]
fn a_host_with_many_ports_is_held_down_in_a_large_swarm_too() {
    let mut store = config(|c| c.max_peers_per_address = 20);
    for n in 0..10_000 {
        store.announce(0, &seed(n)).expect("answered");
    }
    for port in 1..=10_000_u16 {
        let peer = on(seed(0), &format!("60.0.0.1:{port}"));
        store.announce(2_000, &peer).expect("answered");
    }
    store.check();
    let peers = store.peers(HASH);
    let crowd = addr("60.0.0.1:1").ip();
    let held = peers.iter().filter(|peer| peer.addr.ip() == crowd).count();
    // From a part of the pool the number is an estimate.
    assert!((10..=60).contains(&held), "{held}");
    assert_eq!(peers.len() - held, 10_000);
}

#[test]
fn others_stores_count_towards_the_limits() {
    let mut store = config(|c| {
        c.max_torrents = 100;
        c.max_peers = 1_000;
    });
    let say = |store: &mut Store, n, swarms, peers| {
        let elsewhere = Elsewhere { swarms, peers };
        let peer = Announce {
            info_hash: swarm_no(n),
            ..seed(n)
        };
        store.announce_to(0, &peer, elsewhere, &mut Listed::default())
    };
    assert!(say(&mut store, 1, 99, 999).is_ok());
    // Full, but there is a swarm of one that can go.
    assert!(say(&mut store, 2, 99, 0).is_ok());
    assert_eq!((store.stats().swarms, store.stats().evictions), (1, 1));
    assert!(say(&mut store, 3, 0, 999).is_ok());
    assert_eq!((store.stats().swarms, store.stats().evictions), (1, 2));
}

use super::*;
use crate::swarm::rng::Rng;
use crate::swarm::{Elsewhere, SavedSwarm};

fn restore(bytes: &[u8], now: u64, since: u64) -> Store {
    let mut store = Store::new(Config::default(), 99);
    let mut rest = bytes;
    while !rest.is_empty() {
        let saved = SavedSwarm::read(&mut rest).expect("what was written");
        store.restore(now, since, &saved, Elsewhere::default());
    }
    store.check();
    store
}

/// Swarms of every size and form, with every role.
fn mixed() -> Store {
    let mut store = store();
    for n in 0..2_000_u32 {
        let mut peer = if n % 3 == 0 { seed(n) } else { leech(n) };
        peer.info_hash = InfoHash([(f64::from(n).sqrt() as u8) % 40; 20]);
        if n % 5 == 0 {
            peer = on(peer, &format!("[2a00::{n:x}]:7"));
        }
        if n % 7 == 0 {
            peer.event = Event::Paused;
        }
        store.announce(u64::from(n), &peer).expect("answered");
        if n % 11 == 1 {
            let done = with(&peer, Event::Completed, 0);
            store.announce(u64::from(n), &done).expect("answered");
        }
    }
    // One that never had a seed.
    let waits = Announce {
        info_hash: InfoHash([0xee; 20]),
        ..leech(1)
    };
    store.announce(2_000, &waits).expect("answered");
    store
}

fn names() -> impl Iterator<Item = InfoHash> {
    (0..=255).map(|n| InfoHash([n; 20]))
}

#[test]
fn everything_comes_back() {
    let store = mixed();
    let mut bytes = Vec::new();
    store.save(2_000, &mut bytes);
    // Another clock, a moment later.
    let back = restore(&bytes, 77_000_000, 10_000);
    for name in names() {
        assert_eq!(back.swarm(name), store.swarm(name), "{name}");
        let peers = |store: &Store| {
            let mut peers: Vec<_> = store.peers(name).iter().map(|p| (p.addr, p.role)).collect();
            peers.sort();
            peers
        };
        assert_eq!(peers(&back), peers(&store));
    }
    let (was, is) = (store.stats(), back.stats());
    assert_eq!(
        (was.seeds, was.leeches, was.swarms),
        (is.seeds, is.leeches, is.swarms)
    );
    // And once more from there.
    let mut again = Vec::new();
    back.save(77_000_000, &mut again);
    let thrice = restore(&again, 0, 0);
    assert_eq!(thrice.stats().seeds, was.seeds);
}

#[test]
fn who_would_be_overdue_stays_away_and_counts_stay() {
    let store = mixed();
    let mut bytes = Vec::new();
    store.save(2_000, &mut bytes);
    let back = restore(&bytes, 5_000, 3_600_000);
    let stats = back.stats();
    assert_eq!((stats.seeds, stats.leeches), (0, 0));
    let counted = names().filter_map(|name| store.swarm(name));
    let counted = counted.filter(|stats| stats.downloaded > 0).count();
    assert!(counted > 30);
    assert_eq!(stats.swarms, counted as u64);
    // After a day these go too.
    let mut later = restore(&bytes, 200_000_000, 90_000_000);
    later.expire(200_001_000);
    assert_eq!(later.stats().swarms, 0);
}

#[test]
fn what_was_learnt_of_a_peer_is_kept() {
    let mut store = store();
    say(&mut store, 0, &leech(1));
    say(&mut store, 2_000, &with(&leech(1), Event::None, SIZE));
    let mut bytes = Vec::new();
    store.save(2_000, &mut bytes);
    let mut back = restore(&bytes, 100_000, 0);
    // It is prompt, and missed soon: 20 s, and 2 for each rounding.
    back.expire(117_000);
    assert_eq!(back.stats().waiting, 1);
    back.expire(125_000);
    assert_eq!(back.stats().waiting, 0);
}

#[test]
fn limits_hold_for_what_comes_back() {
    let mut bytes = Vec::new();
    mixed().save(2_000, &mut bytes);
    let config = Config {
        max_torrents: 5,
        max_peers: 100,
        ..Config::default()
    };
    let mut store = Store::new(config, 1);
    let mut rest = bytes.as_slice();
    while let Some(saved) = SavedSwarm::read(&mut rest) {
        store.restore(0, 0, &saved, Elsewhere::default());
    }
    store.check();
    let stats = store.stats();
    assert!(stats.swarms <= 5 && stats.seeds + stats.leeches <= 100);
}

#[test]
fn damaged_bytes_do_no_harm() {
    let mut bytes = Vec::new();
    mixed().save(2_000, &mut bytes);
    let mut rng = Rng::new(1);
    for _ in 0..200 {
        let mut bad = bytes.clone();
        for _ in 0..8 {
            let at = rng.below(bad.len() as u32) as usize;
            bad[at] = rng.next() as u8;
        }
        bad.truncate(rng.below(bad.len() as u32) as usize);
        let mut store = store();
        let mut rest = bad.as_slice();
        while let Some(saved) = SavedSwarm::read(&mut rest) {
            store.restore(5, 5, &saved, Elsewhere::default());
        }
        store.check();
    }
}

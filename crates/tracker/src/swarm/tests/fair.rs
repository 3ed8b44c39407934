use super::*;
use std::collections::BTreeMap;

#[test]
fn every_peer_is_told_equally_often() {
    // 1,000 peers in four pools (two roles, two families), 20 asked for.
    let mut store = store();
    for n in 1..=1_000 {
        let peer = if n % 3 == 0 { seed(n) } else { leech(n) };
        let text = format!("[2a00::{n:x}]:1");
        let peer = if n % 5 == 0 { on(peer, &text) } else { peer };
        store.announce(0, &peer).expect("answered");
    }
    let asker = Announce {
        numwant: Some(20),
        ..leech(5_000)
    };
    let mut counts: BTreeMap<SocketAddr, u32> = BTreeMap::new();
    let rounds = 20_000;
    for _ in 0..rounds {
        let reply = store.announce(0, &asker).expect("answered");
        assert_eq!(reply.peers.len(), 20);
        for peer in reply.peers {
            *counts.entry(peer).or_default() += 1;
        }
    }
    store.check();
    // Own family: 800 share 15 of the 20 places; the other: 200 share 5.
    for (is_v4, members, places) in [(true, 800, 15), (false, 200, 5)] {
        let expected = f64::from(rounds * places) / f64::from(members);
        let told: Vec<u32> = counts
            .iter()
            .filter(|(peer, _)| peer.is_ipv4() == is_v4)
            .map(|(_, n)| *n)
            .collect();
        assert_eq!(told.len(), members as usize);
        let chi: f64 = told
            .iter()
            .map(|n| (f64::from(*n) - expected).powi(2) / expected)
            .sum();
        // Mean members - 1 (a little less, as the draw is without replacement), standard deviation
        // sqrt(2 members): five of these is one false alarm in millions.
        let limit = f64::from(members) + 5.0 * f64::from(2 * members).sqrt();
        assert!(chi < limit, "chi-square {chi:.0}, limit {limit:.0}");
    }
}

#[test]
fn neighbours_do_not_come_together() {
    let mut store = store();
    for n in 0..1_000 {
        store.announce(0, &seed(n)).expect("answered");
    }
    let asker = Announce {
        numwant: Some(10),
        ..leech(5_000)
    };
    let mut neighbours = 0;
    for _ in 0..5_000 {
        let reply = store.announce(0, &asker).expect("answered");
        let mut ids: Vec<u32> = reply
            .peers
            .iter()
            .map(|peer| match peer.ip() {
                IpAddr::V4(ip) => ip.to_bits(),
                IpAddr::V6(_) => panic!("all are IPv4"),
            })
            .collect();
        ids.sort_unstable();
        neighbours += ids.windows(2).filter(|pair| pair[1] - pair[0] == 1).count();
    }
    // By chance 450: 9 x 10 / 1,000 pairs a draw. Neighbours are often of one age and one network, so
    // that fewer is better, and none is what nobody asked for.
    assert!((1..500).contains(&neighbours), "{neighbours}");
}

#[test]
fn numwant_is_honoured_up_to_the_cap() {
    let mut store = store();
    for n in 0..500 {
        store.announce(0, &seed(n)).expect("answered");
    }
    for (numwant, want) in [
        (None, 50),
        (Some(0), 0),
        (Some(1), 1),
        (Some(7), 7),
        (Some(199), 199),
        (Some(200), 200),
        (Some(201), 200),
        (Some(u32::MAX), 200),
    ] {
        let asker = Announce {
            numwant,
            ..leech(5_000)
        };
        let mut told = sorted(&say(&mut store, 0, &asker));
        assert_eq!(told.len(), want, "{numwant:?}");
        told.dedup();
        assert_eq!(told.len(), want, "somebody twice");
    }
}

#[test]
fn one_asked_for_reaches_everybody() {
    let mut store = store();
    for n in 0..5 {
        say(&mut store, 0, &seed(n));
    }
    let asker = Announce {
        numwant: Some(1),
        ..leech(9)
    };
    let mut seen: Vec<String> = (0..200)
        .flat_map(|_| sorted(&say(&mut store, 0, &asker)))
        .collect();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 5);
}

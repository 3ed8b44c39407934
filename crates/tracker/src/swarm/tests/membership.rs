use super::*;

#[test]
fn seeds_are_told_of_leeches_only_and_nobody_of_itself() {
    let mut store = store();
    for n in 1..=3 {
        say(&mut store, 0, &seed(n));
    }
    let reply = say(&mut store, 0, &leech(4));
    assert_eq!(reply.peers.len(), 3);
    assert!(reply.peer_ids.is_empty());
    let reply = say(&mut store, 1, &with(&seed(1), Event::None, 0));
    assert_eq!(sorted(&reply), ["50.0.0.4:6881"]);
    let reply = say(&mut store, 1, &with(&leech(4), Event::None, 5));
    assert!(!reply.peers.contains(&addr("50.0.0.4:6881")));
    assert_eq!(reply.external_ip, Some(IpAddr::from([50, 0, 0, 4])));
}

#[test]
fn a_download_is_counted_once() {
    let mut store = store();
    let count = |store: &Store| {
        store
            .swarm(HASH)
            .map(|s| (s.seeds, s.leeches, s.downloaded))
    };
    say(&mut store, 0, &seed(1));
    // A seed from its first announce never downloaded anything, whatever it says.
    say(&mut store, 0, &with(&seed(1), Event::Completed, 0));
    say(&mut store, 0, &with(&seed(9), Event::Completed, 0));
    assert_eq!(count(&store), Some((2, 0, 0)));
    say(&mut store, 0, &leech(2));
    assert_eq!(count(&store), Some((2, 1, 0)));
    for _ in 0..3 {
        say(&mut store, 1, &with(&leech(2), Event::Completed, 0));
        assert_eq!(count(&store), Some((3, 0, 1)));
    }
    // Going back and forth adds nothing.
    say(&mut store, 2, &with(&leech(2), Event::None, 7));
    assert_eq!(count(&store), Some((2, 1, 1)));
    say(&mut store, 3, &with(&leech(2), Event::Completed, 0));
    assert_eq!(count(&store), Some((3, 0, 1)));
    // `completed` with something left is a lie or a partial seed.
    say(&mut store, 4, &leech(3));
    say(&mut store, 4, &with(&leech(3), Event::Completed, 5));
    assert_eq!(count(&store), Some((3, 1, 1)));
    // The regular announce came first, the `completed` after.
    say(&mut store, 5, &with(&leech(3), Event::None, 0));
    assert_eq!(count(&store), Some((4, 0, 1)));
    say(&mut store, 6, &with(&leech(3), Event::Completed, 0));
    assert_eq!(count(&store), Some((4, 0, 2)));
    assert_eq!(store.stats().downloaded, 2);
    let scrape = store.scrape(&[HASH, InfoHash([9; 20])]);
    assert_eq!(scrape.files.len(), 1);
    let counts = scrape.get(HASH).expect("known");
    assert_eq!(
        (counts.complete, counts.incomplete, counts.downloaded),
        (4, 0, 2)
    );
}

#[test]
fn an_address_is_one_peer_whoever_is_there() {
    let mut store = store();
    say(&mut store, 0, &seed(1));
    say(&mut store, 0, &leech(2));
    // Another peer id where the first was: it was restarted.
    say(&mut store, 2, &on(leech(3), "50.0.0.2:6881"));
    let told = say(&mut store, 2, &with(&seed(1), Event::None, 0));
    assert_eq!(sorted(&told), ["50.0.0.2:6881"]);
    assert_eq!(told.incomplete, Some(1));
    // Somebody who knows the id moves and removes nobody from elsewhere.
    let thief = on(leech(3), "66.6.6.6:666");
    say(&mut store, 3, &thief);
    say(&mut store, 3, &with(&thief, Event::Stopped, 0));
    let told = say(&mut store, 3, &with(&seed(1), Event::None, 0));
    assert_eq!(sorted(&told), ["50.0.0.2:6881"]);
    // Another port is another peer.
    say(&mut store, 4, &on(leech(3), "50.0.0.2:6882"));
    let told = say(&mut store, 4, &with(&seed(1), Event::None, 0));
    assert_eq!(sorted(&told), ["50.0.0.2:6881", "50.0.0.2:6882"]);
}

#[test]
fn a_restart_at_the_same_address_is_a_new_download() {
    let mut store = store();
    say(&mut store, 0, &seed(1));
    say(&mut store, 0, &leech(2));
    say(&mut store, 1, &with(&leech(2), Event::Completed, 0));
    let reply = say(&mut store, 2, &leech(2));
    assert_eq!((reply.incomplete, reply.downloaded), (Some(1), Some(1)));
    let reply = say(&mut store, 3, &with(&leech(2), Event::Completed, 0));
    assert_eq!(reply.downloaded, Some(2));
    // And it waits, if there is no seed and it has nothing.
    say(&mut store, 4, &with(&seed(1), Event::Stopped, 0));
    let reply = say(&mut store, 5, &leech(2));
    assert_eq!((reply.interval, reply.peers.len()), (2, 0));
}

#[test]
fn a_partial_seed_is_counted_and_told_of_leeches_only() {
    let mut store = store();
    say(&mut store, 0, &seed(1));
    say(&mut store, 0, &leech(2));
    let paused = with(&leech(3), Event::Paused, 5);
    let reply = say(&mut store, 0, &paused);
    assert_eq!(sorted(&reply), ["50.0.0.2:6881"]);
    let paused_now = |store: &Store| store.swarm(HASH).map(|s| (s.leeches, s.paused));
    assert_eq!(paused_now(&store), Some((2, 1)));
    // It wants the rest after all, and has it; each is a change back.
    for n in 10..60 {
        say(&mut store, 1, &with(&leech(n), Event::Paused, 5));
    }
    assert_eq!(paused_now(&store), Some((52, 51)));
    say(&mut store, 1, &with(&leech(3), Event::None, 5));
    assert_eq!(paused_now(&store), Some((52, 50)));
    say(&mut store, 1, &with(&leech(10), Event::Completed, 0));
    assert_eq!(paused_now(&store), Some((51, 49)));
    say(&mut store, 1, &with(&leech(11), Event::Stopped, 5));
    assert_eq!(paused_now(&store), Some((50, 48)));
    let counts = store.scrape(&[HASH]).get(HASH).expect("known");
    assert_eq!((counts.incomplete, counts.downloaders), (50, Some(2)));
}

#[test]
fn stopped_removes_and_creates_nothing() {
    let mut store = store();
    say(&mut store, 0, &with(&leech(1), Event::Stopped, 5));
    assert_eq!(store.swarm(HASH), None);
    say(&mut store, 0, &seed(1));
    say(&mut store, 0, &leech(2));
    let reply = say(&mut store, 0, &with(&leech(2), Event::Stopped, 5));
    assert!(reply.peers.is_empty());
    assert_eq!((reply.complete, reply.incomplete), (Some(1), Some(0)));
    say(&mut store, 0, &with(&leech(2), Event::Stopped, 5));
    say(&mut store, 0, &with(&seed(1), Event::Stopped, 0));
    assert_eq!(store.stats().seeds, 0);
}

#[test]
fn both_families_are_told_and_stop_together() {
    let mut store = store();
    say(&mut store, 0, &on(seed(1), "50.0.0.1:1"));
    say(&mut store, 0, &on(seed(1), "[2a00::1]:1"));
    let told = say(&mut store, 0, &leech(2));
    assert_eq!(sorted(&told), ["50.0.0.1:1", "[2a00::1]:1"]);
    // The other family in the announce itself, where the server trusts it.
    let both = Announce {
        also: Some(addr("[2a00::3]:3")),
        ..leech(3)
    };
    let told = say(&mut store, 2, &both);
    assert_eq!(
        sorted(&told),
        ["50.0.0.1:1", "50.0.0.2:6881", "[2a00::1]:1"]
    );
    let told = say(
        &mut store,
        2,
        &on(with(&seed(1), Event::None, 0), "50.0.0.1:1"),
    );
    assert_eq!(
        sorted(&told),
        ["50.0.0.2:6881", "50.0.0.3:6881", "[2a00::3]:3"]
    );
    // Completed over both: once.
    let reply = say(&mut store, 3, &with(&both, Event::Completed, 0));
    assert_eq!((reply.complete, reply.downloaded), (Some(4), Some(1)));
    let reply = say(&mut store, 4, &with(&both, Event::Stopped, 0));
    assert_eq!(reply.complete, Some(2));
    let nonsense = Announce {
        also: Some(addr("[ff02::1]:3")),
        ..leech(4)
    };
    say(&mut store, 5, &nonsense);
    assert_eq!(
        store
            .peers(HASH)
            .iter()
            .filter(|p| p.addr.is_ipv6())
            .count(),
        1
    );
}

#[test]
fn swarms_grow_and_shrink_through_every_form() {
    let mut store = store();
    for round in 0..3 {
        for n in 0..300_u32 {
            let peer = if n % 3 == 0 { seed(n) } else { leech(n) };
            let text = format!("[2a00::{n:x}]:1");
            let peer = if round == 1 && n % 4 == 0 {
                on(peer, &text)
            } else {
                peer
            };
            say(&mut store, 0, &peer);
        }
        assert_eq!(store.peers(HASH).len(), 300);
        for n in (0..300_u32).rev() {
            let peer = with(&leech(n), Event::Stopped, 5);
            let text = format!("[2a00::{n:x}]:1");
            let peer = if round == 1 && n % 4 == 0 {
                on(peer, &text)
            } else {
                peer
            };
            say(&mut store, 0, &peer);
        }
        assert_eq!(store.stats().seeds + store.stats().leeches, 0);
    }
}

#[test]
fn addresses_are_told_only_to_those_that_can_reach_them() {
    let mut store = store();
    for (n, text) in [
        (1, "50.0.0.1:1"),
        (2, "192.168.1.2:1"),
        (3, "127.0.0.1:1"),
        (4, "[fd00::4]:1"),
        (5, "[2a00::5]:1"),
        (6, "100.64.0.6:1"),
        (7, "[::1]:1"),
    ] {
        say(&mut store, 0, &on(seed(n), text));
    }
    let ask = |store: &mut Store, text| {
        let told = sorted(&say(store, 0, &on(leech(9), text)));
        say(store, 0, &on(with(&leech(9), Event::Stopped, 5), text));
        told
    };
    let public = ["50.0.0.1:1", "[2a00::5]:1"];
    assert_eq!(ask(&mut store, "60.0.0.1:1"), public);
    let private = [
        "100.64.0.6:1",
        "192.168.1.2:1",
        "50.0.0.1:1",
        "[2a00::5]:1",
        "[fd00::4]:1",
    ];
    assert_eq!(ask(&mut store, "10.0.0.1:1"), private);
    assert_eq!(ask(&mut store, "127.0.0.1:2").len(), 7);
    // IPv4 in IPv6's clothes is IPv4.
    assert_eq!(ask(&mut store, "[::ffff:60.0.0.1]:1"), public);
}

#[test]
fn what_cannot_be_connected_to_is_refused() {
    let mut store = store();
    let refused = |store: &mut Store, text: &str| {
        let refusal = store.announce(0, &on(leech(1), text)).expect_err("refused");
        refusal.reason
    };
    assert!(refused(&mut store, "50.0.0.1:0").contains("port 0"));
    for text in ["0.0.0.0:1", "224.0.0.1:1", "255.255.255.255:1", "[::]:1"] {
        assert!(refused(&mut store, text).contains("address"), "{text}");
    }
    assert_eq!(store.stats().refusals, 5);
    assert_eq!(store.swarm(HASH), None);
    let goodbye = on(with(&leech(1), Event::Stopped, 0), "50.0.0.1:0");
    say(&mut store, 0, &goodbye);
}

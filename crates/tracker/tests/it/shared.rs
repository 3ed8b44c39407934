//! Several trackers that share their swarms in real Redis servers, and what happens when one or the
//! other hangs, ends or is killed.

use crate::servers::{Redis, cluster, free_port, until};
use crate::trackers::{Tracker, announce, config, get, peer};
use samara_proto::InfoHash;
use samara_proto::tracker::Event::{self, Completed, Started, Stopped};
use samara_tracker::serve::{Server, SharedAddress};
use std::net::SocketAddr;
use std::ops::Range;
use std::process::{Child, Command, Stdio};

const SIZE: u64 = 1_000_000;

fn swarm(n: u32) -> InfoHash {
    let mut hash = [0x5a; 20];
    hash[..4].copy_from_slice(&n.wrapping_mul(0x9e37_79b9).to_be_bytes());
    InfoHash(hash)
}

/// A seed for each of so many swarms, told to one tracker after the other.
fn seed_all(trackers: &[Tracker], swarms: Range<u32>) {
    for n in swarms {
        trackers[n as usize % trackers.len()].announce(swarm(n), n, Started, 0);
    }
}

#[track_caller]
fn all_know(trackers: &[Tracker], swarms: Range<u32>) {
    for (nth, tracker) in trackers.iter().enumerate() {
        until(&format!("tracker {nth} knows all seeds"), || {
            swarms.clone().all(|n| tracker.counts(swarm(n)).0 == 1)
        });
    }
}

fn page(tracker: &Tracker, target: &str) -> String {
    String::from_utf8(get(tracker.addr, target).expect("a page")).expect("text")
}

/// The remaining seconds of what the store knows of a swarm.
fn life(redis: &Redis, n: u32) -> i64 {
    let answer = redis.ask(&format!("TTL samara:{{{}}}", swarm(n)));
    answer.trim_start_matches(':').parse().expect("a number")
}

#[test]
fn a_seed_here_is_told_to_a_leech_there_until_it_leaves() {
    let redis = Redis::start(&[]);
    let trackers = Tracker::several(3, &redis.url());
    let [a, b, c] = trackers.as_slice() else {
        panic!("three");
    };
    a.announce(swarm(1), 1, Started, 0);
    all_know(&trackers, 1..2);
    let told = b.announce(swarm(1), 2, Started, SIZE);
    assert_eq!(told.peers, [peer(1)]);
    for tracker in &trackers {
        until("the leech is known", || {
            tracker.counts(swarm(1)) == (1, 1, 0)
        });
    }
    let told = a.announce(swarm(1), 1, Event::None, 0);
    assert_eq!(told.peers, [peer(2)]);
    // A download is counted once, everywhere, though the client tells everybody.
    b.announce(swarm(1), 2, Completed, 0);
    c.announce(swarm(1), 2, Completed, 0);
    for tracker in &trackers {
        until("two seeds and one download", || {
            tracker.counts(swarm(1)) == (2, 0, 1)
        });
    }
    // Whoever leaves is gone everywhere, at whichever tracker it says so.
    c.announce(swarm(1), 1, Stopped, 0);
    for tracker in &trackers {
        until("one has left", || tracker.counts(swarm(1)) == (1, 0, 1));
    }
    // What is in the store ends by itself, and says what was counted.
    until("the count is in the store", || {
        redis.ask(&format!("ZSCORE samara:{{{}}} d", swarm(1))) == "-1"
    });
    assert!((80_000..=86_401).contains(&life(&redis, 1)));
    a.announce(swarm(2), 9, Started, 0);
    until("it is in the store", || life(&redis, 2) > 0);
    assert!(life(&redis, 2) <= 8_200);
    let metrics = page(a, "/metrics");
    assert!(metrics.contains("\nsamara_tracker_shared_alone 0\n"));
    assert!(metrics.contains("\nsamara_tracker_shared_loaded 1\n"));
    assert!(page(a, "/").contains("news of others come within"));
}

/// The store is killed under load and comes back empty: nobody is lost for as long as it is away, what
/// was announced meanwhile is known everywhere soon after, and the store has everything again.
#[test]
fn a_store_that_is_killed_gets_back_what_trackers_know() {
    let mut redis = Redis::start(&[]);
    let trackers = Tracker::several(3, &redis.url());
    seed_all(&trackers, 0..60);
    all_know(&trackers, 0..60);
    redis.kill();
    for tracker in &trackers {
        until("it notices", || tracker.shared().alone);
    }
    seed_all(&trackers, 60..120);
    trackers[0].announce(swarm(0), 0, Stopped, 0);
    for (nth, tracker) in (1_000..).zip(&trackers) {
        // From its own memory it tells of whom it knew, wherever they had announced.
        for n in 1..60 {
            let told = tracker.announce(swarm(n), nth, Started, SIZE);
            assert!(told.peers.contains(&peer(n)), "{nth} {n}");
        }
        assert!(page(tracker, "/stats.json").contains("\"alone\":true"));
        assert!(page(tracker, "/").contains("own memory"));
    }
    redis.run();
    all_know(&trackers, 1..120);
    for tracker in &trackers {
        until("who has left meanwhile is gone", || {
            tracker.counts(swarm(0)).0 == 0
        });
        until("it is not alone any more", || !tracker.shared().alone);
    }
    until("the store has all swarms again", || redis.keys() >= 119);
    // A newcomer learns them from there.
    let newcomer = Tracker::several(1, &redis.url());
    all_know(&newcomer, 1..120);
}

#[test]
fn a_store_that_hangs_keeps_nobody_waiting() {
    let redis = Redis::start(&[]);
    let trackers = Tracker::several(2, &redis.url());
    seed_all(&trackers, 0..10);
    all_know(&trackers, 0..10);
    redis.signal("-STOP");
    for round in 0..20 {
        for n in 0..10 {
            let told = trackers[0].announce(swarm(n), 100 + round, Started, SIZE);
            assert!(told.peers.contains(&peer(n)));
        }
    }
    for tracker in &trackers {
        until("it notices", || tracker.shared().alone);
    }
    assert_eq!(trackers[0].counts(swarm(1)), (1, 20, 0));
    assert!(page(&trackers[1], "/metrics").contains("\nsamara_tracker_shared_alone 1\n"));
    redis.signal("-CONT");
    for tracker in &trackers {
        until("everybody knows everybody", || {
            let knows = (0..10).all(|n| tracker.counts(swarm(n)) == (1, 20, 0));
            knows && !tracker.shared().alone
        });
    }
}

#[test]
fn a_full_store_is_counted_and_news_go_on() {
    let redis = Redis::start(&[]);
    let trackers = Tracker::several(2, &redis.url());
    assert_eq!(redis.ask("CONFIG SET maxmemory 1"), "+OK");
    seed_all(&trackers, 0..20);
    all_know(&trackers, 0..20);
    for tracker in &trackers {
        until("it is counted", || tracker.shared().full >= 10);
        assert!(!tracker.shared().alone);
    }
    assert_eq!(redis.keys(), 0);
    let metrics = page(&trackers[0], "/metrics");
    let line = "\nsamara_tracker_shared_errors_total{reason=\"store_full\"} ";
    let full = metrics.split_once(line).expect("there").1;
    assert!(!full.starts_with('0'));
}

/// A password, a database and a prefix; and what comes of a wrong password.
#[test]
fn who_has_the_password_comes_in() {
    let redis = Redis::start(&["--requirepass", "s:e@cret"]);
    let host = format!("127.0.0.1:{}", redis.port);
    let good = format!("redis://:s%3Ae%40cret@{host}/3?prefix=mine");
    let trackers = Tracker::several(2, &good);
    seed_all(&trackers, 0..4);
    all_know(&trackers, 0..4);
    let stranger = Tracker::start(&format!("redis://:wrong@{host}/3?prefix=mine"));
    stranger.announce(swarm(1), 70, Started, 0);
    assert!(stranger.shared().alone && !stranger.shared().loaded);
    assert_eq!(page(&stranger, "/ready"), "not ready\n");
    let address: SharedAddress = good.parse().expect("an address");
    assert!(!format!("{address:?}").contains("cret"));
}

/// Not a test: a tracker to be killed, in a process of its own.
#[test]
#[ignore = "runs until it is killed"]
fn child_tracker() {
    let (Ok(listen), Ok(store)) = (
        std::env::var("SAMARA_LISTEN"),
        std::env::var("SAMARA_STORE"),
    ) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let _inside = runtime.enter();
    let server = Server::bind(config(&listen, &store)).expect("binds");
    runtime.block_on(server.run(std::future::pending()));
}

fn child(listen: SocketAddr, store: &str) -> Child {
    Command::new(std::env::current_exe().expect("this program"))
        .args(["--ignored", "--exact", "shared::child_tracker"])
        .env("SAMARA_LISTEN", listen.to_string())
        .env("SAMARA_STORE", store)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts")
}

/// A tracker is killed, again and again: the others go on telling of its peers, and it knows everybody
/// when it is back: from the store before it says that it is ready, and what had been published and not
/// written when it was killed from the others soon after.
#[test]
fn a_tracker_that_is_killed_comes_back_knowing_everybody() {
    let redis = Redis::start(&[]);
    let others = Tracker::several(2, &redis.url());
    let victim = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let ready = || get(victim, "/ready").is_some_and(|page| page == b"ready\n");
    for round in 0..3 {
        let mut child = child(victim, &redis.url());
        until("it is ready", ready);
        for n in 0..30 * round {
            until(&format!("round {round}: swarm {n} is known"), || {
                let told = announce(victim, swarm(n), 5_000 + round, Started, SIZE);
                told.expect("answered").peers.contains(&peer(n))
            });
        }
        for n in 30 * round..30 * (round + 1) {
            announce(victim, swarm(n), n, Started, 0).expect("answered");
        }
        all_know(&others, 0..30 * (round + 1));
        child.kill().expect("killed");
        child.wait().expect("gone");
        for n in 0..30 * (round + 1) {
            let told = others[0].announce(swarm(n), 6_000 + round, Started, SIZE);
            assert!(told.peers.contains(&peer(n)));
        }
    }
}

#[test]
fn a_cluster_has_each_swarm_in_one_place_and_may_lose_a_node() {
    let mut nodes = cluster();
    let names: Vec<String> = nodes
        .iter()
        .map(|node| format!("127.0.0.1:{}", node.port))
        .collect();
    let store = format!("redis+cluster://{}", names.join(","));
    let trackers = Tracker::several(3, &store);
    seed_all(&trackers, 0..90);
    all_know(&trackers, 0..90);
    let held = |nodes: &[Redis]| -> Vec<usize> { nodes.iter().map(Redis::keys).collect() };
    until("all swarms are in the store", || {
        held(&nodes).iter().sum::<usize>() == 90
    });
    let shares = held(&nodes);
    assert!(shares.iter().all(|keys| *keys > 10), "{shares:?}");
    // A newcomer reads all three.
    let newcomer = Tracker::several(1, &store);
    all_know(&newcomer, 0..90);
    drop(newcomer);
    // The first is the one that everybody asks first.
    nodes[0].kill();
    // Swarms in the part that is gone, and others, are told everywhere all the same.
    seed_all(&trackers, 90..150);
    all_know(&trackers, 0..150);
    for tracker in &trackers {
        until("it is counted, and it is not alone", || {
            tracker.shared().unreached > 0 && !tracker.shared().alone
        });
    }
    until("the rest has its swarms", || {
        held(&nodes[1..]).iter().sum::<usize>() > 90
    });
    // It comes back empty, and gets its part again.
    nodes[0].run();
    until("the store has all swarms again", || {
        held(&nodes).iter().sum::<usize>() == 150
    });
}

#[test]
fn when_sentinels_choose_another_server_trackers_follow() {
    let mut first = Redis::start(&[]);
    let port = first.port.to_string();
    let second = Redis::start(&["--replicaof", "127.0.0.1", &port]);
    until("the replica follows", || {
        let replication = second.ask("INFO replication");
        replication.contains("master_link_status:up")
    });
    let sentinels: Vec<Redis> = (0..3).map(|_| Redis::sentinel(first.port)).collect();
    for sentinel in &sentinels {
        until("Sentinels know each other and the replica", || {
            sentinel
                .ask("INFO sentinel")
                .contains("slaves=1,sentinels=3")
        });
    }
    let names: Vec<String> = sentinels
        .iter()
        .map(|one| format!("127.0.0.1:{}", one.port))
        .collect();
    let store = format!("redis+sentinel://{}/mymaster", names.join(","));
    let trackers = Tracker::several(2, &store);
    seed_all(&trackers, 0..30);
    all_know(&trackers, 0..30);
    until("the store has them", || first.keys() == 30);
    first.kill();
    for tracker in &trackers {
        until("it notices", || tracker.shared().alone);
    }
    seed_all(&trackers, 30..60);
    until("the replica was chosen", || {
        second.ask("INFO replication").contains("role:master")
    });
    all_know(&trackers, 0..60);
    until("the store has everything", || second.keys() == 60);
}

use super::*;

#[test]
fn a_new_download_waits_until_a_seed_announces() {
    let mut store = store();
    let first = say(&mut store, 0, &leech(1));
    assert!(first.peers.is_empty());
    assert_eq!(first.interval, 2);
    assert_eq!(
        first.warning.as_deref(),
        Some("no seed yet: 1 leech is waiting")
    );
    assert_eq!((first.complete, first.incomplete), (Some(0), Some(1)));
    let second = say(&mut store, 100, &leech(2));
    assert!(second.peers.is_empty());
    assert_eq!(
        second.warning.as_deref(),
        Some("no seed yet: 2 leeches are waiting")
    );
    let arrived = say(&mut store, 200, &seed(3));
    assert_eq!(sorted(&arrived), ["50.0.0.1:6881", "50.0.0.2:6881"]);
    assert_eq!(arrived.warning, None);
    let again = say(&mut store, 2_000, &with(&leech(1), Event::None, SIZE));
    assert_eq!(sorted(&again), ["50.0.0.2:6881", "50.0.0.3:6881"]);
    assert_eq!(again.warning, None);
}

#[test]
fn one_that_has_pieces_goes_on_and_is_not_told_of_those_that_wait() {
    let mut store = store();
    say(&mut store, 0, &leech(1));
    // Less left than the most that anybody lacks.
    let a = say(&mut store, 0, &with(&leech(2), Event::Started, SIZE / 2));
    assert!(a.peers.is_empty());
    assert_eq!(
        a.warning.as_deref(),
        Some("no seed yet: 1 leech goes on with what they have")
    );
    // Has fetched something.
    let fetched = Announce {
        downloaded: 1,
        ..leech(3)
    };
    assert_eq!(sorted(&say(&mut store, 0, &fetched)), ["50.0.0.2:6881"]);
    // Says how large the torrent is.
    let mut alone = super::store();
    let resumed = Announce {
        left: Some(5),
        size: Some(6),
        ..leech(4)
    };
    let reply = say(&mut alone, 0, &resumed);
    assert_eq!(alone.swarm(HASH).map(|s| s.waiting), Some(0));
    assert_ne!(reply.interval, 2);
    // Lacks as much as there is.
    let fresh = Announce {
        left: Some(6),
        size: Some(6),
        ..leech(5)
    };
    assert_eq!(say(&mut alone, 0, &fresh).interval, 2);
}

#[test]
fn a_registered_size_decides_whatever_peers_say() {
    let mut store = store();
    store.register(0, HASH, Some(SIZE));
    let liar = Announce {
        left: Some(SIZE * 9),
        size: Some(SIZE * 10),
        ..leech(1)
    };
    assert_eq!(say(&mut store, 0, &liar).interval, 2);
    assert_eq!(say(&mut store, 0, &leech(2)).interval, 2);
    let resumed = with(&leech(3), Event::Started, SIZE - 1);
    assert_ne!(say(&mut store, 0, &resumed).interval, 2);
}

#[test]
fn a_magnet_waits_too() {
    let mut store = store();
    let magnet = Announce {
        left: None,
        ..leech(1)
    };
    assert_eq!(say(&mut store, 0, &magnet).interval, 2);
}

#[test]
fn when_the_seed_has_left_those_that_began_go_on_and_new_ones_wait() {
    let mut store = store();
    say(&mut store, 0, &seed(1));
    say(&mut store, 0, &leech(2));
    say(&mut store, 0, &leech(3));
    say(&mut store, 1_000, &with(&seed(1), Event::Stopped, 0));
    // Was told of peers under the seed: it has begun, whatever it has.
    let goes_on = say(&mut store, 5_000, &with(&leech(2), Event::None, SIZE));
    assert_eq!(sorted(&goes_on), ["50.0.0.3:6881"]);
    assert_eq!(
        goes_on.warning.as_deref(),
        Some("no seed any more: 2 leeches go on with what they have")
    );
    let newcomer = say(&mut store, 5_000, &leech(4));
    assert!(newcomer.peers.is_empty());
    assert_eq!(
        newcomer.warning.as_deref(),
        Some("no seed any more: 1 leech is waiting")
    );
    let goes_on = say(&mut store, 6_000, &with(&leech(3), Event::None, SIZE));
    assert_eq!(sorted(&goes_on), ["50.0.0.2:6881"]);
    // One of them completes: it is the seed that the newcomer waits for.
    say(&mut store, 7_000, &with(&leech(3), Event::Completed, 0));
    let newcomer = say(&mut store, 7_500, &with(&leech(4), Event::None, SIZE));
    assert_eq!(sorted(&newcomer), ["50.0.0.2:6881", "50.0.0.3:6881"]);
}

#[test]
fn a_seed_that_vanishes_is_no_seed_once_it_is_overdue() {
    let mut store = store();
    say(&mut store, 0, &seed(1));
    say(&mut store, 600_000, &leech(2));
    assert!(!say(&mut store, 600_000, &leech(3)).peers.is_empty());
    let late = say(&mut store, 3 * 1_800_000, &leech(4));
    assert!(late.peers.is_empty());
    assert!(late.warning.is_some());
    assert_eq!(late.complete, Some(0));
}

#[test]
fn the_rule_can_be_turned_off() {
    let config = Config {
        allow_seedless: true,
        ..Config::default()
    };
    let mut store = Store::new(config, 1);
    say(&mut store, 0, &leech(1));
    let reply = say(&mut store, 0, &leech(2));
    assert_eq!(sorted(&reply), ["50.0.0.1:6881"]);
    assert_eq!(reply.warning, None);
}

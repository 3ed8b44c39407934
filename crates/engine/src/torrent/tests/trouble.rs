//! Disks that fail unasked, trackers that are away, clocks that jump, peers that move.

use super::alone::{Alone, announced, hangup, requests};
use super::pipes::World;
use super::*;
use crate::io::{AnnounceEvent, Answer, PieceOutcome};
use samara_proto::wire::{Message, Reserved};

const TRACKER: TrackerKey = TrackerKey { tier: 0, place: 0 };

fn answer(seconds: u64) -> Input {
    Input::Announced {
        tracker: TRACKER,
        answer: Some(Answer {
            interval: Duration::from_secs(seconds),
            ..Answer::default()
        }),
    }
}

fn no_answer() -> Input {
    Input::Announced {
        tracker: TRACKER,
        answer: None,
    }
}

fn told(out: &Outputs) -> Vec<AnnounceEvent> {
    announced(out).into_iter().map(|(event, _)| event).collect()
}

/// One torrent that has become complete, before its tracker has answered for the first time.
fn complete_early() -> Alone {
    let mut alone = Alone::new(Bitfield::empty(1), vec![1], forever());
    assert_eq!(told(&alone.say(Input::Tick)), [AnnounceEvent::Started]);
    let outcome = PieceOutcome::Good(Vec::new());
    alone.say(Input::PieceDone { piece: 0, outcome });
    let out = alone.say(Input::FilesChecked(FilesOutcome::Good));
    assert!(out.contains(&Output::Event(Event::Complete)));
    alone
}

#[test]
fn a_completion_is_told_before_the_goodbye() {
    let mut alone = complete_early();
    // What is under way goes first, so that nothing overtakes it.
    assert_eq!(told(&alone.say(Input::Stop)), []);
    assert_eq!(told(&alone.say(answer(9))), [AnnounceEvent::Completed]);
    assert_eq!(told(&alone.say(answer(9))), [AnnounceEvent::Stopped]);
    assert_eq!(alone.say(answer(9)), [Output::Stopped]);

    // With the introduction behind it.
    let mut alone = complete_early();
    assert_eq!(told(&alone.say(answer(9))), [AnnounceEvent::Completed]);
    assert_eq!(told(&alone.say(Input::Stop)), []);
    assert_eq!(told(&alone.say(answer(9))), [AnnounceEvent::Stopped]);
    assert_eq!(alone.say(no_answer()), [Output::Stopped]);
}

#[test]
fn a_tracker_that_does_not_answer_does_not_keep_us() {
    let mut alone = complete_early();
    assert_eq!(told(&alone.say(Input::Stop)), []);
    let out = alone.wait(2);
    assert_eq!(told(&out), [AnnounceEvent::Stopped], "half of the time");
    assert!(!out.contains(&Output::Stopped));
    assert!(alone.wait(2).contains(&Output::Stopped));
}

#[test]
fn a_tracker_that_is_away_for_an_hour_is_asked_until_it_is_back() {
    let mut alone = Alone::new(Bitfield::empty(4), vec![1], forever());
    let mut asked = 0;
    let mut out = alone.say(Input::Tick);
    for _ in 0..3600 * 4 {
        if !told(&out).is_empty() {
            asked += 1;
            out = alone.say(no_answer());
            assert_eq!(told(&out), []);
        }
        alone.now = alone.now + Duration::from_millis(250);
        out = alone.say(Input::Tick);
    }
    // Pauses of 4, 8, ... 256 s, and then of 300 s: often enough, and no flood.
    assert!((15..=22).contains(&asked), "{asked}");
    // Back: at most five minutes later we are heard, and the peers are dialled.
    let mut waited = 0;
    while told(&out).is_empty() {
        out = alone.wait(1);
        waited += 1;
    }
    assert!(waited <= 300, "{waited}");
    let back = Answer {
        interval: Duration::from_secs(1800),
        peers: vec![addr(7)],
        ..Answer::default()
    };
    let mut out = alone.say(Input::Announced {
        tracker: TRACKER,
        answer: Some(back),
    });
    out.extend(alone.wait(2));
    assert!(out.contains(&Output::Dial(addr(7))));
}

#[test]
fn pieces_that_are_spoilt_behind_our_back_are_fetched_again() {
    let mut world = World::swarm(1, 40, &forever());
    world.run(5);
    assert!(world.is_complete(1));
    world
        .facts
        .push_back((1, Input::PiecesLost(vec![3, 17, 39, 40])));
    world.settle();
    assert!(!world.is_complete(1));
    assert_eq!(
        world.hosts[1].snapshot(world.now).bytes_have,
        37 * u64::from(PIECE)
    );
    world.connect(0, 1);
    world.run(5);
    assert!(world.is_complete(1));
    let seen = world.hosts[1].snapshot(world.now);
    assert_eq!(seen.downloaded, seen.bytes + 3 * u64::from(PIECE));
    world.hosts[1].picker.check();
}

#[test]
fn a_loss_overtakes_the_check_of_the_files() {
    let mut alone = Alone::new(Bitfield::empty(2), vec![1], forever());
    alone.say(Input::Tick);
    alone.say(answer(900));
    let good = |piece| Input::PieceDone {
        piece,
        outcome: PieceOutcome::Good(Vec::new()),
    };
    alone.say(good(0));
    assert!(alone.say(good(1)).contains(&Output::CheckFiles));
    alone.say(Input::PiecesLost(vec![1]));
    // The answer to a check that knew nothing of it.
    let out = alone.say(Input::FilesChecked(FilesOutcome::Good));
    assert!(!out.contains(&Output::Event(Event::Complete)), "{out:?}");
    assert!(alone.say(good(1)).contains(&Output::CheckFiles));
    let out = alone.say(Input::FilesChecked(FilesOutcome::Good));
    assert!(out.contains(&Output::Event(Event::Complete)), "{out:?}");
    assert_eq!(told(&out), [AnnounceEvent::Completed]);
    // Spoilt and mended once more: that is no other copy.
    alone.say(answer(900));
    alone.say(Input::PiecesLost(vec![0]));
    alone.say(good(0));
    let out = alone.say(Input::FilesChecked(FilesOutcome::Good));
    assert!(out.contains(&Output::Event(Event::Complete)), "{out:?}");
    assert_eq!(told(&out), []);
}

#[test]
fn a_disk_that_cannot_sync_ends_the_run_once() {
    let mut alone = Alone::new(Bitfield::empty(4), vec![1], forever());
    alone.say(Input::Tick);
    alone.say(answer(900));
    let failed = |out: &Outputs| {
        let is = |output: &&Output| matches!(output, Output::Event(Event::DiskFailed(_)));
        out.iter().filter(is).count()
    };
    let out = alone.say(Input::DiskFailed("cannot sync".into()));
    assert_eq!(
        (failed(&out), told(&out)),
        (1, vec![AnnounceEvent::Stopped])
    );
    let out = alone.say(Input::DiskFailed("cannot sync".into()));
    assert_eq!(failed(&out), 0, "said once");
    assert_eq!(alone.say(answer(900)), [Output::Stopped]);
}

#[test]
fn clocks_that_jump_cost_connections_and_nothing_else() {
    // An hour, a month, ten years: a process that was stopped, a machine that was asleep.
    for seconds in [3_600, 30 * 86_400, 3_650 * 86_400] {
        let mut world = World::swarm(2, 40, &forever());
        world.cut(0, 1);
        world.cut(0, 2);
        world.run(2);
        assert!(world.links.contains(&(1, 2)), "nobody has anything yet");
        world.now = world.now + Duration::from_secs(seconds);
        world.run(3);
        world.cut(1, 2);
        world.connect(0, 1);
        world.connect(1, 2);
        world.run(20);
        assert!((1..3).all(|host| world.is_complete(host)), "{seconds} s");
    }
}

#[test]
fn a_clock_that_goes_back_breaks_nothing() {
    // Obligation 1 forbids it, and a driver may be wrong.
    let mut world = World::swarm(2, 40, &forever());
    world.now = world.now + Duration::from_secs(86_400);
    world.settle();
    world.now = Instant::ZERO + Duration::from_secs(1);
    world.run(5);
    world.now = Instant::ZERO + Duration::from_secs(86_500);
    world.run(30);
    assert!(world.is_complete(1) && world.is_complete(2));
}

#[test]
fn a_peer_that_comes_from_another_address_takes_its_own_place() {
    let mut alone = Alone::new(Bitfield::full(4), vec![], forever());
    let again = |alone: &mut Alone, key, from| {
        alone.say(Input::PeerUp {
            peer: PeerKey(key),
            addr: addr(from),
            outgoing: false,
            peer_id: PeerId([1; 20]),
            reserved: Reserved::ours(false),
        })
    };
    again(&mut alone, 1, 1);
    alone.message(1, Message::HaveNone);
    // Somebody borrows the name of a peer that is well.
    let out = again(&mut alone, 2, 9);
    assert_eq!(hangup(&out), Some(Goodbye::Fault(PeerFault::Duplicate)));
    assert!(!alone.torrent.peers.contains_key(&PeerKey(2)));
    // The peer itself, after its old address has gone quiet.
    alone.wait(11);
    again(&mut alone, 3, 9);
    let keys: Vec<PeerKey> = alone.torrent.peers.keys().copied().collect();
    assert_eq!(keys, [PeerKey(3)]);
}

/// Found by the simulator (seed 1545): a host among peers with full uplinks stood still for good.
#[test]
fn a_piece_that_failed_is_asked_of_slow_peers_where_there_are_no_others() {
    let mut alone = Alone::new(Bitfield::empty(1), vec![], forever());
    for key in [1, 2] {
        alone.peer(key, Reserved::ours(true));
        alone.message(key, Message::HaveAll);
    }
    // Two blocks from each, and nobody knows whose is wrong.
    let first = requests(&alone.message(1, Message::Unchoke));
    for span in &first[2..] {
        alone.message(1, Message::Reject(*span));
    }
    let second = requests(&alone.message(2, Message::Unchoke));
    assert_eq!(second.len(), 2);
    for (key, spans) in [(1, &first[..2]), (2, &second[..])] {
        for span in spans {
            alone.say(Input::Block {
                peer: PeerKey(key),
                span: *span,
            });
        }
    }
    let outcome = PieceOutcome::Bad(vec![]);
    let out = alone.say(Input::PieceDone { piece: 0, outcome });
    assert!(!requests(&out).is_empty(), "asked again, of one of them");
    // Neither sends within its time. A peer that is merely slow is alive, and says so.
    for _ in 0..4 {
        alone.wait(40);
        alone.message(1, Message::KeepAlive);
        alone.message(2, Message::KeepAlive);
    }
    let out = alone.wait(61);
    assert!(!requests(&out).is_empty(), "one of them is tried again");
}

/// Found by the simulator (seed 196): three that never sent had all copies of the last block, and who would have sent it was
/// never asked.
#[test]
fn peers_that_do_not_send_cannot_keep_the_last_blocks_to_themselves() {
    let mut alone = Alone::new(Bitfield::empty(1), vec![], forever());
    let come = |alone: &mut Alone, key| {
        alone.peer(key, Reserved::ours(false));
        alone.message(key, Message::HaveAll);
        requests(&alone.message(key, Message::Unchoke))
    };
    let asked = come(&mut alone, 4);
    let (last, first) = asked.split_last().expect("four blocks");
    for &span in first {
        let peer = PeerKey(4);
        alone.say(Input::Block { peer, span });
    }
    alone.say(Input::PeerDown { peer: PeerKey(4) });
    for key in [1, 2, 3] {
        come(&mut alone, key);
    }
    // They say something now and then, so that they are not taken for dead.
    for _ in 0..4 {
        alone.wait(40);
        for key in [1, 2, 3] {
            alone.message(key, Message::KeepAlive);
        }
    }
    assert_eq!(come(&mut alone, 5), [*last]);
}

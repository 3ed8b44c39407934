//! The order in which requests are served.

use super::alone::Alone;
use super::*;
use samara_proto::wire::{Message, Reserved};

const BLOCK: u32 = 16384;

/// A seed that serves `slots` peers, with `peers` that are interested.
fn seed(slots: usize, peers: u32) -> (Alone, Outputs) {
    let config = Config {
        upload_slots: slots,
        upload_slots_max: slots + 3,
        optimistic_slots: 0,
        super_seed: false,
        ..forever()
    };
    let mut alone = Alone::new(Bitfield::full(8), vec![], config);
    let mut out = Outputs::new();
    for key in 1..=peers {
        alone.peer(key, Reserved::ours(false));
        alone.message(key, Message::HaveNone);
        out.extend(alone.message(key, Message::Interested));
    }
    (alone, out)
}

/// `key` asks for two whole pieces.
fn ask(alone: &mut Alone, key: u32) -> Outputs {
    let mut out = Outputs::new();
    for at in 0..2 * PIECE / BLOCK {
        let span = Span {
            piece: key % 4 + at * BLOCK / PIECE,
            offset: at * BLOCK % PIECE,
            length: BLOCK,
        };
        out.extend(alone.message(key, Message::Request(span)));
    }
    out
}

/// Who is sent a block.
fn served(out: &Outputs) -> Vec<u32> {
    let whom = |output: &Output| match output {
        Output::Serve { peer, .. } => Some(peer.0),
        _ => None,
    };
    out.iter().filter_map(whom).collect()
}

fn unchoked(out: &Outputs) -> Vec<u32> {
    let whom = |output: &Output| match output {
        Output::Send {
            peer,
            message: Message::Unchoke,
        } => Some(peer.0),
        _ => None,
    };
    out.iter().filter_map(whom).collect()
}

fn taken(alone: &mut Alone, key: u32) -> Outputs {
    alone.say(Input::Served {
        peer: PeerKey(key),
        bytes: u64::from(BLOCK),
    })
}

#[test]
fn a_piece_is_whole_before_another_is_begun() {
    let (mut alone, _) = seed(8, 8);
    let mut begun = Vec::new();
    for key in 1..=8 {
        begun.extend(served(&ask(&mut alone, key)));
    }
    assert_eq!(begun, [1, 2, 3, 4], "transports hold four blocks");
    // The transport of peer 1 takes what it is given: nobody else gets what it can have before its piece is whole.
    for block in 2..=4 {
        let next = served(&taken(&mut alone, 1));
        assert_eq!(next, [1], "block {block}");
    }
    // Its turn is over: peer 2 is first now, whose transport is full, and then those that wait longest.
    assert_eq!(served(&taken(&mut alone, 1)), [5]);
    assert_eq!(served(&taken(&mut alone, 2)), [2]);
}

#[test]
fn receivers_that_are_stuck_hold_up_nobody() {
    let (mut alone, _) = seed(8, 8);
    for key in 1..=4 {
        assert_eq!(served(&ask(&mut alone, key)), [key]);
    }
    assert_eq!(served(&ask(&mut alone, 7)), [0; 0], "no room");
    assert!(alone.deadline() <= alone.now + Duration::from_millis(50));
    assert_eq!(served(&alone.wait(1)), [7]);
    let mut blocks = 1;
    for _ in 1..8 {
        let next = served(&taken(&mut alone, 7));
        assert!(next.iter().all(|key| *key == 7), "{next:?}");
        blocks += next.len();
    }
    assert_eq!(blocks, 8, "all that it asked for");
}

#[test]
fn who_is_choked_loses_its_place_and_may_come_back() {
    let (mut alone, _) = seed(2, 2);
    assert_eq!(served(&ask(&mut alone, 1)), [1]);
    alone.message(1, Message::NotInterested);
    let out = alone.wait(1);
    assert!(out.contains(&Output::Send {
        peer: PeerKey(1),
        message: Message::Choke
    }));
    assert_eq!(served(&taken(&mut alone, 1)), [0; 0], "what waited is void");
    assert_eq!(unchoked(&alone.message(1, Message::Interested)), [1]);
    assert_eq!(served(&ask(&mut alone, 1)), [1]);
}

#[test]
fn an_idle_uplink_lets_one_more_ask() {
    let (mut alone, out) = seed(1, 3);
    assert_eq!(unchoked(&out), [1]);
    assert_eq!(unchoked(&alone.wait(1)), [2, 3], "peer 1 asks for nothing");
    assert!(alone.deadline() > alone.now, "it does not spin");

    let (mut alone, _) = seed(1, 3);
    ask(&mut alone, 1);
    assert_eq!(unchoked(&alone.wait(1)), [0; 0], "the uplink is busy");
}

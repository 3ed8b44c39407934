//! Turns: one peer asks at a time, a piece at once.

use super::alone::{Alone, requests};
use super::*;
use samara_proto::wire::{ExtendedHandshake, Message, Reserved};

const BLOCK: u32 = 16384;

fn with_turns() -> Config {
    Config {
        turn_slots: 6,
        upload_slots: 2,
        optimistic_slots: 0,
        super_seed: false,
        ..forever()
    }
}

impl Alone {
    /// A peer that has `first` to say of its pieces, and takes turns or does not.
    fn meet(&mut self, key: u32, first: Message, turns: bool) -> Outputs {
        self.peer(key, Reserved::ours(false));
        let hello = ExtendedHandshake {
            turns,
            ..ExtendedHandshake::default()
        };
        let payload = hello.encode();
        let mut out = self.message(key, Message::Extended { id: 0, payload });
        out.extend(self.message(key, first));
        out
    }

    fn ask(&mut self, key: u32, piece: u32, blocks: u32) -> Outputs {
        let mut out = Outputs::new();
        for at in 0..blocks {
            let span = Span {
                piece: piece + at * BLOCK / PIECE,
                offset: at * BLOCK % PIECE,
                length: BLOCK,
            };
            out.extend(self.message(key, Message::Request(span)));
        }
        out
    }

    fn served(&mut self, key: u32, bytes: u32, millis: u64) -> Outputs {
        self.now = self.now + Duration::from_millis(millis);
        self.say(Input::Served {
            peer: PeerKey(key),
            bytes: bytes.into(),
        })
    }
}

/// Peers that are told `message`, in order.
fn told(out: &Outputs, message: &Message) -> Vec<u32> {
    let whom = |output: &Output| match output {
        Output::Send {
            peer,
            message: said,
        } if said == message => Some(peer.0),
        _ => None,
    };
    out.iter().filter_map(whom).collect()
}

/// Blocks that are sent to `key`.
fn blocks(out: &Outputs, key: u32) -> usize {
    let its = |output: &&Output| matches!(output, Output::Serve { peer, .. } if peer.0 == key);
    out.iter().filter(its).count()
}

/// A seed of eight pieces with `peers` that take turns and are interested. Whose turn is first is told.
fn seed(peers: u32) -> (Alone, Vec<u32>) {
    let mut alone = Alone::new(Bitfield::full(8), vec![], with_turns());
    let mut out = Outputs::new();
    for key in 1..=peers {
        alone.meet(key, Message::HaveNone, true);
        out.extend(alone.message(key, Message::Interested));
    }
    (alone, told(&out, &Message::Unchoke))
}

#[test]
fn one_asks_at_a_time_and_is_sent_all_that_it_asked_for() {
    let (mut alone, first) = seed(4);
    assert_eq!(first, [1], "the uplink has enough to do with one");
    // A turn is 96 KiB while the uplink is not known: six blocks.
    let mut out = alone.ask(1, 0, 6);
    assert_eq!(told(&out, &Message::Choke), [1], "it has had its turn");
    let sent = blocks(&out, 1);
    out = Outputs::new();
    for _ in 0..6 {
        out.extend(alone.served(1, BLOCK, 1));
    }
    assert_eq!(sent + blocks(&out, 1), 6, "a choke takes nothing back");
    let next = told(&out, &Message::Unchoke);
    assert_eq!(next.len(), 1, "one more: {next:?}");
    assert_ne!(next, [1], "who has waited longest");
}

#[test]
fn requests_that_cross_the_choke_are_served_up_to_a_turn() {
    let (mut alone, _) = seed(2);
    alone.ask(1, 0, 6);
    let late = alone.ask(1, 2, 8);
    let rejected = late.iter().filter(|output| {
        matches!(output, Output::Send { peer, message: Message::Reject(_) } if peer.0 == 1)
    });
    assert_eq!(rejected.count(), 2, "six more are a turn");
}

#[test]
fn who_wants_nothing_passes_its_turn_on_at_once() {
    let (mut alone, first) = seed(3);
    let out = alone.message(first[0], Message::NotInterested);
    assert_eq!(told(&out, &Message::Choke), first);
    assert_eq!(told(&out, &Message::Unchoke).len(), 1);
}

#[test]
fn who_does_not_answer_is_waited_for_only_so_long() {
    let (mut alone, first) = seed(3);
    let out = alone.wait(1);
    let next = told(&out, &Message::Unchoke);
    assert!(!next.is_empty() && !next.contains(&first[0]), "{next:?}");
}

#[test]
fn who_is_alone_asks_without_end() {
    let (mut alone, _) = seed(1);
    let mut out = Outputs::new();
    for round in 0..8 {
        out.extend(alone.ask(1, round % 4, 6));
        for _ in 0..6 {
            out.extend(alone.served(1, BLOCK, 1));
        }
    }
    assert_eq!(told(&out, &Message::Choke), []);
}

#[test]
fn a_slow_receiver_does_not_keep_the_others_waiting() {
    let (mut alone, _) = seed(2);
    // The uplink is seen to carry 10 MB/s; then the other takes 100 kB/s.
    let mut served = Outputs::new();
    for round in 0..40 {
        let key = 1 + round % 2;
        served.extend(alone.ask(key, 0, 6));
        for _ in 0..6 {
            served.extend(alone.served(key, BLOCK, 2));
        }
    }
    // One of them has its turn, and asks for all of it.
    let key = if alone.torrent.peers[&PeerKey(1)].choked {
        2
    } else {
        1
    };
    let mut out = Outputs::new();
    let mut waits = 0;
    while told(&out, &Message::Choke).is_empty() {
        assert_eq!(told(&out, &Message::Unchoke), [], "it is enough to do");
        out = alone.ask(key, 0, 1);
        waits += 1;
    }
    let mut out = Outputs::new();
    let mut took = 0;
    while told(&out, &Message::Unchoke).is_empty() {
        out = alone.served(key, BLOCK, 160);
        took += 1;
    }
    assert!(took * 2 < waits, "after {took} of {waits} blocks");
}

#[test]
fn other_clients_keep_their_slots() {
    let (mut alone, first) = seed(2);
    let mut out = Outputs::new();
    for key in [11, 12, 13] {
        alone.meet(key, Message::HaveNone, false);
        out.extend(alone.message(key, Message::Interested));
    }
    assert_eq!(told(&out, &Message::Unchoke), [11, 12], "two slots");
    let out = alone.ask(11, 0, 40);
    assert_eq!(told(&out, &Message::Choke), [], "no turn ends for them");
    assert_eq!(first, [1]);
}

#[test]
fn a_leech_asks_for_a_whole_piece_at_once_and_a_choke_takes_nothing_back() {
    let mut alone = Alone::new(Bitfield::empty(8), vec![], with_turns());
    for key in [1, 2] {
        alone.meet(key, Message::HaveAll, true);
    }
    let asked = requests(&alone.message(1, Message::Unchoke));
    assert_eq!(asked.len(), (PIECE / BLOCK) as usize);
    assert!(asked.iter().all(|span| span.piece == asked[0].piece));
    assert_eq!(requests(&alone.message(1, Message::Choke)), []);
    let other = requests(&alone.message(2, Message::Unchoke));
    assert!(!other.is_empty());
    let again = other.iter().any(|span| asked.contains(span));
    assert!(!again, "what was asked of one is not asked of another");
    let out = alone.say(Input::Block {
        peer: PeerKey(1),
        span: asked[0],
    });
    assert!(out.contains(&Output::Keep { span: asked[0] }));
}

#[test]
fn who_has_nothing_to_ask_for_says_so_and_says_when_it_has() {
    let mut alone = Alone::new(Bitfield::empty(8), vec![], with_turns());
    for key in [1, 2] {
        alone.meet(key, Message::HaveNone, true);
        alone.message(key, Message::Have(3));
    }
    let out = alone.message(1, Message::Unchoke);
    assert_eq!(requests(&out).len(), 4);
    assert_eq!(
        told(&out, &Message::NotInterested),
        [2],
        "all of it is asked of the other"
    );
    assert_eq!(requests(&alone.message(2, Message::Unchoke)), []);
    let out = alone.message(2, Message::Have(5));
    assert_eq!(told(&out, &Message::Interested), [2]);
}

#[test]
fn who_is_not_set_to_turns_does_not_speak_of_them() {
    let mut alone = Alone::new(Bitfield::full(8), vec![], forever());
    let out = alone.peer(1, Reserved::ours(false));
    let hello = out.iter().find_map(|output| match output {
        Output::Send {
            message: Message::Extended { id: 0, payload },
            ..
        } => ExtendedHandshake::decode(payload),
        _ => None,
    });
    assert!(!hello.expect("an extended handshake").turns);
}

//! Ends and beginnings: copies in the endgame, turns while a seed shows its pieces one by one.

use super::alone::{Alone, requests};
use super::*;
use samara_proto::wire::{Message, Reserved};

impl Alone {
    /// `key` sends what it was asked for, `millis` after the last thing that happened.
    fn block(&mut self, key: u32, span: Span, millis: u64) -> Outputs {
        self.now = self.now + Duration::from_millis(millis);
        self.say(Input::Block {
            peer: PeerKey(key),
            span,
        })
    }
}

/// What `key` is asked for by `out`.
fn asked_of(out: &Outputs, key: u32) -> Vec<Span> {
    let its = out
        .iter()
        .filter(|output| matches!(output, Output::Send { peer, .. } if peer.0 == key));
    requests(&its.cloned().collect())
}

#[test]
fn in_the_endgame_the_end_of_a_slow_queue_is_copied_and_its_head_is_not() {
    let mut alone = Alone::new(Bitfield::empty(8), vec![], forever());
    let mut queues = [Vec::new(), Vec::new()];
    for key in [1, 2] {
        alone.peer(key, Reserved::ours(false));
        alone.message(key, Message::HaveAll);
        queues[key as usize - 1] = asked_of(&alone.message(key, Message::Unchoke), key);
    }
    // Peer 1 sends a block every 250 ms, so it is known to be slow.
    let mut slow = queues[0].clone();
    let fresh = alone.block(1, slow.remove(0), 250);
    slow.extend(asked_of(&fresh, 1));
    // Peer 2 sends all that it is asked for, fast, until it is asked for what peer 1 was asked for.
    let mut fast = queues[1].clone();
    let mut copies = Vec::new();
    while !fast.is_empty() && copies.is_empty() {
        let out = alone.block(2, fast.remove(0), 5);
        let (copied, new): (Vec<Span>, Vec<Span>) = asked_of(&out, 2)
            .into_iter()
            .partition(|span| slow.contains(span));
        copies = copied;
        fast.extend(new);
    }
    assert_eq!(copies.first(), slow.last(), "{slow:?}: {copies:?}");
    assert!(!copies.contains(&slow[0]), "it is on its way: {copies:?}");
}

#[test]
fn in_the_endgame_who_falls_silent_is_not_waited_for() {
    let mut alone = Alone::new(Bitfield::empty(1), vec![], forever());
    alone.peer(1, Reserved::ours(false));
    alone.message(1, Message::HaveAll);
    let mut queue = asked_of(&alone.message(1, Message::Unchoke), 1);
    assert_eq!(queue.len(), 4, "all there is");
    // Its rate is known to be high, then it sends no more.
    alone.block(1, queue.remove(0), 10);
    alone.block(1, queue.remove(0), 100);
    alone.peer(2, Reserved::ours(false));
    alone.message(2, Message::HaveAll);
    let at_once = asked_of(&alone.message(2, Message::Unchoke), 2);
    assert_eq!(at_once, [], "it will be here at once");
    let copies = asked_of(&alone.wait(4), 2);
    assert!(queue.iter().all(|span| copies.contains(span)), "{copies:?}");
}

fn shown(out: &Outputs) -> Vec<(u32, u32)> {
    let piece = |output: &Output| match output {
        Output::Send {
            peer,
            message: Message::Have(piece),
        } => Some((peer.0, *piece)),
        _ => None,
    };
    out.iter().filter_map(piece).collect()
}

fn first_seed(peers: u32) -> (Alone, Vec<(u32, u32)>) {
    let config = Config {
        upload_slots: 2,
        upload_slots_max: 2,
        optimistic_slots: 0,
        ..forever()
    };
    let mut alone = Alone::new(Bitfield::full(12), vec![], config);
    let mut first = Vec::new();
    for key in 1..=peers {
        first.extend(shown(&alone.peer(key, Reserved::ours(false))));
        alone.message(key, Message::HaveNone);
    }
    (alone, first)
}

#[test]
fn a_turn_ends_when_the_piece_came_from_another() {
    let (mut alone, first) = first_seed(3);
    assert_eq!(first.len(), 2, "two are served: {first:?}");
    let mut out = Outputs::new();
    for (key, piece) in first {
        out.extend(alone.message(key, Message::Have(piece)));
    }
    out.extend(alone.wait(1));
    assert!(shown(&out).len() >= 2, "{:?}", shown(&out));
}

/// The one that is choked has had more than all others: they keep their slots, and go on.
#[test]
fn who_keeps_its_slot_is_shown_more() {
    let (mut alone, first) = first_seed(1);
    let mut open = first;
    let serve = |alone: &mut Alone, (key, piece): (u32, u32)| {
        let mut out = Outputs::new();
        for block in 0..PIECE / 16384 {
            let span = Span {
                piece,
                offset: block * 16384,
                length: 16384,
            };
            out.extend(alone.message(key, Message::Request(span)));
            out.extend(alone.say(Input::Served {
                peer: PeerKey(key),
                bytes: 16384,
            }));
        }
        out.extend(alone.message(key, Message::Have(piece)));
        out.extend(alone.wait(1));
        shown(&out)
    };
    for _ in 0..4 {
        let next = open.remove(0);
        open.extend(serve(&mut alone, next));
    }
    for key in [2, 3] {
        open.extend(shown(&alone.peer(key, Reserved::ours(false))));
        alone.message(key, Message::HaveNone);
    }
    open.extend(shown(&alone.wait(2)));
    let mut given: Vec<u32> = Vec::new();
    while let Some(at) = open.iter().position(|(key, _)| *key != 1) {
        let next = open.remove(at);
        given.push(next.1);
        open.extend(serve(&mut alone, next));
    }
    assert!(given.len() >= 4, "it stalls after {given:?}, open {open:?}");
}

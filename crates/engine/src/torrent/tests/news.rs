//! Who hears of a new piece, and when.

use super::alone::{Alone, requests};
use super::*;
use crate::io::{PieceOutcome, Reason};
use samara_proto::wire::{Message, Reserved};
use std::collections::VecDeque;

/// A leech that gets pieces from a seed, peer 1, and has one slot.
struct Leech {
    alone: Alone,
    asked: VecDeque<Span>,
}

impl Leech {
    fn new(pieces: u32) -> Self {
        let config = Config {
            upload_slots: 1,
            upload_slots_max: 1,
            optimistic_slots: 0,
            ..forever()
        };
        let mut alone = Alone::new(Bitfield::empty(pieces), vec![], config);
        alone.peer(1, Reserved::ours(false));
        alone.message(1, Message::HaveAll);
        let asked = requests(&alone.message(1, Message::Unchoke)).into();
        Self { alone, asked }
    }

    /// A peer that has nothing; the first that is interested has the slot.
    fn peer(&mut self, key: u32, interested: bool) {
        self.alone.peer(key, Reserved::ours(false));
        self.alone.message(key, Message::HaveNone);
        if interested {
            self.alone.message(key, Message::Interested);
        }
    }

    /// The seed sends blocks until a piece is whole, and it is right. What was said then.
    fn next_piece(&mut self) -> (u32, Outputs) {
        loop {
            let span = self.asked.pop_front().expect("something is asked for");
            let peer = PeerKey(1);
            let out = self.alone.say(Input::Block { peer, span });
            self.asked.extend(requests(&out));
            let whole = out.iter().find_map(|output| match output {
                Output::Verify { piece, .. } => Some(*piece),
                _ => None,
            });
            let Some(piece) = whole else { continue };
            let outcome = PieceOutcome::Good(Vec::new());
            let out = self.alone.say(Input::PieceDone { piece, outcome });
            self.asked.extend(requests(&out));
            return (piece, out);
        }
    }
}

/// The pieces that a peer is told of.
fn told(out: &Outputs, key: u32) -> Vec<u32> {
    let piece = |output: &Output| match output {
        Output::Send {
            peer,
            message: Message::Have(piece),
        } if peer.0 == key => Some(*piece),
        _ => None,
    };
    out.iter().filter_map(piece).collect()
}

#[test]
fn who_could_ask_at_once_is_told_at_once() {
    let mut leech = Leech::new(8);
    leech.peer(2, true);
    leech.peer(3, false);
    let (piece, out) = leech.next_piece();
    assert_eq!(
        told(&out, 2),
        [piece],
        "it may ask, and has nothing to ask for"
    );
    assert_eq!(
        told(&out, 3),
        [piece],
        "it thinks that we have nothing for it"
    );
}

#[test]
fn who_waits_for_a_slot_hears_of_several_pieces_together() {
    let mut leech = Leech::new(8);
    leech.peer(2, true);
    leech.peer(3, true);
    let (first, out) = leech.next_piece();
    assert!(told(&out, 3).is_empty());
    let (second, out) = leech.next_piece();
    assert!(told(&out, 3).is_empty());
    assert_eq!(told(&leech.alone.wait(1), 3), [first, second]);
}

#[test]
fn while_the_slot_is_used_news_wait_a_moment_for_company() {
    let mut leech = Leech::new(8);
    leech.peer(2, true);
    leech.peer(3, false);
    let (piece, _) = leech.next_piece();
    let (offset, length) = (0, 16384);
    let span = Span {
        piece,
        offset,
        length,
    };
    let out = leech.alone.message(2, Message::Request(span));
    let peer = PeerKey(2);
    assert!(out.contains(&Output::Serve { peer, span }));
    let (first, out) = leech.next_piece();
    assert!(told(&out, 2).is_empty(), "it has something to do");
    assert!(told(&out, 3).is_empty(), "it could have no slot");
    let due = leech.alone.now + Config::default().have_wait;
    while leech.alone.deadline() < due {
        leech.alone.now = leech.alone.deadline();
        let out = leech.alone.say(Input::Tick);
        assert!(told(&out, 2).is_empty() && told(&out, 3).is_empty());
    }
    let deadline = leech.alone.torrent.deadline();
    assert_eq!((deadline.at, deadline.why), (due, Reason::News));
    let (second, out) = leech.next_piece();
    assert!(told(&out, 2).is_empty() && told(&out, 3).is_empty());
    leech.alone.now = due;
    let out = leech.alone.say(Input::Tick);
    assert_eq!(told(&out, 2), [first, second]);
    assert_eq!(told(&out, 3), [first, second]);
    let after = leech.alone.torrent.deadline();
    assert!(after.at > due, "{after:?}");
}

#[test]
fn news_leave_with_whatever_else_there_is_to_say() {
    let mut leech = Leech::new(8);
    leech.peer(2, true);
    leech.peer(3, true);
    let (piece, out) = leech.next_piece();
    // The seed has the piece, and is asked for the next blocks anyway.
    assert!(told(&out, 1).is_empty());
    let span = leech.asked.pop_front().expect("asked");
    let peer = PeerKey(1);
    let out = leech.alone.say(Input::Block { peer, span });
    assert!(!requests(&out).is_empty());
    assert_eq!(told(&out, 1), [piece]);
    // Who is choked is told so when it asks.
    let span = Span {
        piece,
        offset: 0,
        length: 16384,
    };
    let out = leech.alone.message(3, Message::Request(span));
    let to_it = |message| Output::Send {
        peer: PeerKey(3),
        message,
    };
    let wanted = [Message::Reject(span), Message::Have(piece)].map(to_it);
    assert_eq!(out, wanted);
    assert!(told(&leech.alone.wait(2), 3).is_empty(), "once");
}

#[test]
fn who_has_the_piece_hears_of_it_too() {
    let mut leech = Leech::new(8);
    leech.peer(2, true);
    leech.peer(3, true);
    for piece in 0..8 {
        leech.alone.message(3, Message::Have(piece));
    }
    let (piece, out) = leech.next_piece();
    assert!(told(&out, 3).is_empty());
    assert_eq!(told(&leech.alone.wait(1), 3), [piece]);
}

#[test]
fn the_last_piece_makes_a_seed_of_us_and_everybody_knows() {
    let mut leech = Leech::new(2);
    leech.peer(2, true);
    leech.peer(3, true);
    leech.alone.message(3, Message::HaveAll);
    let (first, out) = leech.next_piece();
    assert!(told(&out, 3).is_empty());
    let (last, out) = leech.next_piece();
    assert_eq!(told(&out, 3), [first, last]);
    assert_eq!(told(&out, 2), [last], "of the first it has heard");
    assert!(told(&out, 1).ends_with(&[last]));
}

#[test]
fn what_is_lost_before_it_was_told_is_never_told() {
    let mut leech = Leech::new(8);
    leech.peer(2, true);
    leech.peer(3, true);
    let (first, _) = leech.next_piece();
    let (second, _) = leech.next_piece();
    leech.alone.say(Input::PiecesLost(vec![first]));
    assert_eq!(told(&leech.alone.wait(1), 3), [second]);
}

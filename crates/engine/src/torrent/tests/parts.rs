//! Pieces that are passed on before they are whole.

use super::alone::{Alone, hangup, requests};
use super::pipes::World;
use super::*;
use crate::io::PieceOutcome;
use samara_proto::wire::{ExtendedHandshake, Message, PARTS_ID, PartsMessage, Reserved};

const STEP: u32 = 32 << 10;

/// Number under which the peers of these tests want messages about parts.
const THEIRS: u8 = 77;

fn block(piece: u32, at: u32) -> Span {
    Span {
        piece,
        offset: at * 16384,
        length: 16384,
    }
}

fn parts(message: &PartsMessage) -> Message {
    Message::Extended {
        id: PARTS_ID,
        payload: message.encode(),
    }
}

fn chain(piece: u32) -> Message {
    parts(&PartsMessage::Chain {
        piece,
        step: STEP,
        values: vec![Sha1([5; 20])],
    })
}

/// `key` comes, knows parts, and says what it has.
fn come(alone: &mut Alone, key: u32, has: Message) {
    alone.peer(key, Reserved::ours(false));
    let hello = ExtendedHandshake {
        parts: Some(THEIRS),
        ..ExtendedHandshake::default()
    };
    alone.message(key, has);
    let payload = hello.encode();
    alone.message(key, Message::Extended { id: 0, payload });
}

/// What was said of parts, and to whom.
fn said(out: &Outputs) -> Vec<(u32, PartsMessage)> {
    let of = |output: &Output| match output {
        Output::Send {
            peer,
            message: Message::Extended { id, payload },
        } if *id == THEIRS => Some((peer.0, PartsMessage::decode(payload).expect("a message"))),
        _ => None,
    };
    out.iter().filter_map(of).collect()
}

fn rejected(out: &Outputs) -> Vec<Span> {
    let span = |output: &Output| match output {
        Output::Send {
            message: Message::Reject(span),
            ..
        } => Some(*span),
        _ => None,
    };
    out.iter().filter_map(span).collect()
}

fn held(out: &Outputs) -> Vec<(u32, Span)> {
    let of = |output: &Output| match output {
        Output::ServeHeld { peer, span } => Some((peer.0, *span)),
        _ => None,
    };
    out.iter().filter_map(of).collect()
}

fn give(alone: &mut Alone, key: u32, span: Span) -> Outputs {
    let peer = PeerKey(key);
    alone.say(Input::Block { peer, span })
}

fn checked(alone: &mut Alone, piece: u32, good: bool) -> Outputs {
    let from = STEP;
    alone.say(Input::PartDone { piece, from, good })
}

/// A leech of two pieces; peer 1 has both and is asked for the first, peer 2 lacks everything and may ask us.
fn leech() -> (Alone, u32) {
    let mut alone = Alone::new(Bitfield::empty(2), vec![], forever());
    come(&mut alone, 1, Message::HaveAll);
    let asked = requests(&alone.message(1, Message::Unchoke));
    assert_eq!(asked.len(), 4);
    let piece = asked[0].piece;
    let backwards: Vec<Span> = (0..4).rev().map(|at| block(piece, at)).collect();
    assert_eq!(asked, backwards, "from the end");
    come(&mut alone, 2, Message::HaveNone);
    alone.message(2, Message::Interested);
    (alone, piece)
}

/// The same when the second half of the piece is here and verified.
fn half() -> (Alone, u32, Outputs) {
    let (mut alone, piece) = leech();
    alone.message(1, chain(piece));
    give(&mut alone, 1, block(piece, 3));
    let out = give(&mut alone, 1, block(piece, 2));
    let check = Output::CheckPart {
        piece,
        from: STEP,
        to: PIECE,
        before: Sha1([5; 20]),
        after: None,
    };
    assert!(out.contains(&check), "{out:?}");
    let out = checked(&mut alone, piece, true);
    (alone, piece, out)
}

#[test]
fn a_part_is_passed_on_while_the_rest_comes() {
    let (mut alone, piece, out) = half();
    assert_eq!(said(&out), [(2, PartsMessage::Coming { piece })]);
    let out = alone.message(2, Message::Request(block(piece, 3)));
    assert_eq!(held(&out), [(2, block(piece, 3))]);
    let first = said(&out).remove(0);
    assert!(
        matches!(first, (2, PartsMessage::Chain { piece: of, .. }) if of == piece),
        "who asks gets the chain: {first:?}"
    );
    // What is not verified waits, and is served from disk once the piece is there.
    let out = alone.message(2, Message::Request(block(piece, 1)));
    assert_eq!((held(&out), rejected(&out)), (vec![], vec![]));
    give(&mut alone, 1, block(piece, 1));
    let out = give(&mut alone, 1, block(piece, 0));
    assert!(out.iter().any(|out| matches!(out, Output::Verify { .. })));
    // Its blocks are with the disk now: nothing can be served from memory.
    let out = alone.message(2, Message::Request(block(piece, 2)));
    assert_eq!(held(&out), []);
    let (peer, bytes) = (PeerKey(2), 16384);
    alone.say(Input::Served { peer, bytes });
    let outcome = PieceOutcome::Good(Vec::new());
    let mut out = alone.say(Input::PieceDone { piece, outcome });
    for at in [1, 2] {
        let span = block(piece, at);
        assert!(out.contains(&Output::Serve { peer, span }), "{out:?}");
        out = alone.say(Input::Served { peer, bytes });
    }
    alone.torrent.check();
}

#[test]
fn a_part_that_is_wrong_is_served_to_nobody_and_the_piece_decides() {
    let (mut alone, piece) = leech();
    alone.message(1, chain(piece));
    give(&mut alone, 1, block(piece, 3));
    give(&mut alone, 1, block(piece, 2));
    let out = checked(&mut alone, piece, false);
    assert_eq!(said(&out), []);
    let out = alone.message(2, Message::Request(block(piece, 3)));
    assert_eq!(rejected(&out), [block(piece, 3)]);
    assert_eq!(hangup(&out), None);
    // The chain may have been the lie: the piece is still fetched and verified.
    give(&mut alone, 1, block(piece, 1));
    let out = give(&mut alone, 1, block(piece, 0));
    assert!(out.iter().any(|out| matches!(out, Output::Verify { .. })));
    let outcome = PieceOutcome::Good(Vec::new());
    alone.say(Input::PieceDone { piece, outcome });
    alone.torrent.check();
}

#[test]
fn what_does_not_come_is_taken_back_and_what_waits_rejected() {
    for lost in [false, true] {
        let (mut alone, piece, _) = half();
        alone.message(2, Message::Request(block(piece, 1)));
        let out = if lost {
            give(&mut alone, 1, block(piece, 1));
            give(&mut alone, 1, block(piece, 0));
            let outcome = PieceOutcome::Bad(vec![0; 4]);
            alone.say(Input::PieceDone { piece, outcome })
        } else {
            alone.wait(4)
        };
        assert_eq!(rejected(&out), [block(piece, 1)], "lost: {lost}");
        assert!(said(&out).contains(&(2, PartsMessage::Gone { piece })));
        let out = alone.message(2, Message::Request(block(piece, 3)));
        assert_eq!(rejected(&out), [block(piece, 3)]);
        alone.torrent.check();
    }
}

#[test]
fn a_seed_computes_the_chain_once_and_sends_it_to_all_who_ask() {
    let config = Config {
        super_seed: false,
        ..forever()
    };
    let mut alone = Alone::new(Bitfield::full(2), vec![], config);
    for key in [1, 2] {
        come(&mut alone, key, Message::HaveNone);
        alone.message(key, Message::Interested);
    }
    let chains = |out: &Outputs| {
        let all = out.iter();
        all.filter(|out| matches!(out, Output::Chain { .. }))
            .count()
    };
    let out = alone.message(1, Message::Request(block(1, 3)));
    assert!(out.contains(&Output::Chain {
        piece: 1,
        step: STEP
    }));
    let more = alone.message(1, Message::Request(block(1, 2)));
    let other = alone.message(2, Message::Request(block(1, 3)));
    assert_eq!((chains(&more), chains(&other)), (0, 0));
    let values = vec![Sha1([4; 20])];
    let out = alone.say(Input::Chained { piece: 1, values });
    let whom: Vec<u32> = said(&out).iter().map(|(key, _)| *key).collect();
    assert_eq!(whom, [1, 2]);
    let again = alone.message(1, Message::Request(block(1, 1)));
    assert_eq!((said(&again), chains(&again)), (vec![], 0));
    // A piece that cannot be read has no chain, and is asked for again.
    alone.message(1, Message::Request(block(0, 3)));
    let values = Vec::new();
    let out = alone.say(Input::Chained { piece: 0, values });
    assert_eq!(said(&out), []);
    assert_eq!(chains(&alone.message(1, Message::Request(block(0, 2)))), 1);
}

#[test]
fn two_that_fetch_the_same_never_wait_for_each_other() {
    let (mut alone, piece, _) = half();
    let coming = parts(&PartsMessage::Coming { piece });
    // 3 says so after we did: it may wait for what we have.
    come(&mut alone, 3, Message::HaveNone);
    alone.message(3, coming);
    alone.say(Input::PeerDown { peer: PeerKey(1) });
    assert_eq!(requests(&alone.message(3, Message::Unchoke)), []);
    // Once it has the piece it may be asked.
    let asked = requests(&alone.message(3, Message::Have(piece)));
    assert_eq!(asked, [block(piece, 1), block(piece, 0)]);
    alone.torrent.check();

    // 4 said so before we did.
    let (mut alone, piece) = leech();
    come(&mut alone, 4, Message::HaveNone);
    alone.message(4, coming_of(piece));
    alone.message(1, chain(piece));
    give(&mut alone, 1, block(piece, 3));
    give(&mut alone, 1, block(piece, 2));
    checked(&mut alone, piece, true);
    alone.say(Input::PeerDown { peer: PeerKey(1) });
    let asked = requests(&alone.message(4, Message::Unchoke));
    assert_eq!(asked, [block(piece, 1), block(piece, 0)]);
    alone.torrent.check();
}

fn coming_of(piece: u32) -> Message {
    parts(&PartsMessage::Coming { piece })
}

#[test]
fn a_word_that_is_taken_back_is_forgotten() {
    let mut alone = Alone::new(Bitfield::empty(2), vec![], forever());
    come(&mut alone, 1, Message::HaveNone);
    alone.message(1, coming_of(1));
    assert_eq!(alone.torrent.snapshot(alone.now).peer_seeds, 0);
    alone.message(1, coming_of(0));
    assert_eq!(
        alone.torrent.snapshot(alone.now).peer_seeds,
        0,
        "who has begun everything is no seed"
    );
    alone.torrent.check();
    alone.message(1, parts(&PartsMessage::Gone { piece: 1 }));
    alone.torrent.check();
    let asked = requests(&alone.message(1, Message::Unchoke));
    assert!(asked.iter().all(|span| span.piece == 0) && asked.len() == 4);
}

#[test]
fn what_nobody_asked_for_is_ignored_and_nonsense_is_a_fault() {
    let (mut alone, piece) = leech();
    // A chain of a piece that 2 was not asked for, one that is too short, one in odd steps.
    alone.message(2, chain(piece));
    let short = PartsMessage::Chain {
        piece,
        step: STEP,
        values: Vec::new(),
    };
    let odd = PartsMessage::Chain {
        piece,
        step: 1,
        values: vec![Sha1([5; 20])],
    };
    for wrong in [short, odd] {
        assert_eq!(hangup(&alone.message(1, parts(&wrong))), None);
    }
    give(&mut alone, 1, block(piece, 3));
    let out = give(&mut alone, 1, block(piece, 2));
    let check = |out: &Output| matches!(out, Output::CheckPart { .. });
    assert!(!out.iter().any(check), "{out:?}");
    let out = alone.message(2, coming_of(9));
    let fault = Some(Goodbye::Fault(PeerFault::PieceOutOfRange));
    assert_eq!(hangup(&out), fault);
    // What cannot be read costs nothing else (BEP 10).
    let payload = Bytes::from_static(b"\x09");
    let id = PARTS_ID;
    let out = alone.message(1, Message::Extended { id, payload });
    assert_eq!(hangup(&out), None);
}

#[test]
fn a_swarm_that_passes_parts_on_is_complete() {
    let mut world = World::swarm(6, 40, &forever());
    world.run(10);
    for leech in 1..=6 {
        assert!(world.is_complete(leech), "leech {leech}");
        let seen = world.hosts[leech].snapshot(world.now);
        assert_eq!((seen.rejected, seen.bytes_have), (0, seen.bytes));
    }
}

//! The attacks of docs/security.md that are for a torrent to withstand, by their numbers.

use super::alone::{Alone, hangup};
use super::*;
use crate::fault::Proof;
use samara_proto::wire::{Message, Reserved};

fn bits(bytes: &'static [u8]) -> Message {
    Message::Bitfield(Bytes::from_static(bytes))
}

fn proof(out: &Outputs) -> Option<(PeerFault, Proof)> {
    out.iter().find_map(|output| match output {
        Output::Event(Event::PeerBanned { fault, proof, .. }) => Some((*fault, *proof)),
        _ => None,
    })
}

fn alone() -> Alone {
    let mut alone = Alone::new(Bitfield::empty(12), vec![], forever());
    alone.peer(1, Reserved::ours(false));
    alone
}

#[test]
fn attack_12_bitfields_that_are_empty_too_long_or_have_spare_bits() {
    for wrong in [
        bits(&[]),
        bits(&[0xff]),
        bits(&[0xff, 0xf0, 0]),
        bits(&[0xff, 0xf8]),
    ] {
        let out = alone().message(1, wrong.clone());
        let fault = Some(Goodbye::Fault(PeerFault::BadBitfield));
        assert_eq!(hangup(&out), fault, "{wrong:?}");
    }
    for piece in [12, u32::MAX] {
        let out = alone().message(1, Message::Have(piece));
        let fault = Some(Goodbye::Fault(PeerFault::PieceOutOfRange));
        assert_eq!(hangup(&out), fault, "{piece}");
    }
}

#[test]
fn attack_12_a_second_bitfield_may_add_and_who_takes_back_is_banned_with_proof() {
    let mut alone = alone();
    alone.message(1, bits(&[0b1010_0000, 0]));
    let more = alone.message(1, bits(&[0b1110_0000, 0]));
    assert_eq!(hangup(&more), None);
    alone.torrent.check();
    assert_eq!(hangup(&alone.message(1, Message::HaveAll)), None);
    alone.torrent.check();
    let out = alone.message(1, bits(&[0xff, 0b1011_0000]));
    let want = (PeerFault::ClaimTakenBack, Proof::Claim { piece: 9 });
    assert_eq!(proof(&out), Some(want));
    assert_eq!(
        hangup(&out),
        Some(Goodbye::Fault(PeerFault::ClaimTakenBack))
    );
    alone.torrent.check();
    // It does not come back.
    let again = alone.peer(1, Reserved::ours(false));
    assert!(hangup(&again).is_some());
}

#[test]
fn attack_12_haves_that_cross_the_first_bitfield_are_no_contradiction() {
    let mut alone = alone();
    alone.message(1, Message::Have(3));
    assert_eq!(hangup(&alone.message(1, bits(&[0b1000_0000, 0]))), None);
    alone.torrent.check();
}

#[test]
fn attack_14_blocks_of_any_place_and_length_are_not_kept() {
    let spans = [
        (0, 0, 0),
        (12, 0, 16384),
        (u32::MAX, u32::MAX, 16384),
        (0, u32::MAX, 16384),
        (0, 65536, 16384),
        (0, 1, 16384),
        (0, 0, 131_072),
        (0, 0, 16384),
    ];
    let mut alone = alone();
    alone.message(1, Message::HaveAll);
    for (piece, offset, length) in spans {
        let span = Span {
            piece,
            offset,
            length,
        };
        let out = alone.say(Input::Block {
            peer: PeerKey(1),
            span,
        });
        let kept = out
            .iter()
            .any(|output| matches!(output, Output::Keep { .. }));
        assert!(!kept, "{span:?}");
        alone.torrent.check();
    }
}

#[test]
fn attack_21_many_identities_at_one_address_get_a_part_of_the_places() {
    let config = Config {
        peers_per_address: 3,
        ..forever()
    };
    let mut alone = Alone::new(Bitfield::empty(12), vec![], config);
    let mut come = |key: u32, addr: &str| {
        let out = alone.say(Input::PeerUp {
            peer: PeerKey(key),
            addr: addr.parse().expect("an address"),
            outgoing: false,
            peer_id: PeerId([key as u8; 20]),
            reserved: Reserved::ours(false),
        });
        hangup(&out)
    };
    for key in 0..3 {
        assert_eq!(come(key, &format!("8.8.8.8:{}", 1000 + key)), None);
    }
    assert_eq!(come(3, "8.8.8.8:4000"), Some(Goodbye::Surplus));
    assert_eq!(come(4, "[::ffff:8.8.8.8]:1"), Some(Goodbye::Surplus));
    assert_eq!(come(5, "8.8.4.4:4000"), None);
    for key in 10..13 {
        assert_eq!(come(key, &format!("[2a00::{key}]:1")), None);
    }
    assert_eq!(come(13, "[2a00::ffff:1]:1"), Some(Goodbye::Surplus));
    // Many machines are behind a private address, or none but our own.
    for key in 20..26 {
        assert_eq!(come(key, &format!("192.168.1.1:{key}")), None);
    }
}

#[test]
fn attack_21_a_flood_of_addresses_is_bounded_and_the_useless_ones_are_not_dialled() {
    let mut alone = Alone::new(Bitfield::empty(12), vec![], forever());
    let flood = (0..50_000u32).map(|n| SocketAddr::from((n.to_be_bytes(), n as u16)));
    let mut out = alone.say(Input::Candidates(flood.collect()));
    out.extend(alone.wait(5));
    let dialled = out
        .iter()
        .filter(|output| matches!(output, Output::Dial(_)));
    assert!(dialled.count() <= forever().dials_max);
    alone.torrent.check();
}

/// Connections of a session are shared between its torrents: one that has more than its part lets go of whom
/// it can spare, and not of who gives it something.
#[test]
fn attack_21_who_is_of_least_use_makes_room() {
    let mut alone = Alone::new(Bitfield::empty(12), vec![], forever());
    for key in 1..=4 {
        alone.peer(key, Reserved::ours(false));
    }
    alone.message(1, bits(&[0xff, 0xf0]));
    alone.message(2, bits(&[0xff, 0]));
    alone.message(3, Message::Interested);
    let gone = |out: &Outputs| -> Vec<u32> {
        let peers = out.iter().filter_map(|output| match output {
            Output::Hangup { peer, why } => {
                assert_eq!(*why, Goodbye::Surplus);
                Some(peer.0)
            }
            _ => None,
        });
        peers.collect()
    };
    for wanted in [4, 3, 2, 1] {
        let out = alone.say(Input::MakeRoom);
        assert_eq!(gone(&out), [wanted]);
        let peer = PeerKey(wanted);
        alone.say(Input::PeerDown { peer });
        alone.torrent.check();
    }
    assert_eq!(gone(&alone.say(Input::MakeRoom)), []);
}

//! A seed gives slots away before its uplink has nothing to do.

use super::alone::Alone;
use super::*;
use samara_proto::wire::{Message, Reserved};
use std::collections::BTreeSet;

const BLOCK: u32 = 16384;
const PEERS: u32 = 8;

fn config() -> Config {
    Config {
        upload_slots: 2,
        optimistic_slots: 1,
        ..forever()
    }
}

/// A first seed of 40 pieces, and peers that have nothing.
struct First {
    alone: Alone,
    unchoked: BTreeSet<u32>,
    shown: BTreeMap<u32, Vec<u32>>,
}

impl First {
    fn new() -> Self {
        let mut first = Self {
            alone: Alone::new(Bitfield::full(40), vec![], config()),
            unchoked: BTreeSet::new(),
            shown: BTreeMap::new(),
        };
        for key in 1..=PEERS {
            let out = first.alone.peer(key, Reserved::ours(false));
            first.hear(&out);
            let out = first.alone.message(key, Message::HaveNone);
            first.hear(&out);
        }
        first
    }

    fn hear(&mut self, out: &Outputs) {
        for output in out {
            let Output::Send { peer, message } = output else {
                continue;
            };
            match message {
                Message::Unchoke => drop(self.unchoked.insert(peer.0)),
                Message::Choke => drop(self.unchoked.remove(&peer.0)),
                Message::Have(piece) => self.shown.entry(peer.0).or_default().push(*piece),
                _ => {}
            }
        }
    }

    /// `key` asks for all that it was shown.
    fn ask(&mut self, key: u32) {
        let out = self.alone.message(key, Message::Interested);
        self.hear(&out);
        for piece in self.shown.remove(&key).unwrap_or_default() {
            for at in 0..PIECE / BLOCK {
                let (offset, length) = (at * BLOCK, BLOCK);
                let span = Span {
                    piece,
                    offset,
                    length,
                };
                let out = self.alone.message(key, Message::Request(span));
                self.hear(&out);
            }
        }
    }

    /// The transport takes a block for `key`, 25 ms after the one before.
    fn serve(&mut self, key: u32) {
        self.alone.now = self.alone.now + Duration::from_millis(25);
        let out = self.alone.say(Input::Served {
            peer: PeerKey(key),
            bytes: BLOCK.into(),
        });
        self.hear(&out);
        let out = self.alone.say(Input::Tick);
        self.hear(&out);
    }
}

#[test]
fn one_more_has_a_slot_before_the_others_are_done() {
    let mut first = First::new();
    assert_eq!(first.unchoked.len(), 3, "two slots and an optimistic one");
    let began: Vec<u32> = first.unchoked.iter().copied().collect();
    for key in &began {
        first.ask(*key);
    }
    assert_eq!(first.unchoked.len(), 3, "nothing is known of the uplink");
    // Three of four blocks each: nobody's turn is over, and less than a second's work is left.
    for _ in 0..3 {
        for key in &began {
            first.serve(*key);
        }
    }
    assert!(began.iter().all(|key| first.unchoked.contains(key)));
    assert!(first.unchoked.len() > 3, "{:?}", first.unchoked);
    assert!(
        first.shown.values().all(|pieces| pieces.len() == 1),
        "each is shown a piece of its own: {:?}",
        first.shown
    );
}

#[test]
fn every_piece_is_asked_of_the_seed_once() {
    let mut first = First::new();
    let mut asked = BTreeSet::new();
    for _ in 0..400 {
        for key in 1..=PEERS {
            for piece in first.shown.get(&key).cloned().unwrap_or_default() {
                assert!(asked.insert(piece), "piece {piece} is shown twice");
            }
            first.ask(key);
        }
        if asked.len() == 40 {
            return;
        }
        for key in 1..=PEERS {
            let serving = first.alone.torrent.peers[&PeerKey(key)].serving;
            if serving > 0 {
                first.serve(key);
            }
        }
    }
    panic!("only {} pieces were shown", asked.len());
}

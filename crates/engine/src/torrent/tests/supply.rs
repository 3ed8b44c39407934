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
        part_slots: 2,
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

    /// The transport takes a block for `key`, 2 ms after the one before.
    fn serve(&mut self, key: u32) {
        self.alone.now = self.alone.now + Duration::from_millis(2);
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
fn slots_are_added_when_the_uplink_is_known_to_carry_more_than_was_asked_for() {
    let mut first = First::new();
    assert_eq!(first.unchoked.len(), 3, "two slots and an optimistic one");
    let (mut asked, mut served) = (BTreeSet::new(), 0);
    for _ in 0..400 {
        for key in 1..=PEERS {
            for piece in first.shown.get(&key).cloned().unwrap_or_default() {
                assert!(asked.insert(piece), "piece {piece} is shown twice");
            }
            first.ask(key);
        }
        first.alone.now = first.alone.now + Duration::from_millis(20);
        let out = first.alone.say(Input::Tick);
        first.hear(&out);
        for key in 1..=PEERS {
            if first.alone.torrent.peers[&PeerKey(key)].serving > 0 {
                first.serve(key);
                served += u64::from(BLOCK);
            }
        }
        // Three, and one more that may be added because nobody waits.
        if served <= 3 * (128 << 10) {
            assert!(first.unchoked.len() <= 4, "buffers may have taken {served}");
        } else if first.unchoked.len() >= 6 {
            return;
        }
    }
    panic!("{served} bytes served, {} pieces shown", asked.len());
}

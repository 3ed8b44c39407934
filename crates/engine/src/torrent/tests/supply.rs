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
    /// All that was ever shown to anybody, and how often that was not the first time.
    seen: BTreeSet<u32>,
    again: u32,
    /// Blocks of each piece that transports were handed.
    handed: BTreeMap<u32, u32>,
}

impl First {
    fn new() -> Self {
        let mut first = Self {
            alone: Alone::new(Bitfield::full(40), vec![], config()),
            unchoked: BTreeSet::new(),
            shown: BTreeMap::new(),
            seen: BTreeSet::new(),
            again: 0,
            handed: BTreeMap::new(),
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
            if let Output::Serve { span, .. } = output {
                *self.handed.entry(span.piece).or_default() += 1;
            }
            let Output::Send { peer, message } = output else {
                continue;
            };
            match message {
                Message::Unchoke => drop(self.unchoked.insert(peer.0)),
                Message::Choke => drop(self.unchoked.remove(&peer.0)),
                Message::Have(piece) => {
                    self.shown.entry(peer.0).or_default().push(*piece);
                    self.again += u32::from(!self.seen.insert(*piece));
                }
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

    /// Everybody asks for all that it was shown, and each transport that has something takes a block, after `pause`. Bytes that were taken.
    fn round(&mut self, pause: Duration) -> u64 {
        for key in 1..=PEERS {
            self.ask(key);
        }
        self.alone.now = self.alone.now + pause;
        let out = self.alone.say(Input::Tick);
        self.hear(&out);
        let mut taken = 0;
        for key in 1..=PEERS {
            if self.alone.torrent.peers[&PeerKey(key)].serving > 0 {
                self.serve(key);
                taken += u64::from(BLOCK);
            }
        }
        taken
    }

    /// All peers have what was handed out for any of them.
    fn pass_on(&mut self) {
        let whole = |(piece, blocks): (&u32, &u32)| (*blocks >= PIECE / BLOCK).then_some(*piece);
        let whole: Vec<u32> = self.handed.iter().filter_map(whole).collect();
        for piece in whole {
            self.handed.remove(&piece);
            for key in 1..=PEERS {
                let out = self.alone.message(key, Message::Have(piece));
                self.hear(&out);
            }
        }
    }

    /// Goes on until nothing is hidden any more; whether every piece was given by then.
    fn until_all_is_shown(&mut self, follows: bool) -> bool {
        for _ in 0..2000 {
            let all = self.alone.torrent.reveal.all_given();
            if !self.alone.torrent.reveal.is_hiding() {
                return all;
            }
            self.round(Duration::from_millis(20));
            if follows {
                self.pass_on();
            }
        }
        panic!("it hides for ever");
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
    let mut served = 0;
    for _ in 0..400 {
        served += first.round(Duration::from_millis(20));
        assert_eq!(first.again, 0, "a piece is shown twice");
        // Three, and one more that may be added because nobody waits.
        if served <= 3 * (128 << 10) {
            assert!(first.unchoked.len() <= 4, "buffers may have taken {served}");
        } else if first.unchoked.len() >= 6 {
            return;
        }
    }
    panic!("{served} bytes served, {} pieces shown", first.seen.len());
}

#[test]
fn hiding_ends_early_only_where_the_swarm_cannot_follow() {
    assert!(
        !First::new().until_all_is_shown(false),
        "nobody passes on anything"
    );
    assert!(
        First::new().until_all_is_shown(true),
        "everybody has what one was given"
    );
}

#[test]
fn what_was_shown_with_a_slot_counts_until_it_should_have_been_asked_for() {
    let first = First::new();
    let (torrent, now) = (&first.alone.torrent, first.alone.now);
    let key = PeerKey(*first.unchoked.first().expect("three"));
    let after = |ms| torrent.supply_of(now + Duration::from_millis(ms), key, &torrent.peers[&key]);
    assert_eq!(after(0), u64::from(PIECE));
    assert_eq!(after(299), u64::from(PIECE));
    assert_eq!(after(300), 0);
}

//! What a seed shows of itself while it is the only one that has everything.
//!
//! A seed that shows all pieces is asked for the same piece by many leeches before they can ask each
//! other: libtorrent's seed sends two copies, transmission's more than three, until the swarm has one. So
//! the first seed of a swarm shows a piece to one leech at a time, each piece once, until all have been given
//! (*super-seeding*, BEP 16: about 1.05 copies). BEP 16 then waits until the piece is seen at another peer,
//! which stalls when there are few; here the next piece is shown as soon as most of the last has been
//! asked for, or more at once to a fast peer, so that the uplink never waits for a confirmation.
//!
//! When every piece has been given, or others are known to have them all, everything is shown to everybody.
//! Cost: O(1) a request, O(pieces) a piece that is shown when the fresh ones have run out, memory P / 8 bytes a
//! peer.

use crate::io::PeerKey;
use crate::rng::Rng;
use samara_proto::{Bitfield, Geometry};
use std::collections::BTreeMap;

/// Pieces shown at once to a peer when there is nothing to hide any more: 9 bytes each on the wire.
const CHUNK_MIN: usize = 4096;

/// What one peer was shown.
#[derive(Debug)]
struct View {
    shown: Bitfield,
    /// Pieces that it may still ask for, with the bytes that it has not asked for.
    open: BTreeMap<u32, u32>,
    /// Those bytes: a fast peer has hundreds of pieces open, and asks 100,000 times a second.
    unasked: u64,
    /// It does not go along: it is shown everything.
    open_to_all: bool,
    /// Pieces that it was given and no other has got from it yet.
    unspread: u32,
    /// When there was last nothing to show to it, as [`Reveal::returned`] stood. Until a piece comes back
    /// there is nothing again: what may be shown only becomes less.
    nothing_at: Option<u64>,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Reveal {
    geometry: Geometry,
    hiding: bool,
    /// Pieces that nobody was shown, in random order.
    fresh: Vec<u32>,
    /// How many were shown each piece.
    shown: Vec<u16>,
    /// Bytes of each piece that were handed to a transport.
    handed: Vec<u32>,
    left_to_give: u32,
    /// Who was shown each piece first, while no other has it.
    owners: Vec<Option<PeerKey>>,
    /// Pieces that were taken back from peers so far.
    returned: u64,
    views: BTreeMap<PeerKey, View>,
}

impl Reveal {
    pub(crate) fn new(geometry: Geometry, hiding: bool, rng: &mut Rng) -> Self {
        let pieces = if hiding { geometry.pieces() } else { 0 };
        let mut fresh: Vec<u32> = (0..pieces).collect();
        rng.shuffle(&mut fresh);
        Self {
            hiding,
            fresh,
            shown: vec![0; pieces as usize],
            handed: vec![0; pieces as usize],
            left_to_give: pieces,
            owners: vec![None; pieces as usize],
            returned: 0,
            views: BTreeMap::new(),
            geometry,
        }
    }

    /// Whether a peer that comes now is shown nothing at first.
    pub(crate) fn is_hiding(&self) -> bool {
        self.hiding
    }

    /// Whether there is anything to be done for any peer.
    pub(crate) fn is_idle(&self) -> bool {
        self.views.is_empty()
    }

    /// A peer came and was told that we have nothing.
    pub(crate) fn came(&mut self, peer: PeerKey) {
        let view = View {
            shown: Bitfield::empty(self.geometry.pieces()),
            open: BTreeMap::new(),
            unasked: 0,
            open_to_all: false,
            unspread: 0,
            nothing_at: None,
        };
        self.views.insert(peer, view);
    }

    /// Whether `peer` was shown less than everything.
    pub(crate) fn is_partial(&self, peer: PeerKey) -> bool {
        self.views.contains_key(&peer)
    }

    /// A peer is gone. What it was shown and not given is shown to others.
    pub(crate) fn gone(&mut self, peer: PeerKey) {
        let Some(view) = self.views.remove(&peer) else {
            return;
        };
        for piece in view.open.into_keys() {
            self.take_back(piece);
        }
    }

    fn take_back(&mut self, piece: u32) {
        if !self.is_given(piece) && self.hiding {
            self.fresh.push(piece);
            self.returned += 1;
        }
    }

    /// A peer asks for bytes of a piece.
    pub(crate) fn asked(&mut self, peer: PeerKey, piece: u32, bytes: u32) {
        if let Some(view) = self.views.get_mut(&peer)
            && let Some(left) = view.open.get_mut(&piece)
        {
            let asked = bytes.min(*left);
            *left -= asked;
            view.unasked -= u64::from(asked);
        }
    }

    /// Pieces that the peer was given and no other has got from it yet.
    pub(crate) fn unspread(&self, peer: PeerKey) -> u32 {
        self.views.get(&peer).map_or(0, |view| view.unspread)
    }

    /// Bytes of what the peer was shown that it has not asked for.
    pub(crate) fn unasked(&self, peer: PeerKey) -> u64 {
        self.views.get(&peer).map_or(0, |view| view.unasked)
    }

    /// Pieces that were given to somebody.
    pub(crate) fn given(&self) -> u32 {
        self.geometry.pieces() - self.left_to_give
    }

    /// Whether every piece was shown to somebody.
    pub(crate) fn all_shown(&self) -> bool {
        self.fresh.is_empty()
    }

    fn is_given(&self, piece: u32) -> bool {
        let handed = self.handed.get(piece as usize);
        handed.is_none_or(|bytes| *bytes >= self.geometry.data_len(piece))
    }

    /// A peer has a piece now, from us or from another.
    pub(crate) fn has(&mut self, peer: PeerKey, piece: u32) {
        let given = self.is_given(piece);
        if let Some(owner) = self.owners.get_mut(piece as usize)
            && *owner != Some(peer)
            && let Some(giver) = owner.take()
            && given
            && let Some(view) = self.views.get_mut(&giver)
        {
            view.unspread = view.unspread.saturating_sub(1);
        }
        if let Some(view) = self.views.get_mut(&peer) {
            view.unasked -= u64::from(view.open.remove(&piece).unwrap_or(0));
        }
    }

    /// Bytes of a piece were handed to a transport.
    pub(crate) fn handed(&mut self, piece: u32, bytes: u32) {
        let Some(handed) = self.handed.get_mut(piece as usize) else {
            return;
        };
        let before = *handed;
        *handed = before.saturating_add(bytes);
        let whole = self.geometry.data_len(piece);
        if before < whole && *handed >= whole {
            self.left_to_give = self.left_to_give.saturating_sub(1);
            let owner = self.owners.get(piece as usize).copied().flatten();
            if let Some(view) = owner.and_then(|owner| self.views.get_mut(&owner)) {
                view.unspread += 1;
            }
        }
    }

    /// Whether every piece has been given to somebody.
    pub(crate) fn all_given(&self) -> bool {
        self.left_to_give == 0
    }

    /// Nothing is hidden from this peer any more; what it is shown from now on counts for nothing.
    pub(crate) fn open_up(&mut self, peer: PeerKey) {
        let Some(view) = self.views.get_mut(&peer) else {
            return;
        };
        view.open_to_all = true;
        view.unasked = 0;
        for piece in core::mem::take(&mut view.open).into_keys() {
            self.take_back(piece);
        }
    }

    /// Whether `peer` was shown pieces that it has not asked for at all.
    pub(crate) fn is_waiting_for(&self, peer: PeerKey) -> bool {
        self.views
            .get(&peer)
            .is_some_and(|view| !view.open_to_all && !view.open.is_empty())
    }

    /// From now on nothing is hidden.
    pub(crate) fn stop_hiding(&mut self) {
        self.hiding = false;
        self.fresh = Vec::new();
        self.shown = Vec::new();
        self.owners = Vec::new();
        self.handed = Vec::new();
    }

    /// The pieces to show to `peer`, who has `has`, now. `ahead`: bytes that it should be able to ask
    /// for without a word from us. `again`: when nothing fresh is left, what others were shown and have not been given.
    pub(crate) fn next(
        &mut self,
        peer: PeerKey,
        has: &Bitfield,
        ahead: u64,
        again: bool,
    ) -> Vec<u32> {
        let open = self.views.get(&peer).is_some_and(|view| view.open_to_all);
        if open || !self.hiding {
            return self.next_of_all(peer, has);
        }
        let mut show = Vec::new();
        let Some(mut view) = self.views.remove(&peer) else {
            return show;
        };
        if view.nothing_at == Some(self.returned) {
            self.views.insert(peer, view);
            return show;
        }
        while view.unasked < ahead {
            let Some(piece) = self.choose(&view, has, again) else {
                if again {
                    view.nothing_at = Some(self.returned);
                }
                break;
            };
            view.shown.set(piece);
            if let Some(owner @ None) = self.owners.get_mut(piece as usize) {
                *owner = Some(peer);
            }
            let whole = self.geometry.data_len(piece);
            view.open.insert(piece, whole);
            if let Some(shown) = self.shown.get_mut(piece as usize) {
                *shown += 1;
            }
            view.unasked += u64::from(whole);
            show.push(piece);
        }
        self.views.insert(peer, view);
        show
    }

    /// A piece that nobody was shown; when there is none left, and `again`, the one of those not given yet that was
    /// shown to the fewest.
    fn choose(&mut self, view: &View, has: &Bitfield, again: bool) -> Option<u32> {
        let fits = |piece: u32| !has.get(piece) && !view.shown.get(piece);
        if let Some(at) = self.fresh.iter().rposition(|piece| fits(*piece)) {
            return Some(self.fresh.swap_remove(at));
        }
        if !again {
            return None;
        }
        let not_given = |piece: &u32| !self.is_given(*piece) && fits(*piece);
        (0..self.geometry.pieces())
            .filter(not_given)
            .min_by_key(|piece| self.shown.get(*piece as usize))
    }

    fn next_of_all(&mut self, peer: PeerKey, has: &Bitfield) -> Vec<u32> {
        let Some(view) = self.views.get_mut(&peer) else {
            return Vec::new();
        };
        let pieces = self.geometry.pieces();
        let hidden = (0..pieces).filter(|piece| !view.shown.get(*piece) && !has.get(*piece));
        let chunk: Vec<u32> = hidden.take(CHUNK_MIN.max(pieces as usize / 16)).collect();
        for piece in &chunk {
            view.shown.set(*piece);
        }
        if chunk.is_empty() {
            self.views.remove(&peer);
        }
        chunk
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Seed;
    use std::collections::BTreeSet;

    const PIECE: u32 = 65536;

    fn reveal(pieces: u32) -> Reveal {
        let geometry = Geometry::new(PIECE, u64::from(pieces) * u64::from(PIECE)).expect("valid");
        Reveal::new(geometry, true, &mut Rng::new(Seed(1), "reveal"))
    }

    #[test]
    fn every_piece_is_shown_to_one_peer_before_any_is_shown_to_two() {
        let mut reveal = reveal(20);
        let none = Bitfield::empty(20);
        let mut seen = BTreeSet::new();
        for peer in 0..4 {
            reveal.came(PeerKey(peer));
        }
        for round in 0..5 {
            for peer in (0..4).map(PeerKey) {
                let shown = reveal.next(peer, &none, 1, true);
                assert_eq!(shown.len(), 1, "round {round}");
                assert!(seen.insert(shown[0]), "piece {} is shown twice", shown[0]);
                assert!(
                    reveal.next(peer, &none, 1, true).is_empty(),
                    "the last one is not asked for yet"
                );
                reveal.asked(peer, shown[0], PIECE);
                assert!(!reveal.all_given());
                reveal.handed(shown[0], PIECE);
            }
        }
        assert_eq!(seen.len(), 20);
        assert!(reveal.all_given());
    }

    #[test]
    fn pieces_of_a_peer_that_left_or_sits_on_them_go_to_others() {
        let mut reveal = reveal(2);
        let none = Bitfield::empty(2);
        for peer in 0..3 {
            reveal.came(PeerKey(peer));
        }
        let first = reveal.next(PeerKey(0), &none, 1, true);
        let second = reveal.next(PeerKey(1), &none, 1, true);
        assert_ne!(first, second);
        reveal.gone(PeerKey(0));
        assert_eq!(reveal.next(PeerKey(2), &none, 1, true), first);
        reveal.asked(PeerKey(2), first[0], PIECE);
        assert_eq!(
            reveal.next(PeerKey(2), &none, 1, true),
            second,
            "peer 1 does not ask for it"
        );
    }

    #[test]
    fn what_others_were_shown_is_shown_again_only_if_there_is_nothing_else_to_do() {
        let mut reveal = reveal(1);
        let none = Bitfield::empty(1);
        reveal.came(PeerKey(0));
        reveal.came(PeerKey(1));
        assert_eq!(reveal.next(PeerKey(0), &none, 1, false), [0]);
        assert!(reveal.all_shown() && !reveal.all_given());
        assert!(reveal.next(PeerKey(1), &none, 1, false).is_empty());
        assert_eq!(reveal.next(PeerKey(1), &none, 1, true), [0]);
    }

    #[test]
    fn pieces_that_a_peer_has_not_passed_on_are_counted() {
        let mut reveal = reveal(3);
        let none = Bitfield::empty(3);
        let (giver, other) = (PeerKey(0), PeerKey(1));
        reveal.came(giver);
        reveal.came(other);
        let shown = reveal.next(giver, &none, 2 * u64::from(PIECE), true);
        assert_eq!(shown.len(), 2);
        assert_eq!(reveal.unasked(giver), 2 * u64::from(PIECE));
        for piece in &shown {
            reveal.asked(giver, *piece, PIECE);
            reveal.handed(*piece, PIECE / 2);
            assert_eq!(reveal.unspread(giver), 0, "it is not whole");
        }
        for (count, piece) in (1..).zip(&shown) {
            reveal.handed(*piece, PIECE / 2);
            reveal.has(giver, *piece);
            assert_eq!(reveal.unspread(giver), count);
        }
        for (count, piece) in [(1, shown[0]), (1, shown[0]), (0, shown[1])] {
            reveal.has(other, piece);
            assert_eq!(reveal.unspread(giver), count);
        }
        assert_eq!(reveal.unasked(giver), 0);
        assert_eq!(reveal.unspread(other), 0);
    }

    #[test]
    fn a_fast_peer_is_shown_as_much_as_it_takes() {
        let mut reveal = reveal(50);
        reveal.came(PeerKey(0));
        let shown = reveal.next(
            PeerKey(0),
            &Bitfield::empty(50),
            u64::from(PIECE) * 10,
            true,
        );
        assert_eq!(shown.len(), 10);
    }

    #[test]
    fn in_the_end_everything_is_shown() {
        let mut reveal = reveal(30);
        let mut has = Bitfield::empty(30);
        has.set(7);
        reveal.came(PeerKey(0));
        let before = reveal.next(PeerKey(0), &has, 1, true);
        reveal.stop_hiding();
        let rest = reveal.next(PeerKey(0), &has, 1, true);
        assert_eq!(rest.len(), 28);
        assert!(!rest.contains(&before[0]) && !rest.contains(&7));
        assert!(reveal.next(PeerKey(0), &has, 1, true).is_empty());
        assert!(!reveal.is_partial(PeerKey(0)));
    }

    #[test]
    fn after_there_was_nothing_to_show_what_comes_back_is_shown() {
        let mut reveal = reveal(2);
        let none = Bitfield::empty(2);
        reveal.came(PeerKey(0));
        reveal.came(PeerKey(1));
        let first = reveal.next(PeerKey(0), &none, 1, true);
        let second = reveal.next(PeerKey(1), &none, 1, true);
        for (peer, piece) in [(0, first[0]), (1, second[0])] {
            reveal.asked(PeerKey(peer), piece, PIECE);
        }
        reveal.handed(first[0], PIECE);
        // What is not given yet is shown to one more; then there is nothing for it.
        assert_eq!(reveal.next(PeerKey(0), &none, 1, true), second);
        reveal.asked(PeerKey(0), second[0], PIECE);
        assert!(reveal.next(PeerKey(0), &none, 1, true).is_empty());
        reveal.came(PeerKey(2));
        assert_eq!(reveal.next(PeerKey(2), &none, 1, true), second);
        reveal.gone(PeerKey(1));
        reveal.gone(PeerKey(2));
        reveal.came(PeerKey(3));
        assert_eq!(reveal.next(PeerKey(3), &none, 1, true), second);
        assert!(reveal.next(PeerKey(0), &none, 1, true).is_empty());
    }
}

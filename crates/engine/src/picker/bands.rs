//! Pieces in the order of their rarity.

use crate::rng::Rng;

const ABSENT: u32 = u32::MAX;

/// The pieces that can be started, sorted by how many peers have them, at random among equals.
///
/// The pieces of one availability are a *band*, a run of [`Bands::order`]. A piece that gains or loses
/// a holder moves to the next band by two swaps, O(1); one that enters or leaves the order shifts one
/// piece a band, O(highest availability). Inside a band every order is equally likely, because a piece
/// that comes in takes the place of a random one. Peers that have everything are not counted here: they
/// do not change the order (the caller counts them).
///
/// The layout is libtorrent's (`piece_picker`), the idea of randomising ties is Cohen's 2003.
#[derive(Debug)]
pub(super) struct Bands {
    order: Vec<u32>,
    /// Place of a piece in `order`, or `ABSENT`.
    place: Vec<u32>,
    available: Vec<u16>,
    /// First place of band k; the last entry is the length of `order`.
    starts: Vec<u32>,
}

impl Bands {
    /// All `pieces` absent, nobody has any.
    pub(super) fn new(pieces: u32) -> Self {
        Self {
            order: Vec::new(),
            place: vec![ABSENT; pieces as usize],
            available: vec![0; pieces as usize],
            starts: vec![0, 0],
        }
    }

    /// Pieces that can be started, rarest first.
    pub(super) fn order(&self) -> &[u32] {
        &self.order
    }

    /// Peers that have `piece`, those that have everything left out.
    pub(super) fn available(&self, piece: u32) -> u16 {
        self.available.get(piece as usize).copied().unwrap_or(0)
    }

    pub(super) fn contains(&self, piece: u32) -> bool {
        self.place_of(piece).is_some()
    }

    fn place_of(&self, piece: u32) -> Option<usize> {
        let place = *self.place.get(piece as usize)?;
        (place != ABSENT).then_some(place as usize)
    }

    /// Where band `k` begins; past the last, where it would.
    fn start(&self, k: usize) -> usize {
        self.starts
            .get(k)
            .map_or(self.order.len(), |start| *start as usize)
    }

    /// Adds a piece that is not there. O(highest availability).
    pub(super) fn insert(&mut self, piece: u32, rng: &mut Rng) {
        debug_assert!(!self.contains(piece));
        let band = self.available(piece) as usize;
        self.ensure_band(band);
        // The first piece of every later band goes to the end of its band: a hole opens at the end
        // of ours.
        self.order.push(piece);
        let mut hole = self.order.len() - 1;
        for k in (band + 1..self.starts.len() - 1).rev() {
            let first = self.start(k);
            // In an empty band the hole is its first place already.
            if first < hole {
                self.shift(first, hole);
                hole = first;
            }
        }
        for start in self.starts.iter_mut().skip(band + 1) {
            *start += 1;
        }
        self.put(hole, piece);
        self.shuffle_in(hole, band, rng);
    }

    /// Takes a piece out. O(highest availability).
    pub(super) fn remove(&mut self, piece: u32) {
        let Some(mut hole) = self.place_of(piece) else {
            return;
        };
        let band = self.available(piece) as usize;
        for k in band..self.starts.len() - 1 {
            let end = self.start(k + 1);
            if self.start(k) >= end {
                // An empty band: its boundary moves, nothing else.
                continue;
            }
            self.shift(end - 1, hole);
            hole = end - 1;
        }
        for start in self.starts.iter_mut().skip(band + 1) {
            *start -= 1;
        }
        self.order.pop();
        if let Some(place) = self.place.get_mut(piece as usize) {
            *place = ABSENT;
        }
    }

    /// One more peer has `piece`. O(1).
    pub(super) fn raise(&mut self, piece: u32, rng: &mut Rng) {
        let Some(available) = self.available.get_mut(piece as usize) else {
            return;
        };
        let band = usize::from(*available);
        *available += 1;
        let Some(place) = self.place_of(piece) else {
            return;
        };
        self.ensure_band(band + 1);
        let last = self.start(band + 1) - 1;
        self.swap(place, last);
        if let Some(start) = self.starts.get_mut(band + 1) {
            *start -= 1;
        }
        self.shuffle_in(last, band + 1, rng);
    }

    /// One peer fewer has `piece`. O(1).
    pub(super) fn lower(&mut self, piece: u32, rng: &mut Rng) {
        let Some(available) = self.available.get_mut(piece as usize) else {
            return;
        };
        let band = usize::from(*available);
        debug_assert!(band > 0, "piece {piece} is lowered below nobody");
        if band == 0 {
            return;
        }
        *available -= 1;
        let Some(place) = self.place_of(piece) else {
            return;
        };
        let first = self.start(band);
        self.swap(place, first);
        if let Some(start) = self.starts.get_mut(band) {
            *start += 1;
        }
        self.shuffle_in(first, band - 1, rng);
    }

    fn ensure_band(&mut self, band: usize) {
        while self.starts.len() < band + 2 {
            self.starts.push(self.order.len() as u32);
        }
    }

    fn put(&mut self, place: usize, piece: u32) {
        if let Some(held) = self.order.get_mut(place)
            && let Some(known) = self.place.get_mut(piece as usize)
        {
            *held = piece;
            *known = place as u32;
        }
    }

    /// Copies what is at `from` into the hole.
    fn shift(&mut self, from: usize, hole: usize) {
        if let Some(&piece) = self.order.get(from) {
            self.put(hole, piece);
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        if let (Some(&left), Some(&right)) = (self.order.get(a), self.order.get(b)) {
            self.put(a, right);
            self.put(b, left);
        }
    }

    fn shuffle_in(&mut self, place: usize, band: usize, rng: &mut Rng) {
        let first = self.start(band);
        let width = self.start(band + 1) - first;
        self.swap(place, first + rng.below(width as u32) as usize);
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn check(&self) {
        assert_eq!(self.starts.last().copied(), Some(self.order.len() as u32));
        assert!(
            self.starts.windows(2).all(|pair| pair[0] <= pair[1]),
            "{:?}",
            self.starts
        );
        for (place, &piece) in self.order.iter().enumerate() {
            assert_eq!(self.place[piece as usize], place as u32);
            let band = self.available(piece) as usize;
            let range = self.starts[band]..self.starts[band + 1];
            assert!(
                range.contains(&(place as u32)),
                "piece {piece} is outside its band"
            );
        }
        let present = self.place.iter().filter(|place| **place != ABSENT).count();
        assert_eq!(present, self.order.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Seed;

    #[test]
    fn any_sequence_of_operations_keeps_the_order() {
        for seed in 0..40 {
            let mut rng = Rng::new(Seed(seed), "test");
            let mut bands = Bands::new(30);
            for _ in 0..600 {
                let piece = rng.below(30);
                match rng.below(4) {
                    0 if !bands.contains(piece) => bands.insert(piece, &mut rng),
                    1 => bands.remove(piece),
                    2 if bands.available(piece) > 0 => bands.lower(piece, &mut rng),
                    _ => bands.raise(piece, &mut rng),
                }
                bands.check();
            }
        }
    }

    #[test]
    fn ties_are_broken_at_random() {
        let mut first = [0u32; 8];
        for seed in 0..4000 {
            let mut rng = Rng::new(Seed(seed), "test");
            let mut bands = Bands::new(8);
            for piece in 0..8 {
                bands.insert(piece, &mut rng);
            }
            for piece in 0..8 {
                bands.raise(piece, &mut rng);
            }
            first[bands.order()[0] as usize] += 1;
        }
        assert!(
            first.iter().all(|count| (400..600).contains(count)),
            "{first:?}"
        );
    }
}

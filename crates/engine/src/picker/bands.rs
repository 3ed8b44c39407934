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
        self.available[piece as usize]
    }

    pub(super) fn contains(&self, piece: u32) -> bool {
        self.place[piece as usize] != ABSENT
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
            let first = self.starts[k] as usize;
            // In an empty band the hole is its first place already.
            if first < hole {
                self.put(hole, self.order[first]);
                hole = first;
            }
        }
        for start in &mut self.starts[band + 1..] {
            *start += 1;
        }
        self.put(hole, piece);
        self.shuffle_in(hole, band, rng);
    }

    /// Takes a piece out. O(highest availability).
    pub(super) fn remove(&mut self, piece: u32) {
        let mut hole = self.place[piece as usize] as usize;
        if hole >= self.order.len() {
            return;
        }
        let band = self.available(piece) as usize;
        for k in band..self.starts.len() - 1 {
            let last = self.starts[k + 1] as usize - 1;
            if self.starts[k] as usize > last {
                // An empty band: its boundary moves, nothing else.
                continue;
            }
            self.put(hole, self.order[last]);
            hole = last;
        }
        for start in &mut self.starts[band + 1..] {
            *start -= 1;
        }
        self.order.pop();
        self.place[piece as usize] = ABSENT;
    }

    /// One more peer has `piece`. O(1).
    pub(super) fn raise(&mut self, piece: u32, rng: &mut Rng) {
        let band = self.available(piece) as usize;
        self.available[piece as usize] += 1;
        if !self.contains(piece) {
            return;
        }
        self.ensure_band(band + 1);
        let last = self.starts[band + 1] as usize - 1;
        self.swap(self.place[piece as usize] as usize, last);
        self.starts[band + 1] -= 1;
        self.shuffle_in(last, band + 1, rng);
    }

    /// One peer fewer has `piece`. O(1).
    pub(super) fn lower(&mut self, piece: u32, rng: &mut Rng) {
        let band = self.available(piece) as usize;
        debug_assert!(band > 0, "piece {piece} is lowered below nobody");
        if band == 0 {
            return;
        }
        self.available[piece as usize] -= 1;
        if !self.contains(piece) {
            return;
        }
        let first = self.starts[band] as usize;
        self.swap(self.place[piece as usize] as usize, first);
        self.starts[band] += 1;
        self.shuffle_in(first, band - 1, rng);
    }

    fn ensure_band(&mut self, band: usize) {
        while self.starts.len() < band + 2 {
            self.starts.push(self.order.len() as u32);
        }
    }

    fn put(&mut self, place: usize, piece: u32) {
        self.order[place] = piece;
        self.place[piece as usize] = place as u32;
    }

    fn swap(&mut self, a: usize, b: usize) {
        let (left, right) = (self.order[a], self.order[b]);
        self.put(a, right);
        self.put(b, left);
    }

    fn shuffle_in(&mut self, place: usize, band: usize, rng: &mut Rng) {
        let first = self.starts[band];
        let width = self.starts[band + 1] - first;
        self.swap(place, (first + rng.below(width)) as usize);
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

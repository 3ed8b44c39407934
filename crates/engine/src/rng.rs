//! Randomness as an argument: a seeded integer generator, split by a label for each room so that a
//! new draw in one room does not reshuffle the choices of another.

/// xoshiro256++ (Blackman, Vigna 2018): 256 bits of state, integers only. Not for secrets.
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

/// What a run's randomness grows from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(pub u64);

impl Rng {
    /// The generator of `seed` for the room called `label`.
    #[must_use]
    pub fn new(seed: Seed, label: &str) -> Self {
        // FNV-1a of the label, so that rooms are independent; SplitMix64 fills the state, as the
        // authors of xoshiro advise.
        let mut mix = label
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            })
            ^ seed.0;
        let state = core::array::from_fn(|_| {
            mix = mix.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (mix ^ (mix >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        });
        Self { state }
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let result = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let shifted = b << 17;
        let c = c ^ a;
        let d = d ^ b;
        self.state = [a ^ d, b ^ c, c ^ shifted, d.rotate_left(45)];
        result
    }

    /// An integer in `0..bound`; 0 for a bound of 0. The bias is below 2^-32 for 32-bit bounds.
    pub fn below(&mut self, bound: u32) -> u32 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u32
    }

    /// True once in `n` on average.
    pub fn one_in(&mut self, n: u32) -> bool {
        self.below(n) == 0
    }

    /// An element at random; `None` if there is none.
    pub fn choose<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.below(from.len().min(u32::MAX as usize) as u32) as usize)
    }

    /// Puts `items` in random order (Fisher-Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at as u32 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_independent_and_seeds_repeat() {
        let draw = |seed, label| Rng::new(Seed(seed), label).next_u64();
        assert_eq!(draw(1, "picker"), draw(1, "picker"));
        assert_ne!(draw(1, "picker"), draw(1, "choker"));
        assert_ne!(draw(1, "picker"), draw(2, "picker"));
    }

    #[test]
    fn below_is_fair() {
        let mut rng = Rng::new(Seed(7), "test");
        let mut counts = [0u32; 10];
        for _ in 0..100_000 {
            counts[rng.below(10) as usize] += 1;
        }
        assert!(
            counts.iter().all(|count| (9_500..10_500).contains(count)),
            "{counts:?}"
        );
        assert_eq!(rng.below(0), 0);
    }
}

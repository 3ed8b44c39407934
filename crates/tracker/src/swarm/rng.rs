//! The store's own small generator: SplitMix64, integers only.
//!
//! Chosen for being eight lines that give the same numbers on every machine. It decides who is told
//! about whom, which is a matter of fairness and not of secrecy.

/// A stream of numbers that a seed determines.
#[derive(Clone, Debug)]
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not 0. Multiply-shift (Lemire 2019) without the rejection:
    /// with 64 bits of randomness for a 32-bit bound the bias is below 2^-32.
    pub(super) fn below(&mut self, bound: u32) -> u32 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u32
    }

    /// `value` plus or minus at most `percent` of it.
    pub(super) fn jitter(&mut self, value: u64, percent: u32) -> u64 {
        let spread = value * u64::from(percent) / 100;
        let width = u32::try_from(2 * spread + 1).unwrap_or(u32::MAX);
        value - spread + u64::from(self.below(width))
    }

    /// Appends `k` different numbers below `n` to `out`, every set of them equally likely and in
    /// random order: Floyd's sampling, then a shuffle. O(k log k) comparisons whatever `n` is, and at
    /// most k^2/2 words moved, which for the k of a tracker (200) is less than a hash set costs.
    pub(super) fn choose(&mut self, n: u32, k: u32, out: &mut Vec<u32>) {
        let start = out.len();
        let mut sorted: Vec<u32> = Vec::with_capacity(k as usize);
        for top in n.saturating_sub(k)..n {
            let pick = self.below(top + 1);
            let (pick, at) = match sorted.binary_search(&pick) {
                Err(at) => (pick, at),
                // `top` is larger than everything so far.
                Ok(_) => (top, sorted.len()),
            };
            sorted.insert(at, pick);
            out.push(pick);
        }
        let chosen = &mut out[start..];
        for last in (1..chosen.len()).rev() {
            let other = self.below(last as u32 + 1) as usize;
            chosen.swap(last, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_differ_are_in_range_and_fair() {
        let mut rng = Rng::new(7);
        let mut seen = [[0_u32; 10]; 4];
        for _ in 0..20_000 {
            let mut out = Vec::new();
            rng.choose(10, 4, &mut out);
            assert_eq!(out.len(), 4);
            for (place, pick) in out.iter().enumerate() {
                seen[place][*pick as usize] += 1;
                assert!(!out[..place].contains(pick));
            }
        }
        // Every number in every place: 2,000 expected, standard deviation 42.
        for place in seen {
            assert!(place.iter().all(|n| n.abs_diff(2_000) < 210), "{place:?}");
        }
        let mut all = Vec::new();
        rng.choose(3, 9, &mut all);
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2]);
        let mut none = Vec::new();
        rng.choose(0, 5, &mut none);
        assert!(none.is_empty());
    }

    #[test]
    fn jitter_stays_in_its_bounds_and_reaches_them() {
        let mut rng = Rng::new(1);
        let values: Vec<u64> = (0..2_000).map(|_| rng.jitter(100, 10)).collect();
        assert_eq!(values.iter().min(), Some(&90));
        assert_eq!(values.iter().max(), Some(&110));
        assert_eq!(rng.jitter(0, 10), 0);
    }
}

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

    /// Gives `k` different numbers below `n`, or all if there are fewer: one out of each of `k`
    /// equal stretches of a ring of `n`, which is turned by a random amount first. Every number is
    /// as likely as every other, whatever `n` and `k`; neighbours come together less often than by
    /// chance, which only helps: they are often of one age. Two additions and a multiplication each,
    /// and nothing to remember.
    pub(super) fn spread(&mut self, n: u32, k: u32, mut give: impl FnMut(u32)) {
        if n == 0 || k == 0 {
            return;
        }
        let turn = self.below(n);
        let wrap = |at: u32| {
            if at >= n - turn {
                at - (n - turn)
            } else {
                at + turn
            }
        };
        if k >= n {
            (0..n).for_each(|at| give(wrap(at)));
            return;
        }
        let (width, rest) = (n / k, n % k);
        let (mut start, mut carry, mut bits) = (0, 0, 0);
        for nth in 0..k {
            carry += rest;
            let wide = carry >= k;
            carry -= if wide { k } else { 0 };
            let len = width + u32::from(wide);
            // 32 bits are enough for one pick: two of one number.
            bits = if nth % 2 == 0 {
                self.next()
            } else {
                bits >> 32
            };
            let pick = ((bits & 0xffff_ffff) * u64::from(len)) >> 32;
            give(wrap(start + pick as u32));
            start += len;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_differ_are_in_range_and_fair() {
        let mut rng = Rng::new(7);
        for (n, k) in [(10, 4), (7, 6), (100, 30), (31, 30), (5, 5), (1, 1)] {
            let mut seen = vec![0_u32; n as usize];
            let rounds = 20_000;
            for _ in 0..rounds {
                let mut out = Vec::new();
                rng.spread(n, k, |pick| out.push(pick));
                assert_eq!(out.len(), k as usize);
                out.iter().for_each(|pick| seen[*pick as usize] += 1);
                out.sort_unstable();
                out.dedup();
                assert_eq!(out.len(), k as usize);
            }
            let expected = f64::from(rounds * k) / f64::from(n);
            let chi: f64 = seen
                .iter()
                .map(|n| (f64::from(*n) - expected).powi(2) / expected)
                .sum();
            // Mean below n, standard deviation below sqrt(2n).
            let limit = f64::from(n) + 5.0 * f64::from(2 * n).sqrt();
            assert!(chi < limit, "{n} {k}: {chi}");
        }
        let mut all = Vec::new();
        rng.spread(3, 9, |pick| all.push(pick));
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2]);
        rng.spread(0, 5, |_| panic!("of nobody"));
        rng.spread(5, 0, |_| panic!("nobody was asked for"));
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

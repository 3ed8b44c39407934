//! How much the tracker has to do, and by how much intervals are stretched for it.
//!
//! The rate of announces is smoothed over half a minute. Beyond the rate that is wanted, intervals grow with
//! the square of the excess: where clients would come four times as often as wanted, they settle at 1.6 times
//! as often. A law that made up for all of it would have to know what the rate would be without it, which the
//! minutes until clients have heard of a new interval forbid: it would swing.

/// Smoothing, as a part of what is new each second.
const NEWS: f64 = 1.0 / 30.0;

/// Longest stretch, in per cent: what comes sixteen times too often must be kept out by limits.
const MOST: f64 = 1_600.0;

/// The least by which a stretch must differ to be set, as a part of itself: setting it costs a lock a part.
const STEP: f64 = 0.05;

/// See the [module](self).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Load {
    /// Announces up to the last look.
    before: Option<u64>,
    /// A second, smoothed.
    rate: f64,
    /// In force, in per cent; 0 before the first.
    stretch: f64,
}

impl Load {
    /// One second later: `announces` have come since the start, and `wanted` a second are. The stretch to
    /// set, in per cent, if it is another one.
    pub(super) fn second(&mut self, announces: u64, wanted: u64) -> Option<u32> {
        let came = announces.saturating_sub(self.before.unwrap_or(announces));
        self.before = Some(announces);
        self.rate += (came as f64 - self.rate) * NEWS;
        let excess = self.rate / (wanted.max(1) as f64);
        let stretch = (excess * excess * 100.0).clamp(100.0, MOST);
        let at_rest = stretch <= 100.0 && self.stretch > 100.0;
        if (stretch - self.stretch).abs() > STEP * self.stretch || at_rest {
            self.stretch = stretch;
            return Some(stretch as u32);
        }
        None
    }

    /// Announces a second.
    pub(super) fn rate(&self) -> u64 {
        self.rate.round() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A crowd whose interval is 60 s, of whom each comes again when it was told to: announces a second
    /// in the end, and by how much they swing.
    fn settle(peers: f64, wanted: u64) -> (f64, f64) {
        let (mut load, mut stretch, mut total) = (Load::default(), 100.0, 0.0);
        // As many come in a second as the longer interval that they were told makes of it.
        let mut told = vec![100.0; 60];
        let mut rates = Vec::new();
        for second in 0..7_200_usize {
            let slot = second % 60;
            let came = peers / 60.0 * 100.0 / told[slot];
            told[slot] = stretch;
            total += came;
            if let Some(percent) = load.second(total as u64, wanted) {
                stretch = f64::from(percent);
            }
            rates.push(came);
        }
        let late = &rates[6_000..];
        let mean = late.iter().sum::<f64>() / late.len() as f64;
        let swing = late
            .iter()
            .fold(0.0_f64, |most, rate| most.max((rate - mean).abs()));
        (mean, swing / mean)
    }

    #[test]
    fn a_crowd_settles_near_what_is_wanted() {
        // 1,000 a second and 5,000 wanted: nothing happens.
        let (mean, swing) = settle(60_000.0, 5_000);
        assert!(
            (mean - 1_000.0).abs() < 2.0 && swing < 0.01,
            "{mean} {swing}"
        );
        // Four times too much: 4^(1/3) = 1.59 times what is wanted.
        let (mean, _) = settle(1_200_000.0, 5_000);
        assert!((6_500.0..9_500.0).contains(&mean), "{mean}");
    }

    #[test]
    fn when_the_crowd_has_gone_intervals_are_what_they_were() {
        let mut load = Load::default();
        let (mut total, mut last) = (0, 0);
        let mut run = |load: &mut Load, seconds: u32, each: u64| {
            for _ in 0..seconds {
                total += each;
                last = load.second(total, 100).unwrap_or(last);
            }
            last
        };
        assert_eq!(run(&mut load, 100, 50), 100);
        assert!(run(&mut load, 300, 1_000) >= 1_500);
        assert_eq!(load.rate(), 1_000);
        assert_eq!(run(&mut load, 300, 10), 100);
    }
}

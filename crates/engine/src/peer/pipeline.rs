//! How many requests to keep waiting with a peer.

use crate::config::Config;
use crate::time::{Duration, Instant, bytes_in, bytes_per_second};
use samara_proto::BLOCK;

/// Length of one measurement.
const WINDOW: Duration = Duration::from_millis(100);

/// Time that the requests beyond the path's own delay should last: it bridges scheduling on both
/// sides. More would only lengthen the tail of a transfer; at 1 MB/s this is 16 blocks.
const SLACK: Duration = Duration::from_millis(250);

/// A delay that is longer is mostly the peer's own queue, which only grows by asking for more. Together with [`SLACK`] this fills paths
/// with round trips of up to 850 ms.
const DELAY_MAX: Duration = Duration::from_millis(600);

/// Sizes the queue by rate x delay. A queue shorter than that idles the path (five requests of
/// 16 KiB limit a path of 50 ms to 1.6 MB/s); a much longer one keeps blocks from faster peers.
///
/// It begins at [`Config::pipeline_min`] and grows by one a block (so it doubles every round trip)
/// until the rate stops growing, then follows the rate.
#[derive(Clone, Debug)]
pub(crate) struct Pipeline {
    min: usize,
    max: usize,
    size: usize,
    slow_start: bool,
    /// Least time seen between a request and its block.
    delay: Option<Duration>,
    window_began: Instant,
    window_bytes: u64,
    /// Bytes a second, smoothed.
    rate: u64,
}

impl Pipeline {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            min: config.pipeline_min.max(1),
            max: config.pipeline_max.max(1),
            size: config.pipeline_min.max(1),
            slow_start: true,
            delay: None,
            window_began: Instant::ZERO,
            window_bytes: 0,
            rate: 0,
        }
    }

    /// The peer keeps no more than this many (`reqq`).
    pub(crate) fn limit(&mut self, most: usize) {
        self.max = self.max.min(most.max(1));
    }

    /// Requests to keep waiting.
    pub(crate) fn size(&self) -> usize {
        self.size.clamp(self.min.min(self.max), self.max)
    }

    /// Bytes a second over the last moments.
    pub(crate) fn rate(&self) -> u64 {
        self.rate
    }

    /// A block came that was asked for at `asked`.
    pub(crate) fn block(&mut self, now: Instant, asked: Instant, bytes: u64) {
        let took = now.since(asked);
        self.delay = Some(self.delay.map_or(took, |least| least.min(took)));
        if self.window_bytes == 0 {
            // Time in which nothing was asked for says nothing about the path.
            self.window_began = asked.max(self.window_began);
        }
        self.window_bytes += bytes;
        if self.slow_start {
            self.size = (self.size + 1).min(self.max);
        }
        let elapsed = now.since(self.window_began);
        if elapsed < WINDOW {
            return;
        }
        let measured = bytes_per_second(self.window_bytes, elapsed);
        if self.slow_start && measured < self.rate + self.rate / 4 {
            self.slow_start = false;
        }
        self.rate = if self.rate == 0 {
            measured
        } else {
            (self.rate + measured) / 2
        };
        self.window_began = now;
        self.window_bytes = 0;
        if !self.slow_start {
            let delay = self.delay.unwrap_or_default().times(2).min(DELAY_MAX);
            let span = delay + SLACK;
            self.size = (bytes_in(self.rate, span) / u64::from(BLOCK) + 1) as usize;
        }
    }

    /// The peer went silent or choked us: begin again.
    pub(crate) fn restart(&mut self) {
        self.size = self.min;
        self.slow_start = true;
        self.window_bytes = 0;
        self.rate = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path of `delay` that carries `rate`; returns the share of it that is used in the end.
    fn settle(rate: u64, delay: Duration, seconds: u64) -> (u64, usize) {
        let mut pipeline = Pipeline::new(&Config::default());
        let end = Instant::ZERO + Duration::from_secs(seconds);
        let step = Duration::from_nanos(u64::from(BLOCK) * 1_000_000_000 / rate);
        let mut waiting = std::collections::VecDeque::new();
        let (mut now, mut link_free, mut bytes) = (Instant::ZERO, Instant::ZERO, 0);
        while now < end {
            while waiting.len() < pipeline.size() {
                link_free = link_free.max(now + delay) + step;
                waiting.push_back((now, link_free));
            }
            let (asked, arrives) = waiting.pop_front().expect("size is at least 1");
            now = arrives.max(now);
            pipeline.block(now, asked, u64::from(BLOCK));
            if now > Instant::ZERO + Duration::from_secs(seconds / 2) {
                bytes += u64::from(BLOCK);
            }
        }
        let used = bytes_per_second(bytes, Duration::from_secs(seconds - seconds / 2));
        (used * 100 / rate, pipeline.size())
    }

    #[test]
    fn fast_long_paths_are_filled() {
        for (rate, delay_ms) in [
            (100_000, 10),
            (1_000_000, 50),
            (10_000_000, 100),
            (50_000_000, 20),
        ] {
            let (used, size) = settle(rate, Duration::from_millis(delay_ms), 20);
            assert!(
                used >= 95,
                "{rate} B/s at {delay_ms} ms: {used} % with {size} requests"
            );
        }
    }

    #[test]
    fn slow_paths_get_short_queues() {
        let (_, size) = settle(150_000, Duration::from_millis(20), 20);
        assert!(size <= 8, "{size} requests for 150 kB/s");
    }

    #[test]
    fn the_peer_s_own_limit_holds() {
        let mut pipeline = Pipeline::new(&Config::default());
        pipeline.limit(2);
        assert_eq!(pipeline.size(), 2);
        pipeline.limit(0);
        assert_eq!(pipeline.size(), 1);
    }
}

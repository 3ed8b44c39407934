//! Rate limits: token buckets that cost nothing when there is no limit.
//!
//! A bucket is kept as one number: the moment at which the bytes granted so far will have passed at
//! the limit's rate (the generic cell rate algorithm, ITU-T I.371). A grant is a place in that line, so
//! waiters are served in the order they came, without waking each other, and a limit of a few bytes
//! a second still passes something to everybody in turn.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// How far the line may lag behind the clock: what may pass at once after a pause. A tenth of a second
/// keeps the average over any second within 10 % of the limit.
const BURST: Duration = Duration::from_millis(100);
/// Largest grant as a part of a second's bytes, so that one connection does not hold up the others.
const GRANTS_PER_SECOND: u64 = 20;
/// Smallest grant, bytes: below this the headers of TCP and IP weigh more than what they carry.
const GRANT_MIN: u64 = 512;
/// Largest grant, bytes: one buffer.
const GRANT_MAX: u64 = 256 * 1024;

/// The same for a limit that follows the uplink: what passes at once is a queue in it.
const SMOOTH_BURST: Duration = Duration::from_millis(10);
const SMOOTH_GRANTS_PER_SECOND: u64 = 150;
/// Grants are whole segments of Ethernet with time stamps (RFC 7323), at least two: what is left over goes as a packet of its own.
const SEGMENT: u64 = 1448;

/// One limit, shared by everybody whom it binds.
#[derive(Debug)]
pub(crate) struct Bucket {
    /// Bytes a second; 0 as long as there is no limit.
    rate: AtomicU64,
    /// Follows the uplink.
    smooth: bool,
    /// When everything granted so far will have passed.
    passed: Mutex<Instant>,
    held_up: AtomicBool,
}

impl Bucket {
    /// A limit of `rate` bytes a second. Zero is taken as 1: a limit slows, it does not stop.
    pub(crate) fn new(rate: u64) -> Self {
        Self {
            rate: AtomicU64::new(rate.max(1)),
            smooth: false,
            passed: Mutex::new(Instant::now()),
            held_up: AtomicBool::new(false),
        }
    }

    /// No limit yet; [`Bucket::set`] makes one.
    pub(crate) fn open() -> Self {
        Self {
            rate: AtomicU64::new(0),
            smooth: true,
            ..Self::new(1)
        }
    }

    /// From now on `rate` bytes a second may pass; 0: no limit.
    pub(crate) fn set(&self, rate: u64) {
        self.rate.store(rate, Ordering::Relaxed);
    }

    /// Nothing passes for so long.
    pub(crate) fn pause(&self, pause: Duration) {
        if !pause.is_zero() {
            let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
            *passed = (*passed).max(Instant::now()) + pause;
        }
    }

    /// Whether anybody had to wait since this was last asked.
    pub(crate) fn has_held_up(&self) -> bool {
        self.held_up.swap(false, Ordering::Relaxed)
    }

    /// Bytes a second, if there is a limit.
    fn rate(&self) -> Option<u64> {
        let rate = self.rate.load(Ordering::Relaxed);
        (rate > 0).then_some(rate)
    }

    fn grant(&self) -> Option<u64> {
        let rate = self.rate()?;
        Some(if self.smooth {
            let grant = (rate / SMOOTH_GRANTS_PER_SECOND).next_multiple_of(SEGMENT);
            grant.clamp(2 * SEGMENT, GRANT_MAX)
        } else {
            (rate / GRANTS_PER_SECOND).clamp(GRANT_MIN, GRANT_MAX)
        })
    }

    /// Takes a place in the line for `bytes`; says when they may pass.
    fn reserve(&self, now: Instant, bytes: u64) -> Instant {
        let Some(rate) = self.rate() else {
            return now;
        };
        let burst = if self.smooth { SMOOTH_BURST } else { BURST };
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        let start = now.checked_sub(burst).map_or(*passed, |b| (*passed).max(b));
        *passed = start + time_of(bytes, rate);
        if start > now {
            self.held_up.store(true, Ordering::Relaxed);
        }
        start
    }

    /// Gives back what was granted and not used.
    fn restore(&self, bytes: u64) {
        let Some(rate) = self.rate() else {
            return;
        };
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(earlier) = passed.checked_sub(time_of(bytes, rate)) {
            *passed = earlier;
        }
    }
}

/// What `bytes` take at `rate` bytes a second.
fn time_of(bytes: u64, rate: u64) -> Duration {
    let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// All limits that bind one direction of one connection: the session's and the torrent's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Throttle {
    buckets: Vec<Arc<Bucket>>,
}

impl Throttle {
    pub(crate) fn new(buckets: impl IntoIterator<Item = Option<Arc<Bucket>>>) -> Self {
        Self {
            buckets: buckets.into_iter().flatten().collect(),
        }
    }

    /// This limit binds as well.
    pub(crate) fn and(mut self, bucket: Option<Arc<Bucket>>) -> Self {
        self.buckets.extend(bucket);
        self
    }

    /// Whether there is no limit at all.
    pub(crate) fn is_off(&self) -> bool {
        self.buckets.iter().all(|bucket| bucket.rate().is_none())
    }

    /// Waits until some of `want` bytes may pass and says how many: at least 1 (if `want` is), at most
    /// `want`, and all of them at once if there is no limit.
    pub(crate) async fn take(&self, want: usize) -> usize {
        let Some(most) = self.buckets.iter().filter_map(|b| b.grant()).min() else {
            return want;
        };
        if want == 0 {
            return 0;
        }
        let grant = most.min(want as u64);
        let now = Instant::now();
        let start = self.buckets.iter().map(|b| b.reserve(now, grant)).max();
        if let Some(start) = start.filter(|start| *start > now) {
            sleep_until(start).await;
        }
        grant as usize
    }

    /// Gives back `bytes` of a grant that were not used.
    pub(crate) fn restore(&self, bytes: usize) {
        for bucket in &self.buckets {
            bucket.restore(bytes as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn throttle(rates: &[u64]) -> Throttle {
        Throttle::new(rates.iter().map(|rate| Some(Arc::new(Bucket::new(*rate)))))
    }

    #[tokio::test(start_paused = true)]
    async fn no_limit_passes_everything_at_once() {
        let off = Throttle::new([None, None]);
        assert!(off.is_off());
        assert_eq!(off.take(10 << 20).await, 10 << 20);
    }

    #[tokio::test(start_paused = true)]
    async fn the_average_is_the_limit() {
        for rate in [1_000u64, 100_000, 50_000_000] {
            let limit = throttle(&[rate]);
            let begin = Instant::now();
            let mut passed = 0;
            while begin.elapsed() < Duration::from_secs(10) {
                passed += limit.take(1 << 20).await as u64;
            }
            let want = rate * 10;
            let burst = rate / 10 + limit.buckets[0].grant().expect("a limit");
            assert!(
                passed >= want * 99 / 100 && passed <= want + 2 * burst,
                "{passed} bytes in 10 s at {rate}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_tightest_of_two_limits_binds_and_two_users_share_it() {
        let limit = throttle(&[1 << 30, 10_000]);
        let both = [limit.clone(), limit].map(|limit| {
            tokio::spawn(async move {
                let begin = Instant::now();
                let mut passed = 0;
                while begin.elapsed() < Duration::from_secs(20) {
                    passed += limit.take(16384).await;
                }
                passed
            })
        });
        for user in both {
            let passed = user.await.expect("no panic");
            assert!((90_000..115_000).contains(&passed), "{passed}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_given_back_can_be_used() {
        let limit = throttle(&[10_000]);
        let begin = Instant::now();
        let mut used = 0;
        while begin.elapsed() < Duration::from_secs(10) {
            let grant = limit.take(512).await;
            limit.restore(grant - 100);
            used += 100;
        }
        assert!(used >= 95_000, "{used}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_limit_can_be_set_and_opened_again() {
        let bucket = Arc::new(Bucket::open());
        let limit = Throttle::default().and(Some(Arc::clone(&bucket)));
        assert!(limit.is_off());
        assert_eq!(limit.take(10 << 20).await, 10 << 20);
        bucket.set(2_000_000);
        assert!(!limit.is_off());
        let begin = Instant::now();
        let mut passed = 0;
        while begin.elapsed() < Duration::from_secs(10) {
            let grant = limit.take(1 << 20).await as u64;
            assert_eq!(grant % SEGMENT, 0, "whole segments");
            passed += grant;
        }
        assert!((19_900_000..20_100_000).contains(&passed), "{passed}");
        assert!(bucket.has_held_up());
        assert!(!bucket.has_held_up(), "asked a moment ago");
        bucket.set(0);
        assert_eq!(limit.take(1 << 20).await, 1 << 20);
        assert!(!bucket.has_held_up());
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_passes_in_a_pause() {
        let bucket = Arc::new(Bucket::open());
        let limit = Throttle::default().and(Some(Arc::clone(&bucket)));
        bucket.set(1_000_000);
        bucket.pause(Duration::from_millis(300));
        let begin = Instant::now();
        limit.take(1000).await;
        assert!(begin.elapsed() >= Duration::from_millis(300));
        // It is over even if the limit is.
        bucket.pause(Duration::from_secs(1));
        bucket.set(0);
        let begin = Instant::now();
        limit.take(1000).await;
        assert!(begin.elapsed() < Duration::from_millis(10));
    }
}

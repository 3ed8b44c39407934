//! The one place where the engine's integer time meets the machine's clock.

use samara_engine::{Duration, Instant};
use std::time::Duration as StdDuration;
use tokio::time::Instant as TokioInstant;

/// The furthest that a timer is set: tokio keeps deadlines in milliseconds, and "never" would overflow.
const FAR: StdDuration = StdDuration::from_secs(24 * 3600);

/// A run's clock: engine time is nanoseconds since it was made. Monotonic (obligation 1).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    zero: TokioInstant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self {
            zero: TokioInstant::now(),
        }
    }

    pub(crate) fn now(&self) -> Instant {
        let nanos = self.zero.elapsed().as_nanos();
        Instant::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The moment `at` on tokio's clock; at most a day from now, after which the caller looks again.
    pub(crate) fn timer(&self, at: Instant) -> TokioInstant {
        let at = StdDuration::from_nanos(at.as_nanos());
        let furthest = self.zero.elapsed() + FAR;
        self.zero + at.min(furthest)
    }
}

/// Our duration as the standard library's.
pub(crate) fn std_duration(length: Duration) -> StdDuration {
    StdDuration::from_nanos(length.as_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_is_a_timer_that_can_be_set() {
        let clock = Clock::start();
        let far = clock.timer(Instant::NEVER);
        assert!(far > TokioInstant::now() + StdDuration::from_secs(3600));
        let soon = clock.timer(Instant::from_nanos(5));
        assert!(soon <= TokioInstant::now() + StdDuration::from_millis(1));
    }
}

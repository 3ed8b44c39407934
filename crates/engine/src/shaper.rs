//! How fast a host may hand bytes to its transports, so that no queue stands in its uplink.
//!
//! TCP fills the buffer of the slowest link on its way: 100 ms and more at home, where uplinks are slow and buffers long. All that a
//! peer says waits in that queue behind the blocks that it sends, its requests and its news as well, and so every host of a swarm waits for
//! every other. The total rate is therefore held just below what the uplink carries (LEDBAT, RFC 6817, does the same for one
//! connection; PIE, RFC 8033, has the kind of control used here).
//!
//! What the uplink carries nobody tells. A queue shows in the round trips: they last longer than the shortest one of the same
//! connection did. Queues of the other ends' uplinks, through which acknowledgements come, show there too, but our own is in all of
//! them: the shortest quarter counts. If slowing down does not make round trips shorter, the queue is not ours, and nothing is
//! held back for some time.

use crate::time::{Duration, Instant};
use std::collections::VecDeque;

/// How often [`Shaper::look`] is to be called while something is held back, or nothing is sent.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// ... and otherwise: what is not known yet is to be known soon. With 25 ms S1 and S2 were no better on sockets.
const LOOK_FIRST: Duration = Duration::from_millis(50);

/// Nothing is sent if nothing was acknowledged for so long. (A thousand connections are a thousand system calls a look.)
const IDLE: Duration = Duration::from_secs(1);

/// The queue that is aimed at: so much, and the time that [`TARGET_BYTES`] take, since that many are sent at once.
const TARGET: Duration = Duration::from_millis(15);
const TARGET_BYTES: f64 = 8192.0;

/// A queue counts when it was there in so many looks, one after the other: one look may see those alone whose uplinks are full.
const SEEN: usize = 5;

/// A queue of so many targets is worth acting upon.
const BEGINS_AT: f64 = 2.5;

/// With a queue of still so many targets for so many looks, it is not ours. With 25 looks a host that had begun with too high a rate
/// gave up just before its queue was gone.
const VAIN_AT: f64 = 2.0;
const VAIN_AFTER: u32 = 40;

/// A connection whose round trips show so many targets more than our queue is held up elsewhere, and what it cannot send does not wait
/// for our uplink.
const ELSEWHERE: f64 = 2.0;

/// After that nothing is done for so long; twice as long each time.
const REST: Duration = Duration::from_secs(20);
const REST_MAX: Duration = Duration::from_secs(300);

/// If that is what has gone by since the last rest, the next one is short again.
const PROVEN: Duration = Duration::from_secs(60);

/// When nothing was sent for this long, what was known of the uplink is forgotten.
const FORGET: Duration = Duration::from_secs(10);

/// What a look with an empty queue adds to the rate where the uplink is known to carry no more, and how much more for each part that
/// the rate is off from there: slow near what was known, fast far from it, as CUBIC is (RFC 9438).
const GROWS: f64 = 0.002;
const GROWS_FAR: f64 = 0.1;
const GROWS_MOST: f64 = 0.03;
/// What a look with a queue of two targets takes away.
const SHRINKS: f64 = 0.004;
/// What is added for as long as the queue is empty, and taken away for as long as it is twice the target.
const NUDGE: f64 = 0.0375;
/// A queue of more targets than this has no more effect.
const ERROR_MAX: f64 = 2.0;

/// With a queue of so many targets the rate is taken back to what arrives, by a tenth at most and not more often than once in so
/// many looks.
const CUT_AT: f64 = 2.0;
const CUT_MOST: f64 = 0.9;
const CUT_EVERY: u32 = 10;

/// What is left at each cut of what the uplink is known to carry: a cut may be wrong, and is soon made up for then.
const REMEMBERS: f64 = 0.97;

/// A rate that has grown to so many times what the uplink was last seen to carry, without any queue, holds back for nothing: TCP finds
/// out sooner what there is.
const OUTGROWN: f64 = 2.0;

/// The rate goes no further beyond what arrives.
const LEAD: f64 = 1.15;

/// Looks over which it is counted what arrives.
const COUNTED: usize = 5;

/// Acknowledgements that wait in the other ends' queues arrive late, and then look like an uplink that carries less: what it carries is the
/// most that arrived in so many looks, one after the other, of the last [`KEPT`].
const MOST_OF: usize = 3;
const KEPT: usize = 8;

/// Longest pause in which the first queue drains.
const PAUSE_MAX: Duration = Duration::from_millis(600);

/// What one connection has seen since the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// Bytes that were acknowledged.
    pub acked: u64,
    /// Bytes that the transport has and did not send yet.
    pub unsent: u64,
    /// How much longer a round trip lasts than the shortest one did.
    pub queue: Duration,
}

/// What to do until the next look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Nothing is held back.
    Free,
    /// At most so many bytes a second, after a pause.
    Held {
        /// Bytes a second, all transports together.
        rate: u64,
        /// Nothing is sent for so long.
        pause: Duration,
    },
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Shaper {
    /// When the last looks were, and the bytes acknowledged since the ones before.
    acked: VecDeque<(Instant, u64)>,
    /// The queues of the last looks, nanoseconds.
    queues: VecDeque<u64>,
    /// Looks in which transports had bytes that they could not send, one after the other.
    full: usize,
    held: Option<Held>,
    /// Nothing is done before.
    rests_until: Instant,
    rest: Duration,
    sent_at: Instant,
}

#[derive(Debug)]
struct Held {
    /// Bytes a second.
    rate: f64,
    /// Bytes a second that arrived when there last was a queue.
    carried: f64,
    /// That was before anything was held, and may have been little.
    fresh: bool,
    since: Instant,
    /// The queue that was there at the beginning is gone.
    drained_at: Instant,
    /// Looks with a queue that does not go away, one after the other.
    vain: u32,
    /// Looks until the rate may be cut again.
    uncut: u32,
    /// Looks since something was held back.
    unused: u32,
}

impl Shaper {
    /// A host of whose uplink nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what all connections have seen since the last look; `waits` says whether anything was held back. The order of
    /// `paths` does not matter, and is changed. Cost: O(n log n) of the connections.
    pub fn look(&mut self, now: Instant, paths: &mut [Path], waits: bool) -> Pace {
        let acked: u64 = paths.iter().map(|path| path.acked).sum();
        if acked > 0 {
            self.sent_at = now;
        } else if now.since(self.sent_at) > FORGET {
            (self.held, self.full) = (None, 0);
        }
        push(&mut self.acked, KEPT + 1, (now, acked));
        let arrives = self.arrives();
        let target = TARGET.as_nanos() as f64 + TARGET_BYTES * 1e9 / arrives.max(1.0);
        let shortest = shortest_quarter(paths);
        let ours = shortest.unwrap_or(Duration::ZERO).as_nanos() as f64 + ELSEWHERE * target;
        let waiting = paths
            .iter()
            .filter(|path| path.queue.as_nanos() as f64 <= ours);
        let unsent: u64 = waiting.map(|path| path.unsent).sum();
        self.full = if unsent > 0 { self.full + 1 } else { 0 };
        let Some(queue) = shortest else {
            return self.pace(0.0, 0.0);
        };
        push(&mut self.queues, SEEN, queue.as_nanos());
        // What transports could not send yet stands in the line as well.
        let unsent = unsent as f64 * 1e9 / arrives.max(1.0);
        let queue = self.queues.iter().copied().min().unwrap_or(0) as f64;
        if self.held.is_some() {
            self.follow(now, (queue + unsent) / target, arrives, waits)
        } else if queue > BEGINS_AT * target {
            self.begin(now, queue + unsent - target)
        } else {
            Pace::Free
        }
    }

    /// When [`Shaper::look`] is to be called again.
    #[must_use]
    pub fn looks_after(&self, now: Instant) -> Duration {
        match &self.held {
            Some(held) if now >= held.drained_at => LOOK_EVERY,
            None if now.since(self.sent_at) > IDLE => LOOK_EVERY,
            _ => LOOK_FIRST,
        }
    }

    /// Bytes a second that were acknowledged lately.
    fn arrives(&self) -> f64 {
        self.arrived(self.acked.len(), COUNTED)
    }

    /// The most that were acknowledged in some looks in a row.
    fn arrived_most(&self) -> f64 {
        let ends = MOST_OF + 1..=self.acked.len();
        let each = ends.map(|end| self.arrived(end, MOST_OF));
        each.fold(self.arrives(), f64::max)
    }

    /// Bytes a second that were acknowledged in so many looks, of which the last is the one before `end`.
    fn arrived(&self, end: usize, looks: usize) -> f64 {
        let began = end.saturating_sub(looks + 1);
        let mut looks = self.acked.range(began..end);
        let (Some((from, _)), Some((to, _))) = (looks.next(), self.acked.get(end.wrapping_sub(1)))
        else {
            return 0.0;
        };
        let bytes: u64 = looks.map(|(_, bytes)| bytes).sum();
        bytes as f64 * 1e9 / to.since(*from).as_nanos().max(1) as f64
    }

    /// The queue is `queue` targets long.
    fn follow(&mut self, now: Instant, queue: f64, arrives: f64, waits: bool) -> Pace {
        let error = (1.0 - queue).max(-ERROR_MAX);
        let carries = self.arrived_most();
        let Some(held) = &mut self.held else {
            return Pace::Free;
        };
        if now < held.drained_at {
            return self.pace(0.0, 0.0);
        }
        held.vain = if queue > VAIN_AT { held.vain + 1 } else { 0 };
        if held.vain >= VAIN_AFTER {
            if now.since(held.since) > PROVEN {
                self.rest = Duration::ZERO;
            }
            self.rest = (self.rest + self.rest).max(REST).min(REST_MAX);
            self.rests_until = now + self.rest;
            (self.held, self.full) = (None, 0);
            return Pace::Free;
        }
        held.unused = if waits { 0 } else { held.unused + 1 };
        let off = match held.fresh {
            true => 1.0,
            false => (held.rate / held.carried.max(1.0) - 1.0).abs(),
        };
        let step = match error > 0.0 {
            true => error * (GROWS + GROWS_FAR * off).min(GROWS_MOST),
            false => error * SHRINKS,
        };
        // A rate that nobody uses says nothing, and must not grow.
        if step < 0.0 || (held.unused as usize) < SEEN && held.rate < arrives * LEAD {
            held.rate *= 1.0 + step;
        }
        held.uncut = held.uncut.saturating_sub(1);
        if queue > CUT_AT && held.uncut == 0 {
            held.rate = carries.clamp(held.rate * CUT_MOST, held.rate);
            held.carried = match held.fresh {
                true => held.rate,
                false => held.rate.max(held.carried * REMEMBERS),
            };
            held.fresh = false;
            held.uncut = CUT_EVERY;
        }
        if held.rate > held.carried * OUTGROWN {
            (self.held, self.full) = (None, 0);
            return Pace::Free;
        }
        self.pace(0.0, error)
    }

    /// A queue of `drain` nanoseconds is to go, and nothing is held back yet.
    fn begin(&mut self, now: Instant, drain: f64) -> Pace {
        if self.full < COUNTED || now < self.rests_until || self.acked.len() <= COUNTED {
            return Pace::Free;
        }
        let pause = Duration::from_nanos(drain as u64).min(PAUSE_MAX);
        let carries = self.arrived_most();
        self.held = Some(Held {
            rate: carries,
            carried: carries,
            fresh: true,
            since: now,
            drained_at: now + pause + LOOK_FIRST.times(SEEN as u64),
            vain: 0,
            uncut: CUT_EVERY,
            unused: 0,
        });
        self.pace(drain, 0.0)
    }

    fn pace(&self, pause: f64, error: f64) -> Pace {
        let Some(held) = &self.held else {
            return Pace::Free;
        };
        let rate = held.rate * (1.0 + NUDGE * error);
        Pace::Held {
            rate: (rate as u64).max(1),
            pause: Duration::from_nanos(pause as u64).min(PAUSE_MAX),
        }
    }
}

/// The newest at the end, `most` in all.
fn push<T>(list: &mut VecDeque<T>, most: usize, item: T) {
    if list.len() >= most {
        list.pop_front();
    }
    list.push_back(item);
}

/// The queue of the connections with the shortest ones, over which a quarter of all bytes went.
fn shortest_quarter(paths: &mut [Path]) -> Option<Duration> {
    let all: u64 = paths.iter().map(|path| path.acked).sum();
    paths.sort_unstable_by_key(|path| path.queue);
    let mut sum = 0;
    let mut paths = paths.iter();
    let found = paths.find(|path| {
        sum += path.acked;
        path.acked > 0 && sum * 4 >= all
    });
    found.map(|path| path.queue)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: f64 = 0.01;

    /// An uplink with a buffer, and four connections whose acknowledgements wait for `others` seconds each in other uplinks.
    struct Line {
        shaper: Shaper,
        now: Instant,
        next_look: Instant,
        /// Bytes a second.
        carries: f64,
        /// Seconds that its buffer holds.
        buffer: f64,
        /// Bytes a second that there are to send; TCP sends what the buffer takes.
        wanted: f64,
        others: [f64; 4],
        /// Whether what is for the fourth waits for its own uplink.
        stuck: bool,
        pace: Pace,
        paused: f64,
        queue: f64,
        acked: f64,
        /// What the kernel's rolling average says of the queue, seconds.
        smooth: f64,
        waits: bool,
    }

    /// What a stretch of time was like.
    #[derive(Debug)]
    struct Seen {
        /// Part of the uplink that was used.
        used: f64,
        /// Mean queue, seconds.
        queue: f64,
        /// Part of the time in which the rate was held.
        held: f64,
    }

    impl Line {
        fn new(carries: f64) -> Self {
            Self {
                shaper: Shaper::new(),
                now: Instant::ZERO,
                next_look: Instant::ZERO,
                carries,
                buffer: 0.1,
                wanted: f64::INFINITY,
                others: [0.0; 4],
                stuck: false,
                pace: Pace::Free,
                paused: 0.0,
                queue: 0.0,
                acked: 0.0,
                smooth: 0.0,
                waits: false,
            }
        }

        fn run(&mut self, seconds: f64) -> Seen {
            let ticks = (seconds / TICK) as u64;
            let (mut used, mut queue, mut held) = (0.0, 0.0, 0.0);
            for _ in 0..ticks {
                let arrived = self.tick();
                used += arrived / (self.carries * TICK);
                queue += self.queue / self.carries;
                held += f64::from(self.pace != Pace::Free);
            }
            let ticks = ticks as f64;
            Seen {
                used: used / ticks,
                queue: queue / ticks,
                held: held / ticks,
            }
        }

        /// Bytes that arrive.
        fn tick(&mut self) -> f64 {
            let room = self.carries * (self.buffer + TICK) - self.queue;
            let may = match self.pace {
                Pace::Free => f64::INFINITY,
                _ if self.paused > 0.0 => 0.0,
                Pace::Held { rate, .. } => rate as f64 * TICK,
            };
            self.paused -= TICK;
            self.waits |= self.wanted * TICK > may;
            self.queue += room.max(0.0).min(self.wanted * TICK).min(may);
            let arrives = self.queue.min(self.carries * TICK);
            self.queue -= arrives;
            self.acked += arrives;
            self.smooth += (self.queue / self.carries - self.smooth) / 8.0;
            self.now = self.now + Duration::from_millis(10);
            if self.now >= self.next_look {
                self.look();
                self.next_look = self.now + self.shaper.looks_after(self.now);
            }
            arrives
        }

        fn look(&mut self) {
            let acked = (self.acked / 4.0) as u64;
            self.acked = 0.0;
            let full = self.queue >= self.carries * self.buffer;
            let mut paths = self.others.map(|other| Path {
                acked,
                unsent: if full { 4096 } else { 0 },
                queue: Duration::from_micros(((self.smooth + other) * 1e6) as u64),
            });
            if self.stuck {
                paths[3].unsent = 100_000;
            }
            let waits = std::mem::take(&mut self.waits);
            self.pace = self.shaper.look(self.now, &mut paths, waits);
            if let Pace::Held { pause, .. } = self.pace {
                self.paused = self.paused.max(pause.as_nanos() as f64 / 1e9);
            }
        }
    }

    #[test]
    fn the_uplink_is_full_and_its_queue_short() {
        for carries in [120e3, 600e3, 2.4e6, 12e6] {
            let mut line = Line::new(carries);
            line.buffer = 0.4;
            line.run(10.0);
            let seen = line.run(60.0);
            assert!(seen.used > 0.98, "{carries} B/s: {seen:?}");
            let target = 0.015 + 8192.0 / carries;
            assert!(seen.queue < 1.5 * target, "{carries} B/s: {seen:?}");
            assert_eq!(seen.held, 1.0, "{carries} B/s: {seen:?}");
        }
    }

    #[test]
    fn little_is_lost_until_the_uplink_is_known() {
        let seen = Line::new(2.4e6).run(10.0);
        assert!(seen.used > 0.97, "{seen:?}");
    }

    #[test]
    fn a_queue_that_is_not_ours_is_left_alone() {
        let mut line = Line::new(2.4e6);
        line.buffer = 0.0;
        line.others = [0.1; 4];
        let seen = line.run(300.0);
        assert!(seen.held < 0.1, "{seen:?}");
        assert!(seen.used > 0.97, "{seen:?}");
        let later = line.run(600.0);
        assert!(later.held < seen.held / 2.0, "{later:?}");
    }

    #[test]
    fn one_way_without_other_queues_shows_ours() {
        let mut line = Line::new(2.4e6);
        line.others = [0.1, 0.0, 0.1, 0.2];
        line.run(10.0);
        let seen = line.run(30.0);
        assert_eq!(seen.held, 1.0, "{seen:?}");
        assert!(seen.used > 0.98 && seen.queue < 0.03, "{seen:?}");
    }

    #[test]
    fn what_waits_elsewhere_slows_nobody_down() {
        let mut line = Line::new(2.4e6);
        line.others = [0.0, 0.0, 0.05, 0.15];
        line.stuck = true;
        line.run(10.0);
        let seen = line.run(60.0);
        assert!(seen.used > 0.98, "{seen:?}");
        assert!(seen.held == 1.0 && seen.queue < 0.03, "{seen:?}");
    }

    /// Acknowledgements that are late in some looks do not make the uplink look slower than it is.
    #[test]
    fn late_acknowledgements_are_not_a_slow_uplink() {
        let mut shaper = Shaper::new();
        let queue = Duration::from_millis(100);
        let mut now = Instant::ZERO;
        let mut first = None;
        for look in 0..20 {
            let acked = if (4..=8).contains(&look) {
                40_000
            } else {
                120_000
            };
            let path = |unsent| Path {
                acked,
                unsent,
                queue,
            };
            let mut paths = [path(if look < 2 { 0 } else { 4096 })];
            if let Pace::Held { rate, .. } = shaper.look(now, &mut paths, false) {
                first = first.or(Some(rate));
            }
            now = now + shaper.looks_after(now);
        }
        assert!(first.is_some_and(|rate| rate >= 2_400_000), "{first:?}");
    }

    #[test]
    fn it_follows_an_uplink_that_changes() {
        let mut line = Line::new(2.4e6);
        line.run(20.0);
        line.carries = 4.8e6;
        line.run(10.0);
        assert!(line.run(10.0).used > 0.97, "twice as much");
        line.carries = 48e6;
        line.run(4.0);
        assert!(line.run(10.0).used > 0.97, "ten times as much");
        line.carries = 1.2e6;
        let less = line.run(60.0);
        assert!(less.used > 0.97, "{less:?}");
        let seen = line.run(20.0);
        assert!(seen.queue < 0.04, "{seen:?}");
    }

    #[test]
    fn a_path_without_a_queue_is_free() {
        let mut line = Line::new(100e6);
        line.buffer = 0.004;
        assert_eq!(line.run(60.0).held, 0.0);
        // Nor is one that has less to send than it carries, whatever it carried before.
        let mut line = Line::new(2.4e6);
        line.run(20.0);
        line.wanted = 1e6;
        assert!(line.run(60.0).used > 0.41);
    }

    #[test]
    fn what_is_not_used_does_not_grow_and_is_forgotten() {
        let mut line = Line::new(2.4e6);
        line.run(20.0);
        // Four megabytes a second for a tenth of the time: more than is held, and then nothing.
        for _ in 0..60 {
            line.wanted = 4e6;
            line.run(0.05);
            line.wanted = 0.0;
            line.run(0.45);
        }
        let Pace::Held { rate, .. } = line.pace else {
            panic!("held as before");
        };
        assert!(rate < 2_800_000, "{rate}");
        line.wanted = 0.0;
        line.run(11.0);
        assert_eq!(line.pace, Pace::Free);
    }

    #[test]
    fn an_idle_host_is_not_looked_at_more_often() {
        let mut shaper = Shaper::new();
        let mut path = Path {
            acked: 1000,
            unsent: 0,
            queue: Duration::ZERO,
        };
        let at = |ms| Instant::ZERO + Duration::from_millis(ms);
        shaper.look(at(5000), &mut [path], false);
        assert_eq!(shaper.looks_after(at(5000)), LOOK_FIRST);
        path.acked = 0;
        shaper.look(at(6100), &mut [path], false);
        assert_eq!(shaper.looks_after(at(6100)), LOOK_EVERY);
    }

    #[test]
    fn nothing_is_known_of_no_connection() {
        let mut shaper = Shaper::new();
        for look in 0..50 {
            let now = Instant::from_nanos(look * LOOK_EVERY.as_nanos());
            assert_eq!(shaper.look(now, &mut [], false), Pace::Free);
        }
    }
}

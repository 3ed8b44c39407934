//! When to tell which tracker what (BEP 3, 12).
//!
//! Tiers are tried in order, the trackers of a tier in an order shuffled once; one that answers moves
//! to the front of its tier, and nothing further is asked in that round (BEP 12). When none answers,
//! the round begins again after a pause that doubles.

use crate::io::{AnnounceEvent, Answer, TrackerKey};
use crate::rng::Rng;
use crate::time::{Duration, Instant};

/// First pause after a round in which no tracker answered.
const RETRY_MIN: Duration = Duration::from_secs(2);

/// Longest such pause.
const RETRY_MAX: Duration = Duration::from_secs(300);

/// Shortest interval that is honoured; a tracker that says less is asked this often.
const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// Longest one: a tracker that says a week is asked once a day.
const INTERVAL_MAX: Duration = Duration::from_secs(24 * 3600);

/// Interval when a tracker names none (BEP 3 leaves it open; 30 min is what trackers use).
const INTERVAL_DEFAULT: Duration = Duration::from_secs(1800);

/// Least time between two announces that we ask for ourselves when a tracker names none.
const MIN_INTERVAL_DEFAULT: Duration = Duration::from_secs(60);

/// A tracker that is to be told that we leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parting {
    pub(crate) tracker: TrackerKey,
    /// It has not been told yet that the download is complete.
    pub(crate) completed: bool,
    /// What is under way has to arrive before anything else is said.
    pub(crate) wait: bool,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Announcer {
    /// Trackers of each tier in the order in which they are tried.
    tiers: Vec<Vec<TrackerKey>>,
    /// Place of the next to be asked in this round.
    at: (usize, usize),
    next: Instant,
    in_flight: Option<(TrackerKey, AnnounceEvent)>,
    /// What is to be told next besides the numbers.
    event: AnnounceEvent,
    /// Trackers that know of us.
    joined: Vec<TrackerKey>,
    failures: u32,
    min_interval: Duration,
    last_answer: Option<Instant>,
}

impl Announcer {
    /// `tiers` holds the number of trackers in each tier.
    pub(crate) fn new(tiers: &[usize], now: Instant, rng: &mut Rng) -> Self {
        let tiers: Vec<Vec<TrackerKey>> = tiers
            .iter()
            .enumerate()
            .map(|(tier, &count)| {
                let key = |place| TrackerKey {
                    tier: tier as u16,
                    place,
                };
                let mut keys: Vec<_> = (0..count.min(1000) as u16).map(key).collect();
                rng.shuffle(&mut keys);
                keys
            })
            .filter(|tier| !tier.is_empty())
            .collect();
        let next = if tiers.is_empty() {
            Instant::NEVER
        } else {
            now
        };
        Self {
            tiers,
            at: (0, 0),
            next,
            in_flight: None,
            event: AnnounceEvent::Started,
            joined: Vec::new(),
            failures: 0,
            min_interval: MIN_INTERVAL_DEFAULT,
            last_answer: None,
        }
    }

    /// Whether there is any tracker at all.
    pub(crate) fn has_trackers(&self) -> bool {
        !self.tiers.is_empty()
    }

    /// When the next announce is due.
    pub(crate) fn next(&self) -> Instant {
        if self.in_flight.is_some() {
            Instant::NEVER
        } else {
            self.next
        }
    }

    /// Rounds in a row that nobody answered.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// When a tracker last answered.
    pub(crate) fn last_answer(&self) -> Option<Instant> {
        self.last_answer
    }

    /// Takes the announce that is due, if one is.
    pub(crate) fn take(&mut self, now: Instant) -> Option<(TrackerKey, AnnounceEvent)> {
        if self.in_flight.is_some() || self.next > now {
            return None;
        }
        let key = *self.tiers.get(self.at.0)?.get(self.at.1)?;
        // A tracker that has not heard of us is told that we start, whatever else is to be said.
        let event = if self.joined.contains(&key) {
            self.event
        } else {
            AnnounceEvent::Started
        };
        self.in_flight = Some((key, event));
        self.in_flight
    }

    /// A tracker answered, or did not.
    pub(crate) fn answered(&mut self, now: Instant, key: TrackerKey, answer: Option<&Answer>) {
        let Some((asked, event)) = self.in_flight.filter(|(asked, _)| *asked == key) else {
            return;
        };
        self.in_flight = None;
        let Some(answer) = answer else {
            self.try_next(now);
            return;
        };
        if !self.joined.contains(&asked) {
            self.joined.push(asked);
        }
        if let Some(tier) = self.tiers.get_mut(self.at.0)
            && self.at.1 < tier.len()
        {
            tier[..=self.at.1].rotate_right(1);
        }
        self.at = (0, 0);
        self.failures = 0;
        self.last_answer = Some(now);
        let unset = answer.interval == Duration::ZERO;
        let interval = if unset {
            INTERVAL_DEFAULT
        } else {
            answer.interval
        };
        let interval = interval.clamp(INTERVAL_MIN, INTERVAL_MAX);
        self.min_interval = answer
            .min_interval
            .unwrap_or(MIN_INTERVAL_DEFAULT)
            .clamp(INTERVAL_MIN, interval);
        self.next = now + interval;
        if event == self.event {
            self.event = AnnounceEvent::Periodic;
        } else {
            // Something is still to be said: it had to wait for the introduction.
            self.next = now;
        }
    }

    fn try_next(&mut self, now: Instant) {
        let (tier, place) = self.at;
        if place + 1 < self.tiers.get(tier).map_or(0, Vec::len) {
            self.at = (tier, place + 1);
        } else if tier + 1 < self.tiers.len() {
            self.at = (tier + 1, 0);
        } else {
            self.at = (0, 0);
            self.failures += 1;
            let pause = RETRY_MIN.times(1 << self.failures.min(20)).min(RETRY_MAX);
            self.next = now + pause;
        }
    }

    /// The download is complete: that is to be told at once.
    pub(crate) fn completed(&mut self, now: Instant) {
        if self.event == AnnounceEvent::Periodic || self.in_flight.is_some() {
            self.event = AnnounceEvent::Completed;
        }
        if self.has_trackers() {
            self.next = now;
        }
    }

    /// We would like to hear earlier than was agreed: peers are few, or the counts matter. As early
    /// as the tracker allows.
    pub(crate) fn hurry(&mut self, now: Instant) {
        if self.failures == 0 && self.has_trackers() {
            let earliest = self.last_answer.map_or(now, |at| at + self.min_interval);
            self.next = self.next.min(earliest.max(now));
        }
    }

    /// The trackers to be told that we leave. Nothing is due after this.
    pub(crate) fn leave(&mut self) -> Vec<Parting> {
        self.next = Instant::NEVER;
        let in_flight = self.in_flight.take();
        if let Some((key, _)) = in_flight
            && !self.joined.contains(&key)
        {
            // Its answer is not here yet, but it may know of us already.
            self.joined.push(key);
        }
        // What was still to be told is told to the tracker that would have been told next.
        let to_tell = self.event == AnnounceEvent::Completed;
        let whom = in_flight.map(|(key, _)| key).or_else(|| {
            let order = self.tiers.iter().flatten();
            order.copied().find(|key| self.joined.contains(key))
        });
        let parting = |tracker| {
            let asked = in_flight.filter(|(key, _)| *key == tracker);
            let telling = asked.is_some_and(|(_, event)| event == AnnounceEvent::Completed);
            let is_told = to_tell && Some(tracker) == whom;
            Parting {
                tracker,
                completed: is_told && !telling,
                wait: is_told && asked.is_some(),
            }
        };
        let joined = core::mem::take(&mut self.joined);
        joined.into_iter().map(parting).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Seed;

    fn at(secs: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(secs)
    }

    fn announcer(tiers: &[usize]) -> Announcer {
        Announcer::new(tiers, at(0), &mut Rng::new(Seed(5), "announce"))
    }

    fn answer(secs: u64) -> Answer {
        Answer {
            interval: Duration::from_secs(secs),
            ..Answer::default()
        }
    }

    #[test]
    fn started_then_periodic_then_completed_then_stopped() {
        let mut a = announcer(&[1]);
        let (key, event) = a.take(at(0)).expect("due");
        assert_eq!(event, AnnounceEvent::Started);
        assert_eq!(a.take(at(0)), None);
        a.answered(at(1), key, Some(&answer(100)));
        assert_eq!(a.next(), at(101));
        assert_eq!(a.take(at(101)), Some((key, AnnounceEvent::Periodic)));
        a.answered(at(101), key, Some(&answer(100)));
        a.completed(at(110));
        assert_eq!(a.take(at(110)), Some((key, AnnounceEvent::Completed)));
        a.answered(at(110), key, Some(&answer(100)));
        let parting = Parting {
            tracker: key,
            completed: false,
            wait: false,
        };
        assert_eq!(a.leave(), [parting]);
        assert_eq!(a.next(), Instant::NEVER);
    }

    #[test]
    fn completion_during_the_first_announce_is_told_right_after() {
        let mut a = announcer(&[1]);
        let (key, _) = a.take(at(0)).expect("due");
        a.completed(at(1));
        a.answered(at(2), key, Some(&answer(1800)));
        assert_eq!(a.take(at(2)), Some((key, AnnounceEvent::Completed)));
        a.answered(at(3), key, Some(&answer(1800)));
        assert_eq!(a.take(at(1803)), Some((key, AnnounceEvent::Periodic)));
    }

    #[test]
    fn a_tracker_that_never_heard_of_us_is_told_started_first() {
        let mut a = announcer(&[1, 1]);
        let (first, _) = a.take(at(0)).expect("due");
        a.answered(at(0), first, None);
        let (second, event) = a.take(at(0)).expect("the next tier at once");
        assert_ne!(first, second);
        assert_eq!(event, AnnounceEvent::Started);
        a.answered(at(0), second, Some(&answer(100)));
        a.completed(at(50));
        let (again, event) = a.take(at(50)).expect("due");
        assert_eq!(
            (again, event),
            (first, AnnounceEvent::Started),
            "tiers in order, every round"
        );
        a.answered(at(50), first, Some(&answer(100)));
        assert_eq!(a.take(at(50)), Some((first, AnnounceEvent::Completed)));
    }

    #[test]
    fn who_answers_moves_to_the_front_of_its_tier() {
        let mut a = announcer(&[3]);
        let (first, _) = a.take(at(0)).expect("due");
        a.answered(at(0), first, None);
        let (second, _) = a.take(at(0)).expect("due");
        a.answered(at(0), second, Some(&answer(10)));
        assert_eq!(a.take(at(10)).map(|(key, _)| key), Some(second));
    }

    #[test]
    fn pauses_double_and_are_bounded() {
        let mut a = announcer(&[2]);
        let mut now = at(0);
        let mut pauses = Vec::new();
        for _ in 0..12 {
            for _ in 0..2 {
                let (key, _) = a.take(now).expect("due");
                a.answered(now, key, None);
            }
            pauses.push(a.next().since(now).as_secs());
            now = a.next();
        }
        assert_eq!(pauses[..4], [4, 8, 16, 32]);
        assert_eq!(pauses[11], 300);
    }

    #[test]
    fn absurd_intervals_are_bounded_and_hurry_respects_the_minimum() {
        let mut a = announcer(&[1]);
        let (key, _) = a.take(at(0)).expect("due");
        a.answered(at(0), key, Some(&answer(1 << 40)));
        assert_eq!(a.next(), at(24 * 3600));
        a.hurry(at(10));
        assert_eq!(a.next(), at(60));
        let (key, _) = a.take(at(60)).expect("due");
        let eager = Answer {
            min_interval: Some(Duration::from_secs(5)),
            ..answer(100)
        };
        a.answered(at(60), key, Some(&eager));
        a.hurry(at(61));
        assert_eq!(a.next(), at(65));
    }

    #[test]
    fn without_trackers_nothing_is_due() {
        let mut a = announcer(&[]);
        a.completed(at(1));
        a.hurry(at(1));
        assert_eq!(a.take(at(100)), None);
        assert_eq!(a.next(), Instant::NEVER);
    }

    #[test]
    fn late_answers_of_others_are_ignored() {
        let mut a = announcer(&[2]);
        let (key, _) = a.take(at(0)).expect("due");
        let other = TrackerKey {
            tier: 0,
            place: 1 - key.place,
        };
        a.answered(at(0), other, Some(&answer(5)));
        assert_eq!(a.next(), Instant::NEVER, "the first is still under way");
    }
}

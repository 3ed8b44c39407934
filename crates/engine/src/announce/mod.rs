//! When to tell which tracker what (BEP 3, 12).
//!
//! Tiers are tried in order, the trackers of a tier in an order shuffled once; one that answers moves
//! to the front of its tier, and nothing further is asked in that round (BEP 12). When none answers,
//! the round begins again after a pause that doubles.
//!
//! While no tracker has answered at all, we know nobody: then the next one is asked when the last has
//! been silent for a moment, and who answers first is the round's. Both may still answer.

use crate::io::{AnnounceEvent, Answer, TrackerKey};
use crate::rng::Rng;
use crate::time::{Duration, Instant};

/// A tracker that has been silent for this long is not waited for, while none has answered. A good one
/// answers within 1 s; UDP would ask again after 15 s only (BEP 15).
const PATIENCE: Duration = Duration::from_secs(3);

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
    /// When that one was asked.
    asked_at: Instant,
    /// Asked before it, and silent until now. Each tracker is here or in flight once at most.
    silent: Vec<(TrackerKey, AnnounceEvent)>,
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
            asked_at: now,
            silent: Vec::new(),
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
            let waits = self.last_answer.is_some() || self.following().is_none();
            if waits {
                Instant::NEVER
            } else {
                self.asked_at + PATIENCE
            }
        } else if self.current().is_none() {
            // All were asked, and some of them may still answer.
            Instant::NEVER
        } else {
            self.next
        }
    }

    fn current(&self) -> Option<TrackerKey> {
        self.tiers.get(self.at.0)?.get(self.at.1).copied()
    }

    /// The place after the present one.
    fn following(&self) -> Option<(usize, usize)> {
        let (tier, place) = self.at;
        if place + 1 < self.tiers.get(tier).map_or(0, Vec::len) {
            Some((tier, place + 1))
        } else {
            (tier + 1 < self.tiers.len()).then_some((tier + 1, 0))
        }
    }

    fn is_silent(&self, key: TrackerKey) -> bool {
        self.silent.iter().any(|(silent, _)| *silent == key)
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
        if self.next() > now {
            return None;
        }
        if let Some(silent) = self.in_flight.take() {
            self.silent.push(silent);
            self.at = self.following()?;
        }
        while self.current().is_some_and(|key| self.is_silent(key)) {
            self.try_next(now);
            if self.next() > now {
                return None;
            }
        }
        let key = self.current()?;
        // A tracker that has not heard of us is told that we start, whatever else is to be said.
        let event = if self.joined.contains(&key) {
            self.event
        } else {
            AnnounceEvent::Started
        };
        self.in_flight = Some((key, event));
        self.asked_at = now;
        self.in_flight
    }

    /// A tracker answered, or did not.
    pub(crate) fn answered(&mut self, now: Instant, key: TrackerKey, answer: Option<&Answer>) {
        let current = self.in_flight.take_if(|(asked, _)| *asked == key);
        let late = self.silent.iter().position(|(asked, _)| *asked == key);
        let late = late.map(|place| self.silent.remove(place));
        let Some((_, event)) = current.or(late) else {
            return;
        };
        let Some(answer) = answer else {
            let all_asked = self.in_flight.is_none() && self.current().is_none();
            if current.is_some() || (all_asked && self.silent.is_empty()) {
                self.try_next(now);
            }
            return;
        };
        if !self.joined.contains(&key) {
            self.joined.push(key);
        }
        if current.is_none() && self.last_answer.is_some() {
            // Another one was quicker, and the round is over.
            return;
        }
        self.silent.extend(self.in_flight.take());
        let mut tiers = self.tiers.iter_mut();
        if let Some(tier) = tiers.find(|tier| tier.contains(&key))
            && let Some(place) = tier.iter().position(|other| *other == key)
            && let Some(up_to_it) = tier.get_mut(..=place)
        {
            up_to_it.rotate_right(1);
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
        if let Some(next) = self.following() {
            self.at = next;
        } else if self.last_answer.is_none() && !self.silent.is_empty() {
            self.at = (self.tiers.len(), 0);
        } else {
            self.at = (0, 0);
            self.failures += 1;
            let pause = RETRY_MIN.times(1 << self.failures.min(20)).min(RETRY_MAX);
            self.next = now + pause;
        }
    }

    /// The download is complete: that is to be told at once.
    pub(crate) fn completed(&mut self, now: Instant) {
        let asked = self.in_flight.is_some() || !self.silent.is_empty();
        if self.event == AnnounceEvent::Periodic || asked {
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
        // What was still to be told is told to the tracker that would have been told next.
        let to_tell = self.event == AnnounceEvent::Completed;
        let whom = in_flight.map(|(key, _)| key).or_else(|| {
            let order = self.tiers.iter().flatten();
            order.copied().find(|key| self.joined.contains(key))
        });
        let mut asked = core::mem::take(&mut self.silent);
        asked.extend(in_flight);
        let whom = whom.or_else(|| asked.first().map(|(key, _)| *key));
        for (key, _) in &asked {
            // Its answer is not here yet, but it may know of us already.
            if !self.joined.contains(key) {
                self.joined.push(*key);
            }
        }
        let parting = |tracker| {
            let asked = asked.iter().find(|(key, _)| *key == tracker);
            let telling = asked.is_some_and(|(_, event)| *event == AnnounceEvent::Completed);
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
        assert_eq!(a.take(at(2)), None, "the first is still under way");
    }

    #[test]
    fn a_silent_tracker_is_not_waited_for_until_one_has_answered() {
        let mut a = announcer(&[1, 2]);
        let (first, _) = a.take(at(0)).expect("due");
        assert_eq!(a.next(), at(3));
        let (second, event) = a.take(at(3)).expect("the next tier");
        assert_eq!((second.tier, event), (1, AnnounceEvent::Started));
        assert_eq!(a.take(at(5)), None);
        let (third, _) = a.take(at(6)).expect("the last");
        assert_eq!(a.next(), Instant::NEVER);
        // Neither the failure of one that was passed by nor an early one ends the round.
        a.answered(at(7), second, None);
        assert_eq!(a.next(), Instant::NEVER);
        a.answered(at(8), third, Some(&answer(100)));
        assert_eq!(a.next(), at(108));
        // A late answer counts as one, and changes nothing of what was agreed.
        a.completed(at(9));
        assert_eq!(a.take(at(9)), Some((third, AnnounceEvent::Completed)));
        a.answered(at(10), third, Some(&answer(100)));
        a.answered(at(11), first, Some(&answer(5)));
        assert_eq!(a.next(), at(110));
        assert_eq!(a.take(at(110)), Some((first, AnnounceEvent::Periodic)));
        assert_eq!(a.next(), Instant::NEVER, "peers are known: no haste");
        let told: Vec<_> = a.leave().iter().map(|parting| parting.tracker).collect();
        assert_eq!(told, [third, first]);
    }

    #[test]
    fn who_was_passed_by_may_be_the_first_to_answer() {
        let mut a = announcer(&[2]);
        let (first, _) = a.take(at(0)).expect("due");
        let (second, _) = a.take(at(3)).expect("due");
        a.answered(at(4), first, Some(&answer(50)));
        assert_eq!(a.next(), at(54));
        a.answered(at(5), second, None);
        assert_eq!(a.next(), at(54));
        assert_eq!(a.failures(), 0);
        assert_eq!(a.take(at(54)), Some((first, AnnounceEvent::Periodic)));
    }

    #[test]
    fn a_round_has_failed_when_the_last_of_it_has() {
        let mut a = announcer(&[1, 1]);
        let (first, _) = a.take(at(0)).expect("due");
        let (second, _) = a.take(at(3)).expect("due");
        a.answered(at(4), second, None);
        assert_eq!((a.next(), a.failures()), (Instant::NEVER, 0));
        a.answered(at(20), first, None);
        assert_eq!((a.next(), a.failures()), (at(24), 1));
        assert_eq!(a.take(at(24)).map(|(key, _)| key), Some(first));
    }

    #[test]
    fn completion_while_all_are_silent_is_told_when_one_answers_or_on_leaving() {
        for answers in [true, false] {
            let mut a = announcer(&[1, 1]);
            let (first, _) = a.take(at(0)).expect("due");
            let (second, _) = a.take(at(3)).expect("due");
            a.answered(at(4), second, None);
            a.completed(at(5));
            assert_eq!(a.take(at(5)), None);
            if answers {
                a.answered(at(6), first, Some(&answer(50)));
                assert_eq!(a.take(at(6)), Some((first, AnnounceEvent::Completed)));
            } else {
                let parting = Parting {
                    tracker: first,
                    completed: true,
                    wait: true,
                };
                assert_eq!(a.leave(), [parting]);
            }
        }
    }

    /// Whatever the order of answers: each tracker is asked by one at a time, and it never stalls.
    #[test]
    fn any_order_of_answers_keeps_it_going() {
        for seed in 0..500 {
            let mut rng = Rng::new(Seed(seed), "any order");
            let mut a = announcer(&[2, 1, 2]);
            let (mut now, mut under_way) = (at(0), Vec::new());
            for _ in 0..200 {
                if let Some((key, _)) = a.take(now) {
                    assert!(!under_way.contains(&key), "seed {seed}: asked twice");
                    under_way.push(key);
                } else if !under_way.is_empty() && (a.next() == Instant::NEVER || rng.below(2) == 0)
                {
                    let key = under_way.swap_remove(rng.below(under_way.len() as u32) as usize);
                    let answer = answer(u64::from(rng.below(5)));
                    a.answered(now, key, (rng.below(3) == 0).then_some(&answer));
                } else {
                    assert_ne!(a.next(), Instant::NEVER, "seed {seed}: stalled");
                    now = now.max(a.next());
                }
                if rng.below(20) == 0 {
                    a.completed(now);
                }
            }
        }
    }
}

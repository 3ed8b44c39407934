//! Trackers, the goal of seeding, leaving.

use super::{LEAVE_MAX, Leave, Parting, SwarmCounts, Torrent};
use crate::io::{
    Announce, AnnounceEvent, Answer, Event, Goodbye, Output, Outputs, PeerKey, Phase, SeedGoal,
    TrackerKey,
};
use crate::time::{Duration, Instant};

/// Without a tracker that answers, our own connections alone tell whether somebody still lacks
/// something: nobody may for this long.
const LINGER_WITHOUT_TRACKER: Duration = Duration::from_secs(60);

/// Rounds without an answer after which the trackers count as gone.
const TRACKERS_GONE: u32 = 4;

impl Torrent {
    pub(super) fn announce_if_due(&mut self, now: Instant, out: &mut Outputs) {
        if let Some((tracker, event)) = self.announcer.take(now) {
            out.push(Output::Announce(self.announce(tracker, event)));
        }
    }

    fn announce(&self, tracker: TrackerKey, event: AnnounceEvent) -> Announce {
        let missing = self.geometry.data_total() - self.bytes_have;
        // While files are being checked the download is not complete, and it is not for us to say
        // that we are a seed.
        let left = if self.phase == Phase::Checking {
            1
        } else {
            missing
        };
        let enough = self.peers.len() >= self.config.peers_wanted;
        let leaving = event == AnnounceEvent::Stopped;
        Announce {
            tracker,
            event,
            uploaded: self.totals.uploaded,
            downloaded: self.totals.downloaded,
            left,
            num_want: if enough || leaving {
                0
            } else {
                self.config.num_want
            },
        }
    }

    pub(super) fn on_announced(
        &mut self,
        now: Instant,
        tracker: TrackerKey,
        answer: Option<Answer>,
        out: &mut Outputs,
    ) {
        if let Some(leave) = &mut self.leave {
            let mut theirs = leave.partings.iter_mut();
            if let Some(parting) = theirs.find(|parting| parting.tracker == tracker) {
                parting.answered();
            }
            return;
        }
        self.announcer.answered(now, tracker, answer.as_ref());
        let Some(answer) = answer else { return };
        let copies_made = match (self.swarm.completed, answer.completed) {
            (Some(before), Some(after)) => after > before,
            _ => false,
        };
        let leeches = answer.leeches.unwrap_or(0) > u32::from(self.phase == Phase::Downloading);
        self.somebody_asked |= leeches || copies_made;
        self.swarm = SwarmCounts {
            seeds: answer.seeds.or(self.swarm.seeds),
            leeches: answer.leeches.or(self.swarm.leeches),
            completed: answer.completed.or(self.swarm.completed),
        };
        if let Some(warning) = answer.warning {
            out.push(Output::Event(Event::TrackerWarning(warning)));
        }
        self.on_candidates(now, &answer.peers, out);
    }

    /// Once a second: do we want news of the swarm, and is the goal of seeding reached?
    pub(super) fn look_after_the_swarm(&mut self, now: Instant, out: &mut Outputs) {
        let lacking = self.peers.values().any(|peer| !peer.is_seed());
        if lacking {
            self.lacking_at = now;
            self.somebody_asked = true;
        }
        match self.phase {
            Phase::Downloading => {
                let useful = self.peers.values().any(|peer| peer.useful > 0);
                if !useful && self.candidates.dialling() == 0 {
                    self.announcer.hurry(now);
                }
            }
            Phase::Seeding => {
                if self.goal_reached(now, lacking) {
                    out.push(Output::Event(Event::GoalReached));
                    self.start_leaving(now, out);
                } else if !lacking && self.config.seed_goal == SeedGoal::Everyone {
                    self.announcer.hurry(now);
                }
            }
            Phase::Checking | Phase::Leaving | Phase::Stopped => {}
        }
    }

    fn goal_reached(&self, now: Instant, lacking: bool) -> bool {
        match self.config.seed_goal {
            SeedGoal::None => true,
            SeedGoal::Forever => false,
            SeedGoal::Ratio(thousandths) => {
                let goal = u128::from(self.geometry.data_total()) * u128::from(thousandths);
                u128::from(self.totals.uploaded) * 1000 >= goal
            }
            SeedGoal::Time(length) => now.since(self.seeding_since) >= length,
            SeedGoal::Everyone => !lacking && self.everyone_has_it(now),
        }
    }

    /// Whether everybody who asked has a full copy: nobody we are connected to lacks anything, and a
    /// tracker that was asked after that knows of no leech either.
    fn everyone_has_it(&self, now: Instant) -> bool {
        let quiet = now.since(self.lacking_at);
        if !self.somebody_asked || quiet < self.config.linger {
            return false;
        }
        let gone = self.announcer.failures() >= TRACKERS_GONE;
        if !self.announcer.has_trackers() || gone {
            return quiet >= LINGER_WITHOUT_TRACKER;
        }
        let asked_since = self
            .announcer
            .last_answer()
            .is_some_and(|at| at > self.lacking_at);
        asked_since && self.swarm.leeches.unwrap_or(0) == 0
    }

    pub(super) fn start_leaving(&mut self, now: Instant, out: &mut Outputs) {
        if matches!(self.phase, Phase::Leaving | Phase::Stopped) {
            return;
        }
        let partings = self.announcer.leave();
        self.phase = Phase::Leaving;
        let keys: Vec<PeerKey> = self.peers.keys().copied().collect();
        for key in keys {
            self.hang_up(now, key, Goodbye::Leaving, out);
        }
        let parting = |parting: crate::announce::Parting| Parting {
            tracker: parting.tracker,
            asked: u32::from(parting.wait),
            completed: parting.completed,
            wait: parting.wait,
            stopped: false,
        };
        self.leave = Some(Leave {
            partings: partings.into_iter().map(parting).collect(),
            hurry: now + LEAVE_MAX.divided(2),
            until: now + LEAVE_MAX,
        });
        self.run_leave(now, out);
    }

    pub(super) fn run_leave(&mut self, now: Instant, out: &mut Outputs) {
        let Some(mut leave) = self.leave.take() else {
            return;
        };
        let hurry = leave.hurry <= now;
        for parting in &mut leave.partings {
            while let Some(event) = parting.next(hurry) {
                out.push(Output::Announce(self.announce(parting.tracker, event)));
            }
        }
        if leave.until <= now || leave.partings.iter().all(Parting::is_done) {
            self.phase = Phase::Stopped;
            out.push(Output::Stopped);
        }
        self.leave = Some(leave);
    }
}

impl Leave {
    /// When something is to be done though nobody answers.
    pub(super) fn next(&self) -> Instant {
        if self.partings.iter().all(|parting| parting.stopped) {
            self.until
        } else {
            self.hurry
        }
    }
}

impl Parting {
    /// What is to be said now. In a hurry nothing is waited for.
    fn next(&mut self, hurry: bool) -> Option<AnnounceEvent> {
        if self.stopped || (self.wait && self.asked > 0 && !hurry) {
            return None;
        }
        self.asked += 1;
        if core::mem::take(&mut self.completed) && !hurry {
            self.wait = true;
            return Some(AnnounceEvent::Completed);
        }
        self.stopped = true;
        Some(AnnounceEvent::Stopped)
    }

    fn answered(&mut self) {
        self.asked = self.asked.saturating_sub(1);
    }

    fn is_done(&self) -> bool {
        self.stopped && self.asked == 0
    }
}

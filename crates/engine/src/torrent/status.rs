//! Deadlines and numbers for people.

use super::Torrent;
use crate::io::{Deadline, Phase, Reason, SeedGoal, Snapshot};
use crate::time::{Duration, Instant};

/// How much longer than others a seed without peers sleeps: asking a tracker for news of the swarm waits
/// for this at most, which is less than the interval that any tracker allows.
const IDLE: Duration = Duration::from_secs(29);

impl Torrent {
    /// When to say [`crate::Input::Tick`] next, and why.
    #[must_use]
    pub fn deadline(&self) -> Deadline {
        if let Some(leave) = &self.leave {
            let at = if self.phase == Phase::Stopped {
                Instant::NEVER
            } else {
                leave.next()
            };
            return Deadline {
                at,
                why: Reason::Leave,
            };
        }
        let rechoke = if self.peers.is_empty() {
            Instant::NEVER
        } else {
            self.next_rechoke
        };
        [
            (self.housekeeping_due(), Reason::Housekeeping),
            (rechoke, Reason::Rechoke),
            (self.uplink.deadline(), Reason::Uplink),
            (self.news.deadline(), Reason::News),
            (self.announcer.next(), Reason::Announce),
        ]
        .into_iter()
        .min_by_key(|(at, _)| *at)
        .map_or(
            Deadline {
                at: Instant::NEVER,
                why: Reason::Housekeeping,
            },
            |(at, why)| Deadline { at, why },
        )
    }

    /// Once a second while there is anything to look after. A seed without a peer has only addresses to
    /// dial and the clocks of its goal, so that thousands of them cost next to nothing.
    fn housekeeping_due(&self) -> Instant {
        let goal = match self.config.seed_goal {
            SeedGoal::Forever | SeedGoal::Ratio(_) => Instant::NEVER,
            SeedGoal::Time(length) => self.seeding_since + length,
            SeedGoal::Everyone if !self.somebody_asked => Instant::NEVER,
            SeedGoal::Everyone | SeedGoal::None => return self.next_housekeeping,
        };
        if self.phase != Phase::Seeding || !self.peers.is_empty() {
            return self.next_housekeeping;
        }
        let dial = self.candidates.next_due(false).unwrap_or(Instant::NEVER);
        (self.next_housekeeping + IDLE)
            .min(goal)
            .min(dial)
            .max(self.next_housekeeping)
    }

    /// When a tracker is asked next, unless something happens before; `None` if none will be.
    #[must_use]
    pub fn next_announce(&self) -> Option<Instant> {
        let at = self.announcer.next();
        (at != Instant::NEVER).then_some(at)
    }

    /// Whether a piece is here, verified and written.
    #[must_use]
    pub fn has(&self, piece: u32) -> bool {
        self.picker.have().get(piece)
    }

    /// Numbers for people. O(pieces + peers).
    #[must_use]
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        let count = |of: &dyn Fn(&crate::peer::Peer) -> bool| {
            self.peers.values().filter(|peer| of(peer)).count() as u32
        };
        Snapshot {
            phase: self.phase,
            pieces_have: self.picker.have().count(),
            pieces: self.geometry.pieces(),
            bytes_have: self.bytes_have,
            bytes: self.geometry.data_total(),
            uploaded: self.totals.uploaded,
            downloaded: self.totals.downloaded,
            wasted: self.totals.wasted,
            rejected: self.totals.rejected,
            up_rate: self.up.recent(now),
            down_rate: self.down.recent(now),
            peers: self.peers.len() as u32,
            peer_seeds: count(&|peer| peer.is_seed()),
            unchoked: count(&|peer| !peer.choked),
            unchoking_us: count(&|peer| !peer.choking_us),
            swarm_seeds: self.swarm.seeds,
            swarm_leeches: self.swarm.leeches,
            availability: self.picker.copies_thousandths(),
            tracker_answered: self.announcer.last_answer().is_some(),
        }
    }
}

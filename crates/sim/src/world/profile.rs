//! Where time is lost: who could have sent and did not, and why. Looked at 200 times between the start
//! and the fluid bound.

use super::Cargo;
use crate::checkers::Ledger;
use crate::host::{Host, Life};
use crate::net::Network;
use samara_engine::{Duration, Instant};

/// Why an uplink does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Idle {
    /// It is sending.
    Busy,
    /// It has no piece.
    Empty,
    /// Nobody wants what it has.
    Unwanted,
    /// It chokes all who want something.
    Choking,
    /// Those that it serves do not ask.
    Unasked,
    /// Somebody asked, and nothing is sent.
    Stuck,
}

impl Idle {
    /// All of them, in the order of [`Phase::shares`].
    pub const ALL: [Self; 6] = [
        Self::Busy,
        Self::Empty,
        Self::Unwanted,
        Self::Choking,
        Self::Unasked,
        Self::Stuck,
    ];
}

/// What the uplinks did at one look, in bytes a second of uplink by [`Idle`].
type Look = [u64; 6];

/// What uplinks did over time, seeds and leeches apart.
#[derive(Clone, Debug)]
pub struct Profile {
    step: Duration,
    looks: Vec<(Instant, Look, Look)>,
}

/// A part of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Phase {
    /// Shares of the seeds' uplinks, in the order of [`Idle::ALL`].
    pub seeds: [f64; 6],
    /// Shares of the leeches' uplinks.
    pub leeches: [f64; 6],
}

impl Profile {
    pub(super) fn new(step: Duration) -> Self {
        Self {
            step: step.max(Duration::from_millis(1)),
            looks: Vec::new(),
        }
    }

    /// Time between looks.
    #[must_use]
    pub fn step(&self) -> Duration {
        self.step
    }

    pub(super) fn sample(
        &mut self,
        now: Instant,
        hosts: &[Host],
        net: &Network<Cargo>,
        ledger: &Ledger,
    ) {
        let (mut seeds, mut leeches) = (Look::default(), Look::default());
        for (at, host) in (0u32..).zip(hosts) {
            if host.life != Life::Here {
                continue;
            }
            let idle = if net.is_busy(at) {
                Idle::Busy
            } else {
                why(host, ledger)
            };
            let into = if host.spec.seed {
                &mut seeds
            } else {
                &mut leeches
            };
            into[idle as usize] += host.spec.link.up;
        }
        self.looks.push((now, seeds, leeches));
    }

    /// What happened between two moments.
    #[must_use]
    pub fn between(&self, from: Instant, until: Instant) -> Phase {
        let looks = self
            .looks
            .iter()
            .filter(|look| look.0 > from && look.0 <= until);
        let (mut seeds, mut leeches) = (Look::default(), Look::default());
        for (_, of_seeds, of_leeches) in looks {
            for at in 0..seeds.len() {
                seeds[at] += of_seeds[at];
                leeches[at] += of_leeches[at];
            }
        }
        let shares = |look: Look| {
            let all = look.iter().sum::<u64>().max(1) as f64;
            look.map(|part| part as f64 / all)
        };
        Phase {
            seeds: shares(seeds),
            leeches: shares(leeches),
        }
    }
}

/// Why a host that is not sending is not.
fn why(host: &Host, ledger: &Ledger) -> Idle {
    if host.journal.count() == 0 {
        return Idle::Empty;
    }
    let mut reason = Idle::Unwanted;
    for flow in host.peers.iter().copied().flatten() {
        let (Some(out), Some(back)) = (ledger.line(flow), ledger.line(flow.back())) else {
            continue;
        };
        let found = if !back.due.is_empty() {
            Idle::Stuck
        } else if !back.interest_heard {
            Idle::Unwanted
        } else if out.choking {
            Idle::Choking
        } else {
            Idle::Unasked
        };
        reason = reason.max(found);
    }
    reason
}

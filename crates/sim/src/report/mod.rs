//! What came of a run: numbers for people, and a plot.

mod svg;

pub use svg::plot;

use crate::scenario::{HostSpec, Scenario};
use crate::world::{Idle, Phase, Profile};
use core::fmt;
use core::net::SocketAddr;
use samara_engine::{Duration, Instant};

/// What came of a run.
#[derive(Debug)]
pub struct Report {
    /// What was run.
    pub scenario: Scenario,
    /// What each host did.
    pub hosts: Vec<HostReport>,
    /// The fluid bound on the last finish, headers counted.
    pub bound: Duration,
    /// When the run ended.
    pub ended: Instant,
    /// Payload that seeds sent, bytes.
    pub seed_sent: u64,
    /// When the leeches together had one copy, and what the seeds had sent by then.
    pub first_copy: Option<(Instant, u64)>,
    /// How the blocks that seeds sent are to be judged.
    pub seed_blocks: SeedBlocks,
    /// The number that two equal runs share.
    pub trace: u64,
    /// Outputs of all engines.
    pub outputs: u64,
    /// Events of the world.
    pub events: u64,
    /// Announces that the tracker answered.
    pub announces: u64,
    /// What checkers found wrong: (checker, what).
    pub violations: Vec<(String, String)>,
    /// Nanoseconds of sending by host and bin.
    pub meters: Vec<Vec<u64>>,
    /// Width of those bins.
    pub bin: Duration,
    /// Who was idle, and why.
    pub idle: Profile,
}

/// Blocks that seeds sent. Only the first sending of each has to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SeedBlocks {
    /// Sent for the first time.
    pub first: u64,
    /// Sent again though a leech had the piece.
    pub again_elsewhere: u64,
    /// Sent again while no leech had the whole piece.
    pub again_nowhere: u64,
}

/// What one host did.
#[derive(Clone, Debug)]
pub struct HostReport {
    /// What it was made from.
    pub spec: HostSpec,
    /// Where it listened.
    pub addr: SocketAddr,
    /// When it had everything, checked.
    pub finished: Option<Instant>,
    /// How long it was here.
    pub here: Duration,
    /// When it had one more piece.
    pub pieces_at: Vec<Instant>,
    /// Payload sent, bytes.
    pub sent: u64,
    /// Payload received, bytes.
    pub received: u64,
    /// Payload received in vain, bytes.
    pub wasted: u64,
    /// Payload of pieces that failed.
    pub rejected: u64,
    /// Most payload held in memory, bytes.
    pub held_peak: u64,
    /// Addresses that it banned.
    pub banned: Vec<SocketAddr>,
    /// Why it gave up, if it did.
    pub gave_up: Option<String>,
}

impl Report {
    /// Finish times of the leeches that finished, in order.
    #[must_use]
    pub fn finishes(&self) -> Vec<Duration> {
        let leeches = self.scenario.leeches();
        let mut times: Vec<Duration> = leeches
            .filter_map(|at| self.hosts[at].finished)
            .map(|at| at.since(Instant::ZERO))
            .collect();
        times.sort_unstable();
        times
    }

    /// Whether every leech finished.
    #[must_use]
    pub fn all_finished(&self) -> bool {
        self.scenario
            .leeches()
            .all(|at| self.hosts[at].finished.is_some())
    }

    /// Bound over last finish: 1 is what nobody can beat. `None` if somebody did not finish.
    #[must_use]
    pub fn efficiency(&self) -> Option<f64> {
        let last = self
            .all_finished()
            .then(|| self.finishes().last().copied())??;
        Some(ratio(self.bound, last))
    }

    /// The same against the bound without headers, as runs on real sockets are reported.
    #[must_use]
    pub fn efficiency_of_payload(&self) -> Option<f64> {
        let last = self
            .all_finished()
            .then(|| self.finishes().last().copied())??;
        Some(ratio(self.scenario.bound_of_payload(), last))
    }

    /// Copies of the torrent that the seeds sent.
    #[must_use]
    pub fn seed_copies(&self) -> f64 {
        self.seed_sent as f64 / self.scenario.total as f64
    }

    /// Copies that they had sent when the leeches together had one.
    #[must_use]
    pub fn copies_for_the_first(&self) -> Option<f64> {
        let (_, sent) = self.first_copy?;
        Some(sent as f64 / self.scenario.total as f64)
    }

    /// Part of all payload received that was received in vain.
    #[must_use]
    pub fn waste(&self) -> f64 {
        let all: u64 = self.hosts.iter().map(|host| host.received).sum();
        let vain: u64 = self.hosts.iter().map(|host| host.wasted).sum();
        vain as f64 / all.max(1) as f64
    }

    /// What part of the uplinks was used for payload while their hosts were here (Bharambe et al. 2006): of
    /// the seeds, and of the leeches.
    #[must_use]
    pub fn uplink_use(&self) -> (f64, f64) {
        let of = |seeds: bool| {
            let hosts = self.hosts.iter().filter(|host| host.spec.seed == seeds);
            let (mut sent, mut could) = (0.0, 0.0);
            for host in hosts {
                sent += host.sent as f64;
                could += host.spec.link.up as f64 * host.here.as_nanos() as f64 / 1e9;
            }
            sent / f64::max(could, 1.0)
        };
        (of(true), of(false))
    }

    /// The part of the uplinks that was busy, of the seeds or of the leeches, in each [`Report::bin`].
    #[must_use]
    pub fn uplinks_over_time(&self, of_seeds: bool) -> Vec<f64> {
        let hosts = self.hosts.iter().zip(&self.meters);
        let (mut all, mut busy): (f64, Vec<f64>) = (0.0, Vec::new());
        for (host, meter) in hosts.filter(|(host, _)| host.spec.seed == of_seeds) {
            let up = host.spec.link.up as f64;
            all += up;
            if busy.len() < meter.len() {
                busy.resize(meter.len(), 0.0);
            }
            for (sum, part) in busy.iter_mut().zip(meter) {
                *sum += *part as f64 * up;
            }
        }
        let whole = all.max(1.0) * self.bin.as_nanos().max(1) as f64;
        busy.iter().map(|sum| sum / whole).collect()
    }

    /// Mean time from arrival to completion of the leeches that finished, in seconds.
    #[must_use]
    pub fn mean_time(&self) -> f64 {
        let hosts = self.scenario.leeches().map(|at| &self.hosts[at]);
        let times: Vec<f64> = hosts
            .filter_map(|host| {
                Some(host.finished?.since(host.spec.arrives).as_nanos() as f64 / 1e9)
            })
            .collect();
        times.iter().sum::<f64>() / times.len().max(1) as f64
    }

    /// Start, middle and end of the transfer: up to the first copy or a third, up to the first
    /// finish, and the rest.
    #[must_use]
    pub fn phases(&self) -> [(&'static str, Instant, Instant, Phase); 3] {
        let finishes = self.finishes();
        let at = |time: Option<&Duration>| time.map_or(self.ended, |time| Instant::ZERO + *time);
        let (first, last) = (at(finishes.first()), at(finishes.last()));
        let third = Instant::ZERO + first.since(Instant::ZERO).divided(3);
        let start = self.first_copy.map_or(third, |(at, _)| at.min(first));
        let part = |name, from, until| (name, from, until, self.idle.between(from, until));
        [
            part("until the first copy", Instant::ZERO, start),
            part("until the first finish", start, first),
            part("until the last finish", first, last),
        ]
    }

    /// One line for tables: the head of it is [`HEAD`].
    #[must_use]
    pub fn row(&self) -> String {
        let finishes = self.finishes();
        let seconds = |time: Option<&Duration>| match time {
            Some(time) => format!("{:.2}", time.as_nanos() as f64 / 1e9),
            None => "-".into(),
        };
        let number = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.3}"));
        format!(
            "{:<10} {:>20} {:>7} {:>8} {:>8} {:>8} {:>8} {:>6} {:>6} {:>6} {:>6} {:>7.2}% {:>3} {:016x}",
            self.scenario.name,
            self.scenario.seed,
            format!("{}/{}", finishes.len(), self.scenario.leeches().count()),
            seconds(Some(&self.bound)),
            seconds(finishes.first()),
            seconds(finishes.get(finishes.len() / 2)),
            seconds(finishes.last()),
            number(self.efficiency()),
            number(self.efficiency_of_payload()),
            number(Some(self.seed_copies())),
            number(self.copies_for_the_first()),
            100.0 * self.waste(),
            self.violations.len(),
            self.trace,
        )
    }
}

/// The head of the table whose lines are [`Report::row`].
pub const HEAD: &str = "scenario                   seed    done    bound    first   median     last    eff  eff_p copies 1stcpy   waste bad trace";

fn ratio(bound: Duration, time: Duration) -> f64 {
    bound.as_nanos() as f64 / time.as_nanos().max(1) as f64
}

impl Report {
    /// Leeches that have come by `at` and are still here, complete or not.
    #[must_use]
    pub fn leeches_here(&self, at: Instant) -> usize {
        let leeches = self.hosts.iter().filter(|host| !host.spec.seed);
        leeches
            .filter(|host| host.spec.arrives <= at && at < host.spec.arrives + host.here)
            .count()
    }
}

impl fmt::Display for Report {
    /// The long form: phases, and what was wrong.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEAD}\n{}", self.row())?;
        write!(f, "\nuplinks, % of capacity          ")?;
        for why in Idle::ALL {
            write!(f, "{:>10}", format!("{why:?}").to_lowercase())?;
        }
        writeln!(f)?;
        for (name, from, until, phase) in self.phases() {
            let took = until.since(from).as_nanos() as f64 / 1e9;
            for (who, shares) in [("seeds", phase.seeds), ("leeches", phase.leeches)] {
                write!(f, "{name:<23} {took:>6.2} s {who:<8}")?;
                for share in shares {
                    write!(f, "{:>9.1} ", 100.0 * share)?;
                }
                writeln!(f)?;
            }
        }
        let (seeds, leeches) = self.uplink_use();
        writeln!(
            f,
            "uplinks used for payload while here: seeds {seeds:.3}, leeches {leeches:.3}; mean time {:.1} s",
            self.mean_time()
        )?;
        let sent = self.seed_blocks;
        writeln!(
            f,
            "blocks sent by seeds: {} first, {} again though a leech had the piece, {} again before one had",
            sent.first, sent.again_elsewhere, sent.again_nowhere
        )?;
        let last = self.hosts.iter().map(|host| host.spec.arrives).max();
        if let Some(last) = last.filter(|last| *last > Instant::ZERO) {
            writeln!(
                f,
                "leeches here when the last came, at {:.1} s: {}",
                last.as_nanos() as f64 / 1e9,
                self.leeches_here(last)
            )?;
        }
        let peak = self
            .hosts
            .iter()
            .map(|host| host.held_peak)
            .max()
            .unwrap_or(0);
        let banned: usize = self.hosts.iter().map(|host| host.banned.len()).sum();
        writeln!(
            f,
            "\n{} events, {} outputs, {} announces; at most {} KiB held by a host; {banned} bans",
            self.events,
            self.outputs,
            self.announces,
            peak >> 10,
        )?;
        for (at, host) in self.hosts.iter().enumerate() {
            if let Some(why) = &host.gave_up {
                writeln!(f, "host {at} gave up: {why}")?;
            }
        }
        for (checker, what) in &self.violations {
            writeln!(f, "WRONG ({checker}): {what}")?;
        }
        Ok(())
    }
}

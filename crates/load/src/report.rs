//! What a run came to, in lines for people.

use crate::histogram::Histogram;
use crate::host::Usage;
use crate::run::{Counts, Stage};
use std::sync::atomic::Ordering;

/// What a whole run came to.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) counts: Counts,
    late: Histogram,
    /// What the tracker had taken when every peer had come.
    full: Usage,
    last: Usage,
    seconds: f64,
    /// The most memory that was seen, bytes.
    peak: u64,
}

pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}

fn micros(nanos: u64) -> u64 {
    nanos / 1_000
}

impl Report {
    pub(crate) fn new(full: Usage) -> Self {
        Self {
            counts: Counts::default(),
            late: Histogram::default(),
            full,
            last: full,
            seconds: 0.0,
            peak: full.resident,
        }
    }

    pub(crate) fn add(&mut self, counts: &Counts, late: &Histogram) {
        self.counts.merge(counts);
        self.late.merge(late);
    }

    /// A part of the run is over: one line.
    pub(crate) fn part(&mut self, counts: &Counts, late: &Histogram, now: Usage, took: f64) {
        self.add(counts, late);
        self.seconds += took;
        self.peak = self.peak.max(now.resident);
        let quantile = |share| micros(counts.latency.quantile(share));
        println!(
            "{:6.0} s {:8.0} answers/s, p50 {} us, p99 {} us, p99.9 {} us, max {} us (asked late: p99.9 {} us), {:.1} MiB, {:.0}% of a core",
            self.seconds,
            (counts.announces + counts.scrapes) as f64 / took,
            quantile(0.5),
            quantile(0.99),
            quantile(0.999),
            micros(counts.latency.max()),
            micros(late.quantile(0.999)),
            mib(now.resident),
            (now.cpu - self.last.cpu) / took * 100.0,
        );
        self.last = now;
    }

    /// All is over.
    pub(crate) fn end(&self, stage: &Stage, asked: u64, unanswered: u64) {
        let counts = &self.counts;
        let share = |part: u64, of: u64| part as f64 / of.max(1) as f64;
        println!(
            "asked {asked} in {:.1} s: {} announces and {} scrapes answered, {unanswered} unanswered ({:.5}%), {} errors, {} unsent",
            self.seconds,
            counts.announces,
            counts.scrapes,
            share(unanswered, asked) * 100.0,
            counts.errors,
            stage.unsent.load(Ordering::Relaxed),
        );
        println!(
            "{} forged and {} malformed, of which {} were answered; {} connects",
            stage.forged.load(Ordering::Relaxed),
            stage.malformed.load(Ordering::Relaxed),
            counts.leaks,
            counts.connects,
        );
        println!(
            "{:.1} peers an announce response",
            share(counts.peers, counts.announces)
        );
        let quantile = |share| micros(counts.latency.quantile(share));
        println!(
            "latency: p50 {} us, p90 {} us, p99 {} us, p99.9 {} us, p99.99 {} us, max {} us (asked late: p99.9 {} us)",
            quantile(0.5),
            quantile(0.9),
            quantile(0.99),
            quantile(0.999),
            quantile(0.9999),
            micros(counts.latency.max()),
            micros(self.late.quantile(0.999)),
        );
        let cpu = self.last.cpu - self.full.cpu;
        if self.last.resident > 0 && cpu > 0.0 {
            println!(
                "tracker: {:.0} announce responses a CPU second, {:.0}% of a core; memory {:.1} MiB when full, {:.1} MiB at the end, {:.1} MiB at most",
                counts.announces as f64 / cpu,
                cpu / self.seconds * 100.0,
                mib(self.full.resident),
                mib(self.last.resident),
                mib(self.peak),
            );
        }
    }
}

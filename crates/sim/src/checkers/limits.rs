//! What no run may beat, and what no run may waste.

use super::{Cast, Checker, Ledger, Seen, Stage, Sums};
use samara_engine::{Duration, Instant};
use samara_proto::BLOCK;

/// No run is over before the fluid bound: one that is has a network that makes bytes.
#[derive(Debug)]
pub struct FluidBound {
    bound: Duration,
}

impl FluidBound {
    /// For a world that is about to start.
    #[must_use]
    pub fn new(stage: &Stage) -> Self {
        Self { bound: stage.bound }
    }
}

impl Checker for FluidBound {
    fn name(&self) -> &'static str {
        "fluid bound"
    }

    fn see(&mut self, _now: Instant, _seen: &Seen<'_>, _ledger: Option<&Ledger>) {}

    fn verdict(&mut self, sums: &Sums) -> Vec<String> {
        let Some(last) = sums.finished.iter().copied().max().flatten() else {
            return Vec::new();
        };
        if sums.finished.contains(&None) || last.since(Instant::ZERO) >= self.bound {
            return Vec::new();
        }
        let took = last.since(Instant::ZERO);
        vec![format!(
            "all finished after {took:?}, before the bound of {:?}",
            self.bound
        )]
    }
}

/// Payload that an honest host receives in vain is at most this part of the torrent, in thousandths...
const WASTE_PERMILLE: u64 = 50;

/// ... or so many blocks where the torrent is small: what 16 peers asked in the endgame have already
/// handed to their transports (128 KiB each), where no cancel reaches it.
const WASTE_BLOCKS: u64 = 128;

/// Whether honest hosts fetch little twice.
#[derive(Debug)]
pub struct Waste {
    hosts: Vec<Cast>,
    total: u64,
}

impl Waste {
    /// For a world that is about to start.
    #[must_use]
    pub fn new(stage: &Stage) -> Self {
        Self {
            hosts: stage.hosts.clone(),
            total: stage.geometry.data_total(),
        }
    }
}

impl Checker for Waste {
    fn name(&self) -> &'static str {
        "waste"
    }

    fn see(&mut self, _now: Instant, _seen: &Seen<'_>, _ledger: Option<&Ledger>) {}

    fn verdict(&mut self, sums: &Sums) -> Vec<String> {
        let most = (self.total * WASTE_PERMILLE / 1000).max(WASTE_BLOCKS * u64::from(BLOCK));
        let hosts = self.hosts.iter().zip(&sums.hosts).enumerate();
        let wasters = hosts.filter_map(|(at, (cast, host))| {
            let vain = host.says?[2];
            (cast.honest && vain > most).then(|| format!("host {at} received {vain} bytes in vain"))
        });
        wasters.collect()
    }
}

//! Everybody who can finish does.

use super::{Cast, Checker, Complaints, Ledger, Seen, Stage, Sums, begins_with};
use samara_engine::Instant;
use samara_proto::Bitfield;

/// Whether all leeches finished that could: they are here, and every piece they lack is with a host
/// that is here and gives.
#[derive(Debug)]
pub struct Progress {
    hosts: Vec<Cast>,
    here: Vec<bool>,
    have: Vec<Bitfield>,
    finished: Vec<bool>,
    gave_up: Vec<bool>,
    wrong: Complaints,
}

impl Progress {
    /// For a world that is about to start.
    #[must_use]
    pub fn new(stage: &Stage) -> Self {
        let pieces = stage.geometry.pieces();
        let count = stage.hosts.len();
        let have = stage.hosts.iter().zip(&stage.lacks);
        let have = have.map(|(host, lacks)| begins_with(host.seed && host.gives, *lacks, pieces));
        Self {
            here: vec![false; count],
            have: have.collect(),
            finished: vec![false; count],
            gave_up: vec![false; count],
            hosts: stage.hosts.clone(),
            wrong: Complaints::default(),
        }
    }

    /// Whether every piece is with somebody who is here and gives.
    fn possible(&self, pieces: u32) -> bool {
        (0..pieces).all(|piece| {
            let mut holders = self.have.iter().zip(&self.here).zip(&self.hosts);
            holders.any(|((have, here), cast)| *here && cast.gives && have.get(piece))
        })
    }
}

impl Checker for Progress {
    fn name(&self) -> &'static str {
        "progress"
    }

    fn see(&mut self, now: Instant, seen: &Seen<'_>, _ledger: Option<&Ledger>) {
        match *seen {
            Seen::Joined { host } => self.here[host as usize] = true,
            Seen::Left { host } => self.here[host as usize] = false,
            Seen::GaveUp { host } => self.gave_up[host as usize] = true,
            Seen::Verified { host, piece } => {
                self.have[host as usize].set(piece);
            }
            Seen::Finished { host } => {
                self.finished[host as usize] = true;
                let cast = self.hosts[host as usize];
                let have = &self.have[host as usize];
                if cast.gives && !have.is_full() {
                    let count = have.count();
                    self.wrong.say(now, || {
                        format!("host {host} is complete with {count} pieces")
                    });
                }
            }
            _ => {}
        }
    }

    fn verdict(&mut self, sums: &Sums) -> Vec<String> {
        let mut wrong = self.wrong.take();
        let pieces = self.have.first().map_or(0, Bitfield::len);
        if !self.possible(pieces) {
            return wrong;
        }
        for (at, cast) in self.hosts.iter().enumerate() {
            if cast.seed || !self.here[at] || self.finished[at] || self.gave_up[at] {
                continue;
            }
            let have = self.have[at].count();
            let ended = sums.ended.as_nanos() as f64 / 1e9;
            wrong.push(format!(
                "host {at} could have finished, and has {have} of {pieces} pieces at {ended:.1} s"
            ));
        }
        wrong
    }
}

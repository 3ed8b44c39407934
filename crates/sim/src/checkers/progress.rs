//! Everybody who can finish does.

use super::{Cast, Checker, Complaints, Ledger, Seen, Stage, Sums, begins_with};
use samara_engine::Instant;
use samara_proto::Bitfield;

/// Whether all leeches finished that could: they are here, and every piece that they lack can come to them, from a host
/// that is here and gives, at once or over others that pass it on. Of two hosts one has to be able to dial the
/// other.
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

    /// What all that are here and give have together, those that `may` be counted.
    fn given(&self, may: impl Fn(usize) -> bool) -> Bitfield {
        let pieces = self.have.first().map_or(0, Bitfield::len);
        let mut all = Bitfield::empty(pieces);
        for (at, cast) in self.hosts.iter().enumerate() {
            if self.here[at] && cast.gives && may(at) {
                self.have[at].iter().for_each(|piece| {
                    all.set(piece);
                });
            }
        }
        all
    }

    /// Whether this host still fetches pieces, and is here.
    fn fetches(&self, at: usize) -> bool {
        let seeds = self.hosts[at].seed || self.finished[at];
        self.here[at] && !seeds && !self.gave_up[at]
    }

    /// Leeches that are here and have not finished, though every piece that they lack can come to them.
    fn stuck(&self) -> Vec<usize> {
        let open = (0..self.hosts.len()).filter(|&at| self.fetches(at));
        let open: Vec<usize> = open.collect();
        if open.is_empty() {
            return open;
        }
        // Who can be dialled is within reach of all, who cannot only of those who can: two of that kind need
        // one between them that fetches and passes on.
        let passes_on = |at: &usize| self.hosts[*at].dialled && self.hosts[*at].gives;
        let of_all = self.given(|_| true);
        let behind_nat = match open.iter().any(passes_on) {
            true => of_all.clone(),
            false => self.given(|at| self.hosts[at].dialled),
        };
        let could = |at: &usize| {
            let comes = match self.hosts[*at].dialled {
                true => &of_all,
                false => &behind_nat,
            };
            let have = &self.have[*at];
            (0..have.len()).all(|piece| have.get(piece) || comes.get(piece))
        };
        open.into_iter().filter(could).collect()
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
        let ended = sums.ended.as_nanos() as f64 / 1e9;
        for at in self.stuck() {
            let (have, pieces) = (self.have[at].count(), self.have[at].len());
            wrong.push(format!(
                "host {at} could have finished, and has {have} of {pieces} pieces at {ended:.1} s"
            ));
        }
        wrong
    }
}

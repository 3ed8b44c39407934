//! Checkers: objects of their own that see every event of a world and say what was wrong. A
//! scenario says nothing about legality or sums; it only sets the stage.

mod conservation;
mod degree;
mod fairness;
mod ledger;
mod legality;
mod limits;
mod log;
mod progress;
mod service;

#[cfg(test)]
mod tests;

pub use conservation::Conservation;
pub use degree::{Degree, Graph};
pub use fairness::{Fairness, Shares, jain};
pub use ledger::{Ledger, Line};
pub use legality::Legality;
pub use limits::{FluidBound, Waste};
pub use log::Log;
pub use progress::Progress;
pub use samara_engine::record::Trace;
pub use service::{Book, Pair, PassedOver};

use crate::net::{FlowId, LinkSpec};
use core::fmt;
use samara_engine::{Duration, Instant, Output};
use samara_proto::wire::Message;
use samara_proto::{Bitfield, Geometry, Span};

/// Most complaints that one checker writes down; the first is what one needs.
const COMPLAINTS_MAX: usize = 20;

/// Something that happened. Flows are named by the one that speaks.
#[derive(Clone, Copy, Debug)]
pub enum Seen<'a> {
    /// A host started, or started again, with so many pieces.
    Joined {
        /// Who.
        host: u32,
    },
    /// A host is gone.
    Left {
        /// Who.
        host: u32,
    },
    /// An engine wants something done (also seen in more detail below).
    Wished {
        /// Whose.
        host: u32,
        /// What.
        output: &'a Output,
    },
    /// One end of a connection is up.
    Up {
        /// The flow on which this end speaks.
        flow: FlowId,
        /// Whose end it is.
        host: u32,
        /// Who is at the other.
        other: u32,
    },
    /// One end of a connection is gone.
    Down {
        /// The flow on which this end spoke.
        flow: FlowId,
    },
    /// A message was said.
    Said {
        /// The flow.
        flow: FlowId,
        /// The message.
        message: &'a Message,
    },
    /// A message was heard.
    Heard {
        /// The flow.
        flow: FlowId,
        /// The message.
        message: &'a Message,
    },
    /// A block was handed to the network.
    Served {
        /// The flow.
        flow: FlowId,
        /// What.
        span: Span,
    },
    /// A block arrived.
    Got {
        /// The flow.
        flow: FlowId,
        /// What.
        span: Span,
    },
    /// A piece is verified from here to its end.
    Part {
        /// Whose.
        host: u32,
        /// The piece.
        piece: u32,
        /// Where what is verified begins.
        from: u32,
    },
    /// A piece is verified and on disk.
    Verified {
        /// Whose.
        host: u32,
        /// The piece.
        piece: u32,
    },
    /// A host has everything, and its files are checked.
    Finished {
        /// Who.
        host: u32,
    },
    /// Nothing is broken from now on.
    Healed,
    /// A host said that it cannot go on.
    GaveUp {
        /// Who.
        host: u32,
    },
}

/// What is known of a run before it begins.
#[derive(Clone, Debug)]
pub struct Stage {
    /// How the torrent is cut.
    pub geometry: Geometry,
    /// For every host: what is expected of it.
    pub hosts: Vec<Cast>,
    /// The one piece that a host lacks from the start, if it has all others.
    pub lacks: Vec<Option<u32>>,
    /// Nothing breaks and nothing is lost: what is measured is the hosts' own doing.
    pub undisturbed: bool,
    /// The fluid bound.
    pub bound: Duration,
}

/// What is expected of a host.
#[derive(Clone, Copy, Debug)]
pub struct Cast {
    /// Has everything from the start.
    pub seed: bool,
    /// Is an unbent engine: it has to keep the rules.
    pub honest: bool,
    /// Has what it says it has, and gives it.
    pub gives: bool,
    /// Takes and gives nothing.
    pub rides: bool,
    /// How it is connected.
    pub link: LinkSpec,
    /// When it comes.
    pub arrives: Instant,
    /// Others can dial it.
    pub dialled: bool,
}

/// The sums at the end of a run.
#[derive(Clone, Debug, Default)]
pub struct Sums {
    /// When the run ended.
    pub ended: Instant,
    /// Finish of each leech.
    pub finished: Vec<Option<Instant>>,
    /// By host: what its links carried, and what its engine thinks.
    pub hosts: Vec<HostSums>,
    /// Payload that was lost with closed connections.
    pub lost: u64,
    /// Payload still under way.
    pub under_way: u64,
}

/// The sums of one host.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostSums {
    /// Payload the engine handed to connections in all its lives.
    pub served: u64,
    /// Payload that arrived in all its lives.
    pub received: u64,
    /// What its engine says: sent, kept, in vain, failed. Only if it lived once.
    pub says: Option<[u64; 4]>,
    /// Bytes sent, headers included.
    pub wire_up: u64,
    /// Bytes a second of the uplink.
    pub up: u64,
    /// Nanoseconds in which the uplink was busy.
    pub busy: u64,
}

/// Watches a run.
pub trait Checker: fmt::Debug {
    /// What it is called in reports.
    fn name(&self) -> &'static str;
    /// Something happened. The ledger, where one is kept, shows the state before it.
    fn see(&mut self, now: Instant, seen: &Seen<'_>, ledger: Option<&Ledger>);
    /// The run is over: everything that was wrong.
    fn verdict(&mut self, sums: &Sums) -> Vec<String>;
}

/// Complaints, at most [`COMPLAINTS_MAX`] of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Complaints {
    said: Vec<String>,
    more: u64,
}

impl Complaints {
    pub(crate) fn say(&mut self, now: Instant, text: impl FnOnce() -> String) {
        if self.said.len() < COMPLAINTS_MAX {
            let seconds = now.as_nanos() as f64 / 1e9;
            self.said.push(format!("at {seconds:.6} s: {}", text()));
        } else {
            self.more += 1;
        }
    }

    pub(crate) fn take(&mut self) -> Vec<String> {
        let mut all = core::mem::take(&mut self.said);
        if self.more > 0 {
            all.push(format!("and {} more", self.more));
        }
        all
    }
}

/// What a host has from the start.
fn begins_with(seed: bool, lacks: Option<u32>, pieces: u32) -> Bitfield {
    if !seed && lacks.is_none() {
        return Bitfield::empty(pieces);
    }
    let mut have = Bitfield::full(pieces);
    if let Some(piece) = lacks {
        have.clear(piece);
    }
    have
}

/// All checkers but those of single messages, for every run.
#[must_use]
pub fn all(stage: &Stage, messages: bool) -> Vec<Box<dyn Checker>> {
    let mut them: Vec<Box<dyn Checker>> = vec![
        Box::new(Conservation::new(stage)),
        Box::new(Progress::new(stage)),
        Box::new(FluidBound::new(stage)),
        Box::new(Waste::new(stage)),
    ];
    if messages {
        them.push(Box::new(Legality::new(stage)));
        them.push(Box::new(Fairness::new(stage)));
    }
    them
}

//! The conductor: it hears every fact, asks the rooms, and says what is to be done.

use crate::config::Config;
use crate::io::{Deadline, Input, Outputs, Reason, Snapshot, Spec};
use crate::time::Instant;
use std::sync::Arc;

/// Our side of one torrent.
#[derive(Debug)]
pub struct Torrent {
    spec: Spec,
}

impl Torrent {
    /// A torrent that starts now. Say [`Input::Tick`] next.
    #[must_use]
    pub fn new(spec: Spec, _config: Arc<Config>, _now: Instant) -> Self {
        Self { spec }
    }

    /// Tells it one fact; everything that it wants done is appended to `out`, in order.
    pub fn handle(&mut self, _now: Instant, _input: Input, _out: &mut Outputs) {}

    /// When to say [`Input::Tick`] next, and why.
    #[must_use]
    pub fn deadline(&self) -> Deadline {
        Deadline {
            at: Instant::NEVER,
            why: Reason::Housekeeping,
        }
    }

    /// Numbers for people.
    #[must_use]
    pub fn snapshot(&self, _now: Instant) -> Snapshot {
        let _ = &self.spec;
        unreachable!()
    }
}

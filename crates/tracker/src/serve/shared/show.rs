//! How sharing goes, on the tracker's pages.

use super::SharedStats;
use crate::serve::families::Families;

impl SharedStats {
    /// One line for people.
    pub(in crate::serve) fn words(&self) -> String {
        match (self.alone, self.loaded) {
            (true, _) => "out of reach: answers come from this tracker's own memory".into(),
            (false, false) => "being read".into(),
            (false, true) => format!("news of others come within {} ms", self.lag_millis.max(1)),
        }
    }

    /// The same for programs, as a JSON object.
    pub(in crate::serve) fn json(&self) -> String {
        let Self {
            alone,
            loaded,
            lag_millis,
            sent,
            received,
            lost,
            unreached,
            full,
            refused,
            reads,
            tells,
        } = self;
        format!(
            "{{\"alone\":{alone},\"loaded\":{loaded},\"lag_ms\":{lag_millis},\"sent\":{sent},\
             \"received\":{received},\"lost\":{lost},\"unreached\":{unreached},\"full\":{full},\
             \"refused\":{refused},\"reads\":{reads},\"tells\":{tells}}}"
        )
    }

    /// The same for Prometheus, behind what there is.
    pub(in crate::serve) fn metrics(&self, out: &mut String) {
        let mut families = Families::new(out, "samara_tracker_shared_");
        let help = "1 if the shared store is out of reach: answers come from own memory.";
        families.gauge("alone", help, self.alone.into());
        let help = "1 once the shared store has been read.";
        families.gauge("loaded", help, self.loaded.into());
        let help = "Time until own news came back.";
        families.gauge("lag_milliseconds", help, self.lag_millis);
        let help = "News told to other trackers.";
        families.counters("sent_total", help, &[("", self.sent)]);
        let help = "News heard from other trackers.";
        families.counters("received_total", help, &[("", self.received)]);
        let errors = [
            ("{reason=\"queue_full\"}", self.lost),
            ("{reason=\"unreachable\"}", self.unreached),
            ("{reason=\"store_full\"}", self.full),
            ("{reason=\"refused\"}", self.refused),
        ];
        let help = "News that did not get to the store.";
        families.counters("errors_total", help, &errors);
        let syncs = [
            ("{what=\"read\"}", self.reads),
            ("{what=\"tell\"}", self.tells),
        ];
        let help = "How often the whole store was read, and all swarms were told.";
        families.counters("resyncs_total", help, &syncs);
    }
}

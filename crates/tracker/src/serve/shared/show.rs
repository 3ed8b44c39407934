//! How sharing goes, on the tracker's pages.

use super::SharedStats;
use std::fmt::Write as _;

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
        let mut family = |name: &str, kind: &str, help: &str, values: &[(&str, u64)]| {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "# HELP samara_tracker_shared_{name} {help}");
            let _ = writeln!(out, "# TYPE samara_tracker_shared_{name} {kind}");
            for (labels, value) in values {
                let _ = writeln!(out, "samara_tracker_shared_{name}{labels} {value}");
            }
        };
        let (alone, loaded) = (u64::from(self.alone), u64::from(self.loaded));
        let words = "1 if the shared store is out of reach: answers come from own memory.";
        family("alone", "gauge", words, &[("", alone)]);
        let words = "1 once the shared store has been read.";
        family("loaded", "gauge", words, &[("", loaded)]);
        let words = "Time until own news came back.";
        family("lag_milliseconds", "gauge", words, &[("", self.lag_millis)]);
        let words = "News told to other trackers.";
        family("sent_total", "counter", words, &[("", self.sent)]);
        let words = "News heard from other trackers.";
        family("received_total", "counter", words, &[("", self.received)]);
        family(
            "errors_total",
            "counter",
            "News that did not get to the store.",
            &[
                ("{reason=\"queue_full\"}", self.lost),
                ("{reason=\"unreachable\"}", self.unreached),
                ("{reason=\"store_full\"}", self.full),
                ("{reason=\"refused\"}", self.refused),
            ],
        );
        family(
            "resyncs_total",
            "counter",
            "How often the whole store was read, and all swarms were told.",
            &[
                ("{what=\"read\"}", self.reads),
                ("{what=\"tell\"}", self.tells),
            ],
        );
    }
}

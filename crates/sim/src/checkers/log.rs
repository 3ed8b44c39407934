//! A checker that finds nothing wrong and writes down what one host does: a line an event.

use super::{Checker, Ledger, Seen, Sums};
use samara_engine::{Instant, Output};
use std::fmt::Write as _;
use std::io::{self, Write};

/// Writes what one host says, hears and wants: time in seconds, direction, the other host, the words.
#[derive(Debug)]
pub struct Log<W> {
    host: u32,
    out: W,
    failed: Option<io::Error>,
}

impl<W: Write> Log<W> {
    /// For the host with this number.
    pub fn new(host: u32, out: W) -> Self {
        Self {
            host,
            out,
            failed: None,
        }
    }

    /// The words for an event, if it is this host's.
    fn words(&self, seen: &Seen<'_>, ledger: &Ledger) -> Option<String> {
        let mut text = String::new();
        let speaker = |flow| ledger.line(flow).map(|line| line.speaker);
        let (sign, other, what): (_, _, &dyn core::fmt::Debug) = match seen {
            Seen::Said { flow, message } if speaker(*flow)? == self.host => {
                (">", speaker(flow.back()), message)
            }
            Seen::Served { flow, span } if speaker(*flow)? == self.host => {
                (">>", speaker(flow.back()), span)
            }
            Seen::Heard { flow, message } if speaker(flow.back())? == self.host => {
                ("<", speaker(*flow), message)
            }
            Seen::Got { flow, span } if speaker(flow.back())? == self.host => {
                ("<<", speaker(*flow), span)
            }
            Seen::Up { host, other, .. } if *host == self.host => ("+", Some(*other), &"up"),
            Seen::Down { flow } if speaker(*flow)? == self.host => {
                ("-", speaker(flow.back()), &"down")
            }
            Seen::Wished { host, output } if *host == self.host => match output {
                Output::Send { .. }
                | Output::Serve { .. }
                | Output::ServeHeld { .. }
                | Output::Keep { .. } => return None,
                other => ("!", None, other),
            },
            Seen::Verified { host, .. } | Seen::Finished { host } if *host == self.host => {
                ("=", None, seen)
            }
            _ => return None,
        };
        let other = other.map_or(String::new(), |other| other.to_string());
        write!(text, "{sign:<2} {other:>5} {what:?}").ok()?;
        Some(text)
    }
}

impl<W: Write + core::fmt::Debug> Checker for Log<W> {
    fn name(&self) -> &'static str {
        "log"
    }

    fn see(&mut self, now: Instant, seen: &Seen<'_>, ledger: Option<&Ledger>) {
        let Some(words) = ledger.and_then(|ledger| self.words(seen, ledger)) else {
            return;
        };
        let seconds = now.as_nanos() as f64 / 1e9;
        if self.failed.is_none() {
            self.failed = writeln!(self.out, "{seconds:>13.6} {words}").err();
        }
    }

    fn verdict(&mut self, _sums: &Sums) -> Vec<String> {
        let failed = self.failed.take();
        failed
            .map(|error| format!("the log: {error}"))
            .into_iter()
            .collect()
    }
}

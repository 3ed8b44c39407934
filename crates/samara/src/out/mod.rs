//! Everything that the program prints goes through here.
//!
//! Results go to stdout, everything on the way to stderr, so that a script gets the one line it wants.
//! With `--json`, stdout has JSON lines and nothing else. A reader of stdout that goes away has seen
//! enough: that is success, and the program leaves as if it had been asked to.

mod escape;
pub mod events;
pub mod units;

pub use escape::escape;
pub use events::Event;

use crate::args::Settings;
use crate::exit::Failure;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Without a terminal a line of progress this often.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// With a terminal and in JSON, numbers this often.
const NUMBERS_EVERY: Duration = Duration::from_secs(1);

/// Where lines go, and in which form.
#[derive(Debug)]
pub struct Out {
    json: bool,
    quiet: bool,
    bars: bool,
    colour: bool,
    reader_gone: AtomicBool,
    reader_left: Notify,
    bar: Mutex<Option<ProgressBar>>,
}

impl Out {
    /// Looks at the terminal and at `NO_COLOR` (no-color.org: set and not empty).
    pub fn new(settings: &Settings) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            json: settings.json,
            quiet: settings.quiet,
            // Log lines and a bar would draw over each other.
            bars: terminal && !dumb && !settings.json && !settings.quiet && settings.verbose == 0,
            colour: terminal && !no_colour && !dumb,
            reader_gone: AtomicBool::new(false),
            reader_left: Notify::new(),
            bar: Mutex::new(None),
        }
    }

    /// Whether stdout speaks JSON.
    pub fn json(&self) -> bool {
        self.json
    }

    /// Whether bars are drawn.
    pub fn bars(&self) -> bool {
        self.bars
    }

    /// How often numbers are told: JSON and bars, or plain lines.
    pub fn numbers_every(&self) -> Duration {
        if self.json || self.bars {
            NUMBERS_EVERY
        } else {
            PLAIN_EVERY
        }
    }

    /// A JSON line; nothing without `--json`.
    pub fn event(&self, event: &Event<'_>) {
        if !self.json {
            return;
        }
        match serde_json::to_string(event) {
            Ok(line) => self.stdout(&line),
            Err(err) => tracing::error!("an event could not be written as JSON: {err}"),
        }
    }

    /// A result, for people; `text` is escaped already where it must be.
    pub fn result(&self, text: &str) {
        if !self.json {
            self.above_the_bar(|| self.stdout(text));
        }
    }

    /// Something on the way, for people.
    pub fn note(&self, text: &str) {
        if !self.json && !self.quiet {
            self.above_the_bar(|| to_stderr(text));
        }
    }

    /// Something to know that stops nothing.
    pub fn warning(&self, message: &str) {
        self.event(&Event::Warning { message });
        if !self.json {
            let message = escape(message);
            let mark = if self.colour {
                "\x1b[33mwarning:\x1b[0m"
            } else {
                "warning:"
            };
            self.above_the_bar(|| to_stderr(&format!("{mark} {message}")));
        }
    }

    /// The one line of a failure.
    pub fn failure(&self, failure: &Failure) {
        let message = failure.to_string();
        if message.is_empty() {
            return;
        }
        self.event(&Event::Error {
            message: &message,
            exit: failure.exit as u8,
        });
        let mark = if self.colour {
            "\x1b[31msamara:\x1b[0m"
        } else {
            "samara:"
        };
        self.above_the_bar(|| to_stderr(&format!("{mark} {message}")));
    }

    /// Whether the reader of stdout is gone.
    pub fn reader_gone(&self) -> bool {
        self.reader_gone.load(Ordering::Acquire)
    }

    /// Returns when the reader of stdout is gone.
    pub async fn wait_reader_gone(&self) {
        let left = self.reader_left.notified();
        if !self.reader_gone() {
            left.await;
        }
    }

    /// A bar of `total` bytes that replaces the one before. `None` without a terminal.
    pub fn bar(&self, total: u64, what: &str) -> Option<ProgressBar> {
        if !self.bars {
            return None;
        }
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(8));
        let template = if self.colour {
            "{prefix} {bar:32.green/dim} {percent:>3}% {wide_msg}"
        } else {
            "{prefix} {bar:32} {percent:>3}% {wide_msg}"
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars(if self.colour { "━━─" } else { "##-" }));
        }
        bar.set_prefix(what.to_owned());
        self.end_bar();
        if let Ok(mut slot) = self.bar.lock() {
            *slot = Some(bar.clone());
        }
        Some(bar)
    }

    /// Takes the bar off the screen.
    pub fn end_bar(&self) {
        if let Ok(mut slot) = self.bar.lock()
            && let Some(bar) = slot.take()
        {
            bar.finish_and_clear();
        }
    }

    /// Prints with the bar out of the way.
    fn above_the_bar(&self, print: impl FnOnce()) {
        let bar = self.bar.lock().ok().and_then(|slot| slot.clone());
        match bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    fn stdout(&self, line: &str) {
        if self.reader_gone() {
            return;
        }
        let mut stdout = std::io::stdout().lock();
        let written = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
        if let Err(err) = written {
            if err.kind() != ErrorKind::BrokenPipe {
                to_stderr(&format!("samara: cannot write to stdout: {err}"));
            }
            self.reader_gone.store(true, Ordering::Release);
            self.reader_left.notify_waiters();
        }
    }
}

/// A closed stderr is nobody's business.
fn to_stderr(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Progress of hashing or checking: a bar, JSON lines, or a plain line every few seconds. May be told
/// from many threads.
#[derive(Debug)]
pub struct Meter<'a> {
    out: &'a Out,
    what: &'static str,
    bar: Option<ProgressBar>,
    total: u64,
    started: Instant,
    told: Mutex<Instant>,
}

impl<'a> Meter<'a> {
    /// `what` is a word like `hashing`.
    pub fn new(out: &'a Out, what: &'static str, total: u64) -> Self {
        let now = Instant::now();
        Self {
            out,
            what,
            bar: out.bar(total, what),
            total,
            started: now,
            told: Mutex::new(now),
        }
    }

    /// `done` bytes of the total.
    pub fn at(&self, done: u64) {
        let rate = (done as f64 / self.started.elapsed().as_secs_f64().max(1e-3)) as u64;
        let (done_text, total_text) = (units::Bytes(done), units::Bytes(self.total));
        let words = format!("{done_text} of {total_text}, {}", units::Rate(rate));
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            bar.set_message(words);
            return;
        }
        // Several threads tell; whoever finds the lock taken has nothing to add.
        let Ok(mut told) = self.told.try_lock() else {
            return;
        };
        if told.elapsed() < self.out.numbers_every() {
            return;
        }
        *told = Instant::now();
        if self.out.json() {
            let (done, total) = (done, self.total);
            self.out.event(&match self.what {
                "hashing" => Event::Hashing { done, total },
                _ => Event::Verifying { done, total },
            });
        } else {
            self.out.note(&format!("{}: {words}", self.what));
        }
    }
}

impl Drop for Meter<'_> {
    fn drop(&mut self) {
        if self.bar.is_some() {
            self.out.end_bar();
        }
    }
}

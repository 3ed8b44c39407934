//! What one torrent was told, written down, so that a real run can be run again.
//!
//! A torrent is a function of its spec, its settings and what it is told, so a recording of those three is the
//! whole run: telling a new [`crate::Torrent`] the same facts gives the same outputs. The recording holds a
//! hash over the outputs every [`CHECK_EVERY`] inputs, so that a replay shows whether, and where, it
//! differs. Payload is not in it, for it never enters the engine: about 15 bytes a block.
//!
//! This room turns facts into bytes and back; files are the driver's business. A recording is from one
//! version of the format for the same version ([`VERSION`]); numbers are LEB128.

mod field;
mod trace;

#[cfg(test)]
mod tests;

pub use trace::Trace;

use crate::config::Config;
use crate::io::{Input, Output, Spec};
use crate::time::{Duration, Instant};
use core::fmt;
use field::{Cut, Field};

const MAGIC: &[u8; 15] = b"samara recorded";

/// Version of the format. It changes with every change of [`Input`], [`Spec`] or [`Config`].
pub const VERSION: u16 = 6;

/// Inputs between two hashes.
pub const CHECK_EVERY: u32 = 256;

const CHECK: u8 = 254;
const END: u8 = 255;

/// Why bytes are no recording that can be replayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// It does not begin like one.
    NotARecording,
    /// It was made by another version.
    Version(u16),
    /// It breaks off at this byte: the process that wrote it was killed.
    BreaksOff(usize),
    /// What stands at this byte cannot be.
    Odd(usize),
    /// The torrent in it cannot be read.
    Torrent(String),
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotARecording => write!(f, "this is no recording of a torrent"),
            Self::Version(found) => write!(
                f,
                "the recording has version {found} of the format, this program reads {VERSION}: \
                 use the program that made it"
            ),
            Self::BreaksOff(at) => write!(f, "the recording breaks off at byte {at}"),
            Self::Odd(at) => write!(f, "the recording is damaged at byte {at}"),
            Self::Torrent(why) => write!(f, "the torrent in the recording: {why}"),
        }
    }
}

impl core::error::Error for RecordError {}

/// Writes a recording. Tell it every input before the engine, and every output after it.
#[derive(Debug)]
pub struct Recorder {
    bytes: Vec<u8>,
    last: Instant,
    unchecked: u32,
    trace: Trace,
}

impl Recorder {
    /// For a torrent that starts now.
    #[must_use]
    pub fn new(spec: &Spec, config: &Config, now: Instant) -> Self {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_be_bytes());
        now.put(&mut bytes);
        spec.put(&mut bytes);
        config.put(&mut bytes);
        Self {
            bytes,
            last: now,
            unchecked: 0,
            trace: Trace::default(),
        }
    }

    /// The engine is about to be told this.
    pub fn input(&mut self, now: Instant, input: &Input) {
        if self.unchecked == CHECK_EVERY {
            self.check(CHECK);
        }
        self.unchecked += 1;
        // The tag comes first: marks have no time.
        let at = self.bytes.len();
        input.put(&mut self.bytes);
        let mut time = Vec::new();
        now.since(self.last).put(&mut time);
        self.bytes.splice(at + 1..at + 1, time);
        self.last = now;
    }

    /// The engine wants this.
    pub fn output(&mut self, now: Instant, output: &Output) {
        self.trace.note(now, 0, output);
    }

    /// The torrent is over.
    pub fn end(&mut self) {
        self.check(END);
    }

    /// What was written since the last time.
    #[must_use]
    pub fn take(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.bytes)
    }

    /// Bytes that are waiting to be taken.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.bytes.len()
    }

    fn check(&mut self, tag: u8) {
        self.unchecked = 0;
        self.bytes.push(tag);
        self.bytes.extend(self.trace.hash().to_be_bytes());
    }
}

/// A recording that is being read.
#[derive(Debug)]
pub struct Recording<'a> {
    /// What the torrent was when it started.
    pub spec: Spec,
    /// Its settings.
    pub config: Config,
    /// When it started.
    pub start: Instant,
    rest: Cut<'a>,
    now: Instant,
}

/// What stands next in a recording.
#[derive(Clone, Debug)]
pub enum Entry {
    /// The engine was told this.
    Input(Instant, Input),
    /// The hash over all outputs so far was this.
    Check(u64),
    /// The torrent was over, with this hash over all outputs.
    End(u64),
}

impl<'a> Recording<'a> {
    /// Reads the beginning.
    pub fn open(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let mut rest = Cut::new(bytes);
        let magic = rest.take(MAGIC.len()).ok();
        if magic != Some(MAGIC) {
            return Err(RecordError::NotARecording);
        }
        let version = rest.fixed().map(u16::from_be_bytes)?;
        if version != VERSION {
            return Err(RecordError::Version(version));
        }
        let start = Instant::get(&mut rest)?;
        Ok(Self {
            spec: Spec::get(&mut rest)?,
            config: Config::get(&mut rest)?,
            start,
            now: start,
            rest,
        })
    }

    /// What stands next. [`RecordError::BreaksOff`] if the process that wrote it did not come to its end.
    pub fn next_entry(&mut self) -> Result<Entry, RecordError> {
        let tag = self.rest.byte()?;
        if tag == CHECK || tag == END {
            let hash = self.rest.fixed().map(u64::from_be_bytes)?;
            return Ok(if tag == END {
                Entry::End(hash)
            } else {
                Entry::Check(hash)
            });
        }
        self.now = self.now + Duration::get(&mut self.rest)?;
        let input = field::input(tag, &mut self.rest)?;
        Ok(Entry::Input(self.now, input))
    }
}

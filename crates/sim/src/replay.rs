//! Runs a recording of a real torrent again, through the same engine, and compares what comes out.

use crate::checkers::Trace;
use samara_engine::record::{Entry, RecordError, Recording};
use samara_engine::{Event, Input, Instant, Output, Outputs, Torrent};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// What came of a replay.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    /// Inputs that were told.
    pub inputs: u64,
    /// Outputs that came out.
    pub outputs: u64,
    /// Hashes that were compared.
    pub checks: u64,
    /// The number of the input before which outputs were found to differ from the recorded ones.
    pub differs_by: Option<u64>,
    /// The recording comes to its end; else the process that wrote it was killed.
    pub whole: bool,
    /// From the first input to the last.
    pub began: Instant,
    /// The last input.
    pub ended: Instant,
    /// Inputs and outputs by kind.
    pub kinds: BTreeMap<&'static str, u64>,
    /// Pieces verified, and rejected.
    pub pieces: (u64, u64),
    /// The download became complete.
    pub complete: Option<Instant>,
    /// The hash over all outputs.
    pub hash: u64,
}

/// Replays a recording. `each` is shown every input and what came of it.
pub fn replay(
    bytes: &[u8],
    mut each: impl FnMut(Instant, &Input, &Outputs),
) -> Result<Replay, RecordError> {
    let mut recording = Recording::open(bytes)?;
    let start = recording.start;
    let spec = recording.spec.clone();
    let mut torrent = Torrent::new(spec, Arc::new(recording.config.clone()), start);
    let mut result = Replay {
        began: start,
        ended: start,
        ..Replay::default()
    };
    let mut trace = Trace::default();
    let mut out = Outputs::new();
    loop {
        match recording.next_entry() {
            Ok(Entry::Input(now, input)) => {
                result.inputs += 1;
                result.ended = now;
                *result.kinds.entry(input_kind(&input)).or_default() += 1;
                torrent.handle(now, input.clone(), &mut out);
                each(now, &input, &out);
                for output in out.drain(..) {
                    trace.note(now, 0, &output);
                    result.note(now, &output);
                }
            }
            Ok(Entry::Check(hash)) => result.compare(hash, trace.hash()),
            Ok(Entry::End(hash)) => {
                result.compare(hash, trace.hash());
                result.whole = true;
                break;
            }
            Err(RecordError::BreaksOff(_)) => break,
            Err(error) => return Err(error),
        }
    }
    result.outputs = trace.outputs();
    result.hash = trace.hash();
    Ok(result)
}

impl Replay {
    fn compare(&mut self, recorded: u64, found: u64) {
        self.checks += 1;
        if recorded != found {
            self.differs_by.get_or_insert(self.inputs);
        }
    }

    fn note(&mut self, now: Instant, output: &Output) {
        match output {
            Output::Event(Event::PieceVerified { .. }) => self.pieces.0 += 1,
            Output::Event(Event::PieceRejected { .. }) => self.pieces.1 += 1,
            Output::Event(Event::Complete) => self.complete = self.complete.or(Some(now)),
            _ => {}
        }
    }
}

fn input_kind(input: &Input) -> &'static str {
    match input {
        Input::Tick => "ticks",
        Input::PeerUp { .. } => "peers that came",
        Input::DialFailed { .. } => "dials that failed",
        Input::PeerDown { .. } => "peers that went",
        Input::MakeRoom => "calls for room",
        Input::Message { .. } => "messages",
        Input::Block { .. } => "blocks",
        Input::Malformed { .. } => "malformed messages",
        Input::Served { .. } => "blocks served",
        Input::ServeFailed { .. } => "blocks that could not be read",
        Input::PieceDone { .. } => "pieces checked",
        Input::PartDone { .. } => "parts of pieces checked",
        Input::Chained { .. } => "chains of pieces",
        Input::FilesChecked(_) => "checks of files",
        Input::Announced { .. } => "answers of trackers",
        Input::Candidates(_) => "lists of addresses",
        Input::Stop => "stops",
        Input::PiecesLost(_) => "losses of pieces",
        Input::DiskFailed(_) => "failures of the disk",
    }
}

impl fmt::Display for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |at: Instant| at.since(self.began).as_nanos() as f64 / 1e9;
        writeln!(
            f,
            "{} inputs in {:.3} s, {} outputs, hash {:016x}",
            self.inputs,
            seconds(self.ended),
            self.outputs,
            self.hash
        )?;
        for (kind, count) in &self.kinds {
            writeln!(f, "{count:>10} {kind}")?;
        }
        let (good, bad) = self.pieces;
        writeln!(f, "{good:>10} pieces verified, {bad} rejected")?;
        if let Some(at) = self.complete {
            writeln!(f, "complete after {:.3} s", seconds(at))?;
        }
        if !self.whole {
            writeln!(
                f,
                "the recording breaks off: the process that wrote it was killed"
            )?;
        }
        match self.differs_by {
            None => writeln!(
                f,
                "the same outputs, in all {} places compared",
                self.checks
            ),
            Some(at) => writeln!(
                f,
                "WRONG: the outputs differ from the recorded ones before input {at}; was it made by another \
                 version of the engine?"
            ),
        }
    }
}

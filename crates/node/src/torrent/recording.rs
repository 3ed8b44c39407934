//! Writes down what the engine is told, so that a real run can be run again (`samara_engine::record`,
//! `samara-sim replay`).
//!
//! The engine's task only turns facts into bytes; a thread of its own writes them. If that thread cannot keep up
//! or the disk fails, the recording ends there, which is said once, and the torrent goes on: a recording with a
//! gap could not be replayed beyond it, and a torrent that waits for its recording would not be the one that was
//! to be recorded.

use crate::error::NodeError;
use samara_engine::record::Recorder;
use samara_engine::{Config, Duration, Input, Instant, Output, Spec};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{Builder, JoinHandle};

/// Bytes that are worth a write. A block takes about 40, with its request.
const CHUNK: usize = 64 << 10;

/// What is not written after this long is written even if it is little: so much is lost if the process is killed.
const EVERY: Duration = Duration::from_secs(1);

/// Chunks that may wait for the thread ...
const CHUNKS_MAX: usize = 16;

/// ... and bytes that may wait for a place among them: 200,000 blocks, 3 s of a transfer at 1 GB/s.
const WAITING_MAX: usize = 8 << 20;

/// Largest recording: 30 million blocks, half a terabyte of payload. A seed that stays for months would fill the disk.
const SIZE_MAX: u64 = 1 << 30;

/// A recording that is being written.
#[derive(Debug)]
pub(super) struct Recording {
    path: PathBuf,
    recorder: Recorder,
    /// What found no place.
    held: Option<Vec<u8>>,
    chunks: SyncSender<Vec<u8>>,
    writer: JoinHandle<io::Result<()>>,
    passed_at: Instant,
    passed: u64,
}

/// Makes the file. It must be new: nobody's data are overwritten for a recording.
pub(super) fn create(path: &Path) -> Result<File, NodeError> {
    File::create_new(path).map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::AlreadyExists => "; name a file that does not exist yet",
            io::ErrorKind::NotFound => "; its folder has to exist",
            _ => "",
        };
        NodeError::Disk(format!(
            "cannot write the recording {}: {error}{hint}",
            path.display()
        ))
    })
}

impl Recording {
    /// Of an engine that is made of `spec` and `config` now.
    pub(super) fn new(
        (path, file): (PathBuf, File),
        spec: &Spec,
        config: &Config,
        now: Instant,
    ) -> io::Result<Self> {
        let (chunks, queue) = sync_channel(CHUNKS_MAX);
        let writer = Builder::new()
            .name("recording".to_owned())
            .spawn(move || write_all(file, &queue))?;
        Ok(Self {
            path,
            recorder: Recorder::new(spec, config, now),
            held: None,
            chunks,
            writer,
            passed_at: now,
            passed: 0,
        })
    }

    /// The engine is about to be told this.
    pub(super) fn input(&mut self, now: Instant, input: &Input) {
        self.recorder.input(now, input);
    }

    /// The engine wants this.
    pub(super) fn output(&mut self, now: Instant, output: &Output) {
        self.recorder.output(now, output);
    }

    /// Passes on what is worth it, without waiting. `None` if the recording has come to its end: then `say` has been told
    /// why.
    pub(super) fn pass_on(mut self, now: Instant, say: impl FnOnce(String)) -> Option<Self> {
        let waiting = self.recorder.waiting();
        if waiting < CHUNK && now.since(self.passed_at) < EVERY {
            return Some(self);
        }
        self.passed_at = now;
        let chunk = self.held.take().unwrap_or_else(|| self.recorder.take());
        let bytes = chunk.len() as u64;
        let why = match self.chunks.try_send(chunk) {
            Ok(()) if self.passed + bytes > SIZE_MAX => {
                format!("it has {} bytes, which is enough", self.passed + bytes)
            }
            Ok(()) => {
                self.passed += bytes;
                return Some(self);
            }
            Err(TrySendError::Full(_)) if waiting > WAITING_MAX => {
                "the disk does not keep up".to_owned()
            }
            Err(TrySendError::Full(chunk)) => {
                self.held = Some(chunk);
                return Some(self);
            }
            // Only a failure ends the thread while somebody may still send.
            Err(TrySendError::Disconnected(_)) => match self.writer.join() {
                Ok(Err(error)) => error.to_string(),
                _ => "its thread is gone".to_owned(),
            },
        };
        say(ends(&self.path, &why));
        None
    }

    /// The torrent is over: waits until everything is written, and says if that failed.
    pub(super) async fn finish(mut self, say: impl FnOnce(String)) {
        self.recorder.end();
        let Self {
            path,
            mut recorder,
            held,
            chunks,
            writer,
            ..
        } = self;
        let written = tokio::task::spawn_blocking(move || {
            for chunk in held.into_iter().chain([recorder.take()]) {
                // If nobody takes it, the thread says why.
                let _ = chunks.send(chunk);
            }
            drop(chunks);
            writer.join()
        });
        match written.await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => say(ends(&path, &error.to_string())),
            _ => say(ends(&path, "its thread is gone")),
        }
    }
}

fn ends(path: &Path, why: &str) -> String {
    format!(
        "the recording {} ends early: {why}; it can be replayed up to there, and the torrent goes on",
        path.display()
    )
}

fn write_all(mut file: File, chunks: &Receiver<Vec<u8>>) -> io::Result<()> {
    while let Ok(chunk) = chunks.recv() {
        file.write_all(&chunk)?;
    }
    file.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use samara_engine::Seed;
    use samara_engine::record::{Entry, RecordError, Recording as Reading};
    use samara_proto::metainfo::Metainfo;
    use samara_proto::{Bitfield, PeerId};
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::sync::Arc;

    fn spec() -> Spec {
        let torrent =
            b"d4:infod6:lengthi5e4:name1:x12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaaee";
        let metainfo = Metainfo::from_bytes(torrent).expect("a torrent");
        Spec {
            info: Arc::new(metainfo.info),
            peer_id: PeerId([b'x'; 20]),
            listen_port: 1,
            have: Bitfield::empty(1),
            files_checked: false,
            trackers: Vec::new(),
            candidates: Vec::new(),
            seed: Seed(1),
        }
    }

    fn begin(file: File) -> Recording {
        let named = (PathBuf::from("here"), file);
        Recording::new(named, &spec(), &Config::default(), Instant::ZERO).expect("started")
    }

    /// Says things until it ends early, or a hundred megabytes have been said; gives the reason.
    fn until_it_ends(mut recording: Recording) -> Option<String> {
        let mut now = Instant::ZERO;
        for _ in 0..100 {
            let text = "x".repeat(1 << 20);
            recording.input(now, &Input::DiskFailed(text));
            now = now + EVERY;
            let mut why = None;
            recording = match recording.pass_on(now, |text| why = Some(text)) {
                Some(recording) => recording,
                None => return why,
            };
        }
        None
    }

    #[test]
    fn a_disk_that_takes_nothing_ends_the_recording_and_is_named() {
        let full = File::options().write(true).open("/dev/full");
        let why = until_it_ends(begin(full.expect("every Linux has it")));
        let why = why.expect("it ends");
        assert!(
            why.contains("here") && why.contains("No space left"),
            "{why}"
        );
    }

    #[test]
    fn what_waits_for_a_disk_that_hangs_is_bounded_and_what_was_written_can_be_read() {
        // Nobody reads the pipe, so the thread hangs in its first write of more than 64 KiB.
        let (mut reader, writer) = io::pipe().expect("a pipe");
        let why = until_it_ends(begin(File::from(OwnedFd::from(writer)))).expect("it ends");
        assert!(why.contains("does not keep up"), "{why}");
        let mut bytes = Vec::new();
        // The rest of what was passed on comes now, and then the end.
        reader.read_to_end(&mut bytes).expect("read");
        assert!(bytes.len() > CHUNKS_MAX << 20, "{}", bytes.len());
        let mut reading = Reading::open(&bytes).expect("a recording");
        let end = loop {
            match reading.next_entry() {
                Ok(Entry::Input(..) | Entry::Check(_)) => {}
                other => break other,
            }
        };
        assert!(matches!(end, Err(RecordError::BreaksOff(_))), "{end:?}");
    }

    #[test]
    fn nothing_is_overwritten() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("recording");
        create(&path).expect("new");
        let said = create(&path).expect_err("there is one").to_string();
        assert!(said.contains("does not exist yet"), "{said}");
        let said = create(&path.join("below a file")).expect_err("no folder");
        assert!(said.to_string().contains("below a file"), "{said}");
    }
}

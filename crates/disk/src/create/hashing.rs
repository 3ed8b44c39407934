//! Reading every byte once, and hashing it on all cores.
//!
//! The byte space is cut into *runs* of whole pieces, about 8 MiB each, that threads take in order: one
//! large sequential read, then all pieces (and all leaves) of the run at once through the
//! many-lane kernels. So there is one buffer a thread, and the disk sees one stream.
//!
//! The SHA-1 of a whole file (v1 only, BEP 47) cannot be cut. Files that lie inside a run are hashed
//! side by side; a longer one is a *chain* ([`chains`]): each run hands the state of the hash to the next
//! run, while other threads hash pieces. A file is therefore hashed no faster than one core does
//! SHA-1, so that several long files are read side by side, a *lane* each ([`lanes`](super::lanes)), and the
//! disk sees as many streams as there are threads.

use super::chains::{self, Chains};
use super::lanes::{Lanes, Run};
use super::walk::Source;
use super::{CreateError, Progress};
use crate::hash::{sha1_many, sha256_many};
use samara_proto::merkle;
use samara_proto::metainfo::{Entry, Layout, Version};
use samara_proto::{Sha1, Sha256};
use sha1::Digest;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Bytes that a thread reads and hashes at a time, unless a piece is longer: enough lanes for the
/// kernels (16 pieces of 512 KiB), little enough for caches and memory.
const RUN_BYTES: u64 = 8 * 1024 * 1024;

/// Most threads that hash: the disk does not feed more.
const MAX_THREADS: usize = 64;

/// What to hash.
pub(super) struct Job<'a> {
    pub(super) sources: &'a [Source],
    pub(super) layout: &'a Layout,
    pub(super) piece_length: u32,
    pub(super) version: Version,
    pub(super) progress: &'a (dyn Fn(Progress) + Sync),
    pub(super) cancel: &'a AtomicBool,
}

/// What came out.
#[derive(Debug, Default)]
pub(super) struct Hashes {
    /// v1 and hybrid: SHA-1 of each piece.
    pub(super) v1: Vec<[u8; 20]>,
    /// v2 and hybrid: what BEP 52 says of each piece: its hash in the layer, or the root of its file.
    pub(super) v2: Vec<[u8; 32]>,
    /// v1: SHA-1 of each file.
    pub(super) files: Vec<Option<Sha1>>,
}

/// The part of a file that lies in a run.
#[derive(Clone, Debug)]
struct Part {
    source: usize,
    /// Where it begins in the file.
    offset: u64,
    /// Where it is in the buffer.
    at: Range<usize>,
}

/// What the threads share.
struct Shared {
    lanes: Mutex<Lanes>,
    stop: AtomicBool,
    state: Mutex<State>,
    chain_moved: Condvar,
    total: u64,
}

struct State {
    hashes: Hashes,
    chains: Chains,
    done: u64,
    error: Option<CreateError>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Keeps the first error and makes all threads stop.
    fn fail(&self, error: Option<CreateError>) {
        let mut state = self.state();
        if state.error.is_none() {
            state.error = error;
        }
        self.stop.store(true, Ordering::Relaxed);
        self.chain_moved.notify_all();
    }
}

/// Lets the other threads stop, rather than wait for ever, if this one panics.
struct StopOnPanic<'a>(&'a Shared);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(None);
        }
    }
}

impl Job<'_> {
    /// Hashes everything on `threads` threads.
    pub(super) fn run(&self, threads: usize) -> Result<Hashes, CreateError> {
        let pieces = self.layout.pieces as usize;
        let count = |wanted: bool| if wanted { pieces } else { 0 };
        let hashes = Hashes {
            v1: vec![[0; 20]; count(self.version != Version::V2)],
            v2: vec![[0; 32]; count(self.version != Version::V1)],
            files: vec![None; self.sources.len()],
        };
        let run = self.pieces_in_run(threads);
        let shared = Shared {
            lanes: Mutex::new(self.lanes(run)),
            stop: AtomicBool::new(false),
            state: Mutex::new(State {
                hashes,
                chains: Chains::default(),
                done: 0,
                error: None,
            }),
            chain_moved: Condvar::new(),
            total: self.sources.iter().map(|source| source.length).sum(),
        };
        (self.progress)(Progress {
            done: 0,
            total: shared.total,
        });
        let threads = threads
            .clamp(1, MAX_THREADS)
            .min(pieces.div_ceil(run as usize));
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let _guard = StopOnPanic(&shared);
                    let mut worker = Worker::new(self, &shared);
                    if let Err(error) = worker.work() {
                        shared.fail(Some(error));
                    }
                });
            }
        });
        let state = shared
            .state
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        match state.error {
            Some(error) => Err(error),
            None => Ok(self.with_empty_files(state.hashes)),
        }
    }

    /// Pieces of a run: about [`RUN_BYTES`], less where there is not enough for all threads.
    fn pieces_in_run(&self, threads: usize) -> u32 {
        let most = (RUN_BYTES / u64::from(self.piece_length)).max(1) as u32;
        let share = self.layout.pieces / (threads.clamp(1, MAX_THREADS) as u32 * 4);
        most.min(share.max(1))
    }

    fn lanes(&self, pieces_in_run: u32) -> Lanes {
        if self.version == Version::V1 {
            let length = |index: usize| self.sources[index].length;
            Lanes::by_file(self.layout, length, self.piece_length, pieces_in_run)
        } else {
            Lanes::one(self.layout.pieces, pieces_in_run)
        }
    }

    /// Empty files are in no run; their SHA-1 is that of nothing.
    fn with_empty_files(&self, mut hashes: Hashes) -> Hashes {
        if self.version == Version::V1 {
            let nothing = Sha1(sha1::Sha1::new().finalize().into());
            for (hash, source) in hashes.files.iter_mut().zip(self.sources) {
                if source.length == 0 {
                    *hash = Some(nothing);
                }
            }
        }
        hashes
    }
}

struct Worker<'a> {
    job: &'a Job<'a>,
    shared: &'a Shared,
    buffer: Vec<u8>,
    /// The file that was read last: long ones are read by many runs.
    open: Option<(usize, File)>,
}

impl<'a> Worker<'a> {
    fn new(job: &'a Job<'a>, shared: &'a Shared) -> Self {
        Self {
            job,
            shared,
            buffer: Vec::new(),
            open: None,
        }
    }

    fn work(&mut self) -> Result<(), CreateError> {
        let piece_length = u64::from(self.job.piece_length);
        let mut lane = None;
        while !self.shared.stopped() {
            let Some(run) = self.shared.lanes().take(lane) else {
                break;
            };
            lane = Some(run.lane);
            if self.job.cancel.load(Ordering::Relaxed) {
                return Err(CreateError::Cancelled);
            }
            let start = u64::from(run.pieces.start) * piece_length;
            let end = (u64::from(run.pieces.end) * piece_length).min(self.job.layout.space);
            let parts = self.read(start, end)?;
            self.hash_pieces(run.pieces.start as usize, &parts);
            if self.job.version == Version::V1 {
                self.hash_files(&run, &parts);
            }
            let bytes: usize = parts.iter().map(|part| part.at.len()).sum();
            let done = {
                let mut state = self.shared.state();
                state.done += bytes as u64;
                state.done
            };
            (self.job.progress)(Progress {
                done,
                total: self.shared.total,
            });
        }
        Ok(())
    }

    /// Fills the buffer with the byte space from `start` to `end`: zeros where no file is.
    fn read(&mut self, start: u64, end: u64) -> Result<Vec<Part>, CreateError> {
        let entries = &self.job.layout.entries;
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize((end - start) as usize, 0);
        // The entry before the first that begins after `start` is the one that `start` is in; empty
        // files before it are passed over.
        let mut index = entries.partition_point(|(offset, _)| *offset <= start);
        index = index.saturating_sub(1);
        let mut parts = Vec::new();
        let mut filled = 0;
        for &(offset, entry) in entries.get(index..).unwrap_or_default() {
            if offset >= end {
                break;
            }
            let Entry::File(source) = entry else { continue };
            let from = offset.max(start);
            let to = (offset + self.job.sources[source].length).min(end);
            if from >= to {
                continue;
            }
            let at = (from - start) as usize..(to - start) as usize;
            buffer[filled..at.start].fill(0);
            filled = at.end;
            self.read_file(source, from - offset, &mut buffer[at.clone()])?;
            parts.push(Part {
                source,
                offset: from - offset,
                at,
            });
        }
        buffer[filled..].fill(0);
        self.buffer = buffer;
        Ok(parts)
    }

    fn read_file(
        &mut self,
        index: usize,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), CreateError> {
        let path = &self.job.sources[index].file;
        if self.open.as_ref().is_none_or(|(open, _)| *open != index) {
            let file = File::open(path).map_err(|error| CreateError::io("open", path, error))?;
            self.open = Some((index, file));
        }
        let Some((_, file)) = &mut self.open else {
            return Ok(());
        };
        let result = file
            .seek(SeekFrom::Start(offset))
            .and_then(|_| file.read_exact(buffer));
        result.map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => CreateError::Changed(path.clone()),
            _ => CreateError::io("read", path, error),
        })
    }

    fn hash_pieces(&self, first: usize, parts: &[Part]) {
        let piece_length = self.job.piece_length as usize;
        if self.job.version != Version::V2 {
            let messages: Vec<&[u8]> = self.buffer.chunks(piece_length).collect();
            let mut out = vec![[0; 20]; messages.len()];
            sha1_many(&messages, &mut out);
            self.shared.state().hashes.v1[first..first + out.len()].copy_from_slice(&out);
        }
        if self.job.version != Version::V1 {
            let leaf = merkle::LEAF as usize;
            let leaves: Vec<&[u8]> = parts
                .iter()
                .flat_map(|part| self.buffer[part.at.clone()].chunks(leaf))
                .collect();
            let mut out = vec![[0; 32]; leaves.len()];
            sha256_many(&leaves, &mut out);
            let out: Vec<Sha256> = out.into_iter().map(Sha256).collect();
            self.keep_v2(first, parts, &out);
        }
    }

    /// Makes the hashes of pieces out of the hashes of the leaves of all parts.
    fn keep_v2(&self, first: usize, parts: &[Part], mut leaves: &[Sha256]) {
        let piece_length = self.job.piece_length;
        let width = (piece_length / merkle::LEAF) as usize;
        let mut pieces = Vec::new();
        for part in parts {
            // Files, and so parts, begin at pieces.
            let piece = first + part.at.start / piece_length as usize;
            let count = part.at.len().div_ceil(merkle::LEAF as usize);
            let (mine, rest) = leaves.split_at(count);
            leaves = rest;
            let whole = self.job.sources[part.source].length <= u64::from(piece_length);
            for (at, leaves) in mine.chunks(width).enumerate() {
                let hash = if whole {
                    merkle::root(leaves)
                } else {
                    merkle::piece_root(leaves, piece_length)
                };
                pieces.push((piece + at, hash.0));
            }
        }
        let mut state = self.shared.state();
        for (piece, hash) in pieces {
            state.hashes.v2[piece] = hash;
        }
    }

    /// Hashes the files that lie in this run whole, and moves the chains of the others on.
    fn hash_files(&self, run: &Run, parts: &[Part]) {
        let length = |part: &Part| self.job.sources[part.source].length;
        let (whole, mut long): (Vec<Part>, Vec<Part>) = parts
            .iter()
            .cloned()
            .partition(|part| part.at.len() as u64 == length(part));
        let messages: Vec<&[u8]> = whole
            .iter()
            .map(|part| &self.buffer[part.at.clone()])
            .collect();
        let mut out = vec![[0; 20]; messages.len()];
        sha1_many(&messages, &mut out);
        {
            let mut state = self.shared.state();
            for (part, hash) in whole.iter().zip(out) {
                state.hashes.files[part.source] = Some(Sha1(hash));
            }
        }
        // A chain that begins here needs nobody, and the next run waits for it: it goes first.
        long.sort_by_key(|part| part.offset > 0);
        for part in long {
            let bytes = &self.buffer[part.at.clone()];
            if part.offset == 0 {
                self.move_chain(&part, sha1::Sha1::new(), length(&part));
            } else if run.first {
                // Begun in the lane before this one.
                let mut state = self.shared.state();
                let chain = state.chains.defer(part.source, part.offset, bytes);
                drop(state);
                if let Some(hasher) = chain {
                    self.keep_file(part.source, chains::finish(hasher, bytes));
                }
            } else if let Some(hasher) = self.wait_for_chain(&part) {
                self.move_chain(&part, hasher, length(&part));
            }
        }
    }

    fn keep_file(&self, source: usize, hash: Sha1) {
        self.shared.state().hashes.files[source] = Some(hash);
    }

    fn move_chain(&self, part: &Part, mut hasher: sha1::Sha1, length: u64) {
        hasher.update(&self.buffer[part.at.clone()]);
        let next = part.offset + part.at.len() as u64;
        if next == length {
            self.shared.state().chains.end(part.source);
            self.keep_file(part.source, chains::finish(hasher, &[]));
            return;
        }
        let ended = self.shared.state().chains.put(part.source, next, hasher);
        self.shared.chain_moved.notify_all();
        if let Some((hasher, tail)) = ended {
            self.keep_file(part.source, chains::finish(hasher, &tail));
        }
    }

    /// Waits until the runs before this one have hashed their parts of the file. They are of the same
    /// lane, so they were taken before and wait for none that comes later: it comes to an end.
    /// `None`: all is to stop.
    fn wait_for_chain(&self, part: &Part) -> Option<sha1::Sha1> {
        let mut state = self.shared.state();
        loop {
            if self.shared.stopped() {
                return None;
            }
            if let Some(hasher) = state.chains.take(part.source, part.offset) {
                return Some(hasher);
            }
            state = self
                .shared
                .chain_moved
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

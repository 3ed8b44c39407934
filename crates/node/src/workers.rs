//! The threads that check pieces and write them.
//!
//! Hashing many pieces side by side is several times as fast as one after the other (`disk::hash`), so a
//! thread takes all that are queued for a torrent at once. Nothing is written that was not verified.

use crate::torrent::Fact;
use bytes::Bytes;
use samara_disk::check::{block_digests, pieces_ok};
use samara_disk::store::Store;
use samara_engine::{Input, PieceOutcome};
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedSender;

/// Pieces that are worth waiting for: the lanes of the widest hash kernel.
const LANES: usize = 16;
/// While a thread works for a torrent, another is not woken for fewer of its pieces than this: the first takes them together when it is back,
/// and four in the streams of the SHA instructions cost a third of one after the other.
const COMPANY: usize = 4;
/// ... unless they are this many bytes, which would wait for milliseconds.
const COMPANY_BYTES: u64 = 4 << 20;
/// Bytes of a batch beyond which it is not made larger than [`LANES`] pieces.
const BATCH_BYTES: u64 = 2 << 20;
/// Longest time that a piece waits for others. 16 pieces of 512 KiB come in 8 ms at 1 GiB/s; a batch of one
/// costs four times as much CPU a byte as one of 16.
const LINGER: Duration = Duration::from_millis(8);
/// Pieces that come less often than this, on average, are not made to wait: there would be no company.
const GAP_MAX: Duration = Duration::from_millis(2);

/// One piece, whole and in memory.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) store: Arc<Store>,
    pub(crate) piece: u32,
    pub(crate) blocks: Vec<Bytes>,
    /// Whether digests are wanted for a good piece too.
    pub(crate) digests: bool,
    pub(crate) answer: UnboundedSender<Fact>,
    pub(crate) since: Instant,
}

impl Job {
    fn bytes(&self) -> u64 {
        self.blocks.iter().map(|block| block.len() as u64).sum()
    }

    fn answer(self, outcome: PieceOutcome) {
        let piece = self.piece;
        // A torrent that has gone does not want to know.
        let _ = self
            .answer
            .send(Fact::Say(Input::PieceDone { piece, outcome }));
    }
}

/// Jobs that wait. The engine bounds them: it asks for no more than `Config::memory` holds.
#[derive(Debug, Default)]
struct Queue {
    jobs: Mutex<Jobs>,
    wake: Condvar,
}

#[derive(Debug)]
struct Jobs {
    waiting: VecDeque<Job>,
    /// Bytes of those.
    bytes: u64,
    /// The torrents for which threads hash or write, one for each such thread.
    at_work: Vec<Arc<Store>>,
    /// Average time between two jobs, the later ones weighing more.
    gap: Duration,
    last: Option<Instant>,
    closed: bool,
}

impl Default for Jobs {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            bytes: 0,
            at_work: Vec::new(),
            gap: GAP_MAX * 2,
            last: None,
            closed: false,
        }
    }
}

impl Jobs {
    fn push(&mut self, job: Job) {
        let gap = self.last.map_or(GAP_MAX * 2, |last| job.since - last);
        self.gap = (self.gap * 7 + gap.min(GAP_MAX * 8)) / 8;
        self.last = Some(job.since);
        self.bytes += job.bytes();
        self.waiting.push_back(job);
    }

    /// Whether the job that was just added is a reason to wake a thread. A torrent whose disk hangs holds up no other.
    fn wakes(&self, now: Instant) -> bool {
        let (waiting, ripe) = (self.waiting.len(), self.linger(now).is_zero());
        let added = self.waiting.back();
        if self.at_work.is_empty() {
            waiting == 1 || ripe
        } else if !added.is_some_and(|job| self.works_for(&job.store)) {
            true
        } else {
            waiting.is_multiple_of(COMPANY) && (ripe || waiting == COMPANY)
                || ripe && self.bytes >= COMPANY_BYTES
        }
    }

    fn works_for(&self, store: &Arc<Store>) -> bool {
        self.at_work.iter().any(|other| Arc::ptr_eq(other, store))
    }

    /// How long to wait for more before the oldest job is dealt with.
    fn linger(&self, now: Instant) -> Duration {
        match self.waiting.front() {
            Some(first) if self.waiting.len() < LANES && self.gap < GAP_MAX && !self.closed => {
                (first.since + LINGER).saturating_duration_since(now)
            }
            _ => Duration::ZERO,
        }
    }

    /// A batch of `store` is dealt with.
    fn done(&mut self, store: &Arc<Store>) {
        let mut at_work = self.at_work.iter();
        if let Some(place) = at_work.position(|other| Arc::ptr_eq(other, store)) {
            self.at_work.swap_remove(place);
        }
    }

    /// The oldest job, and others of the same torrent.
    fn batch(&mut self) -> Vec<Job> {
        let (mut batch, mut bytes) = (Vec::<Job>::new(), 0);
        let mut others = VecDeque::new();
        while let Some(job) = self.waiting.pop_front() {
            let alike = batch
                .first()
                .is_none_or(|first| Arc::ptr_eq(&first.store, &job.store));
            if alike && (batch.len() < LANES || bytes < BATCH_BYTES) {
                bytes += job.bytes();
                batch.push(job);
            } else {
                others.push_back(job);
            }
        }
        self.waiting = others;
        self.bytes -= bytes;
        self.at_work
            .extend(batch.first().map(|job| Arc::clone(&job.store)));
        batch
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for work that is worth doing. `None`: it is over.
    fn take(&self) -> Option<Vec<Job>> {
        let mut jobs = self.lock();
        loop {
            if jobs.waiting.is_empty() {
                if jobs.closed {
                    return None;
                }
                jobs = self.wake.wait(jobs).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let linger = jobs.linger(Instant::now());
            if linger.is_zero() {
                return Some(jobs.batch());
            }
            (jobs, _) = self
                .wake
                .wait_timeout(jobs, linger)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// The pool. Its threads end when it is dropped and the queue is empty.
#[derive(Debug)]
pub(crate) struct Workers {
    queue: Arc<Queue>,
}

impl Workers {
    /// Starts `threads` threads; 0: as many as there are cores.
    pub(crate) fn start(threads: usize) -> io::Result<Self> {
        let cores = thread::available_parallelism().map_or(1, |cores| cores.get());
        let threads = if threads == 0 { cores } else { threads };
        let queue = Arc::new(Queue::default());
        for at in 0..threads {
            let queue = Arc::clone(&queue);
            thread::Builder::new()
                .name(format!("samara-hash-{at}"))
                .spawn(move || {
                    while let Some(batch) = queue.take() {
                        let store = batch.first().map(|job| Arc::clone(&job.store));
                        process(batch);
                        if let Some(store) = store {
                            queue.lock().done(&store);
                        }
                    }
                })?;
        }
        Ok(Self { queue })
    }

    /// Queues a piece; its answer comes as [`Input::PieceDone`].
    pub(crate) fn submit(&self, job: Job) {
        let mut jobs = self.queue.lock();
        jobs.push(job);
        let wake = jobs.wakes(Instant::now());
        drop(jobs);
        if wake {
            self.queue.wake.notify_one();
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.wake.notify_all();
    }
}

/// Checks and writes the pieces of one torrent, and answers each.
fn process(mut batch: Vec<Job>) {
    let Some(first) = batch.first() else {
        return;
    };
    let store = Arc::clone(&first.store);
    let pieces: Vec<(u32, Vec<Bytes>)> = batch
        .iter_mut()
        .map(|job| (job.piece, std::mem::take(&mut job.blocks)))
        .collect();
    let checked = catch_unwind(AssertUnwindSafe(|| pieces_ok(store.info(), &pieces)));
    let Ok(checked) = checked else {
        for job in batch {
            job.answer(PieceOutcome::Disk(broken("checking", &store)));
        }
        return;
    };
    for ((job, (piece, blocks)), good) in batch.into_iter().zip(pieces).zip(checked) {
        let wants_digests = job.digests;
        let done = catch_unwind(AssertUnwindSafe(|| {
            if !good {
                return PieceOutcome::Bad(block_digests(&blocks));
            }
            match store.write_piece(piece, &blocks) {
                Ok(()) if wants_digests => PieceOutcome::Good(block_digests(&blocks)),
                Ok(()) => PieceOutcome::Good(Vec::new()),
                Err(error) => PieceOutcome::Disk(error.to_string()),
            }
        }));
        drop(blocks);
        job.answer(done.unwrap_or_else(|_| PieceOutcome::Disk(broken("writing", &store))));
    }
}

fn broken(what: &str, store: &Store) -> String {
    format!(
        "Samara itself failed while {what} \"{}\"; what was verified is kept: please report this",
        store.info().name
    )
}

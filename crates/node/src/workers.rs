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
use tokio::sync::mpsc::UnboundedSender;

/// Pieces checked at once: the lanes of the widest hash kernel.
const BATCH_MAX: usize = 16;

/// One piece, whole and in memory.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) store: Arc<Store>,
    pub(crate) piece: u32,
    pub(crate) blocks: Vec<Bytes>,
    /// Whether digests are wanted for a good piece too.
    pub(crate) digests: bool,
    pub(crate) answer: UnboundedSender<Fact>,
}

impl Job {
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

#[derive(Debug, Default)]
struct Jobs {
    waiting: VecDeque<Job>,
    closed: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for work; takes the oldest job and others of the same torrent. `None`: it is over.
    fn take(&self) -> Option<Vec<Job>> {
        let mut jobs = self.lock();
        loop {
            if let Some(first) = jobs.waiting.pop_front() {
                return Some(with_its_like(first, &mut jobs.waiting));
            }
            if jobs.closed {
                return None;
            }
            jobs = self.wake.wait(jobs).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn with_its_like(first: Job, waiting: &mut VecDeque<Job>) -> Vec<Job> {
    let mut batch = vec![first];
    let mut others = VecDeque::with_capacity(waiting.len());
    while let Some(job) = waiting.pop_front() {
        if batch.len() < BATCH_MAX && Arc::ptr_eq(&job.store, &batch[0].store) {
            batch.push(job);
        } else {
            others.push_back(job);
        }
    }
    *waiting = others;
    batch
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
                        process(batch);
                    }
                })?;
        }
        Ok(Self { queue })
    }

    /// Queues a piece; its answer comes as [`Input::PieceDone`].
    pub(crate) fn submit(&self, job: Job) {
        self.queue.lock().waiting.push_back(job);
        self.queue.wake.notify_one();
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

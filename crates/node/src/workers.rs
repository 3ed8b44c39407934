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
/// A piece that has waited this long because every thread works for other torrents gets a thread more: their disks hang.
const STUCK: Duration = Duration::from_secs(1);
/// Threads that there may be more for that.
const RELIEF_MAX: usize = 32;

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
    /// Threads that were started to stay, and those that are there now.
    regular: usize,
    threads: usize,
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
            regular: 0,
            threads: 0,
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

    /// The oldest job for whose torrent no thread works.
    fn neglected(&self) -> Option<&Job> {
        let mut waiting = self.waiting.iter();
        waiting.find(|job| !self.works_for(&job.store))
    }

    /// Whether a thread more is wanted: somebody waits, and nobody will come back soon.
    fn is_stuck(&self, now: Instant) -> bool {
        let waits = |job: &Job| now.saturating_duration_since(job.since) >= STUCK;
        self.at_work.len() >= self.threads
            && self.threads < self.regular + RELIEF_MAX
            && self.neglected().is_some_and(waits)
    }

    /// The oldest job, and others of the same torrent.
    fn batch(&mut self) -> Vec<Job> {
        let first = self.waiting.front().map(|job| Arc::clone(&job.store));
        first.map_or_else(Vec::new, |store| self.batch_of(store))
    }

    /// Jobs of one torrent, the oldest first.
    fn batch_of(&mut self, store: Arc<Store>) -> Vec<Job> {
        let (mut batch, mut bytes) = (Vec::<Job>::new(), 0);
        let mut others = VecDeque::new();
        while let Some(job) = self.waiting.pop_front() {
            let alike = Arc::ptr_eq(&store, &job.store);
            if alike && (batch.len() < LANES || bytes < BATCH_BYTES) {
                bytes += job.bytes();
                batch.push(job);
            } else {
                others.push_back(job);
            }
        }
        self.waiting = others;
        self.bytes -= bytes;
        self.at_work.push(store);
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

    /// Work for a thread that is there because others are stuck: what nobody works for. `None`: they are back.
    fn take_neglected(&self) -> Option<Vec<Job>> {
        let mut jobs = self.lock();
        loop {
            let store = jobs.neglected().map(|job| Arc::clone(&job.store));
            if let Some(store) = store {
                return Some(jobs.batch_of(store));
            }
            // Without this one.
            if jobs.closed || jobs.at_work.len() + 1 < jobs.threads {
                jobs.threads -= 1;
                // Whatever woke it may have been for another.
                self.wake.notify_one();
                return None;
            }
            jobs = self.wake.wait(jobs).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Does what `take` gives, until it gives nothing.
fn work(queue: &Queue, take: impl Fn(&Queue) -> Option<Vec<Job>>) {
    while let Some(batch) = take(queue) {
        let store = batch.first().map(|job| Arc::clone(&job.store));
        process(batch);
        if let Some(store) = store {
            queue.lock().done(&store);
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
        {
            let mut jobs = queue.lock();
            (jobs.regular, jobs.threads) = (threads, threads);
        }
        for at in 0..threads {
            let queue = Arc::clone(&queue);
            thread::Builder::new()
                .name(format!("samara-hash-{at}"))
                .spawn(move || work(&queue, Queue::take))?;
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

    /// To be called now and then by whoever waits for a piece: sees to it that disks that hang hold up no other torrent.
    pub(crate) fn relieve(&self, now: Instant) {
        let mut jobs = self.queue.lock();
        if !jobs.is_stuck(now) {
            return;
        }
        let queue = Arc::clone(&self.queue);
        let started = thread::Builder::new()
            .name("samara-hash-more".to_owned())
            .spawn(move || work(&queue, Queue::take_neglected));
        match started {
            Ok(_) => jobs.threads += 1,
            // Asked again soon.
            Err(error) => {
                tracing::warn!(%error, "all hash threads are stuck, and no other can be started")
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use samara_disk::create::{CreateRequest, create};
    use samara_disk::seam::{Action, Call, Gate, Seam, Verdict};
    use samara_disk::store::StoreOptions;
    use std::sync::atomic::AtomicBool;
    use tempfile::TempDir;
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
    use tokio::time::timeout;

    const PIECE: usize = 16 * 1024;
    /// A test that waits longer hangs.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// A disk on which writes hang until it is let go.
    #[derive(Debug, Default)]
    struct Hangs {
        /// Writes that wait; `None`: it is let go.
        waiting: Mutex<Option<usize>>,
        changed: Condvar,
    }

    impl Hangs {
        fn begin() -> Arc<Self> {
            let waiting = Mutex::new(Some(0));
            let changed = Condvar::new();
            Arc::new(Self { waiting, changed })
        }

        fn until_waiting(&self, writes: usize) {
            let waiting = self.waiting.lock().expect("whole");
            let fewer = |waiting: &mut Option<usize>| waiting.is_some_and(|now| now < writes);
            let waited = self.changed.wait_timeout_while(waiting, PATIENCE, fewer);
            let late = waited.expect("whole").1;
            assert!(!late.timed_out(), "nobody writes");
        }

        fn let_go(&self) {
            *self.waiting.lock().expect("whole") = None;
            self.changed.notify_all();
        }
    }

    impl Gate for Hangs {
        fn pass(&self, call: &Call<'_>) -> Verdict {
            if matches!(call.action, Action::Write { .. }) {
                let mut waiting = self.waiting.lock().expect("whole");
                *waiting = waiting.map(|now| now + 1);
                self.changed.notify_all();
                drop(self.changed.wait_while(waiting, |now| now.is_some()));
            }
            Verdict::Pass
        }
    }

    /// A torrent that is being downloaded, all bytes of one value.
    struct Download {
        _dir: TempDir,
        store: Arc<Store>,
        value: u8,
        answer: UnboundedSender<Fact>,
        answers: UnboundedReceiver<Fact>,
    }

    impl Download {
        fn begin(value: u8, seam: Seam) -> Self {
            let dir = TempDir::new().expect("folder");
            let path = dir.path().join("whole");
            std::fs::write(&path, vec![value; 8 * PIECE]).expect("written");
            let mut request = CreateRequest::new(&path);
            request.piece_size = Some(PIECE as u32);
            let made = create(&request, &|_| {}, &AtomicBool::new(false)).expect("made");
            let (info, root) = (Arc::new(made.metainfo.info), dir.path().join("copy"));
            let store = Store::open_at(info, &root, StoreOptions::default(), seam).expect("opened");
            let (answer, answers) = unbounded_channel();
            Self {
                store: Arc::new(store),
                _dir: dir,
                value,
                answer,
                answers,
            }
        }

        fn submit(&self, workers: &Workers, piece: u32) {
            workers.submit(Job {
                store: Arc::clone(&self.store),
                piece,
                blocks: vec![Bytes::from(vec![self.value; PIECE])],
                digests: false,
                answer: self.answer.clone(),
                since: Instant::now(),
            });
        }

        /// Waits for one piece, which is hashed and written.
        async fn written(&mut self) {
            let answer = timeout(PATIENCE, self.answers.recv()).await;
            let fact = answer.expect("it is not held up").expect("an answer");
            let Fact::Say(Input::PieceDone { piece, outcome }) = fact else {
                panic!("a piece was asked for: {fact:?}");
            };
            assert!(matches!(outcome, PieceOutcome::Good(_)), "{outcome:?}");
            let mut bytes = vec![0; PIECE];
            let start = u64::from(piece) * PIECE as u64;
            self.store.read_range(start, &mut bytes).expect("there");
            assert!(bytes.iter().all(|byte| *byte == self.value));
        }
    }

    fn hanging(value: u8) -> (Arc<Hangs>, Download) {
        let disk = Hangs::begin();
        let gate = Seam::with(Arc::clone(&disk) as Arc<dyn Gate>);
        (disk, Download::begin(value, gate))
    }

    #[tokio::test]
    async fn a_disk_that_hangs_holds_up_no_piece_of_another_torrent() {
        let workers = Workers::start(2).expect("started");
        let (disk, mut stuck) = hanging(1);
        stuck.submit(&workers, 0);
        disk.until_waiting(1);
        // One at a time: no piece has the company for which threads of the same torrent wait. More than once: the first may
        // find a thread that has only just been started, and needs nobody to wake it.
        let mut other = Download::begin(2, Seam::default());
        for piece in 0..8 {
            other.submit(&workers, piece);
            other.written().await;
        }
        disk.let_go();
        stuck.written().await;
    }

    #[tokio::test]
    async fn disks_on_which_all_threads_hang_hold_up_no_other() {
        let workers = Workers::start(2).expect("started");
        let (first_disk, mut first) = hanging(1);
        let (second_disk, mut second) = hanging(2);
        first.submit(&workers, 0);
        first_disk.until_waiting(1);
        second.submit(&workers, 0);
        second_disk.until_waiting(1);
        // What waits for the disks that hang is older than what could be done.
        first.submit(&workers, 1);
        second.submit(&workers, 1);
        let mut other = Download::begin(3, Seam::default());
        for piece in 0..8 {
            other.submit(&workers, piece);
            workers.relieve(Instant::now() + STUCK);
            other.written().await;
        }
        assert_eq!(workers.queue.lock().threads, 3, "one more is enough");
        for (disk, stuck) in [(first_disk, &mut first), (second_disk, &mut second)] {
            disk.let_go();
            stuck.written().await;
            stuck.written().await;
        }
    }
}

//! When the journal is written: often enough that a kill costs little, seldom enough that the disk does
//! not notice, and never on a network thread.

use super::{Bus, Fact, TorrentEvent};
use samara_disk::resume::{Journal, JournalError};
use samara_disk::store::Store;
use samara_engine::Input;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// A verified piece is in the journal after this long at the latest.
const COMMIT_EVERY: Duration = Duration::from_secs(2);
/// ... or when this many bytes wait for it: what a kill can cost at most on a fast network.
const COMMIT_BYTES: u64 = 64 << 20;

/// What a commit gives back: the journal, and what went wrong in words.
type Done = (Box<Journal>, Option<String>);

/// Where the journal is. It has one owner at a time, so that it is closed, and its lock gone, when the
/// torrent says that it has ended.
#[derive(Debug)]
enum Place {
    /// Nothing is written in this mode.
    Nowhere,
    Here(Box<Journal>),
    /// With a commit under way.
    Away(oneshot::Receiver<Done>),
}

/// Collects what is to be recorded, and commits it on blocking threads, one commit at a time.
#[derive(Debug)]
pub(super) struct Keeper {
    journal: Place,
    facts: UnboundedSender<Fact>,
    /// Pieces that are not with the journal yet. At most as many as the torrent has.
    pieces: Vec<u32>,
    /// Pieces that were recorded and turned out to be wrong on disk.
    rejected: Vec<u32>,
    /// Pieces that were found to be right on disk, and may not be durable.
    adopted: Vec<u32>,
    /// Files that were in doubt and have been hashed.
    settled: Vec<u32>,
    bytes: u64,
    /// When the first of them came.
    since: Option<Instant>,
    /// All whole files were checked, in this run or before.
    complete: bool,
    /// The last warning, which is not repeated.
    warned: Option<String>,
}

impl Keeper {
    pub(super) fn new(
        journal: Option<Journal>,
        complete: bool,
        facts: UnboundedSender<Fact>,
    ) -> Self {
        Self {
            journal: journal.map_or(Place::Nowhere, |journal| Place::Here(Box::new(journal))),
            facts,
            pieces: Vec::new(),
            rejected: Vec::new(),
            adopted: Vec::new(),
            settled: Vec::new(),
            bytes: 0,
            since: None,
            complete,
            warned: None,
        }
    }

    pub(super) fn record(&mut self, piece: u32, bytes: u64) {
        self.pieces.push(piece);
        self.bytes += bytes;
        self.since.get_or_insert_with(Instant::now);
    }

    /// Pieces that are not what they were when they were recorded.
    pub(super) fn reject(&mut self, pieces: &[u32]) {
        self.pieces.retain(|piece| !pieces.contains(piece));
        self.rejected.extend_from_slice(pieces);
        self.complete = false;
        self.since.get_or_insert_with(Instant::now);
    }

    /// Files that somebody else had changed were hashed.
    pub(super) fn rechecked(
        &mut self,
        store: &Arc<Store>,
        files: &[u32],
        good: &[u32],
        bad: &[u32],
    ) {
        if matches!(self.journal, Place::Nowhere) {
            let (store, files) = (Arc::clone(store), files.to_vec());
            tokio::task::spawn_blocking(move || settle(&store, files));
            return;
        }
        if !bad.is_empty() {
            self.reject(bad);
        }
        self.adopted.extend_from_slice(good);
        self.settled.extend_from_slice(files);
        self.since.get_or_insert_with(Instant::now);
    }

    /// Takes what waits into the journal. A piece that was rejected may have been fetched again since.
    fn news(&mut self) -> impl FnOnce(&mut Journal, &Store) + use<> {
        let rejected = std::mem::take(&mut self.rejected);
        let adopted = std::mem::take(&mut self.adopted);
        let settled = std::mem::take(&mut self.settled);
        let (pieces, complete) = (std::mem::take(&mut self.pieces), self.complete);
        move |journal, store| {
            journal.reject(rejected);
            // After what is wrong in them was taken out, and never beside a commit: what is known of a
            // file is what a journal that still holds those pieces must not be given.
            settle(store, settled);
            journal.adopt(store, adopted);
            journal.record(pieces);
            journal.mark_complete(complete && journal.have().is_full());
        }
    }

    /// When a commit is due; `None` if there is nothing to commit, or one is under way.
    pub(super) fn due(&self) -> Option<Instant> {
        let here = matches!(self.journal, Place::Here(_));
        let since = self.since.filter(|_| here)?;
        if self.bytes >= COMMIT_BYTES {
            Some(since)
        } else {
            Some(since + COMMIT_EVERY)
        }
    }

    pub(super) fn commit_if_due(&mut self, store: &Arc<Store>) {
        if self.due().is_some_and(|due| due <= Instant::now()) {
            self.commit(store);
        }
    }

    /// Everything is here and checked: the journal is to say so at once.
    pub(super) fn completed(&mut self, store: &Arc<Store>) {
        self.complete = true;
        self.commit(store);
    }

    /// Commits now, or as soon as the commit that is under way is done.
    pub(super) fn commit(&mut self, store: &Arc<Store>) {
        self.bytes = COMMIT_BYTES;
        self.since.get_or_insert_with(Instant::now);
        match std::mem::replace(&mut self.journal, Place::Nowhere) {
            Place::Here(mut journal) => {
                let news = self.news();
                let (store, facts) = (Arc::clone(store), self.facts.clone());
                let (give_back, done) = oneshot::channel();
                self.bytes = 0;
                self.since = None;
                self.journal = Place::Away(done);
                tokio::task::spawn_blocking(move || {
                    news(&mut journal, &store);
                    let failed = journal.commit(&store).err();
                    let lost = matches!(&failed, Some(JournalError::Data(_)));
                    let text = failed.map(|error| error.to_string());
                    if let Some(text) = text.clone().filter(|_| lost) {
                        // A journal can wait for a better moment; data that cannot be made durable are
                        // not there, whatever the next sync says.
                        let _ = facts.send(Fact::Say(Input::DiskFailed(text)));
                    }
                    let _ = give_back.send((journal, text.filter(|_| !lost)));
                    let _ = facts.send(Fact::Journaled);
                });
            }
            elsewhere => self.journal = elsewhere,
        }
    }

    /// A commit is done.
    pub(super) fn committed(&mut self, bus: &Bus) {
        if let Place::Away(done) = &mut self.journal
            && let Ok((journal, warning)) = done.try_recv()
        {
            self.journal = Place::Here(journal);
            self.warn(warning, bus);
        }
    }

    fn warn(&mut self, warning: Option<String>, bus: &Bus) {
        if let Some(text) = warning
            && self.warned.as_ref() != Some(&text)
        {
            tracing::warn!("{text}");
            bus.say(TorrentEvent::Notice(text.clone()));
            self.warned = Some(text);
        }
    }

    /// The last commit, after everything else. The journal is closed when this returns.
    pub(super) async fn close(&mut self, store: &Arc<Store>, bus: &Bus) {
        let mut journal = match std::mem::replace(&mut self.journal, Place::Nowhere) {
            Place::Nowhere => return,
            Place::Here(journal) => journal,
            Place::Away(done) => {
                let Ok((journal, warning)) = done.await else {
                    return; // the commit has panicked, and has said so
                };
                self.warn(warning, bus);
                journal
            }
        };
        let (news, complete) = (self.news(), self.complete);
        let store = Arc::clone(store);
        let closing = tokio::task::spawn_blocking(move || {
            news(&mut journal, &store);
            journal.finish(&store, complete).err()
        });
        let warning = match closing.await {
            Ok(failed) => failed.map(|error| error.to_string()),
            Err(error) => Some(format!("the journal could not be written: {error}")),
        };
        self.warn(warning, bus);
    }
}

/// A file that was changed again meanwhile stays in doubt, and is found at the next look.
fn settle(store: &Store, files: Vec<u32>) {
    for file in files {
        store.settle(file);
    }
}

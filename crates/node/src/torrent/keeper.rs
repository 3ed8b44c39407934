//! When the journal is written: often enough that a kill costs little, seldom enough that the disk does
//! not notice, and never on a network thread.

use super::{Bus, Fact, TorrentEvent};
use samara_disk::resume::Journal;
use samara_disk::store::Store;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

/// A verified piece is in the journal after this long at the latest.
const COMMIT_EVERY: Duration = Duration::from_secs(2);
/// ... or when this many bytes wait for it: what a kill can cost at most on a fast network.
const COMMIT_BYTES: u64 = 64 << 20;

/// Collects what is to be recorded, and commits it on blocking threads, one commit at a time.
#[derive(Debug)]
pub(super) struct Keeper {
    /// `None`: nothing is written in this mode.
    journal: Option<Arc<Mutex<Journal>>>,
    facts: UnboundedSender<Fact>,
    /// Pieces that are not with the journal yet. At most as many as the torrent has.
    pieces: Vec<u32>,
    bytes: u64,
    /// When the first of them came.
    since: Option<Instant>,
    busy: bool,
    complete: bool,
    /// The last warning, which is not repeated.
    warned: Option<String>,
}

impl Keeper {
    pub(super) fn new(journal: Option<Journal>, facts: UnboundedSender<Fact>) -> Self {
        Self {
            journal: journal.map(|journal| Arc::new(Mutex::new(journal))),
            facts,
            pieces: Vec::new(),
            bytes: 0,
            since: None,
            busy: false,
            complete: false,
            warned: None,
        }
    }

    pub(super) fn record(&mut self, piece: u32, bytes: u64) {
        self.pieces.push(piece);
        self.bytes += bytes;
        self.since.get_or_insert_with(Instant::now);
    }

    /// When a commit is due; `None` if there is nothing to commit, or one is under way.
    pub(super) fn due(&self) -> Option<Instant> {
        let since = self.since.filter(|_| !self.busy)?;
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
        let now = Instant::now();
        self.since.get_or_insert(now);
        if self.busy {
            return;
        }
        let Some(work) = self.work(store) else {
            return;
        };
        self.busy = true;
        let facts = self.facts.clone();
        tokio::task::spawn_blocking(move || {
            let _ = facts.send(Fact::Journaled(work()));
        });
    }

    fn work(&mut self, store: &Arc<Store>) -> Option<impl FnOnce() -> Option<String> + use<>> {
        let pieces = std::mem::take(&mut self.pieces);
        self.bytes = 0;
        self.since = None;
        let journal = Arc::clone(self.journal.as_ref()?);
        let (store, complete) = (Arc::clone(store), self.complete);
        Some(move || {
            let mut journal = journal.lock().unwrap_or_else(PoisonError::into_inner);
            journal.record(pieces);
            if complete {
                journal.mark_complete(true);
            }
            journal.commit(&store).err().map(|error| error.to_string())
        })
    }

    /// A commit is done.
    pub(super) fn committed(&mut self, warning: Option<String>, bus: &Bus) {
        self.busy = false;
        self.warn(warning, bus);
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

    /// The last commit, after everything else. A commit under way holds the journal until it is done.
    pub(super) async fn close(&mut self, store: &Arc<Store>, bus: &Bus) {
        let Some(work) = self.work(store) else {
            return;
        };
        let warning = match tokio::task::spawn_blocking(work).await {
            Ok(warning) => warning,
            Err(error) => Some(format!("the journal could not be written: {error}")),
        };
        self.warn(warning, bus);
        self.journal = None;
    }
}

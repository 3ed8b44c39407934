//! Opening a torrent: the journal, the files, and what must be hashed again. Runs on a blocking thread.

use super::{Mode, Outcome, Shared, TorrentEvent, recording};
use crate::error::NodeError;
use samara_disk::check::{CheckError, Control, verify_some};
use samara_disk::resume::{BeginError, Journal, begin};
use samara_disk::seam::Seam;
use samara_disk::store::{DiskError, JOURNAL_FOLDER, Store, StoreOptions};
use samara_proto::Bitfield;
use samara_proto::metainfo::Info;
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Shortest time between two events of progress.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// What is needed to open a torrent.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) info: Arc<Info>,
    pub(super) root: PathBuf,
    pub(super) mode: Mode,
    pub(super) trust_existing: bool,
    pub(super) preallocate: bool,
    pub(super) record: Option<PathBuf>,
    pub(super) threads: usize,
    pub(super) seam: Seam,
    pub(super) shared: Arc<Shared>,
}

/// An open torrent.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) store: Arc<Store>,
    pub(super) journal: Option<Journal>,
    pub(super) have: Bitfield,
    /// Whole files need no checking any more.
    pub(super) files_checked: bool,
    /// The file of the recording, if there is to be one.
    pub(super) record: Option<(PathBuf, File)>,
}

/// Why a torrent is not opened.
#[derive(Debug)]
pub(super) enum Failure {
    /// It was told to stop.
    Cancelled,
    /// The data to be seeded are not those of the torrent.
    Mismatch(Outcome),
    Error(NodeError),
}

impl From<DiskError> for Failure {
    fn from(error: DiskError) -> Self {
        Self::Error(NodeError::disk(&error))
    }
}

impl From<CheckError> for Failure {
    fn from(error: CheckError) -> Self {
        match error {
            CheckError::Cancelled => Self::Cancelled,
            CheckError::Disk(error) => error.into(),
        }
    }
}

impl From<BeginError> for Failure {
    fn from(error: BeginError) -> Self {
        match error {
            BeginError::Journal(error) => Self::Error(NodeError::Disk(error.to_string())),
            BeginError::Check(error) => error.into(),
        }
    }
}

pub(super) fn open(opening: &Opening) -> Result<Opened, Failure> {
    // First: what cannot be recorded is not worth hashing everything for.
    let record = match &opening.record {
        Some(path) => Some((
            path.clone(),
            recording::create(path).map_err(Failure::Error)?,
        )),
        None => None,
    };
    let opened = match opening.mode {
        Mode::Get => open_to_get(opening),
        Mode::Seed => open_to_seed(opening),
    };
    Ok(Opened { record, ..opened? })
}

fn open_to_get(opening: &Opening) -> Result<Opened, Failure> {
    let begun = begin(
        &opening.info,
        &opening.root,
        StoreOptions {
            preallocate: opening.preallocate,
            ..StoreOptions::default()
        },
        &opening.seam,
        |text| opening.warn(text),
        |store, suspects| opening.check(store, suspects),
    )?;
    Ok(Opened {
        store: Arc::new(begun.store),
        journal: Some(begun.journal),
        have: begun.have,
        files_checked: begun.complete,
        record: None,
    })
}

fn open_to_seed(opening: &Opening) -> Result<Opened, Failure> {
    let info = &opening.info;
    let options = StoreOptions {
        follow_links: true,
        ..StoreOptions::read_only()
    };
    let seam = opening.seam.clone();
    let store = Store::open_at(Arc::clone(info), &opening.root, options, seam)?;
    let all = Bitfield::full(info.geometry.pieces());
    let have = if opening.trust_existing {
        all
    } else {
        let known = opening.known_to_journal(&store);
        let mut suspects = all;
        for piece in known.iter() {
            suspects.clear(piece);
        }
        let right = opening.check(&store, &suspects)?;
        if let Some(outcome) = mismatch(&store, &suspects, &right) {
            return Err(Failure::Mismatch(outcome));
        }
        Bitfield::full(info.geometry.pieces())
    };
    Ok(Opened {
        store: Arc::new(store),
        journal: None,
        have,
        files_checked: true,
        record: None,
    })
}

impl Opening {
    /// What a download into the same folder has verified, and what has not changed since. A journal is
    /// only read here: seeding leaves nothing behind in somebody's folder.
    fn known_to_journal(&self, store: &Store) -> Bitfield {
        let none = Bitfield::empty(self.info.geometry.pieces());
        let name = format!("{}.redb", self.info.info_hash());
        if !self.root.join(JOURNAL_FOLDER).join(name).is_file() {
            return none;
        }
        match Journal::open_at(Arc::clone(&self.info), &self.root, self.seam.clone()) {
            Ok((mut journal, recovered)) => {
                let mut have = recovered.have;
                for piece in journal.confirm(store).iter() {
                    have.clear(piece);
                }
                have
            }
            Err(_) => none,
        }
    }

    fn warn(&self, text: String) {
        tracing::warn!("{text}");
        self.shared.bus.say(TorrentEvent::Notice(text));
    }

    /// Which of `pieces` are right on disk.
    fn check(&self, store: &Store, pieces: &Bitfield) -> Result<Bitfield, CheckError> {
        if pieces.count() == 0 {
            return Ok(pieces.clone());
        }
        let geometry = &self.info.geometry;
        let total = pieces
            .iter()
            .map(|piece| u64::from(geometry.data_len(piece)))
            .sum();
        let done = AtomicU64::new(0);
        let said = Mutex::new(Instant::now());
        let say = |done: u64| {
            let done = done.min(total);
            self.shared.bus.say(TorrentEvent::Verifying { done, total });
        };
        say(0);
        let progress = |bytes: u64| {
            let done = done.fetch_add(bytes, Ordering::Relaxed) + bytes;
            let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
            if said.elapsed() >= PROGRESS_EVERY {
                *said = Instant::now();
                say(done);
            }
        };
        let control = Control {
            threads: self.threads,
            progress: &progress,
            cancel: &self.shared.cancel,
        };
        let right = verify_some(store, pieces, control)?;
        say(total);
        Ok(right)
    }
}

/// What is wrong with data that are to be seeded, if anything.
fn mismatch(store: &Store, suspects: &Bitfield, right: &Bitfield) -> Option<Outcome> {
    let info = store.info();
    let wrong: Vec<u32> = suspects.iter().filter(|piece| !right.get(*piece)).collect();
    let first = *wrong.first()?;
    let pieces = info.geometry.pieces();
    let start = info.geometry.piece_start(first);
    let len = u64::from(info.geometry.data_len(first));
    let file = store.layout().files_in(start, len).next();
    let path = file.and_then(|file| store.path(file)).unwrap_or_default();
    let missing = file.is_some_and(|file| store.fingerprint(file).is_none());
    let what = if missing {
        "is missing"
    } else {
        "differs from the torrent"
    };
    Some(Outcome::Mismatch {
        have: pieces - wrong.len() as u32,
        pieces,
        message: format!(
            "{} {what} ({} of {pieces} pieces are wrong)",
            path.display(),
            wrong.len()
        ),
    })
}

//! What somebody else does to the files while we run: they are looked at every few seconds, and one that is
//! not what it was is hashed again. Until it has been, nothing of it is served.
//!
//! While downloading, pieces that were spoilt are fetched again. A file that was taken away or replaced, and
//! anything that is wrong in data that are only seeded, is for people to say what is meant: the torrent ends
//! with one line.

use super::driver::Driver;
use super::{Fact, Mode, TorrentEvent};
use samara_disk::check::{CheckError, Control, verify_some};
use samara_disk::store::{Change, Store};
use samara_engine::Input;
use samara_proto::Bitfield;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Between two looks. Names and times of files come out of the kernel's memory: a look at 256 files is under
/// 1 ms of a core, and wakes no disk.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The same while nobody is connected, so that an idle seed sleeps. Whoever comes is a reason to look.
const LOOK_IDLE: Duration = Duration::from_secs(15);

/// When the files were looked at.
#[derive(Debug)]
pub(super) struct Lookout {
    /// `None`: somebody is looking, or hashing what was changed.
    last: Option<Instant>,
}

impl Lookout {
    pub(super) fn new() -> Self {
        Self {
            last: Some(Instant::now()),
        }
    }

    fn again(&mut self) {
        self.last = Some(Instant::now());
    }

    /// When to look next; `None` if that is under way.
    pub(super) fn due(&self, idle: bool) -> Option<Instant> {
        let pause = if idle { LOOK_IDLE } else { LOOK_EVERY };
        self.last.map(|last| last + pause)
    }
}

/// What became of files that were changed.
#[derive(Debug)]
pub(crate) struct Rechecked {
    files: Vec<u32>,
    /// What was hashed, and what of it is right; the text of a disk that could not be read. `None`: it was
    /// told to stop.
    outcome: Option<Result<(Bitfield, Bitfield), String>>,
}

impl Driver {
    pub(super) fn look_if_due(&mut self) {
        let due = self.lookout.due(self.links.is_empty());
        if due.is_none_or(|at| at > Instant::now()) {
            return;
        }
        self.lookout.last = None;
        let (store, facts) = (Arc::clone(&self.store), self.setting.shared.facts.clone());
        tokio::task::spawn_blocking(move || {
            let _ = facts.send(Fact::Looked(store.look()));
        });
    }

    pub(super) fn looked(&mut self, changes: &[(u32, Change)]) {
        let is_lost = |change: &&(u32, Change)| change.1 != Change::Altered;
        if let Some((file, change)) = changes.iter().find(is_lost) {
            let text = lost(&self.store, *file, *change);
            self.lookout.again();
            return self.say(Input::DiskFailed(text));
        }
        let files: Vec<u32> = changes.iter().map(|(file, _)| *file).collect();
        let Some(first) = files.first() else {
            return self.lookout.again();
        };
        let path = self.store.path(*first).unwrap_or_default();
        let others = match files.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let notice = format!(
            "{}{others} changed on disk, and not by us: checking it again",
            path.display()
        );
        tracing::warn!("{notice}");
        self.setting.shared.bus.say(TorrentEvent::Notice(notice));
        self.recheck(files);
    }

    /// Hashes every piece of these files, on threads of its own.
    fn recheck(&self, files: Vec<u32>) {
        let (store, shared) = (Arc::clone(&self.store), Arc::clone(&self.setting.shared));
        let threads = self.setting.hash_threads;
        let facts = shared.facts.clone();
        tokio::task::spawn_blocking(move || {
            let control = Control {
                threads,
                progress: &|_| {},
                cancel: &shared.cancel,
            };
            let mut pieces = Bitfield::empty(store.info().geometry.pieces());
            for &file in &files {
                store.begin_recheck(file);
                for piece in pieces_of(&store, file) {
                    pieces.set(piece);
                }
            }
            let outcome = match verify_some(&store, &pieces, control) {
                Ok(right) => Some(Ok((pieces, right))),
                Err(CheckError::Cancelled) => None,
                Err(CheckError::Disk(error)) => Some(Err(error.to_string())),
            };
            let _ = facts.send(Fact::Rechecked(Rechecked { files, outcome }));
        });
    }

    pub(super) fn rechecked(&mut self, found: Rechecked) {
        self.lookout.again();
        let (looked_at, right) = match found.outcome {
            None => return,
            Some(Err(text)) => return self.say(Input::DiskFailed(text)),
            Some(Ok(outcome)) => outcome,
        };
        // A piece that is not here is not right either, and that is no news.
        let here = |piece: &u32| self.has(*piece);
        let (good, bad): (Vec<u32>, Vec<u32>) = looked_at
            .iter()
            .filter(here)
            .partition(|piece| right.get(*piece));
        if self.mode == Mode::Seed && !bad.is_empty() {
            let text = spoilt(&self.store, &found.files, bad.len());
            return self.say(Input::DiskFailed(text));
        }
        self.keeper
            .rechecked(&self.store, &found.files, &good, &bad);
        if !bad.is_empty() {
            self.say(Input::PiecesLost(bad));
        }
    }
}

fn pieces_of(store: &Store, file: u32) -> std::ops::Range<u32> {
    let entry = store.info().files.get(file as usize);
    entry.map_or(0..0, |entry| {
        store.layout().pieces_of(entry.offset, entry.length)
    })
}

fn lost(store: &Store, file: u32, change: Change) -> String {
    let path = store.path(file).unwrap_or_default();
    let what = match change {
        Change::Gone => "was taken away",
        Change::Replaced | Change::Altered => "was replaced by another file",
    };
    format!(
        "{} {what} while it was in use; run the same command again to check what is there",
        path.display()
    )
}

fn spoilt(store: &Store, files: &[u32], pieces: usize) -> String {
    let first = files.first().and_then(|file| store.path(*file));
    format!(
        "{} was changed while it was seeded, and {pieces} of its pieces are not those of the torrent any more; \
         `samara get` with the same torrent mends it",
        first.unwrap_or_default().display()
    )
}

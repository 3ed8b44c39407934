//! The journal: which pieces were verified, so that a download that was stopped or killed goes on
//! where it was, and a seed starts without hashing everything again.
//!
//! One small database a torrent, at `.samara/<info-hash>.redb` below the folder of the download. A
//! commit makes the data durable first, and only then says so, in one transaction: which pieces, and
//! what their files looked like ([`Fingerprint`]). When it is opened again, a piece is
//!
//! * *trusted*, if all its files look as they did;
//! * to be *rechecked*, if a file was written, cut or replaced since, be it by us between the last
//!   commit and a kill or by somebody else. Until it has been, the journal goes on to vouch for
//!   nothing but that it once was right, so that a second kill loses nothing either;
//! * forgotten, if a file is gone.
//!
//! A journal is a convenience: one that is damaged, foreign or cannot be written costs a check of the
//! data, or the next start, and never stops a download.

mod backend;
mod begin;
mod table;

pub use begin::{BeginError, Begun, begin};
#[cfg(any(test, fuzzing))]
pub(crate) use table::write_rows;

use crate::seam::{Action, Seam};
use crate::store::{DiskError, Fingerprint, JOURNAL_FOLDER, Layout, Root, Store, fingerprint};
use redb::Database;
use samara_proto::Bitfield;
use samara_proto::metainfo::Info;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{error, fmt};
use table::{Saved, TableError};

/// What a journal knew when it was opened.
#[derive(Debug)]
pub struct Recovered {
    /// Pieces that need no checking.
    pub have: Bitfield,
    /// Pieces that were right once and whose files have changed since: to be hashed, and then
    /// recorded or rejected.
    pub recheck: Bitfield,
    /// There was no usable journal. Data may be there all the same.
    pub fresh: bool,
    /// The torrent was finished: all pieces and all whole files were checked, and no file has changed
    /// since.
    pub complete: bool,
    /// Something that the user should know, in one line.
    pub warning: Option<String>,
}

/// Why a journal could not be opened or written.
#[derive(Debug)]
pub enum JournalError {
    /// Another process, or another part of this one, has it open.
    Busy {
        /// The journal.
        path: PathBuf,
    },
    /// The data could not be made durable, so that nothing was recorded.
    Data(DiskError),
    /// The journal itself could not be written. What was recorded is kept for the next commit.
    Write {
        /// The journal.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy { path } => {
                let folder = path.parent().and_then(Path::parent).unwrap_or(path);
                write!(
                    f,
                    "another samara is already downloading here ({} in {} is locked); stop it, or \
                     choose another folder",
                    path.file_name().unwrap_or_default().display(),
                    folder.display()
                )
            }
            Self::Data(error) => error.fmt(f),
            Self::Write { path, reason } => write!(
                f,
                "cannot write the journal {}: {reason}; the download goes on, but a restart will \
                 have to check what was written since",
                path.display()
            ),
        }
    }
}

impl error::Error for JournalError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Data(error) => Some(error),
            Self::Busy { .. } | Self::Write { .. } => None,
        }
    }
}

/// An open journal. It belongs to one thread at a time; the lock on its file keeps other processes
/// out as long as it lives.
#[derive(Debug)]
pub struct Journal {
    /// `None`: not to be had (any more). Tried again at every commit.
    database: Option<Database>,
    path: PathBuf,
    info: Arc<Info>,
    layout: Layout,
    have: Bitfield,
    /// Pieces that wait for their recheck.
    suspect: Bitfield,
    complete: bool,
    /// What is in the database.
    saved: Saved,
    /// Files whose fingerprint in the database is out of date.
    touched: BTreeSet<u32>,
    seam: Seam,
}

impl Journal {
    /// Opens the journal of a torrent below `root`, or begins one, and compares the files with what it
    /// says. May be called before or after the [`Store`] is opened.
    ///
    /// # Errors
    /// Only [`JournalError::Busy`]. Everything else is a warning, and costs a check.
    pub fn open(info: Arc<Info>, root: &Path) -> Result<(Self, Recovered), JournalError> {
        Self::open_at(info, root, Seam::default())
    }

    /// The same with a seam.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn open_at(
        info: Arc<Info>,
        root: &Path,
        seam: Seam,
    ) -> Result<(Self, Recovered), JournalError> {
        let name = format!("{}.redb", info.info_hash());
        let path = root.join(JOURNAL_FOLDER).join(name);
        let identity = table::identity(&info);
        let (database, found, warning) = match table::open(&path, &identity, &info, &seam) {
            Ok((database, found)) => (Some(database), found, None),
            Err(TableError::Busy) => return Err(JournalError::Busy { path }),
            Err(TableError::Unwritable(reason)) => {
                let found = table::read_only(&path, &identity, &info);
                let warning = format!(
                    "the journal {} cannot be written ({reason}): a restart will check the data again",
                    path.display()
                );
                (None, found, Some(warning))
            }
            Err(TableError::Unusable(reason)) => {
                let (database, kept) = replace(&path, &identity, &info, &seam)?;
                let warning = format!(
                    "the journal {} cannot be used ({reason}): the data will be checked{kept}",
                    path.display()
                );
                (database, None, Some(warning))
            }
        };
        let mut journal = Self {
            layout: Layout::new(&info),
            have: Bitfield::empty(info.geometry.pieces()),
            suspect: Bitfield::empty(info.geometry.pieces()),
            complete: false,
            saved: Saved::empty(&info),
            touched: BTreeSet::new(),
            database,
            path,
            info,
            seam,
        };
        let fresh = found.is_none();
        let mut complete = false;
        if let Some(found) = found {
            complete = found.complete;
            journal.saved = found;
            journal.compare(root);
        }
        journal.complete = complete && journal.have.is_full();
        let recovered = Recovered {
            have: journal.have.clone(),
            recheck: journal.suspect.clone(),
            fresh,
            complete: journal.complete,
            warning,
        };
        Ok((journal, recovered))
    }

    /// Sorts what is saved into trusted, suspect and gone.
    fn compare(&mut self, root: &Path) {
        self.have = self.saved.have.clone();
        self.suspect = self.saved.suspect.clone();
        let Ok(root) = Root::open(root, false, true, self.seam.clone()) else {
            self.have = Bitfield::empty(self.have.len());
            self.suspect = self.have.clone();
            return;
        };
        let mut gone = Vec::new();
        for (file, index) in self.info.files.iter().zip(0u32..) {
            let pieces = self.layout.pieces_of(file.offset, file.length);
            if !pieces
                .clone()
                .any(|piece| self.have.get(piece) || self.suspect.get(piece))
            {
                continue;
            }
            match fingerprint(&root, file) {
                None => gone.push(pieces),
                Some(found) if self.saved.files.get(&index) == Some(&found) => {}
                Some(_) => {
                    for piece in pieces {
                        if self.have.clear(piece) {
                            self.suspect.set(piece);
                        }
                    }
                }
            }
        }
        for piece in gone.into_iter().flatten() {
            self.have.clear(piece);
            self.suspect.clear(piece);
        }
    }

    /// Pieces that were verified and are written. They are in the journal after the next commit.
    pub fn record(&mut self, pieces: impl IntoIterator<Item = u32>) {
        let geometry = &self.info.geometry;
        for piece in pieces
            .into_iter()
            .filter(|&piece| piece < geometry.pieces())
        {
            self.suspect.clear(piece);
            if self.have.set(piece) {
                let start = geometry.piece_start(piece);
                let len = u64::from(geometry.data_len(piece));
                self.touched.extend(self.layout.files_in(start, len));
            }
        }
    }

    /// Pieces that were found to be right on disk, rather than written through `store`: by an earlier run
    /// that was killed, by another program. They are in the journal after the next commit, which makes
    /// them durable first: who wrote them may not have.
    pub fn adopt(&mut self, store: &Store, pieces: impl IntoIterator<Item = u32>) {
        let geometry = &self.info.geometry;
        let pieces: Vec<u32> = pieces
            .into_iter()
            .filter(|&piece| piece < geometry.pieces())
            .collect();
        let mut files = BTreeSet::new();
        for &piece in &pieces {
            let start = geometry.piece_start(piece);
            let len = u64::from(geometry.data_len(piece));
            files.extend(self.layout.files_in(start, len));
        }
        for file in files {
            store.mark_unsynced(file);
        }
        self.record(pieces);
    }

    /// Compares once more, now that the store has looked at the files and sees every change from here on:
    /// pieces that are no longer to be trusted, because a file was changed just now. For between the
    /// opening of the two.
    pub fn confirm(&mut self, store: &Store) -> Bitfield {
        let mut late = Bitfield::empty(self.have.len());
        for (file, index) in self.info.files.iter().zip(0u32..) {
            if self.saved.files.get(&index).copied() == store.known(index) {
                continue;
            }
            for piece in self.layout.pieces_of(file.offset, file.length) {
                if self.have.clear(piece) {
                    self.suspect.set(piece);
                    late.set(piece);
                }
            }
        }
        self.complete &= self.have.is_full();
        late
    }

    /// Files that are not what they were at the last commit, or were not there.
    pub(crate) fn unfit(&self, store: &Store) -> Vec<u32> {
        let files = 0..self.info.files.len() as u32;
        let fits = |file: &u32| self.saved.files.get(file).copied() == store.known(*file);
        files.filter(|file| !fits(file)).collect()
    }

    /// Pieces that turned out not to be right on disk.
    pub fn reject(&mut self, pieces: impl IntoIterator<Item = u32>) {
        for piece in pieces {
            self.suspect.clear(piece);
            self.have.clear(piece);
            self.complete &= self.have.is_full();
        }
    }

    /// Pieces that are recorded, committed or not.
    #[must_use]
    pub fn have(&self) -> &Bitfield {
        &self.have
    }

    /// Makes the data durable, and then what was recorded. Cheap if there is nothing new.
    ///
    /// # Errors
    /// The data or the journal could not be written. Nothing that was recorded is lost: the next
    /// commit tries again.
    pub fn commit(&mut self, store: &Store) -> Result<(), JournalError> {
        let synced = store.sync().map_err(JournalError::Data)?;
        self.touched.extend(synced);
        let unchanged = self.touched.is_empty()
            && self.have == self.saved.have
            && self.suspect == self.saved.suspect
            && self.complete == self.saved.complete;
        if unchanged {
            return Ok(());
        }
        self.write(store)
    }

    /// The last commit. `complete`: all pieces are there and all whole files were checked.
    ///
    /// # Errors
    /// As for [`Self::commit`].
    pub fn finish(mut self, store: &Store, complete: bool) -> Result<(), JournalError> {
        self.mark_complete(complete);
        self.commit(store)?;
        if let Some(database) = &mut self.database {
            // It only grew while it was written often; failing to shrink it harms nobody.
            let _ = database.compact();
        }
        Ok(())
    }

    /// Says that all pieces are there and all whole files were checked, from the next commit on: for
    /// a download that goes on to seed.
    pub fn mark_complete(&mut self, complete: bool) {
        self.complete = complete && self.have.is_full();
    }

    fn write(&mut self, store: &Store) -> Result<(), JournalError> {
        let failed = |path: &Path, reason: String| JournalError::Write {
            path: path.to_path_buf(),
            reason,
        };
        // Gone after a failure: the disk may have been full for a while only.
        let database = match self.database.take() {
            Some(database) => database,
            None => match table::open(
                &self.path,
                &table::identity(&self.info),
                &self.info,
                &self.seam,
            ) {
                Ok((database, found)) => {
                    if found.is_none() {
                        self.touched = (0..self.info.files.len() as u32).collect();
                    }
                    self.saved = found.unwrap_or_else(|| Saved::empty(&self.info));
                    database
                }
                Err(TableError::Busy) => {
                    let path = self.path.clone();
                    return Err(JournalError::Busy { path });
                }
                Err(TableError::Unwritable(reason) | TableError::Unusable(reason)) => {
                    return Err(failed(&self.path, reason));
                }
            },
        };
        // Taken after the sync: what was synced looks like this, or was written again since, and then
        // the next commit comes by. It is what the store has made of the file, not what is there: what
        // somebody else has made of it is not vouched for.
        let files: Vec<(u32, Option<Fingerprint>)> = self
            .touched
            .iter()
            .map(|&file| (file, store.known(file)))
            .collect();
        let next = Saved {
            have: self.have.clone(),
            suspect: self.suspect.clone(),
            complete: self.complete,
            files: std::mem::take(&mut self.saved.files),
        };
        let outcome = table::write(&database, &self.saved, &next, &files);
        match outcome {
            Ok(()) => {
                self.saved = next;
                for (file, found) in files {
                    match found {
                        Some(found) => self.saved.files.insert(file, found),
                        None => self.saved.files.remove(&file),
                    };
                }
                self.touched.clear();
                self.database = Some(database);
                Ok(())
            }
            Err(reason) => {
                self.saved.files = next.files;
                Err(failed(&self.path, reason))
            }
        }
    }
}

/// Moves an unusable journal out of the way and begins a new one.
fn replace(
    path: &Path,
    identity: &str,
    info: &Info,
    seam: &Seam,
) -> Result<(Option<Database>, String), JournalError> {
    let aside = path.with_extension("redb.damaged");
    let passed = seam.pass(|| path.to_path_buf(), Action::Rename(&aside));
    if let Err(error) = passed.and_then(|()| std::fs::rename(path, &aside)) {
        return Ok((None, format!("; it cannot be moved away either: {error}")));
    }
    let kept = format!("; it was moved to {}", aside.display());
    match table::open(path, identity, info, seam) {
        Ok((database, _)) => Ok((Some(database), kept)),
        Err(TableError::Busy) => Err(JournalError::Busy {
            path: path.to_path_buf(),
        }),
        Err(TableError::Unwritable(_) | TableError::Unusable(_)) => Ok((None, kept)),
    }
}

#[cfg(test)]
mod tests;

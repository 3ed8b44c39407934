//! What was written, and is not durable yet.

use super::{DiskError, Fault, Op, Store};
use crate::seam::Action;
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::sync::{MutexGuard, PoisonError};

/// Dirty files, or folders with new names, above which one `syncfs` is cheaper than a sync each: every
/// `fdatasync` of a new file waits for a commit of the file system's journal.
const SYNC_ALL_FILES: usize = 256;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Unsynced {
    /// Files with bytes that may only be in memory.
    files: BTreeSet<u32>,
    /// Files whose sync has failed. The kernel may have dropped what was to be written, and a second
    /// sync may well say that all is fine (Rebello et al., "Can Applications Recover from fsync
    /// Failures?", 2020): nobody who wrote through this store may be believed about them again.
    failed: BTreeSet<u32>,
}

impl Store {
    fn unsynced(&self) -> MutexGuard<'_, Unsynced> {
        self.unsynced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A file has bytes that the next sync has to reach, be they ours or those of whoever wrote them
    /// before us.
    pub(crate) fn mark_unsynced(&self, file: u32) {
        self.unsynced().files.insert(file);
    }

    /// Makes everything durable that was written before the call, and the names that lead to it; gives
    /// the files that were.
    ///
    /// # Errors
    /// The first file that could not be synced. From then on every sync fails: what was written since the
    /// last good one may be lost, and only a new store that hashes it can tell.
    pub fn sync(&self) -> Result<Vec<u32>, DiskError> {
        let dirty: Vec<u32> = {
            let mut unsynced = self.unsynced();
            if let Some(&file) = unsynced.failed.first() {
                return Err(self.error(Op::Sync, file, Fault::SyncFailed.into()));
            }
            std::mem::take(&mut unsynced.files).into_iter().collect()
        };
        if dirty.len().max(self.root.names_unsynced()) > SYNC_ALL_FILES && self.one_device {
            self.sync_all(&dirty)?;
            return Ok(dirty);
        }
        for (done, &file) in dirty.iter().enumerate() {
            if let Err(error) = self.sync_file(file) {
                self.unsynced().files.extend(&dirty[done..]);
                return Err(error);
            }
        }
        if let Err(error) = self.root.sync_names() {
            self.unsynced().files.extend(&dirty);
            return Err(error);
        }
        Ok(dirty)
    }

    fn sync_all(&self, dirty: &[u32]) -> Result<(), DiskError> {
        let path = || self.root.path().to_path_buf();
        let passed = self.root.seam().pass(path, Action::SyncAll);
        let synced = passed.and_then(|()| Ok(rustix::fs::syncfs(self.root.fd())?));
        match synced {
            Ok(()) => {
                self.root.names_synced();
                Ok(())
            }
            Err(error) => {
                self.unsynced().failed.extend(dirty);
                Err(DiskError::new(Op::Sync, self.root.path(), error))
            }
        }
    }

    fn sync_file(&self, file: u32) -> Result<(), DiskError> {
        // That it cannot be opened (too many are) says nothing about its bytes.
        let descriptor = self.descriptor(file)?;
        let path = || self.path(file).unwrap_or_default();
        let passed = self.root.seam().pass(path, Action::Sync);
        let synced = passed.and_then(|()| {
            loop {
                match rustix::fs::fdatasync(&descriptor) {
                    Err(Errno::INTR) => {}
                    other => return Ok(other?),
                }
            }
        });
        synced.map_err(|error| {
            self.unsynced().failed.insert(file);
            self.error(Op::Sync, file, error)
        })
    }

    /// Lets the kernel forget what it holds of a file, so that the next read is of the disk: for bytes of
    /// which a sync may have failed in an earlier run, when what is in memory may be all there is.
    ///
    /// # Errors
    /// The file could not be opened or synced.
    pub fn read_anew(&self, file: u32) -> Result<(), DiskError> {
        // What is dirty stays in memory.
        self.sync_file(file)?;
        let descriptor = self.descriptor(file)?;
        // Advice: a file system may not take it.
        let _ = rustix::fs::fadvise(&descriptor, 0, None, rustix::fs::Advice::DontNeed);
        Ok(())
    }
}

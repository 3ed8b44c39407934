//! The file that a journal's database is in, behind the seam of this crate.

use crate::seam::{Action, Seam};
use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};

/// Where a locked range begins or ends.
type At = Bound<u64>;

/// A file as the database wants it. Locks are the database's own, so that a journal is locked for
/// whatever version of it is around.
#[derive(Debug)]
pub(super) struct Backend {
    inner: FileBackend,
    path: PathBuf,
    seam: Seam,
}

impl Backend {
    /// Opens the file; makes it if it is not there. Says whether it was made.
    pub(super) fn open(path: &Path, seam: &Seam) -> io::Result<(Self, bool)> {
        seam.pass(|| path.to_path_buf(), Action::Create)?;
        let made = !path.exists();
        let mut options = OpenOptions::new();
        let file: File = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        let backend = Self {
            inner: FileBackend::new(file).map_err(io::Error::other)?,
            path: path.to_path_buf(),
            seam: seam.clone(),
        };
        Ok((backend, made))
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.seam.pass(|| self.path.clone(), Action::Read)?;
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.seam.pass(|| self.path.clone(), Action::Resize(len))?;
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.seam.pass(|| self.path.clone(), Action::Sync)?;
        self.inner.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let path = || self.path.clone();
        match self.seam.pass_write(path, offset, &[data]) {
            None => self.inner.write(offset, data),
            Some((bytes, error)) => {
                let torn = data.get(..bytes).unwrap_or(data);
                self.inner.write(offset, torn).and(Err(error))
            }
        }
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: At, end: At) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: At, end: At) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: At, end: At) -> Result<(), BackendError> {
        self.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: At, end: At) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: At, end: At) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: At, end: At) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }
}

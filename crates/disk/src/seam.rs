//! The seam between this crate and the operating system: where faults are put in.
//!
//! Every call that changes a disk, makes it durable or opens something on it asks a [`Gate`] first, if
//! there is one: with a gate a test makes the n-th of them fail, tears a write, lets one hang, or
//! keeps a record from which it makes the disk of a computer that lost its power. Without a gate, which
//! is always outside of tests, it is one comparison with zero beside a system call, and nothing else:
//! not even the path is put together.

use crate::store::Fingerprint;
use rustix::io::Errno;
use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is about to be done, and to what.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The file or folder.
    pub path: &'a Path,
    /// What is done to it.
    pub action: Action<'a>,
}

/// What is done to a file or a folder.
#[derive(Clone, Copy, Debug)]
pub enum Action<'a> {
    /// Making a folder.
    Mkdir,
    /// Opening a file for reading or writing.
    Open,
    /// The same; it is made if it is not there.
    Create,
    /// Giving a file this length in bytes.
    Resize(u64),
    /// One vectored write.
    Write {
        /// First byte, counted from the start of the file.
        offset: u64,
        /// What is written, one after the other.
        parts: &'a [&'a [u8]],
    },
    /// Reading.
    Read,
    /// Making a file's bytes and length durable.
    Sync,
    /// Making the names in a folder durable.
    SyncFolder,
    /// Making everything on the folder's file system durable.
    SyncAll,
    /// Giving a file this name.
    Rename(&'a Path),
}

impl Action<'_> {
    /// In a word.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Mkdir => "mkdir",
            Self::Open => "open",
            Self::Create => "create",
            Self::Resize(_) => "resize",
            Self::Write { .. } => "write",
            Self::Read => "read",
            Self::Sync => "sync",
            Self::SyncFolder => "sync folder",
            Self::SyncAll => "sync all",
            Self::Rename(_) => "rename",
        }
    }
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is done.
    Pass,
    /// It is not done, and fails with this error of the operating system (an `errno`).
    Fail(i32),
    /// Of a write the first so many bytes are done; then it fails with this error. Anything else is not
    /// done.
    Tear(usize, i32),
}

/// Whoever decides what becomes of calls. It may take its time: that is a disk that hangs.
pub trait Gate: Debug + Send + Sync {
    /// Asked before each call, on the thread that makes it.
    fn pass(&self, call: &Call<'_>) -> Verdict;

    /// What a file looks like, when the operating system says that it looks like `found`: for disks
    /// that are not real.
    fn fingerprint(&self, path: &Path, found: Fingerprint) -> Fingerprint {
        let _ = path;
        found
    }
}

/// A gate, or none. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Seam(Option<Arc<dyn Gate>>);

impl Seam {
    /// Every call has to pass this gate.
    #[must_use]
    pub fn with(gate: Arc<dyn Gate>) -> Self {
        Self(Some(gate))
    }

    /// Asks for anything but a write.
    #[inline]
    pub(crate) fn pass(
        &self,
        path: impl FnOnce() -> PathBuf,
        action: Action<'_>,
    ) -> io::Result<()> {
        let Some(gate) = &self.0 else { return Ok(()) };
        let path = path();
        let path = path.as_path();
        match gate.pass(&Call { path, action }) {
            Verdict::Pass => Ok(()),
            Verdict::Fail(errno) | Verdict::Tear(_, errno) => {
                Err(Errno::from_raw_os_error(errno).into())
            }
        }
    }

    /// Asks for a write. `Some`: so many bytes are to be written, and then it has failed.
    #[inline]
    pub(crate) fn pass_write(
        &self,
        path: impl FnOnce() -> PathBuf,
        offset: u64,
        parts: &[&[u8]],
    ) -> Option<(usize, io::Error)> {
        let gate = self.0.as_ref()?;
        let path = path();
        let path = path.as_path();
        let action = Action::Write { offset, parts };
        match gate.pass(&Call { path, action }) {
            Verdict::Pass => None,
            Verdict::Fail(errno) => Some((0, Errno::from_raw_os_error(errno).into())),
            Verdict::Tear(bytes, errno) => Some((bytes, Errno::from_raw_os_error(errno).into())),
        }
    }

    /// What a file looks like.
    #[inline]
    pub(crate) fn fingerprint(
        &self,
        path: impl FnOnce() -> PathBuf,
        found: Fingerprint,
    ) -> Fingerprint {
        match &self.0 {
            Some(gate) => gate.fingerprint(&path(), found),
            None => found,
        }
    }
}

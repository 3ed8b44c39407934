//! What can go wrong between a torrent and its files, said so that a person can act on it.

use rustix::io::Errno;
use std::path::{Path, PathBuf};
use std::{error, fmt, io};

/// What was being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Making a folder.
    CreateFolder,
    /// Making a file.
    Create,
    /// Opening a file or folder that is there.
    Open,
    /// Giving a file its length, or its space.
    Resize,
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Making what was written durable.
    Sync,
}

impl Op {
    fn verb(self) -> &'static str {
        match self {
            Self::CreateFolder => "create the folder",
            Self::Create => "create",
            Self::Open => "open",
            Self::Resize => "make room for",
            Self::Read => "read",
            Self::Write => "write",
            Self::Sync => "sync",
        }
    }
}

/// What was found to be wrong by this crate rather than by the operating system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A file is longer than the torrent says; cutting it would destroy somebody's data.
    Longer {
        /// Bytes on disk.
        found: u64,
        /// Bytes in the torrent.
        wanted: u64,
    },
    /// A file ends before the bytes that were asked for.
    Short,
    /// A component of the path is a symbolic link.
    Symlink,
    /// There is a folder, device, pipe or socket where a file should be.
    NotAFile,
    /// The file is not the one that was there when the torrent was opened.
    Replaced,
    /// The file was changed by somebody else, and has not been hashed since.
    Altered,
    /// A sync of the file failed earlier: nothing that was written since the one before can be vouched
    /// for.
    SyncFailed,
    /// The torrent wants to write where the journals are.
    Reserved,
    /// The store was opened for reading only.
    NotWritable,
    /// What the caller handed over does not fit the span: our bug, not the disk's.
    Misuse,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Longer { found, wanted } => write!(
                f,
                "a file of {found} bytes is already there, and the torrent's is {wanted} bytes"
            ),
            Self::Short => f.write_str("the file is shorter than the torrent says"),
            Self::Symlink => f.write_str("a part of the path is a symbolic link"),
            Self::NotAFile => f.write_str("what is there is not a regular file"),
            Self::Replaced => f.write_str("the file was replaced by another one meanwhile"),
            Self::Altered => f.write_str("the file was changed by another program"),
            Self::SyncFailed => {
                f.write_str("an earlier sync failed, and what was written may be lost")
            }
            Self::Reserved => f.write_str("the name .samara is kept for journals"),
            Self::NotWritable => f.write_str("the torrent was opened for reading only"),
            Self::Misuse => f.write_str("the buffers do not fit the span"),
        }
    }
}

impl error::Error for Fault {}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        let kind = match fault {
            Fault::Longer { .. } => io::ErrorKind::AlreadyExists,
            Fault::Short => io::ErrorKind::UnexpectedEof,
            Fault::NotWritable | Fault::Misuse => io::ErrorKind::InvalidInput,
            Fault::Symlink
            | Fault::NotAFile
            | Fault::Replaced
            | Fault::Altered
            | Fault::SyncFailed
            | Fault::Reserved => io::ErrorKind::Other,
        };
        Self::new(kind, fault)
    }
}

/// What kind of trouble it is, for a caller that decides what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The disk or the quota is full, or the file would be longer than the file system or the
    /// process may make one. Worth another try when there is space.
    Full,
    /// The file system is read-only.
    ReadOnly,
    /// The user may not.
    Permission,
    /// The process or the system has too many files open. Worth another try.
    TooManyOpen,
    /// It is not there.
    NotFound,
    /// Seen by this crate.
    Fault(Fault),
    /// Anything else: a failing device, most of all.
    Other,
}

/// An operation on a torrent's files that failed: what, where and why.
#[derive(Debug)]
pub struct DiskError {
    /// What was being done.
    pub op: Op,
    /// To which file or folder.
    pub path: PathBuf,
    /// What the operating system said, or a [`Fault`].
    pub source: io::Error,
}

impl DiskError {
    pub(crate) fn new(op: Op, path: impl AsRef<Path>, source: impl Into<io::Error>) -> Self {
        Self {
            op,
            path: path.as_ref().to_path_buf(),
            source: source.into(),
        }
    }

    /// What kind of trouble it is.
    #[must_use]
    pub fn cause(&self) -> Cause {
        if let Some(fault) = self.fault() {
            return Cause::Fault(fault);
        }
        match self.source.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => Cause::Full,
            Some(Errno::ROFS) => Cause::ReadOnly,
            Some(Errno::ACCESS | Errno::PERM) => Cause::Permission,
            Some(Errno::MFILE | Errno::NFILE) => Cause::TooManyOpen,
            Some(Errno::NOENT) => Cause::NotFound,
            _ => Cause::Other,
        }
    }

    fn fault(&self) -> Option<Fault> {
        self.source.get_ref()?.downcast_ref::<Fault>().copied()
    }

    /// What a person can do about it.
    fn advice(&self) -> Option<&'static str> {
        let errno = self.source.raw_os_error().map(Errno::from_raw_os_error);
        Some(match self.cause() {
            Cause::Full if errno == Some(Errno::FBIG) => {
                "choose a file system that holds files of this size, or raise the limit (ulimit -f)"
            }
            Cause::Full => "free some space and run the same command again; verified data is kept",
            Cause::ReadOnly => "choose a folder on a file system that can be written",
            Cause::Permission => "choose another folder, or change the permissions",
            Cause::TooManyOpen => "raise the limit on open files (ulimit -n)",
            Cause::NotFound => "is the folder the one that holds the torrent's file or folder?",
            Cause::Fault(Fault::Longer { .. }) => {
                "move it away, or choose another folder; nothing was changed"
            }
            Cause::Fault(Fault::Symlink) => "replace the link by what it points to",
            Cause::Fault(Fault::NotAFile | Fault::Reserved) => "choose another folder",
            Cause::Fault(Fault::Short | Fault::Replaced | Fault::Altered) => {
                "run the same command again to check it"
            }
            Cause::Fault(Fault::SyncFailed) => {
                "look at the system's log, and run the same command again to check what is there"
            }
            Cause::Fault(Fault::NotWritable | Fault::Misuse) => return None,
            Cause::Other if errno == Some(Errno::IO) => {
                "the device reports an error: look at the system's log"
            }
            Cause::Other if errno == Some(Errno::NAMETOOLONG) => {
                "choose a folder with a shorter path, or another file system"
            }
            Cause::Other if matches!(errno, Some(Errno::NOTDIR | Errno::ISDIR)) => {
                "a file and a folder of the same name clash: move the one that is there"
            }
            Cause::Other => return None,
        })
    }
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.to_string_lossy();
        // Names come from torrents: a terminal must not take them for commands.
        write!(f, "cannot {} ", self.op.verb())?;
        for c in path.chars() {
            if c.is_control() {
                write!(f, "{}", c.escape_default())?;
            } else {
                write!(f, "{c}")?;
            }
        }
        write!(f, ": {}", self.source)?;
        match self.advice() {
            Some(advice) => write!(f, "; {advice}"),
            None => Ok(()),
        }
    }
}

impl error::Error for DiskError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_where_and_what_to_do() {
        let full = DiskError::new(Op::Write, "/data/a\u{1b}[2J", Errno::NOSPC);
        assert_eq!(full.cause(), Cause::Full);
        let text = full.to_string();
        assert!(
            text.starts_with("cannot write /data/a\\u{1b}[2J: "),
            "{text}"
        );
        assert!(text.contains("free some space"), "{text}");

        let longer = Fault::Longer {
            found: 9,
            wanted: 3,
        };
        let longer = DiskError::new(Op::Open, "x", longer);
        assert!(matches!(longer.cause(), Cause::Fault(Fault::Longer { .. })));
        assert!(longer.to_string().contains("9 bytes"));
        let many = DiskError::new(Op::Open, "x", Errno::MFILE);
        assert_eq!(many.cause(), Cause::TooManyOpen);
    }
}

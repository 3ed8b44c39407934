//! Why a torrent could not be made.

use samara_proto::metainfo::MetainfoError;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a torrent could not be made. Each is one line that says what, where, and what helps.
#[derive(Debug)]
#[non_exhaustive]
pub enum CreateError {
    /// No path was given.
    NoPaths,
    /// Several paths that are in different folders, so that nothing gives the torrent its name.
    NameNeeded,
    /// The operating system refused something.
    Io {
        /// What was tried: "open", "read", "list".
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// A name that is not UTF-8: torrents cannot carry it so that every host gets the same.
    NotUtf8(PathBuf),
    /// A socket, pipe or device.
    Special {
        /// Where.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// A symbolic link that leads back to a folder above it.
    LinkLoop(PathBuf),
    /// A symbolic link, when they are to be refused.
    LinkRefused(PathBuf),
    /// More entries than a torrent can have, counting folders.
    TooManyEntries(PathBuf),
    /// A file that is not as it was when hashing began.
    Changed(PathBuf),
    /// Pieces longer than allowed.
    PieceTooLarge {
        /// Bytes asked for.
        asked: u32,
        /// Bytes allowed.
        most: u32,
    },
    /// A tracker that is not an http, https or udp address.
    BadTracker(String),
    /// A web seed that is not an http or https address.
    BadWebSeed(String),
    /// The torrent would be refused by those who read it.
    Refused(MetainfoError),
    /// It was told to stop.
    Cancelled,
}

impl CreateError {
    pub(super) fn io(operation: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            operation,
            path: path.to_owned(),
            source,
        }
    }
}

impl fmt::Display for CreateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPaths => f.write_str("nothing to make a torrent of: no path was given"),
            Self::NameNeeded => f.write_str(
                "the paths are in different folders; say what the torrent is to be called",
            ),
            Self::Io {
                operation,
                path,
                source,
            } => write!(f, "cannot {operation} {path:?}: {source}"),
            Self::NotUtf8(path) => write!(
                f,
                "the name {path:?} is not UTF-8, so other hosts could not make the same file; rename it"
            ),
            Self::Special { path, kind } => write!(
                f,
                "{path:?} is a {kind}; only files and folders can be shared"
            ),
            Self::LinkLoop(path) => write!(
                f,
                "the symbolic link {path:?} leads to a folder that it is in; remove it or skip links"
            ),
            Self::LinkRefused(path) => write!(f, "{path:?} is a symbolic link"),
            Self::TooManyEntries(path) => write!(
                f,
                "there are too many files and folders below {path:?} for one torrent"
            ),
            Self::Changed(path) => write!(
                f,
                "{path:?} changed while it was being hashed; try again when nothing writes to it"
            ),
            Self::PieceTooLarge { asked, most } => write!(
                f,
                "pieces of {asked} bytes are larger than the limit of {most}"
            ),
            Self::BadTracker(url) => write!(
                f,
                "{url:?} cannot be a tracker: it must begin with http://, https:// or udp://"
            ),
            Self::BadWebSeed(url) => write!(
                f,
                "{url:?} cannot be a web seed: it must begin with http:// or https://"
            ),
            Self::Refused(error) => error.fmt(f),
            Self::Cancelled => f.write_str("stopped before the torrent was complete"),
        }
    }
}

impl std::error::Error for CreateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Refused(error) => Some(error),
            _ => None,
        }
    }
}

impl From<MetainfoError> for CreateError {
    fn from(error: MetainfoError) -> Self {
        Self::Refused(error)
    }
}

//! What can go wrong on our side: each error says what, where, and what to do.

use samara_disk::store::DiskError;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

/// An error of a session or a torrent. Cheap to clone, so that every handle of a torrent can be told.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum NodeError {
    /// The peer port cannot be opened.
    Listen {
        /// Where.
        addr: SocketAddr,
        /// Why.
        source: Arc<io::Error>,
    },
    /// The same torrent is in this session already.
    AlreadyAdded {
        /// Its name.
        name: String,
    },
    /// The session has been stopped.
    SessionStopped,
    /// The disk failed. Everything verified so far is kept.
    Disk(String),
    /// The data differ from the whole-file hash although every piece is right: the torrent is wrong.
    Contradiction(String),
    /// An address that is no http, https or udp URL, or a kind of URL that cannot be used here.
    Url {
        /// The address.
        url: String,
        /// What is wrong with it.
        message: String,
    },
    /// An exchange over HTTP, or with a UDP tracker, failed.
    Http {
        /// The address.
        url: String,
        /// How.
        message: String,
    },
    /// What came from an address is not what it should be.
    Reply {
        /// The address.
        url: String,
        /// How.
        message: String,
    },
    /// The metadata of a magnet link could not be had.
    Metadata(String),
    /// The metadata is there, and it is not a torrent that can be used.
    BadTorrent(String),
    /// Something in Samara itself broke; the text helps whoever mends it.
    Internal(String),
}

impl NodeError {
    pub(crate) fn disk(error: &DiskError) -> Self {
        Self::Disk(error.to_string())
    }
}

impl fmt::Display for NodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen { addr, source } => {
                write!(f, "cannot listen for peers on {addr}: {source}")?;
                match source.kind() {
                    io::ErrorKind::AddrInUse => f.write_str(
                        "; another program has this port: choose another, or port 0 for any free one",
                    ),
                    io::ErrorKind::PermissionDenied => {
                        f.write_str("; ports below 1024 need privileges: choose a higher one")
                    }
                    io::ErrorKind::AddrNotAvailable => f.write_str(
                        "; this machine does not have that address: use 0.0.0.0 or [::] for all",
                    ),
                    _ => Ok(()),
                }
            }
            Self::AlreadyAdded { name } => write!(f, "\"{name}\" is already in this session"),
            Self::SessionStopped => f.write_str("the session has been stopped"),
            Self::Disk(message) => f.write_str(message),
            Self::Contradiction(message) => write!(
                f,
                "the torrent contradicts itself: {message}; it has to be made anew from the original files"
            ),
            Self::Url { url, message } => write!(f, "cannot use {url}: {message}"),
            Self::Http { url, message } => write!(f, "{url}: {message}"),
            Self::Reply { url, message } => write!(f, "{url} answered, but {message}"),
            Self::Metadata(message) => write!(f, "no metadata for the magnet link: {message}"),
            Self::BadTorrent(message) => write!(f, "the torrent cannot be used: {message}"),
            Self::Internal(message) => write!(f, "internal error: {message}"),
        }
    }
}

impl std::error::Error for NodeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Listen { source, .. } => Some(source.as_ref()),
            _ => None,
        }
    }
}

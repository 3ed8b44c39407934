//! Why a torrent is refused.

use super::{MAX_FILES, MAX_PIECE_FOREIGN, MAX_PIECES, MAX_TORRENT_BYTES};
use crate::bencode;
use core::fmt;

/// Why a torrent file or an info dictionary is refused. Paths are kept as the torrent has them, and
/// shown escaped: they are not trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetainfoError {
    /// Longer than [`MAX_TORRENT_BYTES`].
    TooLarge(usize),
    /// More values than [`MAX_VALUES`](super::MAX_VALUES), or lists than
    /// [`MAX_CONTAINERS`](super::MAX_CONTAINERS).
    TooManyValues,
    /// Not bencode.
    Bencode(bencode::Error),
    /// Bencode, but not a dictionary.
    NotADictionary,
    /// A key that must be there is not.
    Missing(&'static str),
    /// A key holds a value of the wrong kind.
    WrongType(&'static str),
    /// A `meta version` of the future (BEP 52).
    UnsupportedVersion(i64),
    /// A piece length of 0 or less.
    PieceLengthNotPositive(i64),
    /// A piece length that is not a power of two.
    PieceLengthNotPowerOfTwo(i64),
    /// Pieces shorter than the format allows.
    PieceLengthTooSmall {
        /// What the torrent says.
        length: i64,
        /// What is allowed.
        least: u32,
    },
    /// Pieces longer than [`MAX_PIECE_FOREIGN`].
    PieceLengthTooLarge(i64),
    /// A `pieces` string that is not whole SHA-1 digests.
    PiecesNotWhole(usize),
    /// A `pieces` string of more or fewer digests than the files have pieces.
    PieceCount {
        /// Digests in the torrent.
        have: u64,
        /// Pieces of its files.
        need: u64,
    },
    /// More pieces than [`MAX_PIECES`].
    TooManyPieces(u64),
    /// More files than [`MAX_FILES`].
    TooManyFiles,
    /// A file list without files.
    NoFiles,
    /// Files, but all of them are empty.
    NothingToDownload,
    /// Lengths that sum to 2^63 or more.
    TotalTooLarge,
    /// A file with a negative length.
    NegativeLength(String),
    /// The torrent's name cannot be the name of a file.
    UnsafeName(String, PathFault),
    /// A path that could leave the folder, or cannot be the name of a file everywhere.
    UnsafePath(String, PathFault),
    /// Two entries are one and the same, but perhaps for the form of accents.
    Duplicate(String, String),
    /// Two entries are one and the same where case does not count, or one would lie below the other:
    /// [`NamePolicy::Local`](super::NamePolicy::Local) may take them.
    CaseClash(String, String),
    /// An entry is a file, and another lies below it.
    FileIsFolder(String, String),
    /// A symbolic link that points out of the torrent's folder.
    SymlinkLeaves(String),
    /// v2: a file that is not empty has no `pieces root`.
    RootMissing(String),
    /// v2: a file tree that is not as BEP 52 says.
    FileTree(String),
    /// v2: hashes of the pieces of a file are not there.
    LayerMissing(String),
    /// v2: hashes of pieces that do not lead to the file's `pieces root`.
    LayerMismatch(String),
    /// Making v2: a folder that holds one file of its own name, which reads as that file alone.
    Ambiguous(String),
    /// Hybrid: the v1 and v2 file lists differ; the first path where they do.
    HybridMismatch(String),
}

/// What is wrong with one path, or one component of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathFault {
    /// No components, or an empty one.
    Empty,
    /// The component `.`.
    Dot,
    /// The component `..`.
    DotDot,
    /// Begins at the root.
    Absolute,
    /// Begins with a drive letter.
    Drive,
    /// A `/` or `\\` inside a component.
    Separator,
    /// A NUL byte.
    Nul,
    /// A control character.
    Control,
    /// A character that changes the direction of writing, so that a name reads as another one.
    Direction,
    /// A name that Windows keeps for devices.
    Reserved,
    /// Ends in a dot or a space, which Windows drops.
    TrailingDotOrSpace,
    /// A component longer than 255 bytes.
    ComponentTooLong,
    /// A path longer than 4,096 bytes.
    PathTooLong,
}

impl PathFault {
    /// Whether only some systems cannot have such names, so that
    /// [`NamePolicy::Local`](super::NamePolicy::Local) may take them.
    #[must_use]
    pub fn is_local(self) -> bool {
        matches!(
            self,
            Self::Drive | Self::Reserved | Self::TrailingDotOrSpace
        )
    }

    /// How an error goes on that says that a name has this fault: with the fault, and what helps.
    fn explained(self) -> String {
        if self.is_local() {
            format!("is not portable: {self}{ANY_NAMES}")
        } else {
            format!("is unsafe: {self}")
        }
    }
}

/// What helps against names that this system could hold and others could not: the option of the
/// program that stands for `NamePolicy::Local`, where that would change anything.
const ANY_NAMES: &str = if cfg!(windows) {
    ""
} else {
    " (--any-names takes every name that this system can hold)"
};

impl fmt::Display for PathFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "it is empty or has an empty part",
            Self::Dot => "it has a part that is \".\"",
            Self::DotDot => "it has a part that is \"..\", which leaves the folder",
            Self::Absolute => "it is absolute",
            Self::Drive => "a part of it begins with a drive letter, as Windows has it",
            Self::Separator => "a part of it contains a path separator",
            Self::Nul => "it contains a NUL byte",
            Self::Control => "it contains a control character",
            Self::Direction => "it contains a character that reverses the direction of writing",
            Self::Reserved => "Windows reserves this name for a device",
            Self::TrailingDotOrSpace => {
                "a part of it ends in a dot or a space, which Windows drops"
            }
            Self::ComponentTooLong => "a part of it is longer than 255 bytes",
            Self::PathTooLong => "it is longer than 4096 bytes",
        })
    }
}

impl core::error::Error for PathFault {}

impl fmt::Display for MetainfoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge(bytes) => write!(
                f,
                "the torrent is {bytes} bytes long, more than the limit of {MAX_TORRENT_BYTES}"
            ),
            Self::TooManyValues => {
                f.write_str("the torrent consists of too many values to be held in memory")
            }
            Self::Bencode(error) => error.fmt(f),
            Self::NotADictionary => f.write_str("not a torrent: it is not a dictionary"),
            Self::Missing(key) => write!(f, "not a torrent: \"{key}\" is missing"),
            Self::WrongType(key) => write!(f, "\"{key}\" is not of the right type"),
            Self::UnsupportedVersion(version) => write!(
                f,
                "the torrent is of version {version}, and only versions 1 and 2 are known"
            ),
            Self::TotalTooLarge => f.write_str("the files sum to 2^63 bytes or more"),
            Self::TooManyPieces(pieces) => write!(
                f,
                "the torrent has {pieces} pieces, more than the limit of {MAX_PIECES}; longer pieces help"
            ),
            Self::TooManyFiles => write!(f, "the torrent has more than {MAX_FILES} files"),
            Self::NoFiles => f.write_str("the torrent has no files"),
            Self::NothingToDownload => {
                f.write_str("nothing to download: all files of the torrent are empty")
            }
            _ => self.fmt_numbers(f),
        }
    }
}

impl MetainfoError {
    fn fmt_numbers(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PieceLengthNotPositive(length) => {
                write!(f, "the piece length is {length}; it must be positive")
            }
            Self::PieceLengthNotPowerOfTwo(length) => {
                write!(f, "the piece length is {length}; it must be a power of two")
            }
            Self::PieceLengthTooSmall { length, least } => {
                write!(
                    f,
                    "the piece length is {length}; it must be at least {least}"
                )
            }
            Self::PieceLengthTooLarge(length) => write!(
                f,
                "the piece length is {length}; it may be at most {MAX_PIECE_FOREIGN}"
            ),
            Self::PiecesNotWhole(bytes) => write!(
                f,
                "\"pieces\" is {bytes} bytes long, which is not a multiple of 20"
            ),
            Self::PieceCount { have, need } => write!(
                f,
                "there are hashes of {have} pieces, and the files have {need} pieces"
            ),
            _ => self.fmt_paths(f),
        }
    }

    fn fmt_paths(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NegativeLength(path) => write!(f, "the length of {path:?} is negative"),
            Self::UnsafeName(name, fault) => {
                write!(f, "the torrent's name {name:?} {}", fault.explained())
            }
            Self::UnsafePath(path, fault) => {
                write!(f, "the path {path:?} {}", fault.explained())
            }
            Self::Duplicate(first, second) if first == second => {
                write!(f, "{first:?} is there twice")
            }
            Self::Duplicate(first, second) => write!(
                f,
                "{first:?} and {second:?} would be the same file: they differ only in how accents are written"
            ),
            Self::CaseClash(first, second) => write!(
                f,
                "{first:?} and {second:?} would be in one place where case does not count (Windows, macOS){ANY_NAMES}"
            ),
            Self::FileIsFolder(file, below) => {
                write!(f, "{file:?} is a file, and {below:?} lies below it")
            }
            Self::SymlinkLeaves(path) => write!(
                f,
                "{path:?} is a symbolic link that leads out of the torrent's folder, or nowhere"
            ),
            Self::RootMissing(path) => write!(f, "{path:?} has no valid \"pieces root\""),
            Self::FileTree(path) => write!(f, "the file tree is malformed at {path:?}"),
            Self::LayerMissing(path) => write!(
                f,
                "\"piece layers\" does not hold the right number of hashes for {path:?}"
            ),
            Self::LayerMismatch(path) => write!(
                f,
                "the piece hashes of {path:?} do not match its \"pieces root\""
            ),
            Self::Ambiguous(name) => write!(
                f,
                "a v2 torrent cannot tell the folder {name:?}, which holds one file of the same name, from that file; make it v1 or hybrid"
            ),
            Self::HybridMismatch(path) => write!(
                f,
                "the v1 and v2 file lists of the torrent differ at {path:?}"
            ),
            // All others are shown by the functions above.
            _ => Ok(()),
        }
    }
}

impl core::error::Error for MetainfoError {}

impl From<bencode::Error> for MetainfoError {
    fn from(error: bencode::Error) -> Self {
        Self::Bencode(error)
    }
}

//! Torrents as types: v1, v2 and hybrid metainfo (BEP 3, 12, 27, 47, 52).
//!
//! Everything about a torrent that could hurt whoever downloads it is refused here, before a byte is
//! written: what comes out of [`Metainfo::from_bytes`] and [`Info::from_bytes`] has safe, unique
//! paths, hashes that fit the lengths, and v1 and v2 halves that say the same. Paths are also such
//! that every system can hold them, unless [`NamePolicy::Local`] is asked for.
//!
//! **Padding.** [`Info::files`] leaves padding out. In v1 and hybrid torrents whatever part of the byte
//! space no file covers is padding: zeros that are hashed and may be asked for, and are never
//! written ([`Info::padding`]). In v2 torrents what no file covers does not exist.

mod budget;
mod build;
mod empty_keys;
mod error;
mod files;
mod info;
mod names;
mod torrent;
mod tree;

#[cfg(test)]
mod tests;

use crate::geometry::Geometry;
use crate::hash::{InfoHash, Sha1, Sha256};
use bytes::Bytes;
use core::ops::Range;

pub use budget::{MAX_CONTAINERS, MAX_VALUES};
pub use build::{Draft, DraftFile, Entry, Layout};
pub use error::{MetainfoError, PathFault};
pub use names::{
    MAX_COMPONENT_BYTES, MAX_PATH_BYTES, NamePolicy, check_component, check_component_with,
    check_path, check_path_with,
};
pub use torrent::{is_tracker_url, is_web_seed_url};

/// Largest .torrent file that is read, in bytes. The hashes of [`MAX_PIECES`] pieces of a hybrid torrent
/// are 104 MB.
pub const MAX_TORRENT_BYTES: usize = 128 * 1024 * 1024;

/// Most files of a torrent, padding not counted. (A hybrid describes each file twice, and reaches
/// [`MAX_VALUES`] at about 600,000.)
pub const MAX_FILES: usize = 1_000_000;

/// Most pieces of a torrent: a bitfield of them (250,000 bytes) still fits the longest message that is
/// accepted on the wire. libtorrent's limit is 2^21.
pub const MAX_PIECES: u32 = 2_000_000;

/// Shortest piece that is accepted in a v1 torrent, in bytes. Shorter ones cost more in hashes and
/// messages than they carry, and nothing in use makes them.
pub const MIN_PIECE_V1: u32 = 1024;

/// Shortest piece of a v2 or hybrid torrent, in bytes (BEP 52: a leaf of the merkle tree).
pub const MIN_PIECE_V2: u32 = 16 * 1024;

/// Longest piece that is accepted in a torrent made by others, in bytes.
pub const MAX_PIECE_FOREIGN: u32 = 256 * 1024 * 1024;

/// Longest piece of the torrents that we create, in bytes, unless larger ones are asked for. A piece
/// is what a peer can pass on only when it has all of it, so short pieces spread faster.
pub const MAX_PIECE_CREATED: u32 = 512 * 1024;

/// Most trackers, and most web seeds, that are kept of one torrent.
pub const MAX_URLS: usize = 1000;
/// Longest URL that is kept, in bytes.
pub const MAX_URL_BYTES: usize = 2048;

/// Which hashes a torrent carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// SHA-1 of pieces that run across files (BEP 3).
    V1,
    /// A merkle tree of SHA-256 a file (BEP 52).
    V2,
    /// Both, with files padded to pieces (BEP 52).
    Hybrid,
}

/// A torrent file: the info dictionary and what goes around it.
#[derive(Clone, Debug)]
pub struct Metainfo {
    /// What is shared.
    pub info: Info,
    /// Trackers by tier (BEP 12); `announce` alone is one tier of one.
    pub trackers: Vec<Vec<String>>,
    /// Web seeds (BEP 19).
    pub web_seeds: Vec<String>,
    /// Free text.
    pub comment: Option<String>,
    /// Program that made it.
    pub created_by: Option<String>,
    /// Seconds since 1970.
    pub created_at: Option<i64>,
}

/// The info dictionary: what is shared, and the hashes it is checked against.
#[derive(Clone, Debug)]
pub struct Info {
    /// Exactly the bytes that the info-hash is taken of.
    pub raw: Bytes,
    /// Which hashes there are.
    pub version: Version,
    /// SHA-1 of `raw`, if there is a v1 part.
    pub hash_v1: Option<Sha1>,
    /// SHA-256 of `raw`, if there is a v2 part.
    pub hash_v2: Option<Sha256>,
    /// Name of the file, or of the folder that holds the files. One path component, safe.
    pub name: String,
    /// Whether there is one file that is `name` itself rather than a folder.
    pub single_file: bool,
    /// Only trackers may say who the peers are (BEP 27).
    pub private: bool,
    /// How the bytes are cut.
    pub geometry: Geometry,
    /// The files in the order of the torrent, padding left out, empty ones included.
    pub files: Vec<File>,
    /// Symbolic links inside the folder (BEP 47). Whoever cannot make them may leave them out.
    pub symlinks: Vec<Symlink>,
    /// v1: SHA-1 of every piece, 20 bytes each. Empty in a v2 torrent.
    pub pieces: Bytes,
}

/// One file of a torrent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Path below the folder where the torrent is put, the torrent's name included: components that
    /// are safe to join (never empty, `.`, `..`, absolute, or with a separator or NUL).
    pub path: Vec<String>,
    /// Length in bytes.
    pub length: u64,
    /// Where its first byte is in the torrent's byte space. In hybrid and v2 torrents a multiple of
    /// the piece length.
    pub offset: u64,
    /// SHA-1 of the whole file (BEP 47), if the torrent says it.
    pub sha1: Option<Sha1>,
    /// Root of the file's merkle tree (BEP 52); absent for empty files.
    pub root: Option<Sha256>,
    /// v2: hashes of the file's pieces, if it is longer than one piece and they are known.
    pub layer: Vec<Sha256>,
    /// Should be executable (BEP 47).
    pub executable: bool,
}

/// A symbolic link of a torrent (BEP 47). Both ends are below the torrent's folder, and no file of the
/// torrent lies under a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symlink {
    /// Where the link is: components as in [`File::path`].
    pub path: Vec<String>,
    /// What it points to, in the same form (relative to where the torrent is put, not to the link).
    pub target: Vec<String>,
}

impl Info {
    /// The info-hash that names the swarm on the wire: v1 where there is one, else v2 truncated.
    #[must_use]
    pub fn info_hash(&self) -> InfoHash {
        match (self.hash_v1, self.hash_v2) {
            (Some(v1), _) => v1.into(),
            (None, Some(v2)) => v2.into(),
            (None, None) => InfoHash::default(),
        }
    }

    /// All info-hashes under which peers may ask for this torrent.
    pub fn info_hashes(&self) -> impl Iterator<Item = InfoHash> {
        self.hash_v1
            .map(InfoHash::from)
            .into_iter()
            .chain(self.hash_v2.map(InfoHash::from))
    }

    /// Bytes of all files, without the padding at the ends of pieces. (Padding that ends elsewhere, which only
    /// strange v1 torrents have, is fetched as data are, and counted here.)
    #[must_use]
    pub fn total(&self) -> u64 {
        self.geometry.data_total()
    }

    /// End of the torrent's byte space: the end of the last piece, padding included.
    #[must_use]
    pub fn space(&self) -> u64 {
        let last = self.geometry.pieces() - 1;
        self.geometry.piece_start(last) + u64::from(self.geometry.piece_len(last))
    }

    /// v1 and hybrid: the ranges of the byte space that are zeros and belong to no file, in order.
    /// v2: nothing, since the space between its files does not exist.
    pub fn padding(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        let end = if self.version == Version::V2 {
            0
        } else {
            self.space()
        };
        let starts = self.files.iter().map(|file| file.offset).chain([end]);
        let ends = self.files.iter().map(|file| file.offset + file.length);
        [0].into_iter()
            .chain(ends)
            .zip(starts)
            .filter_map(move |(from, to)| (from < to && to <= end).then_some(from..to))
    }

    /// The SHA-1 that v1 piece `piece` must have.
    #[must_use]
    pub fn piece_sha1(&self, piece: u32) -> Option<Sha1> {
        let at = (piece as usize).checked_mul(Sha1::LEN)?;
        Sha1::from_slice(self.pieces.get(at..at.checked_add(Sha1::LEN)?)?)
    }
}

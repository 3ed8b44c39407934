//! Torrents as types: v1, v2 and hybrid metainfo (BEP 3, 12, 27, 47, 52).

use crate::geometry::Geometry;
use crate::hash::{InfoHash, Sha1, Sha256};
use bytes::Bytes;

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

    /// Bytes of all files, padding left out.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.geometry.data_total()
    }
}

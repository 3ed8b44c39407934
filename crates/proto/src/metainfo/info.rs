//! The info dictionary: v1, v2 or both.

use super::error::MetainfoError;
use super::files::{self, Listing};
use super::names::{check_unique, text};
use super::{
    File, Info, MAX_PIECE_FOREIGN, MAX_PIECES, MAX_TORRENT_BYTES, MIN_PIECE_V1, MIN_PIECE_V2,
    NamePolicy, Version, budget, check_component_with, tree,
};
use crate::bencode::{self, Dict, Value};
use crate::geometry::Geometry;
use crate::hash::{Sha1, Sha256};
use bytes::Bytes;
use sha2::Digest;

impl Info {
    /// Reads an info dictionary: what peers send as metadata (BEP 9), or the `info` of a torrent
    /// file. It says nothing about piece layers, so [`File::layer`] is empty: see
    /// [`Info::set_layer`].
    pub fn from_bytes(raw: Bytes) -> Result<Self, MetainfoError> {
        Self::from_bytes_with(raw, NamePolicy::Portable)
    }

    /// Reads an info dictionary as [`Info::from_bytes`] does, with other rules for names.
    pub fn from_bytes_with(raw: Bytes, names: NamePolicy) -> Result<Self, MetainfoError> {
        if raw.len() > MAX_TORRENT_BYTES {
            return Err(MetainfoError::TooLarge(raw.len()));
        }
        budget::check(&raw)?;
        let value = bencode::parse(&raw)?;
        let dict = value.as_dict().ok_or(MetainfoError::NotADictionary)?;
        read(dict, raw.clone(), names)
    }

    /// Sets the v2 piece hashes of one file, 32 bytes a piece, once they lead to its `pieces root`.
    /// For torrents that came without piece layers; does nothing for a file without one.
    pub fn set_layer(&mut self, file: usize, layer: &[u8]) -> Result<(), MetainfoError> {
        let piece_length = self.geometry.piece_length();
        match self.files.get_mut(file) {
            Some(file) if file.length > u64::from(piece_length) && file.root.is_some() => {
                tree::set_layer(file, layer, piece_length)
            }
            _ => Ok(()),
        }
    }

    /// v2 and hybrid: whether the hash of every v2 piece is known.
    #[must_use]
    pub fn has_layers(&self) -> bool {
        let piece_length = u64::from(self.geometry.piece_length());
        self.version != Version::V1
            && self
                .files
                .iter()
                .all(|file| file.length <= piece_length || !file.layer.is_empty())
    }
}

/// Reads `dict`, whose own bytes `raw` holds.
pub(super) fn read(dict: &Dict<'_>, raw: Bytes, names: NamePolicy) -> Result<Info, MetainfoError> {
    let version = version(dict)?;
    let piece_length = piece_length(dict, version)?;
    let name = name(dict, names)?;
    let file_list = match dict.get("files") {
        None => None,
        Some(Value::List(list)) => Some(list),
        Some(_) => return Err(MetainfoError::WrongType("files")),
    };
    let tree = dict.dict("file tree");
    let single_file = match (version, tree) {
        (Version::V2, Some(tree)) => tree::is_single(tree, &name),
        _ => file_list.is_none(),
    };
    let v1 = || match file_list {
        Some(list) => files::list(list, &name, names),
        None => files::single(dict, &name),
    };
    let v2 = |tree| tree::list(tree, &name, single_file, piece_length, names);
    let listing = match (version, tree) {
        (Version::V1, _) => v1()?,
        (Version::V2, Some(tree)) => v2(tree)?,
        (Version::Hybrid, Some(tree)) => agree(v1()?, v2(tree)?, u64::from(piece_length))?,
        (_, None) => return Err(MetainfoError::Missing("file tree")),
    };
    let links = listing.symlinks.iter().map(|link| &link.path);
    check_unique(
        listing.files.iter().map(|file| &file.path).chain(links),
        names,
    )?;
    if listing.files.iter().all(|file| file.length == 0) {
        return Err(MetainfoError::NothingToDownload);
    }
    let geometry = geometry(&listing, piece_length, version)?;
    let pieces = match version {
        Version::V2 => Bytes::new(),
        _ => pieces(dict, &raw, &geometry)?,
    };
    let hash_v1 = || Sha1(sha1::Sha1::digest(&raw).into());
    let hash_v2 = || Sha256(sha2::Sha256::digest(&raw).into());
    Ok(Info {
        hash_v1: (version != Version::V2).then(hash_v1),
        hash_v2: (version != Version::V1).then(hash_v2),
        version,
        name,
        single_file,
        private: dict.int("private").is_some_and(|private| private != 0),
        geometry,
        files: listing.files,
        symlinks: listing.symlinks,
        pieces,
        raw,
    })
}

/// Which halves there are. BEP 52 wants this looked at first, so that a torrent of the future is
/// called that rather than broken.
fn version(dict: &Dict<'_>) -> Result<Version, MetainfoError> {
    let v2 = match dict.get("meta version") {
        None => false,
        Some(Value::Int(version)) if *version > 2 => {
            return Err(MetainfoError::UnsupportedVersion(*version));
        }
        Some(Value::Int(version)) => *version == 2,
        Some(_) => return Err(MetainfoError::WrongType("meta version")),
    };
    let v1 = dict.get("pieces").is_some();
    match (v1, v2) {
        (false, true) => Ok(Version::V2),
        (true, true) => Ok(Version::Hybrid),
        (true, false) => Ok(Version::V1),
        (false, false) => Err(MetainfoError::Missing(if dict.get("file tree").is_some() {
            "meta version"
        } else {
            "pieces"
        })),
    }
}

fn piece_length(dict: &Dict<'_>, version: Version) -> Result<u32, MetainfoError> {
    let length = match dict.get("piece length") {
        None => return Err(MetainfoError::Missing("piece length")),
        Some(Value::Int(length)) => *length,
        Some(_) => return Err(MetainfoError::WrongType("piece length")),
    };
    let least = if version == Version::V1 {
        MIN_PIECE_V1
    } else {
        MIN_PIECE_V2
    };
    if length <= 0 {
        return Err(MetainfoError::PieceLengthNotPositive(length));
    }
    if length.count_ones() != 1 {
        return Err(MetainfoError::PieceLengthNotPowerOfTwo(length));
    }
    if length < i64::from(least) {
        return Err(MetainfoError::PieceLengthTooSmall { length, least });
    }
    match u32::try_from(length) {
        Ok(length) if length <= MAX_PIECE_FOREIGN => Ok(length),
        _ => Err(MetainfoError::PieceLengthTooLarge(length)),
    }
}

fn name(dict: &Dict<'_>, names: NamePolicy) -> Result<String, MetainfoError> {
    let name = dict
        .bytes("name.utf-8")
        .or_else(|| dict.bytes("name"))
        .ok_or(MetainfoError::Missing("name"))?;
    let name = text(name);
    check_component_with(&name, names)
        .map_err(|fault| MetainfoError::UnsafeName(name.clone().into_owned(), fault))?;
    Ok(name.into_owned())
}

/// Refuses a hybrid whose halves put files elsewhere; else the v2 list, with what only v1 knows.
/// Empty files and links take no space, so that they need not agree (libtorrent has the same rule).
fn agree(v1: Listing, v2: Listing, piece_length: u64) -> Result<Listing, MetainfoError> {
    let Listing {
        files,
        symlinks,
        space,
        ..
    } = v2;
    let not_empty = |file: &&File| file.length > 0;
    let mut of_v1 = v1.files.iter().filter(not_empty);
    for file in files.iter().filter(not_empty) {
        let same = of_v1.next().is_some_and(|other| {
            (&other.path, other.length, other.offset) == (&file.path, file.length, file.offset)
        });
        if !same {
            return Err(MetainfoError::HybridMismatch(file.path.join("/")));
        }
    }
    if let Some(file) = of_v1.next() {
        return Err(MetainfoError::HybridMismatch(file.path.join("/")));
    }
    // Whether the last file is padded is free (libtorrent does, older versions did not). No more
    // than to the end of its piece, though: v2 has no pieces after that.
    if v1.space > space.next_multiple_of(piece_length) {
        return Err(MetainfoError::HybridMismatch(".pad".to_owned()));
    }
    let mut files = files;
    let mut of_v1 = v1.files.iter().filter(not_empty);
    for file in files.iter_mut().filter(|file| file.length > 0) {
        file.sha1 = of_v1.next().and_then(|other| other.sha1);
    }
    Ok(Listing {
        files,
        symlinks,
        padding: v1.padding,
        space: v1.space.max(space),
    })
}

fn geometry(
    listing: &Listing,
    piece_length: u32,
    version: Version,
) -> Result<Geometry, MetainfoError> {
    let length = u64::from(piece_length);
    let pieces = listing.space.div_ceil(length);
    if pieces > u64::from(MAX_PIECES) {
        return Err(MetainfoError::TooManyPieces(pieces));
    }
    // A tail is found where padding begins inside a piece and lasts to its end. All fits 32 bits:
    // there are at most `MAX_PIECES` pieces, and the rest is less than a piece.
    let tail = |end: u64| ((end / length) as u32, (end % length) as u32);
    let tails: Vec<(u32, u32)> = if version == Version::V2 {
        let last = pieces.saturating_sub(1);
        let ends = listing.files.iter().filter(|file| file.length > 0);
        ends.map(|file| tail(file.offset + file.length))
            .filter(|&(piece, rest)| rest > 0 && u64::from(piece) < last)
            .collect()
    } else {
        let reaches_end = |start: u64, end: u64| {
            end >= start.next_multiple_of(length).min(listing.space)
                && !start.is_multiple_of(length)
        };
        let padding = listing.padding.iter();
        padding
            .filter(|range| reaches_end(range.start, range.end))
            .map(|range| tail(range.start))
            .collect()
    };
    Geometry::with_tails(piece_length, listing.space, tails, version == Version::V2)
        .ok_or(MetainfoError::NothingToDownload)
}

/// The v1 piece hashes as a part of `raw`, without a copy.
fn pieces(dict: &Dict<'_>, raw: &Bytes, geometry: &Geometry) -> Result<Bytes, MetainfoError> {
    let pieces = dict
        .bytes("pieces")
        .ok_or(MetainfoError::WrongType("pieces"))?;
    if !pieces.len().is_multiple_of(Sha1::LEN) {
        return Err(MetainfoError::PiecesNotWhole(pieces.len()));
    }
    let have = (pieces.len() / Sha1::LEN) as u64;
    let need = u64::from(geometry.pieces());
    if have != need {
        return Err(MetainfoError::PieceCount { have, need });
    }
    // `dict` may have been read from another copy of the bytes than `raw`.
    let start = pieces.as_ptr().addr() - dict.raw().as_ptr().addr();
    Ok(raw.slice(start..start + pieces.len()))
}

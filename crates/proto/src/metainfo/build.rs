//! Making torrents: where files and padding go, and the bytes of the info dictionary.
//!
//! Nothing is hashed here. [`Draft::layout`] says what has to be hashed, [`Draft::info`] writes down
//! the hashes. What is written is what libtorrent writes for the same files, byte for byte, where
//! nothing but names, lengths and hashes is recorded; so it has the same info-hashes.

use super::error::MetainfoError;
use super::files::checked_end;
use super::names::check_unique;
use super::{
    Info, MAX_FILES, MAX_PIECE_FOREIGN, MAX_PIECES, MIN_PIECE_V1, MIN_PIECE_V2, NamePolicy,
    Version, check_component_with, check_path_with,
};
use crate::bencode::Encoder;
use crate::hash::{Sha1, Sha256};
use bytes::Bytes;

/// What a torrent will hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// Name of the file or of the folder.
    pub name: String,
    /// Whether it is one file rather than a folder.
    pub single_file: bool,
    /// Which hashes it will carry.
    pub version: Version,
    /// Bytes of a piece: a power of two.
    pub piece_length: u32,
    /// BEP 27.
    pub private: bool,
    /// Which names it may have.
    pub names: NamePolicy,
    /// The files, in the order that [`Draft::sort`] makes.
    pub files: Vec<DraftFile>,
}

/// A file of a torrent to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DraftFile {
    /// Path below the torrent's folder; empty if the torrent is a single file.
    pub path: Vec<String>,
    /// Length in bytes.
    pub length: u64,
    /// Should be executable (BEP 47).
    pub executable: bool,
    /// SHA-1 of the whole file (BEP 47); written into v1 and hybrid torrents if it is there.
    pub sha1: Option<Sha1>,
    /// Root of the merkle tree (BEP 52): needed in v2 and hybrid torrents, but for empty files.
    pub root: Option<Sha256>,
    /// Its piece layer, if it is longer than a piece.
    pub layer: Vec<Sha256>,
}

/// What is at a place of the byte space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// File number so and so of the draft.
    File(usize),
    /// So many zeros (a pad file of BEP 47).
    Padding(u64),
}

/// Where everything is in the byte space that v1 hashes cover, or that v2 pieces are counted in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// What begins where, in order.
    pub entries: Vec<(u64, Entry)>,
    /// End of the byte space, padding included.
    pub space: u64,
    /// Number of pieces.
    pub pieces: u32,
}

impl Draft {
    /// Puts the files into the order of BEP 52: by path, component by component, bytewise. v1 torrents
    /// need no order, and get the same one so that equal folders make equal torrents everywhere.
    pub fn sort(&mut self) {
        self.files.sort_by(|a, b| a.path.cmp(&b.path));
    }

    /// Checks everything but hashes, so that nothing is hashed in vain, and places the files.
    ///
    /// In hybrid torrents of more than one file, every file is padded to the end of its piece, the
    /// last one too (as libtorrent does since 2.0.8).
    pub fn layout(&self) -> Result<Layout, MetainfoError> {
        self.check_names()?;
        let piece = u64::from(self.checked_piece_length()?);
        let mut layout = Layout {
            entries: Vec::with_capacity(self.files.len()),
            space: 0,
            pieces: 0,
        };
        let too_large = MetainfoError::TotalTooLarge;
        for (index, file) in self.files.iter().enumerate() {
            if self.version == Version::V2 && file.length > 0 {
                layout.space = layout
                    .space
                    .checked_next_multiple_of(piece)
                    .ok_or(too_large.clone())?;
            }
            layout.entries.push((layout.space, Entry::File(index)));
            layout.space = checked_end(layout.space, file.length)?;
            let rest = layout.space % piece;
            if self.version == Version::Hybrid && self.files.len() > 1 && rest > 0 {
                let padding = piece - rest;
                layout.entries.push((layout.space, Entry::Padding(padding)));
                layout.space = checked_end(layout.space, padding)?;
            }
        }
        if layout.space == 0 {
            return Err(MetainfoError::NothingToDownload);
        }
        let pieces = layout.space.div_ceil(piece);
        layout.pieces = u32::try_from(pieces)
            .ok()
            .filter(|pieces| *pieces <= MAX_PIECES)
            .ok_or(MetainfoError::TooManyPieces(pieces))?;
        Ok(layout)
    }

    fn check_names(&self) -> Result<(), MetainfoError> {
        check_component_with(&self.name, self.names)
            .map_err(|fault| MetainfoError::UnsafeName(self.name.clone(), fault))?;
        if self.files.is_empty() {
            return Err(MetainfoError::NoFiles);
        }
        if self.files.len() > MAX_FILES {
            return Err(MetainfoError::TooManyFiles);
        }
        if self.single_file {
            return match self.files.as_slice() {
                [one] if one.path.is_empty() => Ok(()),
                _ => Err(MetainfoError::FileTree(self.name.clone())),
            };
        }
        for file in &self.files {
            // The limits hold for the whole path, the torrent's folder included.
            let whole: Vec<&str> = [self.name.as_str()]
                .into_iter()
                .chain(file.path.iter().map(String::as_str))
                .collect();
            check_path_with(&file.path, self.names)
                .and_then(|()| check_path_with(&whole, self.names))
                .map_err(|fault| MetainfoError::UnsafePath(file.path.join("/"), fault))?;
        }
        check_unique(self.files.iter().map(|file| &file.path), self.names)?;
        match self.files.as_slice() {
            [one] if self.version == Version::V2 && one.path == [self.name.as_str()] => {
                Err(MetainfoError::Ambiguous(self.name.clone()))
            }
            files if files.is_sorted_by(|a, b| a.path <= b.path) => Ok(()),
            _ => Err(MetainfoError::FileTree(self.name.clone())),
        }
    }

    fn checked_piece_length(&self) -> Result<u32, MetainfoError> {
        let length = i64::from(self.piece_length);
        let least = if self.version == Version::V1 {
            MIN_PIECE_V1
        } else {
            MIN_PIECE_V2
        };
        match self.piece_length {
            0 => Err(MetainfoError::PieceLengthNotPositive(length)),
            other if !other.is_power_of_two() => {
                Err(MetainfoError::PieceLengthNotPowerOfTwo(length))
            }
            small if small < least => Err(MetainfoError::PieceLengthTooSmall { length, least }),
            large if large > MAX_PIECE_FOREIGN => Err(MetainfoError::PieceLengthTooLarge(length)),
            good => Ok(good),
        }
    }

    /// Writes the info dictionary and reads it back, layers included. `pieces` holds the v1 hashes in
    /// order, 20 bytes each; nothing in a v2 torrent.
    pub fn info(&self, pieces: &[u8]) -> Result<Info, MetainfoError> {
        let layout = self.layout()?;
        let mut out = Encoder::new();
        let v1 = self.version != Version::V2;
        let v2 = self.version != Version::V1;
        out.dict(|d| {
            d.key("name").bytes(&self.name);
            d.key("piece length").int(i64::from(self.piece_length));
            if self.private {
                d.key("private").int(1);
            }
            if v1 {
                d.key("pieces").bytes(pieces);
            }
            if v2 {
                d.key("meta version").int(2);
                match self.files.as_slice() {
                    [one] if self.single_file => d
                        .key("file tree")
                        .dict(|tree| leaf(tree.key(&self.name), one)),
                    files => folder(d.key("file tree"), files, 0),
                }
            }
            match self.files.as_slice() {
                [one] if v1 && self.single_file => {
                    if one.executable {
                        d.key("attr").bytes("x");
                    }
                    d.key("length").int(one.length as i64);
                    if let Some(sha1) = &one.sha1 {
                        d.key("sha1").bytes(sha1);
                    }
                }
                _ if v1 => d.key("files").list(|list| self.v1_files(list, &layout)),
                _ => {}
            }
        });
        let mut info = Info::from_bytes_with(Bytes::from(out.finish()), self.names)?;
        if v2 {
            for (index, file) in self.files.iter().enumerate() {
                let hashes = file.layer.iter().flat_map(|hash| hash.0);
                info.set_layer(index, &hashes.collect::<Vec<u8>>())?;
            }
        }
        Ok(info)
    }

    fn v1_files(&self, list: &mut Encoder, layout: &Layout) {
        for &(_, entry) in &layout.entries {
            list.dict(|d| match entry {
                Entry::File(index) => {
                    let Some(file) = self.files.get(index) else {
                        return;
                    };
                    if file.executable {
                        d.key("attr").bytes("x");
                    }
                    // `layout` has refused lengths that do not fit.
                    d.key("length").int(file.length as i64);
                    if let Some(sha1) = &file.sha1 {
                        d.key("sha1").bytes(sha1);
                    }
                    d.key("path")
                        .list(|path| file.path.iter().for_each(|part| path.bytes(part)));
                }
                Entry::Padding(length) => {
                    d.key("attr").bytes("p");
                    d.key("length").int(length as i64);
                    d.key("path").list(|path| {
                        path.bytes(".pad");
                        path.bytes(length.to_string());
                    });
                }
            });
        }
    }
}

/// Writes the sorted `files`, all of which are in the same folder `depth` levels down, as a dictionary.
/// Recurses as deep as paths go, which is bounded by `MAX_PATH_BYTES` (2,048 components).
fn folder(out: &mut Encoder, files: &[DraftFile], depth: usize) {
    out.dict(|d| {
        for group in files.chunk_by(|a, b| a.path.get(depth) == b.path.get(depth)) {
            let Some(first) = group.first() else { continue };
            let Some(part) = first.path.get(depth) else {
                continue;
            };
            if first.path.len() == depth + 1 {
                leaf(d.key(part), first);
            } else {
                folder(d.key(part), group, depth + 1);
            }
        }
    });
}

fn leaf(entry: &mut Encoder, file: &DraftFile) {
    entry.dict(|d| {
        d.key("").dict(|d| {
            if file.executable {
                d.key("attr").bytes("x");
            }
            d.key("length").int(file.length as i64);
            if let (Some(root), true) = (&file.root, file.length > 0) {
                d.key("pieces root").bytes(root);
            }
        });
    });
}

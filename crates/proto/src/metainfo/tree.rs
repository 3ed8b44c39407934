//! The v2 file tree and piece layers (BEP 52).

use super::error::MetainfoError;
use super::files::{Attributes, Listing, checked_end, length_of, symlink};
use super::names::text;
use super::{File, MAX_FILES, NamePolicy, check_path_with};
use crate::bencode::{Dict, Value};
use crate::hash::Sha256;
use crate::merkle;

/// Reads `tree`. Where the one file of the torrent is the torrent itself, `name` is its name too; in
/// all other cases `name` is the folder.
pub(super) fn list(
    tree: &Dict<'_>,
    name: &str,
    single_file: bool,
    piece_length: u32,
    names: NamePolicy,
) -> Result<Listing, MetainfoError> {
    let mut walk = Walk {
        listing: Listing::default(),
        name,
        single_file,
        piece_length: u64::from(piece_length),
        names,
    };
    walk.folder(tree)?;
    let listing = walk.listing;
    if listing.files.is_empty() && listing.symlinks.is_empty() {
        return Err(MetainfoError::NoFiles);
    }
    Ok(listing)
}

/// Whether `tree` is that of a torrent that is one file called `name`. BEP 52 calls a tree of one file a
/// single file whatever the torrent's name, but a folder that holds one file gives the same tree;
/// going by the name keeps both.
pub(super) fn is_single(tree: &Dict<'_>, name: &str) -> bool {
    let mut entries = tree.iter();
    match (entries.next(), entries.next()) {
        (Some((key, Value::Dict(entry))), None) => text(key) == name && leaf(entry).is_some(),
        _ => false,
    }
}

/// The properties of the file that `entry` is, if it is one: they are under the empty key.
fn leaf<'a, 'b>(entry: &'b Dict<'a>) -> Option<&'b Value<'a>> {
    entry.get("")
}

struct Walk<'n> {
    listing: Listing,
    name: &'n str,
    single_file: bool,
    piece_length: u64,
    names: NamePolicy,
}

impl Walk<'_> {
    /// Goes through the tree in order. The stack is as deep as the tree, which bencode bounds.
    fn folder(&mut self, tree: &Dict<'_>) -> Result<(), MetainfoError> {
        let mut path = Vec::new();
        if !self.single_file {
            path.push(self.name.to_owned());
        }
        let mut stack = vec![tree.iter()];
        while let Some(open) = stack.last_mut() {
            let Some((key, value)) = open.next() else {
                stack.pop();
                path.pop();
                continue;
            };
            path.push(text(key).into_owned());
            let malformed = || MetainfoError::FileTree(path.join("/"));
            let entry = value.as_dict().ok_or_else(malformed)?;
            // An empty key stands for the folder itself, which must not be a file.
            if key.is_empty() {
                return Err(malformed());
            }
            let Some(properties) = leaf(entry) else {
                stack.push(entry.iter());
                continue;
            };
            let properties = properties.as_dict().ok_or_else(malformed)?;
            if entry.len() > 1 {
                return Err(malformed());
            }
            self.file(path.clone(), properties)?;
            path.pop();
        }
        Ok(())
    }

    fn file(&mut self, path: Vec<String>, entry: &Dict<'_>) -> Result<(), MetainfoError> {
        let listing = &mut self.listing;
        if listing.files.len() + listing.symlinks.len() >= MAX_FILES {
            return Err(MetainfoError::TooManyFiles);
        }
        let attributes = Attributes::of(entry);
        if attributes.symlink {
            let link = symlink(entry, path, self.name, self.names)?;
            listing.symlinks.push(link);
            return Ok(());
        }
        check_path_with(&path, self.names)
            .map_err(|fault| MetainfoError::UnsafePath(path.join("/"), fault))?;
        let length = length_of(entry, || path.join("/"))?;
        let offset = listing
            .space
            .checked_next_multiple_of(self.piece_length)
            .ok_or(MetainfoError::TotalTooLarge)?;
        let end = checked_end(offset, length)?;
        let mut root = None;
        if length > 0 {
            root = entry
                .bytes("pieces root")
                .and_then(Sha256::from_slice)
                .filter(|root| *root != Sha256::default());
            if root.is_none() {
                return Err(MetainfoError::RootMissing(path.join("/")));
            }
            listing.space = end;
        }
        listing.files.push(File {
            path,
            length,
            offset,
            sha1: None,
            root,
            layer: Vec::new(),
            executable: attributes.executable,
        });
        Ok(())
    }
}

/// Gives every file its piece layer out of `layers`, each checked against the file's root.
pub(super) fn fill_layers(
    files: &mut [File],
    layers: &Dict<'_>,
    piece_length: u32,
) -> Result<(), MetainfoError> {
    // `Dict::get` takes text; roots are not text. Keys are sorted, so a search does.
    let sorted: Vec<(&[u8], &Value<'_>)> = layers.iter().collect();
    for file in files {
        let Some(root) = file.root else { continue };
        if file.length <= u64::from(piece_length) {
            continue;
        }
        let layer = sorted
            .binary_search_by_key(&&root.0[..], |(key, _)| key)
            .ok()
            .and_then(|at| sorted.get(at)?.1.as_bytes())
            .ok_or_else(|| MetainfoError::LayerMissing(file.path.join("/")))?;
        set_layer(file, layer, piece_length)?;
    }
    Ok(())
}

/// Gives one file the layer that `bytes` holds, 32 bytes a piece, if it leads to the file's root.
pub(super) fn set_layer(
    file: &mut File,
    bytes: &[u8],
    piece_length: u32,
) -> Result<(), MetainfoError> {
    let (hashes, rest) = bytes.as_chunks::<{ Sha256::LEN }>();
    let pieces = file.length.div_ceil(u64::from(piece_length));
    if !rest.is_empty() || hashes.len() as u64 != pieces {
        return Err(MetainfoError::LayerMissing(file.path.join("/")));
    }
    let layer: Vec<Sha256> = hashes.iter().copied().map(Sha256).collect();
    let root = file.root.unwrap_or_default();
    if !merkle::verify_layer(&layer, file.length, piece_length, &root) {
        return Err(MetainfoError::LayerMismatch(file.path.join("/")));
    }
    file.layer = layer;
    Ok(())
}

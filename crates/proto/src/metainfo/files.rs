//! The v1 file list (BEP 3, BEP 47).

use super::error::MetainfoError;
use super::names::text;
use super::{File, MAX_FILES, NamePolicy, Symlink, check_path_with};
use crate::bencode::{Dict, Value};
use crate::hash::Sha1;
use core::ops::Range;

/// What one half (v1 or v2) of an info dictionary says about files.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) files: Vec<File>,
    pub(super) symlinks: Vec<Symlink>,
    /// Ranges of the byte space that are padding, in order and not touching one another.
    pub(super) padding: Vec<Range<u64>>,
    /// End of the byte space, padding included.
    pub(super) space: u64,
}

/// What the characters of `attr` say (BEP 47); unknown ones are ignored.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Attributes {
    pub(super) padding: bool,
    pub(super) executable: bool,
    pub(super) symlink: bool,
}

impl Attributes {
    pub(super) fn of(entry: &Dict<'_>) -> Self {
        let attr = entry.bytes("attr").unwrap_or_default();
        Self {
            padding: attr.contains(&b'p'),
            executable: attr.contains(&b'x'),
            symlink: attr.contains(&b'l'),
        }
    }
}

/// Name of the pad files that BitComet wrote before BEP 47.
const BITCOMET_PADDING: &str = "_____padding_file_";

/// Reads `files`, the entries of a torrent whose folder is `name`.
pub(super) fn list(
    entries: &[Value<'_>],
    name: &str,
    names: NamePolicy,
) -> Result<Listing, MetainfoError> {
    // With pad files there is at most one more entry for each file.
    if entries.len() > 2 * MAX_FILES {
        return Err(MetainfoError::TooManyFiles);
    }
    let mut listing = Listing::default();
    for entry in entries {
        let entry = entry.as_dict().ok_or(MetainfoError::WrongType("files"))?;
        listing.add(entry, name, names)?;
    }
    if listing.files.is_empty() && listing.symlinks.is_empty() {
        return Err(MetainfoError::NoFiles);
    }
    if listing.files.len() > MAX_FILES {
        return Err(MetainfoError::TooManyFiles);
    }
    Ok(listing)
}

/// Reads the one file that `info` itself describes.
pub(super) fn single(info: &Dict<'_>, name: &str) -> Result<Listing, MetainfoError> {
    let mut listing = Listing::default();
    let length = length_of(info, || name.to_owned())?;
    listing.push(vec![name.to_owned()], length, info);
    Ok(listing)
}

impl Listing {
    fn add(
        &mut self,
        entry: &Dict<'_>,
        name: &str,
        names: NamePolicy,
    ) -> Result<(), MetainfoError> {
        let attributes = Attributes::of(entry);
        let path = path_of(entry, name)?;
        let shown = || path.join("/");
        if attributes.symlink {
            let link = symlink(entry, path.clone(), name, names)?;
            self.symlinks.push(link);
            return Ok(());
        }
        let length = length_of(entry, shown)?;
        let end = checked_end(self.space, length)?;
        // Nobody writes pad files, so their paths are not looked at.
        let bitcomet = path
            .iter()
            .skip(1)
            .any(|part| part.starts_with(BITCOMET_PADDING));
        if attributes.padding || bitcomet {
            self.pad(end);
            return Ok(());
        }
        check_path_with(&path, names).map_err(|fault| MetainfoError::UnsafePath(shown(), fault))?;
        if path.len() < 2 {
            return Err(MetainfoError::Missing("path"));
        }
        self.push(path, length, entry);
        Ok(())
    }

    fn push(&mut self, path: Vec<String>, length: u64, entry: &Dict<'_>) {
        self.files.push(File {
            path,
            length,
            offset: self.space,
            sha1: entry.bytes("sha1").and_then(Sha1::from_slice),
            root: None,
            layer: Vec::new(),
            executable: Attributes::of(entry).executable,
        });
        self.space += length;
    }

    /// Makes everything from the end of the byte space up to `end` padding.
    fn pad(&mut self, end: u64) {
        let start = self.space;
        self.space = end;
        match self.padding.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ if start < end => self.padding.push(start..end),
            _ => {}
        }
    }
}

/// `start + length`, if that is less than 2^63: offsets are signed in most file interfaces.
pub(super) fn checked_end(start: u64, length: u64) -> Result<u64, MetainfoError> {
    start
        .checked_add(length)
        .filter(|end| i64::try_from(*end).is_ok())
        .ok_or(MetainfoError::TotalTooLarge)
}

pub(super) fn length_of(entry: &Dict<'_>, path: impl Fn() -> String) -> Result<u64, MetainfoError> {
    match entry.get("length") {
        None => Err(MetainfoError::Missing("length")),
        Some(Value::Int(length)) => {
            u64::try_from(*length).map_err(|_| MetainfoError::NegativeLength(path()))
        }
        Some(_) => Err(MetainfoError::WrongType("length")),
    }
}

/// The path of a v1 entry below `name`, not checked; `path.utf-8` is what clients of the time before
/// UTF-8 was agreed on wrote beside `path`. May hold `name` alone, which is right for padding only.
fn path_of(entry: &Dict<'_>, name: &str) -> Result<Vec<String>, MetainfoError> {
    let parts = entry.list("path.utf-8").or_else(|| entry.list("path"));
    let mut path = vec![name.to_owned()];
    for part in parts.unwrap_or_default() {
        let part = part.as_bytes().ok_or(MetainfoError::WrongType("path"))?;
        path.push(text(part).into_owned());
    }
    Ok(path)
}

/// The link at `path`, whose entry says where it points relative to the torrent's folder.
pub(super) fn symlink(
    entry: &Dict<'_>,
    path: Vec<String>,
    name: &str,
    names: NamePolicy,
) -> Result<Symlink, MetainfoError> {
    if path.len() < 2 {
        return Err(MetainfoError::Missing("path"));
    }
    check_path_with(&path, names)
        .map_err(|fault| MetainfoError::UnsafePath(path.join("/"), fault))?;
    let parts = entry
        .list("symlink path")
        .ok_or(MetainfoError::Missing("symlink path"))?;
    let mut target = vec![name.to_owned()];
    for part in parts {
        let part = part
            .as_bytes()
            .ok_or(MetainfoError::WrongType("symlink path"))?;
        target.push(text(part).into_owned());
    }
    if target.len() < 2 || check_path_with(&target, names).is_err() {
        return Err(MetainfoError::SymlinkLeaves(path.join("/")));
    }
    Ok(Symlink { path, target })
}

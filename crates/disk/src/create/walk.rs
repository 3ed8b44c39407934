//! Finding the files that a torrent is to hold.

use super::{CreateError, CreateRequest, Symlinks};
use samara_proto::metainfo::MAX_FILES;
use std::fs::{self, FileType, Metadata};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

/// Most entries that are looked at, folders and links included. Links that are followed can make a small
/// tree endless.
const MAX_ENTRIES: usize = 4 * MAX_FILES;

/// What was found.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) name: String,
    pub(super) single_file: bool,
    pub(super) sources: Vec<Source>,
    pub(super) skipped: Vec<PathBuf>,
}

/// A file to be hashed, as it was when it was found.
#[derive(Debug)]
pub(super) struct Source {
    /// Below the torrent's folder; empty if it is the torrent.
    pub(super) path: Vec<String>,
    pub(super) file: PathBuf,
    pub(super) length: u64,
    pub(super) executable: bool,
    modified: Option<SystemTime>,
}

impl Source {
    fn new(path: Vec<String>, file: &Path, metadata: &Metadata) -> Self {
        Self {
            path,
            file: file.to_owned(),
            length: metadata.len(),
            executable: is_executable(metadata),
            modified: metadata.modified().ok(),
        }
    }

    /// Refuses a file whose length or time of change is another one now.
    pub(super) fn check_unchanged(&self) -> Result<(), CreateError> {
        let now = fs::metadata(&self.file);
        let same = now.is_ok_and(|now| {
            now.is_file() && now.len() == self.length && now.modified().ok() == self.modified
        });
        if same {
            Ok(())
        } else {
            Err(CreateError::Changed(self.file.clone()))
        }
    }
}

#[cfg(unix)]
fn is_executable(metadata: &Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o100 != 0
}

#[cfg(not(unix))]
fn is_executable(_: &Metadata) -> bool {
    false
}

pub(super) fn walk(request: &CreateRequest, cancel: &AtomicBool) -> Result<Tree, CreateError> {
    let mut walk = Walk {
        symlinks: request.symlinks,
        cancel,
        sources: Vec::new(),
        skipped: Vec::new(),
        entries: 0,
        above: Vec::new(),
    };
    let (own_name, single_file) = match request.paths.as_slice() {
        [] => return Err(CreateError::NoPaths),
        [path] => {
            let metadata = stat(path)?;
            walk.add(path, &metadata, Vec::new())?;
            (Some(name_of(path)?), metadata.is_file())
        }
        paths => {
            for path in paths {
                walk.add(path, &stat(path)?, vec![name_of(path)?])?;
            }
            (common_parent(paths), false)
        }
    };
    let name = request.name.clone().or(own_name);
    Ok(Tree {
        name: name.ok_or(CreateError::NameNeeded)?,
        single_file,
        sources: walk.sources,
        skipped: walk.skipped,
    })
}

fn stat(path: &Path) -> Result<Metadata, CreateError> {
    fs::metadata(path).map_err(|error| CreateError::io("open", path, error))
}

/// The last component of `path`, also where it is written as `.` or `a/..`.
fn name_of(path: &Path) -> Result<String, CreateError> {
    let whole;
    let name = match path.file_name() {
        Some(name) => name,
        None => {
            whole = fs::canonicalize(path).map_err(|error| CreateError::io("open", path, error))?;
            whole.file_name().ok_or(CreateError::NameNeeded)?
        }
    };
    match name.to_str() {
        Some(name) => Ok(name.to_owned()),
        None => Err(CreateError::NotUtf8(path.to_owned())),
    }
}

/// Name of the folder that all of `paths` are in, if it is one.
fn common_parent(paths: &[PathBuf]) -> Option<String> {
    let parent = |path: &PathBuf| Some(std::path::absolute(path).ok()?.parent()?.to_owned());
    let first = parent(paths.first()?)?;
    let same = paths
        .iter()
        .all(|path| parent(path).as_ref() == Some(&first));
    same.then(|| name_of(&first).ok()).flatten()
}

struct Walk<'a> {
    symlinks: Symlinks,
    cancel: &'a AtomicBool,
    sources: Vec<Source>,
    skipped: Vec<PathBuf>,
    entries: usize,
    /// The folders that the walk is inside of, without links in their paths.
    above: Vec<PathBuf>,
}

impl Walk<'_> {
    /// Adds what `file` is, links followed. Recursion is as deep as folders are, which the system
    /// bounds by the length of a path (4,096 bytes).
    fn add(
        &mut self,
        file: &Path,
        metadata: &Metadata,
        path: Vec<String>,
    ) -> Result<(), CreateError> {
        if metadata.is_dir() {
            self.folder(file, &path)
        } else if metadata.is_file() {
            self.sources.push(Source::new(path, file, metadata));
            Ok(())
        } else {
            Err(CreateError::Special {
                path: file.to_owned(),
                kind: kind(metadata.file_type()),
            })
        }
    }

    fn folder(&mut self, folder: &Path, path: &[String]) -> Result<(), CreateError> {
        let list = |error| CreateError::io("list", folder, error);
        let real = fs::canonicalize(folder).map_err(list)?;
        if self.above.contains(&real) {
            return Err(CreateError::LinkLoop(folder.to_owned()));
        }
        self.above.push(real);
        let mut names = Vec::new();
        for entry in fs::read_dir(folder).map_err(list)? {
            names.push(entry.map_err(list)?.file_name());
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                return Err(CreateError::TooManyEntries(folder.to_owned()));
            }
        }
        // Sorted, so that the same folder gives the same error everywhere.
        names.sort_unstable();
        for name in names {
            if self.cancel.load(Ordering::Relaxed) {
                return Err(CreateError::Cancelled);
            }
            let file = folder.join(&name);
            let Some(name) = name.to_str() else {
                return Err(CreateError::NotUtf8(file));
            };
            let metadata = fs::symlink_metadata(&file)
                .map_err(|error| CreateError::io("open", &file, error))?;
            let below = [path, &[name.to_owned()]].concat();
            if !metadata.is_symlink() {
                self.add(&file, &metadata, below)?;
                continue;
            }
            match self.symlinks {
                Symlinks::Follow => {
                    let target = fs::metadata(&file).map_err(|error| {
                        CreateError::io("follow the symbolic link", &file, error)
                    })?;
                    self.add(&file, &target, below)?;
                }
                Symlinks::Skip => self.skipped.push(file),
                Symlinks::Refuse => return Err(CreateError::LinkRefused(file)),
            }
        }
        self.above.pop();
        Ok(())
    }
}

#[cfg(unix)]
fn kind(file_type: FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    if file_type.is_fifo() {
        "named pipe"
    } else if file_type.is_socket() {
        "socket"
    } else {
        "device"
    }
}

#[cfg(not(unix))]
fn kind(_: FileType) -> &'static str {
    "special file"
}

//! A torrent's bytes in their files.
//!
//! All I/O is positional, so that any number of threads read and write at once without locks around
//! it. Nothing here checks hashes: who writes has verified before, who reads to serve reads what was
//! verified.

mod durable;
mod error;
mod fingerprint;
mod io;
mod layout;
mod pool;
mod root;
mod seen;

pub use error::{Cause, DiskError, Fault, Op};
pub use fingerprint::Fingerprint;
pub use layout::{Extent, Layout};
pub use pool::Descriptors;
pub(crate) use root::{Root, sync_folder};
pub use seen::Change;

use crate::seam::{Action, Seam};
use durable::Unsynced;
use pool::Pool;
use root::Access;
use rustix::io::Errno;
use samara_proto::metainfo::{File as Entry, Info};
use seen::Seen;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Folder below the root that holds the journals; no torrent may write there.
pub const JOURNAL_FOLDER: &str = ".samara";

/// How a torrent's files are opened.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// Make what is missing and allow writes. Otherwise nothing on the disk is changed, and missing
    /// files are errors when they are read.
    pub write: bool,
    /// Take the space of all files at once rather than as they are written, so that a full disk is
    /// noticed before the download. Off by default: files are sparse.
    pub preallocate: bool,
    /// Cut files that are longer than the torrent says. Off by default: they are refused.
    pub truncate_longer: bool,
    /// Reading only: follow symbolic links below the root, for data that the user has arranged.
    /// Never followed when writing.
    pub follow_links: bool,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            write: true,
            preallocate: false,
            truncate_longer: false,
            follow_links: false,
        }
    }
}

impl StoreOptions {
    /// For data that is only read: seed, verify.
    #[must_use]
    pub fn read_only() -> Self {
        Self {
            write: false,
            ..Self::default()
        }
    }
}

/// A part of a span, where it is: for a caller that sends file bytes without copying them.
#[derive(Clone, Debug)]
pub enum Segment {
    /// Bytes of a file.
    File {
        /// The open file. Use positional calls only: it is shared.
        file: Arc<File>,
        /// First byte, counted from the start of the file.
        offset: u64,
        /// Length in bytes.
        len: u32,
    },
    /// Padding.
    Zeros {
        /// Length in bytes.
        len: u32,
    },
}

/// The open files of one torrent. Share it in an `Arc`.
#[derive(Debug)]
pub struct Store {
    info: Arc<Info>,
    layout: Layout,
    root: Root,
    options: StoreOptions,
    pool: Pool,
    /// Inode of each file as first seen; 0 is not seen yet. A file that is replaced while we run has
    /// another one, and must neither be served nor vouched for.
    inodes: Box<[AtomicU64]>,
    seen: Seen,
    unsynced: Mutex<Unsynced>,
    /// All files are on the root's file system, so that one `syncfs` reaches them.
    one_device: bool,
    /// That file system is tmpfs or ramfs.
    in_memory: bool,
}

impl Store {
    /// Opens a torrent's files below `root`: makes folders and files (at their full length, sparse
    /// unless asked otherwise) where `options.write`, and checks what is there already. Everything
    /// is checked before anything is made.
    ///
    /// # Errors
    /// What could not be made or opened, or was refused, and why.
    pub fn open(info: Arc<Info>, root: &Path, options: StoreOptions) -> Result<Self, DiskError> {
        Self::open_at(info, root, options, Seam::default())
    }

    /// The same with a seam.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn open_at(
        info: Arc<Info>,
        root: &Path,
        options: StoreOptions,
        seam: Seam,
    ) -> Result<Self, DiskError> {
        Self::open_among(info, root, options, seam, Descriptors::of_process())
    }

    /// The same with descriptors that are not the process's.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn open_among(
        info: Arc<Info>,
        root: &Path,
        options: StoreOptions,
        seam: Seam,
        descriptors: &Arc<Descriptors>,
    ) -> Result<Self, DiskError> {
        let follow = options.follow_links && !options.write;
        let files = info.files.iter().map(|file| &file.path);
        let mut paths = files.chain(info.symlinks.iter().map(|link| &link.path));
        if let Some(path) = paths.find(|path| is_reserved(path)) {
            let path = root.join(path.join("/"));
            return Err(DiskError::new(Op::Open, path, Fault::Reserved));
        }
        let root = Root::open(root, options.write, follow, seam)?;
        let mut store = Self {
            layout: Layout::new(&info),
            pool: Pool::new(descriptors),
            inodes: info.files.iter().map(|_| AtomicU64::new(0)).collect(),
            seen: Seen::new(info.files.len()),
            unsynced: Mutex::default(),
            one_device: true,
            in_memory: lives_in_memory(&root),
            info,
            root,
            options,
        };
        store.survey()?;
        if options.write {
            store.make_files()?;
        }
        Ok(store)
    }

    /// Looks at what is there; refuses what cannot be worked with.
    fn survey(&mut self) -> Result<(), DiskError> {
        let device = rustix::fs::fstat(self.root.fd())
            .ok()
            .map(|stat| stat.st_dev);
        let mut one_device = true;
        for ((entry, inode), index) in self.info.files.iter().zip(&self.inodes).zip(0u32..) {
            let fail = |error| {
                Err(DiskError::new(
                    Op::Open,
                    self.root.full_path(&entry.path),
                    error,
                ))
            };
            let (file, stat) = match self.root.file(&entry.path, Access::Read) {
                Ok(found) => found,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                // May be writable all the same; if not, making the files says so.
                Err(error) if is_errno(&error, Errno::ACCESS) && self.options.write => continue,
                Err(error) => return fail(error),
            };
            let found = Fingerprint::of(&stat);
            if found.size > entry.length && !(self.options.write && self.options.truncate_longer) {
                let fault = Fault::Longer {
                    found: found.size,
                    wanted: entry.length,
                };
                return fail(fault.into());
            }
            one_device &= Some(stat.st_dev) == device;
            inode.store(found.inode, Ordering::Relaxed);
            self.seen.known(index).set(self.look_at(index, &file)?);
        }
        self.one_device = one_device;
        self.in_memory &= one_device;
        Ok(())
    }

    fn make_files(&self) -> Result<(), DiskError> {
        let mut made = BTreeSet::new();
        for ((entry, inode), index) in self.info.files.iter().zip(&self.inodes).zip(0u32..) {
            self.root.make_parent(&entry.path, &mut made)?;
            let path = || self.root.full_path(&entry.path);
            let access = Access::Create {
                executable: entry.executable,
            };
            let (file, stat) = self
                .root
                .file(&entry.path, access)
                .map_err(|error| DiskError::new(Op::Create, path(), error))?;
            if inode.load(Ordering::Relaxed) == 0 {
                self.root.name_made(&entry.path);
            }
            self.resize(&file, &stat, entry)
                .map_err(|error| DiskError::new(Op::Resize, path(), error))?;
            let mode = stat.st_mode;
            if entry.executable && mode & 0o111 == 0 {
                // Who may read may run. Not every file system has the bit: no reason to stop.
                let mode = rustix::fs::Mode::from_raw_mode(mode | (mode & 0o444) >> 2);
                let _ = rustix::fs::fchmod(&file, mode);
            }
            inode.store(Fingerprint::of(&stat).inode, Ordering::Relaxed);
            self.seen.known(index).set(self.look_at(index, &file)?);
        }
        for link in &self.info.symlinks {
            self.root.make_parent(&link.path, &mut made)?;
            // Not every file system has links, and what is there already stays: a torrent is whole
            // without them.
            let _ = self.root.make_link(&link.path, &link.target);
        }
        Ok(())
    }

    /// Gives a file its length. One that has it is not touched, so that its times stay.
    fn resize(&self, file: &File, stat: &rustix::fs::Stat, entry: &Entry) -> std::io::Result<()> {
        let size = Fingerprint::of(stat).size;
        // `st_blocks` counts 512 bytes, whatever the file system's block is.
        let held = u64::try_from(stat.st_blocks)
            .unwrap_or(0)
            .saturating_mul(512);
        if size > entry.length && !self.options.truncate_longer {
            // Grew between the survey and now.
            let fault = Fault::Longer {
                found: size,
                wanted: entry.length,
            };
            return Err(fault.into());
        }
        let resize = Action::Resize(entry.length);
        let path = || self.root.full_path(&entry.path);
        if self.options.preallocate && held < entry.length && size <= entry.length {
            self.root.seam().pass(path, resize)?;
            let flags = rustix::fs::FallocateFlags::empty();
            match rustix::fs::fallocate(file, flags, 0, entry.length) {
                Ok(()) => return Ok(()),
                // The file system cannot: sparse it is.
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if size != entry.length {
            self.root.seam().pass(path, resize)?;
            rustix::fs::ftruncate(file, entry.length)?;
        }
        Ok(())
    }

    /// What is stored.
    #[must_use]
    pub fn info(&self) -> &Arc<Info> {
        &self.info
    }

    /// Where the files are in the torrent's byte space.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Whether the files are page cache and nothing else, so that a read never waits. Such file systems
    /// do not know `RWF_NOWAIT`.
    #[must_use]
    pub fn in_memory(&self) -> bool {
        self.in_memory
    }

    /// The folder that the torrent is in.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// Where a file is; `None` if there is no such file in the torrent.
    #[must_use]
    pub fn path(&self, file: u32) -> Option<PathBuf> {
        let entry = self.info.files.get(file as usize)?;
        Some(self.root.full_path(&entry.path))
    }

    /// What a file looks like now; `None` if it is missing, is not a regular file, or is not the one
    /// that this store reads and writes.
    #[must_use]
    pub fn fingerprint(&self, file: u32) -> Option<Fingerprint> {
        let entry = self.info.files.get(file as usize)?;
        let found = fingerprint(&self.root, entry)?;
        let known = self.seen.known(file).get().inode;
        (known == 0 || known == found.inode).then_some(found)
    }

    fn error(&self, op: Op, file: u32, source: std::io::Error) -> DiskError {
        let path = self
            .path(file)
            .unwrap_or_else(|| self.root.path().to_path_buf());
        DiskError::new(op, path, source)
    }

    /// The open file at `index`, from the pool.
    fn descriptor(&self, index: u32) -> Result<Arc<File>, DiskError> {
        let at = index as usize;
        let (Some(entry), Some(inode)) = (self.info.files.get(at), self.inodes.get(at)) else {
            return Err(self.error(Op::Open, index, Fault::Misuse.into()));
        };
        let access = if self.options.write {
            Access::ReadWrite
        } else {
            Access::Read
        };
        self.pool.get(index, || {
            let opened = self.root.file(&entry.path, access);
            let (file, stat) = opened.map_err(|error| self.error(Op::Open, index, error))?;
            let found = Fingerprint::of(&stat).inode;
            match inode.compare_exchange(0, found, Ordering::Relaxed, Ordering::Relaxed) {
                Err(known) if known != found && !self.is_renumbered(index, &file) => {
                    Err(self.error(Op::Open, index, Fault::Replaced.into()))
                }
                _ => Ok(file),
            }
        })
    }
}

/// What a file below `root` looks like; `None` if it is missing or not a regular file.
pub(crate) fn fingerprint(root: &Root, entry: &Entry) -> Option<Fingerprint> {
    let stat = root.stat(&entry.path).ok()?;
    let regular = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file();
    let path = || root.full_path(&entry.path);
    regular.then(|| root.seam().fingerprint(path, Fingerprint::of(&stat)))
}

/// tmpfs and ramfs (`statfs(2)`).
fn lives_in_memory(root: &Root) -> bool {
    const TMPFS: i128 = 0x0102_1994;
    const RAMFS: i128 = 0x8584_58f6;
    rustix::fs::fstatfs(root.fd()).is_ok_and(|stat| {
        let kind = i128::from(stat.f_type);
        kind == TMPFS || kind == RAMFS
    })
}

fn is_errno(error: &std::io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

/// Whether something would lie where the journals are; also on file systems that fold case.
fn is_reserved(path: &[String]) -> bool {
    path.first()
        .is_some_and(|name| name.eq_ignore_ascii_case(JOURNAL_FOLDER))
}

#[cfg(test)]
mod tests;

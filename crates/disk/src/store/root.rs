//! The folder that a torrent is put in, and the only way from it to a file.
//!
//! Paths are made of components that the metainfo parser found safe; what it cannot know is what is
//! on the disk. A link planted in the download folder must not lead a write out of it, also not
//! between a check and its use, so that no path below the root is ever resolved by name from outside:
//! the kernel refuses links itself (`openat2` with `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS`, Linux
//! 5.6), or the components are walked one by one with `O_NOFOLLOW`.

use super::error::{DiskError, Fault, Op};
use crate::seam::{Action, Seam};
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    ReadWrite,
    /// As the one before; made if it is not there, executable or not.
    Create {
        executable: bool,
    },
}

impl Access {
    fn flags(self) -> OFlags {
        // Opening a pipe would wait for its other end; what is not a regular file is refused later.
        let base = OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        base | match self {
            Self::Read => OFlags::RDONLY,
            Self::ReadWrite => OFlags::RDWR,
            Self::Create { .. } => OFlags::RDWR | OFlags::CREATE,
        }
    }

    fn mode(self) -> Mode {
        match self {
            Self::Create { executable: true } => Mode::from_raw_mode(0o777),
            Self::Create { executable: false } => Mode::from_raw_mode(0o666),
            _ => Mode::empty(),
        }
    }
}

/// An open folder.
#[derive(Debug)]
pub(crate) struct Root {
    folder: OwnedFd,
    path: PathBuf,
    follow: bool,
    /// The kernel has no `openat2`, or a sandbox refuses it: walk.
    walk: AtomicBool,
    seam: Seam,
    /// Folders in which names were made that may not survive a loss of power yet. A file that was synced
    /// is of no use if nothing leads to it.
    renamed: Mutex<BTreeSet<PathBuf>>,
}

impl Root {
    /// Opens the folder; makes it if `create`. `follow`: links below it are the user's own and are
    /// followed (reading only).
    pub(crate) fn open(
        path: &Path,
        create: bool,
        follow: bool,
        seam: Seam,
    ) -> Result<Self, DiskError> {
        let mut renamed = BTreeSet::new();
        if create {
            let missing = path.ancestors().take_while(|folder| !folder.exists());
            renamed.extend(missing.filter_map(Path::parent).map(named));
            seam.pass(|| path.to_path_buf(), Action::Mkdir)
                .and_then(|()| std::fs::create_dir_all(path))
                .map_err(|error| DiskError::new(Op::CreateFolder, path, error))?;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        // The path to the root is the user's own word: links in it are followed.
        let folder = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|error| DiskError::new(Op::Open, path, error))?;
        Ok(Self {
            folder,
            path: path.to_path_buf(),
            follow,
            walk: AtomicBool::new(false),
            seam,
            renamed: Mutex::new(renamed),
        })
    }

    pub(crate) fn seam(&self) -> &Seam {
        &self.seam
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }

    /// Where a file is, to show to people.
    pub(crate) fn full_path(&self, components: &[String]) -> PathBuf {
        let mut path = self.path.clone();
        path.extend(components);
        path
    }

    /// Opens a regular file; anything else that is there is refused.
    pub(crate) fn file(&self, components: &[String], access: Access) -> io::Result<(File, Stat)> {
        let action = match access {
            Access::Create { .. } => Action::Create,
            Access::Read | Access::ReadWrite => Action::Open,
        };
        self.seam.pass(|| self.full_path(components), action)?;
        let fd = self.resolve(components, access)?;
        let stat = rustix::fs::fstat(&fd)?;
        if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() {
            return Err(Fault::NotAFile.into());
        }
        Ok((fd.into(), stat))
    }

    /// What is known about a file without opening its contents. Follows no link at its end.
    pub(crate) fn stat(&self, components: &[String]) -> io::Result<Stat> {
        let flags = if self.follow {
            AtFlags::empty()
        } else {
            AtFlags::SYMLINK_NOFOLLOW
        };
        match rustix::fs::statat(&self.folder, components.join("/"), flags) {
            // Longer than the kernel takes in one go (4,096 bytes): component by component.
            Err(Errno::NAMETOOLONG) => {
                let fd = self.walk(components, Access::Read)?;
                Ok(rustix::fs::fstat(&fd)?)
            }
            other => Ok(other?),
        }
    }

    fn resolve(&self, components: &[String], access: Access) -> io::Result<OwnedFd> {
        let joined = components.join("/");
        if self.follow && access == Access::Read {
            return Ok(rustix::fs::openat(
                &self.folder,
                joined,
                access.flags(),
                Mode::empty(),
            )?);
        }
        if !self.walk.load(Ordering::Relaxed) {
            let flags = access.flags() | OFlags::NOFOLLOW;
            let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
            match rustix::fs::openat2(&self.folder, joined, flags, access.mode(), how) {
                Ok(fd) => return Ok(fd),
                Err(Errno::LOOP) => return Err(Fault::Symlink.into()),
                // No such call, or a sandbox that refuses it.
                Err(Errno::NOSYS | Errno::PERM | Errno::INVAL | Errno::TOOBIG) => {
                    self.walk.store(true, Ordering::Relaxed);
                }
                Err(Errno::AGAIN | Errno::NAMETOOLONG) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.walk(components, access)
    }

    fn walk(&self, components: &[String], access: Access) -> io::Result<OwnedFd> {
        let Some((name, folders)) = components.split_last() else {
            return Err(Fault::NotAFile.into());
        };
        let folder = self.descend(folders, false)?;
        let at = folder.as_ref().map_or(self.fd(), AsFd::as_fd);
        let flags = access.flags() | OFlags::NOFOLLOW;
        match rustix::fs::openat(at, name.as_str(), flags, access.mode()) {
            Err(Errno::LOOP) => Err(Fault::Symlink.into()),
            other => Ok(other?),
        }
    }

    /// Opens a folder below the root (`None`: the root itself), and makes what is missing if
    /// `create`.
    fn descend(&self, folders: &[String], create: bool) -> io::Result<Option<OwnedFd>> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mut folder: Option<OwnedFd> = None;
        for (depth, name) in folders.iter().enumerate() {
            let name = name.as_str();
            let at = folder.as_ref().map_or(self.fd(), AsFd::as_fd);
            let mut next = rustix::fs::openat(at, name, flags, Mode::empty());
            if create && next.as_ref().err() == Some(&Errno::NOENT) {
                let above = self.full_path(&folders[..depth]);
                self.seam.pass(|| above.join(name), Action::Mkdir)?;
                self.renamed().insert(above);
                match rustix::fs::mkdirat(at, name, Mode::from_raw_mode(0o777)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                next = rustix::fs::openat(at, name, flags, Mode::empty());
            }
            if let Err(Errno::NOTDIR | Errno::LOOP) = next
                && is_link(at, name)
            {
                return Err(Fault::Symlink.into());
            }
            folder = Some(next?);
        }
        Ok(folder)
    }

    /// Makes a symbolic link to something below the root.
    pub(crate) fn make_link(&self, link: &[String], target: &[String]) -> io::Result<()> {
        let Some((name, folders)) = link.split_last() else {
            return Err(Fault::NotAFile.into());
        };
        let folder = self.descend(folders, false)?;
        let at = folder.as_ref().map_or(self.fd(), AsFd::as_fd);
        Ok(rustix::fs::symlinkat(
            relative(link, target),
            at,
            name.as_str(),
        )?)
    }

    fn renamed(&self) -> std::sync::MutexGuard<'_, BTreeSet<PathBuf>> {
        self.renamed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A name was made in the folder of this file.
    pub(crate) fn name_made(&self, components: &[String]) {
        let folders = components.split_last().map_or(&[][..], |(_, above)| above);
        self.renamed().insert(self.full_path(folders));
    }

    /// Names are durable from here on, by other means.
    pub(crate) fn names_synced(&self) {
        self.renamed().clear();
    }

    /// Folders that wait for [`Self::sync_names`].
    pub(crate) fn names_unsynced(&self) -> usize {
        self.renamed().len()
    }

    /// Makes durable what names there are in which folder. What fails is tried again the next time.
    pub(crate) fn sync_names(&self) -> Result<(), DiskError> {
        let folders = self.renamed().clone();
        for folder in folders {
            sync_folder(&self.seam, &folder)
                .map_err(|error| DiskError::new(Op::Sync, &folder, error))?;
            self.renamed().remove(&folder);
        }
        Ok(())
    }

    /// Makes the folder of a file. `made` remembers which are there, so that a torrent of 100,000
    /// files in a few folders does not walk for each.
    pub(crate) fn make_parent<'a>(
        &self,
        components: &'a [String],
        made: &mut BTreeSet<&'a [String]>,
    ) -> Result<(), DiskError> {
        let folders = components
            .split_last()
            .map_or(&[][..], |(_, folders)| folders);
        if folders.is_empty() || made.contains(folders) {
            return Ok(());
        }
        self.descend(folders, true)
            .map_err(|error| DiskError::new(Op::CreateFolder, self.full_path(folders), error))?;
        made.insert(folders);
        Ok(())
    }
}

/// A folder's path as it can be opened: "" is where we are.
fn named(folder: &Path) -> PathBuf {
    if folder.as_os_str().is_empty() {
        PathBuf::from(".")
    } else {
        folder.to_path_buf()
    }
}

/// Makes the names in a folder durable. File systems that cannot, and folders that may be written and not
/// read, are passed over: there is nothing else to do about them.
pub(crate) fn sync_folder(seam: &Seam, folder: &Path) -> io::Result<()> {
    seam.pass(|| folder.to_path_buf(), Action::SyncFolder)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let synced = rustix::fs::open(named(folder), flags, Mode::empty()).and_then(rustix::fs::fsync);
    match synced {
        Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::ACCESS | Errno::PERM | Errno::NOENT) => Ok(()),
        other => Ok(other?),
    }
}

/// The way from the folder that a link is in to its target.
fn relative(link: &[String], target: &[String]) -> String {
    let folders = link.split_last().map_or(&[][..], |(_, folders)| folders);
    let both = folders.iter().zip(target);
    let common = both.take_while(|(a, b)| a == b).count();
    let up = folders[common..].iter().map(|_| "..");
    let down = target[common..].iter().map(String::as_str);
    let way: Vec<&str> = up.chain(down).collect();
    if way.is_empty() {
        ".".into()
    } else {
        way.join("/")
    }
}

fn is_link(at: BorrowedFd<'_>, name: &str) -> bool {
    rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_symlink())
}

#[cfg(test)]
impl Root {
    /// As on a kernel without `openat2`.
    pub(crate) fn force_walk(&self) {
        self.walk.store(true, Ordering::Relaxed);
    }
}

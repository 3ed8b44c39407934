//! What each file looked like when we last had to do with it: how a change by somebody else shows while
//! we run.
//!
//! A file is looked at before and after each of our own writes, so that what they change is explained;
//! whatever else has changed at the next write, or at a [`Store::look`], was not us. Two writes to one
//! file take turns for that, as they do in the kernel, which holds the inode's lock for each.
//!
//! What is *known* of a file is what the journal may vouch for. A file that was changed by somebody else
//! keeps what was known of it until it has been hashed again: a journal that is written meanwhile does
//! not fit the file, and whoever reads it hashes the file as well.

use super::{DiskError, Fault, Fingerprint, Op, Store, fingerprint};
use std::collections::BTreeMap;
use std::fs::File;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks that all files share: more than there are threads that write.
const STRIPES: usize = 16;

/// Files that one look takes in besides those that are open: 128 of them are under 0.4 ms on a local disk.
const LOOK_MAX: u32 = 128;

/// What has become of a file behind our back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was written to, or cut, or its mode or name was changed. What is in it has to be hashed.
    Altered,
    /// It is not there any more.
    Gone,
    /// There is another one in its place.
    Replaced,
}

/// A file that was altered.
#[derive(Clone, Copy, Debug)]
struct Doubt {
    /// What it looks like, all our own writes explained.
    now: Fingerprint,
    /// It was altered again since [`Store::begin_recheck`].
    again: bool,
}

/// See the module's documentation. 32 bytes a file.
#[derive(Debug)]
pub(super) struct Seen {
    known: Box<[Mutex<Vec<Fingerprint>>]>,
    doubts: Mutex<BTreeMap<u32, Doubt>>,
    /// How many doubts there are, for those who read.
    doubtful: AtomicUsize,
    /// Where the next look begins.
    next: AtomicU32,
}

/// What is known of one file, locked.
#[derive(Debug)]
pub(super) struct Known<'a> {
    stripe: MutexGuard<'a, Vec<Fingerprint>>,
    at: usize,
}

impl Known<'_> {
    pub(super) fn get(&self) -> Fingerprint {
        self.stripe.get(self.at).copied().unwrap_or_default()
    }

    pub(super) fn set(&mut self, found: Fingerprint) {
        if let Some(known) = self.stripe.get_mut(self.at) {
            *known = found;
        }
    }
}

impl Seen {
    pub(super) fn new(files: usize) -> Self {
        let stripe = || Mutex::new(vec![Fingerprint::default(); files.div_ceil(STRIPES)]);
        Self {
            known: (0..STRIPES).map(|_| stripe()).collect(),
            doubts: Mutex::default(),
            doubtful: AtomicUsize::new(0),
            next: AtomicU32::new(0),
        }
    }

    pub(super) fn known(&self, file: u32) -> Known<'_> {
        let (stripe, at) = (file as usize % STRIPES, file as usize / STRIPES);
        Known {
            stripe: lock(&self.known[stripe]),
            at,
        }
    }

    /// Before a write, or at a look: this is what the file looks like. Whether all of that is known.
    fn meet(&self, known: &mut Known<'_>, file: u32, found: Fingerprint) -> bool {
        let mut doubts = lock(&self.doubts);
        if let Some(doubt) = doubts.get_mut(&file) {
            doubt.again |= doubt.now != found;
            doubt.now = found;
            return false;
        }
        if known.get().inode == 0 {
            known.set(found);
        }
        let same = known.get() == found;
        if !same {
            let now = found;
            doubts.insert(file, Doubt { now, again: false });
            self.doubtful.store(doubts.len(), Ordering::Release);
        }
        same
    }

    /// After a write of ours.
    fn wrote(&self, known: &mut Known<'_>, file: u32, found: Fingerprint) {
        match lock(&self.doubts).get_mut(&file) {
            Some(doubt) => doubt.now = found,
            None => known.set(found),
        }
    }

    /// Whether a file waits to be hashed again.
    pub(super) fn is_doubtful(&self, file: u32) -> bool {
        self.doubtful.load(Ordering::Acquire) != 0 && lock(&self.doubts).contains_key(&file)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that runs under these locks can leave them half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    /// What an open file looks like now.
    pub(super) fn look_at(&self, file: u32, descriptor: &File) -> Result<Fingerprint, DiskError> {
        let stat = rustix::fs::fstat(descriptor)
            .map_err(|error| self.error(Op::Open, file, error.into()))?;
        let path = || self.path(file).unwrap_or_default();
        Ok(self.root.seam().fingerprint(path, Fingerprint::of(&stat)))
    }

    /// Runs `write`, so that what it changes about the file is explained, and nothing else is.
    pub(super) fn explained(
        &self,
        file: u32,
        descriptor: &File,
        write: impl FnOnce() -> std::io::Result<()>,
    ) -> Result<(), DiskError> {
        let mut known = self.seen.known(file);
        let before = self.look_at(file, descriptor)?;
        self.seen.meet(&mut known, file, before);
        let written = write();
        let after = self.look_at(file, descriptor)?;
        self.seen.wrote(&mut known, file, after);
        written.map_err(|error| self.error(Op::Write, file, error))
    }

    /// What a file looked like when all that was done to it was known: what a journal may vouch for.
    /// `None`: it was not there.
    #[must_use]
    pub fn known(&self, file: u32) -> Option<Fingerprint> {
        let known = self.seen.known(file).get();
        (known.inode != 0).then_some(known)
    }

    /// Looks at the files that are open and at some of the others, a different part each time, and says
    /// which of them somebody else has changed. One that was altered is not served until it has been
    /// hashed again ([`Self::begin_recheck`], [`Self::settle`]), and is named at every look until then.
    pub fn look(&self) -> Vec<(u32, Change)> {
        let files = self.info.files.len() as u32;
        let slice = LOOK_MAX.min(files);
        let first = self.seen.next.fetch_add(slice, Ordering::Relaxed);
        let others = (0..slice).map(|at| first.wrapping_add(at) % files.max(1));
        let mut which: Vec<u32> = self.pool.indices();
        which.extend(others);
        which.extend(lock(&self.seen.doubts).keys());
        which.sort_unstable();
        which.dedup();
        let found = which
            .into_iter()
            .filter_map(|file| Some((file, self.change(file)?)));
        found.collect()
    }

    fn change(&self, file: u32) -> Option<Change> {
        let entry = self.info.files.get(file as usize)?;
        let mut known = self.seen.known(file);
        if known.get().inode == 0 {
            return None; // never there, so that nothing was ever said of it
        }
        let Some(found) = fingerprint(&self.root, entry) else {
            return Some(Change::Gone);
        };
        if !self.is_same(&mut known, file, found) {
            return Some(Change::Replaced);
        }
        (!self.seen.meet(&mut known, file, found)).then_some(Change::Altered)
    }

    /// Whether this is the file that is known. One that has got another number and nothing else is: some
    /// file systems (sshfs and others in user space) number files as they are looked up, and nobody
    /// can give another file the same time of its last change.
    fn is_same(&self, known: &mut Known<'_>, file: u32, found: Fingerprint) -> bool {
        let inode = found.inode;
        let renumbered = found
            == Fingerprint {
                inode,
                ..known.get()
            };
        if renumbered {
            known.set(found);
            if let Some(first) = self.inodes.get(file as usize) {
                first.store(inode, Ordering::Relaxed);
            }
        }
        renumbered || inode == known.get().inode
    }

    /// The same for a file that was opened under another number than before.
    pub(super) fn is_renumbered(&self, file: u32, descriptor: &File) -> bool {
        let mut known = self.seen.known(file);
        let found = self.look_at(file, descriptor);
        found.is_ok_and(|found| self.is_same(&mut known, file, found))
    }

    /// An altered file is about to be hashed: changes from here on count as new ones.
    pub fn begin_recheck(&self, file: u32) {
        if let Some(doubt) = lock(&self.seen.doubts).get_mut(&file) {
            doubt.again = false;
        }
    }

    /// An altered file was hashed, and what is wrong in it is no longer vouched for. False if it was
    /// altered again meanwhile: then it stays in doubt.
    pub fn settle(&self, file: u32) -> bool {
        // In this order, as everybody who takes both.
        let mut known = self.seen.known(file);
        let mut doubts = lock(&self.seen.doubts);
        match doubts.get(&file).copied() {
            Some(doubt) if doubt.again => return false,
            Some(doubt) => {
                known.set(doubt.now);
                doubts.remove(&file);
                self.seen.doubtful.store(doubts.len(), Ordering::Release);
            }
            None => {}
        }
        true
    }

    /// For those who serve: a file in doubt is not.
    pub(super) fn not_in_doubt(&self, file: u32) -> Result<(), DiskError> {
        if self.seen.is_doubtful(file) {
            return Err(self.error(Op::Read, file, Fault::Altered.into()));
        }
        Ok(())
    }
}

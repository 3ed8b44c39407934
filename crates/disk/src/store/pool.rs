//! Open descriptors, at most so many for all torrents together.
//!
//! The least recently used is closed when there is no room, whichever torrent's it is. Finding it costs O(log n).

use super::error::{Cause, DiskError};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Descriptors that are left to us where there is no limit, or a high one.
const MOST: usize = 4096;
/// ... and where the limit is very low.
const LEAST: usize = 16;
/// The part of the process's limit that files get; connections need most of the others.
const SHARE: u64 = 4;

/// The files that all torrents of a process, or of a part of it, hold open.
#[derive(Debug)]
pub struct Descriptors {
    slots: Mutex<Slots>,
}

/// A torrent, as it is numbered here, and the place of a file in it.
type Key = (u64, u32);

#[derive(Debug)]
struct Slot {
    file: Arc<File>,
    used: u64,
}

#[derive(Debug)]
struct Slots {
    open: HashMap<Key, Slot>,
    /// The same by when they were used last.
    by_use: BTreeMap<u64, Key>,
    clock: u64,
    cap: usize,
    torrents: u64,
}

impl Descriptors {
    /// At most `cap` files. One that is in use when its place is given away stays open until its user is done: at most as
    /// many more as there are operations under way.
    #[must_use]
    pub fn new(cap: usize) -> Arc<Self> {
        Arc::new(Self {
            slots: Mutex::new(Slots {
                open: HashMap::new(),
                by_use: BTreeMap::new(),
                clock: 0,
                cap: cap.max(1),
                torrents: 0,
            }),
        })
    }

    /// Those of this process: a quarter of what `ulimit -n` allows when they are first asked for, at least 16 and at
    /// most 4096.
    #[must_use]
    pub fn of_process() -> &'static Arc<Self> {
        static ALL: OnceLock<Arc<Descriptors>> = OnceLock::new();
        ALL.get_or_init(|| {
            let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
            Self::new(share_of(limit))
        })
    }

    /// Number of files held open.
    #[must_use]
    pub fn held(&self) -> usize {
        self.lock().open.len()
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        // Nothing that runs under the lock can leave the table half changed.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What files get of so many descriptors; `None` is no limit.
fn share_of(limit: Option<u64>) -> usize {
    let share = limit.map_or(MOST as u64, |limit| limit / SHARE);
    usize::try_from(share).unwrap_or(MOST).clamp(LEAST, MOST)
}

/// One torrent's open files, by index.
#[derive(Debug)]
pub(crate) struct Pool {
    all: Arc<Descriptors>,
    torrent: u64,
}

impl Pool {
    pub(crate) fn new(all: &Arc<Descriptors>) -> Self {
        let mut slots = all.lock();
        slots.torrents += 1;
        Self {
            torrent: slots.torrents,
            all: Arc::clone(all),
        }
    }

    /// The file at `index`, opened by `open` if it is not there. `open` runs outside the lock.
    pub(crate) fn get(
        &self,
        index: u32,
        open: impl Fn() -> Result<File, DiskError>,
    ) -> Result<Arc<File>, DiskError> {
        let key = (self.torrent, index);
        if let Some(file) = self.all.lock().touch(key) {
            return Ok(file);
        }
        let file = match open() {
            // Other parts of the process need descriptors too: give back what we can, keep fewer
            // from now on, and try once more.
            Err(error) if error.cause() == Cause::TooManyOpen => {
                self.all.lock().shrink();
                open()?
            }
            other => other?,
        };
        Ok(self.all.lock().insert(key, Arc::new(file)))
    }

    /// Which files are open.
    pub(crate) fn indices(&self) -> Vec<u32> {
        let slots = self.all.lock();
        let ours = slots.open.keys().filter(|key| key.0 == self.torrent);
        ours.map(|key| key.1).collect()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let closed = self.all.lock().close(self.torrent);
        // Outside the lock: closing the last descriptor of a deleted file frees its blocks.
        drop(closed);
    }
}

impl Slots {
    fn touch(&mut self, key: Key) -> Option<Arc<File>> {
        let slot = self.open.get_mut(&key)?;
        self.clock += 1;
        self.by_use.remove(&slot.used);
        slot.used = self.clock;
        self.by_use.insert(slot.used, key);
        Some(Arc::clone(&slot.file))
    }

    fn insert(&mut self, key: Key, file: Arc<File>) -> Arc<File> {
        if let Some(theirs) = self.touch(key) {
            return theirs;
        }
        while self.open.len() >= self.cap
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.open.remove(&oldest);
        }
        self.clock += 1;
        let slot = Slot {
            file: Arc::clone(&file),
            used: self.clock,
        };
        self.by_use.insert(slot.used, key);
        self.open.insert(key, slot);
        file
    }

    fn shrink(&mut self) {
        self.cap = (self.open.len() / 2).max(1);
        self.open.clear();
        self.by_use.clear();
    }

    /// Forgets a torrent.
    fn close(&mut self, torrent: u64) -> Vec<Slot> {
        let keys: Vec<Key> = self
            .open
            .keys()
            .filter(|key| key.0 == torrent)
            .copied()
            .collect();
        let slots = keys.iter().filter_map(|key| self.open.remove(key));
        let slots: Vec<Slot> = slots.collect();
        for slot in &slots {
            self.by_use.remove(&slot.used);
        }
        slots
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Result<File, DiskError> {
        Ok(tempfile::tempfile().expect("made"))
    }

    fn never() -> Result<File, DiskError> {
        panic!("it was open")
    }

    #[test]
    fn the_least_recently_used_goes_whichever_torrent_it_is_of() {
        let all = Descriptors::new(3);
        let (one, two) = (Pool::new(&all), Pool::new(&all));
        one.get(0, file).expect("open");
        two.get(0, file).expect("open");
        two.get(1, file).expect("open");
        one.get(0, never).expect("open");
        two.get(2, file).expect("open");
        assert_eq!(all.held(), 3);
        one.get(0, never).expect("open");
        let mut left = two.indices();
        left.sort_unstable();
        assert_eq!(left, [1, 2]);
        drop(two);
        assert_eq!((all.held(), one.indices()), (1, vec![0]));
        assert_eq!(all.lock().by_use.len(), 1);
    }

    #[test]
    fn when_there_are_no_more_descriptors_fewer_are_kept() {
        let all = Descriptors::new(100);
        let (one, two) = (Pool::new(&all), Pool::new(&all));
        for at in 0..20 {
            one.get(at, file).expect("open");
        }
        let failed = std::cell::Cell::new(false);
        two.get(0, || {
            if failed.replace(true) {
                return file();
            }
            let error = std::io::Error::from(rustix::io::Errno::MFILE);
            Err(DiskError::new(super::super::Op::Open, "x", error))
        })
        .expect("the second time");
        assert_eq!((all.held(), all.lock().cap), (1, 10));
    }

    #[test]
    fn files_get_a_part_of_what_the_process_may_open() {
        assert_eq!(share_of(Some(256)), 64);
        assert_eq!(share_of(Some(1024)), 256);
        assert_eq!(share_of(Some(20)), LEAST);
        assert_eq!(share_of(Some(1 << 20)), MOST);
        assert_eq!(share_of(None), MOST);
    }
}

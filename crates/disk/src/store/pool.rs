//! Open descriptors, at most so many.
//!
//! The least recently used is closed when there is no room. Finding it looks at every slot, which
//! for the default of 128 costs a tenth of what the `open` costs that made it necessary.

use super::error::{Cause, DiskError};
use std::collections::HashMap;
use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Debug)]
struct Slot {
    file: Arc<File>,
    used: u64,
}

#[derive(Debug)]
struct Slots {
    open: HashMap<u32, Slot>,
    clock: u64,
    cap: usize,
}

/// Open files by index. A descriptor that is in use when its slot is given away stays open until its
/// user is done: at most as many more as there are operations under way.
#[derive(Debug)]
pub(crate) struct Pool {
    slots: Mutex<Slots>,
}

impl Pool {
    pub(crate) fn new(cap: usize) -> Self {
        Self {
            slots: Mutex::new(Slots {
                open: HashMap::new(),
                clock: 0,
                cap: cap.max(1),
            }),
        }
    }

    /// The file at `index`, opened by `open` if it is not there. `open` runs outside the lock.
    pub(crate) fn get(
        &self,
        index: u32,
        open: impl Fn() -> Result<File, DiskError>,
    ) -> Result<Arc<File>, DiskError> {
        if let Some(file) = self.lock().touch(index) {
            return Ok(file);
        }
        let file = match open() {
            // Other parts of the process need descriptors too: give back what we can, keep fewer
            // from now on, and try once more.
            Err(error) if error.cause() == Cause::TooManyOpen => {
                self.lock().shrink();
                open()?
            }
            other => other?,
        };
        Ok(self.lock().insert(index, Arc::new(file)))
    }

    /// Which files are open.
    pub(crate) fn indices(&self) -> Vec<u32> {
        self.lock().open.keys().copied().collect()
    }

    /// Number of descriptors held.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.lock().open.len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Slots> {
        // Nothing that runs under the lock can leave the table half changed.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slots {
    fn touch(&mut self, index: u32) -> Option<Arc<File>> {
        self.clock += 1;
        let slot = self.open.get_mut(&index)?;
        slot.used = self.clock;
        Some(Arc::clone(&slot.file))
    }

    fn insert(&mut self, index: u32, file: Arc<File>) -> Arc<File> {
        if let Some(theirs) = self.touch(index) {
            return theirs;
        }
        while self.open.len() >= self.cap {
            let oldest = self.open.iter().min_by_key(|(_, slot)| slot.used);
            let Some(oldest) = oldest.map(|(&index, _)| index) else {
                break;
            };
            self.open.remove(&oldest);
        }
        let slot = Slot {
            file: Arc::clone(&file),
            used: self.clock,
        };
        self.open.insert(index, slot);
        file
    }

    fn shrink(&mut self) {
        self.cap = (self.open.len() / 2).max(1);
        self.open.clear();
    }
}

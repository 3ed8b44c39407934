//! Work on all cores, with progress and a way to stop.

use crate::store::DiskError;
use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::{error, fmt, panic, thread};

/// How a check over a whole torrent is run.
#[derive(Clone, Copy)]
pub struct Control<'a> {
    /// Threads to use; 0 is one for each core.
    pub threads: usize,
    /// Called with the number of bytes that were dealt with since the last call, from any of the
    /// threads.
    pub progress: &'a (dyn Fn(u64) + Sync),
    /// Set it to stop soon.
    pub cancel: &'a AtomicBool,
}

impl fmt::Debug for Control<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control")
            .field("threads", &self.threads)
            .field("cancel", &self.cancel)
            .finish_non_exhaustive()
    }
}

impl Control<'_> {
    pub(super) fn threads(&self) -> usize {
        match self.threads {
            0 => thread::available_parallelism().map_or(1, NonZero::get),
            threads => threads,
        }
    }

    pub(super) fn cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }
}

/// Why a check did not come to an end.
#[derive(Debug)]
pub enum CheckError {
    /// The disk failed; missing and short files are results, not failures.
    Disk(DiskError),
    /// It was told to stop.
    Cancelled,
}

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(error) => error.fmt(f),
            Self::Cancelled => f.write_str("the check was stopped"),
        }
    }
}

impl error::Error for CheckError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Disk(error) => Some(error),
            Self::Cancelled => None,
        }
    }
}

impl From<DiskError> for CheckError {
    fn from(error: DiskError) -> Self {
        Self::Disk(error)
    }
}

/// Does `work` for every unit below `units`, each thread with a scratch buffer of its own that stays
/// from unit to unit, and gives the results in no order. The first error stops all.
pub(super) fn parallel<T: Send>(
    control: Control<'_>,
    units: usize,
    work: impl Fn(usize, &mut Vec<u8>) -> Result<T, CheckError> + Sync,
) -> Result<Vec<T>, CheckError> {
    let next = AtomicUsize::new(0);
    let failure: Mutex<Option<CheckError>> = Mutex::new(None);
    let stop = AtomicBool::new(false);
    let run = || {
        let (mut done, mut scratch) = (Vec::new(), Vec::new());
        while !stop.load(Ordering::Relaxed) {
            let unit = next.fetch_add(1, Ordering::Relaxed);
            if unit >= units {
                break;
            }
            let result = if control.cancelled() {
                Err(CheckError::Cancelled)
            } else {
                work(unit, &mut scratch)
            };
            match result {
                Ok(result) => done.push(result),
                Err(error) => {
                    stop.store(true, Ordering::Relaxed);
                    if let Ok(mut failure) = failure.lock() {
                        failure.get_or_insert(error);
                    }
                }
            }
        }
        done
    };
    let done = thread::scope(|scope| {
        let others: Vec<_> = (1..control.threads().min(units))
            .map(|_| scope.spawn(run))
            .collect();
        let mut done = run();
        for other in others {
            match other.join() {
                Ok(more) => done.extend(more),
                Err(panic) => panic::resume_unwind(panic),
            }
        }
        done
    });
    match failure.into_inner() {
        Ok(None) => Ok(done),
        Ok(Some(error)) => Err(error),
        Err(poisoned) => poisoned.into_inner().map_or(Ok(done), Err),
    }
}

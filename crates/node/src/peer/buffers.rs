//! Read buffers that are used again.
//!
//! Blocks are slices of the buffer that they were read into, and stay until their piece is hashed and
//! written; then the buffer is free. Memory that comes fresh from the system costs a page fault for every
//! 4 KiB of it, a quarter of the time spent in receiving (0.07 CPU seconds a GiB). All torrents of a session share them: of a
//! thousand that are fetched at once most wait at any time, and what each would keep for itself is several times what is used.

use bytes::BytesMut;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Capacities of the buffers that are kept: two blocks and what is said between them for the connections of a swarm, many
/// blocks for a fast one, and what a reader comes by as it doubles and halves.
pub(crate) const SIZES: [usize; 4] = [36 * 1024, 72 * 1024, 144 * 1024, 256 * 1024];
/// Bytes in these buffers, used or free: what `Config::memory` and the batches between reader and torrent come to.
const KEPT_MAX: usize = 48 << 20;
/// Buffers that are looked at for a free one. The oldest is free first, as a rule.
const TRIES: usize = 4;

/// The buffers of one session's connections.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    /// Handles without content, the oldest first. The memory behind one is free when there is no other
    /// handle to it.
    kept: [Mutex<VecDeque<BytesMut>>; SIZES.len()],
    /// Their bytes.
    bytes: AtomicUsize,
    /// Torrents that receive.
    receiving: AtomicUsize,
}

/// A torrent receives. When the last one of a session no longer does, its buffers are let go.
#[derive(Debug)]
pub(crate) struct Receiving(Arc<Buffers>);

impl Receiving {
    pub(crate) fn begin(buffers: &Arc<Buffers>) -> Self {
        buffers.receiving.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(buffers))
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        if self.0.receiving.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.release();
        }
    }
}

impl Buffers {
    /// An empty buffer with room for `size` bytes.
    pub(crate) fn take(&self, size: usize) -> BytesMut {
        if let Some(mut kept) = self.of(size) {
            for _ in 0..TRIES.min(kept.len()) {
                let Some(mut buffer) = kept.pop_front() else {
                    break;
                };
                if buffer.try_reclaim(size) {
                    self.bytes.fetch_sub(size, Ordering::Relaxed);
                    return buffer;
                }
                kept.push_back(buffer);
            }
        }
        BytesMut::with_capacity(size)
    }

    /// Keeps what [`Buffers::take`] gave for `size`, whatever was cut from it meanwhile.
    pub(crate) fn give_back(&self, mut buffer: BytesMut, size: usize) {
        buffer.clear();
        if let Some(mut kept) = self.of(size)
            && self.bytes.load(Ordering::Relaxed) + size <= KEPT_MAX
        {
            self.bytes.fetch_add(size, Ordering::Relaxed);
            kept.push_back(buffer);
        }
    }

    /// Lets go of everything: nothing large is received any more.
    fn release(&self) {
        for (kept, size) in self.kept.iter().zip(SIZES) {
            let gone = std::mem::take(&mut *lock(kept)).len();
            self.bytes.fetch_sub(gone * size, Ordering::Relaxed);
        }
    }

    /// Those of one size; `None` if such are not kept.
    fn of(&self, size: usize) -> Option<MutexGuard<'_, VecDeque<BytesMut>>> {
        let at = SIZES.iter().position(|kept| *kept == size)?;
        self.kept.get(at).map(lock)
    }
}

fn lock(kept: &Mutex<VecDeque<BytesMut>>) -> MutexGuard<'_, VecDeque<BytesMut>> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_when_its_last_slice_is_gone() {
        for size in SIZES {
            let buffers = Buffers::default();
            let mut buffer = buffers.take(size);
            buffer.resize(size, 7);
            let place = buffer.as_ptr();
            let slices = [buffer.split_to(1000).freeze(), buffer.split_to(9).freeze()];
            buffers.give_back(buffer, size);
            let other = buffers.take(size);
            assert!(other.as_ptr() != place, "somebody still reads it");
            assert!(slices[0].iter().chain(&slices[1]).all(|byte| *byte == 7));
            drop(slices);
            let again = buffers.take(size);
            assert_eq!(again.as_ptr(), place);
            assert!(again.is_empty() && again.capacity() >= size);
        }
    }

    #[test]
    fn the_last_torrent_that_receives_lets_go_of_them() {
        let buffers = Arc::new(Buffers::default());
        let (one, other) = (Receiving::begin(&buffers), Receiving::begin(&buffers));
        buffers.give_back(BytesMut::new(), SIZES[1]);
        drop(one);
        assert_eq!(buffers.of(SIZES[1]).map(|kept| kept.len()), Some(1));
        drop(other);
        assert_eq!(buffers.of(SIZES[1]).map(|kept| kept.len()), Some(0));
    }

    #[test]
    fn no_more_than_the_limit_are_kept() {
        let buffers = Buffers::default();
        let count = |size| buffers.of(size).map(|kept| kept.len());
        for size in [SIZES[3], SIZES[0], 1] {
            for _ in 0..KEPT_MAX / SIZES[3] / 2 {
                buffers.give_back(BytesMut::with_capacity(1), size);
            }
        }
        let half = Some(KEPT_MAX / SIZES[3] / 2);
        assert_eq!(SIZES.map(count), [half, Some(0), Some(0), half]);
        for _ in 0..KEPT_MAX / SIZES[0] {
            buffers.give_back(BytesMut::with_capacity(1), SIZES[0]);
        }
        let rest = (KEPT_MAX - KEPT_MAX / 2) / SIZES[0];
        assert_eq!(SIZES.map(count), [Some(rest), Some(0), Some(0), half]);
        assert_eq!(count(1), None);
        buffers.release();
        assert_eq!(SIZES.map(count), [Some(0); 4]);
        assert_eq!(buffers.bytes.into_inner(), 0);
    }
}

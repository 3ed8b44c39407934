//! Read buffers that are used again.
//!
//! Blocks are slices of the buffer that they were read into, and stay until their piece is hashed and
//! written; then the buffer is free. Memory that comes fresh from the system costs a page fault for every
//! 4 KiB of it, a quarter of the time spent in receiving (0.07 CPU seconds a GiB).

use bytes::BytesMut;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Capacity of the buffers that are kept.
pub(crate) const BUFFER: usize = 256 * 1024;
/// Buffers that are kept, used or free: 48 MiB, what `Config::memory` and the batches between reader and
/// torrent come to.
const KEPT_MAX: usize = 192;
/// Buffers that are looked at for a free one. The oldest is free first, as a rule.
const TRIES: usize = 4;

/// The buffers of one torrent's connections.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    /// Handles without content, the oldest first. The memory behind one is free when there is no other
    /// handle to it.
    kept: Mutex<VecDeque<BytesMut>>,
}

impl Buffers {
    /// An empty buffer with room for [`BUFFER`] bytes.
    pub(crate) fn take(&self) -> BytesMut {
        let mut kept = self.lock();
        for _ in 0..TRIES.min(kept.len()) {
            let Some(mut buffer) = kept.pop_front() else {
                break;
            };
            if buffer.try_reclaim(BUFFER) {
                return buffer;
            }
            kept.push_back(buffer);
        }
        drop(kept);
        BytesMut::with_capacity(BUFFER)
    }

    /// Keeps what [`Buffers::take`] gave, whatever was cut from it meanwhile.
    pub(crate) fn give_back(&self, mut buffer: BytesMut) {
        buffer.clear();
        let mut kept = self.lock();
        if kept.len() < KEPT_MAX {
            kept.push_back(buffer);
        }
    }

    /// Lets go of everything: nothing large is received any more.
    pub(crate) fn release(&self) {
        *self.lock() = VecDeque::new();
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<BytesMut>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_when_its_last_slice_is_gone() {
        let buffers = Buffers::default();
        let mut buffer = buffers.take();
        buffer.resize(BUFFER, 7);
        let place = buffer.as_ptr();
        let slices = [buffer.split_to(1000).freeze(), buffer.split_to(9).freeze()];
        buffers.give_back(buffer);
        let other = buffers.take();
        assert!(other.as_ptr() != place, "somebody still reads it");
        assert!(slices[0].iter().chain(&slices[1]).all(|byte| *byte == 7));
        drop(slices);
        let again = buffers.take();
        assert_eq!(again.as_ptr(), place);
        assert!(again.is_empty() && again.capacity() >= BUFFER);
    }

    #[test]
    fn no_more_than_the_limit_are_kept() {
        let buffers = Buffers::default();
        for _ in 0..KEPT_MAX + 5 {
            buffers.give_back(BytesMut::with_capacity(1));
        }
        assert_eq!(buffers.lock().len(), KEPT_MAX);
        buffers.release();
        assert!(buffers.lock().is_empty());
    }
}

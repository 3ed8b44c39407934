//! Asking for memory before it is needed.
//!
//! In a table of a million swarms every step to a peer (table, swarm, pool, place) is a cache miss of 50
//! to 100 ns, and each needs the one before. But the packets of a batch do not need each other: asked
//! for side by side, their misses overlap.

/// Bytes of a cache line.
#[cfg(target_arch = "x86_64")]
const LINE: usize = 64;

/// Has the processor fetch all that `value` lies on; a hint, and nothing where there is no such thing.
#[inline]
pub(crate) fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let start = core::ptr::from_ref(value).cast::<i8>();
        for offset in (0..size_of::<T>()).step_by(LINE) {
            // SAFETY: a prefetch reads and writes nothing that the program can see, and cannot fault,
            // whatever the address; this one is inside of what a reference points to besides. SSE,
            // which has it, is part of x86-64.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(offset)) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

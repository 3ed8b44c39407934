//! What the language has no safe words for: two system calls, and a hint to the processor. `unsafe`
//! stands in these files and nowhere else in the crate.

#[cfg(all(feature = "serve", target_os = "linux"))]
pub(crate) mod packets;
pub(crate) mod prefetch;

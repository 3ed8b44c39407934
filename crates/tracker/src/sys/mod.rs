//! What the language has no safe words for: four system calls, a promise about a descriptor, and a hint to the
//! processor. `unsafe` stands in these files and nowhere else in the crate.

#[cfg(all(feature = "serve", target_os = "linux"))]
pub(crate) mod now;
#[cfg(all(feature = "serve", target_os = "linux"))]
pub(crate) mod packets;
pub(crate) mod prefetch;

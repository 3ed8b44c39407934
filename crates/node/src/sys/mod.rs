//! What the language has no safe words for: one system call. `unsafe` stands in this folder and nowhere else in the crate.

pub(crate) mod tcp;

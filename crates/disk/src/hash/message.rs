//! A message that lies in several places, as a piece does that came in 16 KiB blocks.

/// Zeros to hash where there is padding.
pub(super) static ZEROS: [u8; 16 * 1024] = [0; 16 * 1024];

/// What is hashed: the parts one after the other, and then `zeros` zero bytes (BEP 47 padding, which
/// is hashed and held nowhere).
#[derive(Debug)]
pub struct Message<'a, B> {
    /// The parts, in order; any of them may be empty.
    pub parts: &'a [B],
    /// Number of zero bytes after them.
    pub zeros: u64,
}

impl<B> Clone for Message<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for Message<'_, B> {}

impl<'a, B: AsRef<[u8]>> Message<'a, B> {
    /// The parts and nothing after them.
    #[must_use]
    pub fn new(parts: &'a [B]) -> Self {
        Self { parts, zeros: 0 }
    }

    /// Length in bytes, zeros included.
    #[must_use]
    pub fn len(&self) -> u64 {
        let held: u64 = self
            .parts
            .iter()
            .map(|part| part.as_ref().len() as u64)
            .sum();
        held + self.zeros
    }

    /// Whether there is nothing to hash.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

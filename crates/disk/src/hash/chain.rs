//! SHA-1 from the middle: the value that the chain has reached, and what comes of it.

use super::kernel::{Algorithm, Sha1};
use super::lane::BLOCK;

/// The value of SHA-1's chain before some byte of a message, which must be a multiple of 64 bytes from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sha1Chain([u32; 5]);

impl Default for Sha1Chain {
    fn default() -> Self {
        Self::START
    }
}

impl Sha1Chain {
    /// Before the first byte of a message.
    pub const START: Self = Self(Sha1::START);

    /// As it goes over the wire, in the order in which a digest is written.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 20]) -> Self {
        let (words, _) = bytes.as_chunks::<4>();
        let mut words = words.iter().map(|word| u32::from_be_bytes(*word));
        Self(std::array::from_fn(|_| words.next().unwrap_or_default()))
    }

    /// The inverse of [`Sha1Chain::from_bytes`]. After [`Sha1Chain::finish`] it is the digest.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 20] {
        let mut bytes = [0; 20];
        let (words, _) = bytes.as_chunks_mut::<4>();
        for (to, word) in words.iter_mut().zip(self.0) {
            *to = word.to_be_bytes();
        }
        bytes
    }

    /// Takes whole blocks of 64 bytes in; what is left of `bytes` is returned.
    #[must_use]
    pub fn take<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (whole, rest) = bytes.split_at(bytes.len() / BLOCK * BLOCK);
        Sha1::alone(&mut self.0, whole);
        rest
    }

    /// The end of a message of `length` bytes of which `rest` are still to come: less than a block.
    pub fn finish(&mut self, rest: &[u8], length: u64) {
        let mut end = [0; 2 * BLOCK];
        let rest = &rest[..rest.len().min(BLOCK - 1)];
        end[..rest.len()].copy_from_slice(rest);
        end[rest.len()] = 0x80;
        let blocks = if rest.len() < BLOCK - 8 { 1 } else { 2 };
        let end = &mut end[..blocks * BLOCK];
        end[blocks * BLOCK - 8..].copy_from_slice(&(length * 8).to_be_bytes());
        Sha1::alone(&mut self.0, end);
    }
}

#[cfg(test)]
mod tests {
    use super::super::sha1_many;
    use super::*;

    #[test]
    fn from_any_middle_the_digest_is_the_same() {
        let message: Vec<u8> = (0..1000u32).map(|at| (at * 7 % 251) as u8).collect();
        for length in [0, 1, 55, 56, 63, 64, 65, 119, 120, 128, 999, 1000] {
            let message = &message[..length];
            let mut expected = [[0; 20]];
            sha1_many(&[message], &mut expected);
            for middle in (0..=length).step_by(64) {
                let mut before = Sha1Chain::START;
                assert!(before.take(&message[..middle]).is_empty());
                let mut chain = Sha1Chain::from_bytes(&before.to_bytes());
                let rest = chain.take(&message[middle..]);
                chain.finish(rest, length as u64);
                assert_eq!(chain.to_bytes(), expected[0], "{length} from {middle}");
            }
        }
    }
}

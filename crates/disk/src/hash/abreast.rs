//! SHA-1 of messages of one length that are read side by side, a slice of each at a time: sixteen pieces
//! of 512 KiB need 1 MiB of memory rather than 8, and what was read is hashed while it is in the
//! second level cache.

use super::LANES;
use super::kernel::{Algorithm, Kernel, Sha1};
use super::lane::BLOCK;

/// The states of the messages so far.
#[derive(Debug)]
pub struct Sha1Abreast {
    states: Vec<[u32; 5]>,
    /// Bytes of each message so far.
    length: u64,
}

impl Sha1Abreast {
    /// Begins `messages` messages.
    #[must_use]
    pub fn new(messages: usize) -> Self {
        Self {
            states: vec![Sha1::START; messages],
            length: 0,
        }
    }

    /// The next bytes of every message.
    ///
    /// # Panics
    /// If there is not one slice for each message, or they are not all of one length that is a multiple
    /// of 64: mistakes of the caller's.
    pub fn update(&mut self, slices: &[&[u8]]) {
        self.update_with(Kernel::best(), slices);
    }

    pub(super) fn update_with(&mut self, kernel: Kernel, slices: &[&[u8]]) {
        assert_eq!(slices.len(), self.states.len(), "one slice a message");
        let len = slices.first().map_or(0, |slice| slice.len());
        let fits = slices.iter().all(|slice| slice.len() == len);
        assert!(
            fits && len.is_multiple_of(BLOCK),
            "whole blocks, as many of each"
        );
        self.length += len as u64;
        let width = kernel.lanes();
        for (states, slices) in self.states.chunks_mut(width).zip(slices.chunks(width)) {
            if slices.len() == 1 {
                Sha1::alone(&mut states[0], slices[0]);
            } else if slices.len() < Sha1::worth(kernel) {
                Sha1::few(states, slices, len / BLOCK);
            } else {
                together(kernel, states, slices, len / BLOCK);
            }
        }
    }

    /// The digests: the padding of FIPS 180-4 is a block of its own, as the length is whole blocks.
    #[must_use]
    pub fn finish(mut self) -> Vec<[u8; 20]> {
        let mut padding = [0; BLOCK];
        padding[0] = 0x80;
        padding[BLOCK - 8..].copy_from_slice(&self.length.wrapping_mul(8).to_be_bytes());
        for state in &mut self.states {
            Sha1::alone(state, &padding);
        }
        let bytes = |state: &[u32; 5]| {
            let mut digest = [0; 20];
            for (bytes, word) in digest.chunks_exact_mut(4).zip(state) {
                bytes.copy_from_slice(&word.to_be_bytes());
            }
            digest
        };
        self.states.iter().map(bytes).collect()
    }
}

/// One lane for each message; a lane without one reads what the first reads, and its result is nobody's.
fn together(kernel: Kernel, states: &mut [[u32; 5]], slices: &[&[u8]], blocks: usize) {
    let Some(&first) = slices.first() else {
        return;
    };
    let mut rows = [[0; LANES]; 5];
    for (lane, state) in states.iter().enumerate() {
        for (row, word) in rows.iter_mut().zip(state) {
            row[lane] = *word;
        }
    }
    let runs = std::array::from_fn(|lane| slices.get(lane).copied().unwrap_or(first));
    Sha1::together(kernel, &mut rows, &runs, blocks);
    for (lane, state) in states.iter_mut().enumerate() {
        *state = rows.map(|row| row[lane]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::content;
    use sha1::Digest;

    #[test]
    fn slices_of_any_length_give_what_the_crate_gives() {
        let bytes = content(3, 40 * 4096);
        for kernel in Kernel::available() {
            for messages in [0, 1, 4, 5, 8, 9, 16, 17, 40] {
                for steps in [&[][..], &[64], &[4096], &[64, 1024, 192, 2816]] {
                    let mut hash = Sha1Abreast::new(messages);
                    let mut at = 0;
                    for step in steps {
                        let slices: Vec<&[u8]> = (0..messages)
                            .map(|message| &bytes[message * 4096 + at..][..*step])
                            .collect();
                        hash.update_with(kernel, &slices);
                        at += step;
                    }
                    let want: Vec<[u8; 20]> = (0..messages)
                        .map(|message| sha1::Sha1::digest(&bytes[message * 4096..][..at]).into())
                        .collect();
                    assert_eq!(hash.finish(), want, "{kernel:?}, {messages} of {at} bytes");
                }
            }
        }
    }
}

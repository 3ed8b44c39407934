//! Which pieces somebody has, one bit a piece, in the order of the wire (BEP 3: the high bit of the
//! first byte is piece 0).

use core::fmt;

/// A fixed number of bits. Kept in 64-bit words so that scans over 100,000 pieces are 1,563 steps.
#[derive(Clone, PartialEq, Eq)]
pub struct Bitfield {
    words: Vec<u64>,
    len: u32,
    ones: u32,
}

impl Bitfield {
    /// `len` bits, all zero.
    #[must_use]
    pub fn empty(len: u32) -> Self {
        Self {
            words: vec![0; (len as usize).div_ceil(64)],
            len,
            ones: 0,
        }
    }

    /// `len` bits, all one.
    #[must_use]
    pub fn full(len: u32) -> Self {
        let mut words = vec![u64::MAX; (len as usize).div_ceil(64)];
        if let Some(last) = words.last_mut()
            && !len.is_multiple_of(64)
        {
            *last = !(u64::MAX >> (len % 64));
        }
        Self {
            words,
            len,
            ones: len,
        }
    }

    /// Reads the wire form. `None` if it is too long, too short, or a spare bit is set (BEP 3).
    #[must_use]
    pub fn from_wire(bytes: &[u8], len: u32) -> Option<Self> {
        if bytes.len() != (len as usize).div_ceil(8) {
            return None;
        }
        let mut words = Vec::with_capacity(bytes.len().div_ceil(8));
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            for (to, from) in word.iter_mut().zip(chunk) {
                *to = *from;
            }
            words.push(u64::from_be_bytes(word));
        }
        let ones = words.iter().map(|word| word.count_ones()).sum();
        let field = Self { words, len, ones };
        let spare = field
            .words
            .last()
            .is_some_and(|last| !len.is_multiple_of(64) && last & (u64::MAX >> (len % 64)) != 0);
        (!spare).then_some(field)
    }

    /// The wire form: `len / 8` bytes, rounded up.
    #[must_use]
    pub fn to_wire(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self
            .words
            .iter()
            .flat_map(|word| word.to_be_bytes())
            .collect();
        bytes.truncate((self.len as usize).div_ceil(8));
        bytes
    }

    /// Number of bits.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether it holds no bits at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of bits that are one. O(1).
    #[must_use]
    pub fn count(&self) -> u32 {
        self.ones
    }

    /// Whether every bit is one.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.ones == self.len
    }

    /// The bit at `index`; zero past the end.
    #[must_use]
    pub fn get(&self, index: u32) -> bool {
        self.words
            .get(index as usize / 64)
            .is_some_and(|word| word >> (63 - index % 64) & 1 == 1)
    }

    /// Sets the bit at `index`; true if that changed it. Past the end: false, nothing happens.
    pub fn set(&mut self, index: u32) -> bool {
        if index >= self.len {
            return false;
        }
        let bit = 1 << (63 - index % 64);
        let Some(word) = self.words.get_mut(index as usize / 64) else {
            return false;
        };
        if *word & bit != 0 {
            return false;
        }
        *word |= bit;
        self.ones += 1;
        true
    }

    /// Clears the bit at `index`; true if that changed it.
    pub fn clear(&mut self, index: u32) -> bool {
        let bit = 1 << (63 - index % 64);
        let Some(word) = self.words.get_mut(index as usize / 64) else {
            return false;
        };
        if *word & bit == 0 {
            return false;
        }
        *word &= !bit;
        self.ones -= 1;
        true
    }

    /// The words, first bit highest; spare bits are zero. For scans that combine fields.
    #[must_use]
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// Indices of the bits that are one, in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.words
            .iter()
            .enumerate()
            .flat_map(|(at, &word)| OnesOf {
                word,
                base: at as u32 * 64,
            })
    }
}

/// Indices of the one bits of a word, high bit first.
#[derive(Debug, Clone)]
pub struct OnesOf {
    /// What is left of the word.
    pub word: u64,
    /// Index of the word's first bit.
    pub base: u32,
}

impl Iterator for OnesOf {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        if self.word == 0 {
            return None;
        }
        let at = self.word.leading_zeros();
        self.word &= !(1 << (63 - at));
        Some(self.base + at)
    }
}

impl fmt::Debug for Bitfield {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bitfield({} of {})", self.ones, self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_round_trip_at_every_length() {
        for len in 0..200 {
            let mut field = Bitfield::empty(len);
            for at in (0..len).step_by(3) {
                assert!(field.set(at));
            }
            let wire = field.to_wire();
            assert_eq!(Bitfield::from_wire(&wire, len).as_ref(), Some(&field));
            assert_eq!(
                field.iter().collect::<Vec<_>>(),
                (0..len).step_by(3).collect::<Vec<_>>()
            );
            assert!(Bitfield::full(len).is_full());
            let full = Bitfield::full(len);
            assert_eq!(Bitfield::from_wire(&full.to_wire(), len), Some(full));
        }
    }

    #[test]
    fn spare_bits_and_wrong_lengths_are_refused() {
        assert!(Bitfield::from_wire(&[0xff], 7).is_none());
        assert!(Bitfield::from_wire(&[0xfe], 7).is_some());
        assert!(Bitfield::from_wire(&[0xff, 0], 8).is_none());
        assert!(Bitfield::from_wire(&[], 1).is_none());
    }

    #[test]
    fn first_piece_is_the_high_bit() {
        let field = Bitfield::from_wire(&[0b1000_0001], 8).expect("valid");
        assert!(field.get(0) && field.get(7) && !field.get(1) && !field.get(8));
    }
}

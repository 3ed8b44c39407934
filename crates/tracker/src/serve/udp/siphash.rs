//! SipHash-2-4 (Aumasson, Bernstein 2012): a hash of short messages that nobody can foresee without
//! its key, in about 15 ns. A tracker computes one for every packet.

/// The key of a hash.
#[derive(Clone, Copy)]
pub(super) struct Key([u64; 2]);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(secret)")
    }
}

impl Key {
    pub(super) fn new(bytes: [u8; 16]) -> Self {
        let bits = u128::from_le_bytes(bytes);
        Self([bits as u64, (bits >> 64) as u64])
    }

    /// The hash of a message that is a whole number of words, as of their bytes in little endian.
    pub(super) fn hash<const N: usize>(&self, message: [u64; N]) -> u64 {
        let [k0, k1] = self.0;
        let mut v = [
            k0 ^ 0x736f_6d65_7073_6575,
            k1 ^ 0x646f_7261_6e64_6f6d,
            k0 ^ 0x6c79_6765_6e65_7261,
            k1 ^ 0x7465_6462_7974_6573,
        ];
        // The last block holds the length in bytes, and what does not fill a word: nothing here.
        let length = (N as u64 * 8) << 56;
        for word in message.into_iter().chain([length]) {
            v[3] ^= word;
            round(&mut v);
            round(&mut v);
            v[0] ^= word;
        }
        v[2] ^= 0xff;
        (0..4).for_each(|_| round(&mut v));
        v[0] ^ v[1] ^ v[2] ^ v[3]
    }
}

fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the reference implementation: the key is 00 01 .. 0f, the message 00 01 .. of the length.
    #[test]
    fn the_published_vectors() {
        let key = Key::new(std::array::from_fn(|n| n as u8));
        let word = |from: u8| u64::from_le_bytes(std::array::from_fn(|n| from + n as u8));
        assert_eq!(key.hash([]), 0x726f_db47_dd0e_0e31);
        assert_eq!(key.hash([word(0)]), 0x93f5_f579_9a93_2462);
        assert_eq!(key.hash([word(0), word(8)]), 0x3f2a_cc7f_57c2_9bdb);
        assert_eq!(
            key.hash([word(0), word(8), word(16)]),
            0xb8ad_50c6_f649_af94
        );
    }
}

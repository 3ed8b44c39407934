//! Digests as types, so that a SHA-1 is never taken for a truncated SHA-256.

use core::fmt;

macro_rules! digest {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// The digest held by `bytes`, if that is exactly as long as one.
            #[must_use]
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }

            /// Reads hexadecimal digits, upper or lower case.
            #[must_use]
            pub fn from_hex(text: &str) -> Option<Self> {
                let text = text.as_bytes();
                if text.len() != 2 * $len {
                    return None;
                }
                let mut out = [0; $len];
                let (pairs, _) = text.as_chunks::<2>();
                for (byte, &[high, low]) in out.iter_mut().zip(pairs) {
                    let high = (high as char).to_digit(16)?;
                    let low = (low as char).to_digit(16)?;
                    *byte = (high * 16 + low) as u8;
                }
                Some(Self(out))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
    };
}

digest! {
    /// A SHA-1 digest: a v1 piece (BEP 3) or a whole file (BEP 47).
    Sha1, 20
}
digest! {
    /// A SHA-256 digest: a v2 leaf, merkle node or `pieces root` (BEP 52).
    Sha256, 32
}
digest! {
    /// The 20 bytes that name a swarm on the wire and at trackers: the SHA-1 of a v1 info
    /// dictionary, or the first 20 bytes of the SHA-256 of a v2 one (BEP 52).
    InfoHash, 20
}
digest! {
    /// The 20 bytes by which a peer calls itself (BEP 20).
    PeerId, 20
}

impl From<Sha1> for InfoHash {
    fn from(hash: Sha1) -> Self {
        Self(hash.0)
    }
}

impl From<Sha256> for InfoHash {
    /// Truncates, as BEP 52 says.
    fn from(hash: Sha256) -> Self {
        let mut out = [0; 20];
        out.copy_from_slice(&hash.0[..20]);
        Self(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trip() {
        let hash = Sha1([0xab; 20]);
        assert_eq!(Sha1::from_hex(&hash.to_string()), Some(hash));
        assert_eq!(Sha1::from_hex(&hash.to_string().to_uppercase()), Some(hash));
        assert_eq!(Sha1::from_hex("ab"), None);
        assert_eq!(Sha1::from_hex(&"zz".repeat(20)), None);
        assert_eq!(Sha1::from_hex(&"é".repeat(20)), None);
    }
}

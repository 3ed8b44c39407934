//! The 68 bytes that open every connection (BEP 3).

use crate::hash::{InfoHash, PeerId};

/// Length of a handshake in bytes.
pub const HANDSHAKE_LEN: usize = 68;

const PROTOCOL: &[u8; 20] = b"\x13BitTorrent protocol";

/// The eight bytes in which a peer says what it understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Reserved(pub [u8; 8]);

impl Reserved {
    /// What Samara says: Fast extension (BEP 6), extension protocol (BEP 10), v2 upgrade (BEP 52) on
    /// hybrid torrents.
    #[must_use]
    pub fn ours(v2: bool) -> Self {
        Self([0, 0, 0, 0, 0, 0x10, 0, 0x04 | if v2 { 0x10 } else { 0 }])
    }

    /// Fast extension (BEP 6).
    #[must_use]
    pub fn fast(self) -> bool {
        self.0[7] & 0x04 != 0
    }

    /// Extension protocol (BEP 10).
    #[must_use]
    pub fn extended(self) -> bool {
        self.0[5] & 0x10 != 0
    }

    /// v2 over a v1 info-hash (BEP 52).
    #[must_use]
    pub fn v2(self) -> bool {
        self.0[7] & 0x10 != 0
    }
}

/// Who is calling, and about which torrent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// What the peer understands.
    pub reserved: Reserved,
    /// The swarm.
    pub info_hash: InfoHash,
    /// What the peer calls itself.
    pub peer_id: PeerId,
}

impl Handshake {
    /// The bytes to send.
    #[must_use]
    pub fn encode(&self) -> [u8; HANDSHAKE_LEN] {
        let mut out = [0; HANDSHAKE_LEN];
        out[..20].copy_from_slice(PROTOCOL);
        out[20..28].copy_from_slice(&self.reserved.0);
        out[28..48].copy_from_slice(&self.info_hash.0);
        out[48..].copy_from_slice(&self.peer_id.0);
        out
    }

    /// Reads a handshake; `None` if it does not speak BitTorrent.
    #[must_use]
    pub fn decode(bytes: &[u8; HANDSHAKE_LEN]) -> Option<Self> {
        if !Self::may_begin_with(bytes) {
            return None;
        }
        Some(Self {
            reserved: Reserved(bytes[20..28].try_into().ok()?),
            info_hash: InfoHash::from_slice(&bytes[28..48])?,
            peer_id: PeerId::from_slice(&bytes[48..])?,
        })
    }

    /// Whether the first bytes of a connection can still become a handshake. Lets a shell hang up
    /// on other protocols at once.
    #[must_use]
    pub fn may_begin_with(bytes: &[u8]) -> bool {
        bytes.iter().zip(PROTOCOL).all(|(got, want)| got == want)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let sent = Handshake {
            reserved: Reserved::ours(true),
            info_hash: InfoHash([1; 20]),
            peer_id: PeerId([2; 20]),
        };
        let bytes = sent.encode();
        assert_eq!(Handshake::decode(&bytes), Some(sent));
        assert!(sent.reserved.fast() && sent.reserved.extended() && sent.reserved.v2());
        let mut other = bytes;
        other[3] ^= 1;
        assert_eq!(Handshake::decode(&other), None);
        assert!(!Handshake::may_begin_with(b"GET / HTTP/1.1"));
        assert!(Handshake::may_begin_with(&bytes[..7]));
    }
}

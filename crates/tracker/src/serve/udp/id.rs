//! Connection ids (BEP 15) that are computed and not remembered.
//!
//! An id is the number of the two minutes in which it was given (8 bits) and a keyed hash (56 bits) of
//! that number and the asker's address. It is accepted in the same two minutes and the following, so
//! for two to four minutes: BEP 15 asks for two. It is bound to the address and not to the port: NATs
//! change ports, and clients use several sockets. Whoever knows the secret can make them, so that
//! several trackers behind one name, or one before and after a restart, can share them by sharing it.

use super::siphash::Key;
use samara_proto::tracker::udp::ConnectionId;
use std::net::IpAddr;

/// Seconds in which ids are the same, and for how many times that they are accepted afterwards.
const EPOCH: u64 = 120;

#[derive(Clone, Copy, Debug)]
pub(super) struct Ids {
    key: Key,
    /// Epochs after its own in which an id is accepted.
    grace: u8,
}

impl Ids {
    /// `life`: seconds for which an id is accepted at least.
    pub(super) fn new(secret: [u8; 16], life: u64) -> Self {
        Self {
            key: Key::new(secret),
            grace: u8::try_from(life.div_ceil(EPOCH))
                .unwrap_or(u8::MAX)
                .clamp(1, 60),
        }
    }

    /// The id for `ip` at `now`, seconds since 1970.
    pub(super) fn give(&self, now: u64, ip: IpAddr) -> ConnectionId {
        self.make(now / EPOCH, ip)
    }

    /// Whether `id` was given to `ip` lately.
    pub(super) fn accepts(&self, now: u64, ip: IpAddr, id: ConnectionId) -> bool {
        let epoch = now / EPOCH;
        let age = (epoch as u8).wrapping_sub(id[0]);
        // Comparing takes equally long wherever the first difference is.
        age <= self.grace
            && u64::from_be_bytes(self.make(epoch.saturating_sub(age.into()), ip))
                == u64::from_be_bytes(id)
    }

    fn make(&self, epoch: u64, ip: IpAddr) -> ConnectionId {
        let mac = match ip {
            IpAddr::V4(ip) => self.key.hash([epoch << 32 | u64::from(ip.to_bits())]),
            IpAddr::V6(ip) => {
                let bits = ip.to_bits();
                self.key.hash([epoch, (bits >> 64) as u64, bits as u64])
            }
        };
        let mut id = mac.to_be_bytes();
        id[0] = epoch as u8;
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attack_17_an_id_is_for_one_address_and_for_a_while() {
        let ids = Ids::new([7; 16], 120);
        let four: IpAddr = "192.0.2.1".parse().expect("address");
        let six: IpAddr = "2001:db8::1".parse().expect("address");
        for ip in [four, six] {
            for start in [0, 119, 120 * 255, 120 * 256 + 60, 1_800_000_000] {
                let id = ids.give(start, ip);
                for later in [0, 60, 120] {
                    assert!(ids.accepts(start + later, ip, id), "{start} + {later}");
                }
                assert!(!ids.accepts(start + 240, ip, id));
                assert!(!ids.accepts(start + 240 * 128, ip, id), "once round");
                assert!(!ids.accepts(start, "192.0.2.2".parse().expect("address"), id));
                assert!(!ids.accepts(start, "2001:db8::2".parse().expect("address"), id));
                for byte in 0..8 {
                    let mut forged = id;
                    forged[byte] ^= 1;
                    assert!(!ids.accepts(start, ip, forged), "byte {byte}");
                }
                assert!(!Ids::new([8; 16], 120).accepts(start, ip, id));
            }
        }
        // Longer, as some clients need (uTorrent uses ids for five minutes and more).
        let patient = Ids::new([7; 16], 600);
        let id = patient.give(1_000_000, four);
        assert!(patient.accepts(1_000_600, four, id));
        assert!(!patient.accepts(1_000_840, four, id));
    }
}

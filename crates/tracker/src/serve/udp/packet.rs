//! Where packets lie while they are answered.

use crate::swarm::Sink;
use samara_proto::tracker::udp::MAX_UDP_REPLY;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// Bytes of a request that are read: a scrape of 74 swarms is 1,496, an announce with a long address
/// less. What is longer is not for us.
const MAX_REQUEST: usize = 1_536;

/// Bytes of a socket address as the kernel writes it: `sockaddr_in6`, the larger of the two.
pub(crate) const NAME: usize = 28;

/// Bytes of what the kernel says besides: one `in6_pktinfo` and its header, 36 to 40.
pub(crate) const CONTROL: usize = 64;

/// A socket address as the kernel writes it: family (as the machine writes numbers), port; then
/// IPv4's address, or IPv6's flow, address and scope. Read as bytes, since the layout is what all
/// Unix systems agree on but for the BSDs' length byte, and those do not come here.
#[derive(Clone, Copy, Debug)]
#[repr(align(8))]
pub(crate) struct Name(pub(crate) [u8; NAME]);

const INET: u16 = 2;
#[cfg(target_os = "linux")]
const INET6: u16 = 10;
#[cfg(not(target_os = "linux"))]
const INET6: u16 = 30;

impl Name {
    fn part<const N: usize>(&self, at: usize) -> [u8; N] {
        let rest = self.0.get(at..).unwrap_or_default();
        rest.first_chunk().copied().unwrap_or([0; N])
    }

    /// The address, if it is of a family that we know.
    pub(crate) fn get(&self) -> Option<SocketAddr> {
        let port = u16::from_be_bytes(self.part(2));
        match u16::from_ne_bytes(self.part(0)) {
            INET => Some(SocketAddr::new(
                Ipv4Addr::from(self.part::<4>(4)).into(),
                port,
            )),
            INET6 => {
                let ip = Ipv6Addr::from(self.part::<16>(8));
                let scope = u32::from_ne_bytes(self.part(24));
                Some(SocketAddrV6::new(ip, port, 0, scope).into())
            }
            _ => None,
        }
    }

    #[cfg(any(test, not(target_os = "linux")))]
    pub(crate) fn set(&mut self, addr: SocketAddr) {
        self.0 = [0; NAME];
        self.0[2..4].copy_from_slice(&addr.port().to_be_bytes());
        match addr {
            SocketAddr::V4(addr) => {
                self.0[..2].copy_from_slice(&INET.to_ne_bytes());
                self.0[4..8].copy_from_slice(&addr.ip().octets());
            }
            SocketAddr::V6(addr) => {
                self.0[..2].copy_from_slice(&INET6.to_ne_bytes());
                self.0[8..24].copy_from_slice(&addr.ip().octets());
                self.0[24..].copy_from_slice(&addr.scope_id().to_ne_bytes());
            }
        }
    }

    /// Bytes of it that count.
    pub(crate) fn len(&self) -> usize {
        if u16::from_ne_bytes(self.part(0)) == INET {
            16
        } else {
            NAME
        }
    }
}

/// What the kernel says besides, aligned as it likes.
#[derive(Clone, Copy, Debug)]
#[repr(align(8))]
pub(crate) struct Control(pub(crate) [u8; CONTROL]);

/// A packet that came.
#[derive(Clone, Debug)]
pub(crate) struct Inbox {
    pub(crate) bytes: [u8; MAX_REQUEST],
    pub(crate) len: usize,
    pub(crate) truncated: bool,
    pub(crate) name: Name,
    pub(crate) control: Control,
    pub(crate) control_len: usize,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        Self {
            bytes: [0; MAX_REQUEST],
            len: 0,
            truncated: false,
            name: Name([0; NAME]),
            control: Control([0; CONTROL]),
            control_len: 0,
        }
    }

    pub(crate) fn packet(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// A number of where it came from, to put packets in order by: the same for the same socket.
    pub(crate) fn destination(&self) -> (u64, u64) {
        let word = |at: usize| u64::from_ne_bytes(self.name.part(at));
        // Family, port and IPv4 address; of IPv6 the half that differs between hosts.
        (word(0), if self.name.len() == NAME { word(16) } else { 0 })
    }

    /// Whether an answer to it goes from where and to where one to `other` goes.
    pub(crate) fn goes_where(&self, other: &Self) -> bool {
        let len = self.name.len();
        self.name.0.get(..len) == other.name.0.get(..len)
            && self.control.0.get(..self.control_len) == other.control.0.get(..other.control_len)
    }

    /// Makes what the kernel said about a packet's way in fit for its answer's way out: the same
    /// address of ours, but by whatever interface the routes say, which need not be the one it came
    /// by. Link-local addresses are meaningless without their interface, and keep it.
    pub(crate) fn turn_round(&mut self) {
        /// Bytes of a `cmsghdr`.
        const HEAD: usize = size_of::<usize>() + 8;
        if self.control_len == 0 {
            return;
        }
        let bytes = &mut self.control.0;
        // The level of both options is their protocol's number: IP is 0, IPv6 is 41.
        let level = bytes[HEAD - 8..HEAD - 4] == 41_i32.to_ne_bytes();
        if level {
            let link_local = bytes[HEAD] == 0xfe && bytes[HEAD + 1] & 0xc0 == 0x80;
            if !link_local {
                bytes[HEAD + 16..HEAD + 20].fill(0);
            }
        } else {
            bytes[HEAD..HEAD + 4].fill(0);
        }
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Outbox {
    pub(crate) bytes: [u8; MAX_UDP_REPLY],
    pub(crate) len: usize,
    /// Number of the packet that it answers.
    pub(crate) answers: usize,
}

impl Outbox {
    pub(crate) fn new() -> Self {
        Self {
            bytes: [0; MAX_UDP_REPLY],
            len: 0,
            answers: 0,
        }
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    /// Appends what fits; whether it did.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> bool {
        let Some(place) = self.bytes.get_mut(self.len..self.len + bytes.len()) else {
            return false;
        };
        place.copy_from_slice(bytes);
        self.len += bytes.len();
        true
    }
}

/// Peers go into the packet as they are found, in the family of the asker.
impl Sink for Outbox {
    fn v4(&mut self, ip: Ipv4Addr, port: u16) {
        let ([a, b, c, d], [e, f]) = (ip.octets(), port.to_be_bytes());
        self.push(&[a, b, c, d, e, f]);
    }

    fn v6(&mut self, ip: Ipv6Addr, port: u16) {
        let mut peer = [0; 18];
        peer[..16].copy_from_slice(&ip.octets());
        peer[16..].copy_from_slice(&port.to_be_bytes());
        self.push(&peer);
    }

    fn takes_both(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for text in ["192.0.2.7:80", "[2001:db8::1]:6881", "[fe80::1%3]:9"] {
            let addr: SocketAddr = text.parse().expect("address");
            let mut name = Name([0xff; NAME]);
            assert_eq!(name.get(), None);
            name.set(addr);
            assert_eq!(name.get(), Some(addr));
            assert_eq!(name.len(), if addr.is_ipv4() { 16 } else { 28 });
        }
    }

    #[test]
    fn a_packet_never_overflows() {
        let mut out = Outbox::new();
        for n in 0..2_000 {
            out.v4(Ipv4Addr::from_bits(n), 1);
        }
        assert_eq!(out.len, MAX_UDP_REPLY / 6 * 6);
        assert!(!out.push(&[0; 18]));
    }
}

//! The sockets: clients at many addresses, each with a connection id of its own.

use crate::pending::{Kind, Pending};
use crate::plan::{Peer, Question};
use mio::net::UdpSocket;
use samara_proto::tracker::udp::{
    ConnectionId, Hashes, Options, PROTOCOL_ID, Request, UdpAnnounce,
};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};

/// An id is used for so long (BEP 15: a minute), ns.
const ID_LIFE: u64 = 55_000_000_000;
/// Pause before a connect that was not answered is sent again, ns.
const CONNECT_AGAIN: u64 = 200_000_000;
/// Bytes that the kernel may hold for a socket.
const SOCKET_BUFFER: usize = 1 << 20;

/// A client's address.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) socket: UdpSocket,
    pub(crate) over_v6: bool,
    /// Whether no other client has its address.
    pub(crate) own_address: bool,
    /// 0: none yet. Written by who listens.
    id: AtomicU64,
    /// When it was last asked for, ns since the start; 0: never.
    asked: AtomicU64,
    numwant: u32,
}

impl Client {
    /// A socket for `target`, number `number` of its family. Over IPv4 loopback each has an address of
    /// its own in 127.0.0.0/8, over IPv6 one in a /48 of its own from `prefix6` on, if that is given.
    pub(crate) fn open(
        target: SocketAddr,
        number: u16,
        prefix6: Option<u64>,
        numwant: u32,
    ) -> io::Result<Self> {
        let [high, low] = number.to_be_bytes();
        let from: IpAddr = match (target.ip(), prefix6) {
            (IpAddr::V4(ip), _) if ip.is_loopback() => {
                Ipv4Addr::new(127, high.saturating_add(1), low, 1).into()
            }
            (IpAddr::V4(_), _) => Ipv4Addr::UNSPECIFIED.into(),
            // A network each: trackers limit by /48.
            (IpAddr::V6(_), Some(prefix)) => {
                let network = u128::from(prefix.wrapping_add(u64::from(number) << 16));
                Ipv6Addr::from_bits((network << 64) | 1).into()
            }
            (IpAddr::V6(_), None) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let domain = Domain::for_address(target);
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
        socket.set_nonblocking(true)?;
        #[cfg(target_os = "linux")]
        if from.is_ipv6() {
            socket.set_freebind_v6(true)?;
        }
        socket.bind(&SocketAddr::new(from, 0).into())?;
        socket.connect(&target.into())?;
        Ok(Self {
            socket: UdpSocket::from_std(socket.into()),
            over_v6: target.is_ipv6(),
            own_address: !from.is_unspecified(),
            id: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            numwant,
        })
    }

    /// Whether it has been given a connection id.
    pub(crate) fn has_id(&self) -> bool {
        self.id() != 0
    }

    /// Its connection id: also for others to misuse.
    pub(crate) fn id(&self) -> u64 {
        self.id.load(Ordering::Relaxed)
    }

    pub(crate) fn set_id(&self, id: ConnectionId) {
        self.id.store(u64::from_be_bytes(id), Ordering::Relaxed);
    }

    /// Asks for a connection id if that is due.
    pub(crate) fn connect_if_due(
        &self,
        pending: &Pending,
        now: u64,
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        let asked = self.asked.load(Ordering::Relaxed);
        let pause = if self.has_id() {
            ID_LIFE
        } else {
            CONNECT_AGAIN
        };
        if asked != 0 && now < asked + pause {
            return Ok(());
        }
        self.asked.store(now.max(1), Ordering::Relaxed);
        let transaction = pending.ask(Kind::Connect, now).to_be_bytes();
        out.clear();
        Request::Connect { transaction }.encode(out);
        self.socket.send(out).map(drop)
    }

    /// Asks a question that is due now, or was. Nothing is sent if there is no id yet: false then.
    /// `others` is an id that was not given to this address.
    pub(crate) fn ask(
        &self,
        question: &Question,
        pending: &Pending,
        due: u64,
        others: u64,
        out: &mut Vec<u8>,
    ) -> io::Result<bool> {
        let id = self.id();
        if id == 0 {
            return Ok(false);
        }
        out.clear();
        match question {
            Question::Announce(peer) => {
                self.announce(peer, id, pending.ask(Kind::Announce, due), out);
            }
            Question::Forged(peer) => {
                self.announce(peer, others, pending.ask(Kind::Forged, due), out);
            }
            Question::Scrape(hashes) => {
                let transaction = pending.ask(Kind::Scrape, due);
                let packed = hashes.map(|hash| hash.0);
                let request = Request::Scrape {
                    connection: id.to_be_bytes(),
                    transaction: transaction.to_be_bytes(),
                    hashes: Hashes::packed(packed.as_flattened()),
                };
                request.encode(out);
            }
            Question::Malformed => malformed(id, pending.ask(Kind::Forged, due), out),
        }
        self.socket.send(out).map(|_| true)
    }

    fn announce(&self, peer: &Peer, id: u64, transaction: u32, out: &mut Vec<u8>) {
        let request = Request::Announce {
            connection: id.to_be_bytes(),
            transaction: transaction.to_be_bytes(),
            announce: UdpAnnounce {
                info_hash: peer.info_hash,
                peer_id: peer.peer_id,
                // It has begun: no tracker makes it wait for a seed.
                downloaded: 1,
                left: Some(peer.left),
                uploaded: 0,
                event: peer.event,
                ip: None,
                key: peer.number,
                numwant: Some(self.numwant),
                port: peer.port,
            },
            options: Options::default(),
        };
        request.encode(out);
    }
}

/// An announce that is cut short, a connect of another protocol, or noise.
fn malformed(id: u64, transaction: u32, out: &mut Vec<u8>) {
    let (head, action) = match transaction % 3 {
        0 => (id, 1),
        1 => (PROTOCOL_ID + 1, 0),
        _ => return out.extend_from_slice(&[0xa5; 40]),
    };
    out.extend_from_slice(&head.to_be_bytes());
    out.extend_from_slice(&[0, 0, 0, action]);
    out.extend_from_slice(&transaction.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_client_has_an_address_of_its_own() {
        let server = std::net::UdpSocket::bind("127.0.0.1:0").expect("bind");
        let target = server.local_addr().expect("bound");
        let ip = |number| {
            let client = Client::open(target, number, None, 30).expect("opened");
            client.socket.local_addr().expect("bound").ip()
        };
        assert_ne!(ip(1), ip(2));
        assert_ne!(ip(1), ip(257));
    }

    #[test]
    fn nothing_but_a_connect_is_sent_without_an_id() {
        let server = std::net::UdpSocket::bind("127.0.0.1:0").expect("bind");
        let target = server.local_addr().expect("bound");
        let client = Client::open(target, 1, None, 30).expect("opened");
        let (pending, mut out) = (Pending::default(), Vec::new());
        let asked = client.ask(&Question::Malformed, &pending, 0, 0, &mut out);
        assert!(!asked.expect("not sent"));
        client.connect_if_due(&pending, 5, &mut out).expect("sent");
        client
            .connect_if_due(&pending, 6, &mut out)
            .expect("not due");
        let mut buf = [0; 100];
        let len = server.recv(&mut buf).expect("a packet");
        let request = Request::decode(&buf[..len]).expect("a request");
        assert!(matches!(request, Request::Connect { .. }));
        client.set_id(*b"12345678");
        // Malformed means malformed: no tracker may take it for anything else.
        for due in 0..6 {
            let asked = client.ask(&Question::Malformed, &pending, due, 0, &mut out);
            assert!(asked.expect("sent"));
            let len = server.recv(&mut buf).expect("a packet");
            assert!(Request::decode(&buf[..len]).is_err(), "{:?}", &buf[..len]);
        }
    }
}

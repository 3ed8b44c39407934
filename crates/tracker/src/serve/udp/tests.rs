//! The server as it looks from a UDP socket.

use super::UdpStats;
use crate::serve::{Handle, ServeConfig, Server};
use crate::swarm;
use samara_proto::tracker::Event;
use samara_proto::tracker::udp::{
    ConnectionId, Hashes, MAX_UDP_REPLY, Options, Reply, ReplyBody, Request, UdpAnnounce,
};
use samara_proto::{InfoHash, PeerId};
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;
use tokio::sync::oneshot;

const HASH: InfoHash = InfoHash([0xe9; 20]);

struct Running {
    addr: SocketAddr,
    http: SocketAddr,
    handle: Handle,
    _stop: oneshot::Sender<()>,
}

fn start(udp: &str, change: impl FnOnce(&mut ServeConfig)) -> Running {
    let mut config = ServeConfig {
        listen: "127.0.0.1:0".parse().expect("address"),
        udp: vec![udp.parse().expect("address")],
        workers: 2,
        seed: Some(1),
        ..ServeConfig::default()
    };
    change(&mut config);
    let server = Server::bind(config).expect("binds");
    let addr = *server.udp_addrs().first().expect("an address");
    let (http, handle) = (server.local_addr(), server.handle());
    let (stop, stopped) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("runtime");
        runtime.block_on(server.run(async {
            let _ = stopped.await;
        }));
    });
    Running {
        addr,
        http,
        handle,
        _stop: stop,
    }
}

impl Running {
    /// The counts once they are as expected, or after ten seconds. They are written once a batch, which
    /// may be after its answers have been read.
    fn settled(&self, expected: impl Fn(&UdpStats) -> bool) -> UdpStats {
        let patience = std::time::Instant::now() + Duration::from_secs(10);
        loop {
            let stats = self.handle.udp_stats();
            if expected(&stats) || std::time::Instant::now() > patience {
                return stats;
            }
            std::thread::yield_now();
        }
    }
}

struct Client {
    socket: UdpSocket,
    server: SocketAddr,
}

impl Client {
    fn new(bind: &str, server: SocketAddr) -> Self {
        let socket = UdpSocket::bind(bind).expect("binds");
        let patience = Some(Duration::from_secs(5));
        socket.set_read_timeout(patience).expect("a time limit");
        Self { socket, server }
    }

    fn raw(&self, bytes: &[u8]) {
        self.socket.send_to(bytes, self.server).expect("sends");
    }

    /// The next packet.
    fn hear(&self) -> Vec<u8> {
        let mut buf = [0; 4_096];
        let (len, from) = self.socket.recv_from(&mut buf).expect("an answer");
        assert_eq!(from, self.server, "from where it was sent to");
        buf[..len].to_vec()
    }

    /// Nothing comes: what is asked next is answered first.
    fn is_silent(&self) {
        let transaction = [9; 4];
        self.send(&Request::Connect { transaction });
        let heard = self.hear();
        assert_eq!((heard.len(), &heard[4..8]), (16, &transaction[..]));
    }

    fn send(&self, request: &Request<'_>) {
        let mut out = Vec::new();
        request.encode(&mut out);
        self.raw(&out);
    }

    fn ask(&self, request: &Request<'_>) -> ReplyBody {
        self.send(request);
        let heard = self.hear();
        assert!(heard.len() <= MAX_UDP_REPLY);
        let over_v6 = self.server.is_ipv6();
        Reply::decode(&heard, over_v6).expect("a reply").body
    }

    fn connect(&self) -> ConnectionId {
        let transaction = [1, 2, 3, 4];
        match self.ask(&Request::Connect { transaction }) {
            ReplyBody::Connect(id) => id,
            other => panic!("{other:?}"),
        }
    }

    fn announce(&self, connection: ConnectionId, announce: UdpAnnounce) -> ReplyBody {
        self.ask(&Request::Announce {
            connection,
            transaction: [5, 6, 7, 8],
            announce,
            options: Options::default(),
        })
    }
}

fn peer(port: u16, left: u64) -> UdpAnnounce {
    UdpAnnounce {
        info_hash: HASH,
        peer_id: PeerId([port as u8; 20]),
        downloaded: 0,
        left: Some(left),
        uploaded: 0,
        event: Event::Started,
        ip: None,
        key: 7,
        numwant: None,
        port,
    }
}

fn peers(body: ReplyBody) -> Vec<SocketAddr> {
    match body {
        ReplyBody::Announce { mut peers, .. } => {
            peers.sort();
            peers
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_swarm_over_udp_in_both_families_and_http() {
    for (udp, bind, host) in [
        ("127.0.0.1:0", "127.0.0.1:0", "127.0.0.1"),
        ("[::1]:0", "[::1]:0", "[::1]"),
    ] {
        let server = start(udp, |_| {});
        let client = Client::new(bind, server.addr);
        let id = client.connect();
        let waits = client.announce(id, peer(1_000, 5));
        let ReplyBody::Announce {
            interval,
            leeches,
            seeds,
            peers: told,
        } = waits
        else {
            panic!("{waits:?}");
        };
        assert_eq!((interval, leeches, seeds, told.len()), (2, 1, 0, 0));
        client.announce(id, peer(1_001, 0));
        // From another port of the same host: the id is the address's.
        let other = Client::new(bind, server.addr);
        let told = peers(other.announce(id, peer(1_000, 5)));
        let seed: SocketAddr = format!("{host}:1001").parse().expect("address");
        assert_eq!(told, [seed]);
        // The same swarm over HTTP.
        let stats = server.handle.swarm(HASH).expect("known");
        assert_eq!((stats.seeds, stats.leeches), (1, 1));
        assert_ne!(server.http.port(), 0);
        let done = UdpAnnounce {
            event: Event::Completed,
            ..peer(1_000, 0)
        };
        client.announce(id, done);
        let hashes = [HASH.0, [1; 20]].concat();
        let counts = client.ask(&Request::Scrape {
            connection: id,
            transaction: [4; 4],
            hashes: Hashes::packed(&hashes),
        });
        assert_eq!(counts, ReplyBody::Scrape(vec![[2, 1, 0], [0, 0, 0]]));
        let stats = server.settled(|stats| stats.scrapes == 1);
        assert_eq!((stats.connects, stats.scrapes), (1, 1));
        assert_eq!((stats.bad_ids, stats.malformed), (0, 0));
    }
}

#[test]
fn everywhere_means_both_families_and_answers_come_from_where_they_were_asked() {
    let server = start("[::]:0", |_| {});
    let port = server.addr.port();
    for (bind, to) in [
        ("127.0.0.1:0", format!("127.0.0.1:{port}")),
        ("127.0.0.1:0", format!("127.0.0.2:{port}")),
        ("[::1]:0", format!("[::1]:{port}")),
    ] {
        let client = Client::new(bind, to.parse().expect("address"));
        let id = client.connect();
        client.announce(id, peer(2_000, 0));
    }
    let found = server.handle.store().peers(HASH);
    assert_eq!(found.len(), 2, "IPv4 is IPv4, by whatever socket");
    let plain = start("0.0.0.0:0", |_| {});
    let to = format!("127.0.0.3:{}", plain.addr.port());
    Client::new("127.0.0.1:0", to.parse().expect("address")).connect();
}

#[test]
fn attack_17_nothing_is_said_to_those_without_a_valid_id() {
    let server = start("127.0.0.1:0", |_| {});
    let client = Client::new("127.0.0.1:0", server.addr);
    let id = client.connect();
    let mut forged = id;
    forged[7] ^= 1;
    for connection in [forged, [0; 8], [0xff; 8]] {
        client.send(&Request::Announce {
            connection,
            transaction: [1; 4],
            announce: peer(1, 0),
            options: Options::default(),
        });
        client.send(&Request::Scrape {
            connection,
            transaction: [1; 4],
            hashes: Hashes::packed(&HASH.0),
        });
        client.is_silent();
    }
    // Given to another address of this host.
    let elsewhere = Client::new("127.0.0.9:0", server.addr);
    elsewhere.send(&Request::Announce {
        connection: id,
        transaction: [1; 4],
        announce: peer(1, 0),
        options: Options::default(),
    });
    elsewhere.is_silent();
    // Made with another tracker's secret.
    let stranger = start("127.0.0.1:0", |c| c.udp_secret = Some([3; 16]));
    let other = Client::new("127.0.0.1:0", stranger.addr);
    other.send(&Request::Scrape {
        connection: id,
        transaction: [1; 4],
        hashes: Hashes::packed(&HASH.0),
    });
    other.is_silent();
    // Shared by two trackers, it is good at both.
    let twin = start("127.0.0.1:0", |c| c.udp_secret = Some([3; 16]));
    let id = other.connect();
    Client::new("127.0.0.1:0", twin.addr).announce(id, peer(1, 0));
    assert_eq!(server.handle.swarm(HASH), None);
    assert_eq!(server.settled(|stats| stats.bad_ids == 7).bad_ids, 7);
}

#[test]
fn attack_17_garbage_gets_no_byte_and_stops_nothing() {
    let server = start("127.0.0.1:0", |_| {});
    let client = Client::new("127.0.0.1:0", server.addr);
    let id = client.connect();
    let mut good = Vec::new();
    Request::Announce {
        connection: id,
        transaction: [1; 4],
        announce: peer(1, 0),
        options: Options::default(),
    }
    .encode(&mut good);
    for len in [0, 1, 8, 15, 16, 97] {
        client.raw(&good[..len]);
    }
    let mut odd = good.clone();
    odd[11] = 7;
    client.raw(&odd);
    odd[11] = 0;
    client.raw(&odd);
    client.raw(&[0xff; 1_472]);
    // Longer than any request, though it begins like one.
    let mut long = good;
    long.resize(9_000, 0);
    client.raw(&long);
    client.is_silent();
    let mut state = 1_u32;
    for _ in 0..2_000 {
        let bytes: Vec<u8> = (0..state as usize % 200)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 16) as u8
            })
            .collect();
        client.raw(&bytes);
        state = state.wrapping_add(1);
    }
    client.is_silent();
    assert!(server.settled(|stats| stats.malformed >= 2_000).malformed >= 2_000);
    assert_eq!(server.handle.stats().announces, 0);
}

#[test]
fn answers_fit_a_packet_and_wishes_are_honoured() {
    for (udp, host, most) in [
        ("127.0.0.1:0", "127.0.0.1:0", 200),
        ("[::1]:0", "[::1]:0", 76),
    ] {
        let server = start(udp, |_| {});
        let client = Client::new(host, server.addr);
        let id = client.connect();
        for port in 1..=400 {
            let said = UdpAnnounce {
                numwant: Some(0),
                ..peer(port, 0)
            };
            assert_eq!(peers(client.announce(id, said)).len(), 0);
        }
        for (numwant, want) in [
            (None, 50),
            (Some(0), 0),
            (Some(1), 1),
            (Some(7), 7),
            (Some(75), 75),
            (Some(u32::MAX), most),
        ] {
            let said = UdpAnnounce {
                numwant,
                ..peer(5_000, 5)
            };
            let mut told = peers(client.announce(id, said));
            told.dedup();
            assert_eq!(told.len(), want, "{numwant:?}");
            assert!(told.iter().all(|addr| addr.port() != 5_000));
        }
    }
}

/// A client with many torrents asks for all at once: the answers travel together and arrive apart.
#[test]
fn a_burst_from_one_socket_is_answered_packet_by_packet() {
    for udp in ["127.0.0.1:0", "0.0.0.0:0", "[::]:0", "[::1]:0"] {
        let server = start(udp, |c| c.workers = 1);
        let bind = if udp == "[::1]:0" {
            "[::1]"
        } else {
            "127.0.0.1"
        };
        let to = format!("{bind}:{}", server.addr.port());
        let client = Client::new(&format!("{bind}:0"), to.parse().expect("address"));
        let id = client.connect();
        for port in 1..=40 {
            client.announce(id, peer(port, 0));
        }
        for round in 0..20_u8 {
            for n in 0..100_u8 {
                let announce = UdpAnnounce {
                    numwant: Some(u32::from(n % 4) * 10),
                    ..peer(5_000, 5)
                };
                client.send(&Request::Announce {
                    connection: id,
                    transaction: [round, n, 0, 1],
                    announce,
                    options: Options::default(),
                });
            }
            let mut answered = [false; 100];
            for _ in 0..100 {
                let heard = client.hear();
                let reply = Reply::decode(&heard, to.starts_with('[')).expect("a reply");
                let [said, n, ..] = reply.transaction;
                assert_eq!(said, round);
                assert!(!std::mem::replace(&mut answered[usize::from(n)], true));
                assert_eq!(peers(reply.body).len(), usize::from(n % 4) * 10);
            }
        }
        assert_eq!(server.handle.udp_stats().unsent, 0);
    }
}

#[test]
fn refusals_are_errors_in_words() {
    let server = start("127.0.0.1:0", |c| {
        c.policy = swarm::Config {
            registered_only: true,
            ..swarm::Config::default()
        };
    });
    let client = Client::new("127.0.0.1:0", server.addr);
    let id = client.connect();
    for (said, words) in [
        (peer(1, 0), "does not serve this torrent"),
        (peer(0, 0), "port 0"),
    ] {
        match client.announce(id, said) {
            ReplyBody::Error(refusal) => assert!(refusal.reason.contains(words), "{refusal}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(server.settled(|stats| stats.errors == 2).errors, 2);
}

#[test]
fn a_taken_port_is_noticed_though_threads_share_theirs() {
    let server = start("127.0.0.1:0", |_| {});
    for workers in [1, 2] {
        let error = Server::bind(ServeConfig {
            listen: "127.0.0.1:0".parse().expect("address"),
            udp: vec![server.addr],
            workers,
            ..ServeConfig::default()
        })
        .expect_err("taken");
        assert!(error.to_string().contains("another port"), "{error}");
    }
}

#[test]
fn one_packet_at_a_time_does_the_same() {
    use super::packet::{Inbox, Outbox};
    let here = UdpSocket::bind("127.0.0.1:0").expect("binds");
    let there = UdpSocket::bind("127.0.0.1:0").expect("binds");
    there
        .send_to(b"hello", here.local_addr().expect("bound"))
        .expect("sends");
    let mut inbox = vec![Inbox::new()];
    assert_eq!(
        super::portable::receive(&here, &mut inbox, false).ok(),
        Some(1)
    );
    assert_eq!(inbox[0].packet(), b"hello");
    let mut out = Outbox::new();
    out.push(b"goodbye");
    let train = super::train::Train {
        range: 0..1,
        size: 7,
    };
    let sent = super::portable::send(&here, &[train], &[0], &[out], &mut inbox);
    assert_eq!(sent.ok(), Some(1));
    let mut buf = [0; 16];
    let len = there.recv(&mut buf).expect("an answer");
    assert_eq!(&buf[..len], b"goodbye");
}

/// The key of a private tracker comes in BEP 41's option; a scrape has no place for it.
#[test]
fn a_private_tracker_wants_the_key_that_stands_in_the_address() {
    let name = format!("samara-udp-keys-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, "abcdefghijklmnop-1 alice\n").expect("written");
    let server = start("127.0.0.1:0", |c| c.keys = Some(path.clone()));
    let _ = std::fs::remove_file(path);
    let client = Client::new("127.0.0.1:0", server.addr);
    let connection = client.connect();
    let ask = |url: &str| {
        let options = match url {
            "" => Vec::new(),
            url => Options::pack_url(url),
        };
        client.ask(&Request::Announce {
            connection,
            transaction: [5, 6, 7, 8],
            announce: peer(1_000, 0),
            options: Options::packed(&options),
        })
    };
    for url in [
        "/abcdefghijklmnop-1/announce",
        "/abcdefghijklmnop-1/announce?x=y",
    ] {
        assert!(peers(ask(url)).is_empty(), "{url}");
    }
    for (url, words) in [
        ("", "is private"),
        ("/announce", "is private"),
        ("/abcdefghijklmnop-2/announce", "does not know your key"),
    ] {
        match ask(url) {
            ReplyBody::Error(refusal) => assert!(refusal.reason.contains(words), "{refusal}"),
            other => panic!("{url}: {other:?}"),
        }
    }
    let scrape = client.ask(&Request::Scrape {
        connection,
        transaction: [5, 6, 7, 8],
        hashes: Hashes::packed(&HASH.0),
    });
    assert!(matches!(scrape, ReplyBody::Error(_)), "{scrape:?}");
}

//! The server as it looks from a raw socket.

use super::*;
use crate::swarm;
use samara_proto::tracker::{
    AnnounceReply, AnnounceRequest, Event, ReplyError, RetryIn, ScrapeReply,
};
use samara_proto::{InfoHash, PeerId};
use std::net::IpAddr;
use std::time::Instant;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

const HASH: InfoHash = InfoHash([0xe9; 20]);

struct Running {
    addr: SocketAddr,
    handle: Handle,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

fn start(change: impl FnOnce(&mut ServeConfig)) -> Running {
    let mut config = ServeConfig {
        listen: "127.0.0.1:0".parse().expect("address"),
        seed: Some(1),
        ..ServeConfig::default()
    };
    change(&mut config);
    let server = Server::bind(config).expect("binds");
    let (stop, stopped) = oneshot::channel();
    Running {
        addr: server.local_addr(),
        handle: server.handle(),
        stop,
        task: tokio::spawn(server.run(async {
            let _ = stopped.await;
        })),
    }
}

/// Sends bytes, then reads until the server hangs up (or 3 s have passed).
async fn talk(addr: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(addr).await.expect("connects");
    // The server may hang up before it has read everything.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut out = Vec::new();
    let _ = timeout(Duration::from_secs(3), stream.read_to_end(&mut out)).await;
    out
}

/// Status and body of the answer to a GET.
async fn get(addr: SocketAddr, target: &str) -> (u16, Vec<u8>) {
    let request = format!("GET {target} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
    split(&talk(addr, request.as_bytes()).await)
}

fn split(answer: &[u8]) -> (u16, Vec<u8>) {
    let text = String::from_utf8_lossy(answer);
    let status = text.get(9..12).and_then(|code| code.parse().ok());
    let head = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .map_or(answer.len(), |at| at + 4);
    (status.unwrap_or(0), answer[head..].to_vec())
}

fn request(n: u8, left: u64) -> AnnounceRequest {
    AnnounceRequest {
        left: Some(left),
        event: Event::Started,
        key: Some(n.into()),
        ..AnnounceRequest::new(HASH, PeerId([n; 20]), 1_000 + u16::from(n))
    }
}

async fn announce(
    addr: SocketAddr,
    request: &AnnounceRequest,
) -> Result<AnnounceReply, ReplyError> {
    let (status, body) = get(addr, &request.to_url("/announce")).await;
    assert_eq!(status, 200);
    AnnounceReply::decode(&body)
}

#[tokio::test]
async fn a_leech_waits_a_seed_comes_a_download_is_counted() {
    let server = start(|_| {});
    let waiting = announce(server.addr, &request(1, 5))
        .await
        .expect("answered");
    assert_eq!((waiting.interval, waiting.peers.len()), (2, 0));
    assert!(
        waiting
            .warning
            .is_some_and(|w| w.starts_with("no seed yet"))
    );
    announce(server.addr, &request(2, 0))
        .await
        .expect("answered");
    for compact in [None, Some(true), Some(false)] {
        let asked = AnnounceRequest {
            compact,
            ..request(1, 5)
        };
        let reply = announce(server.addr, &asked).await.expect("answered");
        assert_eq!(reply.peers, ["127.0.0.1:1002".parse().expect("address")]);
        assert_eq!(reply.peer_ids, []);
        assert_eq!((reply.complete, reply.incomplete), (Some(1), Some(1)));
        assert_eq!(reply.external_ip, Some(IpAddr::from([127, 0, 0, 1])));
    }
    let done = AnnounceRequest {
        event: Event::Completed,
        ..request(1, 0)
    };
    announce(server.addr, &done).await.expect("answered");
    let scrape = format!("/scrape?info_hash={}", "%E9".repeat(20));
    let (_, body) = get(server.addr, &scrape).await;
    let counts = ScrapeReply::decode(&body)
        .expect("decodes")
        .get(HASH)
        .expect("known");
    assert_eq!(
        (counts.complete, counts.incomplete, counts.downloaded),
        (2, 0, 1)
    );
    let stats = server.handle.swarm(HASH).expect("known");
    assert_eq!((stats.seeds, stats.leeches, stats.downloaded), (2, 0, 1));
    assert_eq!(server.handle.stats().announces, 6);
}

#[tokio::test]
async fn every_refusal_is_bencode_with_status_200() {
    let server = start(|_| {});
    let hash = "%E9".repeat(20);
    for (target, words) in [
        ("/announce".to_owned(), "the request lacks info_hash"),
        ("/announce?".to_owned(), "the request lacks info_hash"),
        (
            "/announce?info_hash=%".to_owned(),
            "info_hash must be 20 bytes",
        ),
        (
            format!("/announce?info_hash={hash}"),
            "the request lacks peer_id",
        ),
        (
            format!(
                "/announce?info_hash={hash}&peer_id=%00{}&port=99999",
                "a".repeat(19)
            ),
            "port is not a number",
        ),
        (
            format!("/announce?info_hash={hash}&peer_id={hash}&port=0&left=0"),
            "port 0",
        ),
        ("/scrape".to_owned(), "a scrape of everything is not served"),
        (
            "/scrape?info_hash=abc".to_owned(),
            "info_hash must be 20 bytes",
        ),
    ] {
        let (status, body) = get(server.addr, &target).await;
        assert_eq!(status, 200, "{target}");
        match AnnounceReply::decode(&body) {
            Err(ReplyError::Refused(refusal)) => {
                assert!(refusal.reason.contains(words), "{target}: {refusal}");
            }
            other => panic!("{target}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn pages_files_and_nothing() {
    let server = start(|_| {});
    server.handle.register(HASH, "Big <film>.iso", Some(9));
    let path = server
        .handle
        .add_file(
            "Bi g+\u{e9}.torrent",
            vec![1, 2, 3],
            "application/x-bittorrent",
        )
        .expect("added");
    assert_eq!(path, "/Bi%20g%2B%C3%A9.torrent");
    assert_eq!(get(server.addr, &path).await, (200, vec![1, 2, 3]));
    assert_eq!(get(server.addr, "/Bi%20g+%c3%a9.torrent").await.0, 200);
    assert_eq!(get(server.addr, "/Bi+g+%c3%a9.torrent").await.0, 404);
    assert!(server.handle.remove_file("/Bi g+\u{e9}.torrent"));
    assert_eq!(get(server.addr, &path).await.0, 404);
    assert_eq!(
        server.handle.add_file("/announce", vec![], "text/plain"),
        Err(FileError::Reserved)
    );
    assert_eq!(get(server.addr, "/health").await, (200, b"ok\n".to_vec()));
    let (status, page) = get(server.addr, "/").await;
    assert_eq!(status, 200);
    assert!(String::from_utf8_lossy(&page).contains("Big &lt;film&gt;.iso"));
    assert_eq!(get(server.addr, "/ready").await.0, 200);
    let (status, metrics) = get(server.addr, "/metrics").await;
    assert_eq!(status, 200);
    assert!(metrics.starts_with(b"# HELP samara_tracker_"));
    let (status, json) = get(server.addr, "/stats.json").await;
    assert_eq!(status, 200);
    assert!(json.starts_with(b"{\"uptime_seconds\":"));
    for nothing in [
        "/x",
        "/announce/",
        "/../etc/passwd",
        "/%ff",
        "//",
        "/announce%00",
    ] {
        assert_eq!(get(server.addr, nothing).await.0, 404, "{nothing}");
    }
}

#[tokio::test]
async fn a_list_is_obeyed_from_the_moment_it_is_set_and_as_often_as_it_is() {
    let server = start(|_| {});
    let file = std::env::temp_dir().join(format!("samara-list-{}", std::process::id()));
    for round in 0..3 {
        std::fs::write(&file, format!("{HASH} ours\n")).expect("written");
        let deny = Access::read(None, Some(&file)).expect("read");
        server.handle.set_access(deny);
        match announce(server.addr, &request(1, 0)).await {
            Err(ReplyError::Refused(refusal)) => {
                assert!(refusal.reason.contains("does not serve"), "{round}");
                assert_eq!(refusal.retry_in, Some(RetryIn::Never));
            }
            other => panic!("{other:?}"),
        }
        let allow = Access::read(Some(&file), None).expect("read");
        server.handle.set_access(allow);
        announce(server.addr, &request(1, 0))
            .await
            .expect("allowed");
        let other = AnnounceRequest {
            info_hash: InfoHash([1; 20]),
            ..request(1, 0)
        };
        assert!(announce(server.addr, &other).await.is_err());
        server.handle.set_access(Access::default());
        announce(server.addr, &other).await.expect("open");
    }
    assert_eq!(server.handle.stats().refusals, 6);
    let _ = std::fs::remove_file(&file);
}

#[tokio::test]
async fn pipelined_requests_are_all_answered_on_one_connection() {
    let server = start(|_| {});
    let one = format!(
        "GET {} HTTP/1.1\r\nHost: t\r\n\r\n",
        request(1, 0).to_url("/announce")
    );
    let answer = talk(server.addr, one.repeat(5).as_bytes()).await;
    let text = String::from_utf8_lossy(&answer);
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 5);
    assert_eq!(server.handle.stats().announces, 5);
    // HTTP/1.0, as old clients and busybox speak it.
    let old = talk(server.addr, b"GET /health HTTP/1.0\r\n\r\n").await;
    assert!(old.ends_with(b"\r\n\r\nok\n"));
}

#[tokio::test]
async fn garbage_bodies_and_giants_are_turned_away() {
    let server = start(|_| {});
    for (bytes, status) in [
        (b"\x13BitTorrent protocol\0\0\0\0\0\0\0\0".to_vec(), 0),
        (b"GET\r\n\r\n".to_vec(), 0),
        (b"\x16\x03\x01\x02\x00\x01\x00".to_vec(), 0),
        (
            b"POST /announce HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc".to_vec(),
            405,
        ),
        (
            b"GET /announce HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\n".to_vec(),
            413,
        ),
        (
            b"GET / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n".to_vec(),
            413,
        ),
        (
            format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(70_000)).into_bytes(),
            0,
        ),
        (
            [b"GET / HTTP/1.1\r\n".to_vec(), b"A: b\r\n".repeat(5_000)].concat(),
            0,
        ),
        (vec![0; 100_000], 0),
    ] {
        let (got, _) = split(&talk(server.addr, &bytes).await);
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned();
        // 0: refused in any way, 4xx or by hanging up.
        let refused = if status == 0 {
            got == 0 || (400..500).contains(&got)
        } else {
            got == status
        };
        assert!(refused, "{shown}: {got}");
    }
    assert_eq!(get(server.addr, "/health").await.0, 200);
}

#[tokio::test]
async fn random_bytes_never_stop_it() {
    let server = start(|_| {});
    let valid = format!(
        "GET {} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n",
        request(1, 5).to_url("/announce")
    );
    let mut state = 7_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize
    };
    for _ in 0..400 {
        let mut bytes = valid.clone().into_bytes();
        for _ in 0..4 {
            let at = next() % bytes.len();
            bytes[at] = next() as u8;
        }
        talk(server.addr, &bytes).await;
    }
    assert_eq!(get(server.addr, "/health").await.0, 200);
    assert!(!server.task.is_finished());
}

#[tokio::test]
async fn attack_15_slow_and_idle_connections_end() {
    let server = start(|c| c.head_timeout = Duration::from_millis(300));
    for opening in [
        &b""[..],
        b"GET /announce?info_",
        b"GET /health HTTP/1.1\r\nHost: t\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(server.addr).await.expect("connects");
        stream.write_all(opening).await.expect("sends");
        let start = Instant::now();
        let mut out = Vec::new();
        let ended = timeout(Duration::from_secs(5), stream.read_to_end(&mut out)).await;
        assert!(ended.is_ok(), "{opening:?}: still open");
        assert!(start.elapsed() >= Duration::from_millis(250));
    }
    // A byte at a time does not extend it.
    let mut stream = TcpStream::connect(server.addr).await.expect("connects");
    let mut sent = 0;
    while stream.write_all(b"G").await.is_ok() && sent < 100 {
        sent += 1;
        sleep(Duration::from_millis(50)).await;
    }
    assert!(sent < 30, "{sent}");
}

#[tokio::test]
async fn a_connection_does_not_live_for_ever() {
    let server = start(|c| c.connection_life = Duration::from_millis(300));
    let mut stream = TcpStream::connect(server.addr).await.expect("connects");
    let start = Instant::now();
    let mut buf = [0; 4_096];
    loop {
        if stream
            .write_all(b"GET /health HTTP/1.1\r\nHost: t\r\n\r\n")
            .await
            .is_err()
            || !matches!(stream.read(&mut buf).await, Ok(1..))
        {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(5));
        sleep(Duration::from_millis(20)).await;
    }
    // One that asks and never reads fills its window, and is cut off too.
    let mut deaf = TcpStream::connect(server.addr).await.expect("connects");
    let flood = b"GET / HTTP/1.1\r\nHost: t\r\n\r\n".repeat(1_000);
    let cut = timeout(Duration::from_secs(8), async {
        while deaf.write_all(&flood).await.is_ok() {}
    });
    assert!(cut.await.is_ok());
}

#[tokio::test]
async fn those_beyond_the_limit_wait_and_are_then_served() {
    let server = start(|c| {
        c.max_connections = 2;
        c.head_timeout = Duration::from_millis(500);
    });
    // They have begun to ask: those that say nothing hold no place on every system.
    let mut hold = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(server.addr).await.expect("connects");
        stream.write_all(b"GET /hea").await.expect("sends");
        hold.push(stream);
    }
    sleep(Duration::from_millis(50)).await;
    let start = Instant::now();
    assert_eq!(get(server.addr, "/health").await.0, 200);
    assert!(start.elapsed() > Duration::from_millis(200));
    drop(hold);
}

#[tokio::test]
async fn the_socket_says_who_it_is_unless_ip_is_trusted() {
    let liar = AnnounceRequest {
        ip: "203.0.113.9".parse().ok(),
        ipv6: "[2001:db8::9]:9".parse().ok(),
        ..request(1, 0)
    };
    let local: SocketAddr = "127.0.0.1:1001".parse().expect("address");
    for (trust_ip, v4, v6) in [
        (TrustIp::Never, local, false),
        (
            TrustIp::Loopback,
            "203.0.113.9:1001".parse().expect("address"),
            true,
        ),
        (
            TrustIp::Always,
            "203.0.113.9:1001".parse().expect("address"),
            true,
        ),
    ] {
        let server = start(|c| {
            c.trust_ip = trust_ip;
            // Reached over IPv4 through an IPv6 socket: the peer is IPv4 all the same.
            c.listen = "[::]:0".parse().expect("address");
        });
        let addr = SocketAddr::new(IpAddr::from([127, 0, 0, 1]), server.addr.port());
        announce(addr, &liar).await.expect("answered");
        let peers = server.handle.store().peers(HASH);
        assert_eq!(peers.len(), 1 + usize::from(v6), "{trust_ip:?}");
        assert_eq!(peers[0].addr, v4, "{trust_ip:?}");
    }
}

#[tokio::test]
async fn a_taken_port_and_a_foreign_address_are_explained() {
    let server = start(|_| {});
    let error = Server::bind(ServeConfig {
        listen: server.addr,
        ..ServeConfig::default()
    })
    .expect_err("taken")
    .to_string();
    assert!(
        error.contains(&server.addr.to_string()) && error.contains("another port"),
        "{error}"
    );
    let error = Server::bind(ServeConfig {
        listen: "192.0.2.1:0".parse().expect("address"),
        ..ServeConfig::default()
    })
    .expect_err("not ours");
    assert!(error.to_string().contains("no such address"), "{error}");
}

#[tokio::test]
async fn it_ends_when_told_to_and_frees_the_port() {
    let server = start(|c| c.policy = swarm::Config::default());
    let mut idle = TcpStream::connect(server.addr).await.expect("connects");
    idle.write_all(b"GET /health HTTP/1.1\r\nHost: t\r\n\r\n")
        .await
        .expect("sends");
    let mut buf = [0; 512];
    assert!(idle.read(&mut buf).await.is_ok_and(|n| n > 0));
    let start = Instant::now();
    server.stop.send(()).expect("runs");
    server.task.await.expect("ends");
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    Server::bind(ServeConfig {
        listen: server.addr,
        ..ServeConfig::default()
    })
    .expect("free again");
}

/// A thousand hosts in the same second, each on a connection of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_herd_is_served() {
    let server = start(|_| {});
    let mut herd = JoinSet::new();
    for n in 0..1_000_u16 {
        let addr = server.addr;
        herd.spawn(async move {
            let mut peer = request(0, 0);
            peer.peer_id.0[..2].copy_from_slice(&n.to_be_bytes());
            peer.port = 1_000 + n;
            announce(addr, &peer).await.is_ok()
        });
    }
    while let Some(answered) = herd.join_next().await {
        assert!(answered.expect("no panic"));
    }
    assert_eq!(server.handle.swarm(HASH).map(|s| s.seeds), Some(1_000));
}

mod web;

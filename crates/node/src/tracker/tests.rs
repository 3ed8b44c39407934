//! A tracker that is a script: what the client says to it, and what it makes of the answers.

use super::*;
use samara_engine::{Duration, TrackerKey};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Answers every request by what `answer` makes of its first line.
async fn serve(
    answer: impl Fn(&str) -> Vec<u8> + Send + 'static,
) -> (SocketAddr, mpsc::UnboundedReceiver<String>, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let addr = listener.local_addr().expect("bound");
    let (send, lines) = mpsc::unbounded_channel();
    let task = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("accept");
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0; 1];
                if stream.read_exact(&mut byte).await.is_err() {
                    break;
                }
                request.push(byte[0]);
            }
            let text = String::from_utf8_lossy(&request).into_owned();
            let line = text.lines().next().unwrap_or_default().to_owned();
            let _ = stream.write_all(&answer(&line)).await;
            let _ = send.send(line);
        }
    });
    (addr, lines, task)
}

fn ok(body: &[u8]) -> Vec<u8> {
    let mut out = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
    out.extend_from_slice(body);
    out
}

fn announcer() -> Announcer {
    Announcer {
        http: Arc::new(Http::new(IpAddr::from([0; 4]))),
        udp: Arc::new(Udp::new(IpAddr::from([0; 4]), Default::default())),
        info_hash: InfoHash([0xaa; 20]),
        peer_id: PeerId([b'x'; 20]),
        listen: "0.0.0.0:6881".parse().expect("address"),
        key: 0x1234_abcd,
        size: Some(1000),
        tracker_ids: Mutex::default(),
    }
}

fn words(event: AnnounceEvent) -> engine::Announce {
    engine::Announce {
        tracker: TrackerKey { tier: 0, place: 0 },
        event,
        uploaded: 1,
        downloaded: 2,
        left: 3,
        num_want: 50,
    }
}

#[tokio::test]
async fn an_announce_and_its_answer() {
    let body = b"d8:completei2e10:incompletei5e8:intervali60e12:min intervali5e\
        5:peers6:\x0a\x00\x00\x01\x1a\xe110:tracker id3:abc15:warning message7:carefule";
    let (addr, mut lines, _task) = serve(move |_| ok(body)).await;
    let client = announcer();
    let tracker = format!("http://{addr}/announce?passkey=k");
    let answer = client
        .announce(&tracker, &words(AnnounceEvent::Started))
        .await;
    let answer = answer.expect("answered");
    assert_eq!(answer.interval, Duration::from_secs(60));
    assert_eq!((answer.seeds, answer.leeches), (Some(2), Some(5)));
    assert_eq!(answer.peers, ["10.0.0.1:6881".parse().expect("address")]);
    assert_eq!(answer.warning.as_deref(), Some("careful"));
    let line = lines.recv().await.expect("a request");
    for part in [
        "GET /announce?passkey=k&info_hash=%AA%AA",
        "&port=6881",
        "&uploaded=1",
        "&left=3",
        "&event=started",
        "&numwant=50",
        "&key=1234ABCD",
        "&compact=1",
    ] {
        assert!(line.contains(part), "{part} in {line}");
    }
    assert!(!line.contains("trackerid"));
    let again = client
        .announce(&tracker, &words(AnnounceEvent::Periodic))
        .await;
    again.expect("answered");
    let line = lines.recv().await.expect("a request");
    assert!(
        line.contains("&trackerid=abc") && !line.contains("event="),
        "{line}"
    );
}

#[tokio::test]
async fn attack_16_failures_say_what_is_wrong() {
    let cases: [(&[u8], &str); 5] = [
        (b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n", "503"),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
            "no tracker",
        ),
        (
            b"HTTP/1.1 404 No\r\ncontent-length: 27\r\n\r\nd14:failure reason4:nope!!e",
            "404",
        ),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 28\r\n\r\nd14:failure reason7:go awaye",
            "go away",
        ),
        (b"garbage\r\n\r\n", "HTTP"),
    ];
    for (reply, want) in cases {
        let (addr, _lines, _task) = serve(move |_| reply.to_vec()).await;
        let tracker = format!("http://{addr}/announce");
        let answer = announcer()
            .announce(&tracker, &words(AnnounceEvent::Periodic))
            .await;
        let error = answer.expect_err("refused");
        assert!(error.contains(want), "{error}");
    }
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let addr = free.local_addr().expect("bound");
    drop(free);
    let tracker = format!("http://{addr}/announce");
    let answer = announcer()
        .announce(&tracker, &words(AnnounceEvent::Periodic))
        .await;
    let error = answer.expect_err("nobody there");
    assert!(
        error.contains("cannot connect") && error.contains("refused"),
        "{error}"
    );
}

/// Nothing is asked for compressed, and what comes so anyway is not unpacked: it is no bencode.
#[tokio::test]
async fn attack_16_a_compressed_reply_is_not_unpacked() {
    let (addr, _lines, _task) = serve(|_| {
        let body = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xed, 0xc1, 1, 1];
        let length = body.len();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {length}\r\n\r\n"
        );
        [head.as_bytes(), &body].concat()
    })
    .await;
    let tracker = format!("http://{addr}/announce");
    let words = words(AnnounceEvent::Periodic);
    let answer = announcer().announce(&tracker, &words).await;
    let error = answer.expect_err("it is packed");
    assert!(error.contains("no tracker"), "{error}");
}

#[tokio::test]
async fn attack_16_headers_and_chunks_are_bounded() {
    let endless = b"x-a: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\r\n".repeat(4000);
    let header = [&b"HTTP/1.1 200 OK\r\n"[..], &endless].concat();
    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = [&chunked[..], b"fffffffffffffffff\r\nd8:intervali1e"].concat();
    let negative = [&chunked[..], b"-1\r\nd8:intervali1e"].concat();
    for reply in [header, chunk, negative] {
        let (addr, _lines, _task) = serve(move |_| reply.clone()).await;
        let tracker = format!("http://{addr}/announce");
        let words = words(AnnounceEvent::Periodic);
        assert!(announcer().announce(&tracker, &words).await.is_err());
    }
}

#[tokio::test]
async fn attack_16_a_reply_without_end_is_cut_off() {
    let (addr, _lines, _task) = serve(|_| {
        let mut out = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        out.resize(MAX_REPLY + 100_000, b'x');
        out
    })
    .await;
    let tracker = format!("http://{addr}/announce");
    let answer = announcer()
        .announce(&tracker, &words(AnnounceEvent::Periodic))
        .await;
    assert!(answer.expect_err("too long").contains("longer than"));
}

#[tokio::test]
async fn attack_20_redirects_are_followed_but_not_for_ever() {
    let (addr, mut lines, _task) = serve(|line| {
        if line.starts_with("GET /loop") {
            b"HTTP/1.1 302 Found\r\nlocation: /loop\r\ncontent-length: 0\r\n\r\n".to_vec()
        } else if line.starts_with("GET /a.torrent") {
            b"HTTP/1.1 301 Moved\r\nlocation: b.torrent\r\ncontent-length: 0\r\n\r\n".to_vec()
        } else {
            ok(b"d4:infode")
        }
    })
    .await;
    let http = Http::new(IpAddr::from([0; 4]));
    let got = fetch_torrent(&http, &format!("http://{addr}/a.torrent")).await;
    assert_eq!(got.expect("fetched"), b"d4:infode");
    let lost = fetch_torrent(&http, &format!("http://{addr}/loop")).await;
    assert!(lost.expect_err("lost").to_string().contains("redirects"));
    let mut count = 0;
    while lines.try_recv().is_ok() {
        count += 1;
    }
    assert_eq!(count, 2 + 6);
}

#[test]
fn we_announce_over_what_we_listen_on() {
    let found: Vec<SocketAddr> = ["1.2.3.4:80", "[2001::1]:80"]
        .iter()
        .map(|text| text.parse().expect("address"))
        .collect();
    let ask = |listen: &str| {
        let (v4, v6) = families(&found, listen.parse().expect("address"));
        (v4.len(), v6.len())
    };
    assert_eq!(ask("0.0.0.0"), (1, 0));
    assert_eq!(ask("::"), (1, 1));
    assert_eq!(ask("::1"), (0, 1));
    let (v4, v6) = families(&found[1..], IpAddr::from([0; 4]));
    assert_eq!((v4.len(), v6.len()), (0, 1), "rather than not at all");
}

#[test]
fn two_families_make_one_answer() {
    let reply = |peer: &str, seeds| AnnounceReply {
        interval: 30,
        complete: Some(seeds),
        peers: vec![
            peer.parse().expect("address"),
            "9.9.9.9:1".parse().expect("address"),
        ],
        ..AnnounceReply::default()
    };
    let both = merge(reply("1.1.1.1:1", 2), reply("[::1]:1", 3));
    assert_eq!((both.peers.len(), both.seeds), (3, Some(3)));
}

#[test]
fn which_trackers_can_be_asked() {
    for url in [
        "http://a/announce",
        "https://a:1/x",
        "udp://a:1",
        "UDP://[::1]:1/x?y",
    ] {
        assert!(is_supported(url), "{url}");
    }
    for url in [
        "",
        "wss://a/announce",
        "udp://a/announce",
        "udp://:1",
        "ftp://a",
    ] {
        assert!(!is_supported(url), "{url}");
    }
}

#[tokio::test]
async fn a_family_that_is_silent_does_not_keep_the_other_one() {
    type Answer = Option<Result<u8, u8>>;
    let silent = || std::future::pending::<Answer>();
    tokio::time::pause();
    let good = both(async { Some(Ok(1)) }, silent()).await;
    assert_eq!(good, (Some(Ok(1)), None));
    let good = both(silent(), async { Some(Ok(2)) }).await;
    assert_eq!(good, (None, Some(Ok(2))));
    // A failure, or having no address, is no reason to hurry.
    let late = || async {
        tokio::time::sleep(OTHER_FAMILY * 2).await;
        Some(Ok(3))
    };
    for early in [Some(Err(4)), None] {
        assert_eq!(both(async { early }, late()).await, (early, Some(Ok(3))));
    }
}

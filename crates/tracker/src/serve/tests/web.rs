//! Proxies, keys, pages, compression, HTTPS and limits, from a socket.

use super::*;
use crate::guard::{Limits, Pace};
use samara_proto::tracker::Form;
use std::io::{self, Read as _};

const KEY: &str = "abcdefghijklmnop-QRST_1";

fn file(name: &str, text: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("samara-web-{}-{name}", std::process::id()));
    std::fs::write(&path, text).expect("written");
    path
}

/// Status, head and body of the answer to a request with these headers.
async fn ask(addr: SocketAddr, target: &str, headers: &str) -> (u16, String, Vec<u8>) {
    let request = format!("GET {target} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n{headers}\r\n");
    let answer = talk(addr, request.as_bytes()).await;
    let (status, body) = split(&answer);
    let head = String::from_utf8_lossy(&answer[..answer.len() - body.len()]).into_owned();
    (status, head, body)
}

fn reason(body: &[u8]) -> String {
    match AnnounceReply::decode(body) {
        Err(ReplyError::Refused(refusal)) => refusal.reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_proxy_is_asked_who_its_client_is_and_nobody_else_is() {
    let server = start(|c| {
        c.proxies = vec!["127.0.0.1".parse().expect("a network")];
        c.listen = "[::]:0".parse().expect("address");
    });
    let port = server.addr.port();
    let proxy = SocketAddr::from(([127, 0, 0, 1], port));
    let target = request(1, 0).to_url("/announce");
    let headers = "X-Forwarded-For: 6.6.6.6, 192.0.2.9\r\nForwarded: for=6.6.6.7\r\n";
    let (status, _, body) = ask(proxy, &target, headers).await;
    let reply = AnnounceReply::decode(&body).expect("answered");
    assert_eq!(status, 200);
    assert_eq!(reply.external_ip, "192.0.2.9".parse().ok());
    let peers = server.handle.store().peers(HASH);
    assert_eq!(peers[0].addr, "192.0.2.9:1001".parse().expect("address"));
    // A proxy that does not say is told so, whoever only watches is not.
    assert_eq!(ask(proxy, &target, "").await.0, 400);
    assert_eq!(
        ask(proxy, &target, "X-Forwarded-For: unknown\r\n").await.0,
        400
    );
    assert_eq!(ask(proxy, "/health", "").await.0, 200);
    // 127.0.0.2 is no proxy of ours.
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket
        .bind("127.0.0.2:0".parse().expect("address"))
        .expect("binds");
    let mut stream = socket.connect(proxy).await.expect("connects");
    let liar = format!("GET {target} HTTP/1.0\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n");
    stream.write_all(liar.as_bytes()).await.expect("sends");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("answered");
    let reply = AnnounceReply::decode(&split(&answer).1).expect("answered");
    assert_eq!(reply.external_ip, "127.0.0.2".parse().ok());
}

#[tokio::test]
async fn a_private_tracker_serves_those_who_have_a_key_and_tells_nobody_which() {
    let path = file("keys", &format!("{KEY} alice\n"));
    let mut config = None;
    let server = start(|c| {
        c.keys = Some(path.clone());
        config = Some(c.clone());
    });
    let config = config.expect("set");
    let seed = request(1, 0);
    let with = |key: &str| seed.to_url(&format!("/{key}/announce"));
    let good = ask(server.addr, &with(KEY), "").await.2;
    AnnounceReply::decode(&good).expect("answered");
    let scrape = format!("/{KEY}/scrape?info_hash={}", "%E9".repeat(20));
    let body = ask(server.addr, &scrape, "").await.2;
    assert!(ScrapeReply::decode(&body).is_ok());
    for wrong in [&KEY[1..], "x", &KEY.to_lowercase()] {
        let body = ask(server.addr, &with(wrong), "").await.2;
        assert!(reason(&body).contains("does not know your key"), "{wrong}");
    }
    let body = ask(server.addr, &seed.to_url("/announce"), "").await.2;
    assert!(reason(&body).contains("private"));
    for page in ["/", "/metrics", "/stats.json"] {
        let (status, _, body) = ask(server.addr, page, "").await;
        assert_eq!(status, 200);
        assert!(!String::from_utf8_lossy(&body).contains(KEY), "{page}");
    }
    let metrics = ask(server.addr, "/metrics", "").await.2;
    let metrics = String::from_utf8_lossy(&metrics).into_owned();
    assert!(metrics.contains("samara_tracker_key_requests_total{owner=\"alice\"} 2"));
    // Another file, and then a broken one, while connections go on.
    std::fs::write(&path, "another-key-of-some-length bob\n").expect("written");
    server.handle.apply(&config).expect("applies");
    let body = ask(server.addr, &with(KEY), "").await.2;
    assert!(reason(&body).contains("does not know your key"));
    std::fs::write(&path, "broken\n").expect("written");
    let error = server
        .handle
        .apply(&config)
        .expect_err("broken")
        .to_string();
    assert!(
        error.contains("line 1") && !error.contains("broken"),
        "{error}"
    );
    let body = ask(server.addr, &with("another-key-of-some-length"), "")
        .await
        .2;
    AnnounceReply::decode(&body).expect("the keys before stay in force");
    let _ = std::fs::remove_file(path);
}

#[tokio::test]
async fn pages_are_for_those_networks_that_may_see_them() {
    let server = start(|c| c.pages_for = vec!["192.0.2.0/24".parse().expect("a network")]);
    for page in ["/", "/metrics", "/stats.json"] {
        assert_eq!(get(server.addr, page).await.0, 403, "{page}");
    }
    assert_eq!(get(server.addr, "/health").await.0, 200);
    announce(server.addr, &request(1, 0))
        .await
        .expect("answered");
}

#[tokio::test]
async fn gzip_comes_where_it_was_asked_for_and_pays() {
    let server = start(|_| {});
    for n in 0..100 {
        announce(server.addr, &request(n, u64::from(n % 2)))
            .await
            .expect("answered");
    }
    let gzip = "Accept-Encoding: gzip, deflate\r\n";
    let metrics = ask(server.addr, "/metrics", gzip).await;
    assert!(
        metrics.1.contains("Content-Encoding: gzip"),
        "{}",
        metrics.1
    );
    let mut text = String::new();
    flate2::read::GzDecoder::new(&*metrics.2)
        .read_to_string(&mut text)
        .expect("gzip");
    assert!(text.starts_with("# HELP"));
    assert!(!ask(server.addr, "/metrics", "").await.1.contains("gzip"));
    // A list of dictionaries pays, a compact one does not.
    for (compact, squeezed) in [(Some(false), true), (Some(true), false), (None, false)] {
        let asked = AnnounceRequest {
            compact,
            numwant: Some(200),
            ..request(200, 1)
        };
        let (_, head, body) = ask(server.addr, &asked.to_url("/announce"), gzip).await;
        assert_eq!(head.contains("gzip"), squeezed, "{compact:?}");
        let mut plain = Vec::new();
        if squeezed {
            flate2::read::GzDecoder::new(&*body)
                .read_to_end(&mut plain)
                .expect("gzip");
        } else {
            plain = body;
        }
        let reply = AnnounceReply::decode(&plain).expect("answered");
        assert_eq!(reply.peers.len(), 100);
    }
}

// long: one server from its first certificate to its last, and a client that knows only one of them
#[tokio::test]
async fn https_serves_and_takes_another_certificate_without_a_restart() {
    use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
    use std::sync::Arc;
    use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

    let certificate = |name: &str| {
        let (cert, key) = (format!("{name}.pem"), format!("{name}.key"));
        let (cert, key) = (file(&cert, ""), file(&key, ""));
        let made = std::process::Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
            ])
            .args(["-nodes", "-days", "2", "-subj", "/CN=tracker.test"])
            .args(["-addext", "subjectAltName=DNS:tracker.test"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&cert)
            .output();
        made.is_ok_and(|made| made.status.success())
            .then_some(TlsFiles { cert, key })
    };
    let (Some(one), Some(two)) = (certificate("one"), certificate("two")) else {
        eprintln!("no openssl to make certificates with: not tested");
        return;
    };
    let mut config = None;
    let mut addr = None;
    let server = {
        let mut made = ServeConfig {
            listen: "127.0.0.1:0".parse().expect("address"),
            https: Some(("127.0.0.1:0".parse().expect("address"), one.clone())),
            ..ServeConfig::default()
        };
        made.head_timeout = Duration::from_secs(2);
        let server = Server::bind(made.clone()).expect("binds");
        config.replace(made);
        addr = addr.or(server.https_addr());
        server
    };
    let (mut config, addr) = (config.expect("set"), addr.expect("listens"));
    let handle = server.handle();
    tokio::spawn(server.run(std::future::pending()));
    let talk = async |files: &TlsFiles| -> io::Result<Vec<u8>> {
        let mut roots = RootCertStore::empty();
        let cert = CertificateDer::from_pem_file(&files.cert).expect("a certificate");
        roots.add(cert).expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
        let stream = TcpStream::connect(addr).await?;
        let name = ServerName::try_from("tracker.test").expect("a name");
        let mut stream = connector.connect(name, stream).await?;
        let target = request(1, 0).to_url("/announce");
        let text = format!("GET {target} HTTP/1.0\r\n\r\n");
        stream.write_all(text.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok(answer)
    };
    let answer = talk(&one).await.expect("answered");
    AnnounceReply::decode(&split(&answer).1).expect("an answer");
    assert!(talk(&two).await.is_err(), "another certificate");
    config.https = Some((addr, two.clone()));
    handle.apply(&config).expect("applies");
    assert!(talk(&two).await.is_ok());
    assert!(talk(&one).await.is_err(), "the one before");
    // A key that does not go with it leaves everything as it was.
    let mixed = TlsFiles {
        cert: one.cert.clone(),
        key: two.key.clone(),
    };
    config.https = Some((addr, mixed));
    let error = handle.apply(&config).expect_err("does not fit").to_string();
    assert!(error.contains("does not go with the key"), "{error}");
    assert!(talk(&two).await.is_ok());
    // Plain words to the port of TLS, and silence, end.
    let plain = super::talk(addr, b"GET /health HTTP/1.1\r\n\r\n").await;
    assert!(!plain.starts_with(b"HTTP"));
    for path in [one.cert, one.key, two.cert, two.key] {
        let _ = std::fs::remove_file(path);
    }
}

/// Behind a proxy that is trusted, every client has its own limit.
#[tokio::test]
async fn whoever_asks_too_often_is_told_and_others_are_served() {
    let pace = |burst| Pace {
        per_second: 1,
        burst,
    };
    let server = start(|c| {
        c.proxies = vec!["127.0.0.1".parse().expect("a network")];
        c.limits = Limits {
            address: pace(3),
            network: pace(5),
            peer: pace(2),
            ..Limits::default()
        };
    });
    let ask = async |ip: &str, n: u8| {
        let target = request(n, 0).to_url("/announce");
        let (status, head, body) =
            ask(server.addr, &target, &format!("X-Forwarded-For: {ip}\r\n")).await;
        assert_eq!(status, 200);
        match AnnounceReply::decode(&body) {
            Ok(_) => String::new(),
            Err(ReplyError::Refused(refusal)) => {
                assert_eq!(refusal.retry_in, Some(RetryIn::Minutes(1)));
                assert!(!head.contains("gzip"));
                refusal.reason
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(ask("192.0.2.1", 1).await, "");
    assert_eq!(ask("192.0.2.1", 1).await, "");
    assert!(ask("192.0.2.1", 1).await.contains("too often"));
    assert!(ask("192.0.2.1", 2).await.contains("your address"));
    assert_eq!(ask("192.0.2.2", 1).await, "");
    assert_eq!(ask("192.0.2.3", 1).await, "");
    assert!(ask("192.0.2.4", 1).await.contains("your network"));
    assert_eq!(ask("198.51.100.1", 1).await, "");
    let (_, metrics) = get(server.addr, "/health").await;
    assert_eq!(metrics, b"ok\n");
    let stats = server.handle.guard_stats();
    assert_eq!((stats.address, stats.network, stats.peer), (1, 1, 1));
}

#[tokio::test]
async fn connections_of_one_network_beyond_the_limit_are_closed() {
    // Loopback has no limit: the guard's own test has the numbers, this one that servers ask it.
    let server = start(|c| c.limits.address_connections = 1);
    let hold: Vec<_> = {
        let mut hold = Vec::new();
        for _ in 0..5 {
            hold.push(TcpStream::connect(server.addr).await.expect("connects"));
        }
        hold
    };
    assert_eq!(get(server.addr, "/health").await.0, 200);
    drop(hold);
}

/// Compact and dictionary form say the same, whatever was asked for.
#[tokio::test]
async fn numwant_is_honoured_in_both_forms() {
    let server = start(|_| {});
    for n in 0..60_u8 {
        announce(server.addr, &request(n, u64::from(n % 2)))
            .await
            .expect("answered");
    }
    for (numwant, told) in [
        ("", 50),
        ("&numwant=0", 0),
        ("&numwant=1", 1),
        ("&numwant=7", 7),
        ("&numwant=-1", 50),
        ("&numwant=x", 50),
        ("&numwant=99999999999999999999", 59),
        ("&numwant=4294967295", 59),
    ] {
        for compact in ["", "&compact=1", "&compact=0"] {
            let target = format!("{}{numwant}{compact}", request(1, 1).to_url("/announce"));
            let (status, body) = get(server.addr, &target).await;
            assert_eq!(status, 200);
            let reply = AnnounceReply::decode(&body).expect("answered");
            assert_eq!(reply.peers.len(), told, "{numwant}{compact}");
            let own: SocketAddr = "127.0.0.1:1001".parse().expect("address");
            assert!(!reply.peers.contains(&own), "never the asker");
            let mut different = reply.peers.clone();
            different.sort_unstable();
            different.dedup();
            assert_eq!(different.len(), told, "nobody twice");
        }
    }
}

/// A v2 info-hash in full (BEP 52 leaves it to clients) and cut to 20 bytes are one swarm.
#[tokio::test]
async fn a_v2_info_hash_in_full_and_truncated_is_one_swarm() {
    let server = start(|_| {});
    let full: String = (1..=32).map(|n| format!("%{n:02X}")).collect();
    let cut: String = (1..=20).map(|n| format!("%{n:02X}")).collect();
    for (n, hash) in [(1, &full), (2, &cut)] {
        let rest = format!("peer_id=-XX0001-12345678901{n}&port=100{n}&left=0");
        let (_, body) = get(server.addr, &format!("/announce?info_hash={hash}&{rest}")).await;
        AnnounceReply::decode(&body).expect("answered");
    }
    for hash in [full, cut] {
        let (_, body) = get(server.addr, &format!("/scrape?info_hash={hash}")).await;
        let counts = ScrapeReply::decode(&body).expect("answered");
        assert_eq!(counts.files.len(), 1);
        assert_eq!(counts.files[0].1.complete, 2);
    }
    for len in [0, 19, 21, 31, 33, 64] {
        let hash = "%01".repeat(len);
        let target = format!(
            "/announce?info_hash={hash}&peer_id={}&port=1",
            "a".repeat(20)
        );
        let (_, body) = get(server.addr, &target).await;
        assert!(
            reason(&body).contains("info_hash must be 20 bytes"),
            "{len}"
        );
    }
}

/// Public askers are not told of private or loopback addresses, nor of port 0; private ones are told of
/// both. IPv6 peers come in `peers6`.
#[tokio::test]
async fn nobody_is_told_of_an_address_that_it_cannot_reach() {
    let server = start(|c| c.trust_ip = TrustIp::Always);
    let at = |n: u8, left: u64, ip: &str| AnnounceRequest {
        ip: ip.parse().ok(),
        ..request(n, left)
    };
    let members = [
        "10.1.1.1",
        "192.168.7.7",
        "127.0.0.5",
        "8.8.4.4",
        "2a00::1",
        "fd00::1",
    ];
    for (n, ip) in (1..).zip(members) {
        announce(server.addr, &at(n, 0, ip))
            .await
            .expect("answered");
    }
    let told = async |n: u8, ip: &str| {
        let reply = announce(server.addr, &at(n, 9, ip))
            .await
            .expect("answered");
        let mut ips: Vec<String> = reply.peers.iter().map(|p| p.ip().to_string()).collect();
        ips.sort();
        ips
    };
    let public = told(100, "9.9.9.9").await;
    assert_eq!(public, ["2a00::1", "8.8.4.4"]);
    let public6 = told(101, "2a00::2").await;
    assert!(public6.contains(&"2a00::1".into()) && !public6.contains(&"fd00::1".into()));
    let private = told(102, "10.2.2.2").await;
    assert!(private.contains(&"10.1.1.1".into()) && !private.contains(&"127.0.0.5".into()));
    // In bytes: 6 a peer in one, 18 in the other, which 2a00::2 has joined meanwhile.
    let target = at(100, 9, "9.9.9.9").to_url("/announce");
    let (_, body) = get(server.addr, &target).await;
    let text = String::from_utf8_lossy(&body).into_owned();
    assert!(text.contains("6:peers636:"), "{text}");
    assert_eq!(Form::wanted(None, false), Form::Compact);
    let zero = AnnounceRequest {
        port: 0,
        ..request(7, 0)
    };
    let refused = announce(server.addr, &zero).await;
    assert!(matches!(refused, Err(ReplyError::Refused(_))));
}

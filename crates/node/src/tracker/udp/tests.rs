//! A tracker that is a script: what the client sends, sends again, and makes of the answers.

use super::*;
use samara_proto::PeerId;
use samara_proto::tracker::Event;
use samara_proto::tracker::udp::{
    CONNECT_LEN, announce_reply_head, connect_reply, error_reply_head, scrape_counts,
    scrape_reply_head,
};
use std::collections::BTreeSet;
use tokio::net::UdpSocket;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// What the tracker saw: kind of the packet, connection id, path and query, port of the sender.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    kind: &'static str,
    id: [u8; 8],
    url: Vec<u8>,
    from: u16,
}

/// Answers every packet by what `answer` makes of it (the number of the packet, and the packet).
async fn serve(
    at: &str,
    mut answer: impl FnMut(usize, Request<'_>) -> Vec<u8> + Send + 'static,
) -> (SocketAddr, UnboundedReceiver<Seen>) {
    let socket = UdpSocket::bind(at).await.expect("bind");
    let addr = socket.local_addr().expect("bound");
    let (send, seen) = unbounded_channel();
    tokio::spawn(async move {
        let mut buf = [0; 2048];
        for number in 0.. {
            let Ok((len, from)) = socket.recv_from(&mut buf).await else {
                return;
            };
            let request = Request::decode(&buf[..len]).expect("a request");
            let (kind, id, url) = match request {
                Request::Connect { .. } => {
                    assert_eq!(len, CONNECT_LEN);
                    ("connect", [0; 8], Vec::new())
                }
                Request::Announce {
                    connection,
                    options,
                    ..
                } => ("announce", connection, options.url_data()),
                Request::Scrape { connection, .. } => ("scrape", connection, Vec::new()),
            };
            let from_port = from.port();
            let _ = send.send(Seen {
                kind,
                id,
                url,
                from: from_port,
            });
            let reply = answer(number, request);
            if !reply.is_empty() {
                let _ = socket.send_to(&reply, from).await;
            }
        }
    });
    (addr, seen)
}

/// As a tracker should: one peer, 3 leeches, 7 seeds.
fn properly(id: u8, request: Request<'_>) -> Vec<u8> {
    match request {
        Request::Connect { transaction } => connect_reply(transaction, [id; 8]).to_vec(),
        Request::Announce { transaction, .. } => {
            let mut out = announce_reply_head(transaction, 60, 3, 7).to_vec();
            out.extend_from_slice(&[10, 0, 0, 1, 0x1a, 0xe1]);
            out
        }
        Request::Scrape {
            transaction,
            hashes,
            ..
        } => {
            let mut out = scrape_reply_head(transaction).to_vec();
            for hash in hashes.iter() {
                out.extend_from_slice(&scrape_counts(hash.0[0].into(), 1, 2));
            }
            out
        }
    }
}

fn client(first_wait: u64, budget: u64) -> Udp {
    let timing = Timing {
        first_wait: Duration::from_millis(first_wait),
        budget: Duration::from_millis(budget),
        id_life: Duration::from_secs(60),
    };
    Udp::new(IpAddr::from([0; 4]), timing)
}

/// So long that nothing is sent again because the machine is busy.
fn patient() -> Udp {
    client(30_000, 60_000)
}

fn words() -> AnnounceRequest {
    let mut words = AnnounceRequest::new(InfoHash([7; 20]), PeerId([b'x'; 20]), 6881);
    words.event = Event::Started;
    words.left = Some(5);
    words
}

fn target(addr: SocketAddr) -> Target {
    Target::parse(&format!("udp://{addr}/announce?key=1")).expect("valid")
}

async fn announce(client: &Udp, addr: SocketAddr) -> Result<AnnounceReply, String> {
    client.announce(&target(addr), &[addr], &words()).await
}

fn drain(seen: &mut UnboundedReceiver<Seen>) -> Vec<Seen> {
    std::iter::from_fn(|| seen.try_recv().ok()).collect()
}

fn kinds(seen: &[Seen]) -> Vec<&'static str> {
    seen.iter().map(|seen| seen.kind).collect()
}

#[tokio::test]
async fn one_id_for_many_questions_from_one_port() {
    let (addr, mut seen) = serve("127.0.0.1:0", |_, request| {
        if let Request::Announce { announce, .. } = request {
            assert_eq!(
                (announce.info_hash, announce.port),
                (InfoHash([7; 20]), 6881)
            );
            assert_eq!((announce.event, announce.left), (Event::Started, Some(5)));
            assert_eq!(announce.ip, None);
        }
        properly(9, request)
    })
    .await;
    let client = patient();
    for _ in 0..3 {
        let reply = announce(&client, addr).await.expect("answered");
        assert_eq!(
            (reply.interval, reply.complete, reply.incomplete),
            (60, Some(7), Some(3))
        );
        assert_eq!(reply.peers, ["10.0.0.1:6881".parse().expect("address")]);
    }
    let hashes = [InfoHash([1; 20]), InfoHash([2; 20])];
    let counts = client.scrape(&[addr], &hashes).await.expect("answered");
    let complete: Vec<u32> = counts.iter().map(|counts| counts.complete).collect();
    assert_eq!(complete, [1, 2]);
    let seen = drain(&mut seen);
    assert_eq!(
        kinds(&seen),
        ["connect", "announce", "announce", "announce", "scrape"]
    );
    assert!(seen[1..].iter().all(|seen| seen.id == [9; 8]));
    assert!(seen[1..4].iter().all(|seen| seen.url == b"/announce?key=1"));
    let ports: BTreeSet<u16> = seen.iter().map(|seen| seen.from).collect();
    assert_eq!(ports.len(), 1, "some trackers bind ids to ports");
}

#[tokio::test]
async fn an_id_that_is_too_old_is_not_used() {
    let (addr, mut seen) = serve("127.0.0.1:0", |_, request| properly(1, request)).await;
    let mut client = patient();
    client.timing.id_life = Duration::ZERO;
    announce(&client, addr).await.expect("answered");
    announce(&client, addr).await.expect("answered");
    let seen = drain(&mut seen);
    assert_eq!(kinds(&seen), ["connect", "announce", "connect", "announce"]);
}

#[tokio::test]
async fn what_gets_lost_is_sent_again() {
    // The first of each kind is lost.
    let (addr, mut seen) = serve("127.0.0.1:0", |number, request| match number {
        0 | 2 => Vec::new(),
        _ => properly(1, request),
    })
    .await;
    announce(&client(50, 60_000), addr).await.expect("answered");
    let seen = drain(&mut seen);
    assert_eq!(
        kinds(&seen)[..4],
        ["connect", "connect", "announce", "announce"]
    );
}

#[tokio::test]
async fn who_is_silent_is_left_alone_and_keeps_nobody_waiting() {
    let (silent, mut unheard) = serve("127.0.0.1:0", |_, _| Vec::new()).await;
    let (speaks, _seen) = serve("127.0.0.1:0", |_, request| properly(1, request)).await;
    let client = Arc::new(client(60_000, 300));
    let error = announce(&client, silent).await.expect_err("silent");
    assert!(error.contains("no answer within"), "{error}");
    assert_eq!(kinds(&drain(&mut unheard)), ["connect"]);
    // Not a packet before the time is over, from whichever torrent; of two addresses the other one.
    let error = announce(&client, silent).await.expect_err("silent");
    assert!(error.contains("asked again in"), "{error}");
    assert!(drain(&mut unheard).is_empty());
    let reply = client
        .announce(&target(silent), &[silent, speaks], &words())
        .await;
    assert!(reply.is_ok());
}

#[tokio::test]
async fn many_torrents_share_one_connect_and_get_their_own_answers() {
    let (addr, mut seen) = serve("127.0.0.1:0", {
        // Answers come in the opposite order of the questions.
        let mut held: Vec<Vec<u8>> = Vec::new();
        move |_, request| match request {
            Request::Announce {
                transaction,
                announce,
                ..
            } => {
                let mut out = announce_reply_head(transaction, 60, announce.key, 0).to_vec();
                out.extend_from_slice(&[10, 0, 0, 1, 0, announce.key as u8]);
                held.push(out);
                if held.len() > 1 {
                    held.pop().expect("two")
                } else {
                    Vec::new()
                }
            }
            other => properly(1, other),
        }
    })
    .await;
    let client = Arc::new(client(200, 60_000));
    let mut asked = tokio::task::JoinSet::new();
    for key in 1..=20_u32 {
        let client = Arc::clone(&client);
        asked.spawn(async move {
            let mut words = words();
            words.key = Some(key);
            let reply = client.announce(&target(addr), &[addr], &words).await;
            let reply = reply.expect("answered");
            assert_eq!(reply.incomplete, Some(key));
            assert_eq!(reply.peers[0].port(), key as u16);
        });
    }
    while let Some(one) = asked.join_next().await {
        one.expect("each its own");
    }
    let connects = drain(&mut seen);
    let connects = connects.iter().filter(|seen| seen.kind == "connect");
    assert_eq!(connects.count(), 1);
}

#[tokio::test]
async fn an_id_that_the_tracker_has_forgotten_is_renewed_once() {
    let mut known = 1;
    let (addr, mut seen) = serve("127.0.0.1:0", move |number, request| match request {
        Request::Connect { .. } => properly(known, request),
        Request::Announce {
            connection,
            transaction,
            ..
        } => {
            // After the first announce it is restarted, and knows no id of before.
            if number == 2 {
                known = 2;
            }
            if connection == [known; 8] {
                return properly(known, request);
            }
            let mut out = error_reply_head(transaction).to_vec();
            out.extend_from_slice(b"connection id mismatch\0");
            out
        }
        Request::Scrape { .. } => unreachable!("not asked"),
    })
    .await;
    let client = patient();
    announce(&client, addr).await.expect("answered");
    announce(&client, addr)
        .await
        .expect("answered after a new id");
    let seen = drain(&mut seen);
    assert_eq!(
        kinds(&seen),
        ["connect", "announce", "announce", "connect", "announce"]
    );
}

#[tokio::test]
async fn refusals_are_told_in_the_trackers_words() {
    let (addr, mut seen) = serve("127.0.0.1:0", |_, request| match request {
        Request::Announce { transaction, .. } => {
            let mut out = error_reply_head(transaction).to_vec();
            out.extend_from_slice(b"unregistered torrent\0");
            out
        }
        other => properly(1, other),
    })
    .await;
    let error = announce(&patient(), addr).await.expect_err("refused");
    assert_eq!(error, "the tracker refuses: unregistered torrent");
    assert_eq!(
        kinds(&drain(&mut seen)),
        ["connect", "announce"],
        "the id was fresh"
    );
}

#[tokio::test]
async fn what_does_not_belong_here_is_ignored() {
    let (addr, _seen) = serve("127.0.0.1:0", |number, request| match request {
        // Another transaction, garbage, an empty packet: then, at last, the answer.
        Request::Announce { .. } if number == 1 => announce_reply_head(*b"evil", 1, 1, 1).to_vec(),
        Request::Announce { .. } if number == 2 => vec![0, 0, 0, 1, 9],
        Request::Announce { .. } if number == 3 => vec![0xff; 100],
        other => properly(1, other),
    })
    .await;
    let reply = announce(&client(50, 60_000), addr).await.expect("answered");
    assert_eq!(reply.interval, 60);
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_told_at_once() {
    let free = std::net::UdpSocket::bind("127.0.0.1:0").expect("bind");
    let addr = free.local_addr().expect("bound");
    drop(free);
    let client = patient();
    for _ in 0..2 {
        let error = announce(&client, addr).await.expect_err("nobody there");
        assert!(error.contains("nobody listens"), "{error}");
    }
}

#[tokio::test]
async fn peers_over_ipv6_are_18_bytes() {
    let served = serve("[::1]:0", |_, request| match request {
        Request::Announce { transaction, .. } => {
            let mut out = announce_reply_head(transaction, 60, 0, 1).to_vec();
            out.extend_from_slice(&[0x20, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 80]);
            out
        }
        other => properly(1, other),
    });
    let (addr, _seen) = served.await;
    let reply = announce(&patient(), addr).await.expect("answered");
    assert_eq!(reply.peers, ["[2001::5]:80".parse().expect("address")]);
}

#[test]
fn lines_that_nobody_uses_are_forgotten() {
    let client = patient();
    for n in 0..=LINES_MAX as u32 {
        let addr = SocketAddr::from((n.to_be_bytes(), 1));
        client.line(&[addr]).expect("a line");
    }
    let lines = client.lines.lock().expect("no panic");
    assert_eq!(lines.len(), 1);
}

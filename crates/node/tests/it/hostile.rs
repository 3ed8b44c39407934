//! Peers that do wrong: nothing they do stops the others.

use crate::harness::{Leech, Material, PATIENCE, loopback, noise, seed, session, until, uploaded};
use bytes::{Bytes, BytesMut};
use samara_node::TorrentEvent;
use samara_proto::metainfo::{Metainfo, Version};
use samara_proto::wire::{
    Decoder, Frame, HANDSHAKE_LEN, Handshake, Message, Reserved, block_header,
};
use samara_proto::{InfoHash, PeerId};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// A seed that has all bytes and sends some of them wrong: every `every`-th block.
async fn corruptor(metainfo: Metainfo, data: Vec<u8>, every: usize) -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind(loopback()).await.expect("bind");
    let addr = listener.local_addr().expect("bound");
    let (info, data) = (Arc::new(metainfo.info), Arc::new(data));
    let sent = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut serving = JoinSet::new();
        loop {
            let (mut stream, _) = listener.accept().await.expect("accept");
            let (info, data, sent) = (Arc::clone(&info), Arc::clone(&data), Arc::clone(&sent));
            serving.spawn(async move {
                let mut hello = [0; HANDSHAKE_LEN];
                stream.read_exact(&mut hello).await.ok()?;
                let ours = shake(info.info_hash(), 0xcc);
                stream.write_all(&ours).await.ok()?;
                let mut out = BytesMut::new();
                Message::HaveAll.encode(&mut out);
                Message::Unchoke.encode(&mut out);
                stream.write_all(&out).await.ok()?;
                let decoder = Decoder::new(info.geometry.pieces());
                let mut buf = BytesMut::new();
                loop {
                    if stream.read_buf(&mut buf).await.ok()? == 0 {
                        return None::<()>;
                    }
                    while let Some(frame) = decoder.decode(&mut buf).ok()? {
                        let Frame::Message(Message::Request(span)) = frame else {
                            continue;
                        };
                        let start =
                            info.geometry.piece_start(span.piece) as usize + span.offset as usize;
                        let mut block = data[start..start + span.length as usize].to_vec();
                        if sent.fetch_add(1, Ordering::Relaxed) % every == 0 {
                            block[100] ^= 0x40;
                        }
                        stream.write_all(&block_header(span)).await.ok()?;
                        stream.write_all(&block).await.ok()?;
                    }
                }
            });
        }
    });
    (addr, tasks)
}

fn shake(info_hash: InfoHash, id: u8) -> [u8; HANDSHAKE_LEN] {
    let handshake = Handshake {
        reserved: Reserved::ours(false),
        info_hash,
        peer_id: PeerId([id; 20]),
    };
    handshake.encode()
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_15_who_corrupts_is_banned_and_everybody_finishes() {
    let len = 6 << 20;
    let material = Material::file(len, 64 * 1024);
    let (bad, _tasks) = corruptor(material.metainfo.clone(), noise(len as u64, len), 10).await;
    let host = session().await;
    let _seeding = seed(&host, &material).await;
    let mut leeches = Vec::new();
    let mut peers = vec![bad, host.listen_addr()];
    for _ in 0..3 {
        let leech = Leech::new(&material, &peers).await;
        peers.push(leech.session.listen_addr());
        leeches.push(leech);
    }
    let mut banned = 0;
    for leech in &mut leeches {
        let said = leech.complete().await;
        material.assert_same(leech.dir.path());
        for event in said {
            if let TorrentEvent::PeerBanned { addr, .. } = event {
                assert_eq!(addr, bad, "an honest peer was banned");
                banned += 1;
            }
        }
    }
    assert!(banned >= 1, "nobody noticed the corruptor");
    for leech in &leeches {
        leech.session.stop().await;
    }
    host.stop().await;
}

/// What a stranger says, and then waits for the connection to be closed.
async fn say_and_wait(addr: SocketAddr, words: &[&[u8]]) {
    let mut stream = TcpStream::connect(addr).await.expect("connect");
    for word in words {
        if stream.write_all(word).await.is_err() {
            return;
        }
    }
    let mut rest = Vec::new();
    let closed = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    assert!(closed.is_ok(), "the connection stays open");
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_and_babblers_are_hung_up_on_and_hurt_nobody() {
    let material = Material::file(4 << 20, 64 * 1024);
    let hash = material.metainfo.info.info_hash();
    let host = session().await;
    let _seeding = seed(&host, &material).await;
    let at = host.listen_addr();
    // Silent ones and slow ones stay for as long as they are allowed to.
    let mut lurkers = Vec::new();
    for n in 0..40u8 {
        let mut stream = TcpStream::connect(at).await.expect("connect");
        let some = usize::from(n % 20);
        let _ = stream.write_all(&shake(hash, n)[..some]).await;
        lurkers.push(stream);
    }
    let hello = shake(hash, 1);
    let wrong = shake(InfoHash([9; 20]), 2);
    let mut bad_request = BytesMut::new();
    Message::Interested.encode(&mut bad_request);
    for piece in [0, u32::MAX] {
        Message::Request(samara_proto::Span {
            piece,
            offset: u32::MAX,
            length: u32::MAX,
        })
        .encode(&mut bad_request);
    }
    let mut beyond = BytesMut::new();
    Message::Have(u32::MAX).encode(&mut beyond);
    let mut bits = BytesMut::new();
    Message::Bitfield(Bytes::from_static(&[0xff; 3])).encode(&mut bits);
    let junk = noise(3, 5_000);
    let cases: Vec<Vec<&[u8]>> = vec![
        vec![b"GET / HTTP/1.1\r\n\r\n"],
        vec![&junk],
        vec![&wrong],
        vec![&hello, &[0xff; 64]],
        vec![&hello, &bad_request],
        vec![&hello, &beyond],
        vec![&hello, &bits],
        vec![&hello, &junk],
    ];
    for (n, words) in cases.iter().enumerate() {
        timeout(PATIENCE, say_and_wait(at, words))
            .await
            .unwrap_or_else(|_| panic!("case {n} is not hung up on"));
    }
    let mut leech = Leech::new(&material, &[at]).await;
    // The leech hears a few lies of its own.
    for words in &cases {
        say_and_wait(leech.session.listen_addr(), words).await;
    }
    leech.complete().await;
    material.assert_same(leech.dir.path());
    drop(lurkers);
    leech.session.stop().await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_15_one_who_asks_and_never_reads_costs_little() {
    let material = Material::file(8 << 20, 64 * 1024);
    let hash = material.metainfo.info.info_hash();
    let host = session().await;
    let seeding = seed(&host, &material).await;
    let mut deaf = TcpStream::connect(host.listen_addr())
        .await
        .expect("connect");
    deaf.write_all(&shake(hash, 5)).await.expect("write");
    let mut words = BytesMut::new();
    Message::HaveNone.encode(&mut words);
    Message::Interested.encode(&mut words);
    for piece in 0..100u32 {
        Message::Request(material.metainfo.info.geometry.block_span(piece, 0)).encode(&mut words);
    }
    // Asks again and again, until the other side has had enough or nothing more is taken.
    let nagging = tokio::spawn(async move {
        for _ in 0..20_000 {
            if deaf.write_all(&words).await.is_err() {
                break;
            }
        }
        deaf
    });
    let mut leech = Leech::new(&material, &[host.listen_addr()]).await;
    leech.complete().await;
    material.assert_same(leech.dir.path());
    assert!(uploaded(&seeding).await >= 8 << 20);
    nagging.abort();
    leech.session.stop().await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torrent_that_dials_itself_goes_on() {
    let material = Material::file(1 << 20, 64 * 1024);
    let host = session().await;
    let _seeding = seed(&host, &material).await;
    let mut leech = Leech::new(&material, &[]).await;
    let own = leech.session.listen_addr();
    leech.torrent.add_candidates(vec![own, host.listen_addr()]);
    until(&mut leech.events, |event| {
        matches!(event, TorrentEvent::Complete { .. }).then_some(())
    })
    .await;
    material.assert_same(leech.dir.path());
    leech.session.stop().await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_info_hashes_of_a_hybrid_torrent_are_answered() {
    let material = Material::new(&[("", noise(8, 200_000))], Version::Hybrid, 64 * 1024);
    let host = session().await;
    let _seeding = seed(&host, &material).await;
    let hashes: Vec<InfoHash> = material.metainfo.info.info_hashes().collect();
    assert_eq!(hashes.len(), 2);
    for hash in hashes {
        let mut stream = TcpStream::connect(host.listen_addr())
            .await
            .expect("connect");
        stream.write_all(&shake(hash, 6)).await.expect("write");
        let mut answer = [0; HANDSHAKE_LEN];
        let read = timeout(PATIENCE, stream.read_exact(&mut answer)).await;
        read.expect("in time").expect("an answer");
        let answer = Handshake::decode(&answer).expect("a handshake");
        assert_eq!(answer.info_hash, hash);
        assert!(answer.reserved.v2());
    }
    host.stop().await;
}

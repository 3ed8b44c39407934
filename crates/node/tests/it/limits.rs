//! Where connections may come from, and how many there may be, over all torrents of a session.

use crate::harness::{Leech, Material, PATIENCE, loopback, request, seed, until};
use samara_node::{Mode, PeerLimits, Session, SessionConfig, TorrentEvent};
use samara_proto::wire::{HANDSHAKE_LEN, Handshake, Reserved};
use samara_proto::{InfoHash, PeerId};
use std::net::{IpAddr, SocketAddr};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;

/// Peers, HTTP trackers and UDP trackers all see the address that the session was bound to, and no other.
#[tokio::test(flavor = "multi_thread")]
async fn attack_22_a_session_bound_to_an_address_speaks_from_no_other() {
    let bound = IpAddr::from([127, 0, 22, 7]);
    let http = TcpListener::bind(loopback()).await.expect("bind");
    let udp = UdpSocket::bind(loopback()).await.expect("bind");
    let peer = TcpListener::bind(loopback()).await.expect("bind");
    let mut material = Material::file(1 << 20, 64 * 1024);
    material.metainfo = material.metainfo.with_trackers(vec![
        vec![format!("http://{}/announce", addr(http.local_addr()))],
        vec![format!("udp://{}/announce", addr(udp.local_addr()))],
    ]);
    let session = Session::start(SessionConfig {
        listen: SocketAddr::new(bound, 0),
        ..SessionConfig::default()
    });
    let session = session.await.expect("started");
    let dir = TempDir::new().expect("temporary folder");
    let mut wanted = request(&material, dir.path(), Mode::Get);
    wanted.candidates = vec![addr(peer.local_addr())];
    let _torrent = session.add(wanted).await.expect("added");
    let seen = timeout(PATIENCE, async {
        let (_, dialled) = peer.accept().await.expect("a peer");
        // This tracker says nothing, so that the next one is asked too.
        let (stream, asked) = http.accept().await.expect("an announce");
        drop(stream);
        let (_, packet) = udp.recv_from(&mut [0; 100]).await.expect("a packet");
        [dialled.ip(), asked.ip(), packet.ip()]
    });
    assert_eq!(seen.await.expect("in time"), [bound; 3]);
    session.stop().await;
}

fn addr(local: std::io::Result<SocketAddr>) -> SocketAddr {
    local.expect("bound")
}

/// Somebody who says what it came for, and nothing more. `None` if it is not let in.
async fn lurker(at: SocketAddr, info_hash: InfoHash, id: u8) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(at).await.ok()?;
    let handshake = Handshake {
        reserved: Reserved::ours(false),
        info_hash,
        peer_id: PeerId([id; 20]),
    };
    stream.write_all(&handshake.encode()).await.ok()?;
    let mut answer = [0; HANDSHAKE_LEN];
    let read = timeout(PATIENCE, stream.read_exact(&mut answer)).await;
    read.expect("an answer, or the end").ok()?;
    Some(stream)
}

/// One torrent has every place of the session, and none of those who hold them wants anything; the others get
/// their part all the same, and there are never more connections than there may be.
#[tokio::test(flavor = "multi_thread")]
async fn attack_21_a_flood_of_one_torrent_leaves_room_for_the_others() {
    let places = 16;
    let host = Session::start(SessionConfig {
        listen: loopback(),
        limits: PeerLimits {
            peers_max: places,
            ..PeerLimits::default()
        },
        ..SessionConfig::default()
    });
    let host = host.await.expect("started");
    let materials: Vec<_> = (0..4)
        .map(|n| Material::file((1 << 20) + n, 64 * 1024))
        .collect();
    let mut seeds = Vec::new();
    for material in &materials {
        seeds.push(seed(&host, material).await);
    }
    let flooded = materials[0].metainfo.info.info_hash();
    let mut lurkers = Vec::new();
    for n in 0..40 {
        lurkers.extend(lurker(host.listen_addr(), flooded, n).await);
    }
    assert!(lurkers.len() >= places / 2, "{} came in", lurkers.len());
    let mut leeches = Vec::new();
    for material in &materials[1..] {
        for _ in 0..2 {
            leeches.push(Leech::new(material, &[host.listen_addr()]).await);
        }
    }
    for leech in &mut leeches {
        until(&mut leech.events, |event| {
            matches!(event, TorrentEvent::Complete { .. }).then_some(())
        })
        .await;
        let peers =
            |seed: &samara_node::Torrent| seed.snapshot().map_or(0, |now| now.peers as usize);
        let all: usize = seeds.iter().map(peers).sum();
        assert!(all <= places, "{all} connections of {places}");
    }
    for leech in leeches {
        leech.session.stop().await;
    }
    host.stop().await;
}

//! A peer that sends wrong bytes.

use super::data::{assert_same, folder, noise, write};
use super::swarm::{Tracker, create, get, seed};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

/// Listens, passes everybody on to `seed`, and spoils every tenth block that comes from there.
fn corrupting(seed: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let addr = listener.local_addr().expect("has an address");
    let blocks = Arc::new(AtomicU32::new(0));
    thread::spawn(move || {
        for leech in listener.incoming().flatten() {
            let Ok(seed) = TcpStream::connect(seed) else {
                return;
            };
            let (mut from, mut to) = (
                leech.try_clone().expect("cloned"),
                seed.try_clone().expect("cloned"),
            );
            thread::spawn(move || std::io::copy(&mut from, &mut to));
            let blocks = Arc::clone(&blocks);
            thread::spawn(move || spoil(seed, leech, &blocks));
        }
    });
    addr
}

/// Passes on a handshake, and messages (BEP 3): a block is `7`, piece, offset, bytes.
fn spoil(mut from: TcpStream, mut to: TcpStream, blocks: &AtomicU32) -> std::io::Result<()> {
    let mut handshake = [0; 68];
    from.read_exact(&mut handshake)?;
    to.write_all(&handshake)?;
    loop {
        let mut length = [0; 4];
        from.read_exact(&mut length)?;
        let mut body = vec![0; u32::from_be_bytes(length) as usize];
        from.read_exact(&mut body)?;
        if body.first() == Some(&7) {
            let before = blocks.fetch_add(1, Ordering::Relaxed);
            if before.is_multiple_of(10) {
                body[9] ^= 0xff;
            }
        }
        to.write_all(&length)?;
        to.write_all(&body)?;
    }
}

/// Tells the tracker of a seed at this port of 127.0.0.1.
fn join(announce: &str, info_hash: &str, seed: SocketAddr) {
    let (host, path) = announce
        .strip_prefix("http://")
        .and_then(|rest| rest.split_once('/'))
        .expect("an address");
    let pairs = info_hash.as_bytes().chunks(2);
    let escaped: String = pairs
        .map(|pair| format!("%{}", String::from_utf8_lossy(pair)))
        .collect();
    let mut stream = TcpStream::connect(host).expect("connected");
    let request = format!(
        "GET /{path}?info_hash={escaped}&peer_id=-XX0000-corruptcorru&port={}&uploaded=0&downloaded=0&left=0\
         &event=started&compact=1 HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n",
        seed.port()
    );
    stream.write_all(request.as_bytes()).expect("sent");
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).expect("answered");
    assert!(String::from_utf8_lossy(&reply).contains("interval"));
}

#[test]
fn everybody_finishes_though_one_corrupts_every_tenth_block() {
    let work = folder();
    let bytes = noise(16 << 20, 31);
    let data = write(work.path().join("good/x.bin"), &bytes);
    let tracker = Tracker::start();
    let torrent = create(
        &data,
        &work.path().join("t.torrent"),
        &tracker.announce,
        &["--piece-size", "64KiB"],
    );
    // The good seed is slow, so that the leeches need the other one: an honest seed that no tracker knows,
    // behind somebody who changes what it sends.
    let _good = seed(
        &torrent,
        &work.path().join("good"),
        2,
        &["--up-limit", "3M"],
    );
    let hidden = create(
        &data,
        &work.path().join("hidden.torrent"),
        "http://127.0.0.1:1/announce",
        &["--piece-size", "64KiB"],
    );
    let behind = seed(&hidden, &work.path().join("good"), 9, &[]);
    let ready = behind.wait_event("ready");
    let text = |name: &str| ready[name].as_str().expect("text").to_owned();
    let corruptor = corrupting(text("listen").parse().expect("an address"));
    join(&tracker.announce, &text("info_hash"), corruptor);
    let leeches: Vec<_> = (3..5)
        .map(|host| {
            (
                host,
                get(
                    &torrent,
                    &work.path().join(format!("h{host}")),
                    host,
                    &["--seed", "forever"],
                ),
            )
        })
        .collect();
    for (host, leech) in &leeches {
        leech.wait_event("complete");
        assert_same(&data, &work.path().join(format!("h{host}/x.bin")));
    }
    let mut banned = Vec::new();
    let mut rejected = 0;
    for (_, leech) in leeches {
        let ended = leech.interrupt().expect_code(0);
        banned.extend(
            ended
                .events()
                .filter(|event| event["event"] == "peer_banned")
                .map(|event| event["peer"].as_str().expect("address").to_owned()),
        );
        rejected += ended
            .events()
            .filter(|event| event["event"] == "piece_rejected")
            .count();
    }
    assert!(rejected > 0, "the corruptor was never asked");
    assert!(
        !banned.is_empty(),
        "nobody was banned after {rejected} bad pieces"
    );
    assert!(
        banned.iter().all(|peer| peer.starts_with("127.0.0.1:")),
        "only the corruptor is banned: {banned:?}"
    );
}

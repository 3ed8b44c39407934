//! A peer that sends wrong bytes.

use super::data::{assert_same, folder, noise, write};
use super::swarm::{Tracker, create, get, seed};
use std::os::unix::fs::FileExt;

const BLOCK: u64 = 16 * 1024;

#[test]
fn everybody_finishes_though_one_corrupts_every_tenth_block() {
    let work = folder();
    let bytes = noise(16 << 20, 31);
    let data = write(work.path().join("good/x.bin"), &bytes);
    let bad = write(work.path().join("bad/x.bin"), &bytes);
    let tracker = Tracker::start();
    let torrent = create(
        &data,
        &work.path().join("t.torrent"),
        &tracker.announce,
        &["--piece-size", "64KiB"],
    );
    // The good seed is slow, so that the leeches need the other one.
    let _good = seed(
        &torrent,
        &work.path().join("good"),
        2,
        &["--up-limit", "3M"],
    );
    let _corruptor = seed(&torrent, &work.path().join("bad"), 9, &[]);
    // Its data were right when it checked them; now every tenth block is not.
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(&bad)
        .expect("opened");
    for block in (0..bytes.len() as u64 / BLOCK).step_by(10) {
        let at = block * BLOCK;
        let byte = bytes[at as usize];
        file.write_all_at(&[!byte], at).expect("written");
    }
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
        banned.iter().all(|peer| peer.starts_with("127.0.0.9:")),
        "only the corruptor is banned: {banned:?}"
    );
}

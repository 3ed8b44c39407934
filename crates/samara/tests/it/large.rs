//! A file beyond 4 GiB, where 32 bits end.

use super::data::folder;
use super::process::{PATIENCE, run, samara};
use super::swarm::{Tracker, create, get, seed};
use std::fs::File;
use std::os::unix::fs::FileExt;

const LENGTH: u64 = (4 << 30) + (5 << 20) + 12_345;

#[test]
fn a_sparse_file_beyond_4_gib_arrives() {
    let work = folder();
    std::fs::create_dir(work.path().join("src")).expect("made");
    let data = work.path().join("src/large.img");
    let file = File::create(&data).expect("made");
    file.set_len(LENGTH).expect("sparse");
    // Bytes before, across and after the boundary, and at the end.
    for (at, bytes) in marks() {
        file.write_all_at(bytes, at).expect("written");
    }
    drop(file);
    let tracker = Tracker::start();
    let torrent = create(
        &data,
        &work.path().join("t.torrent"),
        &tracker.announce,
        &["--format", "v1"],
    );
    let _seed = seed(&torrent, &work.path().join("src"), 2, &[]);
    let into = work.path().join("out");
    let ended = get(&torrent, &into, 3, &["--seed", "none"])
        .end_within(PATIENCE * 5)
        .expect_code(0);
    assert_eq!(ended.event("complete").expect("complete")["bytes"], LENGTH);
    let copy = File::open(into.join("large.img")).expect("there");
    assert_eq!(copy.metadata().expect("stat").len(), LENGTH);
    for (at, bytes) in marks() {
        let mut found = vec![0; bytes.len()];
        copy.read_exact_at(&mut found, at).expect("read");
        assert_eq!(found, bytes, "at {at}");
    }
    // Every byte against the hashes, by a reader of its own.
    let verified = run(samara(["--json", "verify", "--data"])
        .arg(&into)
        .arg(&torrent))
    .expect_code(0);
    assert_eq!(verified.event("verified").expect("verified")["ok"], true);
}

fn marks() -> [(u64, &'static [u8]); 4] {
    [
        (0, b"first"),
        ((4 << 30) - 3, b"across"),
        ((4 << 30) + (3 << 20), b"after"),
        (LENGTH - 4, b"last"),
    ]
}

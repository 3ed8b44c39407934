//! Getting going again.

use super::data::{assert_same, folder, noise, write};
use super::process::{Process, run, samara};
use super::swarm::{Swarm, create, get};
use std::io::{Seek, SeekFrom, Write};

const TOTAL: u64 = 24 << 20;

#[test]
fn a_killed_download_goes_on_where_it_was() {
    let swarm = Swarm::of(TOTAL as usize, 21);
    let _seed = swarm.seed(&[]);
    let into = swarm.path().join("out");
    let first = swarm.get(&into, &["--down-limit", "3M"]);
    // Far enough that commits of the journal, a few seconds apart, are behind us.
    let had =
        first.wait_event_that("progress", |event| event["have"].as_u64() > Some(TOTAL / 2))["have"]
            .as_u64()
            .expect("bytes");
    first.kill();
    let again = swarm.get(&into, &["--seed", "none"]).end().expect_code(0);
    let ready = again.event("ready").expect("ready");
    assert!(
        ready["pieces_have"].as_u64() > Some(0),
        "nothing was kept: {ready}"
    );
    let downloaded = again.event("stopped").expect("stopped")["downloaded"]
        .as_u64()
        .expect("bytes");
    assert!(
        downloaded < TOTAL - had / 2,
        "{downloaded} of {TOTAL} bytes fetched again, though {had} were here"
    );
    swarm.assert_arrived(&into);
}

#[test]
fn a_stopped_download_fetches_nothing_twice() {
    let swarm = Swarm::of(TOTAL as usize, 22);
    let _seed = swarm.seed(&[]);
    let into = swarm.path().join("out");
    let first = swarm.get(&into, &["--down-limit", "4M"]);
    first.wait_event_that("progress", |event| event["have"].as_u64() > Some(TOTAL / 4));
    let ended = first.interrupt().expect_code(130);
    let stopped = ended.event("stopped").expect("stopped");
    assert_eq!(stopped["complete"], false);
    let again = swarm.get(&into, &["--seed", "none"]).end().expect_code(0);
    let kept = again.event("ready").expect("ready")["pieces_have"]
        .as_u64()
        .expect("pieces");
    let length = again.event("ready").expect("ready")["piece_length"]
        .as_u64()
        .expect("bytes");
    let second = again.event("stopped").expect("stopped")["downloaded"]
        .as_u64()
        .expect("bytes");
    assert!(
        kept > 0 && second <= TOTAL - kept * length + length,
        "{kept} pieces were here, {second} bytes fetched"
    );
    swarm.assert_arrived(&into);
}

#[test]
fn a_file_that_was_changed_meanwhile_is_noticed_and_mended() {
    let swarm = Swarm::of(8 << 20, 23);
    let _seed = swarm.seed(&[]);
    let into = swarm.path().join("out");
    swarm.get(&into, &["--seed", "none"]).end().expect_code(0);
    let copy = into.join("x.bin");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .open(&copy)
        .expect("opened");
    file.seek(SeekFrom::Start(5_000_000)).expect("sought");
    file.write_all(b"somebody was here").expect("written");
    drop(file);
    let again = swarm.get(&into, &["--seed", "none"]).end().expect_code(0);
    let downloaded = again.event("stopped").expect("stopped")["downloaded"]
        .as_u64()
        .expect("bytes");
    assert!(
        downloaded > 0 && downloaded < 2 << 20,
        "only what was changed: {downloaded}"
    );
    assert_same(&swarm.data, &copy);
    // And a third time there is nothing to do.
    let third = swarm.get(&into, &["--seed", "none"]).end().expect_code(0);
    assert_eq!(third.event("stopped").expect("stopped")["downloaded"], 0);
}

#[test]
fn files_that_are_in_the_way_are_not_overwritten() {
    let swarm = Swarm::of(300_000, 24);
    let _seed = swarm.seed(&[]);
    for len in [10, 300_000, 400_000] {
        let into = swarm.path().join(format!("out-{len}"));
        let mine = write(into.join("x.bin"), noise(len, 7));
        let refused = run(
            samara(["get", "--listen", "127.0.0.3:0", "--seed", "none", "-o"])
                .arg(&into)
                .arg(&swarm.torrent),
        )
        .expect_code(1);
        assert!(
            refused.stderr.contains("x.bin") && refused.stderr.contains("--force"),
            "{}",
            refused.stderr
        );
        assert!(std::fs::read(&mine).expect("kept") == noise(len, 7));
        swarm
            .get(&into, &["--seed", "none", "--force"])
            .end()
            .expect_code(0);
        assert_same(&swarm.data, &mine);
    }
    // Data of another client that is partly right is gone on with.
    let into = swarm.path().join("partly");
    let mut half = noise(300_000, 24);
    half[150_000..].fill(0);
    write(into.join("x.bin"), half);
    let ended = swarm.get(&into, &["--seed", "none"]).end().expect_code(0);
    assert!(ended.event("stopped").expect("stopped")["downloaded"].as_u64() < Some(200_000));
    swarm.assert_arrived(&into);
}

#[test]
fn two_processes_do_not_write_the_same_download() {
    let work = folder();
    let data = write(work.path().join("src/x.bin"), noise(300_000, 25));
    let torrent = create(
        &data,
        &work.path().join("t.torrent"),
        "http://127.0.0.1:1/announce",
        &[],
    );
    let into = work.path().join("out");
    let first: Process = get(&torrent, &into, 3, &[]);
    first.wait_event("ready");
    let second = get(&torrent, &into, 4, &[]).end().expect_code(1);
    assert!(
        second.event("error").expect("error")["message"]
            .as_str()
            .expect("text")
            .contains("already"),
        "{}",
        second.stderr
    );
}

//! Trackers, ports and disks that fail: one clear line, and on where that is possible.

use super::data::{assert_same, folder, noise, write};
use super::http::{answering, nobody, reply};
use super::process::{Ended, Process, run, samara};
use super::swarm::{Swarm, Tracker, create, get, seed};
use std::path::Path;
use std::process::Command;

#[test]
fn trackers_that_fail_are_told_and_passed_over() {
    let work = folder();
    let data = write(work.path().join("src/x.bin"), noise(500_000, 41));
    let tracker = Tracker::start();
    let down = format!("http://{}/announce", nobody());
    let broken = format!(
        "http://{}/announce",
        answering(reply("500 Internal Server Error", b"oops"))
    );
    let garbage = format!(
        "http://{}/announce",
        answering(reply("200 OK", b"<html>not bencode</html>"))
    );
    let refusing = format!(
        "http://{}/announce",
        answering(reply(
            "200 OK",
            b"d14:failure reason21:torrent not welcome\x1b[e"
        ))
    );
    let torrent = create(
        &data,
        &work.path().join("t.torrent"),
        &tracker.announce,
        &[],
    );
    let _seed = seed(&torrent, &work.path().join("src"), 2, &[]);
    for (url, words) in [
        (&down, "refused"),
        (&broken, "500"),
        (&garbage, ""),
        (&refusing, "torrent not welcome"),
    ] {
        let into = work.path().join("out");
        let ended = get(&torrent, &into, 3, &["-t", url, "--seed", "none"])
            .end()
            .expect_code(0);
        let failed = ended
            .event("tracker_failed")
            .unwrap_or_else(|| panic!("{url}: {}", ended.stdout));
        assert_eq!(failed["url"], **url);
        assert!(
            failed["message"].as_str().expect("text").contains(words),
            "{failed}"
        );
        assert_same(&data, &into.join("x.bin"));
        std::fs::remove_dir_all(&into).expect("removed");
    }
    // With nothing else to ask it waits, in words, and ends when it is told to.
    let alone = create(&data, &work.path().join("alone.torrent"), &down, &[]);
    let waiting = get(&alone, &work.path().join("out"), 3, &[]);
    waiting.wait_event_that("waiting", |event| {
        event["message"]
            .as_str()
            .is_some_and(|words| words.contains("trying again in"))
    });
    waiting.interrupt().expect_code(130);
}

#[test]
fn sources_that_fail_are_one_line() {
    let work = folder();
    let down = format!("http://{}/x.torrent", nobody());
    let missing = format!(
        "http://{}/x.torrent",
        answering(reply("404 Not Found", b"nothing here"))
    );
    let garbage = format!(
        "http://{}/x.torrent",
        answering(reply("200 OK", b"<html></html>"))
    );
    let endless = format!(
        "http://{}/x.torrent",
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\nd".to_vec())
    );
    for url in [
        down,
        missing,
        garbage,
        endless,
        "http://".to_owned(),
        "https://127.0.0.1:1/x".to_owned(),
    ] {
        let ended = run(samara(["get", "--listen", "127.0.0.1:0", "-o"])
            .arg(work.path())
            .arg(&url))
        .expect_code(1);
        assert_eq!(
            ended.stderr.trim_end().lines().count(),
            1,
            "{}",
            ended.stderr
        );
        assert!(ended.stderr.contains(&url), "{}", ended.stderr);
    }
    assert_eq!(
        std::fs::read_dir(work.path()).expect("listed").count(),
        0,
        "nothing is written"
    );
}

#[test]
fn a_port_that_is_taken_is_named() {
    let work = folder();
    let data = write(work.path().join("x.bin"), noise(1000, 42));
    let torrent = create(
        &data,
        &work.path().join("t.torrent"),
        "http://127.0.0.1:1/announce",
        &[],
    );
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let addr = taken.local_addr().expect("address").to_string();
    for command in [
        samara(["get", "--listen", &addr, "-o"])
            .arg(work.path().join("out"))
            .arg(&torrent),
        samara(["seed", "--listen", &addr, "--data"])
            .arg(work.path())
            .arg(&torrent),
        samara(["share", "--http", &addr]).arg(&data),
        &mut samara(["tracker", "--http", &addr]),
    ] {
        let ended = run(command).expect_code(1);
        assert_eq!(
            ended.stderr.trim_end().lines().count(),
            1,
            "{}",
            ended.stderr
        );
        assert!(
            ended.stderr.contains(&addr) && ended.stderr.contains("port"),
            "{}",
            ended.stderr
        );
    }
}

/// `get` in a mount namespace where `into` is a small tmpfs.
fn get_onto(options: &str, into: &Path, torrent: &Path) -> Ended {
    std::fs::create_dir_all(into).expect("made");
    let script = format!(
        "mount -t tmpfs -o {options} tmpfs \"$1\" && exec \"$2\" --json get \"$3\" -o \"$1\" --listen 127.0.0.3:0 --seed none"
    );
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", &script, "sh"])
        .arg(into)
        .arg(env!("CARGO_BIN_EXE_samara"))
        .arg(torrent);
    Process::start(&mut command).end()
}

#[test]
fn a_full_or_read_only_disk_is_one_clear_line() {
    let swarm = Swarm::of(8 << 20, 43);
    let _seed = swarm.seed(&[]);
    for (options, words) in [("size=4m", "space"), ("ro", "ead-only")] {
        let ended = get_onto(options, &swarm.path().join("small"), &swarm.torrent).expect_code(1);
        let message = ended.event("error").expect("error")["message"]
            .as_str()
            .expect("text")
            .to_owned();
        assert!(
            message.contains(words) && message.contains("small"),
            "{options}: {message}"
        );
        assert_eq!(
            ended
                .stderr
                .lines()
                .filter(|line| line.starts_with("samara:"))
                .count(),
            1,
            "{}",
            ended.stderr
        );
        assert!(ended.event("complete").is_none());
    }
}

#[test]
fn folders_that_cannot_be_used_are_named() {
    let work = folder();
    let data = write(work.path().join("x.bin"), noise(1000, 44));
    let torrent = create(
        &data,
        &work.path().join("t.torrent"),
        "http://127.0.0.1:1/announce",
        &[],
    );
    let file = write(work.path().join("a file"), b"");
    let ended = run(samara(["get", "--listen", "127.0.0.1:0", "-o"])
        .arg(&file)
        .arg(&torrent))
    .expect_code(1);
    assert!(ended.stderr.contains("a file"), "{}", ended.stderr);
    let ended = run(samara([
        "seed",
        "--listen",
        "127.0.0.1:0",
        "--data",
        "/does/not/exist",
    ])
    .arg(&torrent))
    .expect_code(1);
    assert!(ended.stderr.contains("/does/not/exist"), "{}", ended.stderr);
}

//! `share` on one host, the printed line on the others.

use super::data::{assert_same, folder, noise, tree, write};
use super::process::{Process, run, samara};
use super::swarm::get;

#[test]
fn the_printed_line_is_all_that_others_need() {
    let work = folder();
    let data = tree(work.path());
    let share = Process::start(
        samara(["share", "--http", "127.0.0.1:0", "--listen", "127.0.0.1:0"]).arg(&data),
    );
    let line = share.wait_line("a line to run", |line| {
        line.strip_prefix("samara get ").map(str::to_owned)
    });
    assert!(
        line.starts_with("http://127.0.0.1:") && line.ends_with("/tree.torrent"),
        "{line}"
    );
    for host in 3..5 {
        let into = work.path().join(format!("h{host}"));
        let ended = get(&line, &into, host, &[]).end().expect_code(0);
        assert_eq!(
            ended.event("complete").expect("complete")["verified"],
            "pieces+file"
        );
        assert_same(&data, &into.join("tree"));
    }
    let ended = share.interrupt().expect_code(0);
    assert_eq!(
        ended.stdout.lines().count(),
        1,
        "one line and nothing else: {}",
        ended.stdout
    );
    assert!(
        ended.stderr.contains("everybody who asked has a copy"),
        "{}",
        ended.stderr
    );
}

#[test]
fn share_tells_json_readers_and_leaves_when_asked_to() {
    let work = folder();
    let data = write(
        work.path().join("name with spaces & ünicode.bin"),
        noise(500_000, 3),
    );
    let share = Process::start(
        samara([
            "--json",
            "share",
            "--seed",
            "everyone",
            "--http",
            "127.0.0.1:0",
            "--listen",
            "127.0.0.1:0",
        ])
        .arg(&data),
    );
    let told = share.wait_event("share");
    let url = told["url"].as_str().expect("url");
    assert!(url.is_ascii() && !url.contains(' '), "{url}");
    let into = work.path().join("h");
    get(url, &into, 3, &[]).end().expect_code(0);
    assert_same(&data, &into.join("name with spaces & ünicode.bin"));
    let ended = share.end().expect_code(0);
    assert!(
        ended.event("everyone_has_a_copy").is_some(),
        "{}",
        ended.stdout
    );
    assert!(ended.event("stopped").is_some());
}

#[test]
fn several_paths_are_one_torrent_named_after_their_folder() {
    let work = folder();
    let a = write(work.path().join("isos/a.bin"), noise(100_000, 1));
    let b = write(work.path().join("isos/b/c.bin"), noise(100_000, 2));
    write(work.path().join("isos/not shared"), b"secret");
    let share = Process::start(
        samara([
            "--json",
            "share",
            "--http",
            "127.0.0.1:0",
            "--listen",
            "127.0.0.1:0",
        ])
        .arg(&a)
        .arg(b.parent().expect("folder")),
    );
    let told = share.wait_event("share");
    assert_eq!(told["name"], "isos");
    let into = work.path().join("h");
    get(told["url"].as_str().expect("url"), &into, 3, &[])
        .end()
        .expect_code(0);
    assert_same(&a, &into.join("isos/a.bin"));
    assert_same(&b, &into.join("isos/b/c.bin"));
    assert!(!into.join("isos/not shared").exists());
}

#[test]
fn a_magnet_link_is_enough() {
    let work = folder();
    let data = tree(work.path());
    let share = Process::start(
        samara([
            "--json",
            "share",
            "--http",
            "127.0.0.1:0",
            "--listen",
            "127.0.0.1:0",
        ])
        .arg(&data),
    );
    let magnet = share.wait_event("share")["magnet"]
        .as_str()
        .expect("magnet")
        .to_owned();
    let into = work.path().join("h");
    let ended = get(&magnet, &into, 3, &[]).end().expect_code(0);
    assert!(ended.event("complete").is_some());
    assert_same(&data, &into.join("tree"));
}

#[test]
fn share_of_nothing_is_refused() {
    let work = folder();
    let empty = write(work.path().join("empty"), b"");
    for path in [empty, work.path().join("missing")] {
        let ended = run(samara(["share", "--http", "127.0.0.1:0"]).arg(&path)).expect_code(1);
        assert_eq!(
            ended.stderr.trim_end().lines().count(),
            1,
            "{}",
            ended.stderr
        );
    }
}

//! Usage, exit codes, and what goes where.

use super::data::{folder, noise, write};
use super::process::{Process, run, samara};
use super::swarm::{Tracker, create, seed};
use std::process::{Command, Stdio};

#[test]
fn help_has_examples_and_wrong_usage_exits_with_2() {
    let help = run(&mut samara(["--help"])).expect_code(0).stdout;
    for word in [
        "share",
        "get",
        "create",
        "seed",
        "tracker",
        "info",
        "verify",
        "scrape",
        "demo",
        "Examples:",
        "Exit codes:",
    ] {
        assert!(help.contains(word), "{word} is missing in\n{help}");
    }
    for command in ["share", "get", "create", "seed", "tracker", "demo"] {
        let help = run(&mut samara([command, "--help"])).expect_code(0).stdout;
        assert!(help.contains("Example"), "{command}");
    }
    run(&mut samara(["--version"])).expect_code(0);
    for line in [
        vec!["fly"],
        vec![],
        vec!["get"],
        vec!["get", "x", "--up-limit", "fast"],
        vec!["tracker", "--udp", "nowhere"],
        vec!["get", "magnet:?dn=nothing"],
    ] {
        run(&mut samara(line)).expect_code(2);
    }
}

#[test]
fn json_is_the_only_thing_on_stdout() {
    let work = folder();
    let data = write(work.path().join("x.bin"), noise(100_000, 1));
    let made = run(samara(["--json", "create"])
        .arg(&data)
        .current_dir(work.path()))
    .expect_code(0);
    assert!(made.events().count() > 0, "every line parses");
    assert_eq!(made.event("created").expect("created")["bytes"], 100_000);
    let failed = run(&mut samara(["--json", "info", "/does/not/exist"])).expect_code(1);
    assert_eq!(failed.event("error").expect("error")["exit"], 1);
}

#[test]
fn create_refuses_to_overwrite_unless_forced() {
    let work = folder();
    let data = write(work.path().join("x.bin"), noise(50_000, 1));
    let torrent = write(work.path().join("x.bin.torrent"), b"precious");
    let refused = run(samara(["create"]).arg(&data).current_dir(work.path())).expect_code(1);
    assert!(refused.stderr.contains("--force"), "{}", refused.stderr);
    assert_eq!(std::fs::read(&torrent).expect("read"), b"precious");
    run(samara(["create", "--force"])
        .arg(&data)
        .current_dir(work.path()))
    .expect_code(0);
    run(samara(["info"]).arg(&torrent)).expect_code(0);
}

#[test]
fn create_is_the_same_for_the_same_data_and_verify_agrees() {
    let work = folder();
    let data = write(work.path().join("d/x.bin"), noise(700_000, 1));
    let hash = |name: &str| {
        let torrent = work.path().join(name);
        run(samara(["create", "-o"])
            .arg(&torrent)
            .arg(data.parent().expect("folder")))
        .expect_code(0);
        run(samara(["--json", "info"]).arg(&torrent))
            .expect_code(0)
            .event("info")
            .expect("info")["info_hash"]
            .clone()
    };
    assert_eq!(hash("a.torrent"), hash("b.torrent"));
    let verify = |data: &std::path::Path| {
        run(samara(["--json", "verify"])
            .arg(work.path().join("a.torrent"))
            .arg("--data")
            .arg(data))
    };
    let report = verify(work.path())
        .expect_code(0)
        .event("verified")
        .expect("verified");
    assert_eq!(report["ok"], true);
    std::fs::write(&data, noise(700_000, 2)).expect("changed");
    let ended = verify(work.path()).expect_code(3);
    assert_eq!(ended.event("file").expect("file")["status"], "bad");
    assert_eq!(
        ended.stderr.trim_end().lines().count(),
        1,
        "{}",
        ended.stderr
    );
    std::fs::remove_file(&data).expect("removed");
    assert_eq!(
        verify(work.path())
            .expect_code(3)
            .event("file")
            .expect("file")["status"],
        "missing"
    );
}

#[test]
fn attack_08_names_cannot_write_on_the_terminal() {
    let work = folder();
    let data = write(work.path().join("plain.bin"), noise(1000, 1));
    let torrent = work.path().join("t.torrent");
    run(
        samara(["create", "--comment", "a\x1b[2Jb\u{202e}c\nd", "-o"])
            .arg(&torrent)
            .arg(&data),
    )
    .expect_code(0);
    let shown = run(samara(["info"]).arg(&torrent)).expect_code(0).stdout;
    assert!(
        !shown.contains('\x1b') && !shown.contains('\u{202e}'),
        "{shown}"
    );
    assert!(shown.contains("a\\u{1b}[2Jb\\u{202e}c\\nd"), "{shown}");
}

#[test]
fn seeding_what_is_not_there_exits_with_3_and_names_it() {
    let work = folder();
    let top = work.path().join("top");
    for name in ["good", "bad", "gone"] {
        write(top.join(name), noise(100_000, name.len() as u64));
    }
    let torrent = create(
        &top,
        &work.path().join("t.torrent"),
        "http://127.0.0.1:1/announce",
        &[],
    );
    write(top.join("bad"), noise(100_000, 99));
    std::fs::remove_file(top.join("gone")).expect("removed");
    let ended = run(samara(["seed", "--listen", "127.0.0.1:0"])
        .arg(&torrent)
        .arg("--data")
        .arg(work.path()))
    .expect_code(3);
    let listed: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(
        listed,
        ["bad     top/bad", "missing top/gone", "ok      top/good"]
    );
    assert_eq!(
        ended.stderr.trim_end().lines().count(),
        1,
        "{}",
        ended.stderr
    );
}

#[test]
fn signals_end_it_politely() {
    let work = folder();
    let data = write(work.path().join("x.bin"), noise(100_000, 1));
    let tracker = Tracker::start();
    let torrent = create(
        &data,
        &work.path().join("t.torrent"),
        &tracker.announce,
        &[],
    );
    for signal in ["INT", "TERM"] {
        let seeding = seed(&torrent, work.path(), 2, &[]);
        seeding.wait_event("tracker");
        seeding.signal(signal);
        let ended = seeding.end().expect_code(0);
        assert!(ended.event("stopped").is_some());
        // It told the tracker that it leaves.
        let scraped = run(samara(["--json", "scrape"]).arg(&torrent));
        assert!(
            scraped
                .event("scrape")
                .is_none_or(|scrape| scrape["seeds"] != 1),
            "{}",
            scraped.stdout
        );
        let waiting = super::swarm::get(&torrent, &work.path().join("out"), 3, &[]);
        waiting.wait_event("ready");
        waiting.signal(signal);
        let ended = waiting.end().expect_code(130);
        assert!(ended.event("stopped").is_some());
    }
}

#[test]
fn a_reader_that_goes_away_has_seen_enough() {
    let work = folder();
    let data = write(work.path().join("x.bin"), noise(100_000, 1));
    let torrent = create(
        &data,
        &work.path().join("t.torrent"),
        "http://127.0.0.1:1/announce",
        &[],
    );
    let mut child = samara([
        "--json",
        "--listen",
        "127.0.0.1:0",
        "seed",
        "--seed",
        "forever",
    ])
    .arg(&torrent)
    .arg("--data")
    .arg(work.path())
    .stdout(Stdio::piped())
    .stderr(Stdio::null())
    .spawn()
    .expect("starts");
    drop(child.stdout.take());
    assert_eq!(child.wait().expect("ends").code(), Some(0));
}

#[test]
fn settings_come_from_a_file() {
    let work = folder();
    let settings = write(
        work.path().join("s.toml"),
        "listen = \"127.0.0.7:0\"\njson = true\n",
    );
    let data = write(work.path().join("x.bin"), noise(100_000, 1));
    let torrent = create(
        &data,
        &work.path().join("t.torrent"),
        "http://127.0.0.1:1/announce",
        &[],
    );
    let seeding = Process::start(
        samara(["seed", "--config"])
            .arg(&settings)
            .arg(&torrent)
            .arg("--data")
            .arg(work.path()),
    );
    let ready = seeding.wait_event("ready");
    assert!(
        ready["listen"]
            .as_str()
            .expect("listen")
            .starts_with("127.0.0.7:"),
        "{ready}"
    );
    write(&settings, "up-limti = 5\n");
    let wrong = run(samara(["seed", "--config"]).arg(&settings).arg(&torrent)).expect_code(2);
    assert!(wrong.stderr.contains("up-limti"), "{}", wrong.stderr);
}

#[test]
fn demo_ends_by_itself_with_a_summary() {
    let ended = run(&mut samara([
        "--json",
        "demo",
        "--size",
        "4MiB",
        "-n",
        "3",
        "--up-limit",
        "20M",
    ]))
    .expect_code(0);
    let summary = ended.event("demo").expect("summary");
    assert_eq!(
        (&summary["hosts"], &summary["checked"], &summary["equal"]),
        (&4.into(), &3.into(), &true.into())
    );
    let work = folder();
    let data = super::data::tree(work.path());
    let people = run(samara(["demo", "-n", "2", "--up-limit", "20M"]).arg(&data)).expect_code(0);
    assert!(people.stdout.contains("all equal"), "{}", people.stdout);
    // Nothing is left where the data is but the data.
    let left: Vec<_> = std::fs::read_dir(work.path())
        .expect("listed")
        .map(|entry| entry.expect("entry").file_name())
        .collect();
    assert_eq!(left, ["tree"]);
}

#[test]
fn no_colour_without_a_terminal() {
    let output = Command::new(env!("CARGO_BIN_EXE_samara"))
        .args(["info", "/does/not/exist"])
        .output()
        .expect("runs");
    assert!(!output.stderr.contains(&0x1b) && output.stdout.is_empty());
}

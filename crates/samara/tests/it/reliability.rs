//! Processes that are killed, and disks that are full, read-only or not ours: nothing is lost.

use super::data::{assert_same, folder, noise, write};
use super::process::{Ended, Process};
use super::swarm::{Swarm, Tracker, create, get, seed};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

/// Runs a script in a mount namespace of its own, where `$M` is a folder, `$T` the torrent and `get` the
/// download into it.
fn in_a_mount(script: &str, swarm: &Swarm) -> Ended {
    let into = swarm.path().join("mount");
    std::fs::create_dir_all(&into).expect("made");
    let script = format!(
        "get() {{ \"$S\" --json --listen 127.0.0.3:0 get \"$T\" -o \"$M\" --seed none \"$@\"; }}\n{script}"
    );
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", &script])
        .env("S", env!("CARGO_BIN_EXE_samara"))
        .env("T", &swarm.torrent)
        .env("M", into);
    Process::start(&mut command).end()
}

fn messages(ended: &Ended) -> Vec<String> {
    let text = |event: serde_json::Value| event["message"].as_str().map(str::to_owned);
    ended
        .events()
        .filter(|event| event["event"] == "error")
        .filter_map(text)
        .collect()
}

/// Bytes that the last process of a script fetched.
fn fetched(ended: &Ended) -> u64 {
    let stopped = ended.events().filter(|event| event["event"] == "stopped");
    stopped.last().expect("stopped")["downloaded"]
        .as_u64()
        .expect("bytes")
}

#[test]
fn killed_at_random_moments() {
    const KILLS: u64 = 12;
    // Bytes that one kill costs at most: pieces that were not whole yet, and what was on its way.
    const COST_MAX: u64 = 6 << 20;
    let swarm = Swarm::with(24 << 20, 71, &["--piece-size", "128KiB"]);
    let seeding = swarm.seed(&[]);
    let into = swarm.path().join("out");
    let mut kills = 0;
    let mut state = 71_u64;
    while kills < KILLS {
        let leech = swarm.get(&into, &["--down-limit", "12M", "--seed", "none"]);
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        std::thread::sleep(Duration::from_millis(state >> 33 & 255));
        leech.kill();
        kills += 1;
    }
    swarm.get(&into, &["--seed", "none"]).end().expect_code(0);
    swarm.assert_arrived(&into);
    let ended = seeding.interrupt().expect_code(0);
    let sent = ended.event("stopped").expect("stopped")["uploaded"]
        .as_u64()
        .expect("bytes");
    assert!(
        sent <= (24 << 20) + KILLS * COST_MAX,
        "{sent} bytes for 24 MiB and {KILLS} kills"
    );
}

#[test]
fn a_full_disk_that_gets_space_goes_on_where_it_was() {
    let swarm = Swarm::with(8 << 20, 72, &["--piece-size", "128KiB"]);
    let _seed = swarm.seed(&[]);
    let ended = in_a_mount(
        "mount -t tmpfs -o size=5m tmpfs \"$M\"
         get && exit 9
         mount -o remount,size=64m \"$M\"
         get && cmp \"$M/x.bin\" \"$M/../src/x.bin\"",
        &swarm,
    )
    .expect_code(0);
    let said = messages(&ended);
    assert!(
        said.len() == 1 && said[0].contains("space") && said[0].contains("mount/"),
        "{said:?}"
    );
    assert!(
        fetched(&ended) < 6 << 20,
        "what was here is not fetched again"
    );
}

#[test]
fn a_disk_that_turns_read_only_and_back_loses_nothing() {
    let swarm = Swarm::with(8 << 20, 73, &["--piece-size", "128KiB"]);
    let _seed = swarm.seed(&[]);
    let ended = in_a_mount(
        "mount -t tmpfs tmpfs \"$M\"
         timeout -s INT 2 \"$S\" -q --listen 127.0.0.3:0 get \"$T\" -o \"$M\" --seed none --down-limit 2M >&2
         mount -o remount,ro \"$M\"
         get && exit 9
         mount -o remount,rw \"$M\"
         get && cmp \"$M/x.bin\" \"$M/../src/x.bin\"",
        &swarm,
    )
    .expect_code(0);
    let said = messages(&ended);
    assert!(
        said.len() == 1 && said[0].contains("ead-only") && said[0].contains("mount"),
        "{said:?}"
    );
    assert!(
        fetched(&ended) < 8 << 20,
        "what was here is not fetched again"
    );
}

#[test]
fn few_open_files_are_enough() {
    let work = folder();
    let top = work.path().join("src/many");
    for file in 0..300 {
        write(top.join(format!("{}/{file}", file % 7)), noise(9_000, file));
    }
    let tracker = Tracker::start();
    let torrent = work.path().join("t.torrent");
    let torrent = create(&top, &torrent, &tracker.announce, &[]);
    let _seed = seed(&torrent, &work.path().join("src"), 2, &[]);
    let into = work.path().join("out");
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -n 48 && exec \"$0\" \"$@\""])
        .arg(env!("CARGO_BIN_EXE_samara"))
        .args(["--json", "--listen", "127.0.0.3:0", "get", "--seed", "none"])
        .arg(&torrent)
        .arg("-o")
        .arg(&into);
    Process::start(&mut command).end().expect_code(0);
    assert_same(&top, &into.join("many"));
}

#[test]
fn a_folder_of_somebody_else_is_named() {
    let swarm = Swarm::of(300_000, 74);
    let into = swarm.path().join("theirs");
    std::fs::create_dir(&into).expect("made");
    // Readable, and ours: the other user may not write there.
    for path in [swarm.path(), &into] {
        std::fs::set_permissions(path, Permissions::from_mode(0o755)).expect("set");
    }
    let copy = swarm.path().join("samara");
    std::fs::copy(env!("CARGO_BIN_EXE_samara"), &copy).expect("copied");
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(copy)
        .args(["--json", "--listen", "127.0.0.3:0", "get"])
        .arg(&swarm.torrent)
        .arg("-o")
        .arg(&into);
    let ended = Process::start(&mut command).end().expect_code(1);
    let said = messages(&ended);
    assert!(
        said.len() == 1 && said[0].contains("ermission") && said[0].contains("theirs"),
        "{said:?}"
    );
}

#[test]
fn a_tracker_that_is_gone_stops_no_download_that_has_begun() {
    let swarm = Swarm::of(2 << 20, 75);
    let seeding = swarm.seed(&[]);
    let into = swarm.path().join("out");
    let leech = get(
        &swarm.torrent,
        &into,
        3,
        &["--down-limit", "400K", "--seed", "none"],
    );
    leech.wait_event_that("progress", |event| event["have"].as_u64() > Some(0));
    swarm.tracker.signal("KILL");
    leech.end().expect_code(0);
    swarm.assert_arrived(&into);
    assert_eq!(seeding.interrupt().code, Some(0));
}

//! Swarms of our own: a tracker, seeds and leeches, each a process.

use super::data::{assert_same, contents, folder, noise, tree, write};
use super::process::{Process, run, samara};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// `samara tracker` on a free port of 127.0.0.1.
pub struct Tracker {
    process: Process,
    pub announce: String,
}

impl Tracker {
    pub fn start() -> Self {
        Self::with(&[])
    }

    pub fn with(flags: &[&str]) -> Self {
        let process =
            Process::start(samara(["--json", "tracker", "--http", "127.0.0.1:0"]).args(flags));
        let ready = process.wait_event("ready");
        let announce = ready["announce"]
            .as_str()
            .expect("says its address")
            .to_owned();
        Self { process, announce }
    }
}

impl Tracker {
    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }
}

/// One file of noise below `src`, its torrent, and a tracker: what most tests begin with.
pub struct Swarm {
    pub tracker: Tracker,
    /// What is shared.
    pub data: PathBuf,
    pub torrent: PathBuf,
    work: TempDir,
}

impl Swarm {
    /// `src/x.bin` of `len` bytes, which grow from `seed`.
    pub fn of(len: usize, seed: u64) -> Self {
        Self::with(len, seed, &[])
    }

    /// The same, created with these flags.
    pub fn with(len: usize, seed: u64, flags: &[&str]) -> Self {
        let work = folder();
        let data = write(work.path().join("src/x.bin"), noise(len, seed));
        let tracker = Tracker::start();
        let torrent = work.path().join("t.torrent");
        let torrent = create(&data, &torrent, &tracker.announce, flags);
        Self {
            tracker,
            data,
            torrent,
            work,
        }
    }

    /// The folder of the test.
    pub fn path(&self) -> &Path {
        self.work.path()
    }

    /// Who has the file, on 127.0.0.2; returns when it serves.
    #[track_caller]
    pub fn seed(&self, flags: &[&str]) -> Process {
        seed(&self.torrent, &self.path().join("src"), 2, flags)
    }

    /// Who gets it, on 127.0.0.3.
    #[track_caller]
    pub fn get(&self, into: &Path, flags: &[&str]) -> Process {
        get(&self.torrent, into, 3, flags)
    }

    /// Fails unless all of it is in this folder.
    #[track_caller]
    pub fn assert_arrived(&self, into: &Path) {
        assert_same(&self.data, &into.join("x.bin"));
    }
}

/// `samara create`.
#[track_caller]
pub fn create(path: &Path, torrent: &Path, announce: &str, flags: &[&str]) -> PathBuf {
    run(samara(["create", "-q", "-t", announce, "-o"])
        .arg(torrent)
        .arg(path)
        .args(flags))
    .expect_code(0);
    torrent.to_owned()
}

/// `samara seed`, on an address of its own in 127.0.0.0/8; returns when it serves.
#[track_caller]
pub fn seed(torrent: &Path, data: &Path, host: u8, flags: &[&str]) -> Process {
    let listen = format!("127.0.0.{host}:0");
    let seed = Process::start(
        samara(["--json", "--listen", &listen, "seed", "--seed", "forever"])
            .arg(torrent)
            .arg("--data")
            .arg(data)
            .args(flags),
    );
    seed.wait_event("ready");
    seed
}

/// `samara get`, likewise.
#[track_caller]
pub fn get(source: impl AsRef<std::ffi::OsStr>, into: &Path, host: u8, flags: &[&str]) -> Process {
    let listen = format!("127.0.0.{host}:0");
    Process::start(
        samara(["--json", "--listen", &listen, "get"])
            .arg(source)
            .arg("-o")
            .arg(into)
            .args(flags),
    )
}

/// One seed and four leeches that start together, to the end.
fn whole_swarm(data: &Path, flags: &[&str]) {
    let work = folder();
    let tracker = Tracker::start();
    let torrent = create(
        data,
        &work.path().join("t.torrent"),
        &tracker.announce,
        flags,
    );
    let _seed = seed(&torrent, data.parent().expect("has a parent"), 2, &[]);
    let leeches: Vec<(PathBuf, Process)> = (0..4)
        .map(|number| {
            let into = work.path().join(format!("host-{number}"));
            (
                into.clone(),
                get(&torrent, &into, 3 + number, &["--seed", "forever"]),
            )
        })
        .collect();
    for (into, leech) in leeches {
        let complete = leech.wait_event("complete");
        assert_eq!(complete["verified"], "pieces+file");
        let ended = leech.interrupt().expect_code(0);
        assert!(ended.event("stopped").is_some());
        assert_same(data, &into.join(data.file_name().expect("has a name")));
    }
}

#[test]
fn a_tree_reaches_four_leeches_in_every_format() {
    let source = folder();
    let data = tree(source.path());
    for format in ["hybrid", "v1", "v2"] {
        whole_swarm(&data, &["--format", format]);
    }
}

#[test]
fn a_single_file_reaches_four_leeches() {
    let source = folder();
    let data = write(source.path().join("one file.bin"), noise(20_000_003, 5));
    whole_swarm(&data, &[]);
}

#[test]
fn a_tree_of_thousands_of_files_arrives_whole() {
    let source = folder();
    let top = source.path().join("docs");
    // The shape of a language's documentation: many small pages, some large, deep folders.
    for page in 0..3_000_usize {
        let len = if page % 97 == 0 {
            90_000
        } else {
            page * 7 % 6_000
        };
        write(
            top.join(format!(
                "crate-{}/module-{}/page-{page}.html",
                page % 23,
                page % 7
            )),
            noise(len, page as u64 + 1),
        );
    }
    assert!(contents(&top).len() == 3_000);
    whole_swarm(&top, &["--format", "v1"]);
}

#[test]
fn a_download_waits_for_a_seed_and_says_so() {
    let work = folder();
    let data = write(work.path().join("src/late.bin"), noise(1_000_000, 9));
    let tracker = Tracker::start();
    let torrent = create(
        &data,
        &work.path().join("t.torrent"),
        &tracker.announce,
        &[],
    );
    let leeches: Vec<Process> = (3..5)
        .map(|host| {
            get(
                &torrent,
                &work.path().join(format!("h{host}")),
                host,
                &["--seed", "everyone"],
            )
        })
        .collect();
    for leech in &leeches {
        let waiting = leech.wait_event_that("waiting", |event| {
            event["message"]
                .as_str()
                .is_some_and(|words| words.starts_with("waiting for a seed"))
        });
        assert!(
            waiting["message"]
                .as_str()
                .expect("words")
                .contains("whole file"),
            "{waiting}"
        );
        assert!(
            leech
                .events()
                .iter()
                .all(|event| event["event"] != "complete")
        );
    }
    let _seed = seed(&torrent, &work.path().join("src"), 2, &[]);
    for (leech, host) in leeches.into_iter().zip(3..) {
        leech.wait_event("complete");
        leech.end().expect_code(0);
        assert_same(&data, &work.path().join(format!("h{host}/late.bin")));
    }
}

#[test]
fn without_the_seed_rule_leeches_find_each_other() {
    let work = folder();
    let data = write(work.path().join("src/x.bin"), noise(400_000, 9));
    let tracker = Tracker::with(&["--allow-seedless"]);
    let torrent = create(
        &data,
        &work.path().join("t.torrent"),
        &tracker.announce,
        &[],
    );
    let leeches: Vec<Process> = (3..5)
        .map(|host| get(&torrent, &work.path().join(format!("h{host}")), host, &[]))
        .collect();
    for leech in &leeches {
        leech.wait_event_that("progress", |event| event["peers"].as_u64() > Some(0));
    }
}

#[test]
fn a_seed_leaves_when_everyone_who_asked_has_a_copy() {
    let swarm = Swarm::of(2_000_000, 11);
    let seed = Process::start(
        samara([
            "--json",
            "--listen",
            "127.0.0.2:0",
            "seed",
            "--seed",
            "everyone",
        ])
        .arg(&swarm.torrent)
        .arg("--data")
        .arg(swarm.path().join("src")),
    );
    seed.wait_event("ready");
    let leeches: Vec<Process> = (3..6)
        .map(|host| {
            get(
                &swarm.torrent,
                &swarm.path().join(format!("h{host}")),
                host,
                &["--seed", "everyone"],
            )
        })
        .collect();
    for leech in leeches {
        let ended = leech.end().expect_code(0);
        assert!(ended.event("complete").is_some() && ended.event("stopped").is_some());
    }
    let ended = seed.end().expect_code(0);
    assert!(ended.event("stopped").is_some());
    let uploaded = ended.event("stopped").expect("stopped")["uploaded"].as_u64();
    assert!(
        uploaded >= Some(2_000_000),
        "the seed sent at least one copy: {uploaded:?}"
    );
}

#[test]
fn seed_none_leaves_at_once() {
    let swarm = Swarm::of(300_000, 12);
    let _seed = swarm.seed(&[]);
    let ended = swarm
        .get(&swarm.path().join("h"), &["--seed", "none"])
        .end()
        .expect_code(0);
    let order: Vec<String> = ended
        .events()
        .filter_map(|event| event["event"].as_str().map(str::to_owned))
        .collect();
    let place = |name: &str| {
        order
            .iter()
            .position(|event| event == name)
            .unwrap_or_else(|| panic!("no {name} in {order:?}"))
    };
    assert!(place("ready") < place("complete") && place("complete") < place("stopped"));
    assert_same(&swarm.data, &swarm.path().join("h/x.bin"));
}

#[test]
fn scrape_and_info_say_what_is_so() {
    let work = folder();
    let data = tree(work.path());
    let tracker = Tracker::start();
    let torrent = create(
        &data,
        &work.path().join("t.torrent"),
        &tracker.announce,
        &["--comment", "hello", "--private"],
    );
    let seeding = seed(&torrent, work.path(), 2, &[]);
    seeding.wait_event("tracker");
    let scraped = run(samara(["--json", "scrape"]).arg(&torrent)).expect_code(0);
    assert_eq!(scraped.event("scrape").expect("scraped")["seeds"], 1);
    let info = run(samara(["--json", "info"]).arg(&torrent))
        .expect_code(0)
        .event("info")
        .expect("info");
    assert_eq!(
        (&info["name"], &info["comment"], &info["private"]),
        (&"tree".into(), &"hello".into(), &true.into())
    );
    assert_eq!(
        info["files"].as_array().expect("files").len(),
        contents(&data).len()
    );
    let people = run(samara(["info", "--all"]).arg(&torrent))
        .expect_code(0)
        .stdout;
    assert!(
        people.contains("tree/日本語/ファイル.txt") && people.contains("info-hash"),
        "{people}"
    );
    assert_eq!(seeding.interrupt().code, Some(0));
}

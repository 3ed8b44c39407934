//! Other people's clients: aria2, transmission and libtorrent, both ways and mixed, and a tracker that is
//! not ours. `scripts/test-tools.sh` installs them.
//!
//! Each test has a network namespace of its own, with Samara on addresses of its own in it. aria2 and
//! Transmission 3 cannot use hybrid torrents (docs/decisions/0004-default-format.md), so that these
//! are exchanged with libtorrent.

mod clients;
mod found;

use super::data::{assert_same, folder, noise, tree, write};
use super::namespace::Namespace;
use super::process::{Process, samara, until};
use super::swarm::create;
use clients::{Client, Job, python};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const ANNOUNCE: &str = "http://10.88.0.1:6969/announce";

/// A network with our tracker in it, data, and a torrent of it.
struct Scene {
    space: Namespace,
    work: TempDir,
    data: PathBuf,
    torrent: PathBuf,
    _tracker: Option<Process>,
}

impl Scene {
    /// `v1` is a tree of many files, the other formats are one file here.
    fn new(format: &str) -> Self {
        let work = folder();
        let source = work.path().join("src");
        let data = match format {
            "v1" => tree(&source),
            _ => write(source.join("one file ü.bin"), noise(9_000_001, 51)),
        };
        Self::of(data, format, work)
    }

    fn of(data: PathBuf, format: &str, work: TempDir) -> Self {
        let space = Namespace::new();
        let tracker =
            Process::start(&mut space.samara(["--json", "tracker", "--http", "10.88.0.1:6969"]));
        tracker.wait_event("ready");
        let torrent = create(
            &data,
            &work.path().join("t.torrent"),
            ANNOUNCE,
            &["--format", format],
        );
        Self {
            space,
            work,
            data,
            torrent,
            _tracker: Some(tracker),
        }
    }

    fn source(&self) -> &Path {
        self.data.parent().expect("has a parent")
    }

    fn seed(&self) -> Process {
        self.seed_at(&format!("{}:6881", Namespace::address(2)))
    }

    fn seed_at(&self, listen: &str) -> Process {
        let seed = Process::start(
            self.space
                .samara(["--json", "--listen", listen, "seed", "--seed", "forever"])
                .arg(&self.torrent)
                .arg("--data")
                .arg(self.source()),
        );
        seed.wait_event("ready");
        seed.wait_event("tracker");
        seed
    }

    fn get(&self, host: u8, flags: &[&str]) -> (PathBuf, Process) {
        self.get_at(&format!("{}:6881", Namespace::address(host)), host, flags)
    }

    fn get_at(&self, listen: &str, host: u8, flags: &[&str]) -> (PathBuf, Process) {
        let into = self.work.path().join(format!("samara-{host}"));
        let get = Process::start(
            self.space
                .samara(["--json", "--listen", listen, "get"])
                .arg(&self.torrent)
                .arg("-o")
                .arg(&into)
                .args(flags),
        );
        (into, get)
    }

    fn job(&self, name: &str, port: u16, content: PathBuf) -> Job<'_> {
        Job {
            space: &self.space,
            torrent: &self.torrent,
            home: self.work.path().join(format!("home-{name}-{port}")),
            content,
            port,
        }
    }

    #[track_caller]
    fn assert_arrived(&self, into: &Path) {
        assert_same(
            &self.data,
            &into.join(self.data.file_name().expect("has a name")),
        );
    }

    /// Waits until our tracker knows this many seeds.
    #[track_caller]
    fn until_seeds(&self, seeds: u64) {
        until(
            || format!("{seeds} seeds at the tracker"),
            || {
                let scraped =
                    super::process::run(self.space.samara(["--json", "scrape"]).arg(&self.torrent));
                let known = scraped
                    .event("scrape")
                    .and_then(|event| event["seeds"].as_u64());
                (known >= Some(seeds)).then_some(())
            },
        );
    }
}

fn downloads_from_samara(client: Client, format: &str) {
    let scene = Scene::new(format);
    let _seed = scene.seed();
    let into = scene.work.path().join("out");
    let running = client.leech(&scene.job(client.name(), 7001, into.clone()));
    running.until_complete();
    drop(running);
    if client == Client::Transmission && scene.data.is_dir() {
        // Version 3 does not make empty files.
        for name in ["empty", "a/b/also empty.txt"] {
            write(into.join("tree").join(name), b"");
        }
    }
    scene.assert_arrived(&into);
}

fn seeds_to_samara(client: Client, format: &str) {
    let scene = Scene::new(format);
    let _running = client.seed(&scene.job(client.name(), 7002, scene.source().to_owned()));
    scene.until_seeds(1);
    let (into, get) = scene.get(3, &["--seed", "none"]);
    let ended = get.end().expect_code(0);
    assert_eq!(
        ended.event("complete").expect("complete")["verified"],
        "pieces+file"
    );
    assert!(
        ended.events().all(|event| event["event"] != "peer_banned"),
        "{}",
        ended.stdout
    );
    scene.assert_arrived(&into);
}

/// aria2 announces a hybrid under a name of its own; the downloader is found there, and dialled.
fn hybrid_from_aria2() {
    let scene = Scene::new("hybrid");
    let _running = Client::Aria2.seed(&scene.job("aria2", 7002, scene.source().to_owned()));
    let (into, get) = scene.get(3, &["--seed", "none"]);
    get.end().expect_code(0);
    scene.assert_arrived(&into);
}

#[test]
fn aria2_downloads_from_samara() {
    downloads_from_samara(Client::Aria2, "v1");
    // Under the wrong info-hash that it computes for hybrids (decision 0004).
    downloads_from_samara(Client::Aria2, "hybrid");
}

#[test]
fn transmission_downloads_from_samara() {
    downloads_from_samara(Client::Transmission, "v1");
}

#[test]
fn libtorrent_downloads_from_samara() {
    downloads_from_samara(Client::Libtorrent, "v1");
    downloads_from_samara(Client::Libtorrent, "hybrid");
    downloads_from_samara(Client::Libtorrent, "v2");
}

#[test]
fn samara_downloads_from_aria2() {
    seeds_to_samara(Client::Aria2, "v1");
    hybrid_from_aria2();
}

#[test]
fn samara_downloads_from_transmission() {
    seeds_to_samara(Client::Transmission, "v1");
}

#[test]
fn samara_downloads_from_libtorrent() {
    seeds_to_samara(Client::Libtorrent, "v1");
    seeds_to_samara(Client::Libtorrent, "hybrid");
    seeds_to_samara(Client::Libtorrent, "v2");
}

#[test]
fn libtorrent_and_samara_exchange_trees_with_padding_and_v2_trees() {
    for format in ["hybrid", "v2"] {
        let work = folder();
        let data = tree(&work.path().join("src"));
        let scene = Scene::of(data, format, work);
        let seed = scene.seed();
        let into = scene.work.path().join("out");
        let running = Client::Libtorrent.leech(&scene.job("lt", 7001, into.clone()));
        running.until_complete();
        scene.assert_arrived(&into);
        drop(seed.interrupt());
        // Now libtorrent is the only one that has it.
        let (back, get) = scene.get(3, &["--seed", "none"]);
        get.end().expect_code(0);
        scene.assert_arrived(&back);
    }
}

#[test]
fn all_clients_share_one_swarm() {
    let work = folder();
    let data = write(work.path().join("src/mixed.bin"), noise(24 << 20, 52));
    let scene = Scene::of(data, "v1", work);
    let _seed = scene.seed();
    let folders: Vec<PathBuf> = ["aria2", "transmission", "libtorrent"]
        .map(|name| scene.work.path().join(name))
        .to_vec();
    let clients = [Client::Aria2, Client::Transmission, Client::Libtorrent];
    let running: Vec<_> = clients
        .iter()
        .zip(&folders)
        .zip(7001..)
        .map(|((client, into), port)| client.leech(&scene.job(client.name(), port, into.clone())))
        .collect();
    let ours: Vec<(PathBuf, Process)> = (3..5)
        .map(|host| scene.get(host, &["--seed", "forever"]))
        .collect();
    for (into, get) in &ours {
        get.wait_event("complete");
        scene.assert_arrived(into);
    }
    for (client, into) in running.iter().zip(&folders) {
        client.until_complete();
        scene.assert_arrived(into);
    }
    for (_, get) in ours {
        let ended = get.interrupt().expect_code(0);
        assert!(
            ended
                .events()
                .all(|event| event["event"] != "peer_banned" && event["event"] != "piece_rejected"),
            "{}",
            ended.stdout
        );
    }
}

#[test]
fn samara_works_through_a_foreign_tracker() {
    let work = folder();
    let data = tree(&work.path().join("src"));
    let space = Namespace::new();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/foreign/tracker.py");
    let tracker = Process::start(space.command(python()).args([script, "10.88.0.1", "6969"]));
    tracker.wait_line("listening", |line| (line == "listening").then_some(()));
    let torrent = create(&data, &work.path().join("t.torrent"), ANNOUNCE, &[]);
    let scene = Scene {
        space,
        work,
        data,
        torrent,
        _tracker: Some(tracker),
    };
    let _seed = scene.seed();
    let ours: Vec<(PathBuf, Process)> = (3..6)
        .map(|host| scene.get(host, &["--seed", "forever"]))
        .collect();
    for (into, get) in ours {
        get.wait_event("complete");
        scene.assert_arrived(&into);
        get.interrupt().expect_code(0);
    }
}

#[test]
fn info_hashes_are_those_that_libtorrent_computes() {
    let work = folder();
    let data = tree(work.path());
    for format in ["v1", "v2", "hybrid"] {
        let torrent = create(
            &data,
            &work.path().join(format!("{format}.torrent")),
            ANNOUNCE,
            &["--format", format],
        );
        let ours = super::process::run(samara(["--json", "info"]).arg(&torrent))
            .expect_code(0)
            .event("info")
            .expect("info");
        let script = "import sys, libtorrent as lt; h = lt.torrent_info(sys.argv[1]).info_hashes(); print(h.v1 if h.has_v1() else '-', h.v2 if h.has_v2() else '-')";
        let theirs = super::process::run(
            std::process::Command::new(clients::libtorrent_python())
                .args(["-W", "ignore", "-c", script])
                .arg(&torrent),
        )
        .expect_code(0);
        let hash = |name: &str| ours[name].as_str().unwrap_or("-").to_owned();
        assert_eq!(
            theirs.stdout.trim(),
            format!("{} {}", hash("info_hash"), hash("info_hash_v2"))
        );
    }
}

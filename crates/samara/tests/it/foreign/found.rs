//! Nothing but a tracker to find each other by, over HTTP (BEP 3) or UDP (BEP 15), IPv4 or IPv6: ours for other
//! people's clients, and somebody else's for ours.

use super::super::data::{folder, noise, write};
use super::super::namespace::Namespace;
use super::super::process::{Process, run};
use super::super::swarm::create;
use super::clients::Client;
use super::{Scene, samara};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const ALL: [Client; 3] = [Client::Aria2, Client::Transmission, Client::Libtorrent];

/// How the tracker is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Over {
    Http,
    Udp,
}

/// Over which addresses.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

impl Family {
    /// A host's address, and a port there.
    fn at(self, host: u8, port: u16) -> String {
        match self {
            Self::V4 => format!("{}:{port}", Namespace::address(host)),
            Self::V6 => format!("[{}]:{port}", Namespace::address_v6(host)),
        }
    }
}

/// A tracker of ours that torrents know by one address only.
fn scene(over: Over, family: Family) -> Scene {
    let space = Namespace::new();
    if family == Family::V6 {
        space.add_ipv6();
    }
    let work = folder();
    let data = write(work.path().join("src/found.bin"), noise(6_000_001, 61));
    let at = family.at(1, 6969);
    let (args, announce) = match over {
        Over::Http => (vec!["--http", &at], format!("http://{at}/announce")),
        Over::Udp => (
            vec!["--http", "127.0.0.1:6970", "--udp", &at],
            format!("udp://{at}/announce"),
        ),
    };
    let tracker = Process::start(space.samara(["--json", "tracker"]).args(args));
    tracker.wait_event("ready");
    let torrent = work.path().join("t.torrent");
    let torrent = create(&data, &torrent, &announce, &["--format", "v1"]);
    Scene {
        space,
        work,
        data,
        torrent,
        _tracker: Some(tracker),
    }
}

/// These download, at the same time, from whoever they find.
fn all_download(scene: &Scene, clients: &[Client]) {
    let folder = |client: &Client| scene.work.path().join(client.name());
    let running: Vec<_> = clients
        .iter()
        .zip(7001..)
        .map(|(client, port)| client.leech(&scene.job(client.name(), port, folder(client))))
        .collect();
    for (client, running) in clients.iter().zip(running) {
        running.until_complete();
        scene.assert_arrived(&folder(client));
    }
}

/// These find a seed of ours, and so does a download of ours.
fn find_samara(over: Over, family: Family, clients: &[Client]) {
    let scene = scene(over, family);
    let _seed = scene.seed_at(&family.at(2, 6881));
    let (into, get) = scene.get_at(&family.at(3, 6881), 3, &["--seed", "none"]);
    all_download(&scene, clients);
    get.end().expect_code(0);
    scene.assert_arrived(&into);
}

/// Each of these as a seed is found by each other one.
fn find_each_other(over: Over, family: Family, clients: &[Client]) {
    // In pairs: all of them have one address here, and Transmission takes one peer of an address.
    for (seed, leech) in clients
        .iter()
        .flat_map(|seed| clients.iter().map(move |leech| (*seed, *leech)))
    {
        if seed == leech {
            continue;
        }
        let scene = scene(over, family);
        let _seed = seed.seed(&scene.job(seed.name(), 7101, scene.source().to_owned()));
        scene.until_seeds(1);
        all_download(&scene, &[leech]);
    }
}

#[test]
fn clients_find_samara_over_http() {
    find_samara(Over::Http, Family::V4, &ALL);
}

#[test]
fn clients_find_each_other_over_http() {
    find_each_other(Over::Http, Family::V4, &ALL);
}

#[test]
fn clients_find_samara_over_http_and_ipv6() {
    find_samara(Over::Http, Family::V6, &ALL);
}

#[test]
fn clients_find_each_other_over_http_and_ipv6() {
    find_each_other(Over::Http, Family::V6, &ALL);
}

#[test]
fn clients_find_samara_over_udp() {
    find_samara(Over::Udp, Family::V4, &ALL);
}

#[test]
fn clients_find_each_other_over_udp() {
    find_each_other(Over::Udp, Family::V4, &ALL);
}

/// Without aria2 1.36, which asks UDP trackers over IPv4 only, and Transmission 3, which does not
/// understand such an address of a tracker.
#[test]
fn clients_find_samara_over_udp_and_ipv6() {
    find_samara(Over::Udp, Family::V6, &[Client::Libtorrent]);
}

/// Debian's opentracker answers for the torrents on its list only.
#[test]
fn samara_works_through_opentracker_over_udp() {
    let work = folder();
    let data = write(
        work.path().join("src/by opentracker.bin"),
        noise(3_000_001, 62),
    );
    let torrent = work.path().join("t.torrent");
    let announce = "udp://10.88.0.1:6969/announce";
    let torrent = create(&data, &torrent, announce, &["--format", "v1"]);
    let space = Namespace::new();
    let list = write(work.path().join("list"), info_hash(&torrent) + "\n");
    // It gives up root before it reads that.
    let everybody = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(work.path(), everybody).expect("ours");
    let tracker = Process::start(
        space
            .command("opentracker")
            .args(["-i", "10.88.0.1", "-p", "6969", "-P", "6969"])
            .args(["-d", "/", "-w"])
            .arg(&list),
    );
    let scene = Scene {
        space,
        work,
        data,
        torrent,
        _tracker: Some(tracker),
    };
    let _seed = scene.seed();
    scene.until_seeds(1);
    let ours: Vec<(PathBuf, Process)> = (3..5)
        .map(|host| scene.get(host, &["--seed", "none"]))
        .collect();
    for (into, get) in ours {
        get.end().expect_code(0);
        scene.assert_arrived(&into);
    }
}

fn info_hash(torrent: &Path) -> String {
    let info = run(samara(["--json", "info"]).arg(torrent)).expect_code(0);
    let info = info.event("info").expect("info");
    info["info_hash"].as_str().expect("a hash").to_owned()
}

//! Nothing but a UDP tracker to find each other by (BEP 15): ours for other people's clients, and somebody
//! else's for ours.

use super::super::data::{folder, noise, write};
use super::super::namespace::Namespace;
use super::super::process::{Process, run};
use super::super::swarm::create;
use super::clients::Client;
use super::{Scene, samara};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A tracker of ours that torrents know by its UDP address `at` only.
fn scene(space: Namespace, at: &str) -> Scene {
    let work = folder();
    let data = write(work.path().join("src/by udp.bin"), noise(6_000_001, 61));
    let http = format!("{}:6970", Namespace::address(1));
    let tracker =
        Process::start(&mut space.samara(["--json", "tracker", "--http", &http, "--udp", at]));
    tracker.wait_event("ready");
    let announce = format!("udp://{at}/announce");
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

#[test]
fn clients_find_samara_over_udp() {
    let scene = scene(Namespace::new(), "10.88.0.1:6969");
    let _seed = scene.seed();
    let (into, get) = scene.get(3, &["--seed", "none"]);
    all_download(
        &scene,
        &[Client::Aria2, Client::Transmission, Client::Libtorrent],
    );
    get.end().expect_code(0);
    scene.assert_arrived(&into);
}

#[test]
fn clients_find_each_other_over_udp() {
    let clients = [Client::Aria2, Client::Transmission, Client::Libtorrent];
    // In pairs: all of them have one address here, and Transmission takes one peer of an address.
    for (seed, leech) in clients
        .iter()
        .flat_map(|seed| clients.map(|leech| (*seed, leech)))
    {
        if seed == leech {
            continue;
        }
        let scene = scene(Namespace::new(), "10.88.0.1:6969");
        let _seed = seed.seed(&scene.job(seed.name(), 7101, scene.source().to_owned()));
        scene.until_seeds(1);
        all_download(&scene, &[leech]);
    }
}

/// Without aria2 1.36, which asks UDP trackers over IPv4 only, and Transmission 3, which does not
/// understand such an address of a tracker.
#[test]
fn clients_find_samara_over_udp_and_ipv6() {
    let space = Namespace::new();
    space.add_ipv6();
    let scene = scene(space, "[2001:db8:88::1]:6969");
    let at = |host| format!("[{}]:6881", Namespace::address_v6(host));
    let _seed = scene.seed_at(&at(2));
    let (into, get) = scene.get_at(&at(3), 3, &["--seed", "none"]);
    all_download(&scene, &[Client::Libtorrent]);
    get.end().expect_code(0);
    scene.assert_arrived(&into);
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

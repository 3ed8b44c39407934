//! Transfers that go well.

use crate::harness::{
    Leech, Material, PATIENCE, noise, outcome, request, seed, seed_as, session, until, uploaded,
};
use samara_engine::{Config, SeedGoal};
use samara_node::{Mode, NodeError, Outcome, TorrentEvent};
use samara_proto::metainfo::Version;
use samara_tracker::serve::{ServeConfig, Server};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::time::timeout;

fn tree() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("a/one.bin", noise(1, 300_000)),
        ("a/two.bin", noise(2, 16_384)),
        ("b/empty", Vec::new()),
        ("b/deep/er/tiny", noise(3, 1)),
        ("имя/名前.txt", noise(4, 70_001)),
        ("z", noise(5, 65_536)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_arrives_byte_for_byte_in_every_format() {
    for format in [Version::V1, Version::Hybrid, Version::V2] {
        let material = Material::new(&tree(), format, 32 * 1024);
        let host = session().await;
        let seeding = seed(&host, &material).await;
        let mut leech = Leech::new(&material, &[host.listen_addr()]).await;
        let said = leech.complete().await;
        material.assert_same(leech.dir.path());
        let Some(TorrentEvent::Complete {
            bytes,
            files,
            verified,
            ..
        }) = said.last()
        else {
            panic!("{said:?}")
        };
        assert_eq!(*bytes, material.metainfo.info.total());
        assert_eq!((*files, *verified), (6, "pieces+file"), "{format:?}");
        leech.session.stop().await;
        assert!(matches!(outcome(&leech.torrent).await, Outcome::Stopped));
        let sent = uploaded(&seeding).await;
        assert!(sent >= *bytes, "{sent} of {bytes}");
        host.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_seed_and_four_leeches_serve_each_other() {
    let material = Material::file(24 << 20, 64 * 1024);
    let host = session().await;
    let mut first = request(&material, material.dir.path(), Mode::Seed);
    // A slow uplink, so that it pays to get pieces from each other.
    first.up_limit = Some(12 << 20);
    let seeding = seed_as(&host, first).await;
    let mut peers: Vec<SocketAddr> = vec![host.listen_addr()];
    let mut leeches = Vec::new();
    for _ in 0..4 {
        let leech = Leech::new(&material, &peers).await;
        peers.push(leech.session.listen_addr());
        leeches.push(leech);
    }
    for leech in &mut leeches {
        leech.complete().await;
        material.assert_same(leech.dir.path());
    }
    let sent = uploaded(&seeding).await;
    let from_leeches: u64 = leeches
        .iter()
        .map(|leech| leech.torrent.snapshot().expect("open").uploaded)
        .sum();
    assert!(from_leeches > 0, "the seed sent everything: {sent}");
    for leech in &leeches {
        leech.session.stop().await;
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_finds_its_way_through_a_tracker() {
    let tracker = Server::bind(ServeConfig {
        listen: crate::harness::loopback(),
        ..ServeConfig::default()
    });
    let tracker = tracker.expect("bound");
    let url = format!("http://{}/announce", tracker.local_addr());
    let handle = tracker.handle();
    let serving = tokio::spawn(tracker.run(std::future::pending::<()>()));
    let material = Material::file(3 << 20, 128 * 1024).with_tracker(&url);
    let host = session().await;
    let mut request_to_seed = request(&material, material.dir.path(), Mode::Seed);
    request_to_seed.config = Config {
        seed_goal: SeedGoal::Everyone,
        linger: samara_engine::Duration::from_millis(500),
        ..Config::default()
    };
    let seeding = seed_as(&host, request_to_seed).await;
    let mut leech = Leech::new(&material, &[]).await;
    let said = leech.complete().await;
    assert!(
        said.iter()
            .any(|event| matches!(event, TorrentEvent::TrackerAnswered { .. }))
    );
    material.assert_same(leech.dir.path());
    let hash = material.metainfo.info.info_hash();
    let told = async {
        while handle.swarm(hash).is_none_or(|swarm| swarm.downloaded == 0) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, told)
        .await
        .expect("completed is announced");
    leech.session.stop().await;
    // Everybody who asked has a copy: the seed leaves by itself.
    assert!(matches!(outcome(&seeding).await, Outcome::Stopped));
    let swarm = handle.swarm(hash);
    let swarm = swarm.expect("announced");
    assert_eq!((swarm.downloaded, swarm.had_seed), (1, true));
    assert_eq!((swarm.seeds, swarm.leeches), (0, 0), "both said goodbye");
    let entry = host.scrape(&url, &[hash]).await;
    let counts = entry.expect("scraped")[0].counts.expect("known");
    assert_eq!((counts.complete, counts.downloaded), (0, 1));
    serving.abort();
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_verified_is_not_fetched_again_after_a_kill() {
    let material = Material::file(32 << 20, 256 * 1024);
    let total = material.metainfo.info.total();
    let host = session().await;
    let mut first = request(&material, material.dir.path(), Mode::Seed);
    first.up_limit = Some(10 << 20);
    let seeding = seed_as(&host, first).await;
    let dir = tempfile::TempDir::new().expect("temporary folder");
    let at = host.listen_addr();
    // A runtime of its own that is thrown away in the middle, as a kill would.
    let killed = {
        let mut request = request(&material, dir.path(), Mode::Get);
        request.candidates = vec![at];
        tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Runtime::new().expect("runtime");
            let have = runtime.block_on(async {
                let session = session().await;
                let torrent = session.add(request).await.expect("added");
                let begin = Instant::now();
                while begin.elapsed() < Duration::from_millis(2_600) {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                torrent.snapshot().expect("open").bytes_have
            });
            runtime.shutdown_timeout(Duration::from_millis(200));
            have
        })
        .await
        .expect("no panic")
    };
    assert!(killed > 0 && killed < total, "{killed} of {total}");
    let sent_before = uploaded(&seeding).await;
    let mut request = request(&material, dir.path(), Mode::Get);
    request.candidates = vec![at];
    let mut leech = Leech::with(request, dir).await;
    let have = until(&mut leech.events, |event| match event {
        TorrentEvent::Ready { have, .. } => Some(*have),
        _ => None,
    })
    .await;
    assert!(have > 0, "nothing was recovered of {killed} bytes");
    leech.complete().await;
    material.assert_same(leech.dir.path());
    let fetched = leech.torrent.snapshot().expect("open").downloaded;
    let recovered = u64::from(have) * 256 * 1024;
    assert_eq!(
        fetched + recovered,
        total,
        "verified pieces are not fetched"
    );
    assert!(sent_before > 0);
    leech.session.stop().await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_download_goes_on_and_a_finished_one_starts_at_once() {
    let material = Material::file(8 << 20, 64 * 1024);
    let host = session().await;
    let _seeding = seed(&host, &material).await;
    let dir = tempfile::TempDir::new().expect("temporary folder");
    let again = || {
        let mut request = request(&material, dir.path(), Mode::Get);
        request.candidates = vec![host.listen_addr()];
        request
    };
    let one = session().await;
    let torrent = one.add(again()).await.expect("added");
    until(&mut torrent.events(), |event| {
        matches!(event, TorrentEvent::Complete { .. }).then_some(())
    })
    .await;
    one.stop().await;
    let two = session().await;
    let torrent = two.add(again()).await.expect("added");
    let mut events = torrent.events();
    let mut verified = false;
    let have = until(&mut events, |event| match event {
        TorrentEvent::Verifying { .. } => {
            verified = true;
            None
        }
        TorrentEvent::Ready { have, .. } => Some(*have),
        _ => None,
    })
    .await;
    assert_eq!(have, material.metainfo.info.geometry.pieces());
    assert!(!verified, "nothing had changed");
    two.stop().await;
    material.assert_same(dir.path());
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_on_both_sides() {
    let material = Material::file(2 << 20, 64 * 1024);
    for (up, down) in [(Some(1 << 20), None), (None, Some(1 << 20))] {
        let host = session().await;
        let mut from = request(&material, material.dir.path(), Mode::Seed);
        from.up_limit = up;
        let _seeding = seed_as(&host, from).await;
        let dir = tempfile::TempDir::new().expect("temporary folder");
        let mut to = request(&material, dir.path(), Mode::Get);
        to.down_limit = down;
        to.candidates = vec![host.listen_addr()];
        let begin = Instant::now();
        let mut leech = Leech::with(to, dir).await;
        leech.complete().await;
        let took = begin.elapsed().as_secs_f64();
        assert!((1.5..6.0).contains(&took), "2 MiB at 1 MiB/s in {took} s");
        leech.session.stop().await;
        host.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_stop_nothing_is_left() {
    let material = Material::file(1 << 20, 64 * 1024);
    let alive = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let before = alive();
    let host = session().await;
    let seeding = seed(&host, &material).await;
    let mut leech = Leech::new(&material, &[host.listen_addr()]).await;
    leech.complete().await;
    let again = host
        .add(request(&material, material.dir.path(), Mode::Seed))
        .await;
    assert!(matches!(again, Err(NodeError::AlreadyAdded { .. })));
    let begin = Instant::now();
    tokio::join!(host.stop(), leech.session.stop());
    assert!(begin.elapsed() < Duration::from_secs(4));
    assert!(matches!(outcome(&seeding).await, Outcome::Stopped));
    assert!(
        tokio::net::TcpStream::connect(host.listen_addr())
            .await
            .is_err(),
        "the port is closed"
    );
    let again = host
        .add(request(&material, material.dir.path(), Mode::Seed))
        .await;
    assert!(matches!(again, Err(NodeError::SessionStopped)));
    let gone = async {
        while alive() > before {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, gone).await.expect("tasks are gone");
    let reopened = samara_disk::resume::Journal::open(
        std::sync::Arc::new(material.metainfo.info.clone()),
        leech.dir.path(),
    );
    assert!(reopened.expect("unlocked").1.complete);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_wants_nothing_more_leaves_soon() {
    let material = Material::file(4 << 20, 64 * 1024);
    let host = session().await;
    let _seeding = seed(&host, &material).await;
    let dir = tempfile::TempDir::new().expect("temporary folder");
    let mut request = request(&material, dir.path(), Mode::Get);
    request.config.seed_goal = SeedGoal::None;
    request.candidates = vec![host.listen_addr()];
    let mut leech = Leech::with(request, dir).await;
    leech.complete().await;
    let begin = Instant::now();
    assert!(matches!(outcome(&leech.torrent).await, Outcome::Stopped));
    let took = begin.elapsed();
    assert!(took < Duration::from_millis(1_800), "it took {took:?}");
    leech.session.stop().await;
    host.stop().await;
}

//! What goes wrong on our own side is said in plain words, and what is verified stays.

use crate::harness::{Leech, Material, noise, outcome, request, seed, seed_as, session, until};
use samara_node::{Mode, NodeError, Outcome, Session, SessionConfig, TorrentEvent};
use samara_proto::metainfo::Version;
use std::fs;
use std::io::{Seek, SeekFrom, Write};

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_cannot_be_written() {
    let material = Material::file(1 << 20, 64 * 1024);
    let host = session().await;
    let _seeding = seed(&host, &material).await;
    let dir = tempfile::TempDir::new().expect("temporary folder");
    // A file where the folder should be: refused to root as well.
    let root = dir.path().join("taken");
    fs::write(&root, b"x").expect("written");
    let mut request = request(&material, &root, Mode::Get);
    request.candidates = vec![host.listen_addr()];
    let one = session().await;
    let torrent = one.add(request).await.expect("added");
    let Outcome::Failed(error) = outcome(&torrent).await else {
        panic!("it has to fail")
    };
    let text = error.to_string();
    assert!(text.contains("taken"), "{text}");
    one.stop().await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_in_the_middle() {
    let material = Material::new(
        &[("a", noise(1, 1 << 20)), ("b", noise(2, 1 << 20))],
        Version::V1,
        64 * 1024,
    );
    let host = session().await;
    let mut slow = request(&material, material.dir.path(), Mode::Seed);
    slow.up_limit = Some(1 << 20);
    let _seeding = seed_as(&host, slow).await;
    let mut leech = Leech::new(&material, &[host.listen_addr()]).await;
    until(&mut leech.events, |event| {
        matches!(event, TorrentEvent::PieceVerified { .. }).then_some(())
    })
    .await;
    // Somebody takes the files away and puts folders in their place.
    let top = leech.dir.path().join("material");
    for name in ["a", "b"] {
        fs::remove_file(top.join(name)).expect("removed");
        fs::create_dir(top.join(name)).expect("made");
    }
    let failed = until(&mut leech.events, |event| match event {
        TorrentEvent::Failed(error) => Some(Some(error.to_string())),
        TorrentEvent::Complete { .. } => Some(None),
        _ => None,
    })
    .await;
    let text = failed.expect("files that are gone are not complete");
    assert!(text.contains("material/"), "{text}");
    assert!(matches!(
        outcome(&leech.torrent).await,
        Outcome::Failed(NodeError::Disk(_))
    ));
    leech.session.stop().await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn data_that_are_not_those_of_the_torrent_are_not_seeded() {
    let material = Material::file(1 << 20, 64 * 1024);
    let path = material.dir.path().join("material");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .expect("open");
    file.seek(SeekFrom::Start(300_000)).expect("seek");
    file.write_all(b"!").expect("written");
    drop(file);
    let host = session().await;
    let torrent = host
        .add(request(&material, material.dir.path(), Mode::Seed))
        .await
        .expect("added");
    let Outcome::Mismatch {
        have,
        pieces,
        message,
    } = outcome(&torrent).await
    else {
        panic!("it has to be noticed")
    };
    assert_eq!((have, pieces), (15, 16));
    assert!(message.contains("material"), "{message}");
    fs::remove_file(&path).expect("removed");
    let torrent = host
        .add(request(&material, material.dir.path(), Mode::Seed))
        .await
        .expect("the first has ended");
    let gone = outcome(&torrent).await;
    let Outcome::Mismatch { message, .. } = gone else {
        panic!("{gone:?}")
    };
    assert!(message.contains("missing"), "{message}");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken() {
    let host = session().await;
    let config = SessionConfig {
        listen: host.listen_addr(),
        ..SessionConfig::default()
    };
    let error = Session::start(config).await.expect_err("taken");
    let text = error.to_string();
    let at = host.listen_addr().to_string();
    assert!(text.contains(&at) && text.contains("port 0"), "{text}");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tracker_that_is_down_and_one_that_we_cannot_ask() {
    let mut material = Material::file(1 << 20, 64 * 1024);
    material.metainfo = material.metainfo.with_trackers(vec![
        vec!["udp://127.0.0.1/without-a-port".to_owned()],
        vec!["udp://127.0.0.1:9/announce".to_owned()],
        vec!["http://127.0.0.1:9/announce".to_owned()],
    ]);
    let host = session().await;
    let _seeding = seed(&host, &material).await;
    let mut leech = Leech::new(&material, &[host.listen_addr()]).await;
    let said = leech.complete().await;
    let mut seen = (false, false, false);
    let mut look = |event: &TorrentEvent| match event {
        TorrentEvent::Notice(text) => seen.0 |= text.contains("without-a-port"),
        TorrentEvent::TrackerFailed { url, message, .. } => {
            assert!(message.contains("cannot connect"), "{url}: {message}");
            seen.1 |= url.starts_with("http://");
            seen.2 |= url.starts_with("udp://127.0.0.1:9");
        }
        _ => {}
    };
    said.iter().for_each(&mut look);
    leech.session.stop().await;
    while let Ok(event) = leech.events.try_recv() {
        look(&event);
    }
    assert_eq!(seen, (true, true, true));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_changed_while_we_were_away_is_noticed() {
    let material = Material::file(4 << 20, 64 * 1024);
    let host = session().await;
    let _seeding = seed(&host, &material).await;
    let mut leech = Leech::new(&material, &[host.listen_addr()]).await;
    leech.complete().await;
    leech.session.stop().await;
    let path = leech.dir.path().join("material");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .expect("open");
    file.seek(SeekFrom::Start(1_000_000)).expect("seek");
    file.write_all(b"changed").expect("written");
    drop(file);
    let mut request = request(&material, leech.dir.path(), Mode::Get);
    request.candidates = vec![host.listen_addr()];
    let mut leech = Leech::with(request, leech.dir).await;
    let have = until(&mut leech.events, |event| match event {
        TorrentEvent::Ready { have, .. } => Some(*have),
        _ => None,
    })
    .await;
    assert_eq!(have, 63, "one piece of 64 was hit");
    leech.complete().await;
    material.assert_same(leech.dir.path());
    let fetched = leech.torrent.snapshot().expect("open").downloaded;
    assert_eq!(fetched, 64 * 1024);
    leech.session.stop().await;
    host.stop().await;
}

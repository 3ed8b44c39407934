//! From a magnet link to the torrent.

use crate::harness::{Material, PATIENCE, loopback, noise, seed, session};
use samara_node::NodeError;
use samara_proto::magnet::Magnet;
use samara_proto::metainfo::Version;
use samara_tracker::serve::{ServeConfig, Server};
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread")]
async fn metadata_come_from_a_peer_that_the_link_names() {
    for format in [Version::V1, Version::Hybrid] {
        // 40,000 bytes of hashes: three pieces of metadata.
        let files = [("", noise(1, 32 << 20))];
        let material = Material::new(&files, format, 16 * 1024);
        assert!(material.metainfo.info.raw.len() > 32 * 1024);
        let host = session().await;
        let _seeding = seed(&host, &material).await;
        let mut magnet = Magnet::of(&material.metainfo);
        magnet.peers = vec![host.listen_addr().to_string()];
        let other = session().await;
        let got = timeout(PATIENCE, other.fetch_metadata(&magnet)).await;
        let got = got.expect("in time").expect("fetched");
        assert_eq!(got.info.raw, material.metainfo.info.raw);
        other.stop().await;
        host.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_come_from_a_peer_that_the_tracker_names() {
    let tracker = Server::bind(ServeConfig {
        listen: loopback(),
        ..ServeConfig::default()
    });
    let tracker = tracker.expect("bound");
    let url = format!("http://{}/announce", tracker.local_addr());
    let handle = tracker.handle();
    let serving = tokio::spawn(tracker.run(std::future::pending::<()>()));
    let material = Material::file(1 << 20, 64 * 1024).with_tracker(&url);
    let host = session().await;
    let _seeding = seed(&host, &material).await;
    let other = session().await;
    let magnet = Magnet::of(&material.metainfo);
    let got = timeout(PATIENCE, other.fetch_metadata(&magnet)).await;
    let got = got.expect("in time").expect("fetched");
    assert_eq!(got.info.info_hash(), material.metainfo.info.info_hash());
    assert_eq!(got.trackers, vec![vec![url]]);
    let swarm = handle.swarm(got.info.info_hash()).expect("announced");
    assert_eq!((swarm.seeds, swarm.leeches), (1, 0), "it said goodbye");
    serving.abort();
    other.stop().await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn links_that_lead_nowhere_say_so() {
    let material = Material::new(&[("", noise(2, 300_000))], Version::V2, 64 * 1024);
    let host = session().await;
    let _seeding = seed(&host, &material).await;
    let mut magnet = Magnet::of(&material.metainfo);
    let other = session().await;
    let error = other
        .fetch_metadata(&magnet)
        .await
        .expect_err("nobody to ask");
    assert!(error.to_string().contains("x.pe"), "{error}");
    magnet.peers = vec![host.listen_addr().to_string()];
    let error = timeout(PATIENCE, other.fetch_metadata(&magnet)).await;
    let error = error
        .expect("in time")
        .expect_err("piece layers are missing");
    assert!(
        matches!(&error, NodeError::Metadata(text) if text.contains("v2 only")),
        "{error}"
    );
    other.stop().await;
    host.stop().await;
}

//! What the tests share: data, torrents, sessions, waiting.

use samara_disk::create::{CreateRequest, create};
use samara_engine::{Config, SeedGoal};
use samara_node::{AddTorrent, Mode, Outcome, Session, SessionConfig, Torrent, TorrentEvent};
use samara_proto::metainfo::{Metainfo, Version};
use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

/// A test that takes longer hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes that repeat nowhere, the same for the same seed.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out
}

/// Something to share, in a folder of its own.
pub(crate) struct Material {
    pub(crate) dir: TempDir,
    pub(crate) metainfo: Metainfo,
}

impl Material {
    /// Files by path below the torrent's folder; one with an empty path is a single file torrent.
    pub(crate) fn new(files: &[(&str, Vec<u8>)], format: Version, piece_size: u32) -> Self {
        let dir = TempDir::new().expect("temporary folder");
        let top = dir.path().join("material");
        for (path, bytes) in files {
            let path = if path.is_empty() {
                top.clone()
            } else {
                top.join(path)
            };
            fs::create_dir_all(path.parent().expect("below the folder")).expect("folder");
            fs::write(path, bytes).expect("written");
        }
        let mut request = CreateRequest::new(&top);
        request.format = format;
        request.piece_size = Some(piece_size);
        let created = create(&request, &|_| {}, &AtomicBool::new(false)).expect("created");
        let metainfo = Metainfo::from_bytes(&created.torrent).expect("our own torrent");
        Self { dir, metainfo }
    }

    /// One file of noise.
    pub(crate) fn file(len: usize, piece_size: u32) -> Self {
        Self::new(&[("", noise(len as u64, len))], Version::V1, piece_size)
    }

    pub(crate) fn with_tracker(mut self, url: &str) -> Self {
        self.metainfo = self.metainfo.with_trackers(vec![vec![url.to_owned()]]);
        self
    }

    /// Whether `root` holds the same, byte for byte.
    pub(crate) fn assert_same(&self, root: &Path) {
        let want = tree(self.dir.path());
        let got = tree(root);
        assert_eq!(
            want.keys().collect::<Vec<_>>(),
            got.keys().collect::<Vec<_>>()
        );
        for (path, bytes) in want {
            assert!(got[&path] == bytes, "{} differs", path.display());
        }
    }
}

/// All files below `root` but the journals.
fn tree(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("readable") {
            let path = entry.expect("entry").path();
            if path.ends_with(".samara") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(root).expect("below").to_path_buf();
                files.insert(name, fs::read(&path).expect("readable"));
            }
        }
    }
    files
}

pub(crate) fn loopback() -> SocketAddr {
    SocketAddr::new(IpAddr::from([127, 0, 0, 1]), 0)
}

pub(crate) async fn session() -> Session {
    let config = SessionConfig {
        listen: loopback(),
        hash_threads: 2,
        ..SessionConfig::default()
    };
    Session::start(config).await.expect("started")
}

pub(crate) fn forever() -> Config {
    Config {
        seed_goal: SeedGoal::Forever,
        ..Config::default()
    }
}

/// A request that seeds or gets `material` below `root`, and stays.
pub(crate) fn request(material: &Material, root: &Path, mode: Mode) -> AddTorrent {
    let mut request = AddTorrent::new(material.metainfo.clone(), root, mode);
    request.config = forever();
    request
}

pub(crate) async fn seed(session: &Session, material: &Material) -> Torrent {
    let request = request(material, material.dir.path(), Mode::Seed);
    seed_as(session, request).await
}

/// Seeds, and waits until peers are taken.
pub(crate) async fn seed_as(session: &Session, request: AddTorrent) -> Torrent {
    let torrent = session.add(request).await.expect("added");
    until(&mut torrent.events(), |event| {
        matches!(event, TorrentEvent::Ready { .. }).then_some(())
    })
    .await;
    torrent
}

/// A leech with a session of its own, which knows of `peers`.
pub(crate) struct Leech {
    pub(crate) session: Session,
    pub(crate) dir: TempDir,
    pub(crate) torrent: Torrent,
    pub(crate) events: UnboundedReceiver<TorrentEvent>,
}

impl Leech {
    pub(crate) async fn new(material: &Material, peers: &[SocketAddr]) -> Self {
        let dir = TempDir::new().expect("temporary folder");
        let mut request = request(material, dir.path(), Mode::Get);
        request.candidates = peers.to_vec();
        Self::with(request, dir).await
    }

    pub(crate) async fn with(request: AddTorrent, dir: TempDir) -> Self {
        let session = session().await;
        let torrent = session.add(request).await.expect("added");
        let events = torrent.events();
        Self {
            session,
            dir,
            torrent,
            events,
        }
    }

    /// Waits until everything is here; gives what was said before.
    pub(crate) async fn complete(&mut self) -> Vec<TorrentEvent> {
        let mut said = Vec::new();
        until(&mut self.events, |event| {
            said.push(event.clone());
            matches!(event, TorrentEvent::Complete { .. }).then_some(())
        })
        .await;
        said
    }
}

/// Waits for an event that `wanted` makes something of.
pub(crate) async fn until<T>(
    events: &mut UnboundedReceiver<TorrentEvent>,
    mut wanted: impl FnMut(&TorrentEvent) -> Option<T>,
) -> T {
    let waiting = async {
        loop {
            let event = events.recv().await.expect("the torrent ended early");
            if let Some(found) = wanted(&event) {
                return found;
            }
        }
    };
    timeout(PATIENCE, waiting).await.expect("in time")
}

pub(crate) async fn outcome(torrent: &Torrent) -> Outcome {
    timeout(PATIENCE, torrent.wait()).await.expect("in time")
}

/// Bytes sent so far; numbers for people are at most a quarter of a second old.
pub(crate) async fn uploaded(torrent: &Torrent) -> u64 {
    tokio::time::sleep(Duration::from_millis(400)).await;
    torrent.snapshot().expect("open").uploaded
}

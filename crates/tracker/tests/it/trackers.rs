//! Trackers of this process, and a client to talk to any.

use crate::servers::until;
use samara_proto::tracker::{AnnounceReply, AnnounceRequest, Event};
use samara_proto::{InfoHash, PeerId};
use samara_tracker::serve::{Handle, ServeConfig, Server, SharedStats, TrustIp};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::OnceLock;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().expect("a runtime"))
}

/// Settings of a tracker that shares its swarms.
pub fn config(listen: &str, store: &str) -> ServeConfig {
    ServeConfig {
        listen: listen.parse().expect("an address"),
        shared: Some(store.parse().expect("a store")),
        trust_ip: TrustIp::Always,
        ..ServeConfig::default()
    }
}

/// A tracker in this process.
pub struct Tracker {
    pub addr: SocketAddr,
    pub handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<()>>,
}

impl Tracker {
    pub fn start(store: &str) -> Self {
        let _inside = runtime().enter();
        let server = Server::bind(config("127.0.0.1:0", store)).expect("binds");
        let (stop, stopped) = oneshot::channel();
        Self {
            addr: server.local_addr(),
            handle: server.handle(),
            stop: Some(stop),
            task: Some(runtime().spawn(server.run(async {
                let _ = stopped.await;
            }))),
        }
    }

    /// Some that share a store and have heard of it.
    pub fn several(count: usize, store: &str) -> Vec<Self> {
        let all: Vec<Self> = (0..count).map(|_| Self::start(store)).collect();
        all.iter().for_each(Self::wait_for_store);
        all
    }

    #[track_caller]
    pub fn wait_for_store(&self) {
        until("the store is there, and read", || {
            let stats = self.shared();
            !stats.alone && stats.loaded
        });
    }

    pub fn shared(&self) -> SharedStats {
        self.handle.shared_stats().expect("it shares")
    }

    /// Seeds, leeches and downloads of a swarm.
    pub fn counts(&self, swarm: InfoHash) -> (u32, u32, u32) {
        let stats = self.handle.swarm(swarm).unwrap_or_default();
        (stats.seeds, stats.leeches, stats.downloaded)
    }

    #[track_caller]
    pub fn announce(&self, swarm: InfoHash, who: u32, event: Event, left: u64) -> AnnounceReply {
        announce(self.addr, swarm, who, event, left).expect("answered")
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(task) = self.task.take() {
            let _ = runtime().block_on(task);
        }
    }
}

/// The address of a peer.
pub fn peer(who: u32) -> SocketAddr {
    SocketAddr::from((IpAddr::from((0x3200_0000 + who).to_be_bytes()), 6_881))
}

/// Announces over HTTP.
pub fn announce(
    tracker: SocketAddr,
    swarm: InfoHash,
    who: u32,
    event: Event,
    left: u64,
) -> Option<AnnounceReply> {
    let peer = peer(who);
    let mut request = AnnounceRequest::new(swarm, PeerId([b'x'; 20]), peer.port());
    request.event = event;
    request.left = Some(left);
    request.downloaded = 1;
    request.ip = Some(peer.ip());
    let query = request.to_query();
    let body = get(
        tracker,
        &format!("/announce?{}", query.trim_start_matches('?')),
    )?;
    AnnounceReply::decode(&body).ok()
}

/// The body of a page.
pub fn get(tracker: SocketAddr, target: &str) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(tracker).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .ok()?;
    let request = format!("GET {target} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let head = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some(answer.split_off(head + 4))
}

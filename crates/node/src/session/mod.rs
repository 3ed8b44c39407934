//! A session: one peer port, the threads and limits that torrents share, and the torrents.

mod accept;
#[cfg(target_os = "linux")]
mod pacing;
mod places;
pub(crate) mod shake;
pub(crate) mod socket;
mod uplink;

pub use places::PeerLimits;
pub(crate) use places::{Member, Place, Places};
pub(crate) use shake::Shaken;
pub(crate) use uplink::Uplink;

use crate::clock::Clock;
use crate::error::NodeError;
use crate::limits::Bucket;
use crate::metadata;
use crate::peer::Buffers;
use crate::torrent::{self, AddTorrent, Shared, Torrent};
use crate::tracker::{self, Http, ScrapeEntry, Udp};
use crate::workers::Workers;
use samara_proto::magnet::Magnet;
use samara_proto::metainfo::{Info, Metainfo};
use samara_proto::{InfoHash, PeerId};
use shake::Ours;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::timeout;

/// How we call ourselves (BEP 20): two letters, four digits of the version.
const PEER_ID_PREFIX: &[u8; 8] = b"-Sa0100-";
/// Longest time that leaving may take, all torrents together. The engine gives trackers 3 s; the rest is
/// for the last commit of the journals.
const STOP_TIMEOUT: Duration = Duration::from_millis(3_800);

/// Settings of a session.
#[derive(Clone, Copy, Debug)]
pub struct SessionConfig {
    /// Where to listen for peers. Port 0: any free one. A particular address: connections are made
    /// from it, too.
    pub listen: SocketAddr,
    /// Bytes a second to send at most, all torrents together.
    pub up_limit: Option<u64>,
    /// Bytes a second to receive at most, all torrents together.
    pub down_limit: Option<u64>,
    /// Threads that check pieces and files; 0: as many as there are cores.
    pub hash_threads: usize,
    /// Connections to peers, all torrents together.
    pub limits: PeerLimits,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            up_limit: None,
            down_limit: None,
            hash_threads: 0,
            limits: PeerLimits::default(),
        }
    }
}

/// What all parts of a session share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) listen: SocketAddr,
    pub(crate) peer_id: PeerId,
    pub(crate) key: u32,
    pub(crate) clock: Clock,
    /// What connections read into.
    pub(crate) buffers: Arc<Buffers>,
    pub(crate) workers: Arc<Workers>,
    pub(crate) hash_threads: usize,
    pub(crate) http: Arc<Http>,
    pub(crate) udp: Arc<Udp>,
    pub(crate) up: Option<Arc<Bucket>>,
    pub(crate) uplink: Arc<Uplink>,
    looking: AbortHandle,
    pub(crate) down: Option<Arc<Bucket>>,
    pub(crate) places: Arc<Places>,
    /// By every info-hash under which peers may ask.
    torrents: Mutex<BTreeMap<InfoHash, Arc<Shared>>>,
    accepting: Mutex<Option<AbortHandle>>,
    stopped: AtomicBool,
}

impl Inner {
    fn torrents(&self) -> MutexGuard<'_, BTreeMap<InfoHash, Arc<Shared>>> {
        self.torrents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The torrent that takes peers under this info-hash.
    fn torrent(&self, hash: InfoHash) -> Option<Arc<Shared>> {
        let torrents = self.torrents();
        let torrent = torrents.get(&hash)?;
        let live = torrent.live.load(Ordering::Relaxed);
        live.then(|| Arc::clone(torrent))
    }

    /// What we say of ourselves to who asks for this info-hash.
    fn ours(&self, hash: InfoHash) -> Option<Ours> {
        let torrent = self.torrent(hash)?;
        Some(Ours {
            peer_id: self.peer_id,
            v2: torrent.info.hash_v2.is_some(),
        })
    }

    /// A torrent has ended.
    pub(crate) fn forget(&self, info: &Info) {
        let mut torrents = self.torrents();
        let hash = info.info_hash();
        let Some(gone) = torrents.get(&hash).cloned() else {
            return;
        };
        torrents.retain(|_, torrent| !Arc::ptr_eq(torrent, &gone));
    }

    fn stop_accepting(&self) {
        let accepting = self.accepting.lock();
        let accepting = accepting.unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = accepting {
            task.abort();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop_accepting();
        self.looking.abort();
        for torrent in self.torrents().values() {
            torrent.abort();
        }
    }
}

/// A running session. Clones are the same session; when the last one is dropped everything ends at
/// once, without a goodbye. Needs a tokio runtime with time and network.
#[derive(Clone, Debug)]
pub struct Session(Arc<Inner>);

impl Session {
    /// Opens the peer port and starts the threads.
    ///
    /// # Errors
    /// [`NodeError::Listen`] if the port cannot be opened; the text says what to do.
    pub async fn start(config: SessionConfig) -> Result<Self, NodeError> {
        let failed = |source| NodeError::Listen {
            addr: config.listen,
            source: Arc::new(source),
        };
        let listener = socket::listen(config.listen).map_err(failed)?;
        let listen = listener.local_addr().map_err(failed)?;
        let workers = Workers::start(config.hash_threads)
            .map_err(|error| NodeError::Internal(format!("cannot start threads: {error}")))?;
        let bucket = |rate: Option<u64>| rate.map(|rate| Arc::new(Bucket::new(rate)));
        let (clock, uplink) = (Clock::start(), Arc::new(Uplink::new()));
        let looking = tokio::spawn(Uplink::look_after(Arc::clone(&uplink), clock));
        let inner = Arc::new(Inner {
            listen,
            peer_id: new_peer_id(),
            key: crate::entropy() as u32,
            clock,
            buffers: Arc::default(),
            workers: Arc::new(workers),
            hash_threads: config.hash_threads,
            http: Arc::new(Http::new(listen.ip())),
            udp: Arc::new(Udp::new(listen.ip(), Default::default())),
            up: bucket(config.up_limit),
            looking: looking.abort_handle(),
            uplink,
            down: bucket(config.down_limit),
            places: Places::new(config.limits),
            torrents: Mutex::default(),
            accepting: Mutex::default(),
            stopped: AtomicBool::new(false),
        });
        let accepting = tokio::spawn(accept::run(listener, config.limits, Arc::downgrade(&inner)));
        *inner
            .accepting
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(accepting.abort_handle());
        tracing::info!(%listen, "listening for peers");
        Ok(Self(inner))
    }

    /// Where peers reach us.
    #[must_use]
    pub fn listen_addr(&self) -> SocketAddr {
        self.0.listen
    }

    /// Adds a torrent. Returns at once: opening its files and checking them are told as events.
    ///
    /// # Errors
    /// [`NodeError::AlreadyAdded`], or [`NodeError::SessionStopped`].
    pub async fn add(&self, request: AddTorrent) -> Result<Torrent, NodeError> {
        if self.0.stopped.load(Ordering::Relaxed) {
            return Err(NodeError::SessionStopped);
        }
        let info = request.metainfo.info.clone();
        let mut torrents = self.0.torrents();
        if info.info_hashes().any(|hash| torrents.contains_key(&hash)) {
            return Err(NodeError::AlreadyAdded { name: info.name });
        }
        let shared = torrent::start(request, &self.0);
        for hash in info.names_in_swarms() {
            torrents.insert(hash, Arc::clone(&shared));
        }
        Ok(Torrent(shared))
    }

    /// Fetches a .torrent file over HTTP.
    ///
    /// # Errors
    /// Where and how it failed.
    pub async fn fetch_torrent(&self, url: &str) -> Result<Vec<u8>, NodeError> {
        tracker::fetch_torrent(&self.0.http, url).await
    }

    /// Fetches what a magnet link names, from the peers that its trackers and the link itself know.
    ///
    /// # Errors
    /// [`NodeError::Metadata`] if nobody gives it within three minutes or the link cannot be followed,
    /// [`NodeError::BadTorrent`] if it is no torrent that can be used.
    pub async fn fetch_metadata(&self, magnet: &Magnet) -> Result<Metainfo, NodeError> {
        metadata::fetch(&self.0, magnet).await
    }

    /// Asks a tracker for the counts of swarms.
    ///
    /// # Errors
    /// Where and how it failed.
    pub async fn scrape(
        &self,
        tracker_url: &str,
        hashes: &[InfoHash],
    ) -> Result<Vec<ScrapeEntry>, NodeError> {
        tracker::scrape(&self.0.http, &self.0.udp, tracker_url, hashes).await
    }

    /// All torrents leave politely, and the port is closed. Takes about 4 s at most.
    pub async fn stop(&self) {
        self.0.stopped.store(true, Ordering::Relaxed);
        self.0.stop_accepting();
        let torrents: Vec<Torrent> = self.0.torrents().values().cloned().map(Torrent).collect();
        for torrent in &torrents {
            torrent.begin_stop();
        }
        let leaving = async {
            for torrent in &torrents {
                torrent.wait().await;
            }
        };
        if timeout(STOP_TIMEOUT, leaving).await.is_err() {
            tracing::warn!("not everything has ended in time");
        }
        for torrent in &torrents {
            torrent.0.abort();
        }
        self.0.looking.abort();
        self.0.torrents().clear();
    }
}

fn new_peer_id() -> PeerId {
    let mut id = [0; 20];
    let (prefix, random) = id.split_at_mut(PEER_ID_PREFIX.len());
    prefix.copy_from_slice(PEER_ID_PREFIX);
    for chunk in random.chunks_mut(8) {
        let bytes = crate::entropy().to_be_bytes();
        chunk.copy_from_slice(&bytes[..chunk.len()]);
    }
    PeerId(id)
}

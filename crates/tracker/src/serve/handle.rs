//! What the server's connections and its owner share.

use super::access::Access;
use super::config::{FileError, ServeConfig, ServeError};
use super::http::Tls;
use super::keys::{self, Keys};
use super::live::{Live, LiveCell, Seen};
use super::load::Load;
use super::shards::Shards;
use super::shared::{self, SharedStats};
use super::udp::{Board, UdpStats};
use crate::guard::{Guard, GuardStats};
use crate::swarm::{Stats, SwarmStats};
use bytes::Bytes;
use samara_proto::InfoHash;
use samara_proto::tracker::{Refusal, RetryIn, percent_encode};
use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Most files that a server holds besides the tracker's own pages.
pub const MAX_FILES: usize = 1_024;

/// What the clock shows when the server is made: what was saved by an earlier one lies before that,
/// and a store knows no time before 0. More than the longest time that anything is kept.
const HEAD_START: Duration = Duration::from_secs(10 * 86_400);

/// Paths at which the tracker itself answers.
const RESERVED: [&str; 7] = [
    "/",
    "/announce",
    "/scrape",
    "/health",
    "/ready",
    "/metrics",
    "/stats.json",
];

/// A file that the server gives to whoever asks: a `.torrent`, say.
#[derive(Clone, Debug)]
pub(super) struct File {
    pub(super) bytes: Bytes,
    pub(super) content_type: String,
}

/// A swarm that its owner has named.
#[derive(Clone, Debug)]
pub(super) struct Named {
    pub(super) info_hash: InfoHash,
    pub(super) name: String,
    pub(super) stats: SwarmStats,
}

/// A running server, seen by its owner. Cheap to clone; works before, while and after the server
/// runs.
#[derive(Clone, Debug)]
pub struct Handle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    store: Shards,
    files: Mutex<BTreeMap<String, File>>,
    names: Mutex<BTreeMap<InfoHash, String>>,
    boards: Mutex<Vec<Arc<Board>>>,
    guard: Guard,
    live: LiveCell,
    /// Announces a second, and by how much intervals are stretched for them.
    rate: AtomicU64,
    stretch: AtomicU64,
    /// The certificate of HTTPS, if that is served.
    tls: Option<Tls>,
    access: Mutex<Arc<Access>>,
    /// Whether [`Access`] lets everybody in, so that nobody has to ask it.
    is_open: AtomicBool,
    /// Whether there are keys, so that nobody has to ask for them.
    is_private: AtomicBool,
    ending: AtomicBool,
    /// How sharing goes, where swarms are shared.
    sharing: Option<Arc<shared::Board>>,
    /// Announces that were turned away before the store saw them.
    denied: AtomicU64,
    /// Held by whoever writes the state.
    saving: Mutex<()>,
    start: Instant,
}

impl Handle {
    /// Reads the keys and the certificate that `config` names, if it does.
    pub(super) fn new(config: &ServeConfig) -> Result<Self, ServeError> {
        let seed = config.seed.unwrap_or_else(random);
        let keys = config.keys.as_deref().map(|path| Keys::read(path, None));
        let keys = keys.transpose()?;
        let tls = config.https.as_ref().map(|(_, files)| Tls::new(files));
        let tls = tls.transpose()?;
        Ok(Self(Arc::new(Shared {
            store: Shards::new(&config.policy, seed),
            files: Mutex::default(),
            names: Mutex::default(),
            boards: Mutex::default(),
            guard: Guard::new(&config.limits, random()),
            live: LiveCell::new(Live::new(config, keys)),
            rate: AtomicU64::new(0),
            stretch: AtomicU64::new(100),
            tls,
            access: Mutex::default(),
            is_open: AtomicBool::new(true),
            is_private: AtomicBool::new(config.keys.is_some()),
            ending: AtomicBool::new(false),
            sharing: config
                .shared
                .is_some()
                .then(|| Arc::new(shared::Board::new())),
            denied: AtomicU64::new(0),
            saving: Mutex::default(),
            start: Instant::now(),
        })))
    }

    /// Makes a swarm known: it is shown by name on the status page, never evicted, served even
    /// where only registered swarms are, and with its `size` in bytes (padding left out) the seed
    /// rule needs no guesses. A hybrid torrent has two info-hashes to register.
    pub fn register(&self, info_hash: InfoHash, name: &str, size: Option<u64>) {
        self.store().register(self.now(), info_hash, size);
        lock(&self.0.names).insert(info_hash, name.to_owned());
    }

    /// Serves `bytes` at `path` (`/name.torrent`; not percent-encoded), in place of what was there.
    /// What comes back is the path as it must stand in a URL.
    pub fn add_file(
        &self,
        path: &str,
        bytes: impl Into<Bytes>,
        content_type: &str,
    ) -> Result<String, FileError> {
        let path = format!("/{}", path.trim_start_matches('/'));
        if RESERVED.contains(&path.as_str()) {
            return Err(FileError::Reserved);
        }
        let mut url = String::new();
        for part in path.split_inclusive('/') {
            percent_encode(part.trim_end_matches('/').as_bytes(), &mut url);
            if part.ends_with('/') {
                url.push('/');
            }
        }
        let mut files = lock(&self.0.files);
        if files.len() >= MAX_FILES && !files.contains_key(&path) {
            return Err(FileError::TooMany);
        }
        let file = File {
            bytes: bytes.into(),
            content_type: content_type.to_owned(),
        };
        files.insert(path, file);
        Ok(url)
    }

    /// Serves nothing at `path` any more; whether there was something.
    pub fn remove_file(&self, path: &str) -> bool {
        let path = format!("/{}", path.trim_start_matches('/'));
        lock(&self.0.files).remove(&path).is_some()
    }

    /// From now on, serves the swarms that `access` lets in and no others. Those that were served
    /// before and are not any more fade away.
    pub fn set_access(&self, access: Access) {
        let is_open = access.is_open();
        *lock(&self.0.access) = Arc::new(access);
        self.0.is_open.store(is_open, Ordering::Release);
    }

    /// Whether a swarm may be announced to.
    pub(super) fn admits(&self, info_hash: &InfoHash) -> Result<(), Refusal> {
        if self.admits_quietly(info_hash) {
            return Ok(());
        }
        self.0.denied.fetch_add(1, Ordering::Relaxed);
        Err(Refusal {
            reason: "this tracker does not serve this torrent".into(),
            retry_in: Some(RetryIn::Never),
        })
    }

    /// The same, and nobody is told.
    pub(super) fn admits_quietly(&self, info_hash: &InfoHash) -> bool {
        self.0.is_open.load(Ordering::Acquire)
            || Arc::clone(&lock(&self.0.access)).admits(info_hash)
    }

    /// Whether the tracker may be used with the address that a client has, where only some may: for UDP,
    /// which has the path only in an option (BEP 41), and in scrapes not at all.
    pub(super) fn admits_path(&self, url_data: impl FnOnce() -> Vec<u8>) -> Result<(), Refusal> {
        if !self.0.is_private.load(Ordering::Acquire) {
            return Ok(());
        }
        let url_data = url_data();
        let path = std::str::from_utf8(&url_data).unwrap_or_default();
        let path = path.split('?').next().unwrap_or_default();
        self.see().live.admit(keys::split(path).0)
    }

    /// Whether it answers, knows what others know, and does not end.
    pub(super) fn is_ready(&self) -> bool {
        let sharing = self.0.sharing.as_ref();
        !self.0.ending.load(Ordering::Relaxed) && sharing.is_none_or(|board| board.is_ready())
    }

    /// Begins to share the swarms, if there is where.
    pub(super) fn share(&self, config: &ServeConfig) -> io::Result<Option<shared::Running>> {
        let place = config.shared.as_ref().zip(self.0.sharing.as_ref());
        place
            .map(|(address, board)| shared::start(address, config, self, board))
            .transpose()
    }

    /// How sharing the swarms with other trackers goes; `None` where they are not shared.
    #[must_use]
    pub fn shared_stats(&self) -> Option<SharedStats> {
        self.0.sharing.as_ref().map(|board| board.stats())
    }

    pub(super) fn set_ending(&self) {
        self.0.ending.store(true, Ordering::Relaxed);
    }

    /// One swarm in numbers; `None` if it is neither registered nor announced to.
    #[must_use]
    pub fn swarm(&self, info_hash: InfoHash) -> Option<SwarmStats> {
        self.store().swarm(info_hash)
    }

    /// The whole tracker in numbers.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let stats = self.store().stats();
        Stats {
            refusals: stats.refusals + self.0.denied.load(Ordering::Relaxed),
            ..stats
        }
    }

    /// Time since the server was made.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.0.start.elapsed()
    }

    /// The store's clock: milliseconds since [`HEAD_START`] before the server was made.
    pub(super) fn now(&self) -> u64 {
        let now = self.uptime() + HEAD_START;
        u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn store(&self) -> &Shards {
        &self.0.store
    }

    /// Goes on with what of `config` may change while the server runs: limits, policy, keys and
    /// certificate (both are read again), whose word is taken, and times. Where it listens, its threads,
    /// connections and state file stay what they were. If a file is wrong, nothing changes.
    pub fn apply(&self, config: &ServeConfig) -> Result<(), ServeError> {
        let before = self.see();
        let read = |path| Keys::read(path, before.live.keys.as_ref());
        let keys = config.keys.as_deref().map(read).transpose()?;
        if let (Some(tls), Some((_, files))) = (&self.0.tls, &config.https) {
            tls.reload(files)?;
        }
        self.0.guard.set_limits(&config.limits);
        self.store().set_config(&config.policy);
        self.0.is_private.store(keys.is_some(), Ordering::Release);
        self.0.live.set(Live::new(config, keys));
        Ok(())
    }

    /// Once a second: looks at how much there is to do, and has clients come less often if it is too much.
    pub(super) fn weigh(&self, load: &mut Load) {
        let wanted = self.see().live.wanted_rate;
        if let Some(percent) = load.second(self.store().stats().announces, wanted) {
            self.store().set_stretch(percent);
            self.0.stretch.store(percent.into(), Ordering::Relaxed);
            if percent > 100 {
                tracing::info!(
                    rate = load.rate(),
                    wanted,
                    percent,
                    "intervals are stretched"
                );
            }
        }
        self.0.rate.store(load.rate(), Ordering::Relaxed);
    }

    /// Announces a second over the last half minute, and how long intervals are for it, in per cent of
    /// what they would be.
    #[must_use]
    pub fn load(&self) -> (u64, u64) {
        let of = |value: &AtomicU64| value.load(Ordering::Relaxed);
        (of(&self.0.rate), of(&self.0.stretch))
    }

    /// The settings in force.
    pub(super) fn see(&self) -> Seen {
        self.0.live.see()
    }

    /// The settings in force, if they are others than those that were seen.
    pub(super) fn refresh(&self, seen: &mut Seen) {
        self.0.live.refresh(seen);
    }

    /// The certificate, where there is HTTPS.
    pub(super) fn tls(&self) -> Option<&Tls> {
        self.0.tls.as_ref()
    }

    /// Who may ask for how much. All servers of this tracker ask it.
    pub(super) fn guard(&self) -> &Guard {
        &self.0.guard
    }

    /// Who was turned away because of a limit.
    #[must_use]
    pub fn guard_stats(&self) -> GuardStats {
        self.0.guard.stats()
    }

    /// A place where one more thread shows its counts.
    pub(super) fn new_board(&self) -> Arc<Board> {
        let board = Arc::<Board>::default();
        lock(&self.0.boards).push(Arc::clone(&board));
        board
    }

    /// The right to write the state, which one has at a time; waits for whoever has it.
    pub(super) fn begin_saving(&self) -> MutexGuard<'_, ()> {
        lock(&self.0.saving)
    }

    /// What came over UDP, and what became of it.
    #[must_use]
    pub fn udp_stats(&self) -> UdpStats {
        let boards = lock(&self.0.boards);
        boards
            .iter()
            .map(|board| board.read())
            .fold(UdpStats::default(), std::ops::Add::add)
    }

    pub(super) fn file(&self, path: &str) -> Option<File> {
        lock(&self.0.files).get(path).cloned()
    }

    pub(super) fn named(&self) -> Vec<Named> {
        let names = lock(&self.0.names).clone();
        let named = names.into_iter().map(|(info_hash, name)| Named {
            info_hash,
            name,
            stats: self.store().swarm(info_hash).unwrap_or_default(),
        });
        named.collect()
    }
}

/// 64 bits that nobody can foresee: the standard library draws them from the system for its maps.
pub(super) fn random() -> u64 {
    RandomState::new().hash_one(0)
}

/// A lock whose holder panicked is taken all the same: a tracker that may have one peer wrong is
/// better than one that answers nobody.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! Several trackers behind one name, which know of each other's peers through Redis or Valkey.
//!
//! Answers come from memory, always. Nobody who announces ever waits for the store: what an announce
//! has changed is noted, and two threads beside the server carry it to and fro.
//!
//! - The *writer* takes the notes every [`FLUSH_EVERY`], publishes them on a channel, and writes them
//!   to the store, a swarm a key, by a script that also sweeps out who is overdue there.
//! - The *listener* hears the channel, its own packets included, and puts what others tell into the
//!   swarms. An own packet that comes back is proof that the whole way works: when none has for
//!   [`ALONE_AFTER`], this tracker is *alone*, answers from what it knows, and says so in its metrics.
//!
//! So every tracker holds every swarm, which costs what the swarms cost (about 35 bytes a peer), and
//! the first answer to a newcomer has the peers of all. `docs/decisions/0008-shared-store.md` has the
//! other ways that were considered.
//!
//! After a start and after any break, a tracker reads the whole store (what it has missed) and tells
//! everything it knows (what the others, or a store that has lost its memory, have missed), both in
//! small steps beside the news. Such hearsay fills gaps, and never undoes what is newer. Nothing in the
//! store stays for ever: peers go when they are overdue, by the store's own clock, and a swarm's key
//! with the last of them.

mod address;
mod link;
mod listener;
mod places;
mod resp;
mod show;
mod wire;
mod writer;

pub use address::{AddressError, SharedAddress};

use super::config::ServeConfig;
use super::handle::Handle;
use listener::Listener;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use writer::Writer;

/// How often news are carried away: long enough that a busy tracker's are many at a time, and far
/// below the two seconds after which a waiting leech asks again.
const FLUSH_EVERY: Duration = Duration::from_millis(50);

/// A packet goes out at least this often, be it empty.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// After so long without one of its own packets a tracker is alone.
const ALONE_AFTER: Duration = Duration::from_secs(2);

/// After so long without any packet the listener takes another connection.
const DEAF_AFTER: Duration = Duration::from_secs(3);

/// For how long a tracker that starts is not ready because it has not read the store yet. A store that
/// is not there must not keep trackers from starting.
const LOAD_LIMIT: Duration = Duration::from_secs(15);

/// News that one of the 256 parts of the swarms keeps while they cannot be carried away: 262,144 in
/// all, 17 MB. What is more is lost, counted, and made good when everything is told again.
const NEWS_A_PART: usize = 1_024;

/// For how many seconds the store remembers that a peer has left: whoever was cut off for less hears
/// of it. After that it believes in the peer until it is overdue, as if it had crashed.
const GONE_LIFE: u32 = 300;

/// What a tracker that shares its swarms has to say of it. Counters count since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SharedStats {
    /// Whether it hears nothing from the store, and answers from its own memory.
    pub alone: bool,
    /// Whether the store has been read since the start.
    pub loaded: bool,
    /// How long the last of its own packets took to come back, in milliseconds.
    pub lag_millis: u64,
    /// News published.
    pub sent: u64,
    /// News heard from others.
    pub received: u64,
    /// News lost because they could not be carried away in time.
    pub lost: u64,
    /// News not written to the store since it could not be reached.
    pub unreached: u64,
    /// News not written since it is full.
    pub full: u64,
    /// News that it refused for other reasons.
    pub refused: u64,
    /// How often the whole store was read.
    pub reads: u64,
    /// How often everything that is known was told.
    pub tells: u64,
}

/// What the threads, and whoever asks how they are, share.
#[derive(Debug)]
pub(super) struct Board {
    start: Instant,
    /// When an own packet last came back, in milliseconds since the start, plus one; 0 for never.
    heard: AtomicU64,
    lag: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
    lost: AtomicU64,
    unreached: AtomicU64,
    full: AtomicU64,
    refused: AtomicU64,
    reads: AtomicU64,
    tells: AtomicU64,
    /// Whether something was missed, so that the store is to be read.
    wants_read: AtomicBool,
    /// Whether a tracker has started, which may not know what is in no store: what one that was killed had
    /// published and not written yet, and the part of a cluster that is away.
    newcomer: AtomicBool,
    /// Whether the listener hears the channel.
    hears: AtomicBool,
    ending: AtomicBool,
    /// The listener's connection, to be ended from elsewhere.
    listening: Mutex<Option<TcpStream>>,
}

impl Board {
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
            heard: AtomicU64::new(0),
            lag: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            unreached: AtomicU64::new(0),
            full: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            tells: AtomicU64::new(0),
            wants_read: AtomicBool::new(false),
            newcomer: AtomicBool::new(false),
            hears: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            listening: Mutex::default(),
        }
    }

    /// Milliseconds since the start.
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    /// An own packet is back.
    fn came_back(&self, sent: u64) {
        let now = self.now();
        self.lag.store(now.saturating_sub(sent), Ordering::Relaxed);
        self.heard.store(now + 1, Ordering::Relaxed);
    }

    fn listen_on(&self, stream: Option<TcpStream>) {
        self.hears.store(stream.is_some(), Ordering::Relaxed);
        let listening = &self.listening;
        *listening.lock().unwrap_or_else(PoisonError::into_inner) = stream;
    }

    /// Whether the store has been read, or is not to be waited for any more.
    pub(super) fn is_ready(&self) -> bool {
        self.reads.load(Ordering::Relaxed) > 0 || self.start.elapsed() > LOAD_LIMIT
    }

    pub(super) fn stats(&self) -> SharedStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let heard = get(&self.heard);
        let silent = self.now().saturating_sub(heard.saturating_sub(1));
        SharedStats {
            alone: heard == 0 || u128::from(silent) > ALONE_AFTER.as_millis(),
            loaded: get(&self.reads) > 0,
            lag_millis: get(&self.lag),
            sent: get(&self.sent),
            received: get(&self.received),
            lost: get(&self.lost),
            unreached: get(&self.unreached),
            full: get(&self.full),
            refused: get(&self.refused),
            reads: get(&self.reads),
            tells: get(&self.tells),
        }
    }
}

fn add(counter: &AtomicU64, n: usize) {
    counter.fetch_add(n as u64, Ordering::Relaxed);
}

/// The two threads. They end when this is dropped; what has been announced by then is told.
#[derive(Debug)]
pub(super) struct Running {
    board: Arc<Board>,
    threads: Vec<JoinHandle<()>>,
}

/// Begins to share the swarms.
pub(super) fn start(
    address: &SharedAddress,
    config: &ServeConfig,
    handle: &Handle,
    board: &Arc<Board>,
) -> io::Result<Running> {
    handle.store().tell(NEWS_A_PART);
    let sender = super::handle::random();
    let mut running = Running {
        board: Arc::clone(board),
        threads: Vec::new(),
    };
    let listener = Listener::new(address.clone(), handle.clone(), Arc::clone(board), sender);
    let most = config.policy.max_peers_per_torrent;
    let writer = Writer::new(
        address.clone(),
        handle.clone(),
        Arc::clone(board),
        sender,
        most,
    );
    let named = |name: &str| thread::Builder::new().name(name.to_owned());
    let threads = &mut running.threads;
    threads.push(named("tracker-hears").spawn(move || listener.run())?);
    threads.push(named("tracker-tells").spawn(move || writer.run())?);
    Ok(running)
}

impl Drop for Running {
    fn drop(&mut self) {
        self.board.ending.store(true, Ordering::Relaxed);
        let listening = &self.board.listening;
        let stream = listening
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(stream) = stream {
            let _ = stream.shutdown(Shutdown::Both);
        }
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::error!("a thread that shares the swarms failed");
            }
        }
    }
}

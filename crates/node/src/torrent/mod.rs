//! One torrent: the handle that users hold, and the task that drives the engine.
//!
//! ```text
//!   open      (a blocking thread)  journal, files, what must be checked again
//!   driver    (the task)           waits for a fact or the deadline, tells the engine, performs its wishes
//!   perform                        one arm for each kind of wish
//!   keeper                         when the journal is written
//!   kept                           payload of pieces that are not whole yet
//!   recording                      what the engine is told, written down for a replay
//!   lookout                        what somebody else does to the files while we run
//!   events                         what users are told
//! ```

mod driver;
mod events;
mod keeper;
mod kept;
mod lookout;
mod open;
mod perform;
mod recording;

pub(crate) use events::Bus;
pub use events::{Outcome, TorrentEvent};

use crate::error::NodeError;
use crate::session::{Inner, Member, Place, Shaken};
use lookout::Rechecked;
use samara_disk::seam::Seam;
use samara_disk::store::Change;
use samara_engine::{Announce, Answer, Input, Snapshot};
use samara_proto::InfoHash;
use samara_proto::metainfo::{Info, Metainfo};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// What a torrent is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Download what is missing, then seed as the configuration says.
    Get,
    /// Seed what is on disk. Nothing is ever written; data that are not whole and right are an error.
    Seed,
}

/// A torrent to be added to a session.
#[derive(Clone, Debug)]
pub struct AddTorrent {
    /// The torrent.
    pub metainfo: Metainfo,
    /// The folder that its top-level file or folder is in.
    pub root: PathBuf,
    /// What to do.
    pub mode: Mode,
    /// How to behave in the swarm.
    pub config: samara_engine::Config,
    /// Addresses of peers that are known from elsewhere.
    pub candidates: Vec<SocketAddr>,
    /// Bytes a second to send at most.
    pub up_limit: Option<u64>,
    /// Bytes a second to receive at most.
    pub down_limit: Option<u64>,
    /// Makes the engine's choices repeatable. Otherwise they grow from the system's entropy.
    pub seed: Option<u64>,
    /// The data were hashed a moment ago: do not check them again.
    pub trust_existing: bool,
    /// For tests of disks that fail: what every call to the disk has to pass.
    pub seam: Seam,
    /// Take the space of all files before the download, so that a full disk is noticed at once. Otherwise
    /// files are sparse and grow as they are written.
    pub preallocate: bool,
    /// Write down what the engine is told into this file, which must not exist yet (`samara_engine::record`). The
    /// torrent never waits for it: what ends a recording early is told as a notice.
    pub record: Option<PathBuf>,
}

impl AddTorrent {
    /// With default settings.
    #[must_use]
    pub fn new(metainfo: Metainfo, root: impl Into<PathBuf>, mode: Mode) -> Self {
        Self {
            metainfo,
            root: root.into(),
            mode,
            config: samara_engine::Config::default(),
            candidates: Vec::new(),
            up_limit: None,
            down_limit: None,
            seed: None,
            trust_existing: false,
            seam: Seam::default(),
            preallocate: false,
            record: None,
        }
    }
}

/// Something that a driver waits for.
#[derive(Debug)]
pub(crate) enum Fact {
    /// The engine is to be told this.
    Say(Input),
    /// Handshakes are done, on a connection that we dialled or took.
    Connected {
        shaken: Shaken,
        /// We dialled it.
        outgoing: bool,
        /// Its place among the connections of the session.
        place: Place,
    },
    /// A tracker was asked.
    Announced {
        words: Announce,
        result: Result<Answer, String>,
    },
    /// A commit of the journal is done.
    Journaled,
    /// The files were looked at.
    Looked(Vec<(u32, Change)>),
    /// Files that had been changed were hashed.
    Rechecked(Rechecked),
}

/// What the handles and the task of a torrent share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) info: Arc<Info>,
    pub(crate) bus: Bus,
    pub(crate) facts: UnboundedSender<Fact>,
    /// Its part of the session's connections.
    pub(crate) member: Member,
    /// Peers are taken: the torrent is open.
    pub(crate) live: AtomicBool,
    /// Stop checking what is on disk.
    pub(crate) cancel: AtomicBool,
    snapshot: Mutex<Option<Snapshot>>,
    outcome: watch::Sender<Option<Outcome>>,
    task: Mutex<Option<AbortHandle>>,
}

impl Shared {
    pub(crate) fn set_snapshot(&self, snapshot: Snapshot) {
        let mut place = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        *place = Some(snapshot);
    }

    /// A peer has come in.
    pub(crate) fn connected(&self, shaken: Shaken, place: Place) {
        let outgoing = false;
        let _ = self.facts.send(Fact::Connected {
            shaken,
            outgoing,
            place,
        });
    }

    fn end(&self, outcome: Outcome) {
        self.live.store(false, Ordering::Relaxed);
        self.member.leave();
        self.outcome.send_replace(Some(outcome));
        self.bus.close();
    }

    /// Ends the task, polite or not.
    pub(crate) fn abort(&self) {
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = task.as_ref() {
            task.abort();
        }
        if self.outcome.borrow().is_none() {
            self.end(Outcome::Stopped);
        }
    }
}

/// A handle of a torrent in a session. Clones are the same torrent.
#[derive(Clone, Debug)]
pub struct Torrent(pub(crate) Arc<Shared>);

impl Torrent {
    /// The info-hash under which it is announced.
    #[must_use]
    pub fn info_hash(&self) -> InfoHash {
        self.0.info.info_hash()
    }

    /// What is shared.
    #[must_use]
    pub fn info(&self) -> &Arc<Info> {
        &self.0.info
    }

    /// Numbers for people, at most a quarter of a second old while anything happens; `None` until the
    /// torrent is open.
    #[must_use]
    pub fn snapshot(&self) -> Option<Snapshot> {
        *self
            .0
            .snapshot
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A stream of what happens. The receiver that is made first gets everything from the start. The
    /// stream ends with the torrent.
    #[must_use]
    pub fn events(&self) -> UnboundedReceiver<TorrentEvent> {
        self.0.bus.listen()
    }

    /// Tells the torrent of peers that are known from elsewhere.
    pub fn add_candidates(&self, addrs: Vec<SocketAddr>) {
        let _ = self.0.facts.send(Fact::Say(Input::Candidates(addrs)));
    }

    /// Leaves the swarm politely: trackers are told, what was verified is in the journal. Takes about
    /// 3 s at most.
    pub async fn stop(&self) {
        self.begin_stop();
        self.wait().await;
    }

    pub(crate) fn begin_stop(&self) {
        self.0.cancel.store(true, Ordering::Relaxed);
        let _ = self.0.facts.send(Fact::Say(Input::Stop));
    }

    /// Waits until it has ended, and says how.
    pub async fn wait(&self) -> Outcome {
        let mut outcome = self.0.outcome.subscribe();
        let ended = outcome.wait_for(Option::is_some).await;
        let gone = || NodeError::Internal("the torrent's task is gone".to_owned());
        ended
            .ok()
            .and_then(|outcome| outcome.clone())
            .unwrap_or_else(|| Outcome::Failed(gone()))
    }
}

/// Starts the task of a torrent. What it needs of the session it gets here.
pub(crate) fn start(request: AddTorrent, session: &Arc<Inner>) -> Arc<Shared> {
    let (facts, inbox) = unbounded_channel();
    let shared = Arc::new(Shared {
        info: Arc::new(request.metainfo.info.clone()),
        bus: Bus::default(),
        member: session.places.join(Some(facts.clone())),
        facts,
        live: AtomicBool::new(false),
        cancel: AtomicBool::new(false),
        snapshot: Mutex::default(),
        outcome: watch::Sender::new(None),
        task: Mutex::default(),
    });
    let weak = Arc::downgrade(session);
    let setting = driver::Setting::new(&request, session, Arc::clone(&shared));
    let task = tokio::spawn(live(request, setting, inbox, weak));
    *shared.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task.abort_handle());
    shared
}

/// The life of a torrent: open, take part, leave.
async fn live(
    request: AddTorrent,
    setting: driver::Setting,
    inbox: UnboundedReceiver<Fact>,
    session: Weak<Inner>,
) {
    let shared = Arc::clone(&setting.shared);
    let opening = open::Opening {
        info: Arc::clone(&shared.info),
        root: request.root.clone(),
        mode: request.mode,
        trust_existing: request.trust_existing,
        preallocate: request.preallocate,
        record: request.record.clone(),
        threads: setting.hash_threads,
        seam: request.seam.clone(),
        shared: Arc::clone(&shared),
    };
    let opened = tokio::task::spawn_blocking(move || open::open(&opening)).await;
    let outcome = match opened {
        Ok(Ok(opened)) => {
            driver::Driver::new(request, setting, opened, inbox)
                .run()
                .await
        }
        Ok(Err(open::Failure::Cancelled)) => Outcome::Stopped,
        Ok(Err(open::Failure::Mismatch(outcome))) => outcome,
        Ok(Err(open::Failure::Error(error))) => {
            shared.bus.say(TorrentEvent::Failed(error.clone()));
            Outcome::Failed(error)
        }
        Err(error) => Outcome::Failed(NodeError::Internal(error.to_string())),
    };
    if let Some(session) = session.upgrade() {
        session.forget(&shared.info);
    }
    shared.end(outcome);
}

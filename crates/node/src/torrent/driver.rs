//! The driver: waits for one fact or the deadline, tells the engine, performs its wishes, repeats.
//! Decides nothing.

use super::keeper::Keeper;
use super::kept::Kept;
use super::lookout::Lookout;
use super::open::Opened;
use super::recording::Recording;
use super::{AddTorrent, Fact, Mode, Outcome, Shared, TorrentEvent};
use crate::clock::Clock;
use crate::error::NodeError;
use crate::limits::{Bucket, Throttle};
use crate::peer::{Batch, Buffers, End, Link, LinkParts, Receiving};
use crate::session::{Inner, Place, Shaken, Uplink};
use crate::tracker::{Announcer, is_supported};
use crate::workers::Workers;
use bytes::Bytes;
use samara_disk::store::Store;
use samara_engine::{FilesOutcome, Input, Instant, Outputs, PeerKey, Seed, Spec};
use samara_proto::wire::Frame;
use samara_proto::{PeerId, Span};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, Sender, UnboundedReceiver, channel};
use tokio::task::JoinSet;
use tokio::time::sleep_until;

/// Batches that wait for the torrent's task, from all peers together; at most 256 KiB each. Beyond this
/// the bytes stay in the sockets.
const BATCHES_MAX: usize = 32;
/// Facts or batches taken in one turn, so that outputs are not held back for long.
const TURN_MAX: usize = 32;
/// How often numbers for people are refreshed.
const SNAPSHOT_EVERY: samara_engine::Duration = samara_engine::Duration::from_millis(250);

/// What a torrent's task gets from its session.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) shared: Arc<Shared>,
    pub(crate) workers: Arc<Workers>,
    pub(crate) hash_threads: usize,
    pub(crate) announcer: Arc<Announcer>,
    /// Hybrids are announced under the info-hash that aria2 computes too (decision 0004).
    pub(crate) alias: Option<Arc<Announcer>>,
    pub(crate) peer_id: PeerId,
    pub(crate) listen: SocketAddr,
    pub(crate) down: Throttle,
    pub(crate) up: Throttle,
    pub(crate) uplink: Arc<Uplink>,
    pub(crate) clock: Clock,
    /// What connections read into.
    pub(crate) buffers: Arc<Buffers>,
}

impl Setting {
    pub(crate) fn new(request: &AddTorrent, session: &Arc<Inner>, shared: Arc<Shared>) -> Self {
        let own = |rate: Option<u64>| rate.map(|rate| Arc::new(Bucket::new(rate)));
        let info = &shared.info;
        let announcer = |info_hash| {
            Arc::new(Announcer {
                http: Arc::clone(&session.http),
                udp: Arc::clone(&session.udp),
                info_hash,
                peer_id: session.peer_id,
                listen: session.listen,
                key: session.key,
                size: Some(info.total()),
                tracker_ids: Mutex::default(),
            })
        };
        Self {
            workers: Arc::clone(&session.workers),
            hash_threads: session.hash_threads,
            announcer: announcer(info.info_hash()),
            alias: info.hash_without_empty_keys().map(announcer),
            peer_id: session.peer_id,
            listen: session.listen,
            down: Throttle::new([session.down.clone(), own(request.down_limit)]),
            up: Throttle::new([session.up.clone(), own(request.up_limit)]),
            uplink: Arc::clone(&session.uplink),
            clock: session.clock,
            buffers: Arc::clone(&session.buffers),
            shared,
        }
    }
}

/// Drives one engine.
#[derive(Debug)]
pub(super) struct Driver {
    engine: samara_engine::Torrent,
    pub(super) setting: Setting,
    pub(super) store: Arc<Store>,
    pub(super) keeper: Keeper,
    pub(super) lookout: Lookout,
    pub(super) mode: Mode,
    /// Addresses of the trackers, by tier.
    pub(super) trackers: Vec<Vec<String>>,
    /// The engine's time in this turn.
    pub(super) now: Instant,
    out: Outputs,
    recording: Option<Recording>,
    /// What follows from performing a wish, told to the engine before anything else.
    pub(super) follow_ups: VecDeque<Input>,
    /// The block that the engine is being told of.
    pub(super) at_hand: Option<(Span, Bytes)>,
    pub(super) kept: Kept,
    /// A block has come since the last snapshot.
    received: bool,
    /// ... or before that, and not much earlier.
    receiving: Option<Receiving>,
    pub(super) links: BTreeMap<PeerKey, Link>,
    /// Peers that this turn has something for.
    pub(super) parcels: Vec<PeerKey>,
    next_key: u32,
    inbox: UnboundedReceiver<Fact>,
    batches: Receiver<Batch>,
    batch_sender: Sender<Batch>,
    /// Dials and announces under way; they end with this task.
    pub(super) errands: JoinSet<()>,
    snapshot_at: Instant,
    /// Something has happened since the last snapshot.
    stale: bool,
    pub(super) began: Instant,
    pub(super) failure: Option<NodeError>,
    pub(super) stopped: bool,
}

impl Driver {
    pub(super) fn new(
        request: AddTorrent,
        setting: Setting,
        opened: Opened,
        inbox: UnboundedReceiver<Fact>,
    ) -> Self {
        let (trackers, skipped) = supported(&request.metainfo.trackers);
        if !skipped.is_empty() {
            let notice = format!(
                "not asked, as they are no http, https or udp address that can be used: {}",
                skipped.join(", ")
            );
            setting.shared.bus.say(TorrentEvent::Notice(notice));
        }
        let info = Arc::clone(&setting.shared.info);
        let ready = TorrentEvent::Ready {
            have: opened.have.count(),
            pieces: opened.have.len(),
        };
        let now = setting.clock.now();
        let spec = Spec {
            info,
            peer_id: setting.peer_id,
            listen_port: setting.listen.port(),
            have: opened.have,
            files_checked: opened.files_checked,
            trackers: trackers.iter().map(Vec::len).collect(),
            candidates: request.candidates,
            seed: Seed(request.seed.unwrap_or_else(crate::entropy)),
        };
        let recording = opened.record.and_then(|file| {
            let recording = Recording::new(file, &spec, &request.config, now);
            recording
                .inspect_err(|error| {
                    let notice = format!("nothing is recorded: cannot start a thread: {error}");
                    setting.shared.bus.say(TorrentEvent::Notice(notice));
                })
                .ok()
        });
        let engine = samara_engine::Torrent::new(spec, Arc::new(request.config), now);
        // In this order: who is told that it is ready may send peers at once.
        setting.shared.live.store(true, Ordering::Relaxed);
        setting.shared.bus.say(ready);
        let (batch_sender, batches) = channel(BATCHES_MAX);
        Self {
            engine,
            keeper: Keeper::new(
                opened.journal,
                opened.files_checked,
                setting.shared.facts.clone(),
            ),
            lookout: Lookout::new(),
            mode: request.mode,
            setting,
            store: opened.store,
            trackers,
            now,
            out: Outputs::new(),
            recording,
            follow_ups: VecDeque::new(),
            at_hand: None,
            kept: Kept::default(),
            received: false,
            receiving: None,
            links: BTreeMap::new(),
            parcels: Vec::new(),
            next_key: 0,
            inbox,
            batches,
            batch_sender,
            errands: JoinSet::new(),
            snapshot_at: now,
            stale: true,
            began: now,
            failure: None,
            stopped: false,
        }
    }

    /// The whole life of the torrent in its swarm.
    pub(super) async fn run(mut self) -> Outcome {
        let (mut facts, mut batches) = (Vec::new(), Vec::new());
        let timer = sleep_until(tokio::time::Instant::now());
        tokio::pin!(timer);
        self.say(Input::Tick);
        while !self.stopped {
            self.end_turn();
            let due = self.due();
            if timer.deadline() != due {
                timer.as_mut().reset(due);
            }
            tokio::select! {
                _ = self.inbox.recv_many(&mut facts, TURN_MAX) => {}
                _ = self.batches.recv_many(&mut batches, TURN_MAX) => {}
                () = &mut timer => {}
            }
            // What else is ready is taken in the same turn, and its outputs leave together.
            take_ready(TURN_MAX, &mut facts, || self.inbox.try_recv().ok());
            take_ready(TURN_MAX, &mut batches, || self.batches.try_recv().ok());
            self.now = self.setting.clock.now();
            self.stale |= !facts.is_empty() || !batches.is_empty();
            for fact in facts.drain(..) {
                self.take_fact(fact);
            }
            for batch in batches.drain(..) {
                self.take_batch(batch);
            }
            if self.engine.deadline().at <= self.now {
                self.say(Input::Tick);
            }
        }
        self.finish().await
    }

    /// Tells the engine one fact and performs what it wants done, until nothing follows. The only place
    /// where the engine is told anything, so it is also where that is written down.
    pub(super) fn say(&mut self, input: Input) {
        let mut next = Some(input);
        while let Some(input) = next {
            let mut out = std::mem::take(&mut self.out);
            if let Some(recording) = &mut self.recording {
                recording.input(self.now, &input);
            }
            self.engine.handle(self.now, input, &mut out);
            for output in out.drain(..) {
                if let Some(recording) = &mut self.recording {
                    recording.output(self.now, &output);
                }
                self.perform(output);
            }
            self.out = out;
            next = self.follow_ups.pop_front();
        }
    }

    fn take_fact(&mut self, fact: Fact) {
        match fact {
            Fact::Say(Input::Served { peer, .. } | Input::ServeFailed { peer, .. })
                if !self.links.contains_key(&peer) => {}
            Fact::Say(Input::Stop) => {
                // Beside the goodbyes to the trackers, not after them.
                self.keeper.commit(&self.store);
                self.say(Input::Stop);
            }
            Fact::Say(input) => {
                if let Input::FilesChecked(FilesOutcome::BadPieces(pieces)) = &input {
                    self.keeper.reject(pieces);
                }
                self.say(input);
            }
            Fact::Connected {
                shaken,
                outgoing,
                place,
            } => self.connect(shaken, outgoing, place),
            Fact::Announced { words, result } => self.announced(words, result),
            Fact::Journaled => self.keeper.committed(&self.setting.shared.bus),
            Fact::Looked(changes) => self.looked(&changes),
            Fact::Rechecked(found) => self.rechecked(found),
        }
    }

    fn take_batch(&mut self, batch: Batch) {
        let peer = batch.peer;
        for frame in batch.frames {
            // The engine may have hung up on what came before.
            if !self.links.contains_key(&peer) {
                return;
            }
            match frame {
                Frame::Message(message) => self.say(Input::Message { peer, message }),
                Frame::Block { span, payload } => {
                    if !std::mem::replace(&mut self.received, true) && self.receiving.is_none() {
                        self.receiving = Some(Receiving::begin(&self.setting.buffers));
                    }
                    self.at_hand = Some((span, payload));
                    self.say(Input::Block { peer, span });
                    self.at_hand = None;
                }
            }
        }
        let Some(end) = batch.end else { return };
        if matches!(end, End::Malformed) && self.links.contains_key(&peer) {
            self.say(Input::Malformed { peer });
        }
        if self.links.remove(&peer).is_some() {
            self.say(Input::PeerDown { peer });
        }
    }

    fn connect(&mut self, shaken: Shaken, outgoing: bool, place: Place) {
        let peer = PeerKey(self.next_key);
        self.next_key += 1;
        let link = Link::open(LinkParts {
            peer,
            stream: shaken.stream,
            pieces: self.setting.shared.info.geometry.pieces(),
            store: Arc::clone(&self.store),
            down: self.setting.down.clone(),
            up: self.setting.up.clone(),
            uplink: Arc::clone(&self.setting.uplink),
            buffers: Arc::clone(&self.setting.buffers),
            batches: self.batch_sender.clone(),
            facts: self.setting.shared.facts.clone(),
            place,
        });
        self.links.insert(peer, link);
        self.say(Input::PeerUp {
            peer,
            addr: shaken.addr,
            outgoing,
            peer_id: shaken.theirs.peer_id,
            reserved: shaken.theirs.reserved,
        });
    }

    /// Parcels leave, errands that are done are let go, numbers are refreshed, the journal is written
    /// when it is time.
    fn end_turn(&mut self) {
        for peer in std::mem::take(&mut self.parcels) {
            let reads = self.links.get_mut(&peer).is_none_or(Link::flush);
            if !reads {
                tracing::debug!(peer = peer.0, "does not read what it is sent");
                self.links.remove(&peer);
                self.say(Input::PeerDown { peer });
            }
        }
        while self.errands.try_join_next().is_some() {}
        if self.snapshot_at <= self.now {
            self.take_snapshot();
        }
        self.keeper.commit_if_due(&self.store);
        self.look_if_due();
        self.recording = self.recording.take().and_then(|recording| {
            let bus = &self.setting.shared.bus;
            recording.pass_on(self.now, |why| bus.say(TorrentEvent::Notice(why)))
        });
    }

    /// Refreshes the numbers for people.
    pub(super) fn take_snapshot(&mut self) {
        let snapshot = self.engine.snapshot(self.now);
        self.setting.shared.set_snapshot(snapshot);
        if !std::mem::take(&mut self.received) {
            self.receiving = None;
        }
        self.setting.workers.relieve(std::time::Instant::now());
        self.snapshot_at = self.now + SNAPSHOT_EVERY;
        self.stale = false;
    }

    /// When to wake up if nothing happens.
    fn due(&self) -> tokio::time::Instant {
        let mut at = self.engine.deadline().at;
        // Rates change by themselves while there are peers; without any, nothing does.
        if self.stale || !self.links.is_empty() {
            at = at.min(self.snapshot_at);
        }
        let due = self.setting.clock.timer(at);
        let look = self.lookout.due(self.links.is_empty());
        let others = [self.keeper.due(), look];
        others.into_iter().flatten().fold(due, Ord::min)
    }

    pub(super) fn has(&self, piece: u32) -> bool {
        self.engine.has(piece)
    }

    pub(super) fn retry_in(&self) -> Duration {
        let at = self.engine.next_announce().unwrap_or(self.now);
        crate::clock::std_duration(at.since(self.now))
    }

    /// After the engine has left: everything is closed, and the journal holds what was verified.
    async fn finish(mut self) -> Outcome {
        let snapshot = self.engine.snapshot(self.now);
        let shared = Arc::clone(&self.setting.shared);
        shared.live.store(false, Ordering::Relaxed);
        self.links.clear();
        self.errands.shutdown().await;
        self.keeper.close(&self.store, &shared.bus).await;
        if let Some(recording) = self.recording.take() {
            let say = |why| shared.bus.say(TorrentEvent::Notice(why));
            recording.finish(say).await;
        }
        shared.set_snapshot(snapshot);
        shared.bus.say(TorrentEvent::Stopped {
            uploaded: snapshot.uploaded,
            downloaded: snapshot.downloaded,
        });
        self.failure.map_or(Outcome::Stopped, Outcome::Failed)
    }
}

fn take_ready<T>(most: usize, into: &mut Vec<T>, mut next: impl FnMut() -> Option<T>) {
    while into.len() < most
        && let Some(item) = next()
    {
        into.push(item);
    }
}

/// The trackers that can be asked, by tier, and those that cannot.
fn supported(tiers: &[Vec<String>]) -> (Vec<Vec<String>>, Vec<String>) {
    let mut skipped = Vec::new();
    let mut kept = Vec::new();
    for tier in tiers {
        let (good, bad): (Vec<_>, Vec<_>) = tier.iter().cloned().partition(|url| is_supported(url));
        skipped.extend(bad);
        if !good.is_empty() {
            kept.push(good);
        }
    }
    (kept, skipped)
}

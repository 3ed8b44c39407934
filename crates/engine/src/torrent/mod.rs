//! The conductor: it hears every fact, asks the rooms, and says what is to be done.
//!
//! The rooms (picker, choker, peer, announce, candidates, blame) do not know each other. What they
//! decide meets here, in one file a subject:
//!
//! | file | subject |
//! | --- | --- |
//! | `peers` | connections: who comes, who goes, whom to dial |
//! | `messages` | what a peer says |
//! | `download` | requests, blocks, pieces, whole files |
//! | `upload` | requests of others, choking |
//! | `uplink` | in what order requests are served |
//! | `parts` | pieces that are passed on before they are whole |
//! | `news` | who is told of a new piece, and when |
//! | `swarm` | trackers, the goal of seeding, leaving |
//! | `status` | deadlines and numbers for people |

#[cfg(any(test, fuzzing))]
mod check;
mod download;
mod messages;
mod news;
mod parts;
mod peers;
mod status;
mod supply;
mod swarm;
mod uplink;
mod upload;

use crate::announce::Announcer;
use crate::blame::Blame;
use crate::candidates::Candidates;
use crate::choker::Choker;
use crate::config::Config;
use crate::fault::{PeerFault, Proof};
use crate::io::{
    Event, FilesOutcome, Goodbye, Input, Output, Outputs, PeerKey, Phase, Spec, TrackerKey,
};
use crate::peer::{Peer, Rate};
use crate::picker::{Limits, Picker};
use crate::reveal::Reveal;
use crate::rng::Rng;
use crate::time::{Duration, Instant};
use core::net::SocketAddr;
use news::News;
use parts::Parts;
use samara_proto::{Geometry, PeerId, Span};
use std::collections::BTreeMap;
use std::sync::Arc;
use uplink::Uplink;

/// How often peers are looked over: silence, snubbing, keep-alives, dials that are due.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// Longest time that leaving may take; a tracker that does not answer by then forgets us by itself.
const LEAVE_MAX: Duration = Duration::from_secs(3);

/// Peers whose names are remembered after they have left, so that a late proof still finds them.
const DEPARTED_MAX: usize = 4096;

/// Payload and what became of it, in bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    uploaded: u64,
    downloaded: u64,
    wasted: u64,
    rejected: u64,
}

/// What trackers say of the swarm.
#[derive(Clone, Copy, Debug, Default)]
struct SwarmCounts {
    seeds: Option<u32>,
    leeches: Option<u32>,
    completed: Option<u32>,
}

/// Who an address was, for bans that come late.
#[derive(Clone, Copy, Debug)]
struct Identity {
    id: PeerId,
    listens: Option<SocketAddr>,
}

/// A goodbye that is under way.
#[derive(Clone, Debug)]
struct Leave {
    partings: Vec<Parting>,
    /// From then on nothing is waited for before a tracker hears that we stop.
    hurry: Instant,
    until: Instant,
}

/// A goodbye to one tracker: `completed` if that is still to be told, and `stopped`, one after the other,
/// since announces on two connections may arrive in any order.
#[derive(Clone, Copy, Debug)]
struct Parting {
    tracker: TrackerKey,
    /// Announces that have not been answered.
    asked: u32,
    completed: bool,
    wait: bool,
    stopped: bool,
}

/// Our side of one torrent. See [`crate::io`] for how to drive it.
#[derive(Debug)]
pub struct Torrent {
    spec: Spec,
    config: Arc<Config>,
    geometry: Geometry,
    phase: Phase,
    begun: bool,
    peers: BTreeMap<PeerKey, Peer>,
    identities: BTreeMap<SocketAddr, Identity>,
    picker: Picker,
    choker: Choker,
    reveal: Reveal,
    candidates: Candidates,
    announcer: Announcer,
    blame: Blame,
    totals: Totals,
    up: Rate,
    down: Rate,
    bytes_have: u64,
    /// Pieces were withdrawn after they had been announced: asking for them is no fault.
    withdrew: bool,
    /// A peer could have been asked for more if memory had allowed.
    short: bool,
    /// Blocks were given up by somebody: others may be asked for them.
    refill: bool,
    next_rechoke: Instant,
    /// When [`Torrent::look_after_supply`] last looked.
    supply_looked_at: Instant,
    next_housekeeping: Instant,
    swarm: SwarmCounts,
    seeding_since: Instant,
    /// Last moment at which somebody we know of lacked something.
    lacking_at: Instant,
    somebody_asked: bool,
    leave: Option<Leave>,
    uplink: Uplink,
    news: News,
    parts: Parts,
    scratch: Vec<Span>,
    /// Checks of files that were overtaken by a loss of pieces: their answers are still to come.
    overtaken: u32,
    /// Trackers were told of the completion, or will be.
    told_complete: bool,
}

impl Torrent {
    /// A torrent that starts now. Say [`Input::Tick`] next.
    #[must_use]
    pub fn new(spec: Spec, config: Arc<Config>, now: Instant) -> Self {
        let geometry = spec.info.geometry.clone();
        let seed = spec.seed;
        let limits = Limits {
            pieces_in_memory: (config.memory / u64::from(geometry.piece_length())) as usize,
            copies: config.endgame_copies as usize,
            random_first: config.random_first,
        };
        let have = spec.have.clone();
        let bytes_have = have
            .iter()
            .map(|piece| u64::from(geometry.data_len(piece)))
            .sum();
        let mut candidates = Candidates::new(Rng::new(seed, "candidates"));
        for addr in &spec.candidates {
            candidates.add(now, *addr);
        }
        let announcer = Announcer::new(&spec.trackers, now, &mut Rng::new(seed, "announce"));
        Self {
            phase: Phase::Downloading,
            begun: false,
            peers: BTreeMap::new(),
            identities: BTreeMap::new(),
            picker: Picker::new(geometry.clone(), have, limits, Rng::new(seed, "picker")),
            choker: Choker::new(&config, Rng::new(seed, "choker")),
            reveal: Reveal::new(
                geometry.clone(),
                config.super_seed && spec.have.is_full() && spec.files_checked,
                &mut Rng::new(seed, "reveal"),
            ),
            candidates,
            announcer,
            blame: Blame::default(),
            totals: Totals::default(),
            up: Rate::default(),
            down: Rate::default(),
            bytes_have,
            withdrew: false,
            short: false,
            refill: false,
            next_rechoke: now,
            supply_looked_at: now,
            next_housekeeping: now,
            swarm: SwarmCounts::default(),
            seeding_since: now,
            lacking_at: now,
            somebody_asked: false,
            leave: None,
            uplink: Uplink::new(),
            news: News::new(),
            parts: Parts::default(),
            scratch: Vec::new(),
            overtaken: 0,
            told_complete: spec.files_checked && spec.have.is_full(),
            spec,
            config,
            geometry,
        }
    }

    /// Tells it one fact; everything that it wants done is appended to `out`, in order.
    pub fn handle(&mut self, now: Instant, input: Input, out: &mut Outputs) {
        if self.phase == Phase::Stopped {
            return;
        }
        let from = out.len();
        if !self.begun {
            self.begin(now, out);
        }
        match input {
            Input::Tick => {}
            Input::PeerUp {
                peer,
                addr,
                outgoing,
                peer_id,
                reserved,
            } => {
                self.on_peer_up(now, peer, (addr, outgoing, peer_id, reserved), out);
            }
            Input::DialFailed { addr } => self.on_dial_failed(now, addr, out),
            Input::PeerDown { peer } => self.on_peer_down(now, peer, out),
            Input::MakeRoom => self.on_make_room(now, out),
            Input::Message { peer, message } => self.on_message(now, peer, message, out),
            Input::Block { peer, span } => self.on_block(now, peer, span, out),
            Input::Malformed { peer } => self.on_fault(now, peer, PeerFault::Malformed, out),
            Input::Served { peer, bytes } => self.on_served(now, peer, bytes, out),
            Input::ServeFailed { peer, span } => self.on_serve_failed(now, peer, span, out),
            Input::PieceDone { piece, outcome } => self.on_piece_done(now, piece, outcome, out),
            Input::PartDone { piece, from, good } => {
                self.on_part_done(now, piece, from, good, out);
            }
            Input::Chained { piece, values } => self.on_chained(now, piece, values, out),
            Input::FilesChecked(outcome) => self.on_files_checked(now, outcome, out),
            Input::PiecesLost(pieces) => self.on_pieces_lost(now, &pieces, out),
            Input::DiskFailed(text) => self.give_up(now, Event::DiskFailed(text), out),
            Input::Announced { tracker, answer } => self.on_announced(now, tracker, answer, out),
            Input::Candidates(addrs) => self.on_candidates(now, &addrs, out),
            Input::Stop => self.start_leaving(now, out),
        }
        if core::mem::take(&mut self.refill) {
            self.fill_all(now, out);
        }
        self.run_timers(now, out);
        self.tell_news(now, from, out);
    }

    fn begin(&mut self, now: Instant, out: &mut Outputs) {
        self.begun = true;
        self.choker.set_least(self.least_slots());
        if !self.picker.have().is_full() {
            return;
        }
        if self.spec.files_checked {
            self.phase = Phase::Seeding;
            self.seeding_since = now;
        } else {
            self.start_checking(out);
        }
    }

    fn run_timers(&mut self, now: Instant, out: &mut Outputs) {
        if self.phase == Phase::Leaving {
            self.run_leave(now, out);
            return;
        }
        if self.next_housekeeping <= now {
            self.next_housekeeping = now + HOUSEKEEPING;
            self.housekeeping(now, out);
        }
        if self.next_rechoke <= now {
            self.rechoke(now, out);
        }
        self.look_after_the_uplink(now, out);
        self.announce_if_due(now, out);
    }

    /// A peer broke a rule: what is done about it is [`PeerFault::sanction`]'s to say.
    fn on_fault(&mut self, now: Instant, key: PeerKey, fault: PeerFault, out: &mut Outputs) {
        use crate::fault::Sanction;
        match fault.sanction() {
            Sanction::Ignore => {}
            Sanction::Disconnect => self.hang_up(now, key, Goodbye::Fault(fault), out),
            Sanction::Ban => {
                if let Some(addr) = self.peers.get(&key).map(|peer| peer.addr) {
                    self.ban(now, addr, (fault, Proof::Itself), out);
                }
            }
        }
    }

    /// It cannot go on. What is verified stays.
    fn give_up(&mut self, now: Instant, event: Event, out: &mut Outputs) {
        if self.phase == Phase::Leaving {
            return; // it was said already, or no longer matters
        }
        out.push(Output::Event(event));
        self.start_leaving(now, out);
    }

    fn on_files_checked(&mut self, now: Instant, outcome: FilesOutcome, out: &mut Outputs) {
        if self.overtaken > 0 {
            self.overtaken -= 1;
            return;
        }
        if self.phase != Phase::Checking {
            return;
        }
        match outcome {
            FilesOutcome::Good => self.on_complete(now, out),
            FilesOutcome::BadPieces(pieces) => self.reopen(now, &pieces, out),
            FilesOutcome::Contradiction(text) => {
                self.give_up(now, Event::Contradiction(text), out);
            }
            FilesOutcome::Disk(text) => self.give_up(now, Event::DiskFailed(text), out),
        }
    }
}

#[cfg(test)]
mod tests;

//! A world in one thread: hosts, a network, a tracker and a clock that jumps from event to event.
//!
//! All randomness grows from the scenario's seed, by streams with a label each, so that a new draw in
//! one room does not reshuffle another. Nothing depends on addresses in memory or on the order of a
//! hash map: the same scenario gives the same run, to the last output.

mod cargo;
mod connections;
mod faults;
mod outputs;
mod profile;
mod queue;

pub use profile::{Idle, Phase, Profile};
pub use queue::Queue;

use crate::checkers::{self, Cast, Checker, HostSums, Ledger, Seen, Stage, Sums, Trace};
use crate::host::{Host, Life, Maker};
use crate::net::{FlowId, NetEvent, NetFact, Network};
use crate::report::{HostReport, Report, SeedBlocks};
use crate::scenario::{Checks, Citizen, Leave, Scenario};
use crate::tracker::Tracker;
pub(crate) use cargo::Cargo;
use connections::End;
use samara_engine::rng::Rng;
use samara_engine::{Duration, Input, Instant, Outputs, Seed, Spec, Torrent};
use samara_proto::metainfo::{Info, Version};
use samara_proto::{Bitfield, Geometry, Sha1, Span};
use std::collections::VecDeque;
use std::sync::Arc;

/// Nobody gets anything for this long, and nothing is to come: the run is over.
const STALLED: Duration = Duration::from_secs(600);

/// Ticks of one host at one moment after which it is said to spin.
const SPINS_MAX: u32 = 1_000;

/// Samples of idleness between the start and the fluid bound.
const SAMPLES: u64 = 200;

/// Most complaints about the driving contract that are written down.
const COMPLAINTS_MAX: usize = 20;

/// Something that is to be told before time goes on.
#[derive(Debug)]
enum Pending {
    /// To a host, in one of its lives.
    Told(u32, u32, Input),
    /// To the one that speaks on this flow: its bytes are with the transport.
    Taken(FlowId, u64),
    /// To the one that listens to this flow.
    Arrived(FlowId, Cargo),
}

/// What may happen.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// A host starts.
    Join(u32),
    /// A host's deadline.
    Tick(u32),
    /// Something in the network.
    Net(NetEvent),
    /// One end of a connection is up: the one that speaks on the flow.
    Up(FlowId),
    /// One end of a connection is gone.
    Down(FlowId),
    /// A dial of a host, in that life, to that host came to nothing.
    Refused(u32, u32, u32),
    /// A disk job of a host, in that life, is done.
    Piece(u32, u32),
    /// Its files are checked.
    Files(u32, u32),
    /// An announce reaches the tracker.
    Ask(u32),
    /// Its answer is back.
    Answer(u32),
    /// The fault with this number.
    Fault(u32),
    /// A bent host does its thing.
    Bend(u32, u32),
    /// A look at who is idle, and why.
    Sample,
}

/// A world.
#[derive(Debug)]
pub struct World {
    scenario: Scenario,
    info: Arc<Info>,
    now: Instant,
    queue: Queue<Event>,
    net: Network<Cargo>,
    hosts: Vec<Host>,
    ends: Vec<End>,
    tracker: Tracker,
    maker: MakerBox,
    rng: Rng,
    stage: Stage,
    checkers: Vec<Box<dyn Checker>>,
    ledger: Option<Ledger>,
    trace: Trace,
    profile: Profile,
    /// Inputs that came out of performing outputs: told one after the other.
    pending: VecDeque<Pending>,
    /// The block whose input is being handled.
    in_hand: Option<(Span, u64)>,
    outs: Outputs,
    later: Vec<(Instant, NetEvent)>,
    facts: Vec<NetFact<Cargo>>,
    contract: Vec<String>,
    /// How many hosts that are here have each piece, seeds that will go left out.
    copies: Vec<u32>,
    pieces_without_copy: u32,
    first_copy: Option<(Instant, u64)>,
    /// Blocks that seeds have sent, and how the sending is to be judged.
    seeded: Bitfield,
    seed_blocks: SeedBlocks,
    /// Leeches that have neither finished nor given up nor left.
    open: usize,
    last_progress: Instant,
    spins: (u32, Instant, u32),
    halted: bool,
}

/// The maker of brains, with a form for debugging.
struct MakerBox(Box<Maker>);

impl core::fmt::Debug for MakerBox {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Maker")
    }
}

/// Runs `scenario` to its end.
#[must_use]
pub fn run(scenario: Scenario) -> Report {
    World::new(scenario).run()
}

impl World {
    /// The world of `scenario`, with the real engine in every host.
    #[must_use]
    pub fn new(scenario: Scenario) -> Self {
        Self::with_brains(
            scenario,
            Box::new(|_, spec, config, now| Box::new(Torrent::new(spec, config, now))),
        )
    }

    /// The same with brains from `maker`: for engines with something wrong in them.
    #[must_use]
    pub fn with_brains(scenario: Scenario, maker: Box<Maker>) -> Self {
        let seed = Seed(scenario.seed);
        let geometry = Geometry::new(scenario.piece_length, scenario.total);
        let geometry = geometry.expect("a scenario has a torrent that can be cut");
        assert!(
            scenario.hosts.len() < crate::host::HOSTS_MAX,
            "too many hosts"
        );
        let pieces = geometry.pieces();
        let info = Arc::new(info(geometry.clone(), scenario.seed));
        let bound = scenario.bound();
        let mut net = Network::new(scenario.net, Rng::new(seed, "net"), bound.divided(SAMPLES));
        let mut ids = Rng::new(seed, "peer ids");
        let hosts: Vec<Host> = (0u32..)
            .zip(&scenario.hosts)
            .map(|(at, spec)| {
                net.add_link(spec.link);
                Host::new(at, spec.clone(), pieces, &scenario.config, &mut ids)
            })
            .collect();
        let stage = Stage {
            geometry,
            hosts: scenario.hosts.iter().map(cast).collect(),
            lacks: scenario.hosts.iter().map(|host| host.lacks).collect(),
            undisturbed: scenario.faults.is_empty() && scenario.net.loss_per_million == 0,
            bound,
        };
        let messages = scenario.checks == Checks::All;
        let store_seed = Rng::new(seed, "tracker").next_u64();
        let total = scenario.total;
        Self {
            now: Instant::ZERO,
            queue: Queue::default(),
            net,
            ends: Vec::new(),
            tracker: Tracker::new(
                scenario.tracker.clone(),
                info.info_hash(),
                total,
                store_seed,
            ),
            maker: MakerBox(maker),
            rng: Rng::new(seed, "world"),
            checkers: checkers::all(&stage, messages),
            ledger: messages.then(|| Ledger::new(&stage)),
            stage,
            trace: Trace::default(),
            profile: Profile::new(bound.divided(SAMPLES)),
            pending: VecDeque::new(),
            in_hand: None,
            outs: Vec::new(),
            later: Vec::new(),
            facts: Vec::new(),
            contract: Vec::new(),
            copies: vec![0; pieces as usize],
            pieces_without_copy: pieces,
            first_copy: None,
            seeded: Bitfield::empty(pieces * blocks_a_piece(&scenario)),
            seed_blocks: SeedBlocks::default(),
            open: scenario.leeches().count(),
            last_progress: Instant::ZERO,
            spins: (0, Instant::ZERO, 0),
            halted: false,
            hosts,
            info,
            scenario,
        }
    }

    /// What checkers are told before the world starts.
    #[must_use]
    pub fn stage(&self) -> &Stage {
        &self.stage
    }

    /// Adds a checker of one's own.
    pub fn watch(&mut self, checker: Box<dyn Checker>) {
        self.checkers.push(checker);
    }

    /// Runs to the end.
    #[must_use]
    pub fn run(mut self) -> Report {
        for (at, host) in (0u32..).zip(&self.scenario.hosts) {
            self.queue.push(host.arrives, Event::Join(at));
            self.last_progress = self.last_progress.max(host.arrives);
        }
        for (at, fault) in (0u32..).zip(&self.scenario.faults) {
            self.queue.push(fault.0, Event::Fault(at));
        }
        self.last_progress = self.last_progress.max(self.scenario.healed);
        if self.ledger.is_some() {
            self.queue
                .push(Instant::ZERO + self.profile.step(), Event::Sample);
        }
        while let Some((at, event)) = self.queue.pop() {
            let stalled = at > self.last_progress + STALLED;
            if at > self.scenario.limit || stalled || self.halted {
                break;
            }
            self.now = at;
            self.happen(event);
            self.settle();
            if self.is_over() {
                break;
            }
        }
        self.report()
    }

    fn is_over(&self) -> bool {
        if self.scenario.until_all_left {
            return self.hosts.iter().all(|host| host.life == Life::Left);
        }
        self.open == 0
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Join(host) => self.join(host),
            Event::Tick(host) => self.tick(host),
            Event::Net(event) => {
                let (mut later, mut facts) = (take(&mut self.later), take(&mut self.facts));
                self.net.handle(self.now, event, &mut later, &mut facts);
                self.network(later, facts);
            }
            Event::Up(flow) => self.up(flow),
            Event::Down(flow) => self.down(flow),
            Event::Refused(host, life, to) => {
                let addr = crate::host::address(to);
                self.pend(host, life, Input::DialFailed { addr });
            }
            Event::Piece(host, life) => self.piece_done(host, life),
            Event::Files(host, life) => {
                let good = samara_engine::FilesOutcome::Good;
                self.pend(host, life, Input::FilesChecked(good));
            }
            Event::Ask(number) => {
                let served = self.tracker.serve(self.now, number);
                let back = match self.tracker.host_of(number) {
                    Some(host) if served => self
                        .tracker
                        .delay(self.hosts[host as usize].spec.link.delay),
                    _ => crate::tracker::TIME_OUT,
                };
                self.queue.push(self.now + back, Event::Answer(number));
            }
            Event::Answer(number) => {
                if let Some(ask) = self.tracker.collect(number) {
                    let input = Input::Announced {
                        tracker: ask.announce.tracker,
                        answer: ask.answer,
                    };
                    self.pend(ask.host, ask.life, input);
                }
            }
            Event::Fault(at) => self.fault(at),
            Event::Bend(host, life) => self.bend(host, life),
            Event::Sample => {
                if let Some(ledger) = &self.ledger {
                    self.profile
                        .sample(self.now, &self.hosts, &self.net, ledger);
                }
                self.queue
                    .push(self.now + self.profile.step(), Event::Sample);
            }
        }
    }

    /// Tells everything that is pending, and what comes of it, until nothing is.
    fn settle(&mut self) {
        while let Some(pending) = self.pending.pop_front() {
            match pending {
                Pending::Told(host, life, input) => {
                    if self.lives(host, life) {
                        self.tell(host, input);
                    }
                }
                Pending::Taken(flow, bytes) => self.taken(flow, bytes),
                Pending::Arrived(flow, cargo) => self.arrived(flow, cargo),
            }
        }
    }

    /// Notes something that is to be told to a host.
    fn pend(&mut self, host: u32, life: u32, input: Input) {
        self.pending.push_back(Pending::Told(host, life, input));
    }

    /// Whether a host is here, and in that life.
    fn lives(&self, host: u32, life: u32) -> bool {
        let at = &self.hosts[host as usize];
        at.life == Life::Here && at.starts == life
    }

    /// Tells a host's engine one fact and performs what it wants.
    fn tell(&mut self, host: u32, input: Input) {
        let now = self.now;
        let at = &mut self.hosts[host as usize];
        let Some(brain) = at.brain.as_mut() else {
            return;
        };
        let mut outs = take(&mut self.outs);
        brain.handle(now, input, &mut outs);
        for output in outs.drain(..) {
            self.trace.note(now, host, &output);
            self.see(&Seen::Wished {
                host,
                output: &output,
            });
            self.perform(host, output);
        }
        self.outs = outs;
        self.arm(host);
    }

    /// Sees to it that the host is ticked when its deadline comes.
    fn arm(&mut self, host: u32) {
        let at = &mut self.hosts[host as usize];
        let (Some(brain), Life::Here) = (&at.brain, at.life) else {
            return;
        };
        let due = brain.deadline().at.max(self.now);
        if due < at.tick {
            at.tick = due;
            self.queue.push(due, Event::Tick(host));
        }
    }

    fn tick(&mut self, host: u32) {
        let at = &mut self.hosts[host as usize];
        if at.life != Life::Here || at.tick != self.now {
            return;
        }
        at.tick = Instant::NEVER;
        let due = at.brain.as_ref().map(|brain| brain.deadline());
        let Some(due) = due.filter(|due| due.at <= self.now) else {
            self.arm(host);
            return;
        };
        self.spins = match self.spins {
            (who, when, times) if who == host && when == self.now => (who, when, times + 1),
            _ => (host, self.now, 0),
        };
        if self.spins.2 > SPINS_MAX {
            self.complain(|| format!("host {host} spins: its deadline {due:?} never passes"));
            self.halted = true;
            return;
        }
        self.tell(host, Input::Tick);
    }

    /// Starts a host, or starts it again with what its journal says.
    fn join(&mut self, host: u32) {
        let now = self.now;
        let at = &mut self.hosts[host as usize];
        if at.life != Life::Away {
            return;
        }
        at.life = Life::Here;
        at.joined = now;
        at.starts += 1;
        at.tick = Instant::NEVER;
        at.peers.clear();
        let have = match at.spec.citizen {
            Citizen::Liar => Bitfield::full(at.journal.len()),
            _ => at.journal.clone(),
        };
        let label = format!("host {host} life {}", at.starts);
        let spec = Spec {
            info: self.info.clone(),
            peer_id: at.peer_id,
            listen_port: at.addr.port(),
            files_checked: at.checked || at.spec.citizen == Citizen::Liar,
            have,
            trackers: vec![1],
            candidates: Vec::new(),
            seed: Seed(Rng::new(Seed(self.scenario.seed), &label).next_u64()),
        };
        at.brain = Some((self.maker.0)(host, spec, at.settings.clone(), now));
        if let Citizen::Flapper(period) = at.spec.citizen {
            self.queue.push(now + period, Event::Bend(host, at.starts));
        }
        let pieces: Vec<u32> = at.journal.iter().collect();
        for piece in pieces {
            self.count_copy(host, piece, true);
        }
        self.see(&Seen::Joined { host });
        self.tell(host, Input::Tick);
    }

    fn piece_done(&mut self, host: u32, life: u32) {
        let at = &mut self.hosts[host as usize];
        if at.life != Life::Here || at.starts != life {
            return;
        }
        let Some(done) = at.disk.done() else {
            return;
        };
        let piece = done.piece;
        if matches!(done.outcome, samara_engine::PieceOutcome::Good(_)) {
            at.pieces_at.push(self.now);
            self.last_progress = self.last_progress.max(self.now);
            self.see(&Seen::Verified { host, piece });
            self.count_copy(host, piece, true);
        }
        let outcome = done.outcome;
        self.pend(host, life, Input::PieceDone { piece, outcome });
        self.leave_after_one_copy();
    }

    /// Keeps count of how many hosts have `piece`, those left out that go when there is a copy without
    /// them.
    fn count_copy(&mut self, host: u32, piece: u32, comes: bool) {
        let spec = &self.hosts[host as usize].spec;
        if spec.seed || spec.citizen == Citizen::Liar {
            return;
        }
        let Some(copies) = self.copies.get_mut(piece as usize) else {
            return;
        };
        if comes {
            self.pieces_without_copy -= u32::from(*copies == 0);
            *copies += 1;
        } else {
            *copies -= 1;
            self.pieces_without_copy += u32::from(*copies == 0);
        }
        if self.pieces_without_copy == 0 && self.first_copy.is_none() {
            let sent = self.sent_by_seeds();
            self.first_copy = Some((self.now, sent));
        }
    }

    /// A seed sends a block: for the first time, again though another host has it, or again because
    /// nobody has the piece yet.
    fn count_seeding(&mut self, span: Span) {
        let block = span.piece * blocks_a_piece(&self.scenario) + span.block();
        let counts = &mut self.seed_blocks;
        if self.seeded.set(block) {
            counts.first += 1;
        } else if self
            .copies
            .get(span.piece as usize)
            .is_some_and(|copies| *copies > 0)
        {
            counts.again_elsewhere += 1;
        } else {
            counts.again_nowhere += 1;
        }
    }

    fn leave_after_one_copy(&mut self) {
        if self.pieces_without_copy > 0 {
            return;
        }
        for at in 0..self.hosts.len() {
            let host = &mut self.hosts[at];
            if host.spec.leaves == Leave::AfterOneCopy && host.life == Life::Here {
                // Said once: it stays for nothing else.
                host.spec.leaves = Leave::Never;
                let life = host.starts;
                self.pend(at as u32, life, Input::Stop);
            }
        }
    }

    fn sent_by_seeds(&self) -> u64 {
        let seeds = (0u32..).zip(&self.hosts).filter(|(_, host)| host.spec.seed);
        seeds.map(|(at, _)| self.net.counts(at).payload_up).sum()
    }

    /// A host is gone, for good or for now.
    fn gone(&mut self, host: u32, life: Life) {
        let at = &mut self.hosts[host as usize];
        if at.life != Life::Here {
            return;
        }
        at.was_here = at.here(self.now);
        at.life = life;
        let pieces: Vec<u32> = at.journal.iter().collect();
        let open: Vec<FlowId> = at.peers.iter().copied().flatten().collect();
        let counts = !at.spec.seed && at.spec.citizen != Citizen::Liar;
        let unfinished = at.finished.is_none() && at.gave_up.is_none();
        if life == Life::Left && counts && unfinished {
            self.open -= 1;
        }
        for flow in open {
            self.hang_up(flow);
        }
        for piece in pieces {
            self.count_copy(host, piece, false);
        }
        self.see(&Seen::Left { host });
    }

    fn network(&mut self, mut later: Vec<(Instant, NetEvent)>, mut facts: Vec<NetFact<Cargo>>) {
        for (at, event) in later.drain(..) {
            self.queue.push(at, Event::Net(event));
        }
        self.later = later;
        let pending = facts.drain(..).map(|fact| match fact {
            NetFact::Taken(flow, bytes) => Pending::Taken(flow, bytes),
            NetFact::Delivered(flow, cargo) => Pending::Arrived(flow, cargo),
        });
        self.pending.extend(pending);
        self.facts = facts;
    }

    fn see(&mut self, seen: &Seen<'_>) {
        for checker in &mut self.checkers {
            checker.see(self.now, seen, self.ledger.as_ref());
        }
        if let Some(ledger) = &mut self.ledger {
            ledger.note(seen);
        }
    }

    fn complain(&mut self, text: impl FnOnce() -> String) {
        if self.contract.len() < COMPLAINTS_MAX {
            let seconds = self.now.as_nanos() as f64 / 1e9;
            self.contract.push(format!("at {seconds:.6} s: {}", text()));
        }
    }

    fn report(mut self) -> Report {
        let leeches: Vec<usize> = self.scenario.leeches().collect();
        let sums = self.sums(&leeches);
        let mut violations: Vec<(String, String)> = Vec::new();
        for text in &self.contract {
            violations.push(("driving contract".into(), text.clone()));
        }
        for checker in &mut self.checkers {
            let name = checker.name();
            let wrong = checker.verdict(&sums);
            violations.extend(wrong.into_iter().map(|text| (name.into(), text)));
        }
        let hosts = self.hosts.iter().zip(&sums.hosts);
        let hosts: Vec<HostReport> = hosts
            .map(|(host, sums)| HostReport {
                spec: host.spec.clone(),
                addr: host.addr,
                finished: host.finished,
                here: host.here(self.now),
                pieces_at: host.pieces_at.clone(),
                sent: sums.served,
                received: sums.received,
                wasted: sums.says.map_or(0, |says| says[2]),
                rejected: sums.says.map_or(0, |says| says[3]),
                held_peak: host.disk.held_peak(),
                banned: host.banned.clone(),
                gave_up: host.gave_up.clone(),
            })
            .collect();
        let meters = (0..hosts.len() as u32).map(|at| self.net.meter(at).to_vec());
        Report {
            meters: meters.collect(),
            bin: self.profile.step(),
            idle: self.profile.clone(),
            trace: self.trace.hash(),
            outputs: self.trace.outputs(),
            events: self.queue.pushed(),
            announces: self.tracker.announces(),
            ended: self.now,
            seed_sent: self.sent_by_seeds(),
            first_copy: self.first_copy,
            seed_blocks: self.seed_blocks,
            bound: self.scenario.bound(),
            violations,
            hosts,
            scenario: self.scenario,
        }
    }

    fn sums(&self, leeches: &[usize]) -> Sums {
        let finished = leeches.iter().map(|&at| self.hosts[at].finished);
        let hosts = (0u32..).zip(&self.hosts).map(|(at, host)| {
            let counts = self.net.counts(at);
            let brain = host.brain.as_ref().filter(|_| host.starts == 1);
            let says = brain.map(|brain| {
                let says = brain.snapshot(self.now);
                [says.uploaded, says.downloaded, says.wasted, says.rejected]
            });
            HostSums {
                served: host.sent,
                received: counts.payload_down,
                says,
                wire_up: counts.wire_up,
                up: host.spec.link.up,
                busy: counts.busy,
            }
        });
        Sums {
            ended: self.now,
            finished: finished.collect(),
            hosts: hosts.collect(),
            lost: self.net.lost_payload(),
            under_way: self.net.payload_under_way(),
        }
    }
}

fn take<T: Default>(from: &mut T) -> T {
    core::mem::take(from)
}

fn blocks_a_piece(scenario: &Scenario) -> u32 {
    scenario.piece_length.div_ceil(samara_proto::BLOCK)
}

/// What is expected of a host.
fn cast(host: &crate::scenario::HostSpec) -> Cast {
    Cast {
        // Nobody expects a liar to fetch what it says it has.
        seed: host.seed || host.citizen == Citizen::Liar,
        honest: host.citizen == Citizen::Honest,
        gives: matches!(host.citizen, Citizen::Honest | Citizen::Flapper(_)),
        rides: host.citizen == Citizen::FreeRider,
        link: host.link,
        arrives: host.arrives,
        dialled: !host.natted,
    }
}

/// A torrent of one file. Its hashes are never computed: the simulated disk knows what is right.
fn info(geometry: Geometry, seed: u64) -> Info {
    let mut hash = [0; 20];
    for (byte, value) in hash.iter_mut().zip(seed.to_be_bytes()) {
        *byte = value;
    }
    hash[19] = 1;
    Info {
        raw: bytes::Bytes::from_static(b"de"),
        version: Version::V1,
        hash_v1: Some(Sha1(hash)),
        hash_v2: None,
        name: "simulated".into(),
        single_file: true,
        symlinks: Vec::new(),
        private: false,
        files: vec![samara_proto::metainfo::File {
            path: vec!["simulated".into()],
            length: geometry.data_total(),
            offset: 0,
            sha1: None,
            root: None,
            layer: Vec::new(),
            executable: false,
        }],
        pieces: bytes::Bytes::from(vec![0; 20 * geometry.pieces() as usize]),
        geometry,
    }
}

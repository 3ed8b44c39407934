//! A torrent in a swarm of peers that say whatever the input makes them say, in any order.
//!
//! The driver here keeps the contract of [`samara_engine::io`] and checks that the engine keeps its side:
//! who is spoken to, what is asked for, what is held, what is served. At the end one honest seed comes,
//! and the download has to finish.

mod hear;
mod wish;

use arbitrary::{Result, Unstructured};
use bytes::Bytes;
use samara_engine::{
    Config, Duration, FilesOutcome, Input, Instant, Outputs, PeerKey, Phase, PieceOutcome, Seed,
    SeedGoal, Spec, Torrent, TrackerKey,
};
use samara_proto::metainfo::{Info, Version};
use samara_proto::wire::{Message, Reserved};
use samara_proto::{BLOCK, Bitfield, Geometry, PeerId, Sha1, Span};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

/// Steps of one history; what follows is not looked at.
const STEPS: usize = 500;

/// Connections of the honest seed are numbered from here.
const HONEST: u32 = 1 << 20;

/// What the driver knows of a connection.
#[derive(Default)]
struct Wire {
    fast: bool,
    /// Hung up on by the engine: nothing more may be said to it.
    closed: bool,
    /// Pieces that it claims, and those that it may be asked for while it chokes.
    claims: BTreeSet<u32>,
    allowed: BTreeSet<u32>,
    /// What it was asked for and has not been told to cancel.
    asked: Vec<Span>,
    /// What it asked for.
    wants: Vec<Span>,
    /// Bytes that are with the transport.
    serving: u64,
}

struct World {
    torrent: Torrent,
    config: Arc<Config>,
    geometry: Geometry,
    now: Instant,
    wires: BTreeMap<PeerKey, Wire>,
    dialling: Vec<SocketAddr>,
    next_key: u32,
    held: BTreeMap<u32, BTreeSet<u32>>,
    verifying: BTreeSet<u32>,
    have: Bitfield,
    checking: bool,
    /// Parts to be checked (piece, from, to), and pieces whose chains are wanted, with the length of a part.
    parts: Vec<(u32, u32, u32)>,
    chains: Vec<(u32, u32)>,
    announces: Vec<TrackerKey>,
    /// The block that is being handled.
    block: Option<(PeerKey, Span)>,
    /// Blocks that came from somebody else than the honest seed: (piece, block).
    tainted: BTreeSet<(u32, u32)>,
    stopped: bool,
    failed: bool,
    /// Pieces were withdrawn: what was announced before may be asked for.
    withdrew: bool,
}

/// See the module's documentation.
pub fn conversation(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let Ok(mut world) = World::new(&mut u) else {
        return;
    };
    world.say(Input::Tick);
    for _ in 0..STEPS {
        if u.is_empty() || world.step(&mut u).is_err() {
            break;
        }
    }
    world.end();
}

fn info(geometry: Geometry) -> Arc<Info> {
    Arc::new(Info {
        raw: Bytes::from(vec![b'x'; 20_000]),
        version: Version::V1,
        hash_v1: Some(Sha1([1; 20])),
        hash_v2: None,
        name: "x".into(),
        single_file: true,
        private: false,
        geometry,
        files: Vec::new(),
        pieces: Bytes::new(),
        symlinks: Vec::new(),
    })
}

impl World {
    fn new(u: &mut Unstructured<'_>) -> Result<Self> {
        let piece_length = [16384, 32768, 65536, 98304][usize::from(u.arbitrary::<u8>()? % 4)];
        let pieces = 1 + u64::from(u.arbitrary::<u8>()? % 12);
        let short = u64::from(u.arbitrary::<u16>()?) % u64::from(piece_length);
        let total = pieces * u64::from(piece_length) - short;
        let tails = if u.arbitrary::<bool>()? && pieces > 1 {
            vec![(0, 1 + u32::from(u.arbitrary::<u16>()?) % piece_length)]
        } else {
            Vec::new()
        };
        let geometry = Geometry::with_tails(piece_length, total, tails, u.arbitrary()?);
        let geometry = geometry.ok_or(arbitrary::Error::IncorrectFormat)?;
        let mut have = Bitfield::empty(geometry.pieces());
        let begun: u16 = u.arbitrary()?;
        for piece in (0..geometry.pieces()).filter(|piece| begun & (1 << (piece % 16)) != 0) {
            have.set(piece);
        }
        let config = Arc::new(Config {
            peers_max: 6,
            peers_wanted: 5,
            dials_max: 3,
            request_queue: 20,
            pipeline_max: 16,
            memory: u64::from(piece_length) * u64::from(u.arbitrary::<u8>()? % 8),
            super_seed: u.arbitrary()?,
            seed_goal: SeedGoal::Forever,
            ..Config::default()
        });
        let spec = Spec {
            info: info(geometry.clone()),
            peer_id: PeerId([9; 20]),
            listen_port: 6881,
            files_checked: have.is_full(),
            have: have.clone(),
            trackers: vec![1],
            candidates: Vec::new(),
            seed: Seed(u64::from(u.arbitrary::<u8>()?)),
        };
        Ok(Self {
            torrent: Torrent::new(spec, config.clone(), Instant::ZERO),
            config,
            geometry,
            now: Instant::ZERO,
            wires: BTreeMap::new(),
            dialling: Vec::new(),
            next_key: 0,
            held: BTreeMap::new(),
            verifying: BTreeSet::new(),
            have,
            checking: false,
            parts: Vec::new(),
            chains: Vec::new(),
            announces: Vec::new(),
            block: None,
            tainted: BTreeSet::new(),
            stopped: false,
            failed: false,
            withdrew: false,
        })
    }

    fn say(&mut self, input: Input) {
        let mut out = Outputs::new();
        self.torrent.handle(self.now, input, &mut out);
        for output in out {
            assert!(!self.stopped, "{output:?} after the end");
            self.perform(output);
        }
        self.block = None;
        self.books();
    }

    fn books(&self) {
        #[cfg(fuzzing)]
        self.torrent.check();
        let shown = self.torrent.snapshot(self.now);
        assert!(shown.pieces_have <= shown.pieces && shown.bytes_have <= shown.bytes);
        let budget = (self.config.memory / u64::from(self.geometry.piece_length())).max(2);
        let held = (self.held.len() + self.verifying.len()) as u64;
        assert!(held <= budget, "{held} pieces in memory, {budget} allowed");
    }

    fn connect(
        &mut self,
        addr: SocketAddr,
        outgoing: bool,
        peer_id: PeerId,
        reserved: Reserved,
    ) -> PeerKey {
        let peer = PeerKey(self.next_key);
        self.next_key += 1;
        let wire = Wire {
            fast: reserved.fast(),
            ..Wire::default()
        };
        self.wires.insert(peer, wire);
        self.say(Input::PeerUp {
            peer,
            addr,
            outgoing,
            peer_id,
            reserved,
        });
        let open = self.wires.values().filter(|wire| !wire.closed).count();
        // A torrent that has stopped hears nothing more.
        assert!(
            self.stopped || open <= self.config.peers_max,
            "too many connections"
        );
        peer
    }

    fn block_from(&mut self, peer: PeerKey, span: Span) {
        if let Some(wire) = self.wires.get_mut(&peer) {
            wire.asked.retain(|asked| *asked != span);
        }
        self.block = Some((peer, span));
        self.say(Input::Block { peer, span });
    }

    fn is_tainted(&self, piece: u32) -> bool {
        let mut blocks = self.tainted.range((piece, 0)..=(piece, u32::MAX));
        blocks.next().is_some()
    }

    /// A digest a block; of a bad piece, what strangers gave is wrong.
    fn digests(&self, piece: u32, bad: bool) -> Vec<u64> {
        (0..self.geometry.blocks(piece))
            .map(|block| u64::from(bad && self.tainted.contains(&(piece, block))))
            .collect()
    }

    /// Answers what was asked of parts; of those with a stranger's block in them, `bad` ones are wrong.
    fn answer_parts(&mut self, bad: bool) {
        for (piece, from, to) in core::mem::take(&mut self.parts) {
            let blocks = from / BLOCK..to.div_ceil(BLOCK);
            let mut tainted = self.tainted.iter();
            let tainted = tainted.any(|(at, block)| *at == piece && blocks.contains(block));
            let good = !(bad && tainted);
            self.say(Input::PartDone { piece, from, good });
        }
        for (piece, step) in core::mem::take(&mut self.chains) {
            let count = self.geometry.data_len(piece).div_ceil(step) as usize - 1;
            let values = vec![Sha1([3; 20]); if bad { 0 } else { count }];
            self.say(Input::Chained { piece, values });
        }
    }

    fn decide(&mut self, piece: u32, outcome: PieceOutcome) {
        self.tainted.retain(|(tainted, _)| *tainted != piece);
        if matches!(outcome, PieceOutcome::Good(_)) {
            self.have.set(piece);
        }
        self.say(Input::PieceDone { piece, outcome });
    }

    /// The others say no more; one honest seed is there, comes back when it is turned away, and answers
    /// what it is asked. The download finishes.
    fn end(&mut self) {
        let mut seed = None;
        for _ in 0..4000 {
            let leaving = self.torrent.snapshot(self.now).phase == Phase::Leaving;
            let done = self.have.is_full() && !self.checking;
            if self.stopped || self.failed || leaving || done {
                return;
            }
            self.round(&mut seed);
            self.now = self.now + Duration::from_millis(500);
            self.say(Input::Tick);
        }
        let shown = self.torrent.snapshot(self.now);
        panic!("an honest seed is there and the download does not finish: {shown:?}");
    }

    fn round(&mut self, seed: &mut Option<PeerKey>) {
        for addr in core::mem::take(&mut self.dialling) {
            self.say(Input::DialFailed { addr });
        }
        let closed = self.wires.iter().filter(|(_, wire)| wire.closed);
        let closed: Vec<PeerKey> = closed.map(|(key, _)| *key).collect();
        for peer in closed {
            self.wires.remove(&peer);
            self.say(Input::PeerDown { peer });
        }
        let key = match *seed {
            Some(key) if self.wires.contains_key(&key) => key,
            _ => self.honest(),
        };
        *seed = Some(key);
        let asked = self.wires.get(&key).map(|wire| wire.asked.clone());
        for span in asked.unwrap_or_default() {
            self.block_from(key, span);
        }
        self.answer_parts(false);
        while let Some(piece) = self.verifying.pop_first() {
            let bad = self.is_tainted(piece);
            let digests = self.digests(piece, bad);
            let outcome = if bad {
                PieceOutcome::Bad(digests)
            } else {
                PieceOutcome::Good(digests)
            };
            self.decide(piece, outcome);
        }
        if core::mem::take(&mut self.checking) {
            self.say(Input::FilesChecked(FilesOutcome::Good));
        }
    }

    fn honest(&mut self) -> PeerKey {
        self.next_key = self.next_key.max(HONEST);
        let addr = SocketAddr::from(([99, 9, 9, 9], 9));
        let peer = self.connect(addr, false, PeerId([77; 20]), Reserved::ours(false));
        for message in [Message::HaveAll, Message::Unchoke] {
            if self.wires.get(&peer).is_some_and(|wire| !wire.closed) {
                self.hear(peer, message);
            }
        }
        peer
    }
}

//! Engines joined by a perfect pipe: every message arrives at once, every piece verifies at once
//! unless a test says otherwise. Time is a number.

use super::*;
use crate::io::PieceOutcome;
use samara_proto::wire::Reserved;
use std::collections::{BTreeSet, VecDeque};

/// Hosts joined by perfect pipes. Host n has peer id n; the key of a pipe at host a to host b is
/// 1000 * epoch + b.
pub(super) struct World {
    pub(super) now: Instant,
    pub(super) hosts: Vec<Torrent>,
    pub(super) facts: VecDeque<(usize, Input)>,
    pub(super) links: BTreeSet<(usize, usize)>,
    log: Vec<(usize, Output)>,
    /// Corrupts every n-th block that this host sends.
    corruptor: Option<usize>,
    tainted: BTreeMap<(usize, u32), Vec<(u32, bool)>>,
    served: u32,
}

impl World {
    fn new(specs: Vec<(Spec, Config)>) -> Self {
        let now = Instant::ZERO;
        let make = |(spec, config)| Torrent::new(spec, Arc::new(config), now);
        let hosts: Vec<_> = specs.into_iter().map(make).collect();
        let facts = (0..hosts.len()).map(|host| (host, Input::Tick)).collect();
        Self {
            now,
            hosts,
            facts,
            links: BTreeSet::new(),
            log: Vec::new(),
            corruptor: None,
            tainted: BTreeMap::new(),
            served: 0,
        }
    }

    pub(super) fn swarm(leeches: usize, pieces: u32, config: &Config) -> Self {
        let specs = (0..=leeches).map(|n| {
            let have = if n == 0 {
                Bitfield::full(pieces)
            } else {
                Bitfield::empty(pieces)
            };
            (spec(n as u8, pieces, have, vec![]), config.clone())
        });
        let mut world = Self::new(specs.collect());
        for a in 0..=leeches {
            for b in a + 1..=leeches {
                world.connect(a, b);
            }
        }
        world
    }

    pub(super) fn connect(&mut self, a: usize, b: usize) {
        self.links.insert((a, b));
        for (host, other, outgoing) in [(a, b, true), (b, a, false)] {
            self.facts.push_back((
                host,
                Input::PeerUp {
                    peer: PeerKey(other as u32),
                    addr: addr(other),
                    outgoing,
                    peer_id: PeerId([other as u8; 20]),
                    reserved: Reserved::ours(false),
                },
            ));
        }
    }

    pub(super) fn cut(&mut self, a: usize, b: usize) {
        if self.links.remove(&(a.min(b), a.max(b))) {
            self.facts.push_back((
                a,
                Input::PeerDown {
                    peer: PeerKey(b as u32),
                },
            ));
            self.facts.push_back((
                b,
                Input::PeerDown {
                    peer: PeerKey(a as u32),
                },
            ));
        }
    }

    /// Runs until nothing is left to be said at this moment.
    pub(super) fn settle(&mut self) {
        let mut out = Outputs::new();
        while let Some((host, input)) = self.facts.pop_front() {
            self.hosts[host].handle(self.now, input, &mut out);
            for output in out.drain(..) {
                self.log.push((host, output.clone()));
                self.perform(host, output);
            }
        }
    }

    fn perform(&mut self, host: usize, output: Output) {
        match output {
            Output::Send { peer, message } => {
                let to = peer.0 as usize;
                if self.links.contains(&(host.min(to), host.max(to))) {
                    let message = Input::Message {
                        peer: PeerKey(host as u32),
                        message,
                    };
                    self.facts.push_back((to, message));
                }
            }
            Output::CheckPart {
                piece, from, to, ..
            } => {
                let blocks = self.tainted.get(&(host, piece)).into_iter().flatten();
                let good = !blocks
                    .filter(|(block, _)| (from..to).contains(&(block * 16384)))
                    .any(|(_, bad)| *bad);
                self.facts
                    .push_back((host, Input::PartDone { piece, from, good }));
            }
            Output::Chain { piece, step } => {
                let values = vec![Sha1::default(); (PIECE / step) as usize - 1];
                self.facts
                    .push_back((host, Input::Chained { piece, values }));
            }
            Output::Serve { peer, span } | Output::ServeHeld { peer, span } => {
                let to = peer.0 as usize;
                let bytes = u64::from(span.length);
                self.facts.push_back((host, Input::Served { peer, bytes }));
                if self.links.contains(&(host.min(to), host.max(to))) {
                    self.served += 1;
                    let bad = self.corruptor == Some(host) && self.served.is_multiple_of(7);
                    let list = self.tainted.entry((to, span.piece)).or_default();
                    list.retain(|(block, _)| *block != span.block());
                    list.push((span.block(), bad));
                    self.facts.push_back((
                        to,
                        Input::Block {
                            peer: PeerKey(host as u32),
                            span,
                        },
                    ));
                }
            }
            Output::Hangup { peer, .. } => self.cut(host, peer.0 as usize),
            Output::Verify { piece, .. } => {
                let blocks = self.tainted.remove(&(host, piece)).unwrap_or_default();
                let mut digests = vec![0; (PIECE / 16384) as usize];
                for (block, bad) in &blocks {
                    digests[*block as usize] = u64::from(*bad);
                }
                let outcome = if blocks.iter().any(|(_, bad)| *bad) {
                    PieceOutcome::Bad(digests)
                } else {
                    PieceOutcome::Good(digests)
                };
                self.facts
                    .push_back((host, Input::PieceDone { piece, outcome }));
            }
            Output::CheckFiles => {
                self.facts
                    .push_back((host, Input::FilesChecked(FilesOutcome::Good)));
            }
            Output::Dial(addr) => self.facts.push_back((host, Input::DialFailed { addr })),
            _ => {}
        }
    }

    pub(super) fn run(&mut self, seconds: u64) {
        self.settle();
        let end = self.now + Duration::from_secs(seconds);
        while self.now < end {
            let deadlines = self.hosts.iter().map(|host| host.deadline().at);
            self.now = deadlines.min().unwrap_or(end).clamp(self.now, end);
            for host in 0..self.hosts.len() {
                if self.hosts[host].deadline().at <= self.now {
                    self.facts.push_back((host, Input::Tick));
                }
            }
            self.settle();
            if self.hosts.iter().all(|host| host.deadline().at > end) {
                self.now = end;
            }
        }
    }

    fn events(&self, host: usize) -> Vec<Event> {
        let of = |(who, output): &(usize, Output)| match output {
            Output::Event(event) if *who == host => Some(event.clone()),
            _ => None,
        };
        self.log.iter().filter_map(of).collect()
    }

    pub(super) fn is_complete(&self, host: usize) -> bool {
        self.hosts[host].snapshot(self.now).phase == Phase::Seeding
    }
}

#[test]
fn a_leech_gets_everything_from_a_seed() {
    let mut world = World::swarm(1, 40, &forever());
    world.run(5);
    assert!(world.is_complete(1));
    let seen = world.hosts[1].snapshot(world.now);
    assert_eq!(seen.downloaded, seen.bytes);
    assert_eq!(
        (seen.wasted, seen.rejected, seen.bytes_have),
        (0, 0, seen.bytes)
    );
    assert_eq!(world.hosts[0].snapshot(world.now).uploaded, seen.bytes);
    assert!(
        world.links.is_empty(),
        "two seeds have nothing to say to each other"
    );
    assert!(world.events(1).contains(&Event::Complete));
}

#[test]
fn a_swarm_completes_and_leeches_give_too() {
    let mut world = World::swarm(8, 60, &forever());
    world.run(60);
    for host in 1..=8 {
        assert!(world.is_complete(host), "host {host}");
    }
    let total = world.hosts[0].snapshot(world.now).bytes;
    let from_leeches: u64 = (1..=8)
        .map(|n| world.hosts[n].snapshot(world.now).uploaded)
        .sum();
    assert!(from_leeches > 0);
    let waste: u64 = (1..=8)
        .map(|n| world.hosts[n].snapshot(world.now).wasted)
        .sum();
    assert!(waste * 100 <= total * 8, "waste {waste} of {total} a host");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = || {
        let mut world = World::swarm(6, 30, &forever());
        world.run(30);
        world.log
    };
    assert_eq!(run(), run());
}

#[test]
fn a_corruptor_is_banned_and_everybody_finishes() {
    // Host 1 has all pieces from the start, and lies; host 0 is the honest seed.
    let mut specs = Vec::new();
    for n in 0..=4u8 {
        let have = if n < 2 {
            Bitfield::full(60)
        } else {
            Bitfield::empty(60)
        };
        specs.push((spec(n, 60, have, vec![]), forever()));
    }
    let mut world = World {
        corruptor: Some(1),
        ..World::new(specs)
    };
    for a in 0..=4 {
        for b in a + 1..=4 {
            world.connect(a, b);
        }
    }
    world.run(300);
    for host in 2..=4 {
        assert!(world.is_complete(host), "host {host}");
        let banned = world
            .events(host)
            .into_iter()
            .filter_map(|event| match event {
                Event::PeerBanned { addr, .. } => Some(addr),
                _ => None,
            });
        let banned: Vec<_> = banned.collect();
        assert!(
            banned.iter().all(|who| *who == addr(1)),
            "an honest peer was banned: {banned:?}"
        );
        let rejected = world.hosts[host].snapshot(world.now).rejected;
        assert!(
            rejected == 0 || !banned.is_empty(),
            "host {host} saw bad pieces and banned nobody"
        );
    }
    let bans = (2..=4)
        .flat_map(|n| world.events(n))
        .filter(|event| matches!(event, Event::PeerBanned { .. }));
    assert!(bans.count() > 0);
}

#[test]
fn losing_peers_in_the_middle_loses_nothing() {
    let mut world = World::swarm(
        2,
        50,
        &Config {
            upload_slots: 1,
            ..forever()
        },
    );
    for _ in 0..30 {
        for _ in 0..40 {
            if let Some((host, input)) = world.facts.pop_front() {
                world.facts.push_front((host, input));
                let mut out = Outputs::new();
                let (host, input) = world.facts.pop_front().expect("just put");
                world.hosts[host].handle(world.now, input, &mut out);
                for output in out {
                    world.perform(host, output);
                }
            }
        }
        world.cut(0, 1);
        world.connect(0, 1);
    }
    world.run(120);
    assert!(world.is_complete(1) && world.is_complete(2));
    world.hosts[1].picker.check();
}

#[test]
fn pieces_that_rot_on_disk_are_fetched_again() {
    let mut world = World::swarm(1, 8, &forever());
    world.run(1);
    let mut out = Outputs::new();
    let torrent = &mut world.hosts[1];
    torrent.phase = Phase::Checking;
    torrent.handle(
        world.now,
        Input::FilesChecked(FilesOutcome::BadPieces(vec![2, 5, 99])),
        &mut out,
    );
    let seen = torrent.snapshot(world.now);
    assert_eq!((seen.phase, seen.pieces_have), (Phase::Downloading, 6));
    torrent.picker.check();
    world.connect(0, 1);
    world.run(10);
    assert!(world.is_complete(1));
    assert_eq!(
        world.hosts[1].snapshot(world.now).bytes_have,
        8 * u64::from(PIECE)
    );
}

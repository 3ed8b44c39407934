//! Engines joined by a perfect pipe: every message arrives at once, every piece verifies at once
//! unless a test says otherwise. Time is a number.

use super::*;
use crate::io::{AnnounceEvent, Answer, PieceOutcome, SeedGoal};
use crate::rng::Seed;
use bytes::Bytes;
use samara_proto::metainfo::{Info, Version};
use samara_proto::wire::{Message, Reserved};
use samara_proto::{Bitfield, Sha1};
use std::collections::{BTreeSet, VecDeque};

const PIECE: u32 = 65536;

fn info(pieces: u32) -> Arc<Info> {
    Arc::new(Info {
        raw: Bytes::from_static(b"d4:name1:xe"),
        version: Version::V1,
        hash_v1: Some(Sha1([1; 20])),
        hash_v2: None,
        name: "x".into(),
        single_file: true,
        private: false,
        geometry: Geometry::new(PIECE, u64::from(pieces) * u64::from(PIECE)).expect("valid"),
        files: Vec::new(),
        pieces: Bytes::new(),
        symlinks: Vec::new(),
    })
}

fn spec(n: u8, pieces: u32, have: Bitfield, trackers: Vec<usize>) -> Spec {
    Spec {
        info: info(pieces),
        peer_id: PeerId([n; 20]),
        listen_port: 6881,
        files_checked: have.is_full(),
        have,
        trackers,
        candidates: Vec::new(),
        seed: Seed(u64::from(n)),
    }
}

fn addr(n: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n as u8 + 1], 6881))
}

/// Hosts joined by perfect pipes. Host n has peer id n; the key of a pipe at host a to host b is
/// 1000 * epoch + b.
struct World {
    now: Instant,
    hosts: Vec<Torrent>,
    facts: VecDeque<(usize, Input)>,
    links: BTreeSet<(usize, usize)>,
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

    fn swarm(leeches: usize, pieces: u32, config: &Config) -> Self {
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

    fn connect(&mut self, a: usize, b: usize) {
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

    fn cut(&mut self, a: usize, b: usize) {
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
    fn settle(&mut self) {
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
            Output::Serve { peer, span } => {
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

    fn run(&mut self, seconds: u64) {
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

    fn is_complete(&self, host: usize) -> bool {
        self.hosts[host].snapshot(self.now).phase == Phase::Seeding
    }
}

fn forever() -> Config {
    Config {
        seed_goal: SeedGoal::Forever,
        ..Config::default()
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

/// One torrent on its own, told facts by hand.
struct Alone {
    torrent: Torrent,
    now: Instant,
}

impl Alone {
    fn new(have: Bitfield, trackers: Vec<usize>, config: Config) -> Self {
        let pieces = have.len();
        let spec = spec(9, pieces, have, trackers);
        let torrent = Torrent::new(spec, Arc::new(config), Instant::ZERO);
        Self {
            torrent,
            now: Instant::ZERO,
        }
    }

    fn say(&mut self, input: Input) -> Outputs {
        let mut out = Outputs::new();
        self.torrent.handle(self.now, input, &mut out);
        out
    }

    fn wait(&mut self, seconds: u64) -> Outputs {
        let mut out = Outputs::new();
        for _ in 0..seconds * 4 {
            self.now = self.now + Duration::from_millis(250);
            self.torrent.handle(self.now, Input::Tick, &mut out);
        }
        out
    }

    fn peer(&mut self, key: u32, reserved: Reserved) -> Outputs {
        self.say(Input::PeerUp {
            peer: PeerKey(key),
            addr: addr(key as usize),
            outgoing: false,
            peer_id: PeerId([key as u8; 20]),
            reserved,
        })
    }

    fn message(&mut self, key: u32, message: Message) -> Outputs {
        self.say(Input::Message {
            peer: PeerKey(key),
            message,
        })
    }
}

fn hangup(out: &Outputs) -> Option<Goodbye> {
    out.iter().find_map(|output| match output {
        Output::Hangup { why, .. } => Some(*why),
        _ => None,
    })
}

fn requests(out: &Outputs) -> Vec<Span> {
    let span = |output: &Output| match output {
        Output::Send {
            message: Message::Request(span),
            ..
        } => Some(*span),
        _ => None,
    };
    out.iter().filter_map(span).collect()
}

#[test]
fn every_kind_of_misconduct_has_its_sanction() {
    let span = |piece, offset, length| Span {
        piece,
        offset,
        length,
    };
    let fast = Reserved::ours(false);
    let plain = Reserved::default();
    let cases: Vec<(Reserved, Vec<Message>, PeerFault)> = vec![
        (
            fast,
            vec![Message::HaveNone, Message::HaveAll],
            PeerFault::LateBitfield,
        ),
        (
            fast,
            vec![Message::Bitfield(Bytes::from_static(b"toolong"))],
            PeerFault::BadBitfield,
        ),
        (
            fast,
            vec![Message::Bitfield(Bytes::from_static(&[0xff]))],
            PeerFault::BadBitfield,
        ),
        (fast, vec![Message::Have(4)], PeerFault::PieceOutOfRange),
        (
            fast,
            vec![Message::AllowedFast(4)],
            PeerFault::PieceOutOfRange,
        ),
        (
            fast,
            vec![Message::Request(span(4, 0, 1))],
            PeerFault::BadRequest,
        ),
        (
            fast,
            vec![Message::Request(span(0, u32::MAX, 2))],
            PeerFault::BadRequest,
        ),
        (
            fast,
            vec![Message::Request(span(0, 0, 0))],
            PeerFault::BadRequest,
        ),
        (
            fast,
            vec![Message::Request(span(1, 0, 16384))],
            PeerFault::RequestForMissing,
        ),
        (plain, vec![Message::HaveAll], PeerFault::FastNotNegotiated),
        (
            plain,
            vec![Message::Reject(span(0, 0, 1))],
            PeerFault::FastNotNegotiated,
        ),
    ];
    for (reserved, messages, fault) in cases {
        let mut have = Bitfield::empty(4);
        have.set(0);
        let mut alone = Alone::new(have, vec![], forever());
        alone.peer(1, reserved);
        let mut last = Outputs::new();
        for message in messages.clone() {
            last = alone.message(1, message);
        }
        assert_eq!(hangup(&last), Some(Goodbye::Fault(fault)), "{messages:?}");
        assert_eq!(
            alone.message(1, Message::Interested),
            [],
            "nobody is there any more"
        );
    }
}

#[test]
fn blocks_that_nobody_asked_for_are_not_kept_and_cost_the_connection_in_the_end() {
    let mut alone = Alone::new(Bitfield::empty(4), vec![], forever());
    alone.peer(1, Reserved::ours(false));
    alone.message(1, Message::HaveAll);
    let mut ended = None;
    for n in 0..200 {
        let span = Span {
            piece: n % 4,
            offset: 0,
            length: 16384,
        };
        let out = alone.say(Input::Block {
            peer: PeerKey(1),
            span,
        });
        assert!(
            !out.iter()
                .any(|output| matches!(output, Output::Keep { .. }))
        );
        if let Some(why) = hangup(&out) {
            ended = Some((n, why));
            break;
        }
    }
    assert_eq!(ended, Some((64, Goodbye::Fault(PeerFault::UnaskedBlocks))));
}

#[test]
fn a_flood_of_requests_is_bounded() {
    let config = Config {
        request_queue: 50,
        ..forever()
    };
    let mut alone = Alone::new(Bitfield::full(4), vec![], config);
    alone.peer(1, Reserved::ours(false));
    alone.message(1, Message::HaveNone);
    alone.message(1, Message::Interested);
    let span = Span {
        piece: 0,
        offset: 0,
        length: 16384,
    };
    let mut n = 0;
    let why = loop {
        n += 1;
        assert!(n < 200, "never cut off");
        if let Some(why) = hangup(&alone.message(1, Message::Request(span))) {
            break why;
        }
    };
    assert_eq!(why, Goodbye::Fault(PeerFault::RequestFlood));
}

#[test]
fn a_choked_request_is_rejected_and_a_choke_rejects_what_waits() {
    let mut alone = Alone::new(Bitfield::full(4), vec![], forever());
    alone.peer(1, Reserved::ours(false));
    alone.message(1, Message::HaveNone);
    let span = Span {
        piece: 0,
        offset: 0,
        length: 16384,
    };
    let out = alone.message(1, Message::Request(span));
    assert_eq!(
        out,
        [Output::Send {
            peer: PeerKey(1),
            message: Message::Reject(span)
        }]
    );
    let out = alone.message(1, Message::Interested);
    assert!(out.contains(&Output::Send {
        peer: PeerKey(1),
        message: Message::Unchoke
    }));
    let out = alone.message(1, Message::Request(span));
    assert_eq!(
        out,
        [Output::Serve {
            peer: PeerKey(1),
            span
        }]
    );
}

#[test]
fn a_silent_peer_is_snubbed_and_its_blocks_are_asked_of_another() {
    let mut alone = Alone::new(Bitfield::empty(1), vec![], forever());
    for key in [1, 2] {
        alone.peer(key, Reserved::ours(false));
        alone.message(key, Message::HaveAll);
    }
    assert_eq!(requests(&alone.message(1, Message::Unchoke)).len(), 4);
    let out = alone.message(2, Message::Unchoke);
    assert!(
        requests(&out).is_empty(),
        "the first one has not had its time yet"
    );

    let mut alone = Alone::new(Bitfield::empty(1), vec![], forever());
    for key in [1, 2] {
        alone.peer(key, Reserved::ours(false));
        alone.message(key, Message::HaveAll);
    }
    let asked = requests(&alone.message(1, Message::Unchoke));
    let out = alone.wait(70);
    assert!(requests(&out).is_empty(), "the other chokes us");
    let again = requests(&alone.message(2, Message::Unchoke));
    assert!(
        asked.iter().all(|span| again.contains(span)),
        "{asked:?} {again:?}"
    );
    let out = alone.wait(100);
    assert!(matches!(
        hangup(&out),
        Some(Goodbye::Fault(PeerFault::Silent))
    ));
}

#[test]
fn a_rejecting_peer_is_not_asked_in_a_loop() {
    let mut alone = Alone::new(Bitfield::empty(1), vec![], forever());
    alone.peer(1, Reserved::ours(false));
    alone.message(1, Message::HaveAll);
    let asked = requests(&alone.message(1, Message::Unchoke));
    for span in asked {
        assert!(requests(&alone.message(1, Message::Reject(span))).is_empty());
    }
    assert_eq!(
        requests(&alone.wait(2)).len(),
        4,
        "asked again at the next look"
    );
}

#[test]
fn our_own_address_is_not_dialled_again() {
    let mut alone = Alone::new(Bitfield::empty(1), vec![], forever());
    let out = alone.say(Input::Candidates(vec![addr(3)]));
    assert!(out.contains(&Output::Dial(addr(3))));
    let out = alone.say(Input::PeerUp {
        peer: PeerKey(1),
        addr: addr(3),
        outgoing: true,
        peer_id: PeerId([9; 20]),
        reserved: Reserved::ours(false),
    });
    assert_eq!(hangup(&out), Some(Goodbye::Fault(PeerFault::OurOwnPeerId)));
    alone.say(Input::PeerDown { peer: PeerKey(1) });
    alone.say(Input::Candidates(vec![addr(3)]));
    let out = alone.wait(600);
    assert!(!out.iter().any(|output| matches!(output, Output::Dial(_))));
}

#[test]
fn both_ends_keep_the_same_one_of_two_connections() {
    // We are id 9. Against id 3 the connection that we dialled stays, against id 12 the other.
    for (id, keep_outgoing) in [(3u8, true), (12, false)] {
        for first_outgoing in [true, false] {
            let mut alone = Alone::new(Bitfield::empty(1), vec![], forever());
            let mut kept = None;
            for (key, outgoing) in [(1, first_outgoing), (2, !first_outgoing)] {
                let out = alone.say(Input::PeerUp {
                    peer: PeerKey(key),
                    addr: SocketAddr::from(([10, 0, 0, 1], key as u16)),
                    outgoing,
                    peer_id: PeerId([id; 20]),
                    reserved: Reserved::ours(false),
                });
                let hung = out.iter().find_map(|output| match output {
                    Output::Hangup { peer, .. } => Some(peer.0),
                    _ => None,
                });
                kept = match hung {
                    None => Some(key),
                    Some(1) => Some(2),
                    Some(_) => Some(1),
                };
            }
            let outgoing = if kept == Some(1) {
                first_outgoing
            } else {
                !first_outgoing
            };
            assert_eq!(
                outgoing, keep_outgoing,
                "id {id}, outgoing first: {first_outgoing}"
            );
        }
    }
}

fn announced(out: &Outputs) -> Vec<(AnnounceEvent, u64)> {
    let of = |output: &Output| match output {
        Output::Announce(announce) => Some((announce.event, announce.left)),
        _ => None,
    };
    out.iter().filter_map(of).collect()
}

#[test]
fn a_seed_stays_until_everybody_who_asked_has_a_copy() {
    let config = Config {
        seed_goal: SeedGoal::Everyone,
        ..Config::default()
    };
    let mut alone = Alone::new(Bitfield::full(4), vec![1], config);
    let tracker = TrackerKey { tier: 0, place: 0 };
    let answer = |leeches| Answer {
        interval: Duration::from_secs(5),
        min_interval: Some(Duration::from_secs(2)),
        leeches: Some(leeches),
        seeds: Some(1),
        ..Answer::default()
    };
    let reply = |alone: &mut Alone, leeches| {
        let answer = Some(answer(leeches));
        alone.say(Input::Announced { tracker, answer })
    };
    assert_eq!(
        announced(&alone.say(Input::Tick)),
        [(AnnounceEvent::Started, 0)]
    );
    reply(&mut alone, 0);
    for _ in 0..20 {
        let out = alone.wait(6);
        assert!(!out.contains(&Output::Stopped), "nobody has asked yet");
        reply(&mut alone, 0);
    }
    // Somebody asks, and is served.
    alone.peer(1, Reserved::ours(false));
    alone.message(1, Message::HaveNone);
    alone.wait(30);
    reply(&mut alone, 1);
    alone.message(1, Message::HaveAll);
    for piece in 0..4 {
        alone.message(1, Message::Have(piece));
    }
    // The tracker still knows of another leech: stay.
    alone.wait(6);
    reply(&mut alone, 1);
    let out = alone.wait(6);
    assert!(
        !out.iter()
            .any(|o| matches!(o, Output::Event(Event::GoalReached)))
    );
    reply(&mut alone, 0);
    let out = alone.wait(6);
    assert!(out.contains(&Output::Event(Event::GoalReached)), "{out:?}");
    assert!(announced(&out).contains(&(AnnounceEvent::Stopped, 0)));
    assert!(
        out.contains(&Output::Stopped),
        "leaving does not wait for ever"
    );
}

#[test]
fn leaving_is_polite_and_bounded() {
    let mut alone = Alone::new(Bitfield::empty(4), vec![1, 1], forever());
    let tracker = TrackerKey { tier: 0, place: 0 };
    alone.say(Input::Tick);
    alone.say(Input::Announced {
        tracker,
        answer: Some(Answer::default()),
    });
    alone.peer(1, Reserved::ours(false));
    let out = alone.say(Input::Stop);
    assert_eq!(
        announced(&out),
        [(AnnounceEvent::Stopped, 4 * u64::from(PIECE))]
    );
    assert_eq!(hangup(&out), Some(Goodbye::Leaving));
    assert!(!out.contains(&Output::Stopped));
    let out = alone.say(Input::Announced {
        tracker,
        answer: None,
    });
    assert_eq!(out, [Output::Stopped]);
    assert_eq!(alone.say(Input::Tick), []);
    assert_eq!(alone.torrent.deadline().at, Instant::NEVER);
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

#[test]
fn a_full_disk_ends_the_run_and_keeps_what_is_verified() {
    let mut alone = Alone::new(Bitfield::empty(4), vec![], forever());
    let outcome = PieceOutcome::Disk("no space left".into());
    let out = alone.say(Input::PieceDone { piece: 0, outcome });
    assert!(out.contains(&Output::Event(Event::DiskFailed("no space left".into()))));
    assert!(out.contains(&Output::Stopped));
}

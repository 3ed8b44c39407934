//! One torrent alone, told facts by hand.

use super::*;
use crate::io::{AnnounceEvent, Answer, PieceOutcome};
use samara_proto::wire::{Message, Reserved};

/// One torrent on its own, told facts by hand.
pub(super) struct Alone {
    pub(super) torrent: Torrent,
    pub(super) now: Instant,
}

impl Alone {
    pub(super) fn new(have: Bitfield, trackers: Vec<usize>, config: Config) -> Self {
        let pieces = have.len();
        let spec = spec(9, pieces, have, trackers);
        let torrent = Torrent::new(spec, Arc::new(config), Instant::ZERO);
        Self {
            torrent,
            now: Instant::ZERO,
        }
    }

    pub(super) fn say(&mut self, input: Input) -> Outputs {
        let mut out = Outputs::new();
        self.torrent.handle(self.now, input, &mut out);
        out
    }

    pub(super) fn wait(&mut self, seconds: u64) -> Outputs {
        let mut out = Outputs::new();
        for _ in 0..seconds * 4 {
            self.now = self.now + Duration::from_millis(250);
            self.torrent.handle(self.now, Input::Tick, &mut out);
        }
        out
    }

    pub(super) fn deadline(&self) -> Instant {
        self.torrent.deadline().at
    }

    pub(super) fn peer(&mut self, key: u32, reserved: Reserved) -> Outputs {
        self.say(Input::PeerUp {
            peer: PeerKey(key),
            addr: addr(key as usize),
            outgoing: false,
            peer_id: PeerId([key as u8; 20]),
            reserved,
        })
    }

    pub(super) fn message(&mut self, key: u32, message: Message) -> Outputs {
        self.say(Input::Message {
            peer: PeerKey(key),
            message,
        })
    }
}

pub(super) fn hangup(out: &Outputs) -> Option<Goodbye> {
    out.iter().find_map(|output| match output {
        Output::Hangup { why, .. } => Some(*why),
        _ => None,
    })
}

pub(super) fn requests(out: &Outputs) -> Vec<Span> {
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
fn attack_14_blocks_that_nobody_asked_for_are_not_kept_and_cost_the_connection_in_the_end() {
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
fn attack_15_a_flood_of_requests_is_bounded() {
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
    let config = Config {
        super_seed: false,
        ..forever()
    };
    let mut alone = Alone::new(Bitfield::full(4), vec![], config);
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

/// BEP 16: one piece at a time, and the next when it is asked for.
#[test]
fn the_first_seed_shows_its_pieces_one_by_one() {
    let mut alone = Alone::new(Bitfield::full(6), vec![], forever());
    let shown = |out: &Outputs, key: u32| -> Vec<u32> {
        let piece = |output: &Output| match output {
            Output::Send {
                peer,
                message: Message::Have(piece),
            } if peer.0 == key => Some(*piece),
            _ => None,
        };
        out.iter().filter_map(piece).collect()
    };
    let out = alone.peer(1, Reserved::ours(false));
    let none = Output::Send {
        peer: PeerKey(1),
        message: Message::HaveNone,
    };
    assert!(out.contains(&none));
    let first = shown(&out, 1);
    assert_eq!(first.len(), 1, "{out:?}");
    let out = alone.peer(2, Reserved::ours(false));
    let other = shown(&out, 2);
    assert_eq!(other.len(), 1);
    assert_ne!(first, other, "no piece is shown twice");
    let mut asked = Outputs::new();
    for block in 0..PIECE / 16384 {
        let span = Span {
            piece: first[0],
            offset: block * 16384,
            length: 16384,
        };
        asked.extend(alone.message(1, Message::Request(span)));
    }
    let next = shown(&asked, 1);
    assert_eq!(
        next.len(),
        1,
        "the next one comes when the first is asked for"
    );
    assert!(!first.contains(&next[0]) && !other.contains(&next[0]));
    // Another seed comes: there is nothing to hide any more.
    alone.peer(3, Reserved::ours(false));
    alone.message(3, Message::HaveAll);
    let rest = shown(&alone.wait(3), 1);
    let mut all = [first, next, rest].concat();
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 3, 4, 5], "each piece once");
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
    alone.wait(70);
    let again = requests(&alone.message(2, Message::Unchoke));
    let same = asked.iter().filter(|span| again.contains(span)).count();
    assert_eq!(
        same, 3,
        "all but the one that the silent peer is tried with: {again:?}"
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
fn attack_21_our_own_address_is_not_dialled_again() {
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

pub(super) fn announced(out: &Outputs) -> Vec<(AnnounceEvent, u64)> {
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
fn a_full_disk_ends_the_run_and_keeps_what_is_verified() {
    let mut alone = Alone::new(Bitfield::empty(4), vec![], forever());
    let outcome = PieceOutcome::Disk("no space left".into());
    let out = alone.say(Input::PieceDone { piece: 0, outcome });
    assert!(out.contains(&Output::Event(Event::DiskFailed("no space left".into()))));
    assert!(out.contains(&Output::Stopped));
}

#[test]
fn a_seed_without_peers_sleeps_and_its_goal_still_ends_it() {
    let sleeps = |goal| {
        let config = Config {
            seed_goal: goal,
            ..Config::default()
        };
        let mut alone = Alone::new(Bitfield::full(8), vec![], config);
        alone.say(Input::Tick);
        let busy = alone.torrent.deadline().at.since(alone.now);
        alone.peer(1, Reserved::default());
        let with_peer = alone.torrent.deadline().at.since(alone.now);
        assert!(
            with_peer <= Duration::from_secs(1),
            "{goal:?}: {with_peer:?}"
        );
        busy
    };
    assert!(sleeps(SeedGoal::Forever) >= Duration::from_secs(30));
    assert!(sleeps(SeedGoal::Everyone) >= Duration::from_secs(30));
    let length = Duration::from_secs(7);
    assert_eq!(sleeps(SeedGoal::Time(length)), length);
}

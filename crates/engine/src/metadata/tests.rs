//! Peers as a table: what each has, and whether it answers, lies or is silent.

use super::*;

const SIZE: usize = 50_000;

fn truth() -> Bytes {
    (0..SIZE).map(|at| (at % 251) as u8).collect()
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Honest,
    /// Sends wrong bytes.
    Liar,
    /// Names another size, and sends that many bytes.
    Bloater(u32),
    Silent,
    Rejects,
    /// Sends pieces of the wrong length.
    Short,
}

struct World {
    fetch: Fetch,
    now: Instant,
    kinds: BTreeMap<PeerKey, Kind>,
    banned: Vec<PeerKey>,
    parted: Vec<PeerKey>,
    checks: u32,
}

fn hello(size: u64) -> ExtendedHandshake {
    ExtendedHandshake {
        ut_metadata: Some(3),
        metadata_size: Some(size),
        ..ExtendedHandshake::default()
    }
}

impl World {
    fn new(kinds: &[Kind]) -> Self {
        Self {
            fetch: Fetch::new(),
            now: Instant::ZERO,
            kinds: (0..).map(PeerKey).zip(kinds.iter().copied()).collect(),
            banned: Vec::new(),
            parted: Vec::new(),
            checks: 0,
        }
    }

    fn answer(kind: Kind, piece: u32) -> Option<MetadataMessage> {
        let slice = |from: &Bytes| {
            let start = piece as usize * PIECE as usize;
            from.slice(start..from.len().min(start + PIECE as usize))
        };
        let data = |total: usize, data: Bytes| {
            let total_size = total as u64;
            Some(MetadataMessage::Data {
                piece,
                total_size,
                data,
            })
        };
        match kind {
            Kind::Honest => data(SIZE, slice(&truth())),
            Kind::Liar => data(SIZE, slice(&Bytes::from(vec![7; SIZE]))),
            Kind::Bloater(size) => {
                let size = size as usize;
                data(size, slice(&Bytes::from(vec![9; size])))
            }
            Kind::Silent => None,
            Kind::Rejects => Some(MetadataMessage::Reject { piece }),
            Kind::Short => data(SIZE, slice(&truth()).slice(1..)),
        }
    }

    /// Runs until the truth is there, or nothing more happens.
    fn run(&mut self) -> Option<Bytes> {
        let mut wishes = Vec::new();
        for (key, kind) in self.kinds.clone() {
            let size = if let Kind::Bloater(size) = kind {
                u64::from(size)
            } else {
                SIZE as u64
            };
            self.fetch
                .handshake(self.now, key, &hello(size), &mut wishes);
        }
        for _ in 0..1000 {
            if wishes.is_empty() {
                let at = self.fetch.deadline();
                if at == Instant::NEVER {
                    return None;
                }
                self.now = at;
                self.fetch.tick(at, &mut wishes);
            }
            for wish in core::mem::take(&mut wishes) {
                match wish {
                    Wish::Ask { peer, id, piece } => {
                        assert_eq!(id, 3);
                        assert!(!self.parted.contains(&peer), "asked after parting");
                        if let Some(answer) = Self::answer(self.kinds[&peer], piece) {
                            self.fetch.message(self.now, peer, answer, &mut wishes);
                        }
                    }
                    Wish::Part { peer, ban } => {
                        self.parted.push(peer);
                        if ban {
                            self.banned.push(peer);
                        }
                        self.fetch.peer_down(self.now, peer, &mut wishes);
                    }
                    Wish::Check(bytes) => {
                        self.checks += 1;
                        if bytes == truth() {
                            return Some(bytes);
                        }
                        self.fetch.failed(self.now, &mut wishes);
                    }
                }
            }
        }
        panic!("it goes round in circles")
    }
}

#[test]
fn honest_peers_share_the_work() {
    let mut world = World::new(&[Kind::Honest; 4]);
    assert_eq!(world.run(), Some(truth()));
    assert_eq!(world.checks, 1);
    assert_eq!(world.fetch.progress(), (4, 4));
}

#[test]
fn attack_13_liars_are_banned_and_only_they() {
    use Kind::{Honest, Liar, Rejects, Short, Silent};
    let tables: [&[Kind]; 6] = [
        &[Liar, Honest],
        &[Honest, Liar],
        &[Liar, Liar, Liar, Honest],
        &[Silent, Liar, Honest],
        &[Rejects, Short, Liar, Honest],
        &[Silent, Rejects, Short, Honest],
    ];
    for kinds in tables {
        let mut world = World::new(kinds);
        assert!(world.run().is_some());
        let liars = kinds.iter().filter(|kind| **kind == Liar).count() as u32;
        assert!(world.checks <= liars + 2, "{} checks", world.checks);
        for peer in &world.banned {
            assert!(world.kinds[peer] == Liar, "{peer:?} is honest");
        }
    }
}

#[test]
fn attack_13_a_wrong_size_is_outlived_even_by_a_minority() {
    use Kind::{Bloater, Honest};
    let mut world = World::new(&[Bloater(90_000), Bloater(90_000), Bloater(90_000), Honest]);
    assert_eq!(world.run(), Some(truth()));
    let mut world = World::new(&[Bloater(20), Honest]);
    assert_eq!(world.run(), Some(truth()));
}

#[test]
fn nobody_honest_is_no_answer_and_no_loop() {
    use Kind::{Bloater, Liar, Rejects, Silent};
    let mut world = World::new(&[Liar, Silent, Rejects, Bloater(1), Liar]);
    assert_eq!(world.run(), None);
    assert_eq!(world.fetch.progress().0, 0);
}

#[test]
fn attack_13_absurd_offers_are_not_followed() {
    let mut fetch = Fetch::new();
    let mut out = Vec::new();
    for (at, size) in [0, METADATA_MAX + 1, u64::MAX].into_iter().enumerate() {
        let peer = PeerKey(at as u32);
        fetch.handshake(Instant::ZERO, peer, &hello(size), &mut out);
        assert_eq!(out.pop(), Some(Wish::Part { peer, ban: false }));
        assert!(out.is_empty());
    }
    let unasked = MetadataMessage::Data {
        piece: u32::MAX,
        total_size: u64::MAX,
        data: Bytes::new(),
    };
    fetch.message(Instant::ZERO, PeerKey(9), unasked.clone(), &mut out);
    assert!(out.is_empty());
    fetch.handshake(Instant::ZERO, PeerKey(1), &hello(10), &mut out);
    assert_eq!(out.len(), 1);
    fetch.message(Instant::ZERO, PeerKey(1), unasked, &mut out);
    assert_eq!(out.len(), 1, "not what was asked for");
}

/// The piece after the last one, bytes beyond the end, and a size that changes on the way: nothing of it is
/// taken, and an honest peer is enough.
#[test]
fn attack_13_pieces_out_of_range_and_data_beyond_the_end_are_not_taken() {
    let pieces = SIZE.div_ceil(16384) as u32;
    let long = |piece: u32, extra: usize, total: u64| MetadataMessage::Data {
        piece,
        total_size: total,
        data: Bytes::from(vec![0; 16384 + extra]),
    };
    let size = SIZE as u64;
    for wrong in [
        long(pieces, 0, size),
        long(u32::MAX, 0, size),
        long(0, 1, size),
        long(0, 0, size + 1),
        long(0, 0, 0),
        long(pieces - 1, 0, size),
    ] {
        let mut fetch = Fetch::new();
        let mut out = Vec::new();
        let peer = PeerKey(1);
        fetch.handshake(Instant::ZERO, peer, &hello(size), &mut out);
        out.clear();
        for _ in 0..pieces {
            fetch.message(Instant::ZERO, peer, wrong.clone(), &mut out);
        }
        let checked = out.iter().any(|wish| matches!(wish, Wish::Check(_)));
        assert!(!checked, "{wrong:?} became metadata");
    }
}

//! The info dictionary from peers of which one is honest (BEP 9).

use arbitrary::{Result, Unstructured};
use bytes::Bytes;
use samara_engine::metadata::{Fetch, METADATA_MAX, Wish};
use samara_engine::{Duration, Instant, PeerKey};
use samara_proto::wire::{ExtendedHandshake, MetadataMessage};
use std::collections::BTreeSet;

/// Piece of metadata, bytes (BEP 9).
const PIECE: usize = 16 * 1024;

/// The peer that does not lie.
const HONEST: PeerKey = PeerKey(0);

/// The dictionary that all but the honest peer may lie about.
struct World {
    truth: Bytes,
    fetch: Fetch,
    now: Instant,
    /// Requests that wait at a peer.
    asked: Vec<(PeerKey, u32)>,
    here: BTreeSet<PeerKey>,
    /// Liars that were banned; they do not come back.
    banned: BTreeSet<PeerKey>,
    done: bool,
}

impl World {
    fn perform(&mut self, wishes: Vec<Wish>) {
        for wish in wishes {
            match wish {
                Wish::Ask { peer, piece, .. } => {
                    assert!(self.here.contains(&peer), "asks who is not here");
                    assert!(u64::from(piece) * PIECE as u64 <= METADATA_MAX);
                    self.asked.push((peer, piece));
                }
                Wish::Part { peer, ban } => {
                    assert!(!(ban && peer == HONEST), "the honest peer is banned");
                    self.asked.retain(|(who, _)| *who != peer);
                    self.here.remove(&peer);
                    if ban {
                        self.banned.insert(peer);
                    }
                }
                Wish::Check(bytes) => {
                    assert!(bytes.len() as u64 <= METADATA_MAX);
                    if bytes == self.truth {
                        self.done = true;
                        return;
                    }
                    let mut out = Vec::new();
                    self.fetch.failed(self.now, &mut out);
                    self.perform(out);
                }
            }
        }
    }

    fn with(&mut self, act: impl FnOnce(&mut Fetch, Instant, &mut Vec<Wish>)) {
        let mut out = Vec::new();
        act(&mut self.fetch, self.now, &mut out);
        self.perform(out);
    }

    fn hello(&mut self, peer: PeerKey, size: u64) {
        if self.banned.contains(&peer) {
            return;
        }
        self.here.insert(peer);
        let hello = ExtendedHandshake {
            ut_metadata: Some(3),
            metadata_size: Some(size),
            ..ExtendedHandshake::default()
        };
        self.with(|fetch, now, out| fetch.handshake(now, peer, &hello, out));
    }

    fn say(&mut self, peer: PeerKey, message: MetadataMessage) {
        if self.here.contains(&peer) {
            self.with(|fetch, now, out| fetch.message(now, peer, message, out));
        }
    }

    fn truthfully(&self, piece: u32) -> MetadataMessage {
        let start = piece as usize * PIECE;
        if start >= self.truth.len() {
            return MetadataMessage::Reject { piece };
        }
        let end = self.truth.len().min(start + PIECE);
        MetadataMessage::Data {
            piece,
            total_size: self.truth.len() as u64,
            data: self.truth.slice(start..end),
        }
    }

    fn wait(&mut self, duration: Duration) {
        self.now = self.now + duration;
        // What runs out is asked of others; the answer may still come, too late.
        self.with(|fetch, now, out| fetch.tick(now, out));
    }
}

/// Any history of liars, late answers and timeouts; then the honest peer answers all it is asked, and the
/// dictionary is there, with the honest peer never banned.
pub fn fetch(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let length = [1, 100, PIECE, PIECE + 1, 3 * PIECE - 5][data.len() % 5];
    let truth: Vec<u8> = (0..length).map(|at| (at * 31 % 251) as u8).collect();
    let mut world = World {
        truth: Bytes::from(truth),
        fetch: Fetch::new(),
        now: Instant::ZERO,
        asked: Vec::new(),
        here: BTreeSet::new(),
        banned: BTreeSet::new(),
        done: false,
    };
    let _ = history(&mut world, &mut u);
    // From here on the liars say nothing; the honest one answers.
    for round in 0..200 {
        if world.done {
            return;
        }
        let size = world.truth.len() as u64;
        world.hello(HONEST, size);
        for (peer, piece) in core::mem::take(&mut world.asked) {
            if peer == HONEST {
                let answer = world.truthfully(piece);
                world.say(peer, answer);
            }
        }
        if round % 4 == 3 {
            world.wait(Duration::from_secs(7));
        }
    }
    assert!(world.done, "one honest peer is enough");
}

fn history(world: &mut World, u: &mut Unstructured<'_>) -> Result<()> {
    for _ in 0..200 {
        if u.is_empty() || world.done {
            return Ok(());
        }
        let peer = PeerKey(1 + u32::from(u.arbitrary::<u8>()? % 5));
        let truth = world.truth.len() as u64;
        match u.arbitrary::<u8>()? % 8 {
            0 => {
                let sizes = [truth, truth, 0, 1, 70_000, METADATA_MAX, u64::MAX];
                world.hello(peer, sizes[usize::from(u.arbitrary::<u8>()? % 7)]);
            }
            1 => world.with(|fetch, now, out| fetch.peer_down(now, peer, out)),
            2 => world.wait(Duration::from_millis(u64::from(u.arbitrary::<u16>()?))),
            3 => {
                let piece = u.arbitrary()?;
                world.say(peer, MetadataMessage::Reject { piece });
            }
            4 => {
                let len = usize::from(u.arbitrary::<u8>()? % 8).min(u.len());
                let lie = MetadataMessage::Data {
                    data: Bytes::copy_from_slice(u.bytes(len)?),
                    piece: u32::from(u.arbitrary::<u8>()? % 4),
                    total_size: if u.arbitrary()? {
                        truth
                    } else {
                        u.arbitrary()?
                    },
                };
                world.say(peer, lie);
            }
            // An answer to what was asked, right or wrong.
            n => {
                let place = usize::from(u.arbitrary::<u8>()?);
                if world.asked.is_empty() {
                    continue;
                }
                let (peer, piece) = world.asked.swap_remove(place % world.asked.len());
                let mut answer = world.truthfully(piece);
                if n == 5
                    && let MetadataMessage::Data { data, .. } = &mut answer
                {
                    *data = Bytes::from(vec![7; data.len()]);
                }
                world.say(peer, answer);
            }
        }
    }
    Ok(())
}

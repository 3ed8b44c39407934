//! What the decisions of a torrent cost at 100,000 pieces and 200 peers.
//!
//! `cargo run --release -p samara-engine --example picker_bench [PIECES] [PEERS]`
//!
//! The whole engine is measured, as a driver sees it: a call of `Torrent::handle` for a bitfield, a
//! have, and a block (which picks the next request). Peers have a random half of the pieces, a
//! hundredth of them, or all.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a bench reads the clock"
)]

use bytes::Bytes;
use samara_engine::rng::Rng;
use samara_engine::{
    Config, Input, Instant, Output, Outputs, PeerKey, PieceOutcome, Seed, Spec, Torrent,
};
use samara_proto::metainfo::{Info, Version};
use samara_proto::wire::{Message, Reserved};
use samara_proto::{Bitfield, Geometry, PeerId, Sha1, Span};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant as Clock;

struct Timer {
    name: &'static str,
    nanos: Vec<u64>,
}

impl Timer {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            nanos: Vec::new(),
        }
    }

    fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let start = Clock::now();
        let result = work();
        self.nanos.push(start.elapsed().as_nanos() as u64);
        result
    }

    fn report(mut self) {
        self.nanos.sort_unstable();
        let at = |share: f64| {
            self.nanos[((self.nanos.len() - 1) as f64 * share) as usize] as f64 / 1000.0
        };
        println!(
            "{:34} {:>8} calls   median {:>9.2} us   p99 {:>9.2} us   max {:>10.2} us",
            self.name,
            self.nanos.len(),
            at(0.5),
            at(0.99),
            at(1.0)
        );
    }
}

// long: one scene after the other, each a few lines that share the torrent and its outputs
fn main() {
    let mut args = std::env::args()
        .skip(1)
        .map(|arg| arg.parse().expect("a number"));
    let pieces: u32 = args.next().unwrap_or(100_000);
    let peers: u32 = args.next().unwrap_or(200);
    println!("{pieces} pieces of 64 KiB, {peers} peers");
    let geometry = Geometry::new(65536, u64::from(pieces) * 65536).expect("valid");
    let info = Info {
        raw: Bytes::from_static(b"de"),
        version: Version::V1,
        hash_v1: Some(Sha1([1; 20])),
        hash_v2: None,
        name: "bench".into(),
        single_file: true,
        private: false,
        geometry,
        files: Vec::new(),
        symlinks: Vec::new(),
        pieces: Bytes::new(),
    };
    let spec = Spec {
        info: Arc::new(info),
        peer_id: PeerId([0; 20]),
        listen_port: 1,
        have: Bitfield::empty(pieces),
        files_checked: false,
        trackers: vec![],
        candidates: vec![],
        seed: Seed(1),
    };
    let mut make = Timer::new("a torrent starts");
    let mut torrent = make.time(|| Torrent::new(spec, Arc::new(Config::default()), Instant::ZERO));
    let mut rng = Rng::new(Seed(2), "bench");
    let mut out = Outputs::new();
    let mut join = [
        Timer::new("a peer comes with half"),
        Timer::new("a peer comes with a hundredth"),
        Timer::new("a peer comes with everything"),
    ];
    let mut queue: VecDeque<(PeerKey, Span)> = VecDeque::new();
    for n in 0..peers {
        let peer = PeerKey(n);
        let up = Input::PeerUp {
            peer,
            addr: ([10, 0, (n >> 8) as u8, n as u8], 6881).into(),
            outgoing: false,
            peer_id: PeerId([n as u8 + 1; 20]),
            reserved: Reserved::ours(false),
        };
        torrent.handle(Instant::ZERO, up, &mut out);
        let kind = (n % 10).min(2) as usize;
        let message = match n % 10 {
            1 => bits(&mut rng, pieces, 100),
            2 => Message::HaveAll,
            _ => bits(&mut rng, pieces, 2),
        };
        let kind = if n % 10 > 2 { 0 } else { kind };
        join[kind]
            .time(|| torrent.handle(Instant::ZERO, Input::Message { peer, message }, &mut out));
        let unchoke = Input::Message {
            peer,
            message: Message::Unchoke,
        };
        torrent.handle(Instant::ZERO, unchoke, &mut out);
    }
    let mut have = Timer::new("a peer has one more piece");
    for _ in 0..200_000 {
        let peer = PeerKey(rng.below(peers));
        let message = Message::Have(rng.below(pieces));
        have.time(|| torrent.handle(Instant::ZERO, Input::Message { peer, message }, &mut out));
    }
    let mut block = Timer::new("a block comes, the next is picked");
    let mut done = Timer::new("a piece is verified and announced");
    let mut nanos = 0;
    while block.nanos.len() < 300_000 {
        for output in out.drain(..) {
            match output {
                Output::Send {
                    peer,
                    message: Message::Request(span),
                } => {
                    queue.push_back((peer, span));
                }
                Output::Verify { piece, .. } => queue.push_front((
                    PeerKey(u32::MAX),
                    Span {
                        piece,
                        offset: 0,
                        length: 0,
                    },
                )),
                _ => {}
            }
        }
        let Some((peer, span)) = queue.pop_front() else {
            break;
        };
        nanos += 2_000;
        let now = Instant::from_nanos(nanos);
        if span.length == 0 {
            let outcome = PieceOutcome::Good(Vec::new());
            let input = Input::PieceDone {
                piece: span.piece,
                outcome,
            };
            done.time(|| torrent.handle(now, input, &mut out));
        } else {
            block.time(|| torrent.handle(now, Input::Block { peer, span }, &mut out));
        }
    }
    make.report();
    join.into_iter().for_each(Timer::report);
    have.report();
    block.report();
    done.report();
}

fn bits(rng: &mut Rng, pieces: u32, one_in: u32) -> Message {
    let mut field = Bitfield::empty(pieces);
    for piece in 0..pieces {
        if rng.one_in(one_in) {
            field.set(piece);
        }
    }
    Message::Bitfield(Bytes::from(field.to_wire()))
}

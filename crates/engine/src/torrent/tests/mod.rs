//! Engines under test: joined by perfect pipes (`pipes`), or alone and told facts by hand (`alone`, `line`, `supply`, `turns`).

mod alone;
mod attacks;
mod line;
mod news;
mod parts;
mod pipes;
mod supply;
mod trouble;
mod turns;

use super::*;
use crate::io::SeedGoal;
use crate::rng::Seed;
use bytes::Bytes;
use samara_proto::metainfo::{Info, Version};
use samara_proto::{Bitfield, Sha1};

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
fn forever() -> Config {
    Config {
        seed_goal: SeedGoal::Forever,
        ..Config::default()
    }
}

//! How fast a torrent is checked from the page cache, by pieces and by whole files, and what a
//! journal costs: a file of zeros with a mark in each piece, 2 GiB unless said otherwise.
//!
//!     cargo run --release -p samara-disk --example verify_bench [GIB] [FOLDER]

use bytes::Bytes;
use samara_disk::check::{Control, check_files, verify};
use samara_disk::hash::sha1_many;
use samara_disk::resume::Journal;
use samara_disk::store::{Store, StoreOptions};
use samara_proto::metainfo::{File, Info, Version};
use samara_proto::{Geometry, Sha1, Sha256, merkle};
use sha1::Digest;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

const PIECE: u32 = 512 << 10;

fn info(total: u64, pieces: &[Bytes]) -> Info {
    let file = File {
        path: vec!["verify_bench.data".into()],
        length: total,
        offset: 0,
        sha1: None,
        root: None,
        layer: Vec::new(),
        executable: false,
    };
    let mut info = Info {
        raw: Bytes::new(),
        version: Version::Hybrid,
        hash_v1: Some(Sha1(sha1::Sha1::digest(total.to_be_bytes()).into())),
        hash_v2: None,
        name: "verify_bench.data".into(),
        single_file: true,
        private: false,
        geometry: Geometry::new(PIECE, total).expect("not empty"),
        files: vec![file],
        symlinks: Vec::new(),
        pieces: Bytes::new(),
    };
    let slices: Vec<&[u8]> = pieces.iter().map(AsRef::as_ref).collect();
    let mut digests = vec![[0; 20]; slices.len()];
    sha1_many(&slices, &mut digests);
    info.pieces = digests.concat().into();
    let leaves = pieces
        .iter()
        .flat_map(|piece| piece.chunks(merkle::LEAF as usize));
    let leaves: Vec<Sha256> = leaves
        .map(|leaf| Sha256(sha2::Sha256::digest(leaf).into()))
        .collect();
    info.files[0].root = Some(merkle::root(&leaves));
    info
}

fn main() {
    let mut args = std::env::args().skip(1);
    let gib: u64 = args.next().and_then(|text| text.parse().ok()).unwrap_or(2);
    let root = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    // A folder of our own: it is removed at the end.
    let root = root.join(format!("samara-verify-bench-{}", std::process::id()));
    let total = gib << 30;
    let data: Vec<Bytes> = (0..total / u64::from(PIECE))
        .map(|piece| {
            let mut bytes = vec![0; PIECE as usize];
            bytes[..8].copy_from_slice(&piece.to_be_bytes());
            bytes.into()
        })
        .collect();
    let info = Arc::new(info(total, &data));
    let store = Store::open(Arc::clone(&info), &root, StoreOptions::default()).expect("opened");
    let speed = |what: &str, start: Instant| {
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "{what:32}{:8.2} GiB/s  {seconds:8.3} s",
            gib as f64 / seconds
        );
    };

    let start = Instant::now();
    for (piece, bytes) in (0..).zip(&data) {
        store
            .write_piece(piece, std::slice::from_ref(bytes))
            .expect("written");
    }
    speed("write_piece, page cache", start);
    let cancel = AtomicBool::new(false);
    for threads in [1, 0] {
        let control = Control {
            threads,
            progress: &|_| {},
            cancel: &cancel,
        };
        let start = Instant::now();
        assert!(verify(&store, control).expect("readable").is_full());
        speed(&format!("verify, SHA-1, threads={threads}"), start);
        let start = Instant::now();
        println!("{:?}", check_files(&store, control).expect("readable"));
        speed(&format!("check_files, root, threads={threads}"), start);
    }
    let (mut journal, _) = Journal::open(Arc::clone(&info), &root).expect("not busy");
    let start = Instant::now();
    journal.commit(&store).expect("committed");
    println!(
        "{:32}{:>24.3} s",
        "first commit, data to disk",
        start.elapsed().as_secs_f64()
    );
    let start = Instant::now();
    for piece in 0..100 {
        journal.record([piece]);
        journal.commit(&store).expect("committed");
    }
    println!(
        "{:32}{:>24.3} s",
        "commit, nothing to sync",
        start.elapsed().as_secs_f64() / 100.0
    );
    journal.finish(&store, false).expect("committed");
    let start = Instant::now();
    let (journal, _) = Journal::open(Arc::clone(&info), &root).expect("not busy");
    println!("{:32}{:>24.3} s", "open", start.elapsed().as_secs_f64());
    drop(journal);
    let _ = std::fs::remove_dir_all(root);
}

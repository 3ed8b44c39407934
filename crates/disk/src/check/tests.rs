use super::*;
use crate::store::{Store, StoreOptions};
use crate::testing::{self, blocks, content, packed, with_v1_hashes};
use samara_proto::metainfo::Info;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const FILES: [(&str, u64); 7] = [
    ("t/a", 300_000),
    ("t/empty", 0),
    ("t/b", 5),
    ("t/c", 65_536),
    ("t/d/long", 9_500_000),
    ("t/d/exact", 4 << 20),
    ("t/last", 40_000),
];

fn samples() -> Vec<Info> {
    vec![
        with_v1_hashes(packed(32768, &FILES)),
        with_v1_hashes(packed(5 << 20, &FILES)),
        testing::v2(32768, &FILES, false),
        testing::v2(8 << 20, &FILES, false),
        testing::v2(65536, &FILES, true),
    ]
}

fn put(info: &Info, root: &Path) {
    for (index, file) in info.files.iter().enumerate() {
        let path = root.join(file.path.join("/"));
        fs::create_dir_all(path.parent().expect("below root")).expect("made");
        fs::write(path, content(index, file.length)).expect("written");
    }
}

fn reader(info: &Info, root: &Path) -> Store {
    Store::open(Arc::new(info.clone()), root, StoreOptions::read_only()).expect("opened")
}

/// Runs `check` and adds up its progress.
fn run<T>(
    threads: usize,
    check: impl FnOnce(Control<'_>) -> Result<T, CheckError>,
) -> (Result<T, CheckError>, u64) {
    let bytes = AtomicU64::new(0);
    let progress = |more: u64| {
        bytes.fetch_add(more, Ordering::Relaxed);
    };
    let cancel = AtomicBool::new(false);
    let control = Control {
        threads,
        progress: &progress,
        cancel: &cancel,
    };
    let result = check(control);
    (result, bytes.into_inner())
}

fn outcomes(store: &Store, threads: usize) -> Vec<Outcome> {
    let (checks, _) = run(threads, |control| check_files(store, control));
    let checks = checks.expect("readable");
    assert!((0..).zip(&checks).all(|(at, check)| check.file == at));
    checks.iter().map(|check| check.outcome).collect()
}

#[test]
fn what_is_whole_is_found_whole() {
    for info in samples() {
        let dir = tempfile::tempdir().expect("made");
        put(&info, dir.path());
        let store = reader(&info, dir.path());
        for threads in [1, 2, 5] {
            let (have, bytes) = run(threads, |control| verify(&store, control));
            assert!(have.expect("readable").is_full(), "{:?}", info.version);
            assert_eq!(bytes, info.total());
            assert_eq!(outcomes(&store, threads), [Outcome::Ok; FILES.len()]);
        }
        let (_, bytes) = run(0, |control| check_files(&store, control));
        assert_eq!(bytes, info.total());
    }
}

#[test]
fn what_is_wrong_missing_or_short_is_found_and_nothing_else() {
    for info in samples() {
        let dir = tempfile::tempdir().expect("made");
        put(&info, dir.path());
        let path = |file: usize| dir.path().join(info.files[file].path.join("/"));
        // One byte in the long file, one file gone, one cut.
        let mut long = content(4, info.files[4].length);
        long[7_000_000] ^= 1;
        fs::write(path(4), long).expect("written");
        fs::remove_file(path(0)).expect("removed");
        fs::write(path(6), &content(6, 40_000)[..39_999]).expect("written");

        let store = reader(&info, dir.path());
        let (have, _) = run(2, |control| verify(&store, control));
        let have = have.expect("readable");
        let layout = store.layout();
        let wrong = info.files[4].offset + 7_000_000;
        let mut lacking: Vec<u32> = layout.pieces_of(wrong, 1).collect();
        lacking.extend(layout.pieces_of(info.files[0].offset, info.files[0].length));
        // Pieces of the cut file that need its last byte.
        lacking.extend(layout.pieces_of(info.files[6].offset + 39_999, 1));
        for piece in 0..have.len() {
            assert_eq!(have.get(piece), !lacking.contains(&piece), "{piece}");
        }
        let mut want = [Outcome::Ok; FILES.len()];
        (want[0], want[4], want[6]) = (Outcome::Missing, Outcome::Bad, Outcome::Bad);
        assert_eq!(outcomes(&store, 2), want);
    }
}

#[test]
fn only_what_was_asked_for() {
    let info = with_v1_hashes(packed(32768, &FILES));
    let dir = tempfile::tempdir().expect("made");
    put(&info, dir.path());
    let store = reader(&info, dir.path());
    let mut which = samara_proto::Bitfield::empty(info.geometry.pieces());
    for piece in [0, 1, 2, 7, 100, 102] {
        which.set(piece);
    }
    let (have, bytes) = run(2, |control| verify_some(&store, &which, control));
    assert_eq!(have.expect("readable"), which);
    assert_eq!(bytes, 6 * 32768);
}

#[test]
fn pieces_that_do_not_fit_in_memory() {
    let files = [("t/a", 40_000_000), ("t/b", 100_000)];
    let v1 = with_v1_hashes(packed(35_000_000, &files));
    let padded = with_v1_hashes(testing::v1(
        35_000_000,
        &[("a", 10, 0), ("b", 9, 35_000_000)],
        35_000_009,
    ));
    for info in [v1, padded, testing::v2(64 << 20, &files, false)] {
        let dir = tempfile::tempdir().expect("made");
        put(&info, dir.path());
        let store = reader(&info, dir.path());
        let (have, _) = run(2, |control| verify(&store, control));
        assert!(have.expect("readable").is_full());
        let path = dir.path().join(info.files[1].path.join("/"));
        fs::write(path, content(3, info.files[1].length)).expect("written");
        let (have, _) = run(2, |control| verify(&store, control));
        let have = have.expect("readable");
        assert!(have.get(0) && !have.get(1));
    }
}

#[test]
fn without_hashes_of_files() {
    let mut info = with_v1_hashes(packed(32768, &FILES));
    info.files.iter_mut().for_each(|file| file.sha1 = None);
    let dir = tempfile::tempdir().expect("made");
    put(&info, dir.path());
    fs::remove_file(dir.path().join("t/b")).expect("removed");
    let got = outcomes(&reader(&info, dir.path()), 1);
    let mut want = [Outcome::NoHash; FILES.len()];
    (want[1], want[2]) = (Outcome::Ok, Outcome::Missing);
    assert_eq!(got, want);
}

#[test]
fn stops_when_told() {
    let info = with_v1_hashes(packed(32768, &FILES));
    let dir = tempfile::tempdir().expect("made");
    put(&info, dir.path());
    let store = reader(&info, dir.path());
    let control = Control {
        threads: 2,
        progress: &|_| {},
        cancel: &AtomicBool::new(true),
    };
    assert!(matches!(
        verify(&store, control),
        Err(CheckError::Cancelled)
    ));
    assert!(matches!(
        check_files(&store, control),
        Err(CheckError::Cancelled)
    ));
}

#[test]
fn what_was_written_piece_by_piece_is_whole() {
    for info in samples() {
        let dir = tempfile::tempdir().expect("made");
        let info = Arc::new(info);
        let store = Store::open(Arc::clone(&info), dir.path(), StoreOptions::default());
        let store = store.expect("opened");
        let (have, _) = run(2, |control| verify(&store, control));
        assert_eq!(have.expect("readable").count(), 0);
        for piece in 0..info.geometry.pieces() {
            let blocks = blocks(&info, piece);
            assert!(piece_ok(&info, piece, &blocks));
            store.write_piece(piece, &blocks).expect("written");
        }
        let (have, _) = run(2, |control| verify(&store, control));
        assert!(have.expect("readable").is_full());
        assert_eq!(outcomes(&store, 2), [Outcome::Ok; FILES.len()]);
    }
}

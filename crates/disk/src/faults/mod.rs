//! Downloads onto disks that fail, process by process: every call to the disk fails once (`every_call`), or
//! the power goes at every moment (`power`). After each, the next process finishes; every byte is right, and
//! nothing that a commit had vouched for is fetched again.

mod every_call;
mod power;

use crate::check::{CheckError, Control, FileCheck, Outcome, check_files, verify_some};
use crate::resume::{BeginError, JournalError, begin};
use crate::seam::Seam;
use crate::store::{Store, StoreOptions};
use crate::testing::{blocks, content, v1, with_v1_hashes};
use samara_proto::Bitfield;
use samara_proto::metainfo::Info;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Pieces between two commits, as time and bytes are in the node.
const COMMIT_EVERY: usize = 3;

/// Three files in two folders, pieces across files, a last piece that is short.
fn sample() -> Arc<Info> {
    let files = [
        ("t/a", 40_000, 0),
        ("t/d/b", 70_000, 40_000),
        ("t/d/c", 60_000, 110_000),
    ];
    Arc::new(with_v1_hashes(v1(16384, &files, 170_000)))
}

/// A folder in memory where there is one: `fsync` costs nothing there, and nothing here rests on what the
/// real one does.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    };
    made.expect("a folder")
}

/// What one process has seen and done.
#[derive(Debug, Default)]
struct Told {
    /// How often each piece was fetched.
    fetched: BTreeMap<u32, u32>,
    /// Pieces that a commit has vouched for.
    committed: BTreeSet<u32>,
    warnings: Vec<String>,
    /// Why it ended early.
    failed: Option<String>,
    complete: bool,
}

fn control() -> Control<'static> {
    static NEVER: AtomicBool = AtomicBool::new(false);
    Control {
        threads: 1,
        progress: &|_| {},
        cancel: &NEVER,
    }
}

/// A process that downloads what is missing, as the node does: it ends when the disk fails, and goes on when
/// only the journal does. `trusted` sees the pieces that were not hashed; `committed` hears of each commit.
fn process(
    info: &Arc<Info>,
    root: &Path,
    seam: &Seam,
    trusted: impl FnOnce(&Store, &Bitfield),
    mut committed: impl FnMut(&BTreeSet<u32>),
) -> Told {
    let mut told = Told::default();
    let mut hashed = Bitfield::empty(info.geometry.pieces());
    let begun = begin(
        info,
        root,
        StoreOptions::default(),
        seam,
        |text| told.warnings.push(text),
        |store, suspects| {
            hashed = verify_some(store, suspects, control())?;
            Ok(hashed.clone())
        },
    );
    let mut begun = match begun {
        Ok(begun) => begun,
        Err(error) => {
            told.failed = Some(say(&error));
            return told;
        }
    };
    let mut unhashed = begun.have.clone();
    for piece in hashed.iter() {
        unhashed.clear(piece);
    }
    trusted(&begun.store, &unhashed);
    let mut ours: BTreeSet<u32> = begun.have.iter().collect();
    told.committed.extend(unhashed.iter());
    let mut since = 0;
    for piece in (0..info.geometry.pieces()).filter(|piece| !begun.have.get(*piece)) {
        *told.fetched.entry(piece).or_default() += 1;
        if let Err(error) = begun.store.write_piece(piece, &blocks(info, piece)) {
            told.failed = Some(error.to_string());
            break;
        }
        begun.journal.record([piece]);
        ours.insert(piece);
        since += 1;
        if since < COMMIT_EVERY {
            continue;
        }
        since = 0;
        match begun.journal.commit(&begun.store) {
            Ok(()) => {
                told.committed.extend(&ours);
                committed(&told.committed);
            }
            Err(error @ JournalError::Data(_)) => {
                told.failed = Some(error.to_string());
                break;
            }
            Err(error) => told.warnings.push(error.to_string()),
        }
    }
    if told.failed.is_none() {
        let checks = check_files(&begun.store, control());
        let ok = |check: &FileCheck| check.outcome == Outcome::Ok;
        told.complete = checks.is_ok_and(|checks| checks.iter().all(ok));
        if !told.complete {
            told.failed = Some("the files could not be checked".into());
        }
    }
    match begun.journal.finish(&begun.store, told.complete) {
        Ok(()) => {
            told.committed.extend(&ours);
            committed(&told.committed);
        }
        Err(error) => told.warnings.push(error.to_string()),
    }
    told
}

fn say(error: &BeginError) -> String {
    match error {
        BeginError::Journal(error) => error.to_string(),
        BeginError::Check(CheckError::Disk(error)) => error.to_string(),
        BeginError::Check(CheckError::Cancelled) => "it was cancelled by nobody".into(),
    }
}

/// Every file is what it should be, byte for byte.
fn assert_whole(info: &Info, root: &Path, what: &dyn Debug) {
    for (index, file) in info.files.iter().enumerate() {
        let path: PathBuf = root.join(file.path.join("/"));
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{what:?}: {path:?}: {error}"));
        let same = bytes == content(index, file.length);
        assert!(same, "{what:?}: {path:?} differs");
    }
}

/// What is right of these pieces, looked at past whatever seam the store has.
fn truth(store: &Store, pieces: &Bitfield) -> Bitfield {
    let options = StoreOptions::read_only();
    let plain = Store::open(Arc::clone(store.info()), store.root(), options);
    verify_some(&plain.expect("opened"), pieces, control()).expect("readable")
}

/// Pieces that are trusted without being hashed are right.
fn assert_true(store: &Store, trusted: &Bitfield, what: &dyn Debug) {
    let right = truth(store, trusted);
    assert_eq!(&right, trusted, "{what:?}: the journal lies");
}

use super::*;
use crate::check::{Control, piece_ok, verify_some};
use crate::store::StoreOptions;
use crate::testing::{blocks, content, packed, v1, with_v1_hashes};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;

/// Five pieces a file, no piece in two files.
fn sample() -> Arc<Info> {
    let files = [
        ("t/a", 81_920, 0),
        ("t/b", 81_920, 81_920),
        ("t/c", 81_920, 163_840),
    ];
    Arc::new(with_v1_hashes(v1(16384, &files, 245_760)))
}

fn store(info: &Arc<Info>, root: &Path) -> Store {
    Store::open(Arc::clone(info), root, StoreOptions::default()).expect("opened")
}

fn open(info: &Arc<Info>, root: &Path) -> (Journal, Recovered) {
    Journal::open(Arc::clone(info), root).expect("not busy")
}

fn put(store: &Store, journal: &mut Journal, pieces: impl IntoIterator<Item = u32>) {
    for piece in pieces {
        let blocks = blocks(store.info(), piece);
        assert!(piece_ok(store.info(), piece, &blocks));
        store.write_piece(piece, &blocks).expect("written");
        journal.record([piece]);
    }
}

fn list(field: &Bitfield) -> Vec<u32> {
    field.iter().collect()
}

fn journal_path(info: &Info, root: &Path) -> PathBuf {
    root.join(".samara")
        .join(format!("{}.redb", info.info_hash()))
}

/// A folder where pieces 0..12 are committed and nothing else.
fn begun(info: &Arc<Info>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("made");
    let (mut journal, recovered) = open(info, dir.path());
    assert!(recovered.fresh && recovered.warning.is_none());
    let store = store(info, dir.path());
    put(&store, &mut journal, 0..12);
    journal.commit(&store).expect("committed");
    dir
}

#[test]
fn goes_on_where_it_was() {
    let info = sample();
    let dir = begun(&info);
    for _ in 0..2 {
        let (_journal, recovered) = open(&info, dir.path());
        assert!(!recovered.fresh && !recovered.complete);
        assert_eq!(list(&recovered.have), (0..12).collect::<Vec<_>>());
        assert_eq!(recovered.recheck.count(), 0);
        assert_eq!(recovered.warning, None);
        // Opening the files changes none of them.
        store(&info, dir.path());
    }
}

#[test]
fn complete_stays_complete_and_small() {
    let info = sample();
    let dir = begun(&info);
    let (mut journal, _) = open(&info, dir.path());
    let store = store(&info, dir.path());
    put(&store, &mut journal, 12..15);
    journal.finish(&store, true).expect("committed");
    let size = fs::metadata(journal_path(&info, dir.path()))
        .expect("there")
        .len();
    assert!(size <= 256 << 10, "{size}");
    let (journal, recovered) = open(&info, dir.path());
    assert!(recovered.complete && recovered.have.is_full());
    drop(journal);
    fs::write(dir.path().join("t/b"), content(1, 81_920)).expect("written");
    let (_, recovered) = open(&info, dir.path());
    assert!(!recovered.complete);
    assert_eq!(list(&recovered.recheck), [5, 6, 7, 8, 9]);
}

#[test]
fn what_was_not_committed_is_not_there_but_what_was_is_rechecked() {
    let info = sample();
    let dir = begun(&info);
    {
        let (mut journal, _) = open(&info, dir.path());
        let store = store(&info, dir.path());
        put(&store, &mut journal, [14]);
        // Killed here: file c has changed since the journal looked at it.
    }
    let (mut journal, recovered) = open(&info, dir.path());
    assert_eq!(list(&recovered.have), (0..10).collect::<Vec<_>>());
    assert_eq!(list(&recovered.recheck), [10, 11]);

    // Killed again after a commit, before the recheck: still to be rechecked, not trusted.
    let store = store(&info, dir.path());
    put(&store, &mut journal, [13]);
    journal.commit(&store).expect("committed");
    drop(journal);
    let (mut journal, recovered) = open(&info, dir.path());
    assert_eq!(list(&recovered.recheck), [10, 11]);
    assert!(recovered.have.get(13));

    let control = Control {
        threads: 1,
        progress: &|_| {},
        cancel: &AtomicBool::new(false),
    };
    let right = verify_some(&store, &recovered.recheck, control).expect("readable");
    assert_eq!(right, recovered.recheck);
    journal.record(right.iter());
    journal.commit(&store).expect("committed");
    drop(journal);
    let (_, recovered) = open(&info, dir.path());
    assert_eq!(recovered.recheck.count(), 0);
    assert_eq!(
        list(&recovered.have),
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13]
    );
}

#[test]
fn rejected_pieces_are_forgotten() {
    let info = sample();
    let dir = begun(&info);
    let store = store(&info, dir.path());
    let (mut journal, _) = open(&info, dir.path());
    journal.reject([3, 100]);
    journal.record([100]);
    journal.commit(&store).expect("committed");
    drop(journal);
    let (_, recovered) = open(&info, dir.path());
    assert!(!recovered.have.get(3) && !recovered.recheck.get(3));
    assert_eq!(recovered.have.count(), 11);
}

#[test]
fn attack_09_changed_cut_replaced_and_deleted_files_are_noticed() {
    let info = sample();
    type Change = fn(&Path);
    let changes: [(&str, Change); 5] = [
        ("written in place", |path| {
            use std::os::unix::fs::FileExt;
            let file = fs::OpenOptions::new()
                .write(true)
                .open(path)
                .expect("there");
            file.write_all_at(b"x", 5).expect("written");
        }),
        ("cut", |path| {
            let file = fs::OpenOptions::new()
                .write(true)
                .open(path)
                .expect("there");
            file.set_len(81_919).expect("cut");
        }),
        ("replaced, same size and time", |path| {
            let old = fs::metadata(path).expect("there");
            let new = path.with_extension("new");
            fs::write(&new, vec![1; 81_920]).expect("written");
            let file = fs::OpenOptions::new()
                .write(true)
                .open(&new)
                .expect("there");
            file.set_modified(old.modified().expect("known"))
                .expect("set");
            fs::rename(new, path).expect("moved");
        }),
        ("deleted", |path| fs::remove_file(path).expect("removed")),
        ("a folder", |path| {
            fs::remove_file(path).expect("removed");
            fs::create_dir(path).expect("made");
        }),
    ];
    for (at, (name, change)) in changes.into_iter().enumerate() {
        let dir = begun(&info);
        change(&dir.path().join("t/b"));
        let (_, recovered) = open(&info, dir.path());
        assert_eq!(list(&recovered.have), [0, 1, 2, 3, 4, 10, 11], "{name}");
        let want = if at < 3 { vec![5, 6, 7, 8, 9] } else { vec![] };
        assert_eq!(list(&recovered.recheck), want, "{name}");
    }
    let dir = begun(&info);
    fs::remove_dir_all(dir.path().join("t")).expect("removed");
    let (_, recovered) = open(&info, dir.path());
    assert_eq!((recovered.have.count(), recovered.recheck.count()), (0, 0));
}

#[test]
fn a_file_replaced_while_we_run_is_not_vouched_for() {
    let info = sample();
    let dir = begun(&info);
    let (mut journal, _) = open(&info, dir.path());
    let store = store(&info, dir.path());
    put(&store, &mut journal, [12]);
    let path = dir.path().join("t/c");
    fs::copy(&path, dir.path().join("new")).expect("copied");
    fs::rename(dir.path().join("new"), &path).expect("moved");
    put(&store, &mut journal, [13]);
    journal.commit(&store).expect("committed");
    drop(journal);
    let (_, recovered) = open(&info, dir.path());
    assert_eq!(list(&recovered.recheck), [10, 11, 12, 13]);
}

#[test]
fn a_damaged_journal_is_absent_and_never_wrong() {
    let info = sample();
    let dir = begun(&info);
    let path = journal_path(&info, dir.path());
    let good = fs::read(&path).expect("there");
    let mut damages: Vec<Vec<u8>> = Vec::new();
    for len in [1, 5, 100, 512, 4096, good.len() / 2, good.len() - 1] {
        damages.push(good[..len].to_vec());
    }
    for at in (0..good.len()).step_by(997).chain(0..96) {
        let mut bad = good.clone();
        bad[at] ^= 0x5a;
        damages.push(bad);
    }
    for at in (0..good.len()).step_by(4096) {
        let mut bad = good.clone();
        bad[at..(at + 4096).min(good.len())].fill(0xee);
        damages.push(bad);
    }
    damages.push(b"something of the user's".to_vec());
    damages.push(vec![0; 10_000]);
    let mut absent = 0;
    for bad in damages {
        fs::write(&path, bad).expect("written");
        let (journal, recovered) = open(&info, dir.path());
        // Damage in unused places does not matter; anywhere else it is noticed.
        let found = list(&recovered.have);
        assert!(found.is_empty() || found == (0..12).collect::<Vec<_>>());
        assert_eq!(recovered.recheck.count(), 0);
        assert_eq!(recovered.fresh, found.is_empty());
        if recovered.fresh {
            assert!(recovered.warning.is_some());
            absent += 1;
        }
        drop(journal);
        // And whatever it was, the next one works.
        let (_, again) = open(&info, dir.path());
        assert_eq!(again.warning, None);
    }
    assert!(absent > 10, "{absent}");
}

#[test]
fn other_torrents_and_versions_are_not_read() {
    let info = sample();
    let dir = begun(&info);
    let other = Arc::new(packed(16384, &[("x", 100_000)]));
    let (from, to) = (
        journal_path(&info, dir.path()),
        journal_path(&other, dir.path()),
    );
    fs::copy(&from, &to).expect("copied");
    let (_, recovered) = open(&other, dir.path());
    assert!(recovered.fresh);
    assert!(recovered.warning.expect("said").contains("another torrent"));

    let database = Database::open(&from).expect("opened");
    let transaction = database.begin_write().expect("begun");
    {
        let meta = redb::TableDefinition::<&str, &str>::new("meta");
        let mut meta = transaction.open_table(meta).expect("there");
        meta.insert("format", "1").expect("written");
    }
    transaction.commit().expect("committed");
    drop(database);
    let (_, recovered) = open(&info, dir.path());
    assert!(recovered.fresh);
    assert!(recovered.warning.expect("said").contains("another version"));
}

#[test]
fn a_folder_that_cannot_be_written_costs_a_warning() {
    let info = sample();
    let dir = tempfile::tempdir().expect("made");
    // A file where the folder should be: nobody can write there, root included.
    fs::write(dir.path().join(".samara"), "").expect("written");
    let (mut journal, recovered) = open(&info, dir.path());
    assert!(recovered.fresh && recovered.warning.is_some());
    let store = store(&info, dir.path());
    put(&store, &mut journal, 0..3);
    let error = journal.commit(&store).expect_err("still not");
    assert!(matches!(error, JournalError::Write { .. }), "{error}");
    // It can be written after all.
    fs::remove_file(dir.path().join(".samara")).expect("removed");
    put(&store, &mut journal, 3..4);
    journal.commit(&store).expect("now it is");
    drop(journal);
    let (_, recovered) = open(&info, dir.path());
    assert_eq!(list(&recovered.have), [0, 1, 2, 3]);
}

#[test]
fn a_journal_is_read_where_it_cannot_be_written() {
    let info = sample();
    let dir = begun(&info);
    let path = journal_path(&info, dir.path());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).expect("set");
    let (_, recovered) = open(&info, dir.path());
    assert_eq!(recovered.have.count(), 12);
    // Where permissions do not bind (root), the copy in memory is at least read the same.
    let found = table::read_only(&path, &table::identity(&info), &info).expect("read");
    assert_eq!(found.have.count(), 12);
}

#[test]
fn many_pieces_and_files() {
    let names: Vec<String> = (0..2000).map(|at| format!("t/{at}")).collect();
    let files: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 1000)).collect();
    // 125,000 pieces: several pages.
    let info = Arc::new(packed(16, &files));
    let dir = tempfile::tempdir().expect("made");
    let store = store(&info, dir.path());
    let (mut journal, _) = open(&info, dir.path());
    let pieces = info.geometry.pieces();
    journal.record((0..pieces).filter(|piece| piece % 7 != 0));
    journal.commit(&store).expect("committed");
    journal.record([0, 70_000]);
    journal.commit(&store).expect("committed");
    drop(journal);
    let (_, recovered) = open(&info, dir.path());
    let want = |piece: u32| !piece.is_multiple_of(7) || piece == 0 || piece == 70_000;
    assert!((0..pieces).all(|piece| recovered.have.get(piece) == want(piece)));
}

const CHILD: &str = "SAMARA_TEST_JOURNAL_CHILD";

/// Runs [`child`] in a process of its own.
fn spawn(root: &Path) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().expect("known"))
        .args([
            "--exact",
            "resume::tests::child",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(CHILD, root)
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let out = BufReader::new(child.stdout.take().expect("piped"));
    (child, out)
}

/// Not a test by itself: what the other process of the tests below does. Downloads and commits, and
/// says after each commit how many pieces are in the journal, until it is killed.
#[test]
fn child() {
    let Ok(root) = std::env::var(CHILD) else {
        return;
    };
    let root = Path::new(&root);
    let info = many();
    let (mut journal, recovered) = open(&info, root);
    let store = store(&info, root);
    for piece in 0..info.geometry.pieces() {
        if recovered.have.get(piece) || recovered.recheck.get(piece) {
            continue;
        }
        put(&store, &mut journal, [piece]);
        if piece % 3 == 0 {
            journal.commit(&store).expect("committed");
            println!("\ncommitted {}", piece + 1);
            std::io::stdout().flush().expect("heard");
        }
    }
    std::thread::park();
}

fn many() -> Arc<Info> {
    Arc::new(with_v1_hashes(packed(
        16384,
        &[("t/a", 1_000_000), ("t/b", 5_000_000)],
    )))
}

fn committed(line: &str) -> Option<u32> {
    line.strip_prefix("committed ")?.trim().parse().ok()
}

#[test]
fn killed_again_and_again() {
    let info = many();
    let dir = tempfile::tempdir().expect("made");
    let mut least = 0;
    for round in 0..6 {
        let (mut child, out) = spawn(dir.path());
        let lines = out.lines().map_while(Result::ok);
        let commits = lines.filter_map(|line| committed(&line));
        least = commits.take(1 + round * 2).last().expect("a commit");
        // Between two commits, or inside one.
        child.kill().expect("killed");
        child.wait().expect("gone");

        let (journal, recovered) = open(&info, dir.path());
        assert!(!recovered.fresh, "{:?}", recovered.warning);
        // All that was committed is known; nothing is trusted that is not right.
        for piece in 0..least {
            assert!(
                recovered.have.get(piece) || recovered.recheck.get(piece),
                "{piece}"
            );
        }
        let store = store(&info, dir.path());
        let control = Control {
            threads: 1,
            progress: &|_| {},
            cancel: &AtomicBool::new(false),
        };
        for field in [&recovered.have, &recovered.recheck] {
            assert_eq!(
                &verify_some(&store, field, control).expect("readable"),
                field
            );
        }
        drop(journal);
    }
    assert!(least > 20, "{least}");
}

#[test]
fn two_processes() {
    let info = many();
    let dir = tempfile::tempdir().expect("made");
    let (mut child, out) = spawn(dir.path());
    let mut lines = out.lines().map_while(Result::ok);
    lines.find_map(|line| committed(&line)).expect("a commit");
    let error = Journal::open(Arc::clone(&info), dir.path()).expect_err("locked");
    assert!(matches!(error, JournalError::Busy { .. }));
    let text = error.to_string();
    assert!(
        text.contains("another samara is already downloading here"),
        "{text}"
    );
    child.kill().expect("killed");
    child.wait().expect("gone");
    open(&info, dir.path());
}

#[test]
fn two_in_one_process() {
    let info = sample();
    let dir = begun(&info);
    let (_journal, _) = open(&info, dir.path());
    let error = Journal::open(Arc::clone(&info), dir.path()).expect_err("locked");
    assert!(matches!(error, JournalError::Busy { .. }));
}

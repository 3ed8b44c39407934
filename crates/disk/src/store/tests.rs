use super::*;
use crate::testing::{self, blocks, content, packed, piece_bytes};
use bytes::Bytes;
use samara_proto::Span;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::Command;

fn temp() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn open(info: &Arc<Info>, root: &Path, options: StoreOptions) -> Result<Store, DiskError> {
    Store::open(Arc::clone(info), root, options)
}

fn open_among(info: &Arc<Info>, root: &Path, descriptors: &Arc<Descriptors>) -> Store {
    let (options, seam) = (StoreOptions::default(), Seam::default());
    Store::open_among(Arc::clone(info), root, options, seam, descriptors).expect("opened")
}

fn fault(error: &DiskError) -> Fault {
    match error.cause() {
        Cause::Fault(fault) => fault,
        other => panic!("{other:?}: {error}"),
    }
}

fn write_all_pieces(store: &Store) {
    for piece in 0..store.info().geometry.pieces() {
        store
            .write_piece(piece, &blocks(store.info(), piece))
            .expect("written");
    }
}

fn assert_content(info: &Info, root: &Path) {
    for (index, file) in info.files.iter().enumerate() {
        let bytes = fs::read(root.join(file.path.join("/"))).expect("there");
        assert!(bytes == content(index, file.length), "{:?}", file.path);
    }
}

#[test]
fn pieces_across_files_padding_and_scripts() {
    let dir = temp();
    let info = Arc::new(testing::v1(
        32768,
        &[
            ("t/просто/файл.txt", 10, 0),
            ("t/空", 0, 10),
            ("t/문서/a", 40_000, 10),
            ("t/padded", 20_000, 65_536),
            ("t/ملف", 100_000, 98_304),
        ],
        198_304,
    ));
    let store = open(&info, dir.path(), StoreOptions::default()).expect("opened");
    assert_eq!(
        fs::metadata(dir.path().join("t/空"))
            .expect("made at once")
            .len(),
        0
    );
    write_all_pieces(&store);
    assert_eq!(store.sync().expect("synced"), [0, 2, 3, 4]);
    assert!(store.sync().expect("synced").is_empty());
    assert_content(&info, dir.path());

    let reader = open(&info, dir.path(), StoreOptions::read_only()).expect("opened");
    for piece in 0..info.geometry.pieces() {
        let want = piece_bytes(&info, piece);
        for (offset, length) in [
            (0, want.len() as u32),
            (1, 5),
            (9, 300),
            (want.len() as u32 - 7, 7),
        ] {
            let span = Span {
                piece,
                offset,
                length,
            };
            let mut got = vec![1; length as usize];
            reader.read(span, &mut got).expect("read");
            let want = &want[offset as usize..(offset + length) as usize];
            assert!(got == want, "{span:?}");

            let mut sent = Vec::new();
            for segment in reader.segments(span).expect("there") {
                use std::os::unix::fs::FileExt;
                match segment {
                    Segment::Zeros { len } => sent.resize(sent.len() + len as usize, 0),
                    Segment::File { file, offset, len } => {
                        let at = sent.len();
                        sent.resize(at + len as usize, 0);
                        file.read_exact_at(&mut sent[at..], offset).expect("read");
                    }
                }
            }
            assert!(sent == want, "{span:?}");
        }
    }
}

#[test]
fn misuse_is_an_error() {
    let dir = temp();
    let info = Arc::new(packed(16384, &[("f", 20_000)]));
    let store = open(&info, dir.path(), StoreOptions::default()).expect("opened");
    let error = store
        .write_piece(0, &blocks(&info, 1))
        .expect_err("too short");
    assert_eq!(fault(&error), Fault::Misuse);
    assert!(store.write_piece(2, &[]).is_err());
    let past = Span {
        piece: 1,
        offset: 0,
        length: 16384,
    };
    assert!(store.read(past, &mut vec![0; 16384]).is_err());
    assert!(store.segments(past).is_err());
    let reader = open(&info, dir.path(), StoreOptions::read_only()).expect("opened");
    let error = reader
        .write_piece(0, &blocks(&info, 0))
        .expect_err("read only");
    assert_eq!(fault(&error), Fault::NotWritable);
}

#[test]
fn attack_07_links_are_not_followed() {
    for walk in [false, true] {
        let (dir, outside) = (temp(), temp());
        symlink(outside.path(), dir.path().join("t")).expect("linked");
        let info = Arc::new(packed(16384, &[("t/a/f", 100)]));
        let error = open(&info, dir.path(), StoreOptions::default()).expect_err("refused");
        assert_eq!(fault(&error), Fault::Symlink);
        assert_eq!(fs::read_dir(outside.path()).expect("there").count(), 0);

        let root = Root::open(dir.path(), false, false, Seam::default()).expect("opened");
        if walk {
            root.force_walk();
        }
        let path = |text: &str| text.split('/').map(String::from).collect::<Vec<_>>();
        let refused = |path: &[String]| {
            let create = Access::Create { executable: false };
            let error = root.file(path, create).expect_err("refused");
            fault(&DiskError::new(Op::Create, "x", error))
        };
        assert_eq!(refused(&path("t/f")), Fault::Symlink);
        symlink(outside.path().join("f"), dir.path().join("link")).expect("linked");
        assert_eq!(refused(&path("link")), Fault::Symlink);
        assert!(!outside.path().join("f").exists());
        assert!(
            root.make_parent(&path("t/x/f"), &mut BTreeSet::new())
                .is_err()
        );
        assert!(!outside.path().join("x").exists());
    }
}

#[test]
fn links_of_the_user_are_followed_on_request_when_reading() {
    let (dir, elsewhere) = (temp(), temp());
    let info = Arc::new(packed(16384, &[("f", 100)]));
    fs::write(elsewhere.path().join("real"), content(0, 100)).expect("written");
    symlink(elsewhere.path().join("real"), dir.path().join("f")).expect("linked");
    assert!(open(&info, dir.path(), StoreOptions::read_only()).is_err());
    let options = StoreOptions {
        follow_links: true,
        ..StoreOptions::read_only()
    };
    let store = open(&info, dir.path(), options).expect("opened");
    let mut buf = vec![0; 100];
    store.read_range(0, &mut buf).expect("read");
    assert_eq!(buf, content(0, 100));
    assert!(store.fingerprint(0).is_some());
    let writing = StoreOptions {
        write: true,
        ..options
    };
    assert!(open(&info, dir.path(), writing).is_err());
}

#[test]
fn what_is_there_already() {
    let dir = temp();
    let path = |name: &str| dir.path().join(name);
    let info = Arc::new(packed(16384, &[("long", 10), ("short", 10), ("right", 10)]));
    fs::write(path("long"), [7; 11]).expect("written");
    let error = open(&info, dir.path(), StoreOptions::default()).expect_err("refused");
    assert_eq!(
        fault(&error),
        Fault::Longer {
            found: 11,
            wanted: 10
        }
    );
    assert!(error.to_string().contains("long"), "{error}");
    assert!(!path("short").exists(), "refused before anything is made");

    fs::write(path("short"), [7; 3]).expect("written");
    fs::write(path("right"), [7; 10]).expect("written");
    let before = fs::metadata(path("right")).expect("there").mtime_nsec();
    let options = StoreOptions {
        truncate_longer: true,
        ..StoreOptions::default()
    };
    open(&info, dir.path(), options).expect("opened");
    assert_eq!(fs::read(path("long")).expect("there"), [7; 10]);
    assert_eq!(
        fs::read(path("short")).expect("there"),
        [7, 7, 7, 0, 0, 0, 0, 0, 0, 0]
    );
    assert_eq!(
        fs::metadata(path("right")).expect("there").mtime_nsec(),
        before
    );
}

#[test]
fn clashes_pipes_and_reserved_names() {
    let dir = temp();
    let info = Arc::new(packed(16384, &[("a/b", 10)]));
    fs::write(dir.path().join("a"), "a file").expect("written");
    assert!(open(&info, dir.path(), StoreOptions::default()).is_err());
    fs::remove_file(dir.path().join("a")).expect("removed");
    fs::create_dir_all(dir.path().join("a/b")).expect("made");
    let error = open(&info, dir.path(), StoreOptions::default()).expect_err("a folder");
    assert_eq!(fault(&error), Fault::NotAFile);
    fs::remove_dir(dir.path().join("a/b")).expect("removed");
    let made = Command::new("mkfifo").arg(dir.path().join("a/b")).status();
    if made.is_ok_and(|status| status.success()) {
        // Must not hang either.
        let error = open(&info, dir.path(), StoreOptions::default()).expect_err("a pipe");
        assert_eq!(fault(&error), Fault::NotAFile);
    }
    let info = Arc::new(packed(16384, &[(".Samara/x", 10)]));
    let error = open(&info, dir.path(), StoreOptions::default()).expect_err("reserved");
    assert_eq!(fault(&error), Fault::Reserved);
    let long = "x".repeat(300);
    let info = Arc::new(packed(16384, &[(long.as_str(), 10)]));
    let error = open(&info, dir.path(), StoreOptions::default()).expect_err("too long");
    assert!(error.to_string().contains("shorter"), "{error}");
}

#[test]
fn paths_longer_than_the_kernel_takes_at_once() {
    let dir = temp();
    let deep = vec!["d".repeat(200); 25].join("/") + "/f";
    let info = Arc::new(packed(16384, &[(deep.as_str(), 100)]));
    let store = open(&info, dir.path(), StoreOptions::default()).expect("opened");
    write_all_pieces(&store);
    let mut buf = vec![0; 100];
    store.read_range(0, &mut buf).expect("read");
    assert_eq!(buf, content(0, 100));
    assert_eq!(store.fingerprint(0).expect("there").size, 100);
}

#[test]
fn executable_bit() {
    let dir = temp();
    let mut info = packed(16384, &[("new", 10), ("old", 10), ("plain", 10)]);
    info.files[0].executable = true;
    info.files[1].executable = true;
    fs::write(dir.path().join("old"), "").expect("written");
    open(&Arc::new(info), dir.path(), StoreOptions::default()).expect("opened");
    let mode = |name: &str| {
        let metadata = fs::metadata(dir.path().join(name)).expect("there");
        metadata.permissions().mode()
    };
    assert_ne!(mode("new") & 0o100, 0);
    assert_ne!(mode("old") & 0o100, 0);
    assert_eq!(mode("plain") & 0o111, 0);
}

#[test]
fn thousands_of_files_and_sixteen_descriptors() {
    let names: Vec<String> = (0..3000).map(|at| format!("t/{}/{at}", at % 40)).collect();
    let files: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 50)).collect();
    let info = Arc::new(packed(16384, &files));
    let dir = temp();
    let descriptors = Descriptors::new(16);
    let store = open_among(&info, dir.path(), &descriptors);
    std::thread::scope(|scope| {
        for part in 0..4 {
            let (store, descriptors) = (&store, &descriptors);
            scope.spawn(move || {
                for piece in (part..store.info().geometry.pieces()).step_by(4) {
                    let blocks = blocks(store.info(), piece);
                    store.write_piece(piece, &blocks).expect("written");
                    assert!(descriptors.held() <= 16);
                }
            });
        }
    });
    // More than a sync each is worth.
    assert_eq!(store.sync().expect("synced").len(), 3000);
    assert_content(&info, dir.path());
    let mut buf = vec![0; 3000 * 50];
    store.read_range(0, &mut buf).expect("read");
    assert_eq!(buf[2999 * 50..], content(2999, 50));
}

#[test]
fn many_torrents_share_the_descriptors_of_one() {
    let names: Vec<String> = (0..100).map(|at| format!("t/{at}")).collect();
    let files: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 50)).collect();
    let info = Arc::new(packed(16384, &files));
    let descriptors = Descriptors::new(24);
    let folders: Vec<_> = (0..8).map(|_| temp()).collect();
    let stores = folders
        .iter()
        .map(|dir| open_among(&info, dir.path(), &descriptors));
    let stores: Vec<Store> = stores.collect();
    std::thread::scope(|scope| {
        for store in &stores {
            let descriptors = &descriptors;
            scope.spawn(move || {
                write_all_pieces(store);
                let mut buf = vec![0; 100 * 50];
                store.read_range(0, &mut buf).expect("read");
                assert_eq!(buf[99 * 50..], content(99, 50));
                assert!(descriptors.held() <= 24);
            });
        }
    });
    for dir in &folders {
        assert_content(&info, dir.path());
    }
    drop(stores);
    assert_eq!(descriptors.held(), 0);
}

#[test]
fn beyond_four_gib() {
    const LENGTH: u64 = 5 << 30;
    let dir = temp();
    let info = Arc::new(packed(512 * 1024, &[("big", LENGTH), ("after", 1000)]));
    let store = open(&info, dir.path(), StoreOptions::default()).expect("opened");
    let last = info.geometry.pieces() - 1;
    let piece = vec![Bytes::from(vec![9; 512 * 1024])];
    store.write_piece(last - 1, &piece).expect("written");
    store
        .write_piece(last, &[Bytes::from(vec![8; 1000])])
        .expect("written");
    let metadata = fs::metadata(dir.path().join("big")).expect("there");
    assert_eq!(metadata.len(), LENGTH);
    assert!(metadata.blocks() * 512 < 16 << 20, "sparse");
    let mut buf = [0; 4];
    store.read_range(LENGTH - 2, &mut buf).expect("read");
    assert_eq!(buf, [9, 9, 8, 8]);
}

#[test]
fn a_file_that_is_replaced_or_cut_meanwhile() {
    let dir = temp();
    let info = Arc::new(packed(16384, &[("a", 100), ("b", 100)]));
    let store = open_among(&info, dir.path(), &Descriptors::new(1));
    write_all_pieces(&store);
    assert!(store.fingerprint(0).is_some());
    fs::write(dir.path().join("new"), content(0, 100)).expect("written");
    fs::rename(dir.path().join("new"), dir.path().join("a")).expect("moved");
    let mut buf = vec![0; 10];
    let error = store.read_file(0, 0, &mut buf).expect_err("not ours");
    assert_eq!(fault(&error), Fault::Replaced);
    assert!(store.fingerprint(0).is_none());
    fs::write(dir.path().join("b"), "short").expect("written");
    let error = store.read_file(1, 0, &mut buf).expect_err("short");
    assert_eq!(fault(&error), Fault::Short);
}

#[test]
fn missing_files_are_errors_only_when_read() {
    let dir = temp();
    let info = Arc::new(packed(16384, &[("a", 100), ("b/c", 100)]));
    fs::write(dir.path().join("a"), content(0, 100)).expect("written");
    let store = open(&info, dir.path(), StoreOptions::read_only()).expect("opened");
    let mut buf = vec![0; 100];
    store.read_range(0, &mut buf).expect("there");
    let error = store.read_range(100, &mut buf).expect_err("missing");
    assert_eq!(error.cause(), Cause::NotFound);
    assert!(!dir.path().join("b").exists());
    let nowhere = open(&info, &dir.path().join("no"), StoreOptions::read_only());
    assert_eq!(nowhere.expect_err("no root").cause(), Cause::NotFound);
}

/// A file system of `size` bytes, if we may mount one.
struct Small(tempfile::TempDir);

impl Small {
    fn mount(options: &str) -> Option<Self> {
        let dir = temp();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "none"])
            .arg(dir.path())
            .stderr(std::process::Stdio::null())
            .status();
        mount
            .is_ok_and(|status| status.success())
            .then_some(Self(dir))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk() {
    let Some(small) = Small::mount("size=1m") else {
        eprintln!("skipped: may not mount");
        return;
    };
    let info = Arc::new(packed(512 * 1024, &[("f", 4 << 20)]));
    let preallocate = StoreOptions {
        preallocate: true,
        ..StoreOptions::default()
    };
    let error = open(&info, small.0.path(), preallocate).expect_err("noticed at once");
    assert_eq!(
        (error.cause(), error.op),
        (Cause::Full, Op::Resize),
        "{error}"
    );
    let store = open(&info, small.0.path(), StoreOptions::default()).expect("sparse");
    let outcome = (0..8).try_for_each(|piece| store.write_piece(piece, &blocks(&info, piece)));
    let error = outcome.expect_err("full");
    assert_eq!((error.cause(), error.op), (Cause::Full, Op::Write));
    assert!(error.to_string().contains("free some space"), "{error}");
    // What was written before is there.
    let mut buf = vec![0; 512 * 1024];
    store.read_range(0, &mut buf).expect("read");
    assert!(buf == piece_bytes(&info, 0));
}

#[test]
fn a_read_only_file_system() {
    let Some(small) = Small::mount("size=1m,ro") else {
        eprintln!("skipped: may not mount");
        return;
    };
    let info = Arc::new(packed(16384, &[("f", 100)]));
    let error = open(&info, small.0.path(), StoreOptions::default()).expect_err("refused");
    assert_eq!(error.cause(), Cause::ReadOnly, "{error}");
}

#[test]
fn preallocated_files_hold_their_space() {
    let dir = temp();
    let info = Arc::new(packed(16384, &[("f", 1 << 20)]));
    let options = StoreOptions {
        preallocate: true,
        ..StoreOptions::default()
    };
    open(&info, dir.path(), options).expect("opened");
    let metadata = fs::metadata(dir.path().join("f")).expect("there");
    assert_eq!(metadata.len(), 1 << 20);
    assert!(metadata.blocks() * 512 >= 1 << 20);
}

#[test]
fn more_blocks_than_one_call_takes() {
    let dir = temp();
    let info = Arc::new(packed(1 << 20, &[("a", 700_001), ("b", 300_000)]));
    let store = open(&info, dir.path(), StoreOptions::default()).expect("opened");
    let bytes = Bytes::from(piece_bytes(&info, 0));
    let blocks: Vec<Bytes> = (0..bytes.len())
        .step_by(333)
        .map(|at| bytes.slice(at..bytes.len().min(at + 333)))
        .collect();
    assert!(blocks.len() > 2 * 1024);
    store.write_piece(0, &blocks).expect("written");
    assert_content(&info, dir.path());
}

#[test]
fn attack_07_links_of_the_torrent() {
    let dir = temp();
    let path = |text: &str| text.split('/').map(String::from).collect::<Vec<_>>();
    let mut info = packed(16384, &[("t/a/f", 10), ("t/g", 10)]);
    for (at, target) in [
        ("t/a/same", "t/a/f"),
        ("t/b/c/up", "t/g"),
        ("t/b/folder", "t/a"),
    ] {
        info.symlinks.push(samara_proto::metainfo::Symlink {
            path: path(at),
            target: path(target),
        });
    }
    let info = Arc::new(info);
    write_all_pieces(&open(&info, dir.path(), StoreOptions::default()).expect("opened"));
    let way = |at: &str| fs::read_link(dir.path().join(at)).expect("a link");
    assert_eq!(way("t/a/same"), Path::new("f"));
    assert_eq!(way("t/b/c/up"), Path::new("../../g"));
    assert_eq!(way("t/b/folder"), Path::new("../a"));
    assert_eq!(
        fs::read(dir.path().join("t/b/c/up")).expect("leads there"),
        content(1, 10)
    );
    // Also when they are there already.
    open(&info, dir.path(), StoreOptions::default()).expect("opened");
}

/// A file system that numbers files as they are looked up.
#[derive(Debug, Default)]
struct Renumbering(AtomicU64);

impl crate::seam::Gate for Renumbering {
    fn pass(&self, _: &crate::seam::Call<'_>) -> crate::seam::Verdict {
        crate::seam::Verdict::Pass
    }

    fn fingerprint(&self, _: &Path, found: Fingerprint) -> Fingerprint {
        let inode = found.inode + self.0.load(Ordering::Relaxed);
        Fingerprint { inode, ..found }
    }
}

#[test]
fn looks_see_what_others_do_and_not_what_a_file_system_does() {
    let dir = temp();
    let files = [("t/a", 40_000), ("t/b", 40_000), ("t/c", 40_000)];
    let info = Arc::new(packed(32768, &files));
    let numbers = Arc::new(Renumbering::default());
    let seam = Seam::with(Arc::clone(&numbers) as Arc<dyn crate::seam::Gate>);
    let options = StoreOptions::default();
    let store = Store::open_at(Arc::clone(&info), dir.path(), options, seam).expect("opened");
    write_all_pieces(&store);
    assert_eq!(store.look(), []);
    numbers.0.store(1000, Ordering::Relaxed);
    assert_eq!(store.look(), []);

    let path = |name: &str| dir.path().join("t").join(name);
    let file = fs::OpenOptions::new().write(true).open(path("a"));
    let file = file.expect("there");
    let before = file.metadata().expect("known").modified().expect("known");
    std::os::unix::fs::FileExt::write_all_at(&file, b"x", 7).expect("written");
    file.set_modified(before).expect("set");
    fs::copy(path("b"), path("new")).expect("copied");
    fs::rename(path("new"), path("b")).expect("moved");
    fs::remove_file(path("c")).expect("removed");
    let seen = [
        (0, Change::Altered),
        (1, Change::Replaced),
        (2, Change::Gone),
    ];
    assert_eq!(store.look(), seen);
    // What is in doubt is not served, and can be checked.
    let span = Span {
        piece: 0,
        offset: 0,
        length: 10,
    };
    let error = store.read(span, &mut [0; 10]).expect_err("in doubt");
    assert_eq!(fault(&error), Fault::Altered);
    store.read_range(0, &mut [0; 10]).expect("readable");
    // Altered once more while it was hashed: still in doubt.
    store.begin_recheck(0);
    std::os::unix::fs::FileExt::write_all_at(&file, b"y", 8).expect("written");
    file.set_len(39_999).expect("cut");
    store.look();
    assert!(!store.settle(0));
    store.begin_recheck(0);
    assert!(store.settle(0));
    store.read(span, &mut [0; 10]).expect("served again");
    assert_eq!(store.look(), seen[1..]);
}

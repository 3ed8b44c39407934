//! Torrents made of real files, against hashes computed the slow way and against libtorrent.

mod libtorrent;

use super::*;
use samara_proto::metainfo::PathFault;
use samara_proto::{Sha1, merkle};
use sha1::Digest;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

static NEVER: AtomicBool = AtomicBool::new(false);

fn make(request: &CreateRequest) -> Result<Created, CreateError> {
    create(request, &|_| (), &NEVER)
}

/// Bytes that look random and are the same each time.
pub(super) fn bytes(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

fn write(root: &Path, path: &str, content: &[u8]) {
    let file = root.join(path);
    fs::create_dir_all(file.parent().expect("has one")).expect("can make folders");
    fs::write(file, content).expect("can write");
}

/// Lengths around every boundary: leaves, pieces, runs of several pieces.
fn tree(root: &Path) {
    let lengths = [
        0, 1, 16383, 16384, 16385, 32768, 40000, 65536, 65537, 0, 200_000, 1_000_003, 5,
    ];
    for (i, length) in lengths.into_iter().enumerate() {
        let folder = ["", "sub/", "sub/deep/", "日本/"][i % 4];
        write(
            root,
            &format!("{folder}file{i:02}"),
            &bytes(length, i as u64),
        );
    }
}

/// Every hash of `created`, computed one by one from what is on disk.
fn check_slowly(created: &Created) {
    let info = &created.metainfo.info;
    let piece_length = info.geometry.piece_length();
    let mut space = vec![0; info.space() as usize];
    for (file, source) in info.files.iter().zip(&created.sources) {
        let content = fs::read(source).expect("can read");
        assert_eq!(content.len() as u64, file.length);
        let start = file.offset as usize;
        if !content.is_empty() {
            space[start..start + content.len()].copy_from_slice(&content);
        }
        if info.version == Version::V1 {
            assert_eq!(file.sha1, Some(Sha1(sha1::Sha1::digest(&content).into())));
        } else if file.length > 0 {
            let leaves: Vec<Sha256> = content
                .chunks(16384)
                .map(|leaf| Sha256(sha2::Sha256::digest(leaf).into()))
                .collect();
            assert_eq!(file.root, Some(merkle::root(&leaves)), "{:?}", file.path);
            let pieces = file.length.div_ceil(u64::from(piece_length));
            let layer = if pieces > 1 { pieces } else { 0 };
            assert_eq!(file.layer.len() as u64, layer);
        }
    }
    if info.version != Version::V2 {
        for (i, piece) in space.chunks(piece_length as usize).enumerate() {
            let want = Sha1(sha1::Sha1::digest(piece).into());
            assert_eq!(info.piece_sha1(i as u32), Some(want), "piece {i}");
        }
    }
}

#[test]
fn all_hashes_are_right_in_every_format_and_on_any_number_of_threads() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path().join("tree");
    tree(&root);
    for format in [Version::V1, Version::V2, Version::Hybrid] {
        let mut torrents = Vec::new();
        for (piece_size, threads) in [(16384, 1), (16384, 3), (65536, 2), (524_288, 2)] {
            let request = CreateRequest {
                format,
                piece_size: Some(piece_size),
                threads: Some(threads),
                ..CreateRequest::new(&root)
            };
            let created = make(&request).expect("can be made");
            check_slowly(&created);
            assert_eq!(created.metainfo.info.files.len(), 13);
            let again = Metainfo::from_bytes(&created.torrent).expect("can be read");
            assert_eq!(again.info.files, created.metainfo.info.files);
            assert_eq!(again.to_bytes(), created.torrent);
            torrents.push(created.torrent);
        }
        assert_eq!(torrents[0], torrents[1], "threads make no difference");
    }
}

#[test]
fn one_file_long_enough_for_many_runs() {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "big.bin", &bytes(20 * 1024 * 1024 + 12345, 7));
    for format in [Version::V1, Version::Hybrid] {
        let seen = Mutex::new(Vec::new());
        let request = CreateRequest {
            format,
            threads: Some(3),
            ..CreateRequest::new(dir.path().join("big.bin"))
        };
        let created = create(
            &request,
            &|progress| seen.lock().expect("not poisoned").push(progress),
            &NEVER,
        )
        .expect("can be made");
        check_slowly(&created);
        let info = &created.metainfo.info;
        assert!(info.single_file);
        assert_eq!(info.files[0].path, ["big.bin"]);
        assert_eq!(info.geometry.piece_length(), 16384);
        let seen = seen.into_inner().expect("not poisoned");
        let total = info.total();
        assert!(seen.len() > 3 && seen.iter().all(|p| p.total == total && p.done <= total));
        assert_eq!(seen.iter().map(|p| p.done).max(), Some(total));
    }
}

#[test]
fn two_long_files_share_a_run_in_v1() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path().join("two");
    for (name, length) in [
        ("a", 9_000_001),
        ("b", 30),
        ("c", 9_000_001),
        ("d", 17_000_000),
    ] {
        write(&root, name, &bytes(length, length as u64));
    }
    for threads in [1, 2, 5] {
        let request = CreateRequest {
            format: Version::V1,
            piece_size: Some(262_144),
            threads: Some(threads),
            ..CreateRequest::new(&root)
        };
        check_slowly(&make(&request).expect("can be made"));
    }
}

#[test]
fn several_long_files_are_hashed_side_by_side() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path().join("several");
    // Long ones that begin inside pieces and at their beginnings, and small ones between them, some
    // of which end in the piece that the next long one begins in.
    for (i, length) in [
        3, 900_000, 0, 17, 20_000, 1_000_001, 1_048_576, 16_384, 800_000, 1_500_000, 9,
    ]
    .into_iter()
    .enumerate()
    {
        write(&root, &format!("{i:02}"), &bytes(length, i as u64));
    }
    for threads in 1..9 {
        let request = CreateRequest {
            piece_size: Some(16_384),
            threads: Some(threads),
            ..CreateRequest::new(&root)
        };
        check_slowly(&make(&request).expect("can be made"));
    }
}

#[test]
fn everything_around_the_files_is_written() {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "a.txt", b"hello");
    let request = CreateRequest {
        trackers: vec![
            vec!["http://a/announce".to_owned(), "udp://b:1".to_owned()],
            vec!["https://c/announce".to_owned()],
        ],
        web_seeds: vec!["http://w/".to_owned(), "https://w/".to_owned()],
        comment: Some("a comment".to_owned()),
        private: true,
        created_at: Some(1_700_000_000),
        ..CreateRequest::new(dir.path().join("a.txt"))
    };
    let created = make(&request).expect("can be made");
    let read = Metainfo::from_bytes(&created.torrent).expect("can be read");
    assert_eq!(read.trackers, request.trackers);
    assert_eq!(read.web_seeds, request.web_seeds);
    assert_eq!(read.comment, request.comment);
    assert_eq!(read.created_at, request.created_at);
    assert!(read.info.private);
    assert!(read.created_by.is_some_and(|by| by.starts_with("Samara ")));
}

#[test]
fn several_paths_become_one_folder() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path().join("parent");
    write(&root, "one.txt", b"1");
    write(&root, "two/x", b"2");
    write(dir.path(), "elsewhere", b"3");
    let mut request = CreateRequest::new("");
    request.paths = vec![root.join("two"), root.join("one.txt")];
    let created = make(&request).expect("can be made");
    assert_eq!(created.metainfo.info.name, "parent");
    let paths: Vec<String> = created
        .metainfo
        .info
        .files
        .iter()
        .map(|f| f.path.join("/"))
        .collect();
    assert_eq!(paths, ["parent/one.txt", "parent/two/x"]);
    assert_eq!(created.sources, [root.join("one.txt"), root.join("two/x")]);
    request.paths.push(dir.path().join("elsewhere"));
    assert!(matches!(make(&request), Err(CreateError::NameNeeded)));
    request.name = Some("mix".to_owned());
    assert_eq!(
        make(&request).expect("can be made").metainfo.info.name,
        "mix"
    );
    request.paths = vec![root.join("one.txt"), root.join("one.txt")];
    assert!(matches!(
        make(&request),
        Err(CreateError::Refused(MetainfoError::Duplicate(..)))
    ));
}

#[cfg(unix)]
#[test]
fn links_special_files_and_names() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{PermissionsExt, symlink};
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path().join("tree");
    write(&root, "real/file", b"content");
    write(dir.path(), "outside/secret", b"outside");
    fs::set_permissions(root.join("real/file"), fs::Permissions::from_mode(0o755)).expect("can");
    symlink("../outside", root.join("link")).expect("can link");
    let mut request = CreateRequest::new(&root);
    let created = make(&request).expect("can be made");
    let files = &created.metainfo.info.files;
    assert_eq!(files.len(), 2);
    assert_eq!(files[0].path, ["tree", "link", "secret"]);
    assert!(!files[0].executable && files[1].executable);
    request.symlinks = Symlinks::Skip;
    let created = make(&request).expect("can be made");
    assert_eq!(created.metainfo.info.files.len(), 1);
    assert_eq!(created.skipped, [root.join("link")]);
    request.symlinks = Symlinks::Refuse;
    assert!(matches!(make(&request), Err(CreateError::LinkRefused(_))));
    request.symlinks = Symlinks::Follow;

    symlink("..", root.join("real/up")).expect("can link");
    assert!(matches!(make(&request), Err(CreateError::LinkLoop(at)) if at.ends_with("up")));
    fs::remove_file(root.join("real/up")).expect("can remove");
    symlink("nowhere", root.join("dangling")).expect("can link");
    assert!(
        matches!(make(&request), Err(CreateError::Io { path, .. }) if path.ends_with("dangling"))
    );
    fs::remove_file(root.join("dangling")).expect("can remove");

    let socket = root.join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("can bind");
    let error = make(&request).expect_err("a socket");
    assert!(error.to_string().contains("is a socket"), "{error}");
    fs::remove_file(&socket).expect("can remove");

    let latin1 = root.join(OsStr::from_bytes(b"caf\xe9"));
    fs::write(&latin1, b"x").expect("can write");
    assert!(matches!(make(&request), Err(CreateError::NotUtf8(path)) if path == latin1));
    fs::remove_file(&latin1).expect("can remove");

    for (name, fault) in [
        ("a\nb", PathFault::Control),
        ("trailing.", PathFault::TrailingDotOrSpace),
        ("nul.txt", PathFault::Reserved),
    ] {
        write(&root, name, b"x");
        match make(&request) {
            Err(CreateError::Refused(MetainfoError::UnsafePath(_, why))) => assert_eq!(why, fault),
            other => panic!("{name:?}: {other:?}"),
        }
        fs::remove_file(root.join(name)).expect("can remove");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_tree_that_only_this_system_can_hold() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path().join("linux");
    for (i, name) in [
        "aux.c",
        "end.",
        "net/xt_DSCP.c",
        "net/xt_dscp.c",
        "B::Op.3perl",
    ]
    .into_iter()
    .enumerate()
    {
        write(&root, name, &bytes(20_000, i as u64));
    }
    for format in [Version::V1, Version::V2, Version::Hybrid] {
        let portable = CreateRequest {
            format,
            ..CreateRequest::new(&root)
        };
        let error = make(&portable).expect_err("not portable").to_string();
        assert!(error.contains("--any-names"), "{error}");
        let created = make(&CreateRequest {
            names: NamePolicy::Local,
            ..portable
        })
        .expect("can be made");
        check_slowly(&created);
        assert_eq!(created.metainfo.info.files.len(), 5);
        let read = Metainfo::from_bytes_with(&created.torrent, NamePolicy::Local);
        assert_eq!(read.expect("valid").info.files, created.metainfo.info.files);
        assert!(Metainfo::from_bytes(&created.torrent).is_err());
    }
    // What is unsafe anywhere stays refused.
    write(&root, "a\nb", b"x");
    let request = CreateRequest {
        names: NamePolicy::Local,
        ..CreateRequest::new(&root)
    };
    assert!(matches!(
        make(&request),
        Err(CreateError::Refused(MetainfoError::UnsafePath(
            _,
            PathFault::Control
        )))
    ));
}

#[test]
fn refused_before_anything_is_hashed() {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "full/file", b"x");
    write(dir.path(), "empty/file", b"");
    fs::create_dir_all(dir.path().join("bare")).expect("can");
    let request = |name: &str| CreateRequest::new(dir.path().join(name));
    let refused = |request: &CreateRequest| match make(request) {
        Err(CreateError::Refused(error)) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(&request("empty")), MetainfoError::NothingToDownload);
    assert_eq!(refused(&request("bare")), MetainfoError::NoFiles);
    assert!(matches!(
        make(&request("none")),
        Err(CreateError::Io { .. })
    ));
    for (piece_size, large, good) in [
        (0, false, false),
        (16383, false, false),
        (8192, false, false),
        (1 << 19, false, true),
        (1 << 20, false, false),
        (1 << 20, true, true),
        (1 << 27, true, false),
    ] {
        let request = CreateRequest {
            piece_size: Some(piece_size),
            allow_large_pieces: large,
            ..request("full")
        };
        assert_eq!(make(&request).is_ok(), good, "{piece_size}");
    }
    let bad = CreateRequest {
        trackers: vec![vec!["ftp://x".to_owned()]],
        ..request("full")
    };
    assert!(matches!(make(&bad), Err(CreateError::BadTracker(_))));
    // A v2 torrent of a folder with one file of its own name would read as that file.
    write(dir.path(), "same/same", b"x");
    let same = CreateRequest {
        format: Version::V2,
        ..request("same")
    };
    assert!(matches!(refused(&same), MetainfoError::Ambiguous(_)));
    assert!(make(&request("same")).is_ok());
}

#[test]
fn files_that_change_and_cancelling() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path().join("tree");
    write(&root, "a", &bytes(3_000_000, 1));
    write(&root, "b", &bytes(3_000_000, 2));
    for format in [Version::V1, Version::Hybrid] {
        let request = CreateRequest {
            format,
            threads: Some(2),
            ..CreateRequest::new(&root)
        };
        // Shorter, longer, and the same length but written to.
        for length in [1_000_000, 4_000_000, 3_000_000] {
            write(&root, "b", &bytes(3_000_000, 2));
            let once = AtomicBool::new(false);
            let meddle = |_| {
                if !once.swap(true, Ordering::Relaxed) {
                    std::thread::sleep(std::time::Duration::from_millis(20));
                    write(&root, "b", &bytes(length, 3));
                }
            };
            match create(&request, &meddle, &NEVER) {
                Err(CreateError::Changed(path)) => assert!(path.ends_with("b")),
                other => panic!("{length}: {other:?}"),
            }
        }
        let cancel = AtomicBool::new(false);
        let stop = |progress: Progress| cancel.store(progress.done > 0, Ordering::Relaxed);
        assert!(matches!(
            create(&request, &stop, &cancel),
            Err(CreateError::Cancelled)
        ));
        let cancelled = AtomicBool::new(true);
        assert!(matches!(
            create(&request, &|_| (), &cancelled),
            Err(CreateError::Cancelled)
        ));
    }
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "hashes a sparse file of 5 GiB: half a minute"]
fn beyond_4_gib() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = fs::File::create(dir.path().join("sparse")).expect("can create");
    file.set_len(5 * 1024 * 1024 * 1024 + 3).expect("can grow");
    let request = CreateRequest {
        format: Version::Hybrid,
        ..CreateRequest::new(dir.path().join("sparse"))
    };
    let created = make(&request).expect("can be made");
    let info = &created.metainfo.info;
    assert_eq!(info.geometry.pieces(), 10_241);
    assert_eq!(info.files[0].layer.len(), 10_241);
    assert_eq!(info.piece_sha1(0), info.piece_sha1(9_000));
}

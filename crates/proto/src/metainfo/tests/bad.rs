//! What is refused, each for its own reason.

use super::*;
use crate::bencode::parse;

/// A small v1 torrent in which `key` is the bencode `value`, or is not there if that is empty.
fn with(key: &str, value: &str) -> Vec<u8> {
    edited(&[(key, value.as_bytes())])
}

fn edited(changes: &[(&str, &[u8])]) -> Vec<u8> {
    let pieces = [b"20:".as_slice(), &[9; 20]].concat();
    let defaults: [(&str, &[u8]); 4] = [
        ("length", b"i5e"),
        ("name", b"1:n"),
        ("piece length", b"i16384e"),
        ("pieces", &pieces),
    ];
    let mut e = Encoder::new();
    e.dict(|d| {
        for (key, value) in defaults.iter().chain(changes) {
            let dropped = changes.iter().any(|(k, v)| k == key && v.is_empty());
            if !dropped {
                d.key(key).raw(value);
            }
        }
    });
    around(&e.finish())
}

fn error(bytes: &[u8]) -> MetainfoError {
    let error = Metainfo::from_bytes(bytes).expect_err("must be refused");
    let text = error.to_string();
    assert!(text.len() > 10 && !text.contains('\n'), "{text}");
    error
}

#[test]
fn bencode_and_keys() {
    assert!(Metainfo::from_bytes(&with("x", "i1e")).is_ok());
    assert!(matches!(error(b""), MetainfoError::Bencode(e) if e.to_string().contains("too early")));
    assert!(matches!(error(b"<html>"), MetainfoError::Bencode(_)));
    assert!(
        matches!(error(b"d1:bi1e1:ai1ee"), MetainfoError::Bencode(e) if e.to_string().contains("not sorted"))
    );
    let deep = [vec![b'l'; 300], vec![b'e'; 300]].concat();
    assert!(
        matches!(error(&deep), MetainfoError::Bencode(e) if e.to_string().contains("too deeply"))
    );
    assert_eq!(error(b"i1e"), MetainfoError::NotADictionary);
    assert_eq!(error(b"de"), MetainfoError::Missing("info"));
    assert_eq!(error(&around(b"i1e")), MetainfoError::WrongType("info"));
    assert_eq!(error(&around(b"de")), MetainfoError::Missing("pieces"));
    let huge = vec![b'0'; MAX_TORRENT_BYTES + 1];
    assert_eq!(error(&huge), MetainfoError::TooLarge(huge.len()));
    for key in ["length", "name", "piece length", "pieces"] {
        let name = Box::leak(key.to_owned().into_boxed_str());
        assert_eq!(error(&with(key, "")), MetainfoError::Missing(name));
        let wrong = error(&with(key, "le"));
        let missing_name = key == "name" && wrong == MetainfoError::Missing("name");
        assert!(
            missing_name || wrong == MetainfoError::WrongType(name),
            "{wrong:?}"
        );
    }
    assert_eq!(
        error(&with("files", "i0e")),
        MetainfoError::WrongType("files")
    );
    assert_eq!(
        error(&with("meta version", "i3e")),
        MetainfoError::UnsupportedVersion(3)
    );
    assert_eq!(
        error(&with("meta version", "i2e")),
        MetainfoError::Missing("file tree")
    );
    assert_eq!(
        error(&with("meta version", "1:2")),
        MetainfoError::WrongType("meta version")
    );
}

#[test]
fn attack_11_pieces_and_lengths() {
    for (length, want) in [
        (0, MetainfoError::PieceLengthNotPositive(0)),
        (-16_384, MetainfoError::PieceLengthNotPositive(-16_384)),
        (i64::MIN, MetainfoError::PieceLengthNotPositive(i64::MIN)),
        (16_385, MetainfoError::PieceLengthNotPowerOfTwo(16_385)),
        (i64::MAX, MetainfoError::PieceLengthNotPowerOfTwo(i64::MAX)),
        (
            512,
            MetainfoError::PieceLengthTooSmall {
                length: 512,
                least: 1024,
            },
        ),
        (1 << 29, MetainfoError::PieceLengthTooLarge(1 << 29)),
        (1 << 32, MetainfoError::PieceLengthTooLarge(1 << 32)),
    ] {
        assert_eq!(error(&with("piece length", &format!("i{length}e"))), want);
    }
    assert!(Metainfo::from_bytes(&with("piece length", "i1024e")).is_ok());
    assert!(Metainfo::from_bytes(&with("piece length", "i268435456e")).is_ok());
    assert_eq!(
        error(&with("pieces", "3:abc")),
        MetainfoError::PiecesNotWhole(3)
    );
    assert_eq!(
        error(&with("pieces", "0:")),
        MetainfoError::PieceCount { have: 0, need: 1 }
    );
    assert_eq!(
        error(&with("length", "i16385e")),
        MetainfoError::PieceCount { have: 1, need: 2 }
    );
    assert_eq!(
        error(&with("length", "i0e")),
        MetainfoError::NothingToDownload
    );
    assert_eq!(
        error(&with("length", "i-1e")),
        MetainfoError::NegativeLength("n".to_owned())
    );
    let max = format!("i{}e", i64::MAX);
    assert!(matches!(
        error(&with("length", &max)),
        MetainfoError::TooManyPieces(_)
    ));
    let file = |path: &str| format!("d6:length{max}4:pathl{}:{path}ee", path.len());
    let two = format!("l{}{}e", file("a"), file("b"));
    assert_eq!(error(&with("files", &two)), MetainfoError::TotalTooLarge);
}

#[test]
fn attack_11_file_lists() {
    let files = |list: &str| error(&with("files", list));
    assert_eq!(files("le"), MetainfoError::NoFiles);
    assert_eq!(files("li1ee"), MetainfoError::WrongType("files"));
    assert_eq!(files("ld4:attr1:p6:lengthi5eee"), MetainfoError::NoFiles);
    assert_eq!(files("ld6:lengthi5eee"), MetainfoError::Missing("path"));
    assert_eq!(
        files("ld6:lengthi5e4:pathleee"),
        MetainfoError::Missing("path")
    );
    assert_eq!(
        files("ld6:lengthi5e4:pathli1eeee"),
        MetainfoError::WrongType("path")
    );
    assert_eq!(files("ld4:pathl1:aeee"), MetainfoError::Missing("length"));
    assert_eq!(
        files("ld6:lengthi-5e4:pathl1:aeee"),
        MetainfoError::NegativeLength("n/a".to_owned())
    );
    assert_eq!(
        files("ld6:lengthi0e4:pathl1:aeee"),
        MetainfoError::NothingToDownload
    );
    let mut many = b"l".to_vec();
    many.extend(b"de".repeat(2 * MAX_FILES + 1));
    many.push(b'e');
    assert_eq!(
        error(&edited(&[("files", &many)])),
        MetainfoError::TooManyFiles
    );
}

/// The list of one entry, with `extra` before its path.
fn entry(extra: &str, path: &[&str]) -> String {
    let parts: String = path
        .iter()
        .map(|part| format!("{}:{part}", part.len()))
        .collect();
    format!("d{extra}6:lengthi5e4:pathl{parts}ee")
}

#[test]
fn attack_07_unsafe_paths() {
    let long = "x".repeat(256);
    let part = "x".repeat(255);
    for (path, fault) in [
        (&["..", "a"][..], PathFault::DotDot),
        (&["a", ".."], PathFault::DotDot),
        (&[".", "a"], PathFault::Dot),
        (&[""], PathFault::Empty),
        (&["", "etc", "passwd"], PathFault::Empty),
        (&["/etc/passwd"], PathFault::Absolute),
        (&["a", "b/../../c"], PathFault::Separator),
        (&["a\\b"], PathFault::Separator),
        (&["C:", "x"], PathFault::Drive),
        (&["\\\\host\\share"], PathFault::Absolute),
        (&["a\0b"], PathFault::Nul),
        (&["CON"], PathFault::Reserved),
        (&["a", "com1.txt"], PathFault::Reserved),
        (&["a."], PathFault::TrailingDotOrSpace),
        (&["a "], PathFault::TrailingDotOrSpace),
        (&["a\r\nb"], PathFault::Control),
        (&["\u{202e}gpj.exe"], PathFault::Direction),
        (&[long.as_str()], PathFault::ComponentTooLong),
        (&[part.as_str(); 16], PathFault::PathTooLong),
    ] {
        let list = format!("l{}e", entry("", path));
        match error(&with("files", &list)) {
            MetainfoError::UnsafePath(_, why) => assert_eq!(why, fault, "{path:?}"),
            other => panic!("{path:?}: {other:?}"),
        }
    }
    for (name, fault) in [
        ("..", PathFault::DotDot),
        ("a/b", PathFault::Separator),
        ("", PathFault::Empty),
        ("/", PathFault::Absolute),
        ("nul", PathFault::Reserved),
    ] {
        let bytes = with("name", &format!("{}:{name}", name.len()));
        assert_eq!(
            error(&bytes),
            MetainfoError::UnsafeName(name.to_owned(), fault)
        );
    }
}

#[test]
fn attack_07_clashes() {
    let list = |paths: &[&[&str]]| {
        let entries: String = paths.iter().map(|path| entry("", path)).collect();
        error(&with("files", &format!("l{entries}e")))
    };
    assert!(matches!(
        list(&[&["a"], &["a"]]),
        MetainfoError::Duplicate(..)
    ));
    assert!(matches!(
        list(&[&["A", "b"], &["a", "B"]]),
        MetainfoError::CaseClash(..)
    ));
    assert!(matches!(
        list(&[&["é"], &["e\u{301}"]]),
        MetainfoError::Duplicate(..)
    ));
    assert!(matches!(
        list(&[&["a", "b"], &["c"], &["a"]]),
        MetainfoError::FileIsFolder(..)
    ));
}

#[test]
fn attack_07_links() {
    let link = |target: &str| {
        let link = format!("d4:attr1:l4:pathl4:linke12:symlink path{target}e");
        error(&with("files", &format!("l{}{link}e", entry("", &["file"]))))
    };
    let leaves = MetainfoError::SymlinkLeaves("n/link".to_owned());
    for target in [
        "l2:..3:etce",
        "l0:3:etce",
        "l4:/etce",
        "le",
        "l1:a2:..2:..e",
        "l3:a/be",
    ] {
        assert_eq!(link(target), leaves, "{target}");
    }
    assert_eq!(link("1:a"), MetainfoError::Missing("symlink path"));
    // A link that stands for a folder, and a file that would be written through it.
    let through = format!(
        "ld4:attr1:l4:pathl1:ae12:symlink pathl1:cee{}e",
        entry("", &["a", "b"])
    );
    assert!(matches!(
        error(&with("files", &through)),
        MetainfoError::FileIsFolder(..)
    ));
}

/// A v2 torrent with this `file tree` and these `piece layers`.
fn v2(tree: &[u8], layers: Option<&[u8]>) -> Result<Metainfo, MetainfoError> {
    let mut e = Encoder::new();
    e.dict(|d| {
        d.key("info").dict(|d| {
            d.key("meta version").int(2);
            d.key("name").bytes("n");
            d.key("piece length").int(16_384);
            d.key("file tree").raw(tree);
        });
        if let Some(layers) = layers {
            d.key("piece layers").raw(layers);
        }
    });
    Metainfo::from_bytes(&e.finish())
}

#[test]
fn v2_trees() {
    let root = format!("11:pieces root32:{}", "r".repeat(32));
    let file = |length: &str, root: &str| format!("d0:d6:length{length}{root}ee");
    let good = format!("d1:a{}1:bd1:c{}ee", file("i5e", &root), file("i0e", ""));
    assert!(v2(good.as_bytes(), Some(b"de")).is_ok());
    assert_eq!(
        v2(good.as_bytes(), None).err(),
        Some(MetainfoError::Missing("piece layers"))
    );
    let malformed = |at: &str| MetainfoError::FileTree(at.to_owned());
    let missing = MetainfoError::RootMissing("n/a".to_owned());
    let zeros = format!("11:pieces root32:{}", "\0".repeat(32));
    let deep = format!(
        "{}{}{}",
        "d1:a".repeat(253),
        file("i5e", &root),
        "e".repeat(253)
    );
    for (tree, want) in [
        ("de".to_owned(), MetainfoError::NoFiles),
        ("d1:adee".to_owned(), MetainfoError::NoFiles),
        (format!("d1:a{}e", file("i5e", "")), missing.clone()),
        (
            format!("d1:a{}e", file("i5e", "11:pieces root3:abc")),
            missing.clone(),
        ),
        (format!("d1:a{}e", file("i5e", &zeros)), missing),
        (
            format!("d1:a{}e", file("i-5e", &root)),
            MetainfoError::NegativeLength("n/a".to_owned()),
        ),
        (
            format!("d1:a{}e", file("1:5", &root)),
            MetainfoError::WrongType("length"),
        ),
        (
            format!("d1:a{}e", file("i0e", "")),
            MetainfoError::NothingToDownload,
        ),
        ("d1:ai1ee".to_owned(), malformed("n/a")),
        ("d1:ad0:i1eee".to_owned(), malformed("n/a")),
        (format!("d0:d6:lengthi5e{root}ee"), malformed("n/")),
        (
            format!("d1:ad0:d6:lengthi5e{root}e1:bdeee"),
            malformed("n/a"),
        ),
        (
            format!("d2:..{}e", file("i5e", &root)),
            MetainfoError::UnsafePath("n/..".to_owned(), PathFault::DotDot),
        ),
        (
            format!("d2:..d1:a{}ee", file("i5e", &root)),
            MetainfoError::UnsafePath("n/../a".to_owned(), PathFault::DotDot),
        ),
        (
            format!("d1:A{}1:a{}e", file("i5e", &root), file("i5e", &root)),
            MetainfoError::CaseClash("n/A".to_owned(), "n/a".to_owned()),
        ),
        (
            format!(
                "d1:a{}1:b{}e",
                file(&format!("i{}e", i64::MAX), &root),
                file("i5e", &root)
            ),
            MetainfoError::TotalTooLarge,
        ),
    ] {
        assert_eq!(
            v2(tree.as_bytes(), Some(b"de")).expect_err("refused"),
            want,
            "{tree}"
        );
    }
    assert!(
        matches!(v2(deep.as_bytes(), None), Err(MetainfoError::Bencode(e)) if e.to_string().contains("too deeply"))
    );
}

#[test]
fn v2_layers() {
    let made = torrent(Version::V2, 16_384, &[("", 40_000)]).to_bytes();
    assert!(Metainfo::from_bytes(&made).is_ok());
    let at = made
        .windows(3)
        .rposition(|at| at == b"96:")
        .expect("a layer")
        + 3;
    let mut wrong = made.clone();
    wrong[at + 40] ^= 1;
    assert_eq!(
        error(&wrong),
        MetainfoError::LayerMismatch("name".to_owned())
    );
    let short = [
        &made[..at - 3],
        b"64:",
        &made[at..at + 64],
        &made[at + 96..],
    ]
    .concat();
    assert_eq!(
        error(&short),
        MetainfoError::LayerMissing("name".to_owned())
    );
    let value = parse(&made).expect("valid");
    let info = value
        .as_dict()
        .and_then(|d| d.dict("info"))
        .expect("there")
        .raw();
    let mut e = Encoder::new();
    e.dict(|d| {
        d.key("info").raw(info);
        d.key("piece layers").dict(|_| ());
    });
    assert_eq!(
        error(&e.finish()),
        MetainfoError::LayerMissing("name".to_owned())
    );
}

#[test]
fn hybrids_whose_halves_differ() {
    let made = torrent(Version::Hybrid, 16_384, &[("aa", 20_000), ("bb", 20_000)]);
    let raw = made.info.raw.to_vec();
    let replaced = |from: &str, to: &str| {
        let at = raw
            .windows(from.len())
            .rposition(|at| at == from.as_bytes())
            .expect("there");
        let changed = [&raw[..at], to.as_bytes(), &raw[at + from.len()..]].concat();
        Info::from_bytes(Bytes::from(changed)).expect_err("they differ")
    };
    let differ = |path: &str| MetainfoError::HybridMismatch(path.to_owned());
    assert_eq!(replaced("l2:aae", "l2:abe"), differ("name/aa"));
    assert_eq!(replaced("l2:bbe", "l2:AAe"), differ("name/bb"));
    assert_eq!(
        replaced("i20000e4:pathl2:bb", "i20001e4:pathl2:bb"),
        differ("name/bb")
    );
    // More padding after the last file than its piece has room for.
    assert_eq!(replaced("i12768e", "i29152e"), differ(".pad"));
}

//! What is accepted, and what is made of it.

use super::*;

const TREE: Files<'_> = &[
    ("a", 40_000),
    ("b/empty", 0),
    ("b/x", 3),
    ("b/y", 65_536),
    ("c", 1),
];

#[test]
fn what_is_built_is_read_back() {
    for version in [Version::V1, Version::V2, Version::Hybrid] {
        for files in [TREE, &[("", 100_000)], &[("only", 16_384)], &[("", 5)]] {
            let made = torrent(version, 16_384, files);
            check_sane(&made.info);
            let read = Metainfo::from_bytes(&made.to_bytes()).expect("valid");
            assert_eq!(read.info.files, made.info.files);
            assert_eq!(read.info.geometry, made.info.geometry);
            assert_eq!(read.info.raw, made.info.raw);
            assert_eq!(read.info.hash_v1.is_some(), version != Version::V2);
            assert_eq!(read.info.hash_v2.is_some(), version != Version::V1);
            assert_eq!(read.info.single_file, files[0].0.is_empty());
            assert_eq!(read.info.info_hashes().next(), Some(read.info.info_hash()));
            assert_eq!(read.to_bytes(), made.to_bytes());
            let total: u64 = files.iter().map(|(_, length)| length).sum();
            assert_eq!(read.info.total(), total);
        }
    }
}

#[test]
fn where_files_are() {
    let offsets = |version| -> Vec<u64> {
        let made = torrent(version, 16_384, TREE);
        made.info.files.iter().map(|file| file.offset).collect()
    };
    assert_eq!(offsets(Version::V1), [0, 40_000, 40_000, 40_003, 105_539]);
    let aligned = [0, 49_152, 49_152, 65_536, 131_072];
    assert_eq!(offsets(Version::V2), aligned);
    assert_eq!(offsets(Version::Hybrid), aligned);
}

#[test]
fn padding_is_hashed_in_hybrids_and_does_not_exist_in_v2() {
    let hybrid = torrent(Version::Hybrid, 16_384, TREE).info;
    assert_eq!(hybrid.space(), 9 * 16_384);
    let geometry = &hybrid.geometry;
    assert_eq!(
        (geometry.piece_len(2), geometry.data_len(2)),
        (16_384, 40_000 - 32_768)
    );
    assert_eq!((geometry.piece_len(8), geometry.data_len(8)), (16_384, 1));
    let padding: Vec<_> = hybrid.padding().collect();
    assert_eq!(padding, [40_000..49_152, 49_155..65_536, 131_073..147_456]);

    let v2 = torrent(Version::V2, 16_384, TREE).info;
    assert_eq!(v2.space(), 131_073);
    assert_eq!(v2.geometry.piece_len(2), 40_000 - 32_768);
    assert_eq!(v2.geometry.piece_len(8), 1);
    assert_eq!(v2.padding().count(), 0);
    assert_eq!(torrent(Version::V1, 16_384, TREE).info.padding().count(), 0);
}

/// A v1 torrent of pieces of 16 KiB, with entries (path, length, attr).
fn v1(entries: &[(&[&[u8]], i64, &str)]) -> Result<Info, MetainfoError> {
    let total: i64 = entries.iter().map(|(_, length, _)| length).sum();
    let mut e = Encoder::new();
    e.dict(|d| {
        d.key("name").bytes("n");
        d.key("piece length").int(16_384);
        d.key("pieces")
            .bytes(vec![7; 20 * (total as usize).div_ceil(16_384)]);
        d.key("files").list(|list| {
            for (path, length, attr) in entries {
                list.dict(|d| {
                    d.key("length").int(*length);
                    d.key("path")
                        .list(|l| path.iter().for_each(|part| l.bytes(part)));
                    if !attr.is_empty() {
                        d.key("attr").bytes(attr);
                    }
                });
            }
        });
    });
    Info::from_bytes(Bytes::from(e.finish()))
}

#[test]
fn padding_of_others() {
    // Padding in the middle of a piece is plain bytes; at the end of one it is a tail; a piece that
    // is nothing else is fetched as bytes. Paths of padding do not matter.
    let info = v1(&[
        (&[b"a"], 100, ""),
        (&[b".pad", b"50"], 50, "p"),
        (&[b"b"], 850, "hx"),
        (&[b"..", b"/"], 15_000, "p"),
        (
            &[b"_____padding_file_0_if you see this file"],
            384 + 16_384,
            "",
        ),
        (&[b"c"], 10, ""),
        (&[], 20, "p"),
    ])
    .expect("valid");
    check_sane(&info);
    assert_eq!(info.files.len(), 3);
    assert!(info.files[1].executable && !info.files[0].executable);
    let lens = |piece| {
        (
            info.geometry.piece_len(piece),
            info.geometry.data_len(piece),
        )
    };
    assert_eq!(
        [lens(0), lens(1), lens(2)],
        [(16_384, 1000), (16_384, 16_384), (30, 10)]
    );
    let padding: Vec<_> = info.padding().collect();
    assert_eq!(padding, [100..150, 1000..32_768, 32_778..32_798]);
}

#[test]
fn names_that_are_not_utf8_stay_apart() {
    let info = v1(&[(&[b"caf\xe9"], 1, ""), (&[b"caf\xe8"], 1, "")]).expect("valid");
    assert_eq!(info.files[0].path, ["n", "caf%E9"]);
    assert_eq!(info.files[1].path, ["n", "caf%E8"]);
}

#[test]
fn utf8_variants_are_preferred() {
    let mut e = Encoder::new();
    e.dict(|d| {
        d.key("name").bytes(b"\xcf\xf0");
        d.key("name.utf-8").bytes("Пр");
        d.key("piece length").int(16_384);
        d.key("pieces").bytes([0; 20]);
        d.key("private").int(1);
        d.key("files").list(|l| {
            l.dict(|d| {
                d.key("length").int(1);
                d.key("path").list(|p| p.bytes(b"\xe9"));
                d.key("path.utf-8").list(|p| p.bytes("é"));
            });
        });
    });
    let info = Info::from_bytes(Bytes::from(e.finish())).expect("valid");
    assert_eq!(info.files[0].path, ["Пр", "é"]);
    assert!(info.private);
}

#[test]
fn links_inside_the_folder() {
    let mut e = Encoder::new();
    e.dict(|d| {
        d.key("name").bytes("n");
        d.key("piece length").int(16_384);
        d.key("pieces").bytes([0; 20]);
        d.key("files").list(|l| {
            l.dict(|d| {
                d.key("length").int(1);
                d.key("path").list(|p| p.bytes("file"));
            });
            l.dict(|d| {
                d.key("attr").bytes("l");
                d.key("path").list(|p| p.bytes("link"));
                d.key("symlink path").list(|p| p.bytes("file"));
            });
        });
    });
    let info = Info::from_bytes(Bytes::from(e.finish())).expect("valid");
    assert_eq!(info.files.len(), 1);
    assert_eq!(info.symlinks[0].path, ["n", "link"]);
    assert_eq!(info.symlinks[0].target, ["n", "file"]);
}

#[test]
fn a_hybrid_without_tail_padding() {
    // As libtorrent before 2.0.8 made them: the last file is not padded.
    let made = torrent(Version::Hybrid, 16_384, &[("a", 20_000), ("b", 20_000)]);
    let raw = made.info.raw.to_vec();
    let pad = b"d4:attr1:p6:lengthi12768e4:pathl4:.pad5:12768ee";
    let last = raw
        .windows(pad.len())
        .rposition(|at| at == pad)
        .expect("there");
    let cut = [&raw[..last], &raw[last + pad.len()..]].concat();
    let info = Info::from_bytes(Bytes::from(cut)).expect("valid");
    assert_eq!(info.space(), 32_768 + 20_000);
    check_sane(&info);
    // Without the first pad, the halves disagree about where b is.
    let first = raw
        .windows(pad.len())
        .position(|at| at == pad)
        .expect("there");
    let cut = [&raw[..first], &raw[first + pad.len()..]].concat();
    let error = Info::from_bytes(Bytes::from(cut)).expect_err("misaligned");
    assert_eq!(error, MetainfoError::HybridMismatch("name/b".to_owned()));
}

#[test]
fn layers_may_come_later() {
    let made = torrent(Version::V2, 16_384, &[("a", 20_000), ("b", 20_000)]);
    let layer: Vec<u8> = made.info.files[0]
        .layer
        .iter()
        .flat_map(|hash| hash.0)
        .collect();
    let mut info = Info::from_bytes(made.info.raw.clone()).expect("valid");
    assert!(!info.has_layers());
    let wrong: Vec<u8> = layer.iter().rev().copied().collect();
    assert!(matches!(
        info.set_layer(0, &wrong),
        Err(MetainfoError::LayerMismatch(_))
    ));
    assert!(matches!(
        info.set_layer(0, &layer[1..]),
        Err(MetainfoError::LayerMissing(_))
    ));
    assert_eq!(info.set_layer(0, &layer), Ok(()));
    assert!(!info.has_layers());
    assert_eq!(info.set_layer(1, &layer), Ok(()));
    assert_eq!(info.set_layer(2, &layer), Ok(()));
    assert!(info.has_layers());
    assert_eq!(info.files, made.info.files);
    // Both files are the same, so one layer does.
    let bytes = Metainfo::from_info(info).to_bytes();
    assert_eq!(
        bytes.windows(layer.len()).filter(|at| *at == layer).count(),
        1
    );
    assert!(Metainfo::from_bytes(&bytes).is_ok());
}

#[test]
fn trackers_and_web_seeds() {
    let info = torrent(Version::V1, 16_384, &[("", 1)]).info.raw;
    let read = |fill: &dyn Fn(&mut Encoder)| {
        let mut e = Encoder::new();
        e.dict(|d| {
            d.key("info").raw(&info);
            d.key("announce").bytes("http://first/");
            fill(d.key("announce-list"));
            d.key("url-list").list(|l| {
                ["http://w/", "ftp://w/", "http://w/"]
                    .iter()
                    .for_each(|url| l.bytes(url));
            });
            d.key("creation date").int(5);
            d.key("nodes").int(0);
            d.key("comment").bytes(b"caf\xe9");
        });
        Metainfo::from_bytes(&e.finish()).expect("valid")
    };
    let tiers = read(&|l| {
        l.list(|l| {
            l.list(|t| {
                ["udp://a:1", "wss://no", " http://b/ ", "udp://a:1"]
                    .iter()
                    .for_each(|url| t.bytes(url));
            });
            l.list(|t| t.bytes(b"\xff"));
            l.int(3);
            l.bytes("HTTPS://c/");
            l.list(|t| {
                ["http://b/", "http://x y/", "http://", "udp://d:1"]
                    .iter()
                    .for_each(|url| t.bytes(url));
            });
        });
    });
    assert_eq!(
        tiers.trackers,
        [
            vec!["udp://a:1", "http://b/"],
            vec!["HTTPS://c/"],
            vec!["udp://d:1"]
        ]
    );
    assert_eq!(tiers.web_seeds, ["http://w/"]);
    assert_eq!(tiers.created_at, Some(5));
    assert_eq!(tiers.comment.as_deref(), Some("caf%E9"));
    let alone = read(&|l| l.list(|_| ()));
    assert_eq!(alone.trackers, [["http://first/"]]);
    let hash = alone.info.info_hash();
    let other = alone.with_trackers(vec![vec!["udp://z:9".to_owned(), "bad".to_owned()], vec![]]);
    assert_eq!(other.trackers, [["udp://z:9"]]);
    let again = Metainfo::from_bytes(&other.to_bytes()).expect("valid");
    assert_eq!(
        (again.info.info_hash(), &again.trackers),
        (hash, &other.trackers)
    );
}

#[test]
fn a_v2_folder_of_one_file_is_a_folder() {
    let folder = torrent(Version::V2, 16_384, &[("other", 5)]).info;
    assert!(!folder.single_file);
    assert_eq!(folder.files[0].path, ["name", "other"]);
    let single = torrent(Version::V2, 16_384, &[("", 5)]).info;
    assert!(single.single_file);
    assert_eq!(single.files[0].path, ["name"]);
}

/// Names that only some systems can hold, in one torrent.
const LOCAL: Files<'_> = &[
    ("B::Deparse.3perl", 5),
    ("Makefile", 6),
    ("aux.c", 7),
    ("dots...", 8),
    ("makefile", 9),
    ("net/xt_DSCP.c", 10),
    ("net/xt_dscp.c", 11),
];

#[cfg(not(any(windows, target_vendor = "apple")))]
#[test]
fn names_that_only_this_system_can_hold() {
    for version in [Version::V1, Version::V2, Version::Hybrid] {
        let made = torrent_named(version, 16_384, LOCAL, NamePolicy::Local);
        let bytes = made.to_bytes();
        let read = Metainfo::from_bytes_with(&bytes, NamePolicy::Local).expect("valid");
        assert_eq!(read.info.files, made.info.files);
        assert_eq!(read.info.files[2].path, ["name", "aux.c"]);
        let info = Info::from_bytes_with(made.info.raw.clone(), NamePolicy::Local);
        assert_eq!(info.expect("valid").info_hash(), made.info.info_hash());
        let error = Metainfo::from_bytes(&bytes).expect_err("not portable");
        assert!(error.to_string().contains("--any-names"), "{error}");
        assert_eq!(Info::from_bytes(made.info.raw).err(), Some(error));
        // One at a time, so that each is refused by itself.
        for file in LOCAL
            .chunks(1)
            .filter(|file| file[0].1 % 2 == 1 && file[0].1 < 9)
        {
            let made = torrent_named(version, 16_384, file, NamePolicy::Local);
            let error = Metainfo::from_bytes(&made.to_bytes()).expect_err("not portable");
            assert!(matches!(error, MetainfoError::UnsafePath(_, fault) if fault.is_local()));
        }
        let draft = draft(version, 16_384, LOCAL);
        assert!(matches!(draft.layout(), Err(MetainfoError::UnsafePath(..))));
    }
}

#[test]
fn the_hash_that_aria2_computes() {
    // Files of ones as made here, and what aria2c 1.36.0 (Debian 12) says with -S.
    for (files, aria2) in [
        (TREE, "6487b856da1e1e65af8e9a97f6df4fa45c9c2e9c"),
        (
            &[("", 100_000)][..],
            "3fbae6d101d173a65f241a12310159d9e1d451ae",
        ),
    ] {
        let info = torrent(Version::Hybrid, 16_384, files).info;
        let hash = info.hash_without_empty_keys().expect("another one");
        assert_eq!(hash.to_string(), aria2);
        assert_ne!(hash, info.info_hash());
        for version in [Version::V1, Version::V2] {
            let info = torrent(version, 16_384, files).info;
            assert_eq!(info.hash_without_empty_keys(), None);
        }
    }
}

#[test]
fn empty_keys_are_left_out_on_every_level() {
    let made = torrent(Version::Hybrid, 16_384, &[("", 5)]).info;
    let inside = &made.raw[1..];
    let with = |extra: &[u8]| {
        let raw = [b"d".as_slice(), extra, inside].concat();
        Info::from_bytes(Bytes::from(raw))
            .expect("valid")
            .hash_without_empty_keys()
    };
    let plain = with(b"");
    assert!(plain.is_some());
    // Whatever is under the key goes with it; an empty value stays.
    assert_eq!(with(b"0:i7e"), plain);
    assert_eq!(with(b"0:d0:le1:ai1ee"), plain);
    let kept = with(b"1:ald0:i1e1:bi-3eee");
    assert_eq!(kept, with(b"1:ald1:bi-3eee"));
    assert_ne!(kept, plain);
    assert_ne!(with(b"1:a0:"), plain);
}

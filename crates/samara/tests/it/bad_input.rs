//! Torrents that nobody should be able to hurt us with: one line, exit code 1, nothing written.

use super::data::{folder, write};
use super::process::{run, samara};

/// A v1 torrent with these entries in its info dictionary.
fn torrent(info: &[u8]) -> Vec<u8> {
    [b"d8:announce18:http://127.0.0.1/a4:infod", info, b"ee"].concat()
}

fn single(length: &str, name: &str, piece_length: &str, pieces: usize) -> Vec<u8> {
    let mut info = format!(
        "6:lengthi{length}e4:name{}:{name}12:piece lengthi{piece_length}e6:pieces{pieces}:",
        name.len()
    )
    .into_bytes();
    info.extend(std::iter::repeat_n(b'x', pieces));
    torrent(&info)
}

fn multi(paths: &[&[&str]]) -> Vec<u8> {
    let mut info = b"5:filesl".to_vec();
    for path in paths {
        info.extend_from_slice(b"d6:lengthi10e4:pathl");
        for part in *path {
            info.extend_from_slice(format!("{}:{part}", part.len()).as_bytes());
        }
        info.extend_from_slice(b"ee");
    }
    let pieces = (paths.len() * 10).div_ceil(16_384) * 20;
    info.extend_from_slice(format!("e4:name1:t12:piece lengthi16384e6:pieces{pieces}:").as_bytes());
    info.extend(std::iter::repeat_n(b'x', pieces));
    torrent(&info)
}

fn cases() -> Vec<(&'static str, Vec<u8>)> {
    let long = "n".repeat(300);
    vec![
        ("empty file", Vec::new()),
        ("garbage", b"this is no torrent".to_vec()),
        ("truncated", single("100", "a", "16384", 20)[..60].to_vec()),
        (
            "deep",
            [b"l".repeat(100_000), b"e".repeat(100_000)].concat(),
        ),
        ("huge string", b"d4:info99999999999999999999:x".to_vec()),
        ("leading zero", b"d4:infod6:lengthi007eee".to_vec()),
        ("unsorted keys", b"d4:infode3:abci1ee".to_vec()),
        (
            "trailing bytes",
            [single("100", "a", "16384", 20), b"tail".to_vec()].concat(),
        ),
        ("no info", b"d8:announce3:abce".to_vec()),
        ("piece length 0", single("100", "a", "0", 20)),
        ("negative piece length", single("100", "a", "-16384", 20)),
        ("odd piece length", single("100", "a", "16385", 20)),
        ("pieces not x20", single("100", "a", "16384", 19)),
        ("too few pieces", single("40000", "a", "16384", 20)),
        ("negative length", single("-1", "a", "16384", 20)),
        (
            "beyond 2^63",
            single("9223372036854775808", "a", "16384", 20),
        ),
        ("nothing to download", single("0", "a", "16384", 0)),
        ("no files", multi(&[])),
        ("parent folder", multi(&[&["..", "x"]])),
        ("absolute", multi(&[&["/etc/passwd"]])),
        ("empty path", multi(&[&[]])),
        ("empty component", multi(&[&["a", "", "b"]])),
        ("NUL", multi(&[&["a\0b"]])),
        ("backslash", multi(&[&["a\\..\\b"]])),
        ("reserved name", multi(&[&["CON"]])),
        ("over-long", multi(&[&[long.as_str()]])),
        ("duplicate", multi(&[&["a"], &["a"]])),
        ("duplicate after folding", multi(&[&["Ä"], &["a\u{308}"]])),
        ("file and folder", multi(&[&["a"], &["a", "b"]])),
        ("bidi", multi(&[&["exe\u{202e}gpj"]])),
        ("name is ..", single("100", "..", "16384", 20)),
        ("name is a path", single("100", "a/b", "16384", 20)),
    ]
}

#[test]
fn bad_torrents_are_refused_in_one_line_before_anything_is_written() {
    let work = folder();
    for (what, bytes) in cases() {
        let torrent = write(work.path().join("bad.torrent"), bytes);
        let into = work.path().join("out");
        for mut command in [
            samara(["get", "--listen", "127.0.0.1:0", "-o"]),
            samara(["verify", "--data"]),
        ] {
            let ended = run(command.arg(&into).arg(&torrent));
            assert_eq!(ended.code, Some(1), "{what}: {}", ended.stderr);
            assert_eq!(
                ended.stderr.trim_end().lines().count(),
                1,
                "{what}: {}",
                ended.stderr
            );
            assert!(
                ended.stderr.contains("bad.torrent") && ended.stdout.is_empty(),
                "{what}: {}",
                ended.stderr
            );
        }
        let info = run(samara(["info"]).arg(&torrent)).expect_code(1);
        assert!(!info.stderr.contains("panicked"), "{what}");
        assert!(!into.exists(), "{what}: something was written");
    }
}

#[test]
fn attack_11_no_byte_of_a_good_torrent_can_be_changed_into_a_crash() {
    let work = folder();
    let data = super::data::tree(work.path());
    let torrent = work.path().join("t.torrent");
    run(samara(["create", "-q", "-o"]).arg(&torrent).arg(&data)).expect_code(0);
    let good = std::fs::read(&torrent).expect("read");
    let bad = work.path().join("bad.torrent");
    for step in 0..60_usize {
        let mut bytes = good.clone();
        let at = (step * 7919) % good.len();
        bytes[at] ^= 1 << (step % 8);
        std::fs::write(&bad, bytes).expect("written");
        let ended = run(samara(["info"]).arg(&bad));
        assert!(
            matches!(ended.code, Some(0 | 1)) && !ended.stderr.contains("panicked"),
            "byte {at}: {}",
            ended.stderr
        );
    }
}

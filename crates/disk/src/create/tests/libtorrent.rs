//! The same files, made into torrents by libtorrent and by us.
//!
//! Python with libtorrent is named by `LT_PY`; without it these tests say so and pass.

use super::*;
use samara_proto::metainfo::Info;
use std::process::Command;

/// Runs the script beside this file; `None` if there is no libtorrent.
fn python(arguments: &[&str]) -> Option<String> {
    let python = std::env::var("LT_PY").unwrap_or_else(|_| "/tmp/bench/lt/bin/python".to_owned());
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src/create/tests/peer_maker.py"
    );
    let works = Command::new(&python)
        .args(["-c", "import libtorrent"])
        .output();
    if !works.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: {python} has no libtorrent (set LT_PY)");
        return None;
    }
    let output = Command::new(&python)
        .arg(script)
        .args(arguments)
        .output()
        .expect("runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {text}");
    Some(String::from_utf8(output.stdout).expect("text"))
}

/// What the script prints for `created`.
fn described(created: &Created) -> String {
    let info = &created.metainfo.info;
    let shown = |hash: Option<String>| hash.unwrap_or_else(|| "-".to_owned());
    let mut out = format!(
        "v1 {}\nv2 {}\nname {}\n",
        shown(info.hash_v1.map(|hash| hash.to_string())),
        shown(info.hash_v2.map(|hash| hash.to_string())),
        info.name
    );
    for file in &info.files {
        out += &format!(
            "file {} {} {}\n",
            file.offset,
            file.length,
            file.path.join("/")
        );
    }
    out
}

/// The v1 torrent `info` as programs write it that know no SHA-1 of whole files.
fn without_sha1(info: &Info) -> Info {
    let files = info.files.iter().map(|file| DraftFile {
        path: file.path[1..].to_vec(),
        length: file.length,
        executable: file.executable,
        ..DraftFile::default()
    });
    let draft = Draft {
        name: info.name.clone(),
        single_file: info.single_file,
        version: Version::V1,
        piece_length: info.geometry.piece_length(),
        private: info.private,
        names: NamePolicy::default(),
        files: files.collect(),
    };
    draft.info(&info.pieces).expect("valid")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

/// The trees that are tried. No folder is called like the beginning of a file beside it (`a/`, `a.b`):
/// libtorrent 2.1 sorts those by whole paths, and then does not read its own hybrid torrents.
fn trees(dir: &Path) -> Vec<PathBuf> {
    write(dir, "single.bin", &bytes(300_000, 1));
    write(dir, "short.bin", &bytes(5, 2));
    write(dir, "folder of one/only", &bytes(70_000, 3));
    tree(&dir.join("tree"));
    // Two equal files have one piece layer.
    write(dir, "tree/zz/twin1", &bytes(150_000, 9));
    write(dir, "tree/zz/twin2", &bytes(150_000, 9));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let program = dir.join("tree/zz/program");
        write(dir, "tree/zz/program", b"#!/bin/sh\n");
        fs::set_permissions(program, fs::Permissions::from_mode(0o755)).expect("can");
    }
    ["single.bin", "short.bin", "folder of one", "tree"]
        .map(|name| dir.join(name))
        .to_vec()
}

#[test]
fn torrents_are_the_ones_that_libtorrent_makes() {
    let dir = tempfile::tempdir().expect("a folder");
    for path in trees(dir.path()) {
        for (format, name) in [
            (Version::V2, "v2"),
            (Version::Hybrid, "hybrid"),
            (Version::V1, "v1"),
        ] {
            let theirs = dir.path().join("theirs.torrent");
            let arguments = ["make", text(&path), "32768", name, text(&theirs)];
            if python(&arguments).is_none() {
                return;
            }
            let theirs = fs::read(theirs).expect("there");
            let request = CreateRequest {
                format,
                piece_size: Some(32768),
                created_by: None,
                ..CreateRequest::new(&path)
            };
            let ours = make(&request).expect("can be made");
            let read = Metainfo::from_bytes(&theirs).expect("libtorrent's can be read");
            if format == Version::V1 {
                let info = &ours.metainfo.info;
                assert_eq!(read.info.pieces, info.pieces, "{path:?}");
                assert_ne!(read.info.info_hash(), info.info_hash());
                let bare = without_sha1(info);
                assert_eq!(read.info.raw, bare.raw, "{path:?}");
                assert_eq!(read.info.info_hash(), bare.info_hash());
                continue;
            }
            assert!(ours.torrent == theirs, "{name} of {path:?} differs");
            assert_eq!(read.info.files, ours.metainfo.info.files);
        }
    }
}

#[test]
fn libtorrent_reads_our_torrents_as_we_do() {
    let dir = tempfile::tempdir().expect("a folder");
    for path in trees(dir.path()) {
        for format in [Version::V2, Version::Hybrid, Version::V1] {
            let request = CreateRequest {
                format,
                trackers: vec![vec!["http://127.0.0.1:1/announce".to_owned()]],
                ..CreateRequest::new(&path)
            };
            let ours = make(&request).expect("can be made");
            let file = dir.path().join("ours.torrent");
            fs::write(&file, &ours.torrent).expect("can write");
            let Some(read) = python(&["read", text(&file)]) else {
                return;
            };
            // It takes a v2 folder of one file for that file, and goes by places after padding
            // for empty files in v1 lists: BEP 52 leaves both open.
            if !(format == Version::V2 && path.ends_with("folder of one")) {
                assert_eq!(read, described(&ours), "{format:?} of {path:?}");
            }
        }
    }
}

//! Files and trees to share, and whether they arrived.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

pub fn folder() -> TempDir {
    tempfile::Builder::new()
        .prefix("samara-it-")
        .tempdir()
        .expect("a folder for the test")
}

/// `len` bytes that no compression or sparse file makes easier (xorshift64, Marsaglia 2003).
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Writes a file, with its folders.
pub fn write(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = path.as_ref();
    fs::create_dir_all(path.parent().expect("has a parent")).expect("folders");
    fs::write(path, bytes).expect("written");
    path.to_owned()
}

/// Files of many sizes, empty ones, deep folders, names in several scripts.
pub fn tree(root: &Path) -> PathBuf {
    let top = root.join("tree");
    for (name, len) in [
        ("empty", 0),
        ("one byte", 1),
        ("a/block.bin", 16_384),
        ("a/block and one.bin", 16_385),
        ("a/b/c/d/deep.bin", 300_001),
        ("a/b/also empty.txt", 0),
        ("日本語/ファイル.txt", 5_000),
        ("русский/файл.bin", 70_000),
        ("ελληνικά.dat", 12_345),
        ("עברית/قائمة.txt", 777),
        ("emoji 🌰/naïve.bin", 40_000),
        ("big.bin", 3_000_000),
        ("zz last", 100),
    ] {
        write(top.join(name), noise(len, len as u64 + 1));
    }
    top
}

/// Every file below `root` with its bytes; journals and padding files of other clients left out.
pub fn contents(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in
            fs::read_dir(&folder).unwrap_or_else(|err| panic!("{}: {err}", folder.display()))
        {
            let path = entry.expect("listed").path();
            let name = path.file_name().expect("has a name").to_owned();
            if path.is_dir() {
                if name != ".samara" && name != ".pad" {
                    folders.push(path);
                }
            } else if path.extension().is_none_or(|ext| ext != "aria2") {
                let below = path.strip_prefix(root).expect("is below").to_owned();
                found.insert(below, fs::read(&path).expect("read"));
            }
        }
    }
    found
}

/// Fails unless `copy` is byte for byte what `original` is; both are a file, or both a folder.
#[track_caller]
pub fn assert_same(original: &Path, copy: &Path) {
    if original.is_file() {
        let same = fs::read(original).expect("read")
            == fs::read(copy).unwrap_or_else(|err| panic!("{}: {err}", copy.display()));
        assert!(
            same,
            "{} differs from {}",
            copy.display(),
            original.display()
        );
        return;
    }
    let (original, copy) = (contents(original), contents(copy));
    let names = |tree: &BTreeMap<PathBuf, Vec<u8>>| tree.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&original), names(&copy), "the names differ");
    for (name, bytes) in &original {
        assert!(copy[name] == *bytes, "{} differs", name.display());
    }
}

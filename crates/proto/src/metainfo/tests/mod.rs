//! Torrents made in memory, read back, and broken in every way that can be thought of.

mod bad;
mod good;
mod mutate;

use super::*;
use crate::bencode::Encoder;
use crate::merkle;
use sha2::Digest;

/// A file list for a draft: (path below the folder, length).
type Files<'a> = &'a [(&'a str, u64)];

/// A torrent of files full of ones, all hashes right; `files` sorted. `&[("", n)]` is a single file.
pub(super) fn torrent(version: Version, piece_length: u32, files: Files<'_>) -> Metainfo {
    torrent_named(version, piece_length, files, NamePolicy::Portable)
}

/// The same under other rules for names.
fn torrent_named(
    version: Version,
    piece_length: u32,
    files: Files<'_>,
    names: NamePolicy,
) -> Metainfo {
    let draft = Draft {
        names,
        ..draft(version, piece_length, files)
    };
    let layout = draft.layout().expect("valid");
    let mut space = vec![0; layout.space as usize];
    for &(offset, entry) in &layout.entries {
        if let Entry::File(index) = entry {
            let at = offset as usize;
            space[at..at + draft.files[index].length as usize].fill(1);
        }
    }
    let pieces: Vec<u8> = match version {
        Version::V2 => Vec::new(),
        _ => space
            .chunks(piece_length as usize)
            .flat_map(|piece| <[u8; 20]>::from(sha1::Sha1::digest(piece)))
            .collect(),
    };
    Metainfo {
        trackers: vec![vec!["http://t/announce".to_owned()]],
        ..Metainfo::from_info(draft.info(&pieces).expect("valid"))
    }
}

fn draft(version: Version, piece_length: u32, files: Files<'_>) -> Draft {
    let files = files.iter().map(|&(path, length)| {
        let content = vec![1; length as usize];
        let leaves: Vec<Sha256> = content
            .chunks(merkle::LEAF as usize)
            .map(|leaf| Sha256(sha2::Sha256::digest(leaf).into()))
            .collect();
        let long = length > u64::from(piece_length) && version != Version::V1;
        DraftFile {
            path: path
                .split('/')
                .filter(|part| !part.is_empty())
                .map(str::to_owned)
                .collect(),
            length,
            executable: length == 3,
            sha1: (version == Version::V1).then(|| Sha1(sha1::Sha1::digest(&content).into())),
            root: (length > 0).then(|| merkle::root(&leaves)),
            layer: if long {
                merkle::layer(&leaves, piece_length)
            } else {
                Vec::new()
            },
        }
    });
    let files: Vec<DraftFile> = files.collect();
    Draft {
        name: "name".to_owned(),
        single_file: matches!(files.as_slice(), [one] if one.path.is_empty()),
        version,
        piece_length,
        private: false,
        names: NamePolicy::Portable,
        files,
    }
}

/// A torrent file around `info`, whatever that is.
pub(super) fn around(info: &[u8]) -> Vec<u8> {
    let mut e = Encoder::new();
    e.dict(|d| d.key("info").raw(info));
    e.finish()
}

/// What must hold of everything that was accepted.
pub(super) fn check_sane(info: &Info) {
    let geometry = &info.geometry;
    let piece_length = u64::from(geometry.piece_length());
    let mut data = 0;
    for file in &info.files {
        assert_eq!(check_path(&file.path), Ok(()));
        assert!(file.length == 0 || file.offset + file.length <= info.space());
        assert_eq!(file.path[0], info.name);
        if info.version != Version::V1 {
            assert!(file.offset.is_multiple_of(piece_length));
            assert_eq!(file.root.is_some(), file.length > 0);
        }
        data += file.length;
    }
    assert!(data > 0);
    let padded: u64 = info.padding().map(|range| range.end - range.start).sum();
    if info.version != Version::V2 {
        assert_eq!(data + padded, info.space());
        assert_eq!(info.pieces.len(), geometry.pieces() as usize * 20);
        assert!(info.total() >= data);
    } else {
        assert_eq!(info.total(), data);
    }
    let pieces: u64 = (0..geometry.pieces())
        .map(|p| u64::from(geometry.data_len(p)))
        .sum();
    assert_eq!(pieces, geometry.data_total());
}

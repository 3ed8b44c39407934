//! Torrents by hand, for the tests.

use bytes::Bytes;
use samara_proto::metainfo::{File, Info, Version};
use samara_proto::{Geometry, Sha1, Sha256};
use sha1::Digest;
use std::ops::Range;

/// A pseudo-random byte for every place in every file, so that misplaced bytes show.
pub(crate) fn content(file: usize, len: u64) -> Vec<u8> {
    content_in(file, 0..len)
}

/// Some of it. Every 8 bytes are a number mixed from their place (splitmix64).
fn content_in(file: usize, range: Range<u64>) -> Vec<u8> {
    let first = range.start / 8;
    let mut out = Vec::with_capacity((range.end - first * 8) as usize + 8);
    for word in first..range.end.div_ceil(8) {
        let mut z = (word + ((file as u64 + 1) << 40)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        out.extend_from_slice(&(z ^ (z >> 31)).to_le_bytes());
    }
    out.truncate((range.end - first * 8) as usize);
    out.drain(..(range.start - first * 8) as usize);
    out
}

/// A v1 torrent without hashes: files by (path, length, offset) and the length of the byte space.
pub(crate) fn v1(piece_length: u32, files: &[(&str, u64, u64)], total: u64) -> Info {
    // Padding at the end of a piece is a tail of the geometry.
    let mut tails = Vec::new();
    for piece in 0..total.div_ceil(u64::from(piece_length)) {
        let start = piece * u64::from(piece_length);
        let end = total.min(start + u64::from(piece_length));
        let data = files
            .iter()
            .filter(|file| file.1 > 0 && file.2 < end && file.2 + file.1 > start)
            .map(|file| end.min(file.2 + file.1) - start)
            .max();
        if let Some(data) = data
            && start + data < end
        {
            tails.push((piece as u32, data as u32));
        }
    }
    Info {
        raw: Bytes::from_static(b"de"),
        version: Version::V1,
        hash_v1: Some(Sha1(sha1::Sha1::digest(format!("{files:?}")).into())),
        hash_v2: None,
        name: "t".into(),
        single_file: files.len() == 1,
        private: false,
        geometry: Geometry::with_tails(piece_length, total, tails, false).expect("valid"),
        files: files
            .iter()
            .map(|file| entry(file.0, file.1, file.2))
            .collect(),
        symlinks: Vec::new(),
        pieces: Bytes::new(),
    }
}

fn entry(path: &str, length: u64, offset: u64) -> File {
    File {
        path: path.split('/').map(String::from).collect(),
        length,
        offset,
        sha1: None,
        root: None,
        layer: Vec::new(),
        executable: false,
    }
}

/// Files one after the other without padding.
pub(crate) fn packed(piece_length: u32, files: &[(&str, u64)]) -> Info {
    let mut offset = 0;
    let placed: Vec<(&str, u64, u64)> = files
        .iter()
        .map(|&(path, len)| {
            offset += len;
            (path, len, offset - len)
        })
        .collect();
    v1(piece_length, &placed, offset)
}

/// The bytes of a piece, padding included, with every file holding its [`content`].
pub(crate) fn piece_bytes(info: &Info, piece: u32) -> Vec<u8> {
    let start = info.geometry.piece_start(piece);
    let mut out = vec![0; info.geometry.piece_len(piece) as usize];
    let end = start + out.len() as u64;
    for (index, file) in info.files.iter().enumerate() {
        let (from, to) = (start.max(file.offset), end.min(file.offset + file.length));
        if from < to {
            let bytes = content_in(index, from - file.offset..to - file.offset);
            out[(from - start) as usize..(to - start) as usize].copy_from_slice(&bytes);
        }
    }
    out
}

/// The data of a piece in blocks, as it comes from the wire.
pub(crate) fn blocks(info: &Info, piece: u32) -> Vec<Bytes> {
    let mut bytes = Bytes::from(piece_bytes(info, piece));
    bytes.truncate(info.geometry.data_len(piece) as usize);
    let mut blocks = Vec::new();
    while !bytes.is_empty() {
        blocks.push(bytes.split_to(bytes.len().min(samara_proto::BLOCK as usize)));
    }
    blocks
}

/// Fills in the SHA-1 of every piece (and of every file).
pub(crate) fn with_v1_hashes(mut info: Info) -> Info {
    let mut pieces = Vec::new();
    for piece in 0..info.geometry.pieces() {
        pieces.extend_from_slice(&sha1::Sha1::digest(piece_bytes(&info, piece)));
    }
    info.pieces = pieces.into();
    for index in 0..info.files.len() {
        let bytes = content(index, info.files[index].length);
        info.files[index].sha1 = Some(Sha1(sha1::Sha1::digest(bytes).into()));
    }
    info
}

/// A v2 or hybrid torrent with all its hashes, by the plainest reading of BEP 52.
pub(crate) fn v2(piece_length: u32, files: &[(&str, u64)], hybrid: bool) -> Info {
    let align = |at: u64| at.next_multiple_of(u64::from(piece_length));
    let (mut offset, mut end, mut tails) = (0, 0, Vec::new());
    let mut entries = Vec::new();
    for &(path, length) in files {
        entries.push(entry(path, length, offset));
        end = offset + length;
        offset = align(end).max(offset);
        if end % u64::from(piece_length) != 0 {
            let last = (end / u64::from(piece_length)) as u32;
            tails.push((last, (end % u64::from(piece_length)) as u32));
        }
    }
    // The last file is not followed by padding.
    let total = if end == 0 { 0 } else { end };
    let last = (total.div_ceil(u64::from(piece_length)) - 1) as u32;
    tails.retain(|&(piece, _)| piece != last);
    for (index, entry) in entries.iter_mut().enumerate() {
        if entry.length > 0 {
            let (root, layer) = merkle(&content(index, entry.length), piece_length as usize);
            entry.root = Some(root);
            entry.layer = layer;
        }
    }
    let mut info = v1(piece_length, &[("x", 1, 0)], 1);
    info.geometry = Geometry::with_tails(piece_length, total, tails, !hybrid).expect("valid");
    info.files = entries;
    info.version = if hybrid { Version::Hybrid } else { Version::V2 };
    info.hash_v2 = Some(Sha256(sha2::Sha256::digest(format!("{files:?}")).into()));
    if hybrid {
        let mut hybrid = with_v1_hashes(info);
        hybrid.files.iter_mut().for_each(|file| file.sha1 = None);
        return hybrid;
    }
    info.hash_v1 = None;
    info
}

fn merkle(bytes: &[u8], piece_length: usize) -> (Sha256, Vec<Sha256>) {
    let leaf = |chunk: &[u8]| <[u8; 32]>::from(sha2::Sha256::digest(chunk));
    let leaves: Vec<[u8; 32]> = bytes.chunks(16384).map(leaf).collect();
    let tree = |leaves: &[[u8; 32]], width: usize| {
        let mut row = leaves.to_vec();
        row.resize(width, [0; 32]);
        while row.len() > 1 {
            row = row.chunks(2).map(|pair| leaf(&pair.concat())).collect();
        }
        row[0]
    };
    let root = Sha256(tree(&leaves, leaves.len().next_power_of_two()));
    if bytes.len() <= piece_length {
        return (root, Vec::new());
    }
    let per_piece = piece_length / 16384;
    let layer = leaves
        .chunks(per_piece)
        .map(|part| Sha256(tree(part, per_piece)))
        .collect();
    (root, layer)
}

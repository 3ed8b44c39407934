//! Parts of pieces, checked from the end of a piece before all of it is here (`samara_proto::wire::PartsMessage`).

use super::piece::v1_hash;
use crate::hash::Sha1Chain;
use crate::store::{DiskError, Store};
use bytes::Bytes;
use samara_proto::Sha1;
use samara_proto::metainfo::Info;

/// Bytes that are read at a time.
const READ: usize = 256 * 1024;

/// Whether `blocks` are the bytes of `piece` from somewhere on, before which SHA-1's chain has the value `before`: if it then
/// has the value `after`, or, if that is `None` and `blocks` reach to the end, comes to the piece's hash. False for pieces that are
/// padded, or have no SHA-1.
#[must_use]
pub fn part_ok(
    info: &Info,
    piece: u32,
    blocks: &[Bytes],
    before: Sha1,
    after: Option<Sha1>,
) -> bool {
    let mut chain = Sha1Chain::from_bytes(&before.0);
    let mut rest: &[u8] = &[];
    for block in blocks {
        // Only the last block of a piece is not a whole number of SHA-1's.
        if !rest.is_empty() {
            return false;
        }
        rest = chain.take(block);
    }
    if let Some(after) = after {
        return rest.is_empty() && chain.to_bytes() == after.0;
    }
    if piece >= info.geometry.pieces() {
        return false;
    }
    let length = info.geometry.piece_len(piece);
    chain.finish(rest, u64::from(length));
    length == info.geometry.data_len(piece) && v1_hash(info, piece) == Some(&chain.to_bytes()[..])
}

/// The values of SHA-1's chain before every part of a piece but the first, which are `step` bytes long each. The piece is read
/// from disk.
///
/// # Errors
/// If it cannot be read.
pub fn chain_of(store: &Store, piece: u32, step: u32) -> Result<Vec<Sha1>, DiskError> {
    let geometry = &store.info().geometry;
    let (start, length) = (geometry.piece_start(piece), geometry.data_len(piece));
    let (mut chain, mut values) = (Sha1Chain::START, Vec::new());
    let mut buffer = vec![0; READ.min(step as usize)];
    let mut at = 0;
    while at < length {
        let inside = step - at % step;
        let want = inside.min(length - at).min(buffer.len() as u32) as usize;
        let bytes = &mut buffer[..want];
        store.read_range(start + u64::from(at), bytes)?;
        let _ = chain.take(bytes);
        at += want as u32;
        if at.is_multiple_of(step) && at < length {
            values.push(Sha1(chain.to_bytes()));
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreOptions;
    use crate::testing::{blocks, packed, with_v1_hashes};
    use samara_proto::BLOCK;
    use std::sync::Arc;

    const PIECE: u32 = 8 * BLOCK;

    /// A torrent of two pieces and a bit, its data on disk.
    fn on_disk() -> (tempfile::TempDir, Store) {
        let length = u64::from(PIECE) * 2 + 20_001;
        let info = with_v1_hashes(packed(PIECE, &[("a", length)]));
        let dir = tempfile::TempDir::new().expect("folder");
        let data: Vec<u8> = (0..3)
            .flat_map(|piece| blocks(&info, piece).concat())
            .collect();
        std::fs::write(dir.path().join(&*info.files[0].path[0]), data).expect("written");
        let store = Store::open(Arc::new(info), dir.path(), StoreOptions::read_only());
        (dir, store.expect("opened"))
    }

    #[test]
    fn a_piece_is_verified_from_its_end_and_one_wrong_byte_is_found() {
        let (_dir, store) = on_disk();
        let info = store.info();
        for piece in 0..3 {
            let step = 2 * BLOCK;
            let values = chain_of(&store, piece, step).expect("read");
            let all = blocks(info, piece);
            let parts: Vec<&[Bytes]> = all.chunks(2).collect();
            assert_eq!(values.len() + 1, parts.len());
            for (at, part) in parts.iter().enumerate().skip(1) {
                let (before, after) = (values[at - 1], values.get(at).copied());
                assert!(part_ok(info, piece, part, before, after), "{piece} {at}");
                let mut wrong = part.to_vec();
                let mut bytes = wrong[0].to_vec();
                bytes[3] ^= 1;
                wrong[0] = bytes.into();
                assert!(!part_ok(info, piece, &wrong, before, after));
                assert!(!part_ok(info, piece, part, Sha1([7; 20]), after));
                assert!(!part_ok(info, piece, part, before, Some(Sha1([7; 20]))));
                assert!(!part_ok(
                    info,
                    piece,
                    &part[..part.len() - 1],
                    before,
                    after
                ));
            }
        }
        assert!(!part_ok(info, 3, &[], Sha1::default(), None));
    }

    #[test]
    fn a_piece_that_cannot_be_read_has_no_chain() {
        let (dir, store) = on_disk();
        std::fs::File::options()
            .write(true)
            .open(dir.path().join(&*store.info().files[0].path[0]))
            .and_then(|file| file.set_len(10))
            .expect("cut");
        assert!(chain_of(&store, 1, BLOCK).is_err());
    }
}

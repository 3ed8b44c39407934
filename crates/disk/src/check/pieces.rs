//! Pieces that are on disk.

use super::parallel::{CheckError, Control, parallel};
use super::piece::{Leaves, leaves_ok, parts_ok, v1_hash};
use crate::hash::Sha1Abreast;
use crate::store::{Cause, DiskError, Fault, Store};
use samara_proto::metainfo::Version;
use samara_proto::{Bitfield, merkle};
use sha1::{Digest, Sha1};
use std::ops::Range;

/// Bytes that a thread reads at once: long enough that a spinning disk does not seek much between
/// two threads, short enough to stay near the core until it is hashed.
const BATCH: u64 = 2 << 20;

/// Bytes that are read of each piece when several are read side by side.
const STEP: usize = 64 << 10;

/// Bytes that a thread may hold so that large pieces, too, are hashed several at a time. A piece
/// that is larger than this is read in parts.
const BATCH_MAX: u64 = 32 << 20;

/// Pieces that are hashed at a time at least, where they fit.
const LANES: u64 = 16;

/// Which pieces are right on disk. Files that are missing or short are missing pieces.
///
/// # Errors
/// A disk that cannot be read, or [`CheckError::Cancelled`].
pub fn verify(store: &Store, control: Control<'_>) -> Result<Bitfield, CheckError> {
    let all = Bitfield::full(store.info().geometry.pieces());
    verify_some(store, &all, control)
}

/// Which of the pieces in `which` are right on disk; the others are not looked at, and zero in the
/// result.
///
/// # Errors
/// A disk that cannot be read, or [`CheckError::Cancelled`].
pub fn verify_some(
    store: &Store,
    which: &Bitfield,
    control: Control<'_>,
) -> Result<Bitfield, CheckError> {
    let geometry = &store.info().geometry;
    let piece_length = u64::from(geometry.piece_length());
    let v2 = store.info().version == Version::V2;
    let batches = batches(which, geometry.pieces(), batch_pieces(piece_length, v2));
    let ahead = control.threads();
    let results = parallel(control, batches.len(), |unit, scratch| {
        let batch = batches[unit].clone();
        // What the thread that comes after this round will read.
        if let Some(later) = batches.get(unit + ahead) {
            let len = (later.end - later.start) as u64 * piece_length;
            store.will_read(geometry.piece_start(later.start), len);
        }
        let data = batch
            .clone()
            .map(|piece| u64::from(geometry.data_len(piece)));
        let bytes = data.sum();
        let ok = if piece_length > BATCH_MAX {
            large_ok(store, batch.start, scratch, control)?
        } else if let Some(ok) = abreast_ok(store, batch.clone(), scratch, control)? {
            ok
        } else {
            batch_ok(store, batch.clone(), scratch)?
        };
        (control.progress)(bytes);
        Ok((batch.start, ok))
    })?;
    let mut have = Bitfield::empty(geometry.pieces());
    for (first, ok) in results {
        for (piece, ok) in (first..).zip(ok) {
            if ok {
                have.set(piece);
            }
        }
    }
    Ok(have)
}

/// As many v1 pieces as there are lanes; the leaves of one v2 piece fill them.
fn batch_pieces(piece_length: u64, v2: bool) -> u32 {
    let several = if v2 {
        1
    } else {
        LANES.min(BATCH_MAX / piece_length)
    };
    (BATCH / piece_length).max(several).max(1) as u32
}

/// Runs of neighbours in `which`, at most `most` long.
fn batches(which: &Bitfield, pieces: u32, most: u32) -> Vec<Range<u32>> {
    let mut batches: Vec<Range<u32>> = Vec::new();
    for piece in which.iter().take_while(|&piece| piece < pieces) {
        match batches.last_mut() {
            Some(last) if last.end == piece && last.end - last.start < most => last.end += 1,
            _ => batches.push(piece..piece + 1),
        }
    }
    batches
}

/// Whole v1 pieces, a step of each at a time. `None`: not all of them are that, or something is missing, and
/// [`batch_ok`] finds out what.
fn abreast_ok(
    store: &Store,
    batch: Range<u32>,
    scratch: &mut Vec<u8>,
    control: Control<'_>,
) -> Result<Option<Vec<bool>>, CheckError> {
    let info = store.info();
    let geometry = &info.geometry;
    let length = geometry.piece_length() as usize;
    let whole = |piece| geometry.data_len(piece) as usize == length;
    if info.version == Version::V2
        || length <= STEP
        || !length.is_multiple_of(STEP)
        || !batch.clone().all(whole)
    {
        return Ok(None);
    }
    scratch.resize(scratch.len().max(batch.len() * STEP), 0);
    let mut hash = Sha1Abreast::new(batch.len());
    for at in (0..length).step_by(STEP) {
        if control.cancelled() {
            return Err(CheckError::Cancelled);
        }
        for (piece, part) in batch.clone().zip(scratch.chunks_exact_mut(STEP)) {
            match store.read_range(geometry.piece_start(piece) + at as u64, part) {
                Ok(()) => {}
                Err(error) if is_missing(&error) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
        let parts: Vec<&[u8]> = scratch.chunks_exact(STEP).take(batch.len()).collect();
        hash.update(&parts);
    }
    let digests = hash.finish();
    let right = |(piece, digest): (u32, &[u8; 20])| v1_hash(info, piece) == Some(digest);
    Ok(Some(batch.zip(&digests).map(right).collect()))
}

fn batch_ok(
    store: &Store,
    batch: Range<u32>,
    scratch: &mut Vec<u8>,
) -> Result<Vec<bool>, CheckError> {
    let geometry = &store.info().geometry;
    let start = geometry.piece_start(batch.start);
    let Some(last) = batch.end.checked_sub(1) else {
        return Ok(Vec::new());
    };
    let end = geometry.piece_start(last) + u64::from(geometry.data_len(last));
    let len = (end - start) as usize;
    scratch.resize(len.max(scratch.len()), 0);
    let buf = &mut scratch[..len];
    if let Err(error) = store.read_range(start, buf) {
        if !is_missing(&error) {
            return Err(error.into());
        }
        if batch.len() == 1 {
            return Ok(vec![false]);
        }
        // Some file in it is missing: the pieces of the others count.
        let mut ok = Vec::with_capacity(batch.len());
        for piece in batch {
            ok.extend(batch_ok(store, piece..piece + 1, scratch)?);
        }
        return Ok(ok);
    }
    let held: Vec<[&[u8]; 1]> = batch
        .clone()
        .map(|piece| {
            let at = (geometry.piece_start(piece) - start) as usize;
            [&buf[at..at + geometry.data_len(piece) as usize]]
        })
        .collect();
    let pieces: Vec<(u32, &[&[u8]])> = batch.zip(held.iter().map(|held| &held[..])).collect();
    Ok(parts_ok(store.info(), &pieces))
}

/// A piece that is not to be held in memory as a whole.
fn large_ok(
    store: &Store,
    piece: u32,
    scratch: &mut Vec<u8>,
    control: Control<'_>,
) -> Result<Vec<bool>, CheckError> {
    let info = store.info();
    let start = info.geometry.piece_start(piece);
    let len = u64::from(info.geometry.data_len(piece));
    let v2 = info.version == Version::V2;
    let (mut sha1, mut leaves) = (Sha1::new(), Vec::new());
    let mut at = 0;
    scratch.resize(BATCH as usize, 0);
    while at < len {
        if control.cancelled() {
            return Err(CheckError::Cancelled);
        }
        let part = &mut scratch[..BATCH.min(len - at) as usize];
        match store.read_range(start + at, part) {
            Ok(()) => {}
            Err(error) if is_missing(&error) => return Ok(vec![false]),
            Err(error) => return Err(error.into()),
        }
        at += part.len() as u64;
        if v2 {
            // A part is whole leaves, but for the last.
            const { assert!(BATCH.is_multiple_of(merkle::LEAF as u64)) }
            let mut cut = Leaves::default();
            cut.cut([&*part]);
            leaves.extend(cut.digests());
        } else {
            sha1.update(part);
        }
    }
    if v2 {
        return Ok(vec![leaves_ok(info, piece, &leaves)]);
    }
    let mut padding = u64::from(info.geometry.piece_len(piece)) - len;
    scratch.fill(0);
    while padding > 0 {
        let step = padding.min(BATCH);
        sha1.update(&scratch[..step as usize]);
        padding -= step;
    }
    Ok(vec![
        v1_hash(info, piece) == Some(sha1.finalize().as_slice()),
    ])
}

/// Whether a failed read only says that the bytes are not there.
pub(super) fn is_missing(error: &DiskError) -> bool {
    matches!(
        error.cause(),
        Cause::NotFound | Cause::Fault(Fault::Short | Fault::Replaced | Fault::NotAFile)
    )
}

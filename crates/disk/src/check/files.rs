//! Whole files, as they are on disk, against the hash of the whole file: BEP 47's SHA-1 in a v1
//! torrent, the `pieces root` (BEP 52) in the others.
//!
//! SHA-1 of a file is one chain, so that a large v1 file takes one core as long as it takes; such
//! files go first. Roots are trees: large files are cut into subtrees for all cores. Small files of
//! either kind are hashed many at a time.

use super::parallel::{CheckError, Control, parallel};
use super::piece::Leaves;
use super::pieces::is_missing;
use crate::hash::sha1_many;
use crate::store::Store;
use samara_proto::metainfo::File;
use samara_proto::{Sha1, Sha256, merkle};
use sha1::Digest;

/// Bytes of a subtree, of a read, and of a handful of small files: little enough to be hashed while it
/// is in the second level cache.
const PART: u64 = 1 << 20;

/// Files up to this length are hashed together with others.
const SMALL: u64 = 256 << 10;

/// What a whole file turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// What the torrent says, byte for byte.
    Ok,
    /// There, and not what the torrent says: its length or its hash.
    Bad,
    /// Not there.
    Missing,
    /// There and of the right length; the torrent has no hash of the whole file.
    NoHash,
}

/// One file and what it turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileCheck {
    /// Index of the file in the torrent.
    pub file: u32,
    /// What it is.
    pub outcome: Outcome,
}

/// One thing for one thread to do.
enum Unit {
    /// SHA-1 over a whole file.
    Chain(u32),
    /// The root of [`PART`] bytes of a file, from this part on.
    Subtree(u32, u64),
    /// Small files, in one go.
    Handful(Vec<u32>),
}

/// What a unit found.
enum Finding {
    Outcome(u32, Outcome),
    /// A subtree's root; `None` if its bytes are not there.
    Subtree(u32, u64, Option<Sha256>),
}

/// Checks every file of a torrent from what is on disk; the results are in the order of the files.
///
/// # Errors
/// A disk that cannot be read, or [`CheckError::Cancelled`].
pub fn check_files(store: &Store, control: Control<'_>) -> Result<Vec<FileCheck>, CheckError> {
    let files = &store.info().files;
    let mut outcomes = vec![Outcome::NoHash; files.len()];
    let units = plan(store, &mut outcomes);
    let findings = parallel(control, units.len(), |unit, scratch| match &units[unit] {
        Unit::Chain(file) => chain(store, *file, scratch, control).map(|found| vec![found]),
        Unit::Subtree(file, part) => {
            subtree(store, *file, *part, scratch, control).map(|found| vec![found])
        }
        Unit::Handful(files) => handful(store, files, scratch, control),
    })?;
    let mut trees: Vec<(u32, u64, Option<Sha256>)> = Vec::new();
    for finding in findings.into_iter().flatten() {
        match finding {
            Finding::Outcome(file, outcome) => outcomes[file as usize] = outcome,
            Finding::Subtree(file, part, root) => trees.push((file, part, root)),
        }
    }
    trees.sort_unstable_by_key(|&(file, part, _)| (file, part));
    for parts in trees.chunk_by(|a, b| a.0 == b.0) {
        let Some(&(file, ..)) = parts.first() else {
            continue;
        };
        let roots: Option<Vec<Sha256>> = parts.iter().map(|part| part.2).collect();
        let right = roots.is_some_and(|roots| {
            Some(merkle::root_of_layer(&roots, PART as u32)) == files[file as usize].root
        });
        outcomes[file as usize] = verdict(right);
    }
    let checks = (0..).zip(outcomes);
    Ok(checks
        .map(|(file, outcome)| FileCheck { file, outcome })
        .collect())
}

fn verdict(right: bool) -> Outcome {
    if right { Outcome::Ok } else { Outcome::Bad }
}

/// What has to be read, the longest chains first; what needs no reading is decided at once.
fn plan(store: &Store, outcomes: &mut [Outcome]) -> Vec<Unit> {
    let (mut chains, mut rest, mut hand, mut held) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for ((file, index), outcome) in store.info().files.iter().zip(0u32..).zip(outcomes) {
        *outcome = match store.fingerprint(index) {
            None => Outcome::Missing,
            Some(found) if found.size != file.length => Outcome::Bad,
            // Nothing to get wrong, whether or not there is a hash.
            Some(_) if file.length == 0 => Outcome::Ok,
            Some(_) => Outcome::NoHash,
        };
        if *outcome != Outcome::NoHash || (file.root.is_none() && file.sha1.is_none()) {
            continue;
        }
        if file.length <= SMALL {
            hand.push(index);
            held += file.length;
            if held >= PART {
                rest.push(Unit::Handful(std::mem::take(&mut hand)));
                held = 0;
            }
        } else if file.root.is_some() {
            let parts = file.length.div_ceil(PART);
            rest.extend((0..parts).map(|part| Unit::Subtree(index, part)));
        } else {
            chains.push((file.length, index));
        }
    }
    if !hand.is_empty() {
        rest.push(Unit::Handful(hand));
    }
    chains.sort_unstable_by(|a, b| b.cmp(a));
    let chains = chains.into_iter().map(|(_, index)| Unit::Chain(index));
    chains.chain(rest).collect()
}

fn entry(store: &Store, file: u32) -> &File {
    // The plan was made from the same list.
    &store.info().files[file as usize]
}

fn chain(
    store: &Store,
    file: u32,
    scratch: &mut Vec<u8>,
    control: Control<'_>,
) -> Result<Finding, CheckError> {
    let File {
        length,
        offset,
        sha1,
        ..
    } = *entry(store, file);
    let mut hash = sha1::Sha1::new();
    scratch.resize(PART as usize, 0);
    let mut at = 0;
    while at < length {
        if control.cancelled() {
            return Err(CheckError::Cancelled);
        }
        let part = &mut scratch[..PART.min(length - at) as usize];
        store.will_read(
            offset + at + PART,
            PART.min((length - at).saturating_sub(PART)),
        );
        if !read(store, file, at, part)? {
            return Ok(Finding::Outcome(file, Outcome::Bad));
        }
        hash.update(&*part);
        at += part.len() as u64;
        (control.progress)(part.len() as u64);
    }
    let right = sha1 == Some(Sha1(hash.finalize().into()));
    Ok(Finding::Outcome(file, verdict(right)))
}

fn subtree(
    store: &Store,
    file: u32,
    part: u64,
    scratch: &mut Vec<u8>,
    control: Control<'_>,
) -> Result<Finding, CheckError> {
    let File { length, offset, .. } = *entry(store, file);
    let at = part * PART;
    // The parts after this one are for the other threads; what comes after those is read ahead.
    let ahead = at + PART * control.threads() as u64;
    store.will_read(offset + ahead, PART.min(length.saturating_sub(ahead)));
    scratch.resize(PART as usize, 0);
    let bytes = &mut scratch[..PART.min(length - at) as usize];
    let root = if read(store, file, at, bytes)? {
        let mut leaves = Leaves::default();
        leaves.cut([&*bytes]);
        let leaves = leaves.digests();
        Some(if length <= PART {
            merkle::root(&leaves)
        } else {
            merkle::piece_root(&leaves, PART as u32)
        })
    } else {
        None
    };
    (control.progress)(bytes.len() as u64);
    Ok(Finding::Subtree(file, part, root))
}

fn handful(
    store: &Store,
    files: &[u32],
    scratch: &mut Vec<u8>,
    control: Control<'_>,
) -> Result<Vec<Finding>, CheckError> {
    let total: u64 = files.iter().map(|&file| entry(store, file).length).sum();
    // Less than a part, and one small file more.
    scratch.resize((PART + SMALL).max(total) as usize, 0);
    let mut rest = &mut scratch[..];
    let mut found = Vec::with_capacity(files.len());
    let mut held: Vec<(u32, &[u8])> = Vec::with_capacity(files.len());
    for &file in files {
        if control.cancelled() {
            return Err(CheckError::Cancelled);
        }
        let (bytes, after) = rest.split_at_mut(entry(store, file).length as usize);
        rest = after;
        if read(store, file, 0, bytes)? {
            held.push((file, bytes));
        } else {
            found.push(Finding::Outcome(file, Outcome::Bad));
        }
    }
    let (trees, chains): (Vec<_>, Vec<_>) = held
        .into_iter()
        .partition(|&(file, _)| entry(store, file).root.is_some());

    let messages: Vec<&[u8]> = chains.iter().map(|&(_, bytes)| bytes).collect();
    let mut digests = vec![[0; 20]; messages.len()];
    sha1_many(&messages, &mut digests);
    for (&(file, _), digest) in chains.iter().zip(digests) {
        let right = entry(store, file).sha1 == Some(Sha1(digest));
        found.push(Finding::Outcome(file, verdict(right)));
    }

    let mut leaves = Leaves::default();
    let mut ranges = Vec::with_capacity(trees.len());
    for &(file, bytes) in &trees {
        let first = leaves.len();
        leaves.cut([bytes]);
        ranges.push((file, first..leaves.len()));
    }
    let digests = leaves.digests();
    for (file, range) in ranges {
        let right = entry(store, file).root == Some(merkle::root(&digests[range]));
        found.push(Finding::Outcome(file, verdict(right)));
    }
    (control.progress)(total);
    Ok(found)
}

/// Reads; false if the bytes are not there.
fn read(store: &Store, file: u32, at: u64, bytes: &mut [u8]) -> Result<bool, CheckError> {
    match store.read_file(file, at, bytes) {
        Ok(()) => Ok(true),
        Err(error) if is_missing(&error) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

//! The one order in which a download is opened: what the journal says, what is on disk before anything is
//! made, the files, what must be hashed, and only then what may be vouched for.

use super::{Journal, JournalError};
use crate::check::CheckError;
use crate::seam::Seam;
use crate::store::{DiskError, Store, StoreOptions};
use samara_proto::Bitfield;
use samara_proto::metainfo::Info;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

/// An open download.
#[derive(Debug)]
pub struct Begun {
    /// Its files, made where they were missing.
    pub store: Store,
    /// Its journal.
    pub journal: Journal,
    /// Pieces that are here.
    pub have: Bitfield,
    /// All pieces are here, all whole files were checked, and nothing has changed since.
    pub complete: bool,
}

/// Why a download cannot begin.
#[derive(Debug)]
pub enum BeginError {
    /// Somebody else is at it.
    Journal(JournalError),
    /// The disk failed, or it was told to stop while it was hashing.
    Check(CheckError),
}

impl<E: Into<CheckError>> From<E> for BeginError {
    fn from(error: E) -> Self {
        Self::Check(error.into())
    }
}

/// Opens a download below `root`, new or begun. `check` hashes pieces ([`crate::check::verify_some`]);
/// `warn` is told what the user should know.
///
/// # Errors
/// Another process has it open, the disk fails, `check` was told to stop.
pub fn begin(
    info: &Arc<Info>,
    root: &Path,
    options: StoreOptions,
    seam: &Seam,
    warn: impl FnOnce(String),
    check: impl FnOnce(&Store, &Bitfield) -> Result<Bitfield, CheckError>,
) -> Result<Begun, BeginError> {
    let (mut journal, recovered) =
        Journal::open_at(Arc::clone(info), root, seam.clone()).map_err(BeginError::Journal)?;
    if let Some(text) = recovered.warning {
        warn(text);
    }
    // Looked at before the files are made, which gives them their length.
    let mut suspects = if recovered.fresh {
        data_on_disk(info, root, seam)
    } else {
        recovered.recheck
    };
    let store = Store::open_at(Arc::clone(info), root, options, seam.clone())?;
    let mut have = recovered.have;
    for piece in journal.confirm(&store).iter() {
        have.clear(piece);
        suspects.set(piece);
    }
    if !recovered.fresh {
        // What was written after the last commit is there after a kill, and as good as any.
        for file in journal.unfit(&store) {
            for piece in store.pieces_with_data(file) {
                if !have.get(piece) {
                    suspects.set(piece);
                }
            }
        }
        read_anew(&store, &suspects)?;
    }
    let right = check(&store, &suspects)?;
    journal.adopt(&store, right.iter());
    journal.reject(suspects.iter().filter(|piece| !right.get(*piece)));
    for piece in right.iter() {
        have.set(piece);
    }
    Ok(Begun {
        complete: recovered.complete && have.is_full(),
        store,
        journal,
        have,
    })
}

/// Pieces of which something is on disk already.
fn data_on_disk(info: &Arc<Info>, root: &Path, seam: &Seam) -> Bitfield {
    let mut pieces = Bitfield::empty(info.geometry.pieces());
    let options = StoreOptions::read_only();
    let Ok(store) = Store::open_at(Arc::clone(info), root, options, seam.clone()) else {
        return pieces; // nothing there; or something that opening it for writing will name
    };
    for (file, index) in info.files.iter().zip(0u32..) {
        let Some(found) = store.fingerprint(index) else {
            continue;
        };
        let there = found.size.min(file.length);
        for piece in store.layout().pieces_of(file.offset, there) {
            pieces.set(piece);
        }
    }
    pieces
}

/// A journal that does not fit its files may be one that could not be written any more because a sync had
/// failed: then what is in memory is not what is on disk, and it is the disk that has to be hashed.
fn read_anew(store: &Store, pieces: &Bitfield) -> Result<(), DiskError> {
    let geometry = &store.info().geometry;
    let mut files = BTreeSet::new();
    for piece in pieces.iter() {
        let start = geometry.piece_start(piece);
        let len = u64::from(geometry.data_len(piece));
        files.extend(store.layout().files_in(start, len));
    }
    files.into_iter().try_for_each(|file| store.read_anew(file))
}

//! Making torrents out of files and folders.
//!
//! [`create`] walks what it is given, picks a piece size, hashes on all cores and writes the torrent.
//! Every byte is read once. Nothing is hashed before names, lengths and settings are known to make a
//! torrent that every reader accepts.

mod chains;
mod error;
mod hashing;
mod lanes;
mod piece_size;
mod walk;

#[cfg(test)]
mod tests;

pub use error::CreateError;
pub use piece_size::{MAX_PIECE_LARGE, TARGET_PIECES, choose as choose_piece_size};

use samara_proto::Sha256;
use samara_proto::merkle;
use samara_proto::metainfo::{
    Draft, DraftFile, MAX_PIECE_CREATED, MIN_PIECE_V2, Metainfo, MetainfoError, NamePolicy,
    Version, is_tracker_url, is_web_seed_url,
};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use walk::Tree;

/// What to make a torrent of, and how.
#[derive(Clone, Debug)]
pub struct CreateRequest {
    /// A file, a folder, or several of either. Several become the entries of one folder.
    pub paths: Vec<PathBuf>,
    /// Name of the torrent: by default that of the file or folder, or of the folder that all of
    /// several paths are in.
    pub name: Option<String>,
    /// Which hashes to write. v1 can be used by every client; hybrids cannot (decision 0004).
    pub format: Version,
    /// Which names the files may have.
    pub names: NamePolicy,
    /// Bytes of a piece; chosen by [`choose_piece_size`] if it is not said.
    pub piece_size: Option<u32>,
    /// Allows pieces of more than [`MAX_PIECE_CREATED`] bytes.
    pub allow_large_pieces: bool,
    /// Peers may come from trackers only (BEP 27).
    pub private: bool,
    /// Free text.
    pub comment: Option<String>,
    /// Trackers by tier (BEP 12).
    pub trackers: Vec<Vec<String>>,
    /// Web seeds (BEP 19).
    pub web_seeds: Vec<String>,
    /// What made the torrent.
    pub created_by: Option<String>,
    /// Seconds since 1970. Without it, equal files make equal torrents, byte for byte.
    pub created_at: Option<i64>,
    /// What to do about symbolic links below the paths. The paths themselves are always followed.
    pub symlinks: Symlinks,
    /// Threads that hash; as many as there are cores if it is not said.
    pub threads: Option<usize>,
}

/// What to do about symbolic links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Symlinks {
    /// Share what they point to, as if it were there (as other programs do).
    #[default]
    Follow,
    /// Leave them out, and say so in [`Created::skipped`].
    Skip,
    /// Refuse the folder.
    Refuse,
}

/// How far hashing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of files that have been read and hashed.
    pub done: u64,
    /// Bytes of all files.
    pub total: u64,
}

/// A torrent that was made.
#[derive(Clone, Debug)]
pub struct Created {
    /// The torrent file.
    pub torrent: Vec<u8>,
    /// The same, read back.
    pub metainfo: Metainfo,
    /// Where each of `metainfo.info.files` is, in the same order. With one path and no other name
    /// that is the folder above the path, joined with [`File::path`].
    ///
    /// [`File::path`]: samara_proto::metainfo::File::path
    pub sources: Vec<PathBuf>,
    /// Symbolic links that were left out.
    pub skipped: Vec<PathBuf>,
}

impl CreateRequest {
    /// A v1 torrent of `path`, with everything else by default.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            paths: vec![path.into()],
            name: None,
            format: Version::V1,
            names: NamePolicy::default(),
            piece_size: None,
            allow_large_pieces: false,
            private: false,
            comment: None,
            trackers: Vec::new(),
            web_seeds: Vec::new(),
            created_by: Some(concat!("Samara ", env!("CARGO_PKG_VERSION")).to_owned()),
            created_at: None,
            symlinks: Symlinks::default(),
            threads: None,
        }
    }

    fn check(&self) -> Result<(), CreateError> {
        let most = if self.allow_large_pieces {
            MAX_PIECE_LARGE
        } else {
            MAX_PIECE_CREATED
        };
        if let Some(asked) = self.piece_size
            && asked > most
        {
            return Err(CreateError::PieceTooLarge { asked, most });
        }
        // v1 would allow shorter ones; a block on the wire is this long, so that they gain nothing.
        if let Some(asked) = self.piece_size
            && asked.is_power_of_two()
            && asked < MIN_PIECE_V2
        {
            return Err(CreateError::Refused(MetainfoError::PieceLengthTooSmall {
                length: i64::from(asked),
                least: MIN_PIECE_V2,
            }));
        }
        if let Some(url) = self
            .trackers
            .iter()
            .flatten()
            .find(|url| !is_tracker_url(url))
        {
            return Err(CreateError::BadTracker(url.clone()));
        }
        if let Some(url) = self.web_seeds.iter().find(|url| !is_web_seed_url(url)) {
            return Err(CreateError::BadWebSeed(url.clone()));
        }
        Ok(())
    }
}

/// Makes a torrent. Tells `progress` how far it is, from several threads and about every 8 MiB of a
/// thread; stops soon after `cancel` becomes true.
pub fn create(
    request: &CreateRequest,
    progress: &(dyn Fn(Progress) + Sync),
    cancel: &AtomicBool,
) -> Result<Created, CreateError> {
    request.check()?;
    let mut tree = walk::walk(request, cancel)?;
    tree.sources.sort_by(|a, b| a.path.cmp(&b.path));
    let lengths: Vec<u64> = tree.sources.iter().map(|source| source.length).collect();
    let piece_length = request
        .piece_size
        .unwrap_or_else(|| choose_piece_size(&lengths, request.format, request.allow_large_pieces));
    let mut draft = draft(request, &tree, piece_length);
    let layout = draft.layout()?;
    let threads = request
        .threads
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get));
    let job = hashing::Job {
        sources: &tree.sources,
        layout: &layout,
        piece_length,
        version: request.format,
        progress,
        cancel,
    };
    let hashes = job.run(threads)?;
    for source in &tree.sources {
        source.check_unchanged()?;
    }
    if request.format != Version::V1 {
        fill_roots(&mut draft, &layout, &hashes.v2);
    }
    for (file, sha1) in draft.files.iter_mut().zip(hashes.files) {
        file.sha1 = sha1;
    }
    let info = draft.info(hashes.v1.as_flattened())?;
    let metainfo = Metainfo {
        web_seeds: request.web_seeds.clone(),
        comment: request.comment.clone(),
        created_by: request.created_by.clone(),
        created_at: request.created_at,
        ..Metainfo::from_info(info)
    }
    .with_trackers(request.trackers.clone());
    Ok(Created {
        torrent: metainfo.to_bytes(),
        metainfo,
        sources: tree.sources.into_iter().map(|source| source.file).collect(),
        skipped: tree.skipped,
    })
}

fn draft(request: &CreateRequest, tree: &Tree, piece_length: u32) -> Draft {
    let files = tree.sources.iter().map(|source| DraftFile {
        path: source.path.clone(),
        length: source.length,
        executable: source.executable,
        ..DraftFile::default()
    });
    Draft {
        name: tree.name.clone(),
        single_file: tree.single_file,
        version: request.format,
        piece_length,
        private: request.private,
        names: request.names,
        files: files.collect(),
    }
}

/// Gives every file its root and layer, out of the hashes of all pieces in order.
fn fill_roots(draft: &mut Draft, layout: &samara_proto::metainfo::Layout, pieces: &[[u8; 32]]) {
    let piece_length = u64::from(draft.piece_length);
    for &(offset, entry) in &layout.entries {
        let samara_proto::metainfo::Entry::File(index) = entry else {
            continue;
        };
        let file = &mut draft.files[index];
        if file.length == 0 {
            continue;
        }
        let first = (offset / piece_length) as usize;
        let count = file.length.div_ceil(piece_length) as usize;
        let hashes = &pieces[first..first + count];
        if count == 1 {
            file.root = Some(Sha256(hashes[0]));
        } else {
            file.layer = hashes.iter().copied().map(Sha256).collect();
            file.root = Some(merkle::root_of_layer(&file.layer, draft.piece_length));
        }
    }
}

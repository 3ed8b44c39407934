//! How a journal is kept in its database.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | `meta` | `format` | version of this layout |
//! | | `torrent` | what the journal is about ([`identity`]) |
//! | | `complete` | `yes` or nothing |
//! | `pieces` | page of 32,768 pieces | 4 KiB of bits: recorded; 4 KiB: waiting for a recheck |
//! | `files` | index of the file | size, mtime (ns), ctime (ns), inode, 8 bytes each, little endian |
//!
//! A commit writes only the pages and files that changed. The database checks the checksums of all
//! its pages when it is opened; values are still taken for what a stranger could have put there.

use super::backend::Backend;
use crate::seam::{Action, Seam};
use crate::store::{Fingerprint, sync_folder};
use redb::backends::InMemoryBackend;
use redb::{
    Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, StorageBackend,
    StorageError, TableDefinition, TableError as RedbTableError,
};
use samara_proto::Bitfield;
use samara_proto::metainfo::Info;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::Path;

const META: TableDefinition<'_, &str, &str> = TableDefinition::new("meta");
const PIECES: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("pieces");
const FILES: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("files");

/// Version of the layout; one that is not the same is not read.
const FORMAT: &str = "2";

/// Bytes of a page's bits.
const PAGE: usize = 4096;

/// Memory for the database's pages: several times what a torrent of 100,000 pieces and files needs.
const CACHE: usize = 4 << 20;

/// Largest journal that is read into memory where it cannot be opened in place.
const READ_MAX: u64 = 256 << 20;

/// What a journal says.
#[derive(Debug)]
pub(super) struct Saved {
    pub(super) have: Bitfield,
    pub(super) suspect: Bitfield,
    pub(super) files: BTreeMap<u32, Fingerprint>,
    pub(super) complete: bool,
}

impl Saved {
    pub(super) fn empty(info: &Info) -> Self {
        Self {
            have: Bitfield::empty(info.geometry.pieces()),
            suspect: Bitfield::empty(info.geometry.pieces()),
            files: BTreeMap::new(),
            complete: false,
        }
    }
}

/// Why there is no database.
#[derive(Debug)]
pub(super) enum TableError {
    /// Locked by somebody else.
    Busy,
    /// The folder or the file cannot be written.
    Unwritable(String),
    /// Damaged, from another version, or about something else.
    Unusable(String),
}

impl From<DatabaseError> for TableError {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::DatabaseAlreadyOpen
            | DatabaseError::LockProtocolMismatch
            | DatabaseError::TransactionInProgress => Self::Busy,
            DatabaseError::Storage(StorageError::Io(error)) => error.into(),
            error => Self::Unusable(error.to_string()),
        }
    }
}

impl From<io::Error> for TableError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // What the database says of a file that is not one, or is cut.
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                Self::Unusable(error.to_string())
            }
            _ => Self::Unwritable(error.to_string()),
        }
    }
}

fn unusable(error: impl Into<redb::Error>) -> TableError {
    TableError::Unusable(error.into().to_string())
}

/// What a journal is about: two torrents never have the same.
pub(super) fn identity(info: &Info) -> String {
    let hashes: Vec<String> = info.info_hashes().map(|hash| hash.to_string()).collect();
    format!(
        "{} pieces={} piece_length={} files={}",
        hashes.join("+"),
        info.geometry.pieces(),
        info.geometry.piece_length(),
        info.files.len()
    )
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE);
    // A file that was cut or overwritten must be an error, not a surprise later.
    builder.set_check_integrity_on_open(true);
    builder
}

/// Opens the journal at `path`, or makes an empty one, and reads it. `None`: there was nothing in it.
pub(super) fn open(
    path: &Path,
    identity: &str,
    info: &Info,
    seam: &Seam,
) -> Result<(Database, Option<Saved>), TableError> {
    make_folder(path, seam)?;
    let (backend, made) = Backend::open(path, seam)?;
    let database = builder().create_with_backend(backend)?;
    let found = read(&database, identity, info)?;
    if found.is_none() {
        begin(&database, identity).map_err(TableError::Unwritable)?;
    }
    if made && let Some(folder) = path.parent() {
        // A journal that no name leads to after a loss of power would cost a check of everything.
        sync_folder(seam, folder)?;
        if let Some(above) = folder.parent() {
            sync_folder(seam, above)?;
        }
    }
    Ok((database, found))
}

fn make_folder(path: &Path, seam: &Seam) -> io::Result<()> {
    let Some(folder) = path.parent() else {
        return Ok(());
    };
    if folder.is_dir() {
        return Ok(());
    }
    seam.pass(|| folder.to_path_buf(), Action::Mkdir)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::create_dir_all(folder),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Reads a journal that cannot be opened for writing, as on a read-only file system: out of a copy in
/// memory, which can be checked and repaired without touching the file.
pub(super) fn read_only(path: &Path, identity: &str, info: &Info) -> Option<Saved> {
    let mut bytes = Vec::new();
    fs::File::open(path)
        .ok()?
        .take(READ_MAX)
        .read_to_end(&mut bytes)
        .ok()?;
    if bytes.is_empty() {
        return None;
    }
    let memory = InMemoryBackend::new();
    memory.set_len(bytes.len() as u64).ok()?;
    memory.write(0, &bytes).ok()?;
    let database = builder().create_with_backend(memory).ok()?;
    read(&database, identity, info).ok()?
}

fn begin(database: &Database, identity: &str) -> Result<(), String> {
    let begin = || -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        {
            let mut meta = transaction.open_table(META)?;
            meta.insert("format", FORMAT)?;
            meta.insert("torrent", identity)?;
            transaction.open_table(PIECES)?;
            transaction.open_table(FILES)?;
        }
        transaction.commit()?;
        Ok(())
    };
    begin().map_err(|error| error.to_string())
}

fn read(database: &Database, identity: &str, info: &Info) -> Result<Option<Saved>, TableError> {
    let transaction = database.begin_read().map_err(unusable)?;
    let meta = match transaction.open_table(META) {
        Ok(meta) => meta,
        // A new database has none; a foreign one has others.
        Err(RedbTableError::TableDoesNotExist(_)) => {
            let mut tables = transaction.list_tables().map_err(unusable)?;
            return match tables.next() {
                None => Ok(None),
                Some(_) => Err(TableError::Unusable("it is not a journal".into())),
            };
        }
        Err(error) => return Err(unusable(error)),
    };
    let is = |key: &str, wanted: &str| -> Result<bool, TableError> {
        let value = meta.get(key).map_err(unusable)?;
        Ok(value.is_some_and(|value| value.value() == wanted))
    };
    if !is("format", FORMAT)? {
        return Err(TableError::Unusable("it is from another version".into()));
    }
    if !is("torrent", identity)? {
        return Err(TableError::Unusable("it is about another torrent".into()));
    }
    let mut saved = Saved::empty(info);
    saved.complete = is("complete", "yes")?;

    let pieces = transaction.open_table(PIECES).map_err(unusable)?;
    let bytes = (info.geometry.pieces() as usize).div_ceil(8);
    let (mut have, mut suspect) = (vec![0; bytes], vec![0; bytes]);
    for row in pieces.iter().map_err(unusable)? {
        let (page, value) = row.map_err(unusable)?;
        let at = (page.value() as usize).saturating_mul(PAGE);
        let len = PAGE.min(bytes.saturating_sub(at));
        let value = value.value();
        if len == 0 || value.len() != 2 * len {
            return Err(TableError::Unusable("a page of pieces does not fit".into()));
        }
        let (first, second) = value.split_at(len);
        have[at..at + len].copy_from_slice(first);
        suspect[at..at + len].copy_from_slice(second);
    }
    let field = |bytes: &[u8]| {
        Bitfield::from_wire(bytes, info.geometry.pieces())
            .ok_or_else(|| TableError::Unusable("there are too many pieces".into()))
    };
    saved.have = field(&have)?;
    saved.suspect = field(&suspect)?;

    let files = transaction.open_table(FILES).map_err(unusable)?;
    for row in files.iter().map_err(unusable)? {
        let (file, value) = row.map_err(unusable)?;
        let found = decode(value.value())
            .ok_or_else(|| TableError::Unusable("a fingerprint does not fit".into()))?;
        if (file.value() as usize) < info.files.len() {
            saved.files.insert(file.value(), found);
        }
    }
    Ok(Some(saved))
}

/// Writes what differs between `old`, which is in the database, and `new`; and the fingerprints of
/// `files`. All of it or nothing, and durable when it returns.
pub(super) fn write(
    database: &Database,
    old: &Saved,
    new: &Saved,
    files: &[(u32, Option<Fingerprint>)],
) -> Result<(), String> {
    let write = || -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        {
            let mut meta = transaction.open_table(META)?;
            if new.complete {
                meta.insert("complete", "yes")?;
            } else {
                meta.remove("complete")?;
            }
            let mut pieces = transaction.open_table(PIECES)?;
            let fields = [&old.have, &old.suspect, &new.have, &new.suspect];
            let [old_have, old_suspect, have, suspect] = fields.map(Bitfield::to_wire);
            let old_pages = old_have.chunks(PAGE).zip(old_suspect.chunks(PAGE));
            let pages = have.chunks(PAGE).zip(suspect.chunks(PAGE));
            for (page, (old, new)) in (0u32..).zip(old_pages.zip(pages)) {
                if old != new {
                    pieces.insert(page, [new.0, new.1].concat().as_slice())?;
                }
            }
            let mut table = transaction.open_table(FILES)?;
            for (file, found) in files {
                match found {
                    Some(found) => table.insert(file, encode(found).as_slice())?,
                    None => table.remove(file)?,
                };
            }
        }
        transaction.commit()?;
        Ok(())
    };
    write().map_err(|error| error.to_string())
}

/// For tests: a journal with these rows, pieces (true) and files, as no version of ours wrote them.
#[cfg(any(test, fuzzing))]
pub(crate) fn write_rows(
    path: &Path,
    info: &Info,
    version: &str,
    complete: bool,
    rows: &[(bool, u32, Vec<u8>)],
) {
    let (backend, _) = Backend::open(path, &Seam::default()).expect("opened");
    let database = builder().create_with_backend(backend).expect("made");
    let transaction = database.begin_write().expect("begun");
    {
        let mut meta = transaction.open_table(META).expect("a table");
        let identity = identity(info);
        let words = [("format", version), ("torrent", identity.as_str())];
        let complete = complete.then_some(("complete", "yes"));
        for (key, value) in words.into_iter().chain(complete) {
            meta.insert(key, value).expect("written");
        }
        for (table, wanted) in [(PIECES, true), (FILES, false)] {
            let mut table = transaction.open_table(table).expect("a table");
            for (_, key, value) in rows.iter().filter(|row| row.0 == wanted) {
                table.insert(key, value.as_slice()).expect("written");
            }
        }
    }
    transaction.commit().expect("written");
}

fn encode(found: &Fingerprint) -> [u8; 32] {
    let mut out = [0; 32];
    out[..8].copy_from_slice(&found.size.to_le_bytes());
    out[8..16].copy_from_slice(&found.mtime_ns.to_le_bytes());
    out[16..24].copy_from_slice(&found.ctime_ns.to_le_bytes());
    out[24..].copy_from_slice(&found.inode.to_le_bytes());
    out
}

fn decode(value: &[u8]) -> Option<Fingerprint> {
    let (words, []) = value.as_chunks::<8>() else {
        return None;
    };
    let &[size, mtime_ns, ctime_ns, inode] = words else {
        return None;
    };
    Some(Fingerprint {
        size: u64::from_le_bytes(size),
        mtime_ns: i64::from_le_bytes(mtime_ns),
        ctime_ns: i64::from_le_bytes(ctime_ns),
        inode: u64::from_le_bytes(inode),
    })
}

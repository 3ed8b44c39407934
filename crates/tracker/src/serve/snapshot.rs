//! The swarms in a file, so that a restart does not leave everybody alone for an interval.
//!
//! A snapshot is written beside the old one, made durable (`fsync`), and put in its place by a rename,
//! which is made durable too: whatever happens, there is a whole snapshot, the new one or the one
//! before. It consists of a head, one section for each part of the store with a checksum of its own,
//! and an end that says how many there were. The store goes on answering: each part is locked only
//! while it is copied, about a millisecond for 5,000 swarms.
//!
//! What is lost by a crash is what happened since the last snapshot, and heals with everybody's next
//! announce.

use super::handle::Handle;
use super::shards::Shards;
use crate::swarm::{SavedSwarm, mix};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use std::{error, fmt};

/// What a snapshot begins with: its kind and version.
const MAGIC: [u8; 8] = *b"SAMTRK\0\x01";

/// Longest section that is read, in bytes. A part of the largest store is below 4 MB.
const MAX_SECTION: u64 = 1 << 30;

/// What came back from a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Restored {
    /// Swarms.
    pub swarms: u64,
    /// Peers.
    pub peers: u64,
    /// For how long the snapshot has lain.
    pub age: Duration,
}

/// Why a snapshot was not written or read.
#[derive(Debug)]
pub struct SnapshotError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub source: io::Error,
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the tracker's state in {}: {}",
            self.path.display(),
            self.source
        )
    }
}

impl error::Error for SnapshotError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&self.source)
    }
}

/// A checksum of 64 bits, for accidents: at memory speed, and blind to one change in 2^64.
fn checksum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    let mut sum = bytes.len() as u64;
    for word in words.iter().chain([&last]) {
        sum = mix(sum ^ u64::from_le_bytes(*word), 0x5341_4d41_5241_2121).rotate_left(17) ^ sum;
    }
    sum
}

/// Milliseconds since 1970.
fn wall() -> u64 {
    let age = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(age.as_millis()).unwrap_or(u64::MAX)
}

/// `path` with `suffix` behind its name.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Writes a snapshot; its bytes.
pub(super) fn save(handle: &Handle, path: &Path) -> Result<u64, SnapshotError> {
    write(handle, path).map_err(|source| SnapshotError {
        path: path.into(),
        source,
    })
}

fn write(handle: &Handle, path: &Path) -> io::Result<u64> {
    let new = beside(path, ".new");
    let file = File::create(&new)?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    out.write_all(&MAGIC)?;
    out.write_all(&wall().to_le_bytes())?;
    let mut written = 16;
    let mut section = Vec::new();
    for part in 0..Shards::PARTS {
        section.clear();
        handle.store().save(part, handle.now(), &mut section);
        if !section.is_empty() {
            write_section(&mut out, &section)?;
            written += section.len() as u64 + 16;
        }
    }
    write_section(&mut out, &[])?;
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&new, path)?;
    // The rename is of the folder. Some systems cannot open one; then this is all there is.
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    if let Ok(folder) = File::open(folder.unwrap_or(Path::new("."))) {
        folder.sync_all()?;
    }
    Ok(written + 16)
}

fn write_section(out: &mut impl Write, section: &[u8]) -> io::Result<()> {
    out.write_all(&(section.len() as u64).to_le_bytes())?;
    out.write_all(section)?;
    out.write_all(&checksum(section).to_le_bytes())
}

/// Reads a snapshot into an empty store. `None` if there is none. One that is damaged is put aside
/// under another name, for whoever wants to know why, and what was read before the damage stays.
pub(super) fn restore(handle: &Handle, path: &Path) -> Result<Option<Restored>, SnapshotError> {
    let wrong = |source| SnapshotError {
        path: path.into(),
        source,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(error)),
    };
    let mut restored = Restored::default();
    match read(handle, file, &mut restored) {
        Ok(()) => Ok(Some(restored)),
        Err(error) if is_damage(&error) => {
            let aside = beside(path, ".damaged");
            fs::rename(path, &aside).map_err(wrong)?;
            tracing::error!(
                path = %path.display(), aside = %aside.display(), swarms = restored.swarms,
                "the tracker's state is damaged; it was put aside, and what could be read is used"
            );
            Ok(Some(restored))
        }
        Err(error) => Err(wrong(error)),
    }
}

fn is_damage(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
    )
}

fn read(handle: &Handle, file: File, restored: &mut Restored) -> io::Result<()> {
    let damaged = || io::Error::from(io::ErrorKind::InvalidData);
    let mut input = BufReader::with_capacity(1 << 20, file);
    let mut word = || -> io::Result<[u8; 8]> {
        let mut word = [0; 8];
        input.read_exact(&mut word)?;
        Ok(word)
    };
    if word()? != MAGIC {
        return Err(damaged());
    }
    // A clock that was set back is taken for one that stood still.
    let since = wall().saturating_sub(u64::from_le_bytes(word()?));
    restored.age = Duration::from_millis(since);
    let now = handle.now();
    let mut section = Vec::new();
    loop {
        let mut word = [0; 8];
        input.read_exact(&mut word)?;
        let len = u64::from_le_bytes(word);
        if len > MAX_SECTION {
            return Err(damaged());
        }
        section.clear();
        // Grows as bytes come, so that a length that lies costs nothing.
        let got = (&mut input).take(len).read_to_end(&mut section)?;
        input.read_exact(&mut word)?;
        if got as u64 != len || checksum(&section) != u64::from_le_bytes(word) {
            return Err(damaged());
        }
        if len == 0 {
            return Ok(());
        }
        let mut rest = section.as_slice();
        while !rest.is_empty() {
            let saved = SavedSwarm::read(&mut rest).ok_or_else(damaged)?;
            restored.swarms += 1;
            restored.peers += handle.store().restore(now, since, &saved);
        }
    }
}

#[cfg(test)]
mod tests;

//! Any history of writes, commits, kills, damaged and old journals, foreign rows in good ones, and files that
//! somebody else changes. What has to hold after each start:
//!
//! * no piece is vouched for that is not right on disk;
//! * what was committed, and whose files nobody touched, is there, unless the journal itself was spoilt;
//! * nothing panics, and the download can always begin.

use crate::check::{CheckError, Control, verify_some};
use crate::resume::{Begun, Journal, begin, write_rows};
use crate::seam::Seam;
use crate::store::{Store, StoreOptions};
use crate::testing::{blocks, v1, with_v1_hashes};
use arbitrary::{Result, Unstructured};
use samara_proto::Bitfield;
use samara_proto::metainfo::Info;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Longest history.
const STEPS: usize = 48;

/// A folder that is gone when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("samara-fuzz-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a folder for temporary files");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct World {
    folder: Folder,
    info: Arc<Info>,
    open: Option<Begun>,
    /// What the last commit vouched for and nobody has touched since.
    safe: Bitfield,
    /// The journal as it was at some time.
    old: Vec<u8>,
}

/// A history.
pub fn journal(data: &[u8]) {
    let mut u = Unstructured::new(data);
    // Pieces of 1 KiB: two are in two files, and the last is short.
    let files = [("t/a", 5000, 0), ("t/b", 6000, 5000), ("t/c", 3500, 11_000)];
    let info = Arc::new(with_v1_hashes(v1(1024, &files, 14_500)));
    let mut world = World {
        folder: Folder::new(),
        safe: Bitfield::empty(info.geometry.pieces()),
        open: None,
        old: Vec::new(),
        info,
    };
    world.start();
    for _ in 0..STEPS {
        if u.is_empty() || world.step(&mut u).is_err() {
            break;
        }
    }
    world.end(false);
    world.start();
}

fn right(store: &Store, suspects: &Bitfield) -> std::result::Result<Bitfield, CheckError> {
    let control = Control {
        threads: 1,
        progress: &|_| {},
        cancel: &AtomicBool::new(false),
    };
    verify_some(store, suspects, control)
}

impl World {
    fn root(&self) -> &Path {
        &self.folder.0
    }

    fn path(&self) -> PathBuf {
        let name = format!("{}.redb", self.info.info_hash());
        self.root().join(crate::store::JOURNAL_FOLDER).join(name)
    }

    fn start(&mut self) {
        if self.open.is_some() {
            return;
        }
        let options = StoreOptions::default();
        let begun = begin(
            &self.info,
            &self.folder.0,
            options,
            &Seam::default(),
            |_| {},
            right,
        );
        let begun = begun.expect("a download can always begin");
        let all = Bitfield::full(self.info.geometry.pieces());
        let truth = right(&begun.store, &all).expect("readable");
        for piece in begun.have.iter() {
            assert!(truth.get(piece), "piece {piece} is vouched for and wrong");
        }
        for piece in self.safe.iter() {
            assert!(
                begun.have.get(piece),
                "piece {piece} was committed and is lost"
            );
        }
        assert!(!begun.complete || truth.is_full());
        self.open = Some(begun);
    }

    /// The process ends: politely, or as by SIGKILL. Then the journal stays as it is on disk at this moment.
    fn end(&mut self, polite: bool) {
        let Some(begun) = self.open.take() else {
            return;
        };
        if polite {
            let complete = begun.have.is_full();
            self.safe = begun.journal.have().clone();
            begun
                .journal
                .finish(&begun.store, complete)
                .expect("written");
        } else {
            let bytes = fs::read(self.path()).unwrap_or_default();
            drop(begun);
            fs::write(self.path(), bytes).expect("written");
        }
    }

    fn step(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let kind = u.arbitrary::<u8>()? % 16;
        match kind {
            0..=4 => self.write(u)?,
            5 | 6 => self.commit(),
            7 => self.end(true),
            8 | 9 => self.end(false),
            10 => self.old = fs::read(self.path()).unwrap_or_default(),
            11 => self.damage(u)?,
            12 => self.rows(u)?,
            13 | 14 => self.meddle(u)?,
            _ => self.start(),
        }
        Ok(())
    }

    fn write(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let piece = u32::from(u.arbitrary::<u8>()?) % self.info.geometry.pieces();
        self.start();
        let Some(begun) = &mut self.open else {
            return Ok(());
        };
        if !begun.have.get(piece) {
            let blocks = blocks(&self.info, piece);
            begun.store.write_piece(piece, &blocks).expect("written");
            begun.journal.record([piece]);
            begun.have.set(piece);
        }
        Ok(())
    }

    fn commit(&mut self) {
        if let Some(begun) = &mut self.open {
            begun.journal.commit(&begun.store).expect("written");
            self.safe = begun.journal.have().clone();
        }
    }

    /// Between two processes somebody spoils the journal.
    fn damage(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        self.end(false);
        let mut bytes = fs::read(self.path()).unwrap_or_default();
        for _ in 0..=u.arbitrary::<u8>()? % 4 {
            let at = u.arbitrary::<u32>()? as usize % (bytes.len() + 1);
            match u.arbitrary::<u8>()? % 6 {
                0 => bytes.truncate(at),
                1 => bytes = self.old.clone(),
                2 => {
                    // A torn write: some pages are old.
                    let to = self.old.len().min(bytes.len()).min(at + 4096);
                    if at < to {
                        bytes[at..to].copy_from_slice(&self.old[at..to]);
                    }
                }
                3 => {
                    let to = bytes.len().min(at + 512);
                    bytes[at..to].fill(0);
                }
                _ if at < bytes.len() => bytes[at] = u.arbitrary()?,
                _ => bytes.push(u.arbitrary()?),
            }
        }
        self.safe = Bitfield::empty(self.safe.len());
        fs::write(self.path(), bytes).expect("written");
        Ok(())
    }

    /// Between two processes somebody writes a journal that the database takes for whole, with rows that we
    /// would not have written. What its files looked like it can only guess.
    fn rows(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        self.end(false);
        let mut rows = Vec::new();
        for _ in 0..u.arbitrary::<u8>()? % 4 {
            let key = u.arbitrary::<u8>()?;
            let len =
                [4, 32, 2, 8192][usize::from(key) % 4] + usize::from(u.arbitrary::<u8>()? % 3 / 2);
            let fill = u.arbitrary::<u8>()?;
            rows.push((
                u.arbitrary::<u8>()? % 2 == 0,
                u32::from(key) / 32,
                vec![fill; len],
            ));
        }
        let version = if u.arbitrary::<u8>()? % 8 == 0 {
            "1"
        } else {
            "2"
        };
        let complete = u.arbitrary()?;
        let _ = fs::remove_file(self.path());
        write_rows(&self.path(), &self.info, version, complete, &rows);
        self.safe = Bitfield::empty(self.safe.len());
        // Opened and dropped without a look at anything else.
        drop(Journal::open(Arc::clone(&self.info), self.root()));
        Ok(())
    }

    /// Between two processes somebody changes a file.
    fn meddle(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        self.end(false);
        let index = usize::from(u.arbitrary::<u8>()?) % self.info.files.len();
        let kind = u.arbitrary::<u8>()? % 4;
        let at = u.arbitrary::<u16>()?;
        let file = &self.info.files[index];
        let mut path = self.root().to_path_buf();
        path.extend(
            self.info.files[index]
                .path
                .iter()
                .filter(|_| self.info.single_file),
        );
        if !self.info.single_file {
            path.push(&self.info.name);
            path.extend(&file.path);
        }
        let Ok(mut bytes) = fs::read(&path) else {
            return Ok(());
        };
        let at = usize::from(at) % bytes.len().max(1);
        match kind {
            0 => drop(fs::remove_file(&path)),
            1 => {
                bytes.truncate(at);
                fs::write(&path, &bytes).expect("written");
            }
            _ => {
                // Another file in its place: within one tick of the kernel's clock a change in place cannot
                // be told from our own (docs/reliability.md).
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 0x55;
                }
                let aside = path.with_extension("other");
                fs::write(&aside, &bytes).expect("written");
                fs::rename(&aside, &path).expect("renamed");
            }
        }
        let layout = crate::store::Layout::new(&self.info);
        for piece in layout.pieces_of(file.offset, file.length) {
            self.safe.clear(piece);
        }
        Ok(())
    }
}

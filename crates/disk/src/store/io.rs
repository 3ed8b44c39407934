//! Reads and writes.

use super::{DiskError, Extent, Fault, Op, Segment, Store};
use crate::seam::Action;
use bytes::Bytes;
use rustix::fs::SeekFrom;
use rustix::io::Errno;
use samara_proto::Span;
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;

/// Slices that the kernel takes in one vectored call (`UIO_MAXIOV`).
const MAX_SLICES: usize = 1024;

impl Store {
    /// Writes a whole piece: one vectored write a file touched. `blocks` are the piece's data from its
    /// first byte on, cut anyhow, padding not included.
    ///
    /// # Errors
    /// What could not be written. Some of the piece may have been.
    pub fn write_piece(&self, piece: u32, blocks: &[Bytes]) -> Result<(), DiskError> {
        let geometry = &self.info.geometry;
        if piece >= geometry.pieces() {
            return Err(self.misuse(Op::Write));
        }
        let span = Span {
            piece,
            offset: 0,
            length: geometry.data_len(piece),
        };
        self.write(span, blocks)
    }

    /// Writes a span of a piece; `blocks` are its bytes, cut anyhow.
    ///
    /// # Errors
    /// What could not be written. Some of the span may have been.
    pub fn write(&self, span: Span, blocks: &[Bytes]) -> Result<(), DiskError> {
        let held: usize = blocks.iter().map(Bytes::len).sum();
        if !self.info.geometry.contains(span) || held as u64 != u64::from(span.length) {
            return Err(self.misuse(Op::Write));
        }
        if !self.options.write {
            return Err(DiskError::new(
                Op::Write,
                self.root.path(),
                Fault::NotWritable,
            ));
        }
        let mut source = Cursor { blocks, skip: 0 };
        for extent in self
            .layout
            .extents(self.start(span), u64::from(span.length))
        {
            // A span is at most `u32::MAX` bytes, so that its parts fit a `usize`.
            let taken = source.take(extent.len() as usize);
            let Extent::File { file, offset, .. } = extent else {
                continue;
            };
            let descriptor = self.descriptor(file)?;
            let written = self.explained(file, &descriptor, || {
                self.write_at(file, &descriptor, &taken, offset)
            });
            // Marked after the write and before it is reported, also one that failed half-way: a
            // sync in between would otherwise take the mark and miss the bytes.
            self.mark_unsynced(file);
            written?;
        }
        Ok(())
    }

    fn write_at(
        &self,
        file: u32,
        descriptor: &File,
        parts: &[&[u8]],
        offset: u64,
    ) -> io::Result<()> {
        let path = || self.path(file).unwrap_or_default();
        match self.root.seam().pass_write(path, offset, parts) {
            None => write_all(descriptor, parts, offset),
            Some((bytes, error)) => {
                let whole = parts.concat();
                let torn = whole.get(..bytes).unwrap_or(&whole);
                write_all(descriptor, &[torn], offset).and(Err(error))
            }
        }
    }

    /// Reads a span; padding is zeros. `buf` is exactly as long as the span. A file that somebody else
    /// has changed and that was not hashed since is an error here, and not in the two reads below.
    ///
    /// # Errors
    /// What could not be read; a file that ends too early is one of these.
    pub fn read(&self, span: Span, buf: &mut [u8]) -> Result<(), DiskError> {
        if !self.info.geometry.contains(span) || buf.len() as u64 != u64::from(span.length) {
            return Err(self.misuse(Op::Read));
        }
        for file in self.layout.files_in(self.start(span), buf.len() as u64) {
            self.not_in_doubt(file)?;
        }
        self.read_range(self.start(span), buf)
    }

    /// Reads the torrent's byte space from `start` on, across pieces; padding is zeros.
    ///
    /// # Errors
    /// What could not be read; a file that ends too early is one of these.
    pub fn read_range(&self, start: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        let mut rest = buf;
        for extent in self.layout.extents(start, rest.len() as u64) {
            let (part, next) = rest.split_at_mut(extent.len() as usize);
            rest = next;
            match extent {
                Extent::Zeros { .. } => part.fill(0),
                Extent::File { file, offset, .. } => self.read_file(file, offset, part)?,
            }
        }
        Ok(())
    }

    /// Reads one file from `offset` on until `buf` is full.
    ///
    /// # Errors
    /// What could not be read; a file that ends too early is one of these.
    pub fn read_file(&self, file: u32, offset: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        let descriptor = self.descriptor(file)?;
        let path = || self.path(file).unwrap_or_default();
        let passed = self.root.seam().pass(path, Action::Read);
        passed
            .and_then(|()| descriptor.read_exact_at(buf, offset))
            .map_err(|error| {
                let short = error.kind() == io::ErrorKind::UnexpectedEof;
                let error = if short { Fault::Short.into() } else { error };
                self.error(Op::Read, file, error)
            })
    }

    /// Where the bytes of a span are, for a caller that sends them without copying. The files are
    /// open as long as the segments are held.
    ///
    /// # Errors
    /// A file that could not be opened.
    pub fn segments(&self, span: Span) -> Result<Vec<Segment>, DiskError> {
        if !self.info.geometry.contains(span) {
            return Err(self.misuse(Op::Read));
        }
        let extents = self
            .layout
            .extents(self.start(span), u64::from(span.length));
        extents
            .map(|extent| {
                // No longer than the span is.
                let len = extent.len() as u32;
                Ok(match extent {
                    Extent::Zeros { .. } => Segment::Zeros { len },
                    Extent::File { file, offset, .. } => {
                        self.not_in_doubt(file)?;
                        let file = self.descriptor(file)?;
                        Segment::File { file, offset, len }
                    }
                })
            })
            .collect()
    }

    /// Pieces that something was written to in this file: those that do not lie in its holes as a whole.
    /// All of them where the file system does not know.
    #[must_use]
    pub fn pieces_with_data(&self, file: u32) -> Vec<u32> {
        let Some(entry) = self.info.files.get(file as usize) else {
            return Vec::new();
        };
        let Ok(descriptor) = self.descriptor(file) else {
            return Vec::new();
        };
        let seek = |to| rustix::fs::seek(&descriptor, to);
        let (mut pieces, mut at) = (Vec::new(), 0);
        while at < entry.length {
            let data = match seek(SeekFrom::Data(at)) {
                Ok(data) if data < entry.length => data,
                Err(Errno::INVAL | Errno::OPNOTSUPP) => at,
                Ok(_) | Err(_) => break,
            };
            let hole = seek(SeekFrom::Hole(data)).unwrap_or(entry.length);
            let hole = hole.clamp(data + 1, entry.length);
            pieces.extend(self.layout.pieces_of(entry.offset + data, hole - data));
            at = hole;
        }
        pieces.dedup();
        pieces
    }

    /// Tells the kernel that a range of the byte space will be read soon. A hint: failures are
    /// nothing to report.
    pub fn will_read(&self, start: u64, len: u64) {
        /// Bytes of one hint: of more the kernel begins only what the device takes as one request.
        const HINT: u64 = 512 << 10;

        if self.in_memory {
            return;
        }
        for extent in self.layout.extents(start, len) {
            if let Extent::File { file, offset, len } = extent
                && let Ok(descriptor) = self.descriptor(file)
            {
                for at in (0..len).step_by(HINT as usize) {
                    let hint = std::num::NonZeroU64::new(HINT.min(len - at));
                    let advice = rustix::fs::Advice::WillNeed;
                    let _ = rustix::fs::fadvise(&descriptor, offset + at, hint, advice);
                }
            }
        }
    }

    fn start(&self, span: Span) -> u64 {
        self.info.geometry.piece_start(span.piece) + u64::from(span.offset)
    }

    fn misuse(&self, op: Op) -> DiskError {
        DiskError::new(op, self.root.path(), Fault::Misuse)
    }
}

/// Where we are in a list of blocks.
struct Cursor<'a> {
    blocks: &'a [Bytes],
    /// Bytes of the first block that are taken already.
    skip: usize,
}

impl<'a> Cursor<'a> {
    /// The next `len` bytes, in as many slices as they lie in.
    fn take(&mut self, mut len: usize) -> Vec<&'a [u8]> {
        let mut taken = Vec::with_capacity(self.blocks.len().min(MAX_SLICES));
        while len > 0 {
            let Some((first, rest)) = self.blocks.split_first() else {
                break;
            };
            let left = &first[self.skip..];
            if left.len() > len {
                taken.push(&left[..len]);
                self.skip += len;
                break;
            }
            if !left.is_empty() {
                taken.push(left);
            }
            len -= left.len();
            self.blocks = rest;
            self.skip = 0;
        }
        taken
    }
}

/// Writes all slices from `offset` on: one call unless the kernel takes less, or there are more than
/// [`MAX_SLICES`].
fn write_all(file: &File, slices: &[&[u8]], mut offset: u64) -> io::Result<()> {
    for slices in slices.chunks(MAX_SLICES) {
        let mut slices: Vec<IoSlice<'_>> = slices.iter().map(|slice| IoSlice::new(slice)).collect();
        let mut left: &mut [IoSlice<'_>] = &mut slices;
        while !left.is_empty() {
            match rustix::io::pwritev(file, left, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    offset += written as u64;
                    IoSlice::advance_slices(&mut left, written);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

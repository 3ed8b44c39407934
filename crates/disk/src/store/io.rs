//! Reads and writes.

use super::{DiskError, Extent, Fault, Op, Segment, Store};
use bytes::Bytes;
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
            let written = write_all(&descriptor, &taken, offset);
            // Marked after the write and before it is reported, also one that failed half-way: a
            // sync in between would otherwise take the mark and miss the bytes.
            self.dirty().insert(file);
            written.map_err(|error| self.error(Op::Write, file, error))?;
        }
        Ok(())
    }

    /// Reads a span; padding is zeros. `buf` is exactly as long as the span.
    ///
    /// # Errors
    /// What could not be read; a file that ends too early is one of these.
    pub fn read(&self, span: Span, buf: &mut [u8]) -> Result<(), DiskError> {
        if !self.info.geometry.contains(span) || buf.len() as u64 != u64::from(span.length) {
            return Err(self.misuse(Op::Read));
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
        descriptor.read_exact_at(buf, offset).map_err(|error| {
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
                    Extent::File { file, offset, .. } => Segment::File {
                        file: self.descriptor(file)?,
                        offset,
                        len,
                    },
                })
            })
            .collect()
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
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

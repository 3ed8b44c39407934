//! From the torrent's byte space to its files.
//!
//! A torrent's bytes are one long space (BEP 3) in which every file has a place. What no file covers
//! is padding (BEP 47): it reads as zeros and is dropped when written. In a v2 torrent files begin
//! at pieces and the space after a short piece is never asked for.

use samara_proto::metainfo::Info;
use std::ops::Range;

/// A stretch of the byte space that is all one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Bytes of a file.
    File {
        /// Index in [`Info::files`].
        file: u32,
        /// First byte, counted from the start of the file.
        offset: u64,
        /// Length in bytes.
        len: u64,
    },
    /// Padding.
    Zeros {
        /// Length in bytes.
        len: u64,
    },
}

impl Extent {
    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match *self {
            Self::File { len, .. } | Self::Zeros { len } => len,
        }
    }

    /// Whether it holds nothing; never so for one that a layout gives.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[derive(Clone, Copy, Debug)]
struct Run {
    start: u64,
    len: u64,
    file: u32,
}

/// Where each file is. 24 bytes a file; a lookup is a binary search.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Files that hold bytes, by place.
    runs: Box<[Run]>,
    piece_length: u64,
    pieces: u32,
}

impl Layout {
    /// The layout of a torrent.
    #[must_use]
    pub fn new(info: &Info) -> Self {
        let files = info.files.iter().zip(0u32..);
        let mut runs: Vec<Run> = files
            .filter(|(file, _)| file.length > 0)
            .map(|(file, index)| Run {
                start: file.offset,
                len: file.length,
                file: index,
            })
            .collect();
        runs.sort_by_key(|run| run.start);
        Self {
            runs: runs.into_boxed_slice(),
            piece_length: u64::from(info.geometry.piece_length()),
            pieces: info.geometry.pieces(),
        }
    }

    /// What lies in `len` bytes from `start`, in order and without gaps: the lengths add up to `len`.
    pub fn extents(&self, start: u64, len: u64) -> impl Iterator<Item = Extent> + '_ {
        let mut at = self
            .runs
            .partition_point(|run| run.start.saturating_add(run.len) <= start);
        let end = start.saturating_add(len);
        let mut pos = start;
        std::iter::from_fn(move || {
            if pos >= end {
                return None;
            }
            let extent = match self.runs.get(at) {
                Some(run) if run.start <= pos => {
                    at += 1;
                    let offset = pos - run.start;
                    Extent::File {
                        file: run.file,
                        offset,
                        len: (run.len - offset).min(end - pos),
                    }
                }
                Some(run) => Extent::Zeros {
                    len: run.start.min(end) - pos,
                },
                None => Extent::Zeros { len: end - pos },
            };
            pos += extent.len();
            Some(extent)
        })
    }

    /// The files that `len` bytes from `start` touch.
    pub fn files_in(&self, start: u64, len: u64) -> impl Iterator<Item = u32> + '_ {
        self.extents(start, len).filter_map(|extent| match extent {
            Extent::File { file, .. } => Some(file),
            Extent::Zeros { .. } => None,
        })
    }

    /// The pieces that hold bytes of a file of `length` bytes at `offset`.
    #[must_use]
    pub fn pieces_of(&self, offset: u64, length: u64) -> Range<u32> {
        if length == 0 {
            return 0..0;
        }
        let first = offset / self.piece_length;
        let last = (offset.saturating_add(length) - 1) / self.piece_length;
        let clamp = |piece: u64| piece.min(u64::from(self.pieces)) as u32;
        clamp(first)..clamp(last + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn all(layout: &Layout, start: u64, len: u64) -> Vec<Extent> {
        layout.extents(start, len).collect()
    }

    #[test]
    fn spans_files_and_padding() {
        // a: 0..10, pad 10..16, empty, b: 16..36
        let info = testing::v1(16, &[("a", 10, 0), ("e", 0, 16), ("b", 20, 16)], 36);
        let layout = Layout::new(&info);
        assert_eq!(
            all(&layout, 4, 20),
            [
                Extent::File {
                    file: 0,
                    offset: 4,
                    len: 6
                },
                Extent::Zeros { len: 6 },
                Extent::File {
                    file: 2,
                    offset: 0,
                    len: 8
                },
            ]
        );
        assert_eq!(all(&layout, 12, 2), [Extent::Zeros { len: 2 }]);
        assert_eq!(
            all(&layout, 30, 10),
            [
                Extent::File {
                    file: 2,
                    offset: 14,
                    len: 6
                },
                Extent::Zeros { len: 4 },
            ]
        );
        assert!(all(&layout, 5, 0).is_empty());
        assert_eq!(layout.pieces_of(16, 20), 1..3);
        assert_eq!(layout.pieces_of(16, 0), 0..0);
    }

    #[test]
    fn every_range_adds_up() {
        let info = testing::v1(
            16,
            &[("a", 5, 0), ("b", 1, 5), ("c", 9, 6), ("d", 20, 32)],
            52,
        );
        let layout = Layout::new(&info);
        for start in 0..60 {
            for len in 0..60 {
                let sum: u64 = layout.extents(start, len).map(|extent| extent.len()).sum();
                assert_eq!(sum, len);
                assert!(layout.extents(start, len).all(|extent| !extent.is_empty()));
            }
        }
    }
}

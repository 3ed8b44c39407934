//! In which order threads take the byte space.
//!
//! A *lane* is a stretch of whole pieces that is read in runs from its beginning to its end. The SHA-1 of
//! a whole file goes through the runs of a lane one after the other, so that a lane is hashed no
//! faster than one core does SHA-1; lanes do not wait for each other. Where whole files are hashed (v1),
//! each long file begins a lane. Each thread keeps to a lane of its own while there are
//! enough, and helps in another one when there are not: with one long file all of them share its lane.

use samara_proto::metainfo::{Entry, Layout};
use std::ops::Range;

/// A file begins a lane if it is at least so many runs long: the last run of a lane is cut short, and a
/// disk that turns should read long stretches.
const LONG_RUNS: u64 = 4;

/// A run that a thread has taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// Number of its lane.
    pub(super) lane: usize,
    /// Its pieces.
    pub(super) pieces: Range<u32>,
    /// Whether it is the first of its lane.
    pub(super) first: bool,
}

/// What is left to be taken.
#[derive(Debug)]
pub(super) struct Lanes {
    /// First piece of each lane.
    starts: Vec<u32>,
    pieces: u32,
    pieces_in_run: u32,
    /// The first lane that nobody has begun.
    next: usize,
    /// Lanes that have been begun and have runs left. No more than there are threads.
    open: Vec<Open>,
}

#[derive(Debug)]
struct Open {
    lane: usize,
    left: Range<u32>,
    threads: u32,
}

impl Lanes {
    /// All pieces in one lane.
    pub(super) fn one(pieces: u32, pieces_in_run: u32) -> Self {
        Self {
            starts: vec![0],
            pieces,
            pieces_in_run: pieces_in_run.max(1),
            next: 0,
            open: Vec::new(),
        }
    }

    /// A lane for each long file of `layout`; `length` says how long files are. What comes before the
    /// first one is a lane too.
    pub(super) fn by_file(
        layout: &Layout,
        length: impl Fn(usize) -> u64,
        piece_length: u32,
        pieces_in_run: u32,
    ) -> Self {
        let mut lanes = Self::one(layout.pieces, pieces_in_run);
        let piece_length = u64::from(piece_length);
        let long = LONG_RUNS * u64::from(lanes.pieces_in_run) * piece_length;
        for &(offset, entry) in &layout.entries {
            let Entry::File(index) = entry else { continue };
            // The piece that it begins in; no two long files begin in one. Fits: `layout.pieces` does.
            let piece = (offset / piece_length) as u32;
            if length(index) >= long && piece > 0 {
                lanes.starts.push(piece);
            }
        }
        lanes
    }

    /// The next run for a thread whose last one, now done, was of lane `last`.
    pub(super) fn take(&mut self, last: Option<usize>) -> Option<Run> {
        if let Some(open) = self.open.iter_mut().find(|open| Some(open.lane) == last) {
            open.threads -= 1;
        }
        let by_need = |open: &&mut Open| (open.threads, Some(open.lane) != last, open.lane);
        let best = self.open.iter_mut().min_by_key(by_need);
        if best.is_none_or(|open| open.threads > 0)
            && let Some(&start) = self.starts.get(self.next)
        {
            let end = self.starts.get(self.next + 1).copied();
            self.open.push(Open {
                lane: self.next,
                left: start..end.unwrap_or(self.pieces),
                threads: 0,
            });
            self.next += 1;
        }
        let (at, open) = self
            .open
            .iter_mut()
            .enumerate()
            .min_by_key(|(_, open)| by_need(open))?;
        let first = open.left.start;
        let end = (first.saturating_add(self.pieces_in_run)).min(open.left.end);
        let run = Run {
            lane: open.lane,
            pieces: first..end,
            first: self.starts.get(open.lane) == Some(&first),
        };
        open.threads += 1;
        open.left.start = end;
        if open.left.is_empty() {
            self.open.swap_remove(at);
        }
        Some(run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files of so many bytes, pieces of 10 bytes, runs of 2 pieces: 80 bytes and more are long.
    fn lanes(lengths: &[u64]) -> Lanes {
        let mut entries = Vec::new();
        let mut space = 0;
        for (index, length) in lengths.iter().enumerate() {
            entries.push((space, Entry::File(index)));
            space += length;
        }
        let layout = Layout {
            entries,
            space,
            pieces: space.div_ceil(10) as u32,
        };
        Lanes::by_file(&layout, |index| lengths[index], 10, 2)
    }

    #[test]
    fn long_files_begin_lanes() {
        assert_eq!(lanes(&[5, 100, 79, 3, 100]).starts, [0, 18]);
        assert_eq!(lanes(&[15, 100, 79, 3, 100]).starts, [0, 1, 19]);
        assert_eq!(lanes(&[80, 80, 80]).starts, [0, 8, 16]);
        assert_eq!(lanes(&[80, 0, 80]).starts, [0, 8]);
    }

    #[test]
    fn every_piece_once_and_in_order_within_a_lane() {
        for threads in 1..8 {
            for lengths in [
                &[5, 100, 79, 3, 100][..],
                &[1000],
                &[85, 85, 85, 85, 7],
                &[1; 30],
            ] {
                let mut lanes = lanes(lengths);
                let mut taken = vec![0; lanes.pieces as usize];
                let mut at: Vec<u32> = lanes.starts.clone();
                let mut last = vec![None; threads];
                // Threads of different speed: the i-th is done every i-th round.
                'all: for round in 0.. {
                    for thread in (0..threads).filter(|thread| round % (thread + 1) == 0) {
                        let Some(run) = lanes.take(last[thread]) else {
                            break 'all;
                        };
                        assert_eq!(run.first, run.pieces.start == lanes.starts[run.lane]);
                        assert_eq!(run.pieces.start, at[run.lane]);
                        at[run.lane] = run.pieces.end;
                        run.pieces.for_each(|piece| taken[piece as usize] += 1);
                        last[thread] = Some(run.lane);
                        assert!(lanes.open.len() <= threads);
                    }
                }
                assert!(
                    taken.iter().all(|times| *times == 1),
                    "{threads}: {taken:?}"
                );
            }
        }
    }

    #[test]
    fn a_thread_keeps_its_lane_and_helps_when_there_is_none() {
        let mut lanes = lanes(&[80, 80, 120]);
        let mut take = |last| lanes.take(last).map(|run| (run.lane, run.pieces.start));
        assert_eq!(take(None), Some((0, 0)));
        assert_eq!(take(None), Some((1, 8)));
        assert_eq!(take(Some(0)), Some((0, 2)));
        assert_eq!(take(Some(1)), Some((1, 10)));
        assert_eq!(take(Some(1)), Some((1, 12)));
        assert_eq!(take(Some(1)), Some((1, 14)));
        assert_eq!(take(Some(1)), Some((2, 16)));
        assert_eq!(take(Some(0)), Some((0, 4)));
        assert_eq!(take(Some(0)), Some((0, 6)));
        assert_eq!(take(Some(0)), Some((2, 18)));
        assert_eq!(take(Some(2)), Some((2, 20)));
    }
}

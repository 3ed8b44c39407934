//! A disk that knows of every block whether it is right, and how long things take. The bytes
//! themselves are not stored.

use crate::scenario::DiskSpec;
use samara_engine::time::time_for;
use samara_engine::{Duration, Instant, PieceOutcome};
use samara_proto::{Geometry, Span};
use std::collections::VecDeque;

/// Blocks of one piece that are held in memory: for each its flaw (0: it is right).
#[derive(Debug)]
struct Held {
    piece: u32,
    flaws: Vec<Option<u64>>,
}

/// An answer that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskDone {
    /// The piece.
    pub piece: u32,
    /// What came of it.
    pub outcome: PieceOutcome,
}

/// A host's disk and hash worker: one job after the other.
#[derive(Debug)]
pub struct Disk {
    spec: DiskSpec,
    held: Vec<Held>,
    free: Instant,
    due: VecDeque<DiskDone>,
    written: u32,
    held_bytes: u64,
    held_peak: u64,
}

impl Disk {
    /// An empty disk.
    #[must_use]
    pub fn new(spec: DiskSpec) -> Self {
        Self {
            spec,
            held: Vec::new(),
            free: Instant::ZERO,
            due: VecDeque::new(),
            written: 0,
            held_bytes: 0,
            held_peak: 0,
        }
    }

    /// Holds a block. False if it is held already, or is no block.
    pub fn keep(&mut self, span: Span, flaw: u64, geometry: &Geometry) -> bool {
        if span.piece >= geometry.pieces() || span != geometry.block_span(span.piece, span.block())
        {
            return false;
        }
        let at = match self.held.iter().position(|held| held.piece == span.piece) {
            Some(at) => at,
            None => {
                self.held.push(Held {
                    piece: span.piece,
                    flaws: vec![None; geometry.blocks(span.piece) as usize],
                });
                self.held.len() - 1
            }
        };
        let place = self.held[at].flaws.get_mut(span.block() as usize);
        let Some(place @ None) = place else {
            return false;
        };
        *place = Some(flaw);
        self.held_bytes += u64::from(span.length);
        self.held_peak = self.held_peak.max(self.held_bytes);
        true
    }

    /// The flaw of a block that is held; `None` if it is not.
    #[must_use]
    pub fn flaw(&self, span: Span) -> Option<u64> {
        let held = self.held.iter().find(|held| held.piece == span.piece)?;
        held.flaws.get(span.block() as usize).copied().flatten()
    }

    /// Drops what is held of a piece.
    pub fn forget(&mut self, piece: u32, geometry: &Geometry) {
        self.take(piece, geometry);
    }

    /// Begins to verify and write a piece; the answer is when it is done. `None` if blocks are missing.
    pub fn verify(
        &mut self,
        now: Instant,
        piece: u32,
        digests: bool,
        geometry: &Geometry,
    ) -> Option<Instant> {
        let held = self.take(piece, geometry)?;
        let flaws: Vec<u64> = held.flaws.into_iter().collect::<Option<_>>()?;
        let good = flaws.iter().all(|flaw| *flaw == 0);
        let marks = || {
            let blocks = flaws.iter().enumerate();
            blocks
                .map(|(at, flaw)| digest(piece, at as u32, *flaw))
                .collect()
        };
        let bytes = u64::from(geometry.data_len(piece));
        let mut takes = time_for(bytes, self.spec.hash_rate);
        let outcome = if !good {
            PieceOutcome::Bad(marks())
        } else if self
            .spec
            .full_after
            .is_some_and(|most| self.written >= most)
        {
            PieceOutcome::Disk("no space left on device".into())
        } else {
            self.written += 1;
            takes = takes + self.spec.seek + time_for(bytes, self.spec.rate);
            PieceOutcome::Good(if digests { marks() } else { Vec::new() })
        };
        self.due.push_back(DiskDone { piece, outcome });
        self.free = self.free.max(now) + takes;
        Some(self.free)
    }

    /// The answer whose time has come: jobs are done in order.
    pub fn done(&mut self) -> Option<DiskDone> {
        self.due.pop_front()
    }

    /// How long it takes to read and hash `bytes`.
    #[must_use]
    pub fn reading(&self, bytes: u64) -> Duration {
        time_for(bytes, self.spec.rate.min(self.spec.hash_rate))
    }

    /// Most bytes that were ever held.
    #[must_use]
    pub fn held_peak(&self) -> u64 {
        self.held_peak
    }

    /// The process died: what was in memory is gone, what was written stays.
    pub fn crash(&mut self) {
        self.held.clear();
        self.held_bytes = 0;
        self.due.clear();
        self.free = Instant::ZERO;
    }

    fn take(&mut self, piece: u32, geometry: &Geometry) -> Option<Held> {
        let at = self.held.iter().position(|held| held.piece == piece)?;
        let held = self.held.swap_remove(at);
        for (block, flaw) in held.flaws.iter().enumerate() {
            if flaw.is_some() {
                self.held_bytes -= u64::from(geometry.block_span(piece, block as u32).length);
            }
        }
        Some(held)
    }
}

/// The digest of a block with a flaw: right blocks of one place are equal, and unlike all others.
#[must_use]
pub fn digest(piece: u32, block: u32, flaw: u64) -> u64 {
    let mut mix = (u64::from(piece) << 32 | u64::from(block)) ^ flaw.rotate_left(17);
    mix = (mix ^ (mix >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mix = (mix ^ (mix >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mix ^ (mix >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rig() -> (Disk, Geometry) {
        let geometry = Geometry::new(32 * 1024, 40 * 1024).expect("valid");
        let spec = DiskSpec {
            hash_rate: 1_000_000,
            rate: 1_000_000,
            seek: Duration::from_millis(10),
            full_after: Some(1),
        };
        (Disk::new(spec), geometry)
    }

    #[test]
    fn a_piece_takes_hash_seek_and_write() {
        let (mut disk, geometry) = rig();
        assert!(disk.keep(geometry.block_span(1, 0), 0, &geometry));
        let done = disk.verify(Instant::ZERO, 1, true, &geometry);
        // 8 KiB at 1 MB/s twice, and 10 ms.
        assert_eq!(done, Some(Instant::from_nanos(2 * 8_192_000 + 10_000_000)));
        let good = PieceOutcome::Good(vec![digest(1, 0, 0)]);
        assert_eq!(disk.done().map(|done| done.outcome), Some(good));
    }

    #[test]
    fn flaws_fullness_and_missing_blocks_show() {
        let (mut disk, geometry) = rig();
        let block = |at| geometry.block_span(0, at);
        assert!(disk.keep(block(0), 0, &geometry));
        assert!(!disk.keep(block(0), 0, &geometry), "held already");
        assert!(!disk.keep(
            Span {
                offset: 1,
                ..block(0)
            },
            0,
            &geometry
        ));
        assert_eq!(disk.verify(Instant::ZERO, 0, false, &geometry), None);
        let mut outcome = |flaw| {
            disk.keep(block(0), 0, &geometry);
            disk.keep(block(1), flaw, &geometry);
            disk.verify(Instant::ZERO, 0, false, &geometry);
            disk.done().map(|done| done.outcome)
        };
        assert!(matches!(outcome(9), Some(PieceOutcome::Bad(marks)) if marks.len() == 2));
        assert!(matches!(outcome(0), Some(PieceOutcome::Good(marks)) if marks.is_empty()));
        assert!(matches!(outcome(0), Some(PieceOutcome::Disk(_))));
        assert_eq!((disk.held_bytes, disk.held_peak()), (0, 32 * 1024));
    }
}

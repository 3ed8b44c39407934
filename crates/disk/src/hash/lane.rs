//! One message on its way through a lane: its bytes as runs of whole 64-byte blocks, the padding of
//! FIPS 180-4 at the end. Runs lie in the message itself where they can; only blocks that straddle
//! two parts, and the end, are copied.

use super::message::{Message, ZEROS};

/// Bytes that SHA-1 and SHA-256 take at a time.
pub(super) const BLOCK: usize = 64;

/// Where the current run is.
#[derive(Clone, Copy)]
enum Source {
    Part,
    Zeros,
    Stage,
}

pub(super) struct Lane<'a, B> {
    parts: &'a [B],
    /// Bytes of the first part that are used up.
    at: usize,
    zeros: u64,
    total: u64,
    stage: [u8; 2 * BLOCK],
    stage_at: usize,
    source: Source,
    /// Blocks left in the run.
    blocks: usize,
    padded: bool,
}

impl<'a, B: AsRef<[u8]>> Lane<'a, B> {
    pub(super) fn new(message: &Message<'a, B>) -> Self {
        let mut lane = Self {
            parts: message.parts,
            at: 0,
            zeros: message.zeros,
            total: message.len(),
            stage: [0; 2 * BLOCK],
            stage_at: 0,
            source: Source::Stage,
            blocks: 0,
            padded: false,
        };
        lane.next_run();
        lane
    }

    /// Blocks that can be taken at once; 0 when the message is over.
    pub(super) fn blocks(&self) -> usize {
        self.blocks
    }

    /// The bytes of the current run.
    pub(super) fn run(&self) -> &[u8] {
        let len = self.blocks * BLOCK;
        match self.source {
            Source::Part => &self.parts[0].as_ref()[self.at..self.at + len],
            Source::Zeros => &ZEROS[..len],
            Source::Stage => &self.stage[self.stage_at..self.stage_at + len],
        }
    }

    /// Says that `blocks` of the run have been taken.
    pub(super) fn advance(&mut self, blocks: usize) {
        let len = blocks * BLOCK;
        match self.source {
            Source::Part => self.at += len,
            Source::Zeros => self.zeros -= len as u64,
            Source::Stage => self.stage_at += len,
        }
        self.blocks -= blocks;
        if self.blocks == 0 {
            self.next_run();
        }
    }

    fn next_run(&mut self) {
        self.skip_empty();
        let left = self
            .parts
            .first()
            .map_or(0, |part| part.as_ref().len() - self.at);
        if left >= BLOCK {
            self.source = Source::Part;
            self.blocks = left / BLOCK;
        } else if self.parts.is_empty() && self.zeros >= BLOCK as u64 {
            self.source = Source::Zeros;
            self.blocks = self.zeros.min(ZEROS.len() as u64) as usize / BLOCK;
        } else if !self.padded {
            self.fill_stage();
        }
    }

    fn skip_empty(&mut self) {
        while let Some((first, rest)) = self.parts.split_first()
            && first.as_ref().len() == self.at
        {
            self.parts = rest;
            self.at = 0;
        }
    }

    /// A block out of several parts, or the end of the message with its padding: one block or two.
    fn fill_stage(&mut self) {
        self.source = Source::Stage;
        self.stage_at = 0;
        let mut held = 0;
        while held < BLOCK {
            self.skip_empty();
            let Some(part) = self.parts.first() else {
                break;
            };
            let left = &part.as_ref()[self.at..];
            let step = left.len().min(BLOCK - held);
            self.stage[held..held + step].copy_from_slice(&left[..step]);
            self.at += step;
            held += step;
        }
        let step = self.zeros.min((BLOCK - held) as u64) as usize;
        self.stage[held..held + step].fill(0);
        self.zeros -= step as u64;
        held += step;
        self.blocks = 1;
        if held < BLOCK {
            self.pad(held);
        } else {
            // Whatever comes next is a new run; the padding may be one all by itself.
            self.skip_empty();
        }
    }

    /// A one bit, zeros, and the length in bits as 8 bytes at the end of a block.
    fn pad(&mut self, held: usize) {
        self.stage[held..].fill(0);
        self.stage[held] = 0x80;
        self.blocks = if held + 9 <= BLOCK { 1 } else { 2 };
        let end = self.blocks * BLOCK;
        let bits = self.total.wrapping_mul(8).to_be_bytes();
        self.stage[end - 8..end].copy_from_slice(&bits);
        self.padded = true;
    }
}

//! A piece that is being fetched, block by block.

use crate::io::PeerKey;
use core::net::SocketAddr;
use core::ops::Range;

/// Most copies of one request that can be out at once; [`crate::Config::endgame_copies`] is below it.
pub(super) const COPIES_MAX: usize = 4;

#[derive(Clone, Copy, Debug, Default)]
struct Block {
    /// Who gave it, if it is here.
    giver: Option<SocketAddr>,
    /// Who was asked for it and may still send it.
    asked: [Option<PeerKey>; COPIES_MAX],
}

/// Blocks of a piece that was started and is not verified yet.
#[derive(Debug)]
pub(super) struct Partial {
    blocks: Vec<Block>,
    free: u32,
    received: u32,
    /// Who fetches it: the others leave it alone while there are other pieces to begin.
    pub(super) owner: Option<PeerKey>,
    /// After a failed checksum the piece is fetched from one peer alone, so that whose fault it is
    /// can be proven.
    pub(super) only: Option<PeerKey>,
    pub(super) suspect: bool,
}

impl Partial {
    pub(super) fn new(blocks: u32, suspect: bool) -> Self {
        let list = vec![Block::default(); blocks as usize];
        Self {
            blocks: list,
            free: blocks,
            received: 0,
            owner: None,
            only: None,
            suspect,
        }
    }

    /// Blocks that nobody was asked for.
    pub(super) fn free(&self) -> u32 {
        self.free
    }

    pub(super) fn is_complete(&self) -> bool {
        self.received as usize == self.blocks.len()
    }

    /// Nothing is here and nobody is asked: it may as well not have been started.
    pub(super) fn is_untouched(&self) -> bool {
        self.free as usize == self.blocks.len()
    }

    pub(super) fn may_be_asked_of(&self, who: PeerKey) -> bool {
        !self.suspect || self.only.is_none_or(|only| only == who)
    }

    /// Marks up to `want` free blocks as asked of `who`, the first ones or the last ones; calls `each` with their indices in
    /// that order.
    pub(super) fn take_free(
        &mut self,
        who: PeerKey,
        want: usize,
        backwards: bool,
        mut each: impl FnMut(u32),
    ) {
        if self.suspect {
            self.only = Some(who);
        }
        self.owner.get_or_insert(who);
        let mut left = want.min(self.free as usize);
        let last = self.blocks.len().saturating_sub(1);
        for at in 0..=last {
            if left == 0 {
                break;
            }
            let index = if backwards { last - at } else { at };
            let Some(block) = self.blocks.get_mut(index) else {
                break;
            };
            if block.giver.is_none() && block.asked[0].is_none() {
                block.asked[0] = Some(who);
                self.free -= 1;
                left -= 1;
                each(index as u32);
            }
        }
    }

    /// Marks a block that another was asked for as asked of `who` too, if fewer than `copies` are out.
    pub(super) fn copy(&mut self, index: u32, who: PeerKey, copies: usize) -> bool {
        let Some(block) = self.blocks.get_mut(index as usize) else {
            return false;
        };
        let out = block.asked.iter().flatten().count();
        let mine = block.asked.contains(&Some(who));
        if block.giver.is_some() || mine || out == 0 || out >= copies.min(COPIES_MAX) {
            return false;
        }
        let Some(place) = block.asked.get_mut(out) else {
            return false;
        };
        *place = Some(who);
        true
    }

    /// `to` is asked for `index` in the place of `from`.
    pub(super) fn hand_over(&mut self, index: u32, from: PeerKey, to: PeerKey) -> bool {
        if !self.may_be_asked_of(to) && !self.may_be_asked_of(from) {
            return false;
        }
        let Some(block) = self.blocks.get_mut(index as usize) else {
            return false;
        };
        if block.giver.is_some() || block.asked.contains(&Some(to)) {
            return false;
        }
        let mut asked = block.asked.iter_mut();
        let Some(place) = asked.find(|asked| **asked == Some(from)) else {
            return false;
        };
        *place = Some(to);
        for role in [&mut self.owner, &mut self.only] {
            if *role == Some(from) {
                *role = Some(to);
            }
        }
        true
    }

    /// `who` will not send `index` any more.
    pub(super) fn release(&mut self, index: u32, who: PeerKey) {
        let Some(block) = self.blocks.get_mut(index as usize) else {
            return;
        };
        let mut asked = block.asked.iter_mut();
        let Some(place) = asked.find(|asked| **asked == Some(who)) else {
            return;
        };
        // Those after it move up.
        let hole = asked.fold(place, |hole, next| {
            *hole = next.take();
            next
        });
        *hole = None;
        if block.asked[0].is_none() && block.giver.is_none() {
            self.free += 1;
        }
        if self.owner == Some(who) {
            self.owner = None;
        }
        if self.only == Some(who) {
            // It does not deliver: another may have all that is left. Blame is then shared, and a
            // second failure is settled by comparing blocks.
            self.only = None;
        }
    }

    /// Block `index` is here from `giver`. `None` if it was here before; else who else was asked.
    pub(super) fn receive(
        &mut self,
        index: u32,
        who: PeerKey,
        giver: SocketAddr,
    ) -> Option<[Option<PeerKey>; COPIES_MAX]> {
        let block = self.blocks.get_mut(index as usize)?;
        if block.giver.is_some() {
            return None;
        }
        if block.asked[0].is_none() {
            self.free -= 1;
        }
        block.giver = Some(giver);
        self.received += 1;
        let mut others = core::mem::take(&mut block.asked);
        for other in &mut others {
            if *other == Some(who) {
                *other = None;
            }
        }
        Some(others)
    }

    /// Whether all of these are here.
    pub(super) fn is_here(&self, blocks: Range<u32>) -> bool {
        let blocks = self.blocks.get(blocks.start as usize..blocks.end as usize);
        blocks.is_some_and(|blocks| blocks.iter().all(|block| block.giver.is_some()))
    }

    /// Who gave each block.
    pub(super) fn givers(&self) -> Vec<Option<SocketAddr>> {
        self.blocks.iter().map(|block| block.giver).collect()
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn is_asked(&self, index: u32, who: PeerKey) -> bool {
        let block = self.blocks.get(index as usize);
        block.is_some_and(|block| block.asked.contains(&Some(who)))
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn check(&self) {
        let free = self
            .blocks
            .iter()
            .filter(|b| b.giver.is_none() && b.asked[0].is_none())
            .count();
        assert_eq!(free as u32, self.free);
        let received = self.blocks.iter().filter(|b| b.giver.is_some()).count();
        assert_eq!(received as u32, self.received);
        for block in &self.blocks {
            let gaps = block
                .asked
                .windows(2)
                .any(|pair| pair[0].is_none() && pair[1].is_some());
            assert!(!gaps, "asked without gaps");
        }
    }
}

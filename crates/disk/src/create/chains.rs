//! SHA-1 of files that are longer than what is read at a time.
//!
//! A *chain* is the state of a file's hash on its way through the runs of a lane. Where a lane begins
//! in the middle of a piece, the *tail* of the file before it is in that piece: it is kept until the chain, which
//! is in the lane before, has come so far. A tail is shorter than a piece, and there are no more of
//! them than threads: a tail is kept only while the lane before it is at work.

use samara_proto::Sha1;
use sha1::Digest;
use std::collections::BTreeMap;

/// All chains that have begun and not ended, by the number of the file.
#[derive(Default)]
pub(super) struct Chains {
    chains: BTreeMap<usize, Chain>,
    tails: BTreeMap<usize, (u64, Vec<u8>)>,
}

struct Chain {
    /// How much of the file has been hashed.
    next: u64,
    /// Absent while a thread is at work on it.
    hasher: Option<sha1::Sha1>,
}

impl Chains {
    /// The state of the hash of `file` after exactly `offset` bytes, if it is there. It is the
    /// caller's until it comes back by [`Chains::put`].
    pub(super) fn take(&mut self, file: usize, offset: u64) -> Option<sha1::Sha1> {
        let chain = self.chains.get_mut(&file)?;
        if chain.next == offset {
            chain.hasher.take()
        } else {
            None
        }
    }

    /// Keeps the state after `next` bytes, unless the tail from there is waiting: then gives both
    /// back, and the chain has ended.
    pub(super) fn put(
        &mut self,
        file: usize,
        next: u64,
        hasher: sha1::Sha1,
    ) -> Option<(sha1::Sha1, Vec<u8>)> {
        if self.tails.get(&file).is_some_and(|(at, _)| *at == next) {
            let (_, tail) = self.tails.remove(&file)?;
            self.end(file);
            return Some((hasher, tail));
        }
        let hasher = Some(hasher);
        self.chains.insert(file, Chain { next, hasher });
        None
    }

    /// Keeps the tail of a file from `offset` on, unless the chain has come so far: then gives that
    /// back, and the chain has ended.
    pub(super) fn defer(&mut self, file: usize, offset: u64, tail: &[u8]) -> Option<sha1::Sha1> {
        if let Some(hasher) = self.take(file, offset) {
            self.end(file);
            return Some(hasher);
        }
        self.tails.insert(file, (offset, tail.to_vec()));
        None
    }

    /// Forgets a chain whose file has been hashed whole.
    pub(super) fn end(&mut self, file: usize) {
        self.chains.remove(&file);
    }
}

/// The hash of a file whose last bytes are `tail`.
pub(super) fn finish(mut hasher: sha1::Sha1, tail: &[u8]) -> Sha1 {
    hasher.update(tail);
    Sha1(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_meets_its_chain_whichever_comes_first() {
        let want = Sha1(sha1::Sha1::digest(b"abcdef").into());
        let begun = || sha1::Sha1::new_with_prefix(b"ab");
        let mut chains = Chains::default();
        assert!(chains.put(7, 2, begun()).is_none());
        assert!(chains.take(7, 3).is_none() && chains.take(8, 2).is_none());
        let hasher = chains.take(7, 2).expect("there").chain_update(b"cd");
        // While a thread is at work on the chain.
        assert!(chains.take(7, 2).is_none());
        assert!(chains.defer(7, 4, b"ef").is_none());
        let (hasher, tail) = chains.put(7, 4, hasher).expect("both");
        assert_eq!(finish(hasher, &tail), want);
        // The chain first.
        assert!(chains.put(7, 4, begun().chain_update(b"cd")).is_none());
        let hasher = chains.defer(7, 4, b"ef").expect("there");
        assert_eq!(finish(hasher, b"ef"), want);
        // The tail long before.
        assert!(chains.defer(7, 4, b"ef").is_none());
        assert!(chains.put(7, 2, begun()).is_none());
        let hasher = chains.take(7, 2).expect("there").chain_update(b"cd");
        let (hasher, tail) = chains.put(7, 4, hasher).expect("both");
        assert_eq!(finish(hasher, &tail), want);
        assert!(chains.chains.is_empty() && chains.tails.is_empty());
    }
}

//! Many SHA-1 and SHA-256 digests at a time.
//!
//! A digest is a chain: its speed is bound by latency, however wide the core is. A torrent has
//! thousands of independent messages (pieces, 16 KiB leaves, files), so that vector kernels run one
//! message in each lane of a register. The callers say all messages at once and need not know how
//! they are spread.

mod message;

pub use message::Message;

use sha1::{Digest, Sha1};
use sha2::Sha256;

/// SHA-1 of every message, in order.
///
/// # Panics
/// If `out` is not exactly as long as `messages`: a mistake of the caller's.
pub fn sha1_many(messages: &[&[u8]], out: &mut [[u8; 20]]) {
    assert_eq!(messages.len(), out.len(), "one digest a message");
    for (message, out) in messages.iter().zip(out) {
        *out = Sha1::digest(message).into();
    }
}

/// SHA-256 of every message, in order.
///
/// # Panics
/// If `out` is not exactly as long as `messages`: a mistake of the caller's.
pub fn sha256_many(messages: &[&[u8]], out: &mut [[u8; 32]]) {
    assert_eq!(messages.len(), out.len(), "one digest a message");
    for (message, out) in messages.iter().zip(out) {
        *out = Sha256::digest(message).into();
    }
}

/// SHA-1 of every message that is scattered over several slices, in order.
///
/// # Panics
/// If `out` is not exactly as long as `messages`: a mistake of the caller's.
pub fn sha1_many_parts<B: AsRef<[u8]>>(messages: &[Message<'_, B>], out: &mut [[u8; 20]]) {
    assert_eq!(messages.len(), out.len(), "one digest a message");
    for (message, out) in messages.iter().zip(out) {
        let mut hash = Sha1::new();
        message.for_each(|part| hash.update(part));
        *out = hash.finalize().into();
    }
}

/// SHA-256 of every message that is scattered over several slices, in order.
///
/// # Panics
/// If `out` is not exactly as long as `messages`: a mistake of the caller's.
pub fn sha256_many_parts<B: AsRef<[u8]>>(messages: &[Message<'_, B>], out: &mut [[u8; 32]]) {
    assert_eq!(messages.len(), out.len(), "one digest a message");
    for (message, out) in messages.iter().zip(out) {
        let mut hash = Sha256::new();
        message.for_each(|part| hash.update(part));
        *out = hash.finalize().into();
    }
}

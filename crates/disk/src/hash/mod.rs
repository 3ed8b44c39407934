//! Many SHA-1 and SHA-256 digests at a time.
//!
//! A digest is a chain: its speed is bound by latency, however wide the core is. A torrent has
//! thousands of independent messages (pieces, 16 KiB leaves, files), so that vector kernels run one
//! message in each lane of a register. The callers say all messages at once and need not know how
//! they are spread; messages of different lengths are fine, a lane that is done takes the next one.
//! When too few are left, they are finished with the processor's SHA instructions, up to four at a time.

mod abreast;
mod chain;
mod kernel;
mod lane;
mod message;
#[cfg(target_arch = "x86_64")]
mod streams;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use abreast::Sha1Abreast;
pub use chain::Sha1Chain;
pub use kernel::Kernel;
pub use message::Message;

use kernel::{Algorithm, Sha1, Sha256};
use lane::{BLOCK, Lane};
use sha1::digest::generic_array::GenericArray;
use sha1::digest::typenum::U64;

/// Lanes of the widest kernel.
const LANES: usize = 16;

/// SHA-1 of every message, in order.
///
/// # Panics
/// If `out` is not exactly as long as `messages`: a mistake of the caller's.
pub fn sha1_many(messages: &[&[u8]], out: &mut [[u8; 20]]) {
    let messages: Vec<Message<'_, &[u8]>> = messages.iter().map(single).collect();
    sha1_many_parts(&messages, out);
}

/// SHA-256 of every message, in order.
///
/// # Panics
/// If `out` is not exactly as long as `messages`: a mistake of the caller's.
pub fn sha256_many(messages: &[&[u8]], out: &mut [[u8; 32]]) {
    let messages: Vec<Message<'_, &[u8]>> = messages.iter().map(single).collect();
    sha256_many_parts(&messages, out);
}

fn single<'a, 'b>(message: &'a &'b [u8]) -> Message<'a, &'b [u8]> {
    Message::new(std::slice::from_ref(message))
}

/// SHA-1 of every message that is scattered over several slices, in order.
///
/// # Panics
/// If `out` is not exactly as long as `messages`: a mistake of the caller's.
pub fn sha1_many_parts<B: AsRef<[u8]>>(messages: &[Message<'_, B>], out: &mut [[u8; 20]]) {
    sha1_many_with(Kernel::best(), messages, out);
}

/// SHA-256 of every message that is scattered over several slices, in order.
///
/// # Panics
/// If `out` is not exactly as long as `messages`: a mistake of the caller's.
pub fn sha256_many_parts<B: AsRef<[u8]>>(messages: &[Message<'_, B>], out: &mut [[u8; 32]]) {
    sha256_many_with(Kernel::best(), messages, out);
}

/// [`sha1_many_parts`] with a kernel of the caller's choice, to compare them.
///
/// # Panics
/// If `out` is not exactly as long as `messages`, or the processor lacks the kernel.
pub fn sha1_many_with<B: AsRef<[u8]>>(
    kernel: Kernel,
    messages: &[Message<'_, B>],
    out: &mut [[u8; 20]],
) {
    assert_eq!(messages.len(), out.len(), "one digest a message");
    many::<Sha1, 5, B>(kernel, Sha1::worth(kernel), messages, |at, state| {
        for (bytes, word) in out[at].chunks_exact_mut(4).zip(state) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
    });
}

/// [`sha256_many_parts`] with a kernel of the caller's choice, to compare them.
///
/// # Panics
/// If `out` is not exactly as long as `messages`, or the processor lacks the kernel.
pub fn sha256_many_with<B: AsRef<[u8]>>(
    kernel: Kernel,
    messages: &[Message<'_, B>],
    out: &mut [[u8; 32]],
) {
    assert_eq!(messages.len(), out.len(), "one digest a message");
    many::<Sha256, 8, B>(kernel, Sha256::worth(kernel), messages, |at, state| {
        for (bytes, word) in out[at].chunks_exact_mut(4).zip(state) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
    });
}

/// Hashes all messages and hands over each final state. `worth`: busy lanes from which on the kernel's
/// vectors are used.
fn many<A: Algorithm<W>, const W: usize, B: AsRef<[u8]>>(
    kernel: Kernel,
    worth: usize,
    messages: &[Message<'_, B>],
    mut done: impl FnMut(usize, [u32; W]),
) {
    let mut waiting = messages.iter().enumerate();
    let width = kernel.lanes();
    if width == 1 || messages.len() == 1 {
        for (at, message) in waiting {
            done(at, finish::<A, W, B>(A::START, Lane::new(message)));
        }
        return;
    }
    let mut state = [[0; LANES]; W];
    let mut lanes: [Option<(usize, Lane<'_, B>)>; LANES] = std::array::from_fn(|_| None);
    loop {
        for (at, lane) in lanes[..width].iter_mut().enumerate() {
            if lane.is_none()
                && let Some((index, message)) = waiting.next()
            {
                *lane = Some((index, Lane::new(message)));
                for (row, word) in state.iter_mut().zip(A::START) {
                    row[at] = word;
                }
            }
        }
        match lanes.iter().flatten().count() {
            0 | 1 => break,
            busy if busy < worth => step_few::<A, W, B>(&mut state, &mut lanes),
            _ => step::<A, W, B>(kernel, &mut state, &mut lanes),
        }
        for (at, slot) in lanes[..width].iter_mut().enumerate() {
            if let Some((index, _)) = slot.take_if(|(_, lane)| lane.blocks() == 0) {
                done(index, state.map(|row| row[at]));
            }
        }
    }
    for (at, lane) in lanes.into_iter().enumerate() {
        if let Some((index, lane)) = lane {
            done(index, finish::<A, W, B>(state.map(|row| row[at]), lane));
        }
    }
}

/// As many blocks as all busy lanes have in one run, without vectors.
fn step_few<A: Algorithm<W>, const W: usize, B: AsRef<[u8]>>(
    rows: &mut [[u32; LANES]; W],
    lanes: &mut [Option<(usize, Lane<'_, B>)>; LANES],
) {
    let (mut states, mut runs) = ([[0; W]; LANES], [&[][..]; LANES]);
    let (mut busy, mut blocks) = (0, usize::MAX);
    for (at, lane) in lanes.iter().enumerate() {
        if let Some((_, lane)) = lane {
            states[busy] = rows.map(|row| row[at]);
            runs[busy] = lane.run();
            blocks = blocks.min(lane.blocks());
            busy += 1;
        }
    }
    A::few(&mut states[..busy], &runs[..busy], blocks);
    let busy = lanes.iter_mut().enumerate();
    let busy = busy.filter_map(|(at, lane)| lane.as_mut().map(|(_, lane)| (at, lane)));
    for ((at, lane), state) in busy.zip(states) {
        for (row, word) in rows.iter_mut().zip(state) {
            row[at] = word;
        }
        lane.advance(blocks);
    }
}

/// As many blocks as all busy lanes have in one run.
fn step<A: Algorithm<W>, const W: usize, B: AsRef<[u8]>>(
    kernel: Kernel,
    state: &mut [[u32; LANES]; W],
    lanes: &mut [Option<(usize, Lane<'_, B>)>; LANES],
) {
    let busy = lanes.iter().flatten();
    let blocks = busy.map(|(_, lane)| lane.blocks()).min().unwrap_or(0);
    // An idle lane reads what a busy one does; its result is nobody's.
    let mut any = lanes.iter().flatten().map(|(_, lane)| lane.run());
    let Some(any) = any.next() else {
        return;
    };
    let runs: [&[u8]; LANES] = lanes
        .each_ref()
        .map(|lane| lane.as_ref().map_or(any, |(_, lane)| lane.run()));
    A::together(kernel, state, &runs, blocks);
    for (_, lane) in lanes.iter_mut().flatten() {
        lane.advance(blocks);
    }
}

/// The rest of one message.
fn finish<A: Algorithm<W>, const W: usize, B: AsRef<[u8]>>(
    mut state: [u32; W],
    mut lane: Lane<'_, B>,
) -> [u32; W] {
    while lane.blocks() > 0 {
        A::alone(&mut state, lane.run());
        lane.advance(lane.blocks());
    }
    state
}

/// Whole blocks as the hash crates take them.
fn as_blocks(run: &[u8]) -> &[GenericArray<u8, U64>] {
    let (blocks, _) = run.as_chunks::<BLOCK>();
    // SAFETY: `GenericArray<u8, U64>` is documented to have the layout of `[u8; 64]`: the same size,
    // and alignment 1. Length and lifetime are those of `blocks`.
    unsafe { std::slice::from_raw_parts(blocks.as_ptr().cast(), blocks.len()) }
}

fn sha1_alone(state: &mut [u32; 5], run: &[u8]) {
    sha1::compress(state, as_blocks(run));
}

fn sha256_alone(state: &mut [u32; 8], run: &[u8]) {
    sha2::compress256(state, as_blocks(run));
}

#[cfg(test)]
mod tests;

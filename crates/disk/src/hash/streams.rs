//! The compression functions of SHA-1 and SHA-256 by the processor's SHA instructions, for up to four
//! messages at a time.
//!
//! Each instruction waits for the one before it, 4 to 6 cycles, and another could begin every 2. So the
//! steps of several messages take turns: what one message leaves idle another uses. Four fill the unit;
//! more of them would not fit the sixteen registers.

use super::lane::BLOCK;
use super::x86::K256;
use std::arch::x86_64::*;

/// Whether the processor can do this.
pub(super) fn available() -> bool {
    is_x86_feature_detected!("sha")
        && is_x86_feature_detected!("ssse3")
        && is_x86_feature_detected!("sse4.1")
}

/// SHA-1 of `blocks` blocks of every message.
pub(super) fn sha1(states: &mut [[u32; 5]], runs: &[&[u8]], blocks: usize) {
    in_groups(
        states,
        runs,
        blocks,
        // SAFETY: `in_groups` has seen what all four need: the instructions, and the lengths of the runs.
        |states, runs| unsafe { sha1_blocks::<4>(states, runs, blocks) },
        |states, runs| unsafe { sha1_blocks::<3>(states, runs, blocks) },
        |states, runs| unsafe { sha1_blocks::<2>(states, runs, blocks) },
        |states, runs| unsafe { sha1_blocks::<1>(states, runs, blocks) },
    );
}

/// SHA-256 of `blocks` blocks of every message.
pub(super) fn sha256(states: &mut [[u32; 8]], runs: &[&[u8]], blocks: usize) {
    in_groups(
        states,
        runs,
        blocks,
        // SAFETY: `in_groups` has seen what all four need: the instructions, and the lengths of the runs.
        |states, runs| unsafe { sha256_blocks::<4>(states, runs, blocks) },
        |states, runs| unsafe { sha256_blocks::<3>(states, runs, blocks) },
        |states, runs| unsafe { sha256_blocks::<2>(states, runs, blocks) },
        |states, runs| unsafe { sha256_blocks::<1>(states, runs, blocks) },
    );
}

/// Fours as long as there are more than five, then what is left in groups as even as they can be.
fn in_groups<const W: usize>(
    mut states: &mut [[u32; W]],
    mut runs: &[&[u8]],
    blocks: usize,
    four: impl Fn(&mut [[u32; W]; 4], &[&[u8]; 4]),
    three: impl Fn(&mut [[u32; W]; 3], &[&[u8]; 3]),
    two: impl Fn(&mut [[u32; W]; 2], &[&[u8]; 2]),
    one: impl Fn(&mut [[u32; W]; 1], &[&[u8]; 1]),
) {
    assert!(available(), "the processor cannot do this");
    assert_eq!(states.len(), runs.len(), "one state a message");
    let enough = |run: &&[u8]| run.len() / BLOCK >= blocks;
    assert!(runs.iter().all(enough), "a run is too short");
    macro_rules! take {
        ($work:ident) => {{
            let (Some((group, rest)), Some((mine, others))) =
                (states.split_first_chunk_mut(), runs.split_first_chunk())
            else {
                return;
            };
            $work(group, mine);
            (states, runs) = (rest, others);
        }};
    }
    loop {
        match runs.len() {
            0 => return,
            1 => take!(one),
            2 => take!(two),
            3 | 5 | 6 => take!(three),
            _ => take!(four),
        }
    }
}

/// Repeats a macro for every number, so that all indices are constants.
macro_rules! each {
    ($step:ident: $($t:literal)*) => { $( $step!($t); )* };
}

/// Sixteen words of every message, in the host's byte order, four to a register. `swap` is what
/// `pshufb` needs to put them in the order in which the instructions want them.
///
/// # Safety
/// The processor must have the instructions, and every run must hold a block at `at`.
#[target_feature(enable = "sha,ssse3,sse4.1")]
#[inline]
unsafe fn load_block<const N: usize>(
    runs: &[&[u8]; N],
    at: usize,
    swap: __m128i,
) -> [[__m128i; 4]; N] {
    let mut words = [[_mm_setzero_si128(); 4]; N];
    for (words, run) in words.iter_mut().zip(runs) {
        for (quarter, word) in words.iter_mut().enumerate() {
            // SAFETY: the caller promises 64 bytes from `at` on; the load need not be aligned.
            let bytes = unsafe { _mm_loadu_si128(run.as_ptr().add(at + quarter * 16).cast()) };
            *word = _mm_shuffle_epi8(bytes, swap);
        }
    }
    words
}

/// # Safety
/// The processor must have the instructions, and every run must hold `blocks` blocks.
#[target_feature(enable = "sha,ssse3,sse4.1")]
unsafe fn sha1_blocks<const N: usize>(
    states: &mut [[u32; 5]; N],
    runs: &[&[u8]; N],
    blocks: usize,
) {
    let swap = _mm_set_epi32(0x0001_0203, 0x0405_0607, 0x0809_0a0b, 0x0c0d_0e0f);
    // The instructions want the first word in the highest place.
    let mut abcd =
        states.map(|[a, b, c, d, _]| _mm_set_epi32(a as i32, b as i32, c as i32, d as i32));
    let mut e = states.map(|[.., e]| _mm_set_epi32(e as i32, 0, 0, 0));
    for block in 0..blocks {
        // SAFETY: every run holds more than `block` blocks: the caller's promise.
        let mut words = unsafe { load_block(runs, block * BLOCK, swap) };
        let before = (abcd, e);
        // `e` of four rounds is `a` of the four before them, turned.
        let mut earlier = abcd;
        macro_rules! four_rounds {
            ($t:literal) => {
                for at in 0..N {
                    let w = &mut words[at];
                    if $t >= 4 {
                        let mixed = _mm_sha1msg1_epu32(w[$t % 4], w[($t + 1) % 4]);
                        let mixed = _mm_xor_si128(mixed, w[($t + 2) % 4]);
                        w[$t % 4] = _mm_sha1msg2_epu32(mixed, w[($t + 3) % 4]);
                    }
                    let with_e = if $t == 0 {
                        _mm_add_epi32(e[at], w[0])
                    } else {
                        _mm_sha1nexte_epu32(earlier[at], w[$t % 4])
                    };
                    earlier[at] = abcd[at];
                    abcd[at] = _mm_sha1rnds4_epu32::<{ $t / 5 }>(abcd[at], with_e);
                }
            };
        }
        each!(four_rounds: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19);
        for at in 0..N {
            e[at] = _mm_sha1nexte_epu32(earlier[at], before.1[at]);
            abcd[at] = _mm_add_epi32(abcd[at], before.0[at]);
        }
    }
    for ((state, abcd), e) in states.iter_mut().zip(abcd).zip(e) {
        let [a, b, c, d] = words(abcd);
        let [e, ..] = words(e);
        *state = [a, b, c, d, e];
    }
}

/// # Safety
/// The processor must have the instructions, and every run must hold `blocks` blocks.
#[target_feature(enable = "sha,ssse3,sse4.1")]
unsafe fn sha256_blocks<const N: usize>(
    states: &mut [[u32; 8]; N],
    runs: &[&[u8]; N],
    blocks: usize,
) {
    let swap = _mm_set_epi32(0x0c0d_0e0f, 0x0809_0a0b, 0x0405_0607, 0x0001_0203);
    // The order that the instructions want.
    let mut abef = states
        .map(|[a, b, _, _, e, f, _, _]| _mm_set_epi32(a as i32, b as i32, e as i32, f as i32));
    let mut cdgh = states
        .map(|[_, _, c, d, _, _, g, h]| _mm_set_epi32(c as i32, d as i32, g as i32, h as i32));
    for block in 0..blocks {
        // SAFETY: every run holds more than `block` blocks: the caller's promise.
        let mut words = unsafe { load_block(runs, block * BLOCK, swap) };
        let before = (abef, cdgh);
        macro_rules! four_rounds {
            ($t:literal) => {
                let k = _mm_set_epi32(
                    K256[4 * $t + 3] as i32,
                    K256[4 * $t + 2] as i32,
                    K256[4 * $t + 1] as i32,
                    K256[4 * $t] as i32,
                );
                for at in 0..N {
                    let w = &mut words[at];
                    if $t >= 4 {
                        let mixed = _mm_sha256msg1_epu32(w[$t % 4], w[($t + 1) % 4]);
                        let seventh = _mm_alignr_epi8::<4>(w[($t + 3) % 4], w[($t + 2) % 4]);
                        let mixed = _mm_add_epi32(mixed, seventh);
                        w[$t % 4] = _mm_sha256msg2_epu32(mixed, w[($t + 3) % 4]);
                    }
                    let with_k = _mm_add_epi32(w[$t % 4], k);
                    cdgh[at] = _mm_sha256rnds2_epu32(cdgh[at], abef[at], with_k);
                    let with_k = _mm_shuffle_epi32::<0x0e>(with_k);
                    abef[at] = _mm_sha256rnds2_epu32(abef[at], cdgh[at], with_k);
                }
            };
        }
        each!(four_rounds: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
        for at in 0..N {
            abef[at] = _mm_add_epi32(abef[at], before.0[at]);
            cdgh[at] = _mm_add_epi32(cdgh[at], before.1[at]);
        }
    }
    for ((state, abef), cdgh) in states.iter_mut().zip(abef).zip(cdgh) {
        let ([a, b, e, f], [c, d, g, h]) = (words(abef), words(cdgh));
        *state = [a, b, c, d, e, f, g, h];
    }
}

/// The four words of a register, the highest first.
#[target_feature(enable = "sha,ssse3,sse4.1")]
#[inline]
fn words(register: __m128i) -> [u32; 4] {
    [
        _mm_extract_epi32::<3>(register) as u32,
        _mm_extract_epi32::<2>(register) as u32,
        _mm_extract_epi32::<1>(register) as u32,
        _mm_extract_epi32::<0>(register) as u32,
    ]
}

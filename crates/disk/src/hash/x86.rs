//! The compression functions of SHA-1 and SHA-256, one message in each 32-bit lane of a vector
//! register: 16 with AVX-512, 8 with AVX2.
//!
//! Both are written once; what differs is below `mod avx512` and `mod avx2`. A block of every message
//! is loaded, turned to the host's byte order and transposed, so that vector `t` holds word `t` of
//! all messages. The sixteen words that are needed at a time and the state stay in registers with
//! AVX-512; AVX2 spills some.

use super::{LANES, lane::BLOCK};

/// State of all lanes: word by word, and in each word one entry a lane.
type State<const W: usize> = [[u32; LANES]; W];

/// Bytes of every lane from which whole blocks are taken.
type Runs<'a> = [&'a [u8]; LANES];

/// SHA-256's constants (FIPS 180-4, 4.2.2).
#[rustfmt::skip]
pub(super) const K256: [u32; 64] = [
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
];

/// Repeats a macro for every number, so that all indices are constants.
macro_rules! each {
    ($step:ident: $($t:literal)*) => { $( $step!($t); )* };
}

// One block after the other with every round written out: longer than functions are elsewhere, and
// the reason that indices are constants and words stay in registers.
macro_rules! kernels {
    ($features:literal, $lanes:literal) => {
        /// Takes `blocks` blocks of the first lanes into SHA-1's state.
        ///
        /// # Safety
        /// The processor must have the features, and every run must hold `blocks` blocks.
        #[target_feature(enable = $features)]
        unsafe fn sha1_blocks(state: &mut State<5>, runs: &Runs<'_>, blocks: usize) {
            let [mut a, mut b, mut c, mut d, mut e] = load_state(state);
            for block in 0..blocks {
                // SAFETY: every run holds more than `block` blocks: the caller's promise.
                let mut w = unsafe { load_block(runs, block * BLOCK) };
                let (a0, b0, c0, d0, e0) = (a, b, c, d, e);
                macro_rules! word {
                    ($t:literal) => {{
                        if $t >= 16 {
                            let (x, y) = (w[($t + 13) % 16], w[($t + 8) % 16]);
                            let mixed = xor(xor3(x, y, w[($t + 2) % 16]), w[$t % 16]);
                            w[$t % 16] = rol::<1, 31>(mixed);
                        }
                        w[$t % 16]
                    }};
                }
                macro_rules! step {
                    ($t:literal, $f:expr, $k:literal) => {{
                        let word = add(word!($t), splat($k));
                        let next = add(add(rol::<5, 27>(a), $f), add(e, word));
                        (e, d, c, b, a) = (d, c, rol::<30, 2>(b), a, next);
                    }};
                }
                macro_rules! first { ($t:literal) => { step!($t, choose(b, c, d), 0x5a82_7999) } }
                macro_rules! second { ($t:literal) => { step!($t, xor3(b, c, d), 0x6ed9_eba1) } }
                macro_rules! third { ($t:literal) => { step!($t, majority(b, c, d), 0x8f1b_bcdc) } }
                macro_rules! fourth { ($t:literal) => { step!($t, xor3(b, c, d), 0xca62_c1d6) } }
                each!(first: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19);
                each!(second: 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39);
                each!(third: 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59);
                each!(fourth: 60 61 62 63 64 65 66 67 68 69 70 71 72 73 74 75 76 77 78 79);
                (a, b, c, d, e) = (add(a, a0), add(b, b0), add(c, c0), add(d, d0), add(e, e0));
            }
            store_state(state, [a, b, c, d, e]);
        }

        /// Takes `blocks` blocks of the first lanes into SHA-256's state.
        ///
        /// # Safety
        /// The processor must have the features, and every run must hold `blocks` blocks.
        #[target_feature(enable = $features)]
        unsafe fn sha256_blocks(state: &mut State<8>, runs: &Runs<'_>, blocks: usize) {
            let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = load_state(state);
            for block in 0..blocks {
                // SAFETY: every run holds more than `block` blocks: the caller's promise.
                let mut w = unsafe { load_block(runs, block * BLOCK) };
                let before = [a, b, c, d, e, f, g, h];
                macro_rules! word {
                    ($t:literal) => {{
                        if $t >= 16 {
                            let (x, y) = (w[($t + 1) % 16], w[($t + 14) % 16]);
                            let x = xor3(rol::<25, 7>(x), rol::<14, 18>(x), shr::<3>(x));
                            let y = xor3(rol::<15, 17>(y), rol::<13, 19>(y), shr::<10>(y));
                            w[$t % 16] = add(add(w[$t % 16], x), add(w[($t + 9) % 16], y));
                        }
                        w[$t % 16]
                    }};
                }
                macro_rules! step {
                    ($t:literal) => {{
                        let word = add(word!($t), splat(K256[$t]));
                        let s1 = xor3(rol::<26, 6>(e), rol::<21, 11>(e), rol::<7, 25>(e));
                        let t1 = add(add(h, s1), add(choose(e, f, g), word));
                        let s0 = xor3(rol::<30, 2>(a), rol::<19, 13>(a), rol::<10, 22>(a));
                        let t2 = add(s0, majority(a, b, c));
                        (h, g, f, e) = (g, f, e, add(d, t1));
                        (d, c, b, a) = (c, b, a, add(t1, t2));
                    }};
                }
                each!(step: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
                each!(step: 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31);
                each!(step: 32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47);
                each!(step: 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63);
                let [a0, b0, c0, d0, e0, f0, g0, h0] = before;
                (a, b, c, d) = (add(a, a0), add(b, b0), add(c, c0), add(d, d0));
                (e, f, g, h) = (add(e, e0), add(f, f0), add(g, g0), add(h, h0));
            }
            store_state(state, [a, b, c, d, e, f, g, h]);
        }

        /// SHA-1 of `blocks` blocks of every lane.
        pub(in super::super) fn sha1(state: &mut State<5>, runs: &Runs<'_>, blocks: usize) {
            check(runs, blocks);
            // SAFETY: `check` has seen both: the features, and the lengths of the runs.
            unsafe { sha1_blocks(state, runs, blocks) }
        }

        /// SHA-256 of `blocks` blocks of every lane.
        pub(in super::super) fn sha256(state: &mut State<8>, runs: &Runs<'_>, blocks: usize) {
            check(runs, blocks);
            // SAFETY: `check` has seen both: the features, and the lengths of the runs.
            unsafe { sha256_blocks(state, runs, blocks) }
        }

        fn check(runs: &Runs<'_>, blocks: usize) {
            assert!(available(), "the processor cannot do this");
            let enough = |run: &&[u8]| run.len() / BLOCK >= blocks;
            assert!(runs[..$lanes].iter().all(enough), "a run is too short");
        }

        #[target_feature(enable = $features)]
        #[inline]
        fn load_state<const W: usize>(state: &State<W>) -> [V; W] {
            // SAFETY: a word's row is at least as long as a vector, and need not be aligned.
            state.each_ref().map(|row| unsafe { load(row.as_ptr().cast()) })
        }

        #[target_feature(enable = $features)]
        #[inline]
        fn store_state<const W: usize>(state: &mut State<W>, words: [V; W]) {
            for (row, word) in state.iter_mut().zip(words) {
                // SAFETY: a word's row is at least as long as a vector, and need not be aligned.
                unsafe { store(row.as_mut_ptr().cast(), word) }
            }
        }
    };
}

pub(super) mod avx512 {
    use super::{BLOCK, K256, LANES, Runs, State};
    use std::arch::x86_64::*;

    type V = __m512i;

    /// Whether the processor and the system can do this.
    pub(in super::super) fn available() -> bool {
        is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")
    }

    kernels!("avx512f,avx512bw", 16);

    macro_rules! operations {
        ($($name:ident($($arg:ident: $type:ty),*) => $body:expr;)*) => { $(
            #[target_feature(enable = "avx512f,avx512bw")]
            #[inline]
            fn $name($($arg: $type),*) -> V { $body }
        )* };
    }

    operations! {
        add(x: V, y: V) => _mm512_add_epi32(x, y);
        xor(x: V, y: V) => _mm512_xor_si512(x, y);
        xor3(x: V, y: V, z: V) => _mm512_ternarylogic_epi32::<0x96>(x, y, z);
        choose(x: V, y: V, z: V) => _mm512_ternarylogic_epi32::<0xca>(x, y, z);
        majority(x: V, y: V, z: V) => _mm512_ternarylogic_epi32::<0xe8>(x, y, z);
        splat(k: u32) => _mm512_set1_epi32(k as i32);
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    fn rol<const LEFT: i32, const RIGHT: i32>(x: V) -> V {
        const { assert!(LEFT + RIGHT == 32) }
        _mm512_rol_epi32::<LEFT>(x)
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    fn shr<const N: u32>(x: V) -> V {
        _mm512_srli_epi32::<N>(x)
    }

    /// # Safety
    /// 64 bytes must be readable at `from`.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    unsafe fn load(from: *const u8) -> V {
        // SAFETY: the caller's promise; the load need not be aligned.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    /// # Safety
    /// 64 bytes must be writable at `to`.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    unsafe fn store(to: *mut u8, x: V) {
        // SAFETY: the caller's promise; the store need not be aligned.
        unsafe { _mm512_storeu_si512(to.cast(), x) }
    }

    /// Word `t` of the block at `at` of every run, for each `t`.
    ///
    /// # Safety
    /// Every run must hold a block at `at`.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    unsafe fn load_block(runs: &Runs<'_>, at: usize) -> [V; 16] {
        let swap = _mm512_set4_epi32(0x0c0d_0e0f, 0x0809_0a0b, 0x0405_0607, 0x0001_0203);
        let mut row = [_mm512_setzero_si512(); 16];
        for (row, run) in row.iter_mut().zip(runs) {
            // SAFETY: the caller promises 64 bytes from `at` on.
            let bytes = unsafe { load(run.as_ptr().add(at)) };
            *row = _mm512_shuffle_epi8(bytes, swap);
        }
        let mut pair = row;
        for i in (0..16).step_by(2) {
            pair[i] = _mm512_unpacklo_epi32(row[i], row[i + 1]);
            pair[i + 1] = _mm512_unpackhi_epi32(row[i], row[i + 1]);
        }
        // quad[4 i + c], 128-bit lane q: word 4 q + c of messages 4 i to 4 i + 3.
        let mut quad = row;
        for i in (0..16).step_by(4) {
            quad[i] = _mm512_unpacklo_epi64(pair[i], pair[i + 2]);
            quad[i + 1] = _mm512_unpackhi_epi64(pair[i], pair[i + 2]);
            quad[i + 2] = _mm512_unpacklo_epi64(pair[i + 1], pair[i + 3]);
            quad[i + 3] = _mm512_unpackhi_epi64(pair[i + 1], pair[i + 3]);
        }
        let mut word = row;
        for c in 0..4 {
            let even = _mm512_shuffle_i32x4::<0x88>(quad[c], quad[4 + c]);
            let odd = _mm512_shuffle_i32x4::<0xdd>(quad[c], quad[4 + c]);
            let even2 = _mm512_shuffle_i32x4::<0x88>(quad[8 + c], quad[12 + c]);
            let odd2 = _mm512_shuffle_i32x4::<0xdd>(quad[8 + c], quad[12 + c]);
            word[c] = _mm512_shuffle_i32x4::<0x88>(even, even2);
            word[4 + c] = _mm512_shuffle_i32x4::<0x88>(odd, odd2);
            word[8 + c] = _mm512_shuffle_i32x4::<0xdd>(even, even2);
            word[12 + c] = _mm512_shuffle_i32x4::<0xdd>(odd, odd2);
        }
        word
    }

    const _: () = assert!(LANES == 16 && BLOCK == 64);
}

pub(super) mod avx2 {
    use super::{BLOCK, K256, Runs, State};
    use std::arch::x86_64::*;

    type V = __m256i;

    /// Whether the processor and the system can do this.
    pub(in super::super) fn available() -> bool {
        is_x86_feature_detected!("avx2")
    }

    kernels!("avx2", 8);

    macro_rules! operations {
        ($($name:ident($($arg:ident: $type:ty),*) => $body:expr;)*) => { $(
            #[target_feature(enable = "avx2")]
            #[inline]
            fn $name($($arg: $type),*) -> V { $body }
        )* };
    }

    operations! {
        add(x: V, y: V) => _mm256_add_epi32(x, y);
        xor(x: V, y: V) => _mm256_xor_si256(x, y);
        xor3(x: V, y: V, z: V) => xor(xor(x, y), z);
        choose(x: V, y: V, z: V) => xor(z, _mm256_and_si256(x, xor(y, z)));
        majority(x: V, y: V, z: V) => xor(y, _mm256_and_si256(xor(x, y), xor(z, y)));
        splat(k: u32) => _mm256_set1_epi32(k as i32);
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn rol<const LEFT: i32, const RIGHT: i32>(x: V) -> V {
        const { assert!(LEFT + RIGHT == 32) }
        _mm256_or_si256(_mm256_slli_epi32::<LEFT>(x), _mm256_srli_epi32::<RIGHT>(x))
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn shr<const N: i32>(x: V) -> V {
        _mm256_srli_epi32::<N>(x)
    }

    /// # Safety
    /// 32 bytes must be readable at `from`.
    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn load(from: *const u8) -> V {
        // SAFETY: the caller's promise; the load need not be aligned.
        unsafe { _mm256_loadu_si256(from.cast()) }
    }

    /// # Safety
    /// 32 bytes must be writable at `to`.
    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn store(to: *mut u8, x: V) {
        // SAFETY: the caller's promise; the store need not be aligned.
        unsafe { _mm256_storeu_si256(to.cast(), x) }
    }

    /// Word `t` of the block at `at` of each of the first 8 runs, for each `t`.
    ///
    /// # Safety
    /// Every one of them must hold a block at `at`.
    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn load_block(runs: &Runs<'_>, at: usize) -> [V; 16] {
        let mut word = [_mm256_setzero_si256(); 16];
        for half in 0..2 {
            // SAFETY: the caller promises 64 bytes from `at` on: two halves of 32.
            let part = unsafe { load_half(runs, at + half * 32) };
            word[half * 8..half * 8 + 8].copy_from_slice(&part);
        }
        word
    }

    /// # Safety
    /// Each of the first 8 runs must hold 32 bytes at `at`.
    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn load_half(runs: &Runs<'_>, at: usize) -> [V; 8] {
        let swap = _mm256_broadcastsi128_si256(_mm_set_epi32(
            0x0c0d_0e0f,
            0x0809_0a0b,
            0x0405_0607,
            0x0001_0203,
        ));
        let mut row = [_mm256_setzero_si256(); 8];
        for (row, run) in row.iter_mut().zip(runs) {
            // SAFETY: the caller promises 32 bytes from `at` on.
            let bytes = unsafe { load(run.as_ptr().add(at)) };
            *row = _mm256_shuffle_epi8(bytes, swap);
        }
        let mut pair = row;
        for i in (0..8).step_by(2) {
            pair[i] = _mm256_unpacklo_epi32(row[i], row[i + 1]);
            pair[i + 1] = _mm256_unpackhi_epi32(row[i], row[i + 1]);
        }
        // quad[4 i + c], 128-bit lane q: word 4 q + c of messages 4 i to 4 i + 3.
        let mut quad = row;
        for i in (0..8).step_by(4) {
            quad[i] = _mm256_unpacklo_epi64(pair[i], pair[i + 2]);
            quad[i + 1] = _mm256_unpackhi_epi64(pair[i], pair[i + 2]);
            quad[i + 2] = _mm256_unpacklo_epi64(pair[i + 1], pair[i + 3]);
            quad[i + 3] = _mm256_unpackhi_epi64(pair[i + 1], pair[i + 3]);
        }
        let mut word = row;
        for c in 0..4 {
            word[c] = _mm256_permute2x128_si256::<0x20>(quad[c], quad[4 + c]);
            word[4 + c] = _mm256_permute2x128_si256::<0x31>(quad[c], quad[4 + c]);
        }
        word
    }
}

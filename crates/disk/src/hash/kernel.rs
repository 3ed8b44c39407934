//! Which kernel there is, and when it is worth its lanes.

use super::lane::BLOCK;
#[cfg(target_arch = "x86_64")]
use super::streams;
#[cfg(target_arch = "x86_64")]
use super::x86::{avx2, avx512};
use super::{LANES, sha1_alone, sha256_alone};

/// A way to hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// One message after the other, with the processor's SHA instructions where it has them.
    Single,
    /// The processor's SHA instructions, the steps of up to 4 messages between each other's.
    Streams,
    /// 8 at a time.
    Avx2,
    /// 16 at a time.
    Avx512,
}

impl Kernel {
    /// All that this processor can do, the widest last.
    #[must_use]
    pub fn available() -> Vec<Self> {
        let all = [Self::Single, Self::Streams, Self::Avx2, Self::Avx512];
        all.into_iter()
            .filter(|kernel| kernel.is_available())
            .collect()
    }

    /// The widest that this processor can do.
    #[must_use]
    pub fn best() -> Self {
        let all = [Self::Avx512, Self::Avx2, Self::Streams];
        all.into_iter()
            .find(|kernel| kernel.is_available())
            .unwrap_or(Self::Single)
    }

    #[cfg(target_arch = "x86_64")]
    fn is_available(self) -> bool {
        match self {
            Self::Single => true,
            Self::Streams => streams::available(),
            Self::Avx2 => avx2::available(),
            Self::Avx512 => avx512::available(),
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn is_available(self) -> bool {
        self == Self::Single
    }

    /// Messages at a time.
    #[must_use]
    pub fn lanes(self) -> usize {
        match self {
            Self::Single => 1,
            Self::Streams => 4,
            Self::Avx2 => 8,
            Self::Avx512 => LANES,
        }
    }
}

/// Whether the processor has SHA instructions that can be used for several messages at once.
#[cfg(target_arch = "x86_64")]
fn has_streams() -> bool {
    streams::available()
}

#[cfg(not(target_arch = "x86_64"))]
fn has_streams() -> bool {
    false
}

/// A hash function with a state of `W` words.
pub(super) trait Algorithm<const W: usize> {
    /// State before the first block.
    const START: [u32; W];

    /// Busy lanes from which on the kernel's vectors are faster than [`Algorithm::few`].
    ///
    /// Measured on a Zen 5 core (GiB/s; examples/hash_bench.rs): SHA-1 of 1, 2, 3, 4 streams 2.0, 3.6, 4.7, 5.1,
    /// 8 lanes 3.5, 16 lanes 10.3; SHA-256 1.9, 2.6, 3.0, 3.3, and 1.7 and 5.0. A lane is worth the same whether the
    /// others are busy or not, so that the break-even with AVX-512 is at 8 lanes for SHA-1 and 10.5 for SHA-256; the
    /// numbers lean to the safe side for cores that take 512 bits in two halves. With AVX2 SHA-1 is better in streams
    /// here; on Zen 2 and 3, where four streams are not measured yet, 8 lanes are twice as fast as one message alone.
    fn worth(kernel: Kernel) -> usize;

    /// Takes whole blocks into the state of one message.
    fn alone(state: &mut [u32; W], run: &[u8]);

    /// Takes `blocks` blocks of every message into its state, without vectors.
    fn few(states: &mut [[u32; W]], runs: &[&[u8]], blocks: usize);

    /// Takes `blocks` blocks of every lane into the states; `kernel` has vectors.
    fn together(
        kernel: Kernel,
        state: &mut [[u32; LANES]; W],
        runs: &[&[u8]; LANES],
        blocks: usize,
    );
}

pub(super) struct Sha1;
pub(super) struct Sha256;

/// [`Algorithm::few`] where one message cannot make use of what another leaves idle.
fn one_by_one<A: Algorithm<W>, const W: usize>(
    states: &mut [[u32; W]],
    runs: &[&[u8]],
    blocks: usize,
) {
    for (state, run) in states.iter_mut().zip(runs) {
        A::alone(state, &run[..blocks * BLOCK]);
    }
}

impl Algorithm<5> for Sha1 {
    const START: [u32; 5] = [
        0x6745_2301,
        0xefcd_ab89,
        0x98ba_dcfe,
        0x1032_5476,
        0xc3d2_e1f0,
    ];

    fn worth(kernel: Kernel) -> usize {
        match kernel {
            Kernel::Single | Kernel::Streams => usize::MAX,
            _ if !has_streams() => 2,
            Kernel::Avx2 => 5,
            Kernel::Avx512 => 9,
        }
    }

    fn alone(state: &mut [u32; 5], run: &[u8]) {
        sha1_alone(state, run);
    }

    fn few(states: &mut [[u32; 5]], runs: &[&[u8]], blocks: usize) {
        #[cfg(target_arch = "x86_64")]
        if has_streams() {
            return streams::sha1(states, runs, blocks);
        }
        one_by_one::<Self, 5>(states, runs, blocks);
    }

    #[cfg(target_arch = "x86_64")]
    fn together(
        kernel: Kernel,
        state: &mut [[u32; LANES]; 5],
        runs: &[&[u8]; LANES],
        blocks: usize,
    ) {
        match kernel {
            Kernel::Avx512 => avx512::sha1(state, runs, blocks),
            _ => avx2::sha1(state, runs, blocks),
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn together(_: Kernel, state: &mut [[u32; LANES]; 5], runs: &[&[u8]; LANES], blocks: usize) {
        lane_by_lane::<Self, 5>(state, runs, blocks);
    }
}

impl Algorithm<8> for Sha256 {
    const START: [u32; 8] = [
        0x6a09_e667,
        0xbb67_ae85,
        0x3c6e_f372,
        0xa54f_f53a,
        0x510e_527f,
        0x9b05_688c,
        0x1f83_d9ab,
        0x5be0_cd19,
    ];

    fn worth(kernel: Kernel) -> usize {
        match kernel {
            Kernel::Single | Kernel::Streams => usize::MAX,
            Kernel::Avx2 if has_streams() => usize::MAX,
            Kernel::Avx512 if has_streams() => 12,
            Kernel::Avx2 | Kernel::Avx512 => 2,
        }
    }

    fn alone(state: &mut [u32; 8], run: &[u8]) {
        sha256_alone(state, run);
    }

    fn few(states: &mut [[u32; 8]], runs: &[&[u8]], blocks: usize) {
        #[cfg(target_arch = "x86_64")]
        if has_streams() {
            return streams::sha256(states, runs, blocks);
        }
        one_by_one::<Self, 8>(states, runs, blocks);
    }

    #[cfg(target_arch = "x86_64")]
    fn together(
        kernel: Kernel,
        state: &mut [[u32; LANES]; 8],
        runs: &[&[u8]; LANES],
        blocks: usize,
    ) {
        match kernel {
            Kernel::Avx512 => avx512::sha256(state, runs, blocks),
            _ => avx2::sha256(state, runs, blocks),
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn together(_: Kernel, state: &mut [[u32; LANES]; 8], runs: &[&[u8]; LANES], blocks: usize) {
        lane_by_lane::<Self, 8>(state, runs, blocks);
    }
}

/// What stands in for a kernel where there is none.
#[cfg(not(target_arch = "x86_64"))]
fn lane_by_lane<A: Algorithm<W>, const W: usize>(
    state: &mut [[u32; LANES]; W],
    runs: &[&[u8]; LANES],
    blocks: usize,
) {
    for (lane, run) in runs.iter().enumerate() {
        let mut one = state.each_ref().map(|row| row[lane]);
        A::alone(&mut one, &run[..blocks * BLOCK]);
        for (row, word) in state.iter_mut().zip(one) {
            row[lane] = word;
        }
    }
}

const _: () = assert!(BLOCK == 64);

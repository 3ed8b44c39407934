//! How fast this processor hashes, on one core: GiB/s for some numbers of 256 KiB messages (SHA-1: a
//! piece) and 16 KiB messages (SHA-256: a leaf), each kernel beside the crates.
//!
//!     cargo run --release -p samara-disk --example hash_bench

use samara_disk::hash::{
    Kernel, Message, sha1_many, sha1_many_with, sha256_many, sha256_many_with,
};
use sha1::Digest;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Best of some runs: what the processor can do when nobody disturbs it.
fn gib_per_second(bytes: usize, mut work: impl FnMut()) -> f64 {
    let mut best = Duration::MAX;
    let end = Instant::now() + Duration::from_millis(250);
    while Instant::now() < end {
        let start = Instant::now();
        work();
        best = best.min(start.elapsed());
    }
    bytes as f64 / best.as_secs_f64() / f64::from(1 << 30)
}

fn main() {
    let kernels = Kernel::available();
    print!("{:24}{:>8}", "", "crates");
    kernels
        .iter()
        .for_each(|kernel| print!("{:>8}", format!("{kernel:?}")));
    println!("{:>8}", "best");
    for (name, len) in [("sha1", 256 << 10), ("sha256", 16 << 10)] {
        for count in [1, 2, 3, 4, 5, 6, 8, 12, 16, 64] {
            let data: Vec<Vec<u8>> = (0..count).map(|at| vec![at as u8; len]).collect();
            let slices: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
            let parts: Vec<[&[u8]; 1]> = slices.iter().map(|slice| [*slice]).collect();
            let messages: Vec<Message<'_, &[u8]>> =
                parts.iter().map(|parts| Message::new(parts)).collect();
            let total = count * len;
            let (mut short, mut long) = (vec![[0; 20]; count], vec![[0; 32]; count]);
            print!("{:24}", format!("{name} {count} x {} KiB", len >> 10));
            let crates = gib_per_second(total, || {
                for slice in &slices {
                    if name == "sha1" {
                        black_box(sha1::Sha1::digest(slice));
                    } else {
                        black_box(sha2::Sha256::digest(slice));
                    }
                }
            });
            print!("{crates:8.2}");
            for &kernel in &kernels {
                let speed = gib_per_second(total, || {
                    if name == "sha1" {
                        sha1_many_with(kernel, &messages, &mut short);
                    } else {
                        sha256_many_with(kernel, &messages, &mut long);
                    }
                });
                print!("{speed:8.2}");
            }
            let best = gib_per_second(total, || {
                if name == "sha1" {
                    sha1_many(&slices, &mut short);
                } else {
                    sha256_many(&slices, &mut long);
                }
            });
            println!("{best:8.2}");
        }
    }
}

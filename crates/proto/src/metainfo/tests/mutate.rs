//! Valid torrents with bytes changed, cut, doubled: nothing may panic, and what is still accepted must
//! be sane.

use super::*;

/// xorshift64*: the same numbers on every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }
}

fn samples() -> Vec<Vec<u8>> {
    let files: Files<'_> = &[("a", 20_000), ("b/empty", 0), ("b/x", 3), ("c", 40_000)];
    let mut samples = Vec::new();
    for version in [Version::V1, Version::V2, Version::Hybrid] {
        for files in [files, &[("", 40_000)]] {
            samples.push(torrent(version, 16_384, files).to_bytes());
        }
    }
    samples
}

/// Reads `bytes`; true if they are a torrent.
fn survives(bytes: &[u8]) -> bool {
    match Metainfo::from_bytes(bytes) {
        Ok(metainfo) => {
            check_sane(&metainfo.info);
            let again =
                Metainfo::from_bytes(&metainfo.to_bytes()).expect("what is written is read");
            assert_eq!(again.info.info_hash(), metainfo.info.info_hash());
            assert_eq!(again.info.files, metainfo.info.files);
            true
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    }
}

#[test]
fn every_byte_changed() {
    let mut accepted = 0;
    for sample in samples() {
        for at in 0..sample.len() {
            let mut bytes = sample.clone();
            for new in [
                b'0',
                b'9',
                b'i',
                b'e',
                b'd',
                b'l',
                b'-',
                b'.',
                b'/',
                0,
                0xff,
                sample[at] ^ 1,
            ] {
                bytes[at] = new;
                accepted += usize::from(survives(&bytes));
            }
        }
    }
    assert!(
        accepted > 1000,
        "hashes and names may be anything: {accepted}"
    );
}

#[test]
fn every_prefix() {
    for sample in samples() {
        assert!((0..sample.len()).all(|end| !survives(&sample[..end])));
    }
}

#[test]
fn cut_doubled_swapped_and_with_other_numbers() {
    let mut numbers = Numbers(20_240_601);
    let samples = samples();
    let tokens: [&[u8]; 14] = [
        b"i0e",
        b"i-1e",
        b"i9223372036854775807e",
        b"i16384e",
        b"0:",
        b"2:..",
        b"de",
        b"le",
        b"4:attr",
        b"1:p",
        b"1:l",
        b"6:length",
        b"12:meta versioni2e",
        b"6:pieces",
    ];
    for _ in 0..60_000 {
        let mut bytes = samples[numbers.below(samples.len())].clone();
        for _ in 0..=numbers.below(3) {
            let a = numbers.below(bytes.len() + 1);
            let b = (a + numbers.below(40)).min(bytes.len());
            match numbers.below(4) {
                0 => drop(bytes.drain(a..b)),
                1 => {
                    let copy = bytes[a..b].to_vec();
                    bytes.splice(b..b, copy);
                }
                2 => {
                    let token = tokens[numbers.below(tokens.len())];
                    bytes.splice(a..a, token.iter().copied());
                }
                _ => {
                    let token = tokens[numbers.below(tokens.len())];
                    bytes.splice(a..b.min(a + token.len()), token.iter().copied());
                }
            }
        }
        survives(&bytes);
    }
}

#[test]
fn info_dictionaries_alone() {
    for sample in samples() {
        let raw = Metainfo::from_bytes(&sample).expect("valid").info.raw;
        for at in 0..raw.len() {
            let mut bytes = raw.to_vec();
            bytes[at] = bytes[at].wrapping_add(1);
            if let Ok(info) = Info::from_bytes(Bytes::from(bytes)) {
                check_sane(&info);
            }
        }
    }
}

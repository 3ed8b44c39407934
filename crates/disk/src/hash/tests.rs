use super::*;
use crate::testing::content;
use sha2::Digest;

fn sha1_of(bytes: &[u8]) -> [u8; 20] {
    sha1::Sha1::digest(bytes).into()
}

fn sha256_of(bytes: &[u8]) -> [u8; 32] {
    sha2::Sha256::digest(bytes).into()
}

/// Every kernel, at every number of lanes from which it might take over, against the crates.
fn agree<B: AsRef<[u8]>>(messages: &[Message<'_, B>]) {
    let whole: Vec<Vec<u8>> = messages
        .iter()
        .map(|message| {
            let mut bytes: Vec<u8> = Vec::new();
            message
                .parts
                .iter()
                .for_each(|part| bytes.extend_from_slice(part.as_ref()));
            bytes.resize(bytes.len() + message.zeros as usize, 0);
            bytes
        })
        .collect();
    let sha1: Vec<[u8; 20]> = whole.iter().map(|bytes| sha1_of(bytes)).collect();
    let sha256: Vec<[u8; 32]> = whole.iter().map(|bytes| sha256_of(bytes)).collect();
    for kernel in Kernel::available() {
        for worth in [1, 2, 5, 16] {
            let mut got = vec![None; messages.len()];
            many::<Sha1, 5, B>(kernel, worth, messages, |at, state| got[at] = Some(state));
            for (got, want) in got.iter().zip(&sha1) {
                let got = got.expect("done").map(u32::to_be_bytes);
                assert_eq!(got.as_flattened(), want, "{kernel:?} {worth}");
            }
            let mut got = vec![None; messages.len()];
            many::<Sha256, 8, B>(kernel, worth, messages, |at, state| got[at] = Some(state));
            for (got, want) in got.iter().zip(&sha256) {
                let got = got.expect("done").map(u32::to_be_bytes);
                assert_eq!(got.as_flattened(), want, "{kernel:?} {worth}");
            }
        }
    }
    let mut out = vec![[0; 20]; messages.len()];
    sha1_many_parts(messages, &mut out);
    assert_eq!(out, sha1);
    let mut out = vec![[0; 32]; messages.len()];
    sha256_many_parts(messages, &mut out);
    assert_eq!(out, sha256);
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }
}

#[test]
fn all_lengths_alone_and_together() {
    let bytes = content(0, 300);
    let messages: Vec<&[u8]> = (0..=300).map(|len| &bytes[..len]).collect();
    agree(&messages.iter().map(single).collect::<Vec<_>>());
    for message in &messages {
        agree(&[single(message)]);
        agree(&vec![single(message); 16]);
    }
}

#[test]
fn random_lengths_and_alignments_in_every_lane() {
    let bytes = content(1, 70_000);
    let mut random = Random(7);
    for count in [0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 100] {
        for longest in [70, 1000, 40_000] {
            let messages: Vec<&[u8]> = (0..count)
                .map(|_| {
                    let start = random.below(20_000);
                    &bytes[start..start + random.below(longest)]
                })
                .collect();
            agree(&messages.iter().map(single).collect::<Vec<_>>());
        }
    }
}

#[test]
fn parts_of_any_length_and_zeros_after_them() {
    let bytes = content(2, 70_000);
    let mut random = Random(11);
    for longest in [3, 70, 200, 17_000] {
        let parts: Vec<Vec<&[u8]>> = (0..40)
            .map(|_| {
                let count = random.below(12);
                let part = |random: &mut Random| {
                    let start = random.below(20_000);
                    &bytes[start..start + random.below(longest)]
                };
                (0..count).map(|_| part(&mut random)).collect()
            })
            .collect();
        let messages: Vec<Message<'_, &[u8]>> = parts
            .iter()
            .map(|parts| Message {
                parts,
                zeros: [0, 1, 63, 64, 65, 100_000][random.below(6)],
            })
            .collect();
        agree(&messages);
    }
}

#[test]
fn agreed_forms() {
    let mut out = [[0; 20]; 2];
    sha1_many(&[b"", b"abc"], &mut out);
    assert_eq!(out[0][..4], [0xda, 0x39, 0xa3, 0xee]);
    assert_eq!(out[1][..4], [0xa9, 0x99, 0x3e, 0x36]);
    let mut out = [[0; 32]; 2];
    sha256_many(&[b"", b"abc"], &mut out);
    assert_eq!(out[0][..4], [0xe3, 0xb0, 0xc4, 0x42]);
    assert_eq!(out[1][..4], [0xba, 0x78, 0x16, 0xbf]);
    sha1_many(&[], &mut []);
}

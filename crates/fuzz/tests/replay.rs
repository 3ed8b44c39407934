//! The fixed corpus as ordinary tests, and a little noise on top of it.

use std::path::PathBuf;

/// The inputs of a target, sorted by name.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../../fuzz/corpus", target]
        .iter()
        .collect();
    let mut found: Vec<(String, Vec<u8>)> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| {
            let path = entry.expect("readable").path();
            let bytes = std::fs::read(&path).expect("readable");
            (path.display().to_string(), bytes)
        })
        .collect();
    found.sort();
    found
}

/// xorshift64: the same noise every time.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

fn changed(bytes: &[u8], state: &mut u64) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=next(state) % 4 {
        let at = next(state) as usize % (bytes.len() + 1);
        match next(state) % 4 {
            0 if at < bytes.len() => bytes[at] = next(state) as u8,
            1 if at < bytes.len() => bytes[at] ^= 1 << (next(state) % 8),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            3 => bytes.insert(at, next(state) as u8),
            _ => bytes.truncate(at),
        }
    }
    bytes
}

/// Says which input it was when a property does not hold.
struct Named<'a>(&'a str, &'a [u8]);

impl Drop for Named<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let hex: String = self.1.iter().map(|byte| format!("{byte:02x}")).collect();
            eprintln!("the input was {}: {hex}", self.0);
        }
    }
}

/// Every input as it is, and each of them changed a few times. `SAMARA_TARGET` and `SAMARA_NOISE` choose
/// one target and how often.
#[test]
fn the_fixed_corpus_holds() {
    let rounds: usize = std::env::var("SAMARA_NOISE").map_or(3, |n| n.parse().expect("a number"));
    let only = std::env::var("SAMARA_TARGET").ok();
    for (target, check) in samara_fuzz::TARGETS {
        if only.as_ref().is_some_and(|only| only != target) {
            continue;
        }
        let inputs = corpus(target);
        assert!(inputs.len() >= 3, "{target} has a corpus");
        let mut state = 0x9e37_79b9_7f4a_7c15;
        for (name, bytes) in &inputs {
            let guard = Named(name, bytes);
            check(bytes);
            drop(guard);
            for _ in 0..rounds {
                let bytes = changed(bytes, &mut state);
                let _guard = Named(name, &bytes);
                check(&bytes);
            }
        }
    }
}

//! Sequences of operations on rooms that are private, for fuzzing (`cargo xtask fuzz picker`) and for
//! tests, which replay the fixed corpus in `fuzz/corpus`. Not there in any other build.

mod choker;
mod picker;

pub use choker::choker;
pub use picker::picker;

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    #[expect(clippy::disallowed_methods, reason = "the corpus is in files")]
    fn replay(target: &str, check: fn(&[u8])) {
        let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../../fuzz/corpus", target]
            .iter()
            .collect();
        let mut inputs = 0;
        for entry in std::fs::read_dir(&folder).expect("the corpus is there") {
            let path = entry.expect("readable").path();
            let bytes = std::fs::read(&path).expect("readable");
            eprintln!("{}", path.display());
            // Every beginning is another history.
            for end in (0..bytes.len()).step_by(bytes.len() / 16 + 1) {
                check(&bytes[end..]);
                check(&bytes[..end]);
            }
            check(&bytes);
            inputs += 1;
        }
        assert!(inputs >= 3, "{target} has a corpus");
    }

    #[test]
    fn the_picker_s_corpus_holds() {
        replay("picker", super::picker);
    }

    #[test]
    fn the_choker_s_corpus_holds() {
        replay("choker", super::choker);
    }
}

//! The journal under whatever may have happened to it, for fuzzing (`cargo xtask fuzz journal`) and for
//! tests, which replay the fixed corpus in `fuzz/corpus`. Not there in any other build.

mod journal;

pub use journal::journal;

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    #[test]
    fn the_journal_s_corpus_holds() {
        let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../../fuzz/corpus/journal"]
            .iter()
            .collect();
        let mut inputs = 0;
        for entry in std::fs::read_dir(&folder).expect("the corpus is there") {
            let path = entry.expect("readable").path();
            let bytes = std::fs::read(&path).expect("readable");
            eprintln!("{}", path.display());
            // Every beginning is another history.
            for end in (0..bytes.len()).step_by(bytes.len() / 4 + 1) {
                super::journal(&bytes[..end]);
            }
            super::journal(&bytes);
            inputs += 1;
        }
        assert!(inputs >= 3, "there is a corpus");
    }
}

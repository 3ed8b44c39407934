//! Pages that name code are true: paths exist, tests exist, settings files are there.

use super::Finding;
use std::path::{Path, PathBuf};

/// Tops of paths that ARCHITECTURE.md may name.
const TOPS: [&str; 9] = [
    "crates/", "docs/", "xtask/", "scripts/", "bench/", "fuzz/", ".ci/", ".cargo/", "deploy/",
];
/// Crates whose clippy.toml bans clocks, ambient randomness, files, sockets and threads.
const PURE: [&str; 3] = ["proto", "engine", "sim"];
/// What every one of those must ban.
const BANNED: [&str; 4] = [
    "std::time::Instant::now",
    "std::time::SystemTime::now",
    "std::thread::spawn",
    "std::fs::File::open",
];

/// Every path that ARCHITECTURE.md names exists.
pub fn architecture(root: &Path) -> Vec<Finding> {
    const PAGE: &str = "ARCHITECTURE.md";
    let Ok(text) = std::fs::read_to_string(root.join(PAGE)) else {
        return vec![Finding::new(PAGE, 0, "is missing")];
    };
    let mut findings = Vec::new();
    for (line, name) in code_spans(&text) {
        let path = name.trim_end_matches('/');
        // `NNNN` and `*` stand for many names.
        let pattern = path.contains(['*', '{', '<', ' ']) || path.contains("NNNN");
        if TOPS.iter().any(|top| name.starts_with(top)) && !pattern && !root.join(path).exists() {
            findings.push(Finding::new(
                PAGE,
                line,
                format!("names `{name}`, which does not exist"),
            ));
        }
    }
    findings
}

/// Every row of docs/bep-coverage.md names its room and its tests, and they exist. Columns: BEP, what,
/// room, test, status; a row whose status begins with `no` needs neither.
pub fn bep_coverage(root: &Path) -> Vec<Finding> {
    const PAGE: &str = "docs/bep-coverage.md";
    let Ok(text) = std::fs::read_to_string(root.join(PAGE)) else {
        return vec![Finding::new(PAGE, 0, "is missing")];
    };
    let mut findings = Vec::new();
    for (at, row) in text.lines().enumerate() {
        let cells: Vec<&str> = row
            .trim()
            .trim_matches('|')
            .split('|')
            .map(str::trim)
            .collect();
        let is_bep = cells
            .first()
            .is_some_and(|cell| cell.chars().next().is_some_and(|c| c.is_ascii_digit()));
        if !row.trim_start().starts_with('|') || !is_bep {
            continue;
        }
        let mut say = |what: String| findings.push(Finding::new(PAGE, at + 1, what));
        let [bep, _, rooms, tests, status] = cells.as_slice() else {
            say(format!(
                "BEP {}: a row has five columns, this one {}",
                cells[0],
                cells.len()
            ));
            continue;
        };
        if status.starts_with("no") {
            continue;
        }
        let rooms: Vec<String> = code_spans(rooms)
            .into_iter()
            .map(|(_, name)| name)
            .collect();
        if rooms.is_empty() {
            say(format!("BEP {bep} names no room"));
        }
        for room in rooms.iter().filter(|room| !root.join(room).exists()) {
            say(format!("BEP {bep}: room `{room}` does not exist"));
        }
        let tests: Vec<String> = code_spans(tests)
            .into_iter()
            .map(|(_, name)| name)
            .collect();
        if tests.is_empty() {
            say(format!("BEP {bep} names no test"));
        }
        for test in tests.iter().filter(|test| !test_exists(root, test)) {
            say(format!(
                "BEP {bep}: test `{test}` does not exist (write FILE::function)"
            ));
        }
    }
    findings
}

/// `crates/proto/src/bitfield.rs::first_piece_is_the_high_bit`
fn test_exists(root: &Path, test: &str) -> bool {
    let Some((file, function)) = test.rsplit_once("::") else {
        return false;
    };
    let declared = format!("fn {function}(");
    std::fs::read_to_string(root.join(file)).is_ok_and(|text| text.contains(&declared))
}

/// The pure crates have their clippy.toml, and it bans what it should.
pub fn clippy_files(root: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in PURE {
        let path = PathBuf::from("crates").join(name).join("clippy.toml");
        let shown = path.to_string_lossy().into_owned();
        match std::fs::read_to_string(root.join(&path)) {
            Err(_) => findings.push(Finding::new(
                shown,
                0,
                "is missing: it keeps clocks, files and threads out of the crate",
            )),
            Ok(text) => {
                for banned in BANNED
                    .iter()
                    .filter(|banned| !text.contains(&format!("\"{banned}\"")))
                {
                    findings.push(Finding::new(&shown, 0, format!("does not ban `{banned}`")));
                }
            }
        }
    }
    findings
}

/// Text between single backticks outside of fenced blocks, with line numbers.
fn code_spans(text: &str) -> Vec<(usize, String)> {
    let mut spans = Vec::new();
    let mut fenced = false;
    for (at, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            continue;
        }
        if !fenced {
            spans.extend(
                line.split('`')
                    .skip(1)
                    .step_by(2)
                    .map(|span| (at + 1, span.to_owned())),
            );
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Planted(PathBuf);

    impl Planted {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let root =
                std::env::temp_dir().join(format!("samara-tidy-{}-{name}", std::process::id()));
            for (path, text) in files {
                let path = root.join(path);
                std::fs::create_dir_all(path.parent().expect("has a parent")).expect("made");
                std::fs::write(path, text).expect("written");
            }
            Self(root)
        }
    }

    impl Drop for Planted {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_path_that_does_not_exist_is_found() {
        let page = "See `crates/a/src/lib.rs`, `crates/b/`, `docs/decisions/NNNN-title.md` and `samara get`.\n```\n`crates/c`\n```\n";
        let planted = Planted::new(
            "architecture",
            &[("ARCHITECTURE.md", page), ("crates/a/src/lib.rs", "")],
        );
        let found = architecture(&planted.0);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].what.contains("crates/b/"));
        assert_eq!(architecture(&planted.0.join("crates")).len(), 1);
    }

    #[test]
    fn a_row_without_a_test_is_found() {
        let page = "\
| BEP | what | room | test | status |
| --- | --- | --- | --- | --- |
| 3 | wire | `crates/a` | `crates/a/t.rs::works` | yes |
| 4 | x | `crates/a` | `crates/a/t.rs::is_not_there` | yes |
| 5 | x | `crates/a` | | yes |
| 6 | x | `crates/b` | `crates/a/t.rs::works` | yes |
| 7 | x | | | no |
| 8 | x | yes |
";
        let planted = Planted::new(
            "beps",
            &[
                ("docs/bep-coverage.md", page),
                ("crates/a/t.rs", "fn works() {}"),
            ],
        );
        let lines: Vec<usize> = bep_coverage(&planted.0)
            .iter()
            .map(|finding| finding.line)
            .collect();
        assert_eq!(lines, [4, 5, 6, 8]);
    }

    #[test]
    fn a_missing_or_empty_clippy_file_is_found() {
        let whole: String = BANNED
            .iter()
            .map(|banned| format!("\"{banned}\",\n"))
            .collect();
        let planted = Planted::new(
            "clippy",
            &[
                ("crates/proto/clippy.toml", whole.as_str()),
                ("crates/engine/clippy.toml", ""),
            ],
        );
        let found = clippy_files(&planted.0);
        assert_eq!(found.len(), BANNED.len() + 1);
        assert!(
            found
                .iter()
                .any(|finding| finding.file == "crates/sim/clippy.toml")
        );
    }
}

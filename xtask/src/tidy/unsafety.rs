//! `unsafe` stands only in hash kernels and syscall wrappers, each with its argument.

use super::Finding;
use super::source::Source;

/// Where `unsafe` may stand: kernels, and files that wrap system calls and do nothing else.
const ALLOWED: [&str; 6] = [
    "crates/tracker/src/sys/",
    "crates/disk/src/hash/",
    "crates/disk/src/sys.rs",
    "crates/disk/src/sys/",
    "crates/node/src/sys.rs",
    "crates/node/src/sys/",
];

/// The argument stands at most this many lines above.
const LINES_ABOVE: usize = 8;

pub fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        let allowed = ALLOWED.iter().any(|place| source.path.starts_with(place));
        for at in source.words("unsafe") {
            let line = source.line_of(at);
            if !allowed {
                findings.push(Finding::new(
                    &source.path,
                    line,
                    "`unsafe` is for crates/disk/src/hash and the sys rooms only",
                ));
                continue;
            }
            let argued = source
                .text
                .lines()
                .skip(line.saturating_sub(LINES_ABOVE + 1))
                .take(LINES_ABOVE + 1)
                .any(|line| line.contains("SAFETY:") || line.contains("# Safety"));
            if !argued {
                findings.push(Finding::new(
                    &source.path,
                    line,
                    "`unsafe` without a `SAFETY:` argument above it",
                ));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::testing::source;
    use super::*;

    #[test]
    fn unsafe_elsewhere_or_without_an_argument_is_found() {
        let elsewhere = source(
            "crates/engine/src/rng.rs",
            "// SAFETY: none\nunsafe { f() }",
        );
        let silent = source("crates/disk/src/hash/avx2.rs", "fn f() { unsafe { g() } }");
        let argued = source(
            "crates/disk/src/hash/avx2.rs",
            "// SAFETY: g has no conditions\nunsafe { g() }",
        );
        assert_eq!(check(&[elsewhere]).len(), 1);
        assert_eq!(check(&[silent]).len(), 1);
        assert!(check(&[argued]).is_empty());
    }
}

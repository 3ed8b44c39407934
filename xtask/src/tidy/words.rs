//! What must not be left behind in code.

use super::Finding;
use super::source::Source;

/// Macros, looked for in code.
const MACROS: [&str; 3] = ["dbg!", "todo!", "unimplemented!"];
/// Marks, looked for in comments too. In two halves, so that this file does not find itself.
const MARKS: [(&str, &str); 2] = [("FIX", "ME"), ("XX", "X")];

pub fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        for word in MACROS {
            for (at, _) in source.code.match_indices(word) {
                findings.push(Finding::new(
                    &source.path,
                    source.line_of(at),
                    format!("`{word}` is left behind"),
                ));
            }
        }
        for (first, second) in MARKS {
            let mark = format!("{first}{second}");
            for (at, _) in source.text.match_indices(&mark) {
                findings.push(Finding::new(
                    &source.path,
                    source.line_of(at),
                    format!("`{mark}`: mend it, or say why it is right"),
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
    fn leftovers_are_found_in_code_and_marks_in_comments() {
        let mark = format!("// {}{}: later", "FIX", "ME");
        assert_eq!(check(&[source("a.rs", "fn f() { dbg!(1); }")]).len(), 1);
        assert_eq!(check(&[source("a.rs", "fn f() { todo!() }")]).len(), 1);
        assert_eq!(check(&[source("a.rs", &mark)]).len(), 1);
        assert!(check(&[source("a.rs", "// dbg! is banned\nlet a = \"todo!\";")]).is_empty());
    }
}

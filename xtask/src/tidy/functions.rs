//! No file over 800 lines, no function over 80 without a reason beside it.

use super::Finding;
use super::source::Source;

const FILE_LINES: usize = 800;
const FUNCTION_LINES: usize = 80;
/// What the reason begins with; it stands in the function, or in one of the lines above it.
const REASON: &str = "// long:";
const LINES_ABOVE: usize = 6;

pub fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        let lines = source.text.lines().count();
        if lines > FILE_LINES {
            findings.push(Finding::new(
                &source.path,
                0,
                format!("{lines} lines; split it by subject (at most {FILE_LINES})"),
            ));
        }
        for function in functions(source) {
            let length = function.last - function.first + 1;
            if length > FUNCTION_LINES && !has_reason(source, &function) {
                findings.push(Finding::new(
                    &source.path,
                    function.first,
                    format!("fn {} has {length} lines (at most {FUNCTION_LINES}, or a `{REASON} why` beside it)", function.name),
                ));
            }
        }
    }
    findings
}

struct Function {
    name: String,
    first: usize,
    last: usize,
}

fn functions(source: &Source) -> Vec<Function> {
    let code = source.code.as_bytes();
    let mut found = Vec::new();
    for at in source.words("fn") {
        let name: String = source.code[at + 2..]
            .trim_start()
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        // `fn(` is a type.
        if name.is_empty() {
            continue;
        }
        let Some(open) = body(code, at) else { continue };
        let Some(close) = closing(code, open) else {
            continue;
        };
        found.push(Function {
            name,
            first: source.line_of(at),
            last: source.line_of(close),
        });
    }
    found
}

/// The brace that opens the body; `None` for a declaration that ends in `;`.
fn body(code: &[u8], from: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (at, &byte) in code.iter().enumerate().skip(from) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b';' if depth == 0 => return None,
            b'{' if depth == 0 => return Some(at),
            _ => {}
        }
    }
    None
}

fn closing(code: &[u8], open: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (at, &byte) in code.iter().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

fn has_reason(source: &Source, function: &Function) -> bool {
    source
        .text
        .lines()
        .skip(function.first.saturating_sub(1 + LINES_ABOVE))
        .take(function.last + LINES_ABOVE - function.first + 1)
        .any(|line| {
            line.trim_start()
                .strip_prefix(REASON)
                .is_some_and(|why| why.trim().len() > 10)
        })
}

#[cfg(test)]
mod tests {
    use super::super::testing::source;
    use super::*;

    fn function(lines: usize, reason: &str) -> String {
        format!(
            "{reason}\nfn long<T>(a: [u8; 4]) -> u8 {{\n{}}}\n",
            "    work(\"}\");\n".repeat(lines - 2)
        )
    }

    #[test]
    fn a_long_function_is_found_and_a_reason_excuses_it() {
        let found = check(&[source("a.rs", &function(81, ""))]);
        assert_eq!((found.len(), found[0].line), (1, 2));
        assert!(found[0].what.contains("fn long has 81 lines"));
        assert!(check(&[source("a.rs", &function(80, ""))]).is_empty());
        assert!(
            check(&[source(
                "a.rs",
                &function(200, "// long: one table that reads better whole")
            )])
            .is_empty()
        );
        assert_eq!(
            check(&[source("a.rs", &function(200, "// long:"))]).len(),
            1
        );
    }

    #[test]
    fn a_long_file_is_found() {
        assert_eq!(check(&[source("a.rs", &"// x\n".repeat(801))]).len(), 1);
        assert!(check(&[source("a.rs", &"// x\n".repeat(800))]).is_empty());
    }
}

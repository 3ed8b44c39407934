//! Rust files with comments and literals blanked out, so that rules look at code only.

use std::path::Path;

/// One Rust file.
#[derive(Debug)]
pub struct Source {
    /// Path below the workspace's folder, with `/`.
    pub path: String,
    /// As it is.
    pub text: String,
    /// The same length and lines, with comments, strings and characters replaced by spaces.
    pub code: String,
}

impl Source {
    pub fn new(path: String, text: String) -> Self {
        let code = mask(&text);
        Self { path, text, code }
    }

    /// Line number (from 1) of a byte offset.
    pub fn line_of(&self, offset: usize) -> usize {
        self.text
            .as_bytes()
            .iter()
            .take(offset)
            .filter(|&&byte| byte == b'\n')
            .count()
            + 1
    }

    /// Offsets where `word` stands in the code as a word of its own.
    pub fn words<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        let is_word =
            |byte: Option<&u8>| byte.is_some_and(|&b| b.is_ascii_alphanumeric() || b == b'_');
        let bytes = self.code.as_bytes();
        self.code
            .match_indices(word)
            .map(|(at, _)| at)
            .filter(move |&at| {
                !is_word(at.checked_sub(1).and_then(|before| bytes.get(before)))
                    && !is_word(bytes.get(at + word.len()))
            })
    }
}

/// All Rust files of the workspace, sorted by path.
pub fn read_all(root: &Path) -> Result<Vec<Source>, String> {
    let mut files = Vec::new();
    for top in ["crates", "xtask", "fuzz"] {
        walk(&root.join(top), &mut files)?;
    }
    files.sort();
    files
        .iter()
        .map(|path| {
            let text = std::fs::read_to_string(path)
                .map_err(|err| format!("{}: {err}", path.display()))?;
            let below = path.strip_prefix(root).unwrap_or(path);
            Ok(Source::new(
                below.to_string_lossy().replace('\\', "/"),
                text,
            ))
        })
        .collect()
}

fn walk(folder: &Path, out: &mut Vec<std::path::PathBuf>) -> Result<(), String> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Ok(());
    };
    for entry in entries {
        let path = entry
            .map_err(|err| format!("{}: {err}", folder.display()))?
            .path();
        if path.is_dir() {
            if !path.ends_with("target") {
                walk(&path, out)?;
            }
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            out.push(path);
        }
    }
    Ok(())
}

/// Blanks comments, strings and character literals. Newlines stay where they are.
fn mask(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => find(bytes, at, b"\n"),
            b'/' if bytes[at..].starts_with(b"/*") => block_comment(bytes, at),
            b'"' => string(bytes, at),
            b'r' | b'b' | b'c' if !before_is_word(bytes, at) => match raw_string(bytes, at) {
                Some(end) => end,
                None => {
                    at += 1;
                    continue;
                }
            },
            b'\'' => match character(bytes, at) {
                Some(end) => end,
                None => {
                    at += 1;
                    continue;
                }
            },
            _ => {
                at += 1;
                continue;
            }
        };
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn before_is_word(bytes: &[u8], at: usize) -> bool {
    at.checked_sub(1)
        .is_some_and(|before| bytes[before].is_ascii_alphanumeric() || bytes[before] == b'_')
}

fn find(bytes: &[u8], from: usize, what: &[u8]) -> usize {
    bytes[from..]
        .windows(what.len())
        .position(|window| window == what)
        .map_or(bytes.len(), |at| from + at)
}

fn block_comment(bytes: &[u8], start: usize) -> usize {
    let mut depth = 0;
    let mut at = start;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    at
}

fn string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// `r"`, `r#"`, `br"`, `b"`, `c"` and their ends.
fn raw_string(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    let mut raw = false;
    while let Some(b'r' | b'b' | b'c') = bytes.get(at) {
        raw |= bytes[at] == b'r';
        at += 1;
        if at - start > 2 {
            return None;
        }
    }
    if !raw {
        return match bytes.get(at) {
            Some(b'"') => Some(string(bytes, at)),
            Some(b'\'') => character(bytes, at),
            _ => None,
        };
    }
    let hashes = bytes[at..].iter().take_while(|&&byte| byte == b'#').count();
    at += hashes;
    if bytes.get(at) != Some(&b'"') {
        return None;
    }
    let close: Vec<u8> = std::iter::once(b'"')
        .chain(std::iter::repeat_n(b'#', hashes))
        .collect();
    Some((find(bytes, at + 1, &close) + close.len()).min(bytes.len()))
}

/// A character literal; `None` for a lifetime.
fn character(bytes: &[u8], start: usize) -> Option<usize> {
    if bytes.get(start + 1) == Some(&b'\\') {
        let close = find(bytes, start + 3, b"'");
        return Some((close + 1).min(bytes.len()));
    }
    // One character of 1 to 4 bytes, then the quote.
    let first = *bytes.get(start + 1)?;
    let length = match first {
        0..0x80 => 1,
        0x80..0xe0 => 2,
        0xe0..0xf0 => 3,
        _ => 4,
    };
    (bytes.get(start + 1 + length) == Some(&b'\'')).then_some(start + 2 + length)
}

#[cfg(test)]
mod tests {
    use super::super::testing::source;

    #[test]
    fn literals_and_comments_are_blanked_and_code_stays() {
        let text = "let a = \"un/*safe\"; // unsafe\nlet b = r#\"x\"unsafe\"#; /* /* unsafe */ */ let c = '\"';\nfn f<'a>(x: &'a str) -> char { '\\'' }\nlet d = b\"unsafe\"; let e = 'é'; unsafe {}";
        let file = source("a.rs", text);
        assert_eq!(file.code.len(), text.len());
        assert_eq!(file.code.lines().count(), text.lines().count());
        let found: Vec<usize> = file.words("unsafe").map(|at| file.line_of(at)).collect();
        assert_eq!(found, [4]);
        assert!(file.code.contains("fn f<'a>(x: &'a str) -> char {"));
    }

    #[test]
    fn words_are_whole() {
        let file = source("a.rs", "unsafe_op(); not_unsafe(); unsafe { }");
        assert_eq!(file.words("unsafe").count(), 1);
    }
}

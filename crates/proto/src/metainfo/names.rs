//! Which names may become files, and when two of them are the same.

use super::error::{MetainfoError, PathFault};
use std::borrow::Cow;
use unicode_normalization::UnicodeNormalization;

/// Longest component of a path, in bytes: the limit of ext4, XFS, APFS and (in UTF-16) NTFS.
pub const MAX_COMPONENT_BYTES: usize = 255;

/// Longest path, in bytes, separators counted: Linux's `PATH_MAX`.
pub const MAX_PATH_BYTES: usize = 4096;

/// Names that Windows keeps for devices, also with an extension (Microsoft, "Naming Files, Paths,
/// and Namespaces"). `COM1`..`LPT9` are tested apart.
const DEVICES: [&str; 7] = ["con", "prn", "aux", "nul", "conin$", "conout$", "clock$"];

/// Which names a torrent may have. What is unsafe anywhere (`..`, separators, NUL, control characters, two
/// entries of one name, ...) is refused under both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NamePolicy {
    /// Names that make the same tree on every system: no names of Windows devices, none that end in
    /// a dot or a space, none that begin like a drive, no two that differ only by case.
    #[default]
    Portable,
    /// Names that this system can hold: on Unix all of those; on macOS, whose volumes
    /// do not tell case apart unless made so, all but names that differ only by case; on Windows
    /// none. One folder may still be on a file system that holds less (exFAT): then the system
    /// refuses a file, or the check of whole files does.
    Local,
}

impl NamePolicy {
    /// Whether names that only Windows has trouble with are taken.
    const fn windows_may_fail(self) -> bool {
        matches!(self, Self::Local) && !cfg!(windows)
    }

    /// Whether names that differ by case are different names.
    const fn case_counts(self) -> bool {
        matches!(self, Self::Local) && !cfg!(any(windows, target_vendor = "apple"))
    }
}

/// Whether `component` may be the name of one file or folder, on every system.
///
/// ```
/// use samara_proto::metainfo::{PathFault, check_component};
/// assert_eq!(check_component("notes.txt"), Ok(()));
/// assert_eq!(check_component(".."), Err(PathFault::DotDot));
/// ```
pub fn check_component(component: &str) -> Result<(), PathFault> {
    check_component_with(component, NamePolicy::Portable)
}

/// Whether `component` may be the name of one file or folder under `names`.
pub fn check_component_with(component: &str, names: NamePolicy) -> Result<(), PathFault> {
    match component {
        "" => return Err(PathFault::Empty),
        "." => return Err(PathFault::Dot),
        ".." => return Err(PathFault::DotDot),
        _ => {}
    }
    if component.starts_with(['/', '\\']) {
        return Err(PathFault::Absolute);
    }
    for char in component.chars() {
        match char {
            '\0' => return Err(PathFault::Nul),
            '/' | '\\' => return Err(PathFault::Separator),
            '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' => {
                return Err(PathFault::Direction);
            }
            // Line and paragraph separators end a line as well as a control character does.
            '\u{2028}' | '\u{2029}' => return Err(PathFault::Control),
            char if char.is_control() => return Err(PathFault::Control),
            _ => {}
        }
    }
    if component.len() > MAX_COMPONENT_BYTES {
        return Err(PathFault::ComponentTooLong);
    }
    if names.windows_may_fail() {
        return Ok(());
    }
    let mut chars = component.chars();
    if chars.next().is_some_and(|c| c.is_ascii_alphabetic()) && chars.next() == Some(':') {
        return Err(PathFault::Drive);
    }
    if component.ends_with(['.', ' ']) {
        return Err(PathFault::TrailingDotOrSpace);
    }
    if is_device(component) {
        return Err(PathFault::Reserved);
    }
    Ok(())
}

/// Whether `path` may be joined to a folder: at least one component, each safe on every system, not
/// too long.
pub fn check_path<S: AsRef<str>>(path: &[S]) -> Result<(), PathFault> {
    check_path_with(path, NamePolicy::Portable)
}

/// Whether `path` may be joined to a folder under `names`.
pub fn check_path_with<S: AsRef<str>>(path: &[S], names: NamePolicy) -> Result<(), PathFault> {
    if path.is_empty() {
        return Err(PathFault::Empty);
    }
    // "/etc" split at its separators begins with an empty component.
    if path.len() > 1 && path.first().is_some_and(|first| first.as_ref().is_empty()) {
        return Err(PathFault::Absolute);
    }
    path.iter()
        .try_for_each(|component| check_component_with(component.as_ref(), names))?;
    let bytes: usize = path
        .iter()
        .map(|component| component.as_ref().len() + 1)
        .sum();
    if bytes > MAX_PATH_BYTES {
        return Err(PathFault::PathTooLong);
    }
    Ok(())
}

fn is_device(component: &str) -> bool {
    let stem = component.split('.').next().unwrap_or_default().trim_end();
    if DEVICES
        .iter()
        .any(|device| stem.eq_ignore_ascii_case(device))
    {
        return true;
    }
    let mut chars = stem.chars();
    let (Some(a), Some(b), Some(c), Some(digit), None) = (
        chars.next(),
        chars.next(),
        chars.next(),
        chars.next(),
        chars.next(),
    ) else {
        return false;
    };
    let port = [a, b, c].map(|c| c.to_ascii_lowercase());
    (port == ['c', 'o', 'm'] || port == ['l', 'p', 't'])
        && (digit.is_ascii_digit() || matches!(digit, '¹' | '²' | '³'))
}

/// A name as text. Bytes that are not UTF-8 (old clients wrote the encoding of their system) become
/// `%XX`: every host makes the same name of them, and names that differ stay different, which
/// the customary U+FFFD would not give.
pub(super) fn text(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = core::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        for byte in chunk.invalid() {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    Cow::Owned(out)
}

/// The form in which two paths are equal if a file system takes them for one: composed (HFS+, APFS)
/// and, unless `case_counts`, case folded (APFS, NTFS). Components end in NUL, which sorts before
/// everything, so that in sorted order what lies below a path follows that path at once.
fn folded(path: &[String], case_counts: bool) -> String {
    let mut out = String::with_capacity(path.iter().map(|c| c.len() + 1).sum());
    for component in path {
        match (component.is_ascii(), case_counts) {
            (true, true) => out.push_str(component),
            (true, false) => out.extend(component.chars().map(|c| c.to_ascii_lowercase())),
            (false, true) => out.extend(component.nfc()),
            (false, false) => {
                let lower = component.nfc().flat_map(char::to_lowercase);
                let lower = lower.map(|c| match c {
                    'ς' => 'σ',
                    'ſ' => 's',
                    c => c,
                });
                out.extend(lower.nfc());
            }
        }
        out.push('\0');
    }
    out
}

/// Refuses two paths that are the same once folded, and a path that lies below another one: all of
/// `paths` are files or links. O(n log n).
pub(super) fn check_unique<'a>(
    paths: impl Iterator<Item = &'a Vec<String>>,
    names: NamePolicy,
) -> Result<(), MetainfoError> {
    let mut all: Vec<(String, &Vec<String>)> = paths
        .map(|path| (folded(path, names.case_counts()), path))
        .collect();
    all.sort_unstable();
    for pair in all.windows(2) {
        let [(a, first), (b, second)] = pair else {
            continue;
        };
        if !b.starts_with(a.as_str()) {
            continue;
        }
        let shown = (first.join("/"), second.join("/"));
        let same_case = folded(second, true).starts_with(&folded(first, true));
        return Err(match shown {
            (first, second) if !same_case => MetainfoError::CaseClash(first, second),
            (first, second) if a == b => MetainfoError::Duplicate(first, second),
            (first, second) => MetainfoError::FileIsFolder(first, second),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unsafe_components() -> Vec<(String, PathFault)> {
        let long = "x".repeat(256);
        [
            ("", PathFault::Empty),
            (".", PathFault::Dot),
            ("..", PathFault::DotDot),
            ("/etc", PathFault::Absolute),
            ("\\\\server", PathFault::Absolute),
            ("a/b", PathFault::Separator),
            ("a\\b", PathFault::Separator),
            ("a\0", PathFault::Nul),
            ("a\nb", PathFault::Control),
            ("a\u{1b}[2J", PathFault::Control),
            ("a\u{7f}", PathFault::Control),
            ("a\u{85}", PathFault::Control),
            ("a\u{2028}b", PathFault::Control),
            ("cod\u{202e}txt.exe", PathFault::Direction),
            ("a\u{2066}", PathFault::Direction),
            ("C:", PathFault::Drive),
            ("c:x", PathFault::Drive),
            ("CON", PathFault::Reserved),
            ("nul.txt", PathFault::Reserved),
            ("Com1.tar.gz", PathFault::Reserved),
            ("LPT9", PathFault::Reserved),
            ("lpt³", PathFault::Reserved),
            ("aux .txt", PathFault::Reserved),
            ("CONIN$", PathFault::Reserved),
            ("a.", PathFault::TrailingDotOrSpace),
            ("a ", PathFault::TrailingDotOrSpace),
            ("...", PathFault::TrailingDotOrSpace),
            (&long, PathFault::ComponentTooLong),
        ]
        .map(|(component, fault)| (component.to_owned(), fault))
        .to_vec()
    }

    #[test]
    fn components_that_are_refused() {
        for (component, fault) in unsafe_components() {
            assert_eq!(check_component(&component), Err(fault), "{component:?}");
        }
    }

    #[test]
    fn components_that_are_fine() {
        for component in [
            "a",
            ".hidden",
            "..a",
            "a..b",
            "com",
            "com10",
            "console",
            "null",
            "конец",
            "日本語.txt",
            "Show: part 1",
            "a b",
            "~",
            "-rf",
            "e\u{301}",
            "👨\u{200d}👩",
            &"x".repeat(255),
        ] {
            assert_eq!(check_component(component), Ok(()), "{component:?}");
        }
    }

    #[test]
    fn paths() {
        assert_eq!(check_path::<&str>(&[]), Err(PathFault::Empty));
        assert_eq!(check_path(&["", "etc"]), Err(PathFault::Absolute));
        assert_eq!(check_path(&["a", ""]), Err(PathFault::Empty));
        assert_eq!(check_path(&["a", "..", "b"]), Err(PathFault::DotDot));
        let part = "x".repeat(255);
        assert_eq!(check_path(&vec![part.as_str(); 16]), Ok(()));
        assert_eq!(
            check_path(&vec![part.as_str(); 17]),
            Err(PathFault::PathTooLong)
        );
    }

    #[test]
    fn bytes_that_are_not_utf8_stay_apart() {
        assert_eq!(text(b"caf\xe9"), "caf%E9");
        assert_eq!(text(b"caf\xe8"), "caf%E8");
        assert_eq!(text("café".as_bytes()), "café");
        assert_eq!(text(b"\xed\xa0\x80/"), "%ED%A0%80/");
    }

    fn unique(paths: &[&str], names: NamePolicy) -> Result<(), MetainfoError> {
        let paths: Vec<Vec<String>> = paths
            .iter()
            .map(|path| path.split('/').map(str::to_owned).collect())
            .collect();
        check_unique(paths.iter(), names)
    }

    #[test]
    fn the_same_everywhere() {
        for names in [NamePolicy::Portable, NamePolicy::Local] {
            let apart = ["a", "b", "a.b", "a b", "ab/c", "ab/d"];
            assert_eq!(unique(&apart, names), Ok(()));
            for pair in [["a", "a"], ["a/b", "a/b"], ["é", "e\u{301}"]] {
                let error = unique(&[pair[0], "m", pair[1]], names).expect_err("the same");
                assert!(matches!(error, MetainfoError::Duplicate(..)), "{error:?}");
            }
            for pair in [["a", "a/b"], ["a/b", "a"], ["é", "e\u{301}/b/c"]] {
                // "a!" and "a b" sort between "a" and "a/b" as plain text.
                let error = unique(&[pair[0], "a!", "a b", pair[1]], names).expect_err("a clash");
                assert!(
                    matches!(error, MetainfoError::FileIsFolder(..)),
                    "{error:?}"
                );
            }
        }
    }

    #[test]
    fn the_same_where_case_does_not_count() {
        for pair in [
            ["a/B", "a/b"],
            ["A/b", "a/b"],
            ["É", "e\u{301}"],
            ["Σας", "σασ"],
            ["A", "a/b/c"],
            ["A/b/c", "a"],
        ] {
            let paths = [pair[0], "a!", "m", pair[1]];
            let error = unique(&paths, NamePolicy::Portable).expect_err("a clash");
            assert!(matches!(error, MetainfoError::CaseClash(..)), "{error:?}");
            assert!(error.to_string().contains("--any-names"), "{error}");
            let local = unique(&paths, NamePolicy::Local);
            assert_eq!(local.is_ok(), NamePolicy::Local.case_counts(), "{local:?}");
        }
    }

    #[cfg(not(windows))]
    #[test]
    fn attack_07_what_only_windows_cannot_hold() {
        for (component, fault) in [
            ("aux.c", PathFault::Reserved),
            ("CON", PathFault::Reserved),
            ("lpt³", PathFault::Reserved),
            ("a.", PathFault::TrailingDotOrSpace),
            ("a ", PathFault::TrailingDotOrSpace),
            ("...", PathFault::TrailingDotOrSpace),
            // Perl's manual pages.
            ("B::Deparse.3perl.gz", PathFault::Drive),
        ] {
            assert_eq!(check_component(component), Err(fault), "{component:?}");
            assert!(fault.is_local(), "{component:?}");
            let local = check_component_with(component, NamePolicy::Local);
            assert_eq!(local, Ok(()), "{component:?}");
            assert_eq!(
                check_path_with(&["n", component], NamePolicy::Local),
                Ok(())
            );
        }
        for (component, fault) in unsafe_components() {
            let local = check_component_with(&component, NamePolicy::Local);
            let refused = if fault.is_local() { Ok(()) } else { Err(fault) };
            assert_eq!(local, refused, "{component:?}");
        }
    }
}

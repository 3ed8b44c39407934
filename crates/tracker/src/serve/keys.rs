//! Private mode: who may use the tracker, by a key in the path of its announce address
//! (`http://tracker/KEY/announce`).
//!
//! Keys are not kept: what is kept of each is a hash under a secret of this process (SipHash, twice 64
//! bits). Looking one up compares hashes that nobody outside can compute, so that the time it takes says
//! nothing about any key. Keys appear in no log, page, metric or error.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::{error, fmt, fs, io};

/// Most keys.
pub const MAX_KEYS: usize = 1_000_000;

/// Shortest key: 16 characters that were drawn at random are 80 bits and more.
pub const MIN_KEY: usize = 16;

/// Longest key.
pub const MAX_KEY: usize = 128;

/// Most names whose announces are counted one by one; others are counted together. A metric with more
/// series than this costs the monitoring more than the tracker.
pub const MAX_COUNTED: usize = 100;

/// The keys of a private tracker.
pub(super) struct Keys {
    secrets: [RandomState; 2],
    /// Hashes in order, with the number of the name.
    known: Vec<(u128, u32)>,
    /// Names that are counted, and their announces; the last is of all others.
    counts: Vec<(String, AtomicU64)>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.known.len())
    }
}

/// What is wrong with a file of keys. What stands in the line is not said.
#[derive(Debug)]
pub enum KeysError {
    /// It cannot be read.
    Io(PathBuf, io::Error),
    /// A line holds no key.
    Line(PathBuf, usize),
    /// It has more than [`MAX_KEYS`].
    TooMany(PathBuf),
}

impl fmt::Display for KeysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, error) => write!(f, "the keys in {}: {error}", path.display()),
            Self::Line(path, line) => write!(
                f,
                "the keys in {}: line {line} begins with no key ({MIN_KEY} to {MAX_KEY} letters, \
                 digits, '-' and '_')",
                path.display()
            ),
            Self::TooMany(path) => {
                write!(f, "the keys in {}: more than {MAX_KEYS}", path.display())
            }
        }
    }
}

impl error::Error for KeysError {}

/// Whether `text` could be a key.
fn is_key(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (MIN_KEY..=MAX_KEY).contains(&text.len()) && text.bytes().all(fits)
}

impl Keys {
    /// Reads a file: a key a line, then, if it is to be counted, the name of its owner; what
    /// follows a `#` is for people. Names that `before` has counted go on from there.
    pub(super) fn read(path: &Path, before: Option<&Self>) -> Result<Self, KeysError> {
        let text = fs::read_to_string(path).map_err(|error| KeysError::Io(path.into(), error))?;
        Self::parse(&text, before).map_err(|wrong| match wrong {
            Some(line) => KeysError::Line(path.into(), line),
            None => KeysError::TooMany(path.into()),
        })
    }

    /// The keys; the number of the line that has none, or `None` if there are too many.
    fn parse(text: &str, before: Option<&Self>) -> Result<Self, Option<usize>> {
        let mut keys = Self {
            secrets: [RandomState::new(), RandomState::new()],
            known: Vec::new(),
            counts: Vec::new(),
        };
        let mut numbers = BTreeMap::new();
        for (line, words) in (1..).zip(text.lines()) {
            let words = words.split('#').next().unwrap_or_default();
            let mut words = words.split_whitespace();
            let Some(key) = words.next() else { continue };
            if !is_key(key) {
                return Err(Some(line));
            }
            if keys.known.len() >= MAX_KEYS {
                return Err(None);
            }
            let number = match words.next() {
                Some(name) => match numbers.get(name) {
                    Some(number) => *number,
                    None if keys.counts.len() < MAX_COUNTED => {
                        let number = keys.counts.len() as u32;
                        keys.counts.push((name.to_owned(), AtomicU64::new(0)));
                        numbers.insert(name, number);
                        number
                    }
                    None => u32::MAX,
                },
                None => u32::MAX,
            };
            keys.known.push((keys.hash(key), number));
        }
        keys.counts.push(("others".to_owned(), AtomicU64::new(0)));
        keys.known.sort_unstable();
        keys.known.dedup_by_key(|(hash, _)| *hash);
        for (name, count) in before.map_or([].as_slice(), |before| &before.counts) {
            let same = keys.counts.iter().find(|(other, _)| other == name);
            if let Some((_, to)) = same.or(keys.counts.last()) {
                to.fetch_add(count.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        }
        Ok(keys)
    }

    fn hash(&self, key: &str) -> u128 {
        let [one, two] = &self.secrets;
        u128::from(one.hash_one(key)) << 64 | u128::from(two.hash_one(key))
    }

    /// Whether this is one of the keys; counts an announce of its owner if it is.
    pub(super) fn admits(&self, key: &str) -> bool {
        if key.len() > MAX_KEY {
            return false;
        }
        let hash = self.hash(key);
        let Ok(at) = self.known.binary_search_by_key(&hash, |(known, _)| *known) else {
            return false;
        };
        let number = self.known.get(at).map_or(u32::MAX, |(_, number)| *number);
        let count = self.counts.get(number as usize).or(self.counts.last());
        if let Some((_, count)) = count {
            count.fetch_add(1, Ordering::Relaxed);
        }
        true
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Names and how often they asked; at most [`MAX_COUNTED`] and one for all others.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&str, u64)> {
        self.counts
            .iter()
            .map(|(name, count)| (name.as_str(), count.load(Ordering::Relaxed)))
    }
}

/// Splits a path into the key that it begins with, and the rest: `/KEY/announce` or `/KEY/scrape`. Others
/// are all rest.
pub(super) fn split(path: &str) -> (Option<&str>, &str) {
    for rest in ["/announce", "/scrape"] {
        let key = path
            .strip_suffix(rest)
            .and_then(|key| key.strip_prefix('/'))
            .filter(|key| !key.is_empty() && !key.contains('/'));
        if key.is_some() {
            return (key, rest);
        }
    }
    (None, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: &str = "aaaaaaaaaaaaaaaaaaaa";
    const BOB: &str = "bbbbbbbbbbbbbbbbbbbb";

    #[test]
    fn keys_are_known_and_nothing_else_is() {
        let text = format!("# ours\n{ALICE} alice # since May\n\n{BOB}\n{ALICE} alice\n");
        let keys = Keys::parse(&text, None).expect("read");
        assert_eq!(keys.len(), 2);
        assert!(keys.admits(ALICE) && keys.admits(BOB) && keys.admits(BOB));
        for other in [
            "",
            "a",
            &ALICE[1..],
            &ALICE.to_uppercase(),
            &"a".repeat(200),
        ] {
            assert!(!keys.admits(other), "{other}");
        }
        let counts: Vec<_> = keys.counts().collect();
        assert_eq!(counts, [("alice", 1), ("others", 2)]);
        assert!(!format!("{keys:?}").contains(ALICE));
        // Read again without Bob: what was counted goes on.
        let again = Keys::parse(&format!("{ALICE} alice"), Some(&keys)).expect("read");
        assert!(again.admits(ALICE) && !again.admits(BOB));
        assert_eq!(
            again.counts().collect::<Vec<_>>(),
            [("alice", 2), ("others", 2)]
        );
    }

    #[test]
    fn a_bad_line_is_named_and_not_shown() {
        for bad in ["short", "has/slash/and/is/long", &"x".repeat(129)] {
            assert_eq!(
                Keys::parse(&format!("{ALICE}\n{bad}"), None).err(),
                Some(Some(2))
            );
        }
        let error = KeysError::Line("/etc/keys".into(), 7).to_string();
        assert!(error.contains("line 7") && error.contains("/etc/keys"));
        let empty = Keys::parse("", None).expect("read");
        assert!(empty.len() == 0 && !empty.admits(ALICE));
    }

    #[test]
    fn names_beyond_the_limit_are_counted_together() {
        let text: String = (0..MAX_COUNTED + 50)
            .map(|n| format!("key-number-{n:09} user{n}\n"))
            .collect();
        let keys = Keys::parse(&text, None).expect("read");
        assert!((0..MAX_COUNTED + 50).all(|n| keys.admits(&format!("key-number-{n:09}"))));
        assert_eq!(keys.counts().count(), MAX_COUNTED + 1);
        assert_eq!(keys.counts().last(), Some(("others", 50)));
    }

    #[test]
    fn paths_are_split() {
        assert_eq!(split("/announce"), (None, "/announce"));
        assert_eq!(split("/abc/announce"), (Some("abc"), "/announce"));
        assert_eq!(split("/abc/scrape"), (Some("abc"), "/scrape"));
        assert_eq!(split("//announce"), (None, "//announce"));
        assert_eq!(split("/a/b/announce"), (None, "/a/b/announce"));
        assert_eq!(split("/abc/stats.json"), (None, "/abc/stats.json"));
    }
}

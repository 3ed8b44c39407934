//! Which swarms are served: a list of those that are, or of those that are not.

use samara_proto::{InfoHash, Sha256};
use std::path::{Path, PathBuf};
use std::{error, fmt, fs, io};

/// Most lines of a list: 10 million info-hashes are 200 MB.
pub const MAX_LISTED: usize = 10_000_000;

/// Who is let in.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Access {
    /// Only these, in order, if there is a list.
    allow: Option<Vec<InfoHash>>,
    /// Not these, in order.
    deny: Vec<InfoHash>,
}

/// What is wrong with a list.
#[derive(Debug)]
pub enum AccessError {
    /// It cannot be read.
    Io(PathBuf, io::Error),
    /// A line is no info-hash.
    Line(PathBuf, usize),
    /// It has more than [`MAX_LISTED`] lines.
    TooLong(PathBuf),
}

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, error) => write!(f, "the list {}: {error}", path.display()),
            Self::Line(path, line) => write!(
                f,
                "the list {}: line {line} is no info-hash (40 or 64 hexadecimal digits)",
                path.display()
            ),
            Self::TooLong(path) => {
                write!(
                    f,
                    "the list {}: more than {MAX_LISTED} lines",
                    path.display()
                )
            }
        }
    }
}

impl error::Error for AccessError {}

impl Access {
    /// Reads the lists: an info-hash a line, v1 or v2, in hexadecimal digits; what follows a `#` or a
    /// space is for people. `None` is no list: everybody is allowed, nobody denied.
    pub fn read(allow: Option<&Path>, deny: Option<&Path>) -> Result<Self, AccessError> {
        Ok(Self {
            allow: allow.map(read_list).transpose()?,
            deny: deny.map(read_list).transpose()?.unwrap_or_default(),
        })
    }

    /// Whether everybody is let in.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.allow.is_none() && self.deny.is_empty()
    }

    /// Whether this swarm is let in. A list of denied ones counts more than one of allowed ones.
    #[must_use]
    pub fn admits(&self, info_hash: &InfoHash) -> bool {
        let on = |list: &Vec<InfoHash>| list.binary_search(info_hash).is_ok();
        !on(&self.deny) && self.allow.as_ref().is_none_or(on)
    }
}

fn read_list(path: &Path) -> Result<Vec<InfoHash>, AccessError> {
    let text = fs::read_to_string(path).map_err(|error| AccessError::Io(path.into(), error))?;
    parse(&text).map_err(|wrong| match wrong {
        Some(line) => AccessError::Line(path.into(), line),
        None => AccessError::TooLong(path.into()),
    })
}

/// The list in order; the number of the line that is none, or `None` if there are too many.
fn parse(text: &str) -> Result<Vec<InfoHash>, Option<usize>> {
    let mut out = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default();
        let Some(word) = line.split_whitespace().next() else {
            continue;
        };
        // The swarm of a v2 torrent is the first 20 bytes of its hash (BEP 52).
        let hash = InfoHash::from_hex(word).or_else(|| Sha256::from_hex(word).map(Into::into));
        out.push(hash.ok_or(Some(number))?);
        if out.len() > MAX_LISTED {
            return Err(None);
        }
    }
    out.sort_unstable();
    out.dedup();
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_obeyed() {
        let (one, two) = (InfoHash([1; 20]), InfoHash([2; 20]));
        let text = format!(
            "# ours\n\n{one}  Big film # 2024\n {}\r\n{one}\n",
            "02".repeat(32)
        );
        let list = parse(&text).expect("read");
        assert_eq!(list, [one, two]);
        let other = InfoHash([3; 20]);
        let admits = |access: &Access| [one, two, other].map(|hash| access.admits(&hash));
        let open = Access::default();
        assert!(open.is_open());
        assert_eq!(admits(&open), [true; 3]);
        let allow = Access {
            allow: Some(list.clone()),
            deny: vec![two],
        };
        assert_eq!(admits(&allow), [true, false, false]);
        let deny = Access {
            allow: None,
            deny: list,
        };
        assert_eq!(admits(&deny), [false, false, true]);
        assert!(!allow.is_open() && !deny.is_open());
        // An empty list allows nobody, which is not the same as no list.
        let nobody = Access {
            allow: Some(Vec::new()),
            deny: Vec::new(),
        };
        assert_eq!(admits(&nobody), [false; 3]);
        assert_eq!(parse("\nxyz"), Err(Some(2)));
        assert_eq!(parse(&"a".repeat(41)), Err(Some(1)));
        let error = Access::read(Some(Path::new("/does/not/exist")), None).expect_err("no file");
        assert!(error.to_string().contains("/does/not/exist"));
    }
}

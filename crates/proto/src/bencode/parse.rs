//! Reading bencode.

use core::fmt;

/// Deepest nesting of lists and dictionaries. A v2 file tree is one level a folder, and paths longer
/// than this are refused by file systems (4,096 bytes) long before.
pub const MAX_DEPTH: usize = 256;

/// Why bytes are not bencode, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    /// What is wrong.
    pub kind: Kind,
    /// Offset of the first byte that is wrong.
    pub at: usize,
}

/// What can be wrong with bencode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The bytes end inside a value.
    Truncated,
    /// A byte that starts or continues nothing.
    Unexpected,
    /// An integer with leading zeros, `-0`, no digits, or beyond 64 bits.
    Integer,
    /// A string longer than what follows.
    Length,
    /// A dictionary key that is not a string, out of order, or there twice.
    Key,
    /// Nested deeper than [`MAX_DEPTH`].
    Depth,
    /// Bytes after the value.
    Trailing,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            Kind::Truncated => "it ends too early",
            Kind::Unexpected => "unexpected byte",
            Kind::Integer => "malformed or too large an integer",
            Kind::Length => "a string is longer than what is left",
            Kind::Key => "dictionary keys are not sorted, or one is there twice",
            Kind::Depth => "nested too deeply",
            Kind::Trailing => "bytes after the end",
        };
        write!(f, "not valid bencode: {what} (at byte {})", self.at)
    }
}

impl core::error::Error for Error {}

/// A value that borrows from the bytes it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// `i42e`
    Int(i64),
    /// `4:spam`
    Bytes(&'a [u8]),
    /// `l...e`
    List(Vec<Self>),
    /// `d...e`
    Dict(Dict<'a>),
}

/// A dictionary: keys sorted, each once, and the bytes it was written as.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Dict<'a> {
    entries: Vec<(&'a [u8], Value<'a>)>,
    raw: &'a [u8],
}

impl<'a> Dict<'a> {
    /// The value of `key`. O(log n).
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value<'a>> {
        let at = self
            .entries
            .binary_search_by_key(&key.as_bytes(), |(key, _)| key)
            .ok()?;
        Some(&self.entries.get(at)?.1)
    }

    /// The integer at `key`.
    #[must_use]
    pub fn int(&self, key: &str) -> Option<i64> {
        self.get(key)?.as_int()
    }

    /// The byte string at `key`.
    #[must_use]
    pub fn bytes(&self, key: &str) -> Option<&'a [u8]> {
        self.get(key)?.as_bytes()
    }

    /// The byte string at `key`, if it is UTF-8.
    #[must_use]
    pub fn str(&self, key: &str) -> Option<&'a str> {
        core::str::from_utf8(self.bytes(key)?).ok()
    }

    /// The list at `key`.
    #[must_use]
    pub fn list(&self, key: &str) -> Option<&[Value<'a>]> {
        self.get(key)?.as_list()
    }

    /// The dictionary at `key`.
    #[must_use]
    pub fn dict(&self, key: &str) -> Option<&Self> {
        self.get(key)?.as_dict()
    }

    /// All entries in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &Value<'a>)> {
        self.entries.iter().map(|(key, value)| (*key, value))
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The bytes of the dictionary, from its `d` to its `e`: what an info-hash is taken of.
    #[must_use]
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }
}

impl<'a> Value<'a> {
    /// The integer, if it is one.
    #[must_use]
    pub fn as_int(&self) -> Option<i64> {
        if let Self::Int(int) = self {
            Some(*int)
        } else {
            None
        }
    }

    /// The byte string, if it is one.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&'a [u8]> {
        if let Self::Bytes(bytes) = self {
            Some(bytes)
        } else {
            None
        }
    }

    /// The list, if it is one.
    #[must_use]
    pub fn as_list(&self) -> Option<&[Self]> {
        if let Self::List(list) = self {
            Some(list)
        } else {
            None
        }
    }

    /// The dictionary, if it is one.
    #[must_use]
    pub fn as_dict(&self) -> Option<&Dict<'a>> {
        if let Self::Dict(dict) = self {
            Some(dict)
        } else {
            None
        }
    }
}

/// Reads one value that is all of `bytes`.
pub fn parse(bytes: &[u8]) -> Result<Value<'_>, Error> {
    let (value, used) = parse_prefix(bytes)?;
    if used < bytes.len() {
        return Err(Error {
            kind: Kind::Trailing,
            at: used,
        });
    }
    Ok(value)
}

/// Reads one value and says how many bytes it took (extension messages carry raw bytes after one).
pub fn parse_prefix(bytes: &[u8]) -> Result<(Value<'_>, usize), Error> {
    Parser { bytes, at: 0 }.run()
}

/// A list or dictionary that has been opened and not yet closed.
enum Open<'a> {
    List(Vec<Value<'a>>),
    Dict {
        entries: Vec<(&'a [u8], Value<'a>)>,
        key: Option<&'a [u8]>,
        start: usize,
    },
}

struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Parser<'a> {
    fn run(mut self) -> Result<(Value<'a>, usize), Error> {
        let mut stack: Vec<Open<'a>> = Vec::new();
        loop {
            let start = self.at;
            let byte = self.peek()?;
            let done = match byte {
                b'i' => {
                    self.at += 1;
                    Value::Int(self.integer(b'e')?)
                }
                b'0'..=b'9' => Value::Bytes(self.string()?),
                b'l' | b'd' => {
                    if stack.len() == MAX_DEPTH {
                        return Err(self.error(Kind::Depth));
                    }
                    self.at += 1;
                    stack.push(if byte == b'l' {
                        Open::List(Vec::new())
                    } else {
                        Open::Dict {
                            entries: Vec::new(),
                            key: None,
                            start,
                        }
                    });
                    self.next_key(&mut stack)?;
                    continue;
                }
                b'e' => match stack.pop() {
                    Some(Open::List(list)) => {
                        self.at += 1;
                        Value::List(list)
                    }
                    Some(Open::Dict {
                        entries,
                        key: None,
                        start,
                    }) => {
                        self.at += 1;
                        Value::Dict(Dict {
                            entries,
                            raw: self.bytes.get(start..self.at).unwrap_or_default(),
                        })
                    }
                    _ => return Err(self.error(Kind::Unexpected)),
                },
                _ => return Err(self.error(Kind::Unexpected)),
            };
            match stack.last_mut() {
                None => return Ok((done, self.at)),
                Some(Open::List(list)) => list.push(done),
                Some(Open::Dict { entries, key, .. }) => match key.take() {
                    Some(key) => entries.push((key, done)),
                    None => {
                        return Err(Error {
                            kind: Kind::Key,
                            at: start,
                        });
                    }
                },
            }
            self.next_key(&mut stack)?;
        }
    }

    /// If a dictionary is open and does not end here, its next key is.
    fn next_key(&mut self, stack: &mut [Open<'a>]) -> Result<(), Error> {
        let Some(Open::Dict { entries, key, .. }) = stack.last_mut() else {
            return Ok(());
        };
        let start = self.at;
        match self.peek()? {
            b'e' => Ok(()),
            b'0'..=b'9' => {
                let found = self.string()?;
                if entries.last().is_some_and(|(last, _)| *last >= found) {
                    return Err(Error {
                        kind: Kind::Key,
                        at: start,
                    });
                }
                *key = Some(found);
                Ok(())
            }
            _ => Err(Error {
                kind: Kind::Key,
                at: start,
            }),
        }
    }

    fn peek(&self) -> Result<u8, Error> {
        self.bytes
            .get(self.at)
            .copied()
            .ok_or_else(|| self.error(Kind::Truncated))
    }

    fn string(&mut self) -> Result<&'a [u8], Error> {
        let start = self.at;
        let len = self.integer(b':')?;
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let text = usize::try_from(len).ok().and_then(|len| rest.get(..len));
        let text = text.ok_or(Error {
            kind: Kind::Length,
            at: start,
        })?;
        self.at += text.len();
        Ok(text)
    }

    /// Digits up to and including `end`.
    fn integer(&mut self, end: u8) -> Result<i64, Error> {
        let start = self.at;
        let bad = Error {
            kind: Kind::Integer,
            at: start,
        };
        let negative = end == b'e' && self.peek()? == b'-';
        self.at += usize::from(negative);
        let first = self.at;
        let mut value: i64 = 0;
        loop {
            let byte = self.peek()?;
            if byte == end {
                break;
            }
            if !byte.is_ascii_digit() {
                return Err(bad);
            }
            let digit = i64::from(byte - b'0');
            let next = value.checked_mul(10);
            value = if negative {
                next.and_then(|value| value.checked_sub(digit))
            } else {
                next.and_then(|value| value.checked_add(digit))
            }
            .ok_or(bad)?;
            self.at += 1;
        }
        let digits = self.at - first;
        let leading_zero = digits > 1 && self.bytes.get(first) == Some(&b'0');
        if digits == 0 || leading_zero || (negative && value == 0) {
            return Err(bad);
        }
        self.at += 1;
        Ok(value)
    }

    fn error(&self, kind: Kind) -> Error {
        Error { kind, at: self.at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(bytes: &[u8]) -> Kind {
        parse(bytes).expect_err("must be refused").kind
    }

    #[test]
    fn reads_what_bep_3_shows() {
        assert_eq!(parse(b"4:spam"), Ok(Value::Bytes(b"spam")));
        assert_eq!(parse(b"i-3e"), Ok(Value::Int(-3)));
        assert_eq!(parse(b"i0e"), Ok(Value::Int(0)));
        assert_eq!(parse(b"le"), Ok(Value::List(vec![])));
        let value = parse(b"d3:cow3:moo4:spaml1:a1:bee").expect("valid");
        let dict = value.as_dict().expect("a dictionary");
        assert_eq!(dict.str("cow"), Some("moo"));
        assert_eq!(dict.list("spam").map(<[_]>::len), Some(2));
        assert_eq!(parse(b"i9223372036854775807e"), Ok(Value::Int(i64::MAX)));
        assert_eq!(parse(b"i-9223372036854775808e"), Ok(Value::Int(i64::MIN)));
    }

    #[test]
    fn keeps_the_raw_bytes_of_dictionaries() {
        let bytes = b"d4:infod1:ai1e1:bd1:ci2eee1:zi3ee";
        let value = parse(bytes).expect("valid");
        let info = value.as_dict().and_then(|d| d.dict("info")).expect("there");
        assert_eq!(info.raw(), b"d1:ai1e1:bd1:ci2eee");
    }

    #[test]
    fn attack_10_refuses_what_is_not_canonical() {
        for (bytes, want) in [
            (&b"i01e"[..], Kind::Integer),
            (b"i-0e", Kind::Integer),
            (b"ie", Kind::Integer),
            (b"i-e", Kind::Integer),
            (b"i9223372036854775808e", Kind::Integer),
            (b"i1", Kind::Truncated),
            (b"01:a", Kind::Integer),
            (b"5:spam", Kind::Length),
            (b"99999999999999999999:a", Kind::Integer),
            (b"d1:bi1e1:ai2ee", Kind::Key),
            (b"d1:ai1e1:ai2ee", Kind::Key),
            (b"di1ei2ee", Kind::Key),
            (b"d1:ae", Kind::Unexpected),
            (b"l", Kind::Truncated),
            (b"", Kind::Truncated),
            (b"i1ei2e", Kind::Trailing),
            (b"x", Kind::Unexpected),
            (b"e", Kind::Unexpected),
            (b"-1:a", Kind::Unexpected),
        ] {
            assert_eq!(kind(bytes), want, "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn attack_10_depth_is_bounded_and_costs_no_stack() {
        let deep = |n: usize| [vec![b'l'; n], vec![b'e'; n]].concat();
        assert!(parse(&deep(MAX_DEPTH)).is_ok());
        assert_eq!(kind(&deep(MAX_DEPTH + 1)), Kind::Depth);
        assert_eq!(kind(&vec![b'l'; 10_000_000]), Kind::Depth);
        assert_eq!(kind(&b"d1:a".repeat(1_000_000)), Kind::Depth);
    }

    #[test]
    fn every_prefix_of_a_valid_value_is_an_error_and_no_panic() {
        let whole = b"d1:ali1ei-20ee3:foo3:bar4:infod6:lengthi5eee";
        assert!(parse(whole).is_ok());
        for end in 0..whole.len() {
            assert!(parse(&whole[..end]).is_err());
        }
    }
}

//! Reading the dictionaries of foreign trackers, which are not always canonical.
//!
//! [`crate::bencode::parse`] refuses keys that are out of order or there twice, as it must where a
//! hash is taken of the bytes. A tracker's reply is never hashed, and trackers written in scripting
//! languages do send their keys in whatever order a map gives them; every other client accepts that.
//! So a reply is cut into keys and raw values here, in any order (the first of two equal keys
//! counts), and only the values that are wanted are looked at. Bytes after the dictionary are
//! ignored: some servers add a line end.
//!
//! Like the strict reader this one does not recurse on input, and it allocates nothing but the list
//! of entries, whose number is bounded by the length of the reply.

use crate::bencode::MAX_DEPTH;

/// The entries of one dictionary, values raw.
#[derive(Debug)]
pub(super) struct LooseDict<'a> {
    entries: Vec<(&'a [u8], &'a [u8])>,
}

impl<'a> LooseDict<'a> {
    /// Reads the dictionary that `bytes` begin with; `None` if they do not, or if it is cut short.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(b"d")?;
        let mut entries = Vec::new();
        while !rest.starts_with(b"e") {
            let (key, after) = string(rest)?;
            let (value, after) = split_value(after)?;
            entries.push((key, value));
            rest = after;
        }
        Some(Self { entries })
    }

    /// The raw value of `key`. O(n), n is a handful.
    pub(super) fn raw(&self, key: &str) -> Option<&'a [u8]> {
        self.entries
            .iter()
            .find(|(name, _)| *name == key.as_bytes())
            .map(|(_, value)| *value)
    }

    /// The byte string at `key`.
    pub(super) fn bytes(&self, key: &str) -> Option<&'a [u8]> {
        string(self.raw(key)?).map(|(bytes, _)| bytes)
    }

    /// The text at `key`; bytes that are not UTF-8 become U+FFFD.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        self.bytes(key)
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    /// The integer at `key`. A number in a string counts too: some trackers quote theirs.
    pub(super) fn int(&self, key: &str) -> Option<i64> {
        let raw = self.raw(key)?;
        let digits = match raw.strip_prefix(b"i") {
            Some(rest) => rest.strip_suffix(b"e")?,
            None => string(raw)?.0,
        };
        core::str::from_utf8(digits).ok()?.parse().ok()
    }

    /// The count at `key`: negative ones are as good as none.
    pub(super) fn count(&self, key: &str) -> Option<u32> {
        let value = self.int(key).filter(|value| *value >= 0)?;
        Some(u32::try_from(value).unwrap_or(u32::MAX))
    }

    /// The dictionary at `key`.
    pub(super) fn dict(&self, key: &str) -> Option<Self> {
        Self::read(self.raw(key)?)
    }

    /// Keys and raw values in the order in which they came.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.entries.iter().copied()
    }
}

/// The raw elements of the list that `bytes` begin with; it ends early where the bytes do.
pub(super) fn elements(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes.strip_prefix(b"l").unwrap_or_default();
    core::iter::from_fn(move || {
        let (value, after) = split_value(rest)?;
        rest = after;
        Some(value)
    })
}

/// The string that `bytes` begin with, and what follows it.
fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    // 10 digits are more than MAX_REPLY has, and keep the search for the colon short.
    let colon = bytes.iter().take(11).position(|byte| *byte == b':')?;
    let digits = bytes.get(..colon)?;
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let len: usize = core::str::from_utf8(digits).ok()?.parse().ok()?;
    bytes.get(colon + 1..)?.split_at_checked(len)
}

/// The raw bytes of the value that `bytes` begin with, and what follows it.
fn split_value(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut rest = bytes;
    let mut depth = 0_usize;
    loop {
        match rest.first()? {
            b'i' => {
                // 19 digits and a sign; looking no further keeps a reply of `iiii...` linear.
                let end = rest.iter().take(23).position(|byte| *byte == b'e')?;
                rest = rest.get(end + 1..)?;
            }
            b'l' | b'd' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return None;
                }
                rest = rest.get(1..)?;
            }
            b'e' => {
                depth = depth.checked_sub(1)?;
                rest = rest.get(1..)?;
            }
            _ => rest = string(rest)?.1,
        }
        if depth == 0 {
            return Some(bytes.split_at(bytes.len() - rest.len()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_order_and_a_line_end() {
        let dict = LooseDict::read(b"d1:zi5e1:a3:foo1:zi6e1:ld1:xlee1:q2:-7e\r\n").expect("read");
        assert_eq!(dict.int("z"), Some(5));
        assert_eq!(dict.bytes("a"), Some(&b"foo"[..]));
        assert_eq!(dict.raw("l"), Some(&b"d1:xlee"[..]));
        assert_eq!(dict.int("q"), Some(-7));
        assert_eq!(dict.count("q"), None);
        assert!(dict.dict("l").is_some_and(|inner| inner.raw("x").is_some()));
    }

    #[test]
    fn what_is_cut_short_or_absurd_is_none() {
        let whole = b"d1:ali1ei-20ee3:foo3:bar4:infod6:lengthi5eee";
        assert!(LooseDict::read(whole).is_some());
        for end in 0..whole.len() {
            assert!(LooseDict::read(&whole[..end]).is_none(), "{end}");
        }
        assert!(LooseDict::read(&b"d1:a".repeat(100_000)).is_none());
        assert!(LooseDict::read(b"d99999999999999999999:ae").is_none());
        assert!(LooseDict::read(b"d4294967295:ae").is_none());
        assert!(LooseDict::read(b"d1:aee").is_none());
        assert!(LooseDict::read(b"<html>").is_none());
        assert_eq!(elements(b"li1e3:abcd3").count(), 2);
        assert_eq!(elements(b"i1e").count(), 0);
    }
}

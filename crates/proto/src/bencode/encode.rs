//! Writing bencode.

/// Writes bencode into a buffer that grows.
///
/// Dictionaries are written by giving the keys in any order: they are sorted when the dictionary is
/// closed, so the result is always canonical.
///
/// ```
/// use samara_proto::bencode::Encoder;
/// let mut e = Encoder::new();
/// e.dict(|d| {
///     d.key("spam").bytes(b"eggs");
///     d.key("cow").int(3);
/// });
/// assert_eq!(e.finish(), b"d3:cowi3e4:spam4:eggse");
/// ```
#[derive(Debug, Default)]
pub struct Encoder {
    out: Vec<u8>,
}

impl Encoder {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes an integer.
    pub fn int(&mut self, value: i64) {
        self.out.extend_from_slice(format!("i{value}e").as_bytes());
    }

    /// Writes a byte string.
    pub fn bytes(&mut self, value: impl AsRef<[u8]>) {
        let value = value.as_ref();
        self.out
            .extend_from_slice(format!("{}:", value.len()).as_bytes());
        self.out.extend_from_slice(value);
    }

    /// Writes a list: `fill` writes its elements one after the other.
    pub fn list(&mut self, fill: impl FnOnce(&mut Self)) {
        self.out.push(b'l');
        fill(self);
        self.out.push(b'e');
    }

    /// Writes a dictionary. A key that is given twice keeps its last value.
    pub fn dict(&mut self, fill: impl FnOnce(&mut DictEncoder)) {
        let mut dict = DictEncoder {
            entries: Vec::new(),
        };
        fill(&mut dict);
        dict.entries.sort_by(|a, b| a.0.cmp(&b.0));
        self.out.push(b'd');
        let mut entries = dict.entries.into_iter().peekable();
        while let Some((key, value)) = entries.next() {
            if entries.peek().is_some_and(|next| next.0 == key) {
                continue;
            }
            self.bytes(&key);
            self.out.extend_from_slice(&value.out);
        }
        self.out.push(b'e');
    }

    /// Writes bytes that are bencode already (an info dictionary as it came).
    pub fn raw(&mut self, bencode: &[u8]) {
        self.out.extend_from_slice(bencode);
    }

    /// What was written.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.out
    }
}

/// The inside of a dictionary that is being written.
#[derive(Debug)]
pub struct DictEncoder {
    entries: Vec<(Vec<u8>, Encoder)>,
}

impl DictEncoder {
    /// Starts an entry: write exactly one value to what is returned.
    pub fn key(&mut self, key: impl AsRef<[u8]>) -> &mut Encoder {
        let entry = (key.as_ref().to_vec(), Encoder::new());
        &mut self.entries.push_mut(entry).1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bencode::parse;

    #[test]
    fn what_is_written_is_canonical() {
        let mut e = Encoder::new();
        e.dict(|d| {
            d.key("z").list(|l| {
                l.int(-1);
                l.bytes(b"\0\xff");
            });
            d.key("a").dict(|_| {});
            d.key("z").int(i64::MIN);
        });
        let bytes = e.finish();
        assert!(parse(&bytes).is_ok(), "{}", String::from_utf8_lossy(&bytes));
        assert_eq!(bytes, b"d1:ade1:zi-9223372036854775808ee");
    }
}

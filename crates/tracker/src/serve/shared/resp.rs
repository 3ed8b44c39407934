//! What Redis and Valkey speak (RESP2): lists of words there, values back.

use std::io::{self, BufRead, Read as _};

/// Longest value that is read: a packet of news is below 60 kB.
const MAX_VALUE: u64 = 16 << 20;

/// Most values of a list: a page of names, and a cluster's map of 16,384 slots at its worst.
const MAX_LIST: usize = 1 << 17;

/// How deep lists may be nested: a cluster's map is three deep.
const MAX_DEPTH: u32 = 8;

/// Longest line.
const MAX_LINE: u64 = 64 << 10;

/// A value that a server has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Text(Vec<u8>),
    Number(i64),
    Nil,
    List(Vec<Self>),
    Error(String),
}

impl Reply {
    /// Text as words; `None` for everything else.
    pub(super) fn word(&self) -> Option<String> {
        match self {
            Self::Text(text) => String::from_utf8(text.clone()).ok(),
            _ => None,
        }
    }

    pub(super) fn list(&self) -> &[Self] {
        match self {
            Self::List(list) => list,
            _ => &[],
        }
    }

    pub(super) fn number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }
}

/// Commands to be sent at once.
#[derive(Clone, Debug, Default)]
pub(super) struct Commands {
    pub(super) bytes: Vec<u8>,
    pub(super) count: usize,
}

impl Commands {
    /// One command.
    pub(super) fn one(words: &[&[u8]]) -> Self {
        let mut out = Self::default();
        out.begin(words.len());
        words.iter().for_each(|word| out.word(word));
        out
    }

    /// Begins a command of so many words, which follow one by one.
    pub(super) fn begin(&mut self, words: usize) {
        self.count += 1;
        let head = format!("*{words}\r\n");
        self.bytes.extend_from_slice(head.as_bytes());
    }

    pub(super) fn word(&mut self, word: &[u8]) {
        let head = format!("${}\r\n", word.len());
        self.bytes.extend_from_slice(head.as_bytes());
        self.bytes.extend_from_slice(word);
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// A number as a word.
    pub(super) fn number(&mut self, number: u64) {
        self.word(number.to_string().as_bytes());
    }
}

fn malformed() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "this is no answer of a Redis server",
    )
}

/// Reads one value.
pub(super) fn read(input: &mut impl BufRead) -> io::Result<Reply> {
    read_at(input, 0)
}

fn read_at(input: &mut impl BufRead, depth: u32) -> io::Result<Reply> {
    let line = read_line(input)?;
    let (kind, rest) = line.split_first().ok_or_else(malformed)?;
    let number = || -> io::Result<i64> {
        let text = str::from_utf8(rest).map_err(|_| malformed())?;
        text.parse().map_err(|_| malformed())
    };
    match kind {
        b'+' => Ok(Reply::Text(rest.to_vec())),
        b'-' => Ok(Reply::Error(String::from_utf8_lossy(rest).into_owned())),
        b':' => Ok(Reply::Number(number()?)),
        b'$' => match u64::try_from(number()?) {
            Err(_) => Ok(Reply::Nil),
            Ok(len) if len > MAX_VALUE => Err(malformed()),
            Ok(len) => {
                let mut text = Vec::new();
                // Grows as bytes come, so that a length that lies costs nothing.
                let got = input.by_ref().take(len + 2).read_to_end(&mut text)?;
                if got as u64 != len + 2 || !text.ends_with(b"\r\n") {
                    return Err(malformed());
                }
                text.truncate(len as usize);
                Ok(Reply::Text(text))
            }
        },
        b'*' => match usize::try_from(number()?) {
            Err(_) => Ok(Reply::Nil),
            Ok(len) if len > MAX_LIST || depth >= MAX_DEPTH => Err(malformed()),
            Ok(len) => {
                let values = (0..len).map(|_| read_at(input, depth + 1));
                values.collect::<io::Result<_>>().map(Reply::List)
            }
        },
        _ => Err(malformed()),
    }
}

/// A line without its end.
fn read_line(input: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    input.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if !line.ends_with(b"\r\n") {
        return Err(malformed());
    }
    line.truncate(line.len() - 2);
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_lists_of_words() {
        let mut commands = Commands::one(&[b"GET", b"a\r\nb"]);
        assert_eq!(commands.bytes, b"*2\r\n$3\r\nGET\r\n$4\r\na\r\nb\r\n");
        commands.begin(1);
        commands.number(17);
        assert!(commands.bytes.ends_with(b"*1\r\n$2\r\n17\r\n"));
        assert_eq!(commands.count, 2);
    }

    #[test]
    fn values_are_read() {
        let text = |text: &str| Reply::Text(text.into());
        for (bytes, value) in [
            ("+OK\r\n", text("OK")),
            ("-OOM full\r\n", Reply::Error("OOM full".into())),
            (":-7\r\n", Reply::Number(-7)),
            ("$-1\r\n", Reply::Nil),
            ("*-1\r\n", Reply::Nil),
            ("$0\r\n\r\n", text("")),
            ("$4\r\na\r\nb\r\n", text("a\r\nb")),
            (
                "*3\r\n$1\r\na\r\n*1\r\n:1\r\n$-1\r\n",
                Reply::List(vec![
                    text("a"),
                    Reply::List(vec![Reply::Number(1)]),
                    Reply::Nil,
                ]),
            ),
        ] {
            let mut input = bytes.as_bytes();
            assert_eq!(read(&mut input).expect(bytes), value);
            assert!(input.is_empty());
            // Cut short, it is an error and not another value.
            for end in 0..bytes.len() {
                assert!(
                    read(&mut &bytes.as_bytes()[..end]).is_err(),
                    "{bytes} {end}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_value_or_too_large_is_refused() {
        let deep = "*1\r\n".repeat(1_000_000);
        for bytes in [
            "\r\n",
            "?\r\n",
            ":x\r\n",
            "$99999999999\r\n",
            "*99999999999\r\n",
            "$3\r\nabcde",
            "+no end\n",
            deep.as_str(),
        ] {
            assert!(read(&mut bytes.as_bytes()).is_err());
        }
        let line = format!("+{}\r\n", "x".repeat(1 << 20));
        assert!(read(&mut line.as_bytes()).is_err());
    }
}

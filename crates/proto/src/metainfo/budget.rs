//! Whether a torrent can be taken into memory, before it is.
//!
//! A list of lists takes two bytes in a file and 200 in memory, so that a file within
//! [`MAX_TORRENT_BYTES`](super::MAX_TORRENT_BYTES) could ask for 13 GB. This counts first, in one pass
//! over the bytes and without allocating.

use super::error::MetainfoError;

/// Most values of a torrent: strings (keys too), numbers, lists and dictionaries. A file takes about 8
/// in a v1 torrent and 25 in a hybrid; libtorrent's limit is 3 million in all. With
/// [`MAX_CONTAINERS`] it bounds what reading takes: 1.2 GB was the most
/// that could be provoked (4 million nested lists and 12 million empty strings), 0.9 GB is what a v1
/// torrent of a million files takes.
pub const MAX_VALUES: usize = 16_000_000;

/// Most lists and dictionaries among them. A file takes 2 in a v1 torrent and 6 in a hybrid.
pub const MAX_CONTAINERS: usize = 4_000_000;

/// Refuses what has too many values. Says nothing about what is not bencode: the parser will.
pub(super) fn check(bytes: &[u8]) -> Result<(), MetainfoError> {
    let mut values = 0_usize;
    let mut containers = 0_usize;
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        values += usize::from(*first != b'e');
        rest = match first {
            b'l' | b'd' => {
                containers += 1;
                after
            }
            b'e' => after,
            b'i' => match after.iter().position(|byte| *byte == b'e') {
                Some(end) => after.get(end + 1..).unwrap_or_default(),
                None => return Ok(()),
            },
            b'0'..=b'9' => match string_end(rest) {
                Some(end) => rest.get(end..).unwrap_or_default(),
                None => return Ok(()),
            },
            _ => return Ok(()),
        };
        if values > MAX_VALUES || containers > MAX_CONTAINERS {
            return Err(MetainfoError::TooManyValues);
        }
    }
    Ok(())
}

/// Where the string that `bytes` begin with ends.
fn string_end(bytes: &[u8]) -> Option<usize> {
    let mut length = 0_usize;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'0'..=b'9' => {
                let digit = usize::from(byte - b'0');
                length = length.checked_mul(10)?.checked_add(digit)?;
            }
            b':' => return (at + 1).checked_add(length),
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attack_11_counts_what_the_parser_would_make() {
        let too_many = Err(MetainfoError::TooManyValues);
        let list = |inner: &[u8], times| [b"l", inner.repeat(times).as_slice(), b"e"].concat();
        assert_eq!(check(&list(b"le", MAX_CONTAINERS - 1)), Ok(()));
        assert_eq!(check(&list(b"le", MAX_CONTAINERS)), too_many);
        assert_eq!(
            check(&list(b"lllldeeeee", MAX_CONTAINERS / 5 + 1)),
            too_many
        );
        assert_eq!(check(&list(b"i5e", MAX_VALUES - 1)), Ok(()));
        assert_eq!(check(&list(b"i5e", MAX_VALUES)), too_many);
        assert_eq!(check(&list(b"0:", MAX_VALUES)), too_many);
        // Inside a string nothing counts.
        let text = b"l".repeat(MAX_VALUES + 1);
        let string = [text.len().to_string().as_bytes(), b":", &text].concat();
        assert_eq!(check(&string), Ok(()));
    }

    #[test]
    fn what_is_not_bencode_is_left_to_the_parser() {
        for bytes in [
            &b""[..],
            b"x",
            b"i5",
            b"5:ab",
            b"99999999999999999999:a",
            b"5",
            b"5x",
        ] {
            assert_eq!(check(bytes), Ok(()));
        }
    }
}

//! Percent-encoding of arbitrary bytes in a query (RFC 3986, and `+` as web forms use it).

/// Appends `bytes` to `out`, with everything but RFC 3986's unreserved characters escaped. BEP 3
/// asks for exactly this set.
pub fn encode(bytes: &[u8], out: &mut String) {
    let digit = |value: u8| char::from(value + if value < 10 { b'0' } else { b'A' - 10 });
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(digit(byte >> 4));
            out.push(digit(byte & 15));
        }
    }
}

/// The bytes that `text` stands for. `+` is a space, as form encoders (Java's, PHP's) write it; a
/// `%` without two hexadecimal digits stands for itself, since refusing the whole request would
/// help nobody: a hash that is wrong because of it fails on its length.
#[must_use]
pub fn decode(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'+' => out.push(b' '),
            b'%' => match after.split_first_chunk::<2>().map(|(pair, tail)| {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                (digit(pair[0]).zip(digit(pair[1])), tail)
            }) {
                Some((Some((high, low)), tail)) => {
                    out.push((high * 16 + low) as u8);
                    rest = tail;
                }
                _ => out.push(b'%'),
            },
            _ => out.push(byte),
        }
    }
    out
}

/// Key and value of every part of a query, undecoded, in order. A part without `=` has an empty
/// value. A leading `?` is skipped.
pub(super) fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    let query = query.strip_prefix('?').unwrap_or(query);
    query
        .split('&')
        .filter(|part| !part.is_empty())
        .map(|part| part.split_once('=').unwrap_or((part, "")))
}

/// `url` with `query` behind it: after `?`, or after `&` where the address has a query already (a
/// passkey, say). A fragment is not sent to servers and is dropped.
pub(super) fn append(url: &str, query: &str) -> String {
    let url = url.split('#').next().unwrap_or(url);
    let glue = match url.find('?') {
        None => "?",
        Some(_) if url.ends_with(['?', '&']) => "",
        Some(_) => "&",
    };
    format!("{url}{glue}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_round_trips_and_only_safe_ones_are_bare() {
        let all: Vec<u8> = (0..=255).collect();
        let mut text = String::new();
        encode(&all, &mut text);
        assert_eq!(decode(&text), all);
        assert!(
            text.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b))
        );
        let mut text = String::new();
        encode(b"aZ9-._~ +&=", &mut text);
        assert_eq!(text, "aZ9-._~%20%2B%26%3D");
    }

    #[test]
    fn oddities() {
        for (text, bytes) in [
            ("a+b", &b"a b"[..]),
            ("%2b%2B", b"++"),
            ("%", b"%"),
            ("%4", b"%4"),
            ("%zz%41", b"%zzA"),
            ("%%41", b"%A"),
            ("%\u{e9}", "%\u{e9}".as_bytes()),
        ] {
            assert_eq!(decode(text), bytes, "{text}");
        }
    }

    #[test]
    fn a_query_is_appended_where_one_is_already() {
        assert_eq!(append("http://t/a", "x=1"), "http://t/a?x=1");
        assert_eq!(append("http://t/a?k=2", "x=1"), "http://t/a?k=2&x=1");
        assert_eq!(append("http://t/a?", "x=1"), "http://t/a?x=1");
        assert_eq!(append("http://t/a?k=2&#f", "x=1"), "http://t/a?k=2&x=1");
    }
}

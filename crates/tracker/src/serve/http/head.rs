//! The head of a request: what a tracker needs of HTTP/1 (RFC 9112), which is little.

use httparse::{EMPTY_HEADER, Request, Status};

/// Most headers of a request. Browsers behind two proxies send about 25.
const MAX_HEADERS: usize = 48;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    /// An answer.
    Get,
    /// The head of an answer.
    Head,
    /// Something that is not understood here.
    Other,
}

/// A request without its body, which it should not have.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head<'a> {
    pub(super) verb: Verb,
    /// Path and query.
    pub(super) target: &'a str,
    /// Whether it is HTTP/1.0, which has to be told when a connection stays.
    pub(super) is_old: bool,
    /// Whether more requests may come over this connection.
    pub(super) keep_alive: bool,
    /// Whether there is a body.
    pub(super) has_body: bool,
    /// Whether the answer may be compressed with gzip.
    pub(super) gzip: bool,
    /// What proxies said, in the headers that they were asked from, in order.
    pub(super) forwarded: Vec<&'a [u8]>,
}

/// Why a request cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadError {
    /// It is no HTTP/1.
    Malformed,
    /// It has more headers than are read.
    TooManyHeaders,
}

/// Where the first head in `bytes` ends, if it does, looking from `from` on. A head that comes byte by
/// byte is looked through once.
pub(super) fn end(bytes: &[u8], from: usize) -> Option<usize> {
    // The end may have begun in what was looked at before: an empty line is at most four bytes.
    let start = from.saturating_sub(3);
    let fresh = bytes.get(start..)?;
    let mut at = 0;
    while let Some(found) = fresh.get(at..)?.iter().position(|byte| *byte == b'\n') {
        at += found + 1;
        match fresh.get(at..) {
            Some([b'\n', ..]) => return Some(start + at + 1),
            Some([b'\r', b'\n', ..]) => return Some(start + at + 2),
            _ => {}
        }
    }
    None
}

impl<'a> Head<'a> {
    /// Reads a whole head. Of the headers named `proxy_header`, if there is one, the values are kept.
    pub(super) fn read(bytes: &'a [u8], proxy_header: Option<&str>) -> Result<Self, HeadError> {
        let mut headers = [EMPTY_HEADER; MAX_HEADERS];
        let mut request = Request::new(&mut headers);
        match request.parse(bytes) {
            Ok(Status::Complete(_)) => {}
            Ok(Status::Partial) => return Err(HeadError::Malformed),
            Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooManyHeaders),
            Err(_) => return Err(HeadError::Malformed),
        }
        let is_old = request.version != Some(1);
        let mut head = Self {
            verb: match request.method {
                Some("GET") => Verb::Get,
                Some("HEAD") => Verb::Head,
                _ => Verb::Other,
            },
            target: request.path.unwrap_or("/"),
            is_old,
            keep_alive: !is_old,
            has_body: false,
            gzip: false,
            forwarded: Vec::new(),
        };
        for header in request.headers.iter() {
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            // By length first: nearly all headers are none of these.
            match header.name.len() {
                10 if is("connection") => {
                    for word in words(header.value) {
                        if word.eq_ignore_ascii_case(b"close") {
                            head.keep_alive = false;
                        } else if is_old && word.eq_ignore_ascii_case(b"keep-alive") {
                            head.keep_alive = true;
                        }
                    }
                }
                14 if is("content-length") => {
                    head.has_body |= header.value.trim_ascii() != b"0";
                }
                17 if is("transfer-encoding") => head.has_body = true,
                15 if is("accept-encoding") => head.gzip |= takes_gzip(header.value),
                _ => {}
            }
            if proxy_header.is_some_and(is) {
                head.forwarded.push(header.value);
            }
        }
        // Two requests that disagree about where the first one ends are how proxies are tricked.
        head.keep_alive &= !head.has_body;
        Ok(head)
    }

    /// Path and query of the target, which may have a scheme and a host before it (RFC 9112, 3.2.2).
    pub(super) fn path_and_query(&self) -> (&'a str, &'a str) {
        let target = match self.target.split_once("://") {
            Some((scheme, rest)) if !scheme.contains(['/', '?']) => {
                rest.find('/').map_or("/", |at| &rest[at..])
            }
            _ => self.target,
        };
        target.split_once('?').unwrap_or((target, ""))
    }
}

/// The words of a header that is a list.
fn words(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// Whether gzip is among what is accepted, and not with a weight of nothing (RFC 9110, 12.5.3).
fn takes_gzip(value: &[u8]) -> bool {
    words(value).any(|word| {
        let mut parts = word.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next().unwrap_or_default();
        let gzip = name.eq_ignore_ascii_case(b"gzip") || name == b"*";
        gzip && !parts.any(|part| matches!(part, b"q=0" | b"q=0.0" | b"q=0.00" | b"q=0.000"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Head<'_>, HeadError> {
        Head::read(text.as_bytes(), Some("x-forwarded-for"))
    }

    #[test]
    fn heads_are_read() {
        let head = read(
            "GET /a?b=c HTTP/1.1\r\nHost: t\r\nAccept-Encoding: deflate, gzip\r\n\
             X-Forwarded-For: 1.2.3.4\r\nx-forwarded-for: 5.6.7.8\r\n\r\n",
        )
        .expect("read");
        assert_eq!(
            (head.verb, head.path_and_query()),
            (Verb::Get, ("/a", "b=c"))
        );
        assert!(head.keep_alive && head.gzip && !head.has_body && !head.is_old);
        assert_eq!(head.forwarded, [&b"1.2.3.4"[..], b"5.6.7.8"]);
        for (text, keep) in [
            ("GET / HTTP/1.0\r\n\r\n", false),
            ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nconnection: foo, close\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", true),
            ("GET / HTTP/1.1\nContent-Length: 2\n\n", false),
            (
                "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
                false,
            ),
        ] {
            assert_eq!(read(text).expect(text).keep_alive, keep, "{text}");
        }
        let absolute = read("HEAD http://t:1/x?y HTTP/1.1\r\n\r\n").expect("read");
        assert_eq!(absolute.path_and_query(), ("/x", "y"));
        let bare = read("GET http://t HTTP/1.1\r\n\r\n").expect("read");
        assert_eq!(bare.path_and_query(), ("/", ""));
        let url = read("GET /?u=http://t/ HTTP/1.1\r\n\r\n").expect("read");
        assert_eq!(url.path_and_query(), ("/", "u=http://t/"));
        assert_eq!(read("\u{13}BitTorrent\n\n"), Err(HeadError::Malformed));
        let many = format!(
            "GET / HTTP/1.1\r\n{}\r\n",
            "a: b\r\n".repeat(MAX_HEADERS + 1)
        );
        assert_eq!(read(&many), Err(HeadError::TooManyHeaders));
    }

    #[test]
    fn gzip_is_taken_where_it_is_offered() {
        for (value, takes) in [
            ("gzip", true),
            ("GZIP;q=0.5", true),
            ("*", true),
            ("identity", false),
            ("gzip;q=0", false),
            ("gzip ; q=0.000, deflate", false),
            ("xgzip", false),
            ("", false),
        ] {
            assert_eq!(takes_gzip(value.as_bytes()), takes, "{value}");
        }
    }

    /// However the bytes come, the end is found where it is.
    #[test]
    fn the_end_is_found_in_any_cut() {
        for (text, at) in [
            ("GET / HTTP/1.1\r\nA: b\r\n\r\nGET", Some(24)),
            ("GET / HTTP/1.1\nA: b\n\nGET", Some(21)),
            ("GET / HTTP/1.1\r\nA: b\r\n\r", None),
            ("", None),
        ] {
            assert_eq!(end(text.as_bytes(), 0), at, "{text:?}");
            let mut found = None;
            for len in 0..=text.len() {
                found = found.or_else(|| end(&text.as_bytes()[..len], len.saturating_sub(1)));
            }
            assert_eq!(found, at, "{text:?}");
        }
    }
}

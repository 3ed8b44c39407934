//! Responses, written straight into the buffer that goes out.

use super::head::{Head, Verb};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write as _;

/// Bodies from this length on are worth compressing: below, the whole response is one packet anyway.
const WORTH_GZIP: usize = 1_200;

/// What may be gained by compressing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Squeeze {
    /// Text, or names in full: a half and more.
    Pays,
    /// Nothing: addresses in compact form are as good as random.
    Vain,
}

/// What is said about a response besides its body.
#[derive(Clone, Debug)]
pub(super) struct Reply<'a> {
    pub(super) status: Status,
    pub(super) kind: &'a str,
    pub(super) squeeze: Squeeze,
    /// Whether it may be kept by caches.
    pub(super) keep: bool,
    /// Whether the connection ends with it.
    pub(super) close: bool,
}

/// The status of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    BadRequest,
    Forbidden,
    NotFound,
    OnlyGet,
    TooLarge,
    HeadTooLarge,
    Ending,
}

impl Status {
    fn line(self) -> &'static str {
        match self {
            Self::Ok => "HTTP/1.1 200 OK\r\n",
            Self::BadRequest => "HTTP/1.1 400 Bad Request\r\n",
            Self::Forbidden => "HTTP/1.1 403 Forbidden\r\n",
            Self::NotFound => "HTTP/1.1 404 Not Found\r\n",
            Self::OnlyGet => "HTTP/1.1 405 Method Not Allowed\r\nAllow: GET, HEAD\r\n",
            Self::TooLarge => "HTTP/1.1 413 Content Too Large\r\n",
            Self::HeadTooLarge => "HTTP/1.1 431 Request Header Fields Too Large\r\n",
            Self::Ending => "HTTP/1.1 503 Service Unavailable\r\n",
        }
    }
}

impl<'a> Reply<'a> {
    /// A page, or an answer in bencode.
    pub(super) fn page(kind: &'a str) -> Self {
        Self {
            status: Status::Ok,
            kind,
            squeeze: Squeeze::Pays,
            keep: false,
            close: false,
        }
    }

    /// Words.
    pub(super) fn words(status: Status) -> Self {
        Self {
            status,
            ..Self::page("text/plain; charset=utf-8")
        }
    }

    pub(super) fn vain(self) -> Self {
        Self {
            squeeze: Squeeze::Vain,
            ..self
        }
    }

    pub(super) fn closing(self) -> Self {
        Self {
            close: true,
            ..self
        }
    }

    /// Appends it to `out`. `head` is what it answers, if that could be read.
    pub(super) fn write(&self, head: Option<&Head<'_>>, body: &[u8], out: &mut Vec<u8>) {
        let worth = self.squeeze == Squeeze::Pays && body.len() >= WORTH_GZIP;
        let squeezed = head
            .filter(|head| worth && head.gzip)
            .and_then(|_| gzip(body));
        let body_out = squeezed.as_deref().unwrap_or(body);
        out.extend_from_slice(self.status.line().as_bytes());
        out.extend_from_slice(b"Content-Type: ");
        out.extend_from_slice(self.kind.as_bytes());
        out.extend_from_slice(b"\r\nContent-Length: ");
        number(body_out.len() as u64, out);
        if squeezed.is_some() {
            out.extend_from_slice(b"\r\nContent-Encoding: gzip");
        }
        if worth {
            out.extend_from_slice(b"\r\nVary: Accept-Encoding");
        }
        if !self.keep {
            out.extend_from_slice(b"\r\nCache-Control: no-store");
        }
        if self.close {
            out.extend_from_slice(b"\r\nConnection: close");
        } else if head.is_some_and(|head| head.is_old) {
            out.extend_from_slice(b"\r\nConnection: keep-alive");
        }
        out.extend_from_slice(b"\r\n\r\n");
        if head.is_none_or(|head| head.verb != Verb::Head) {
            out.extend_from_slice(body_out);
        }
    }
}

/// Appends a number in digits.
pub(super) fn number(mut value: u64, out: &mut Vec<u8>) {
    let from = out.len();
    loop {
        out.push(b'0' + (value % 10) as u8);
        value /= 10;
        if value == 0 {
            break;
        }
    }
    // They came last first.
    if let Some(digits) = out.get_mut(from..) {
        digits.reverse();
    }
}

/// The body compressed, if that makes it a tenth shorter at least. The fastest level: pages are
/// made for whoever asks, and what is gained by more is a few per cent.
fn gzip(body: &[u8]) -> Option<Vec<u8>> {
    let out = Vec::with_capacity(body.len() / 2);
    let mut encoder = GzEncoder::new(out, Compression::fast());
    encoder.write_all(body).ok()?;
    let squeezed = encoder.finish().ok()?;
    (squeezed.len() < body.len() - body.len() / 10).then_some(squeezed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn numbers() {
        for value in [0, 9, 10, 12_345, u64::MAX] {
            let mut out = Vec::new();
            number(value, &mut out);
            assert_eq!(out, value.to_string().into_bytes());
        }
    }

    #[test]
    fn what_is_compressed_can_be_read_and_is_shorter() {
        let head =
            Head::read(b"GET / HTTP/1.1\r\nAccept-Encoding: gzip\r\n\r\n", None).expect("read");
        let body = b"samara_tracker_swarms 12345\n".repeat(1_000);
        let mut out = Vec::new();
        Reply::page("text/plain").write(Some(&head), &body, &mut out);
        let at = out
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .expect("a head");
        let text = String::from_utf8_lossy(&out[..at]).into_owned();
        assert!(
            text.contains("Content-Encoding: gzip") && text.contains("Vary"),
            "{text}"
        );
        let squeezed = &out[at + 4..];
        assert!(text.contains(&format!("Content-Length: {}\r\n", squeezed.len())));
        assert!(squeezed.len() < body.len() / 10);
        let mut back = Vec::new();
        flate2::read::GzDecoder::new(squeezed)
            .read_to_end(&mut back)
            .expect("gzip");
        assert_eq!(back, body);
    }

    #[test]
    fn what_would_not_pay_is_sent_as_it_is() {
        let head =
            Head::read(b"GET / HTTP/1.1\r\nAccept-Encoding: gzip\r\n\r\n", None).expect("read");
        let mut state = 1_u64;
        let random: Vec<u8> = (0..10_000)
            .map(|_| {
                state = crate::swarm::mix(state, 77);
                state as u8
            })
            .collect();
        let plain = |reply: Reply<'_>, body: &[u8], head: Option<&Head<'_>>| {
            let mut out = Vec::new();
            reply.write(head, body, &mut out);
            out.ends_with(body) && !out.windows(4).any(|four| four == b"gzip")
        };
        let text = [b'a'; 5_000];
        assert!(plain(Reply::page("a"), &random, Some(&head)));
        assert!(plain(Reply::page("a").vain(), &text, Some(&head)));
        assert!(plain(Reply::page("a"), &text[..1_000], Some(&head)));
        assert!(plain(Reply::page("a"), &text, None));
        assert!(!plain(Reply::page("a"), &text, Some(&head)));
    }
}

//! Magnet links (BEP 9): read and written.

use crate::hash::{InfoHash, Sha1, Sha256};
use crate::metainfo::{MAX_URL_BYTES, MAX_URLS, Metainfo, is_tracker_url, is_web_seed_url};
use core::fmt;
use core::net::Ipv6Addr;
use core::str::FromStr;

/// Longest link that is read, in bytes: longer than any browser passes on, short enough to be typed
/// into memory without thought.
pub const MAX_MAGNET_BYTES: usize = 256 * 1024;

/// Multihash prefix of a SHA-256: code 0x12, length 0x20.
const MULTIHASH_SHA256: &str = "1220";

/// What a magnet link says.
///
/// ```
/// use samara_proto::magnet::Magnet;
/// let link = "magnet:?xt=urn:btih:c12fe1c06bba254a9dc9f519b335aa7c1367a88a&dn=a%20b";
/// let magnet: Magnet = link.parse().unwrap();
/// assert_eq!(magnet.name.as_deref(), Some("a b"));
/// assert_eq!(magnet.to_string(), link);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Magnet {
    /// v1 info-hash (`btih`).
    pub hash_v1: Option<Sha1>,
    /// v2 info-hash (`btmh`).
    pub hash_v2: Option<Sha256>,
    /// Name to show until the metadata is here. Text from elsewhere: never a path.
    pub name: Option<String>,
    /// Trackers in order, each a tier of its own.
    pub trackers: Vec<String>,
    /// Web seeds.
    pub web_seeds: Vec<String>,
    /// Peers to ask first: `host:port`, `1.2.3.4:port` or `[::1]:port`, port not 0.
    pub peers: Vec<String>,
}

/// Why a magnet link is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MagnetError {
    /// Does not begin with `magnet:?`.
    NotMagnet,
    /// Longer than [`MAX_MAGNET_BYTES`].
    TooLong,
    /// No `xt` with a BitTorrent info-hash.
    NoInfoHash,
    /// An info-hash of the wrong length or with wrong digits.
    BadInfoHash,
    /// A `btmh` that is not a SHA-256.
    UnknownMultihash,
    /// Two info-hashes of the same kind that differ.
    TwoTorrents,
    /// A `%` without two hexadecimal digits.
    BadEscape,
}

impl fmt::Display for MagnetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotMagnet => "not a magnet link: it does not begin with \"magnet:?\"",
            Self::TooLong => "the magnet link is too long",
            Self::NoInfoHash => {
                "the magnet link names no torrent (no \"xt=urn:btih:...\" or \"xt=urn:btmh:...\")"
            }
            Self::BadInfoHash => {
                "the info-hash of the magnet link is malformed (40 hexadecimal or 32 base32 digits, or \"1220\" and 64 hexadecimal digits)"
            }
            Self::UnknownMultihash => {
                "the magnet link uses an unknown hash function (only SHA-256, \"1220...\", is known)"
            }
            Self::TwoTorrents => "the magnet link names two different torrents",
            Self::BadEscape => "the magnet link has a \"%\" without two hexadecimal digits after it",
        })
    }
}

impl core::error::Error for MagnetError {}

impl FromStr for Magnet {
    type Err = MagnetError;

    /// Reads a link. Parameters that are unknown, and trackers, web seeds and peers that cannot be
    /// used, are passed over; a link without a good info-hash is an error.
    fn from_str(link: &str) -> Result<Self, MagnetError> {
        let link = link.trim();
        if link.len() > MAX_MAGNET_BYTES {
            return Err(MagnetError::TooLong);
        }
        let prefix = "magnet:?";
        let query = match link.get(..prefix.len()) {
            Some(start) if start.eq_ignore_ascii_case(prefix) => &link[prefix.len()..],
            _ => return Err(MagnetError::NotMagnet),
        };
        let mut magnet = Self::default();
        for parameter in query.split('&') {
            let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            magnet.take(bare_key(key), value)?;
        }
        if magnet.hash_v1.is_none() && magnet.hash_v2.is_none() {
            return Err(MagnetError::NoInfoHash);
        }
        Ok(magnet)
    }
}

impl Magnet {
    /// The link of a torrent.
    #[must_use]
    pub fn of(metainfo: &Metainfo) -> Self {
        Self {
            hash_v1: metainfo.info.hash_v1,
            hash_v2: metainfo.info.hash_v2,
            name: Some(metainfo.info.name.clone()),
            trackers: metainfo.trackers.concat(),
            web_seeds: metainfo.web_seeds.clone(),
            peers: Vec::new(),
        }
    }

    /// The info-hash that names the swarm on the wire: v1 where there is one, else v2 truncated.
    #[must_use]
    pub fn info_hash(&self) -> InfoHash {
        match (self.hash_v1, self.hash_v2) {
            (Some(v1), _) => v1.into(),
            (None, Some(v2)) => v2.into(),
            (None, None) => InfoHash::default(),
        }
    }

    /// Whether `raw`, an info dictionary, is what the link names: every hash of the link must match.
    #[must_use]
    pub fn matches(&self, hash_v1: &Sha1, hash_v2: &Sha256) -> bool {
        self.hash_v1.is_none_or(|want| want == *hash_v1)
            && self.hash_v2.is_none_or(|want| want == *hash_v2)
    }

    fn take(&mut self, key: &str, value: &str) -> Result<(), MagnetError> {
        if key.eq_ignore_ascii_case("xt") {
            self.topic(&unescape(value)?)
        } else if key.eq_ignore_ascii_case("dn") {
            // Many sites write spaces as in forms.
            let name = unescape(&value.replace('+', " "))?;
            self.name = (!name.is_empty()).then_some(name);
            Ok(())
        } else if key.eq_ignore_ascii_case("tr") {
            let url = unescape(value)?;
            add(&mut self.trackers, url, is_tracker_url);
            Ok(())
        } else if key.eq_ignore_ascii_case("ws") {
            let url = unescape(value)?;
            add(&mut self.web_seeds, url, is_web_seed_url);
            Ok(())
        } else if key.eq_ignore_ascii_case("x.pe") {
            add(&mut self.peers, unescape(value)?, is_peer);
            Ok(())
        } else {
            Ok(())
        }
    }

    fn topic(&mut self, topic: &str) -> Result<(), MagnetError> {
        let Some((scheme, digits)) = topic.get(..9).zip(topic.get(9..)) else {
            return Ok(());
        };
        if scheme.eq_ignore_ascii_case("urn:btih:") {
            let hash = Sha1::from_hex(digits)
                .or_else(|| base32(digits))
                .ok_or(MagnetError::BadInfoHash)?;
            if self.hash_v1.replace(hash).is_some_and(|old| old != hash) {
                return Err(MagnetError::TwoTorrents);
            }
        } else if scheme.eq_ignore_ascii_case("urn:btmh:") {
            let Some(digits) = digits.strip_prefix(MULTIHASH_SHA256) else {
                return Err(MagnetError::UnknownMultihash);
            };
            let hash = Sha256::from_hex(digits).ok_or(MagnetError::BadInfoHash)?;
            if self.hash_v2.replace(hash).is_some_and(|old| old != hash) {
                return Err(MagnetError::TwoTorrents);
            }
        }
        // Other topics (urn:sha1:, urn:ed2k:) name the same thing in other networks.
        Ok(())
    }
}

/// A key without the number that keeps repeated ones apart (`tr.1`).
fn bare_key(key: &str) -> &str {
    match key.rsplit_once('.') {
        Some((bare, digits)) if digits.bytes().all(|byte| byte.is_ascii_digit()) => bare,
        _ => key,
    }
}

/// Adds what is good, once, as long as there are fewer than [`MAX_URLS`].
fn add(list: &mut Vec<String>, value: String, good: impl Fn(&str) -> bool) {
    if list.len() < MAX_URLS && good(&value) && !list.contains(&value) {
        list.push(value);
    }
}

/// Whether `peer` is `host:port`, with IPv6 addresses in brackets.
fn is_peer(peer: &str) -> bool {
    let Some((host, port)) = peer.rsplit_once(':') else {
        return false;
    };
    let port = port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|p| p > 0);
    let ipv6 = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let host = match ipv6 {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        }
    };
    peer.len() <= MAX_URL_BYTES && port && host
}

/// RFC 4648 base32 without padding, upper or lower case: 32 digits are 160 bits.
fn base32(digits: &str) -> Option<Sha1> {
    if digits.len() != 32 {
        return None;
    }
    let mut out = Vec::with_capacity(Sha1::LEN);
    for eight in digits.as_bytes().chunks(8) {
        let mut bits: u64 = 0;
        for digit in eight {
            let value = match digit.to_ascii_uppercase() {
                letter @ b'A'..=b'Z' => letter - b'A',
                number @ b'2'..=b'7' => number - b'2' + 26,
                _ => return None,
            };
            bits = bits << 5 | u64::from(value);
        }
        out.extend(bits.to_be_bytes().iter().skip(3));
    }
    Sha1::from_slice(&out)
}

/// Undoes percent-encoding. What is then not UTF-8 is replaced: it is a name or a URL for show.
fn unescape(value: &str) -> Result<String, MagnetError> {
    let mut out = Vec::with_capacity(value.len());
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || (bytes.next()? as char).to_digit(16);
        match (digit(), digit()) {
            (Some(high), Some(low)) => out.push((high * 16 + low) as u8),
            _ => return Err(MagnetError::BadEscape),
        }
    }
    Ok(String::from_utf8(out)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// Percent-encodes everything but the unreserved characters of RFC 3986 and `extra`.
fn escape(f: &mut fmt::Formatter<'_>, value: &str, extra: &[u8]) -> fmt::Result {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || extra.contains(&byte) {
            write!(f, "{}", byte as char)?;
        } else {
            write!(f, "%{byte:02X}")?;
        }
    }
    Ok(())
}

impl fmt::Display for Magnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("magnet:?")?;
        let mut separator = "";
        if let Some(hash) = &self.hash_v1 {
            write!(f, "xt=urn:btih:{hash}")?;
            separator = "&";
        }
        if let Some(hash) = &self.hash_v2 {
            write!(f, "{separator}xt=urn:btmh:{MULTIHASH_SHA256}{hash}")?;
        }
        if let Some(name) = &self.name {
            f.write_str("&dn=")?;
            escape(f, name, b"")?;
        }
        for (key, values, extra) in [
            ("tr", &self.trackers, &b""[..]),
            ("ws", &self.web_seeds, b""),
            ("x.pe", &self.peers, b":[]"),
        ] {
            for value in values {
                write!(f, "&{key}=")?;
                escape(f, value, extra)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "c12fe1c06bba254a9dc9f519b335aa7c1367a88a";
    const V2: &str = "caf1e1c30e81cb361b9ee167c4aa64228a7fa4fa9f6105232b28ad099f3a302e";

    fn parse(link: &str) -> Result<Magnet, MagnetError> {
        link.parse()
    }

    #[test]
    fn reads_the_forms_of_bep_9() {
        let link = format!(
            "magnet:?xt=urn:btih:{V1}&xt=urn:btmh:1220{V2}&dn=bittorrent-v1-v2+hybrid%2Btest\
             &tr.1=udp%3A%2F%2Ft.example%3A80&tr.2=http://t.example/announce%3Fa%3D1&tr=wss://no\
             &ws=https%3A%2F%2Fw.example%2F&x.pe=1.2.3.4:6881&x.pe=[2001:db8::1]:1&x.pe=host:99\
             &x.pe=host:0&x.pe=nothing&so=0-2&unknown"
        );
        let magnet = parse(&link).expect("valid");
        assert_eq!(magnet.hash_v1, Sha1::from_hex(V1));
        assert_eq!(magnet.hash_v2, Sha256::from_hex(V2));
        assert_eq!(magnet.info_hash().to_string(), V1);
        assert_eq!(magnet.name.as_deref(), Some("bittorrent-v1-v2 hybrid+test"));
        assert_eq!(
            magnet.trackers,
            ["udp://t.example:80", "http://t.example/announce?a=1"]
        );
        assert_eq!(magnet.web_seeds, ["https://w.example/"]);
        assert_eq!(magnet.peers, ["1.2.3.4:6881", "[2001:db8::1]:1", "host:99"]);
        assert_eq!(parse(&magnet.to_string()), Ok(magnet));
    }

    #[test]
    fn base32_and_case() {
        // Python: base64.b32encode(bytes.fromhex(V1))
        let magnet = parse("MAGNET:?XT=urn:BTIH:YEX6DQDLXISUVHOJ6UM3GNNKPQJWPKEK").expect("valid");
        assert_eq!(magnet.hash_v1, Sha1::from_hex(V1));
        let lower = parse("magnet:?xt.1=urn:btih:yex6dqdlxisuvhoj6um3gnnkpqjwpkek");
        assert_eq!(lower, Ok(magnet));
    }

    #[test]
    fn refused() {
        let other = V1.replace('c', "d");
        for (link, error) in [
            ("".to_owned(), MagnetError::NotMagnet),
            ("magnet:".to_owned(), MagnetError::NotMagnet),
            ("http://a/".to_owned(), MagnetError::NotMagnet),
            ("magnét:?".to_owned(), MagnetError::NotMagnet),
            ("magnet:?dn=x".to_owned(), MagnetError::NoInfoHash),
            (
                "magnet:?xt=urn:sha1:abc".to_owned(),
                MagnetError::NoInfoHash,
            ),
            ("magnet:?xt=urn:btih:".to_owned(), MagnetError::BadInfoHash),
            (
                format!("magnet:?xt=urn:btih:{}", &V1[1..]),
                MagnetError::BadInfoHash,
            ),
            (
                format!("magnet:?xt=urn:btih:{}1", &"a".repeat(31)),
                MagnetError::BadInfoHash,
            ),
            (
                format!("magnet:?xt=urn:btmh:1220{V1}"),
                MagnetError::BadInfoHash,
            ),
            (
                format!("magnet:?xt=urn:btmh:1114{V1}"),
                MagnetError::UnknownMultihash,
            ),
            (
                format!("magnet:?xt=urn:btih:{V1}&xt=urn:btih:{other}"),
                MagnetError::TwoTorrents,
            ),
            (
                format!("magnet:?xt=urn:btih:{V1}&dn=%4"),
                MagnetError::BadEscape,
            ),
            (
                format!("magnet:?xt=urn:btih:{V1}&dn=%zz"),
                MagnetError::BadEscape,
            ),
            (
                format!("magnet:?{}", "a".repeat(MAX_MAGNET_BYTES)),
                MagnetError::TooLong,
            ),
        ] {
            assert_eq!(parse(&link), Err(error), "{link:.80}");
            assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn cut_and_changed_links_do_not_panic() {
        let link = format!("magnet:?xt=urn:btih:{V1}&dn=%C3%A9é&x.pe=[::1]:1&tr=udp://a");
        for (at, _) in link.char_indices() {
            let _ = parse(&link[..at]);
            for other in ["%", "&", "=", "é", "[", ":"] {
                let _ = parse(&format!("{}{other}{}", &link[..at], &link[at..]));
            }
        }
    }

    #[test]
    fn lists_are_bounded() {
        let many: String = (0..2 * MAX_URLS)
            .map(|i| format!("&tr=udp://{i}"))
            .collect();
        let magnet = parse(&format!("magnet:?xt=urn:btih:{V1}{many}")).expect("valid");
        assert_eq!(magnet.trackers.len(), MAX_URLS);
    }
}

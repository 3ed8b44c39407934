//! The announce request: a peer's words to the tracker (BEP 3, 7, 23).

use super::{LEFT_UNKNOWN, percent};
use crate::hash::{InfoHash, PeerId};
use core::fmt::{self, Write as _};
use core::net::{IpAddr, SocketAddr};

/// Why a peer announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Event {
    /// Because the interval is over.
    #[default]
    None,
    /// It has just begun.
    Started,
    /// It has just got its last piece. Not said by one that had everything when it began.
    Completed,
    /// It is leaving.
    Stopped,
    /// It does not want more than it has, and serves that (BEP 21). Said in every announce by a
    /// partial seed.
    Paused,
}

/// What a peer tells the tracker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnounceRequest {
    /// The swarm. A v2 hash of 32 bytes is truncated when it is read (BEP 52).
    pub info_hash: InfoHash,
    /// What the peer calls itself.
    pub peer_id: PeerId,
    /// The port on which it listens.
    pub port: u16,
    /// Bytes sent to other peers since `started`.
    pub uploaded: u64,
    /// Bytes fetched from other peers since `started`.
    pub downloaded: u64,
    /// Bytes still to fetch; `None` while the metadata is not known (magnet links).
    pub left: Option<u64>,
    /// Bytes of the whole torrent. Not in any BEP: Samara says it so that a tracker that has never
    /// seen the swarm can tell a download that goes on from one that begins (the seed rule needs
    /// it). Other trackers ignore it.
    pub size: Option<u64>,
    /// Why it announces.
    pub event: Event,
    /// How many peers it would like; `None` leaves it to the tracker.
    pub numwant: Option<u32>,
    /// A secret by which a peer is known again when its address changes. Foreign clients send
    /// arbitrary text, which is hashed: keys are only ever compared.
    pub key: Option<u32>,
    /// Whether the compact form is wanted (BEP 23); `None` leaves it to the tracker.
    pub compact: Option<bool>,
    /// Peer ids may be left out of the dictionary form.
    pub no_peer_id: bool,
    /// Where the peer says it is. Trackers that are wise ignore it.
    pub ip: Option<IpAddr>,
    /// Its IPv4 address where it announces over IPv6 (BEP 7).
    pub ipv4: Option<SocketAddr>,
    /// Its IPv6 address where it announces over IPv4 (BEP 7).
    pub ipv6: Option<SocketAddr>,
    /// What the tracker said as `tracker id` before.
    pub tracker_id: Option<Vec<u8>>,
}

/// What is wrong with a query. Its text is for the person at the other end: it becomes the
/// `failure reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryError {
    /// A field that must be there is not.
    Missing(&'static str),
    /// A field of fixed length has another.
    Length {
        /// Name of the field.
        field: &'static str,
        /// Its length once decoded, in bytes.
        got: usize,
    },
    /// A field that must be a number is not, or is out of range.
    Number(&'static str),
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(field) => write!(f, "the request lacks {field}"),
            Self::Length { field, got } => {
                write!(f, "{field} must be 20 bytes, percent-encoded; it is {got}")
            }
            Self::Number(field) => write!(f, "{field} is not a number in its range"),
        }
    }
}

impl core::error::Error for QueryError {}

impl AnnounceRequest {
    /// A request with what must be said, and everything else left open.
    #[must_use]
    pub fn new(info_hash: InfoHash, peer_id: PeerId, port: u16) -> Self {
        Self {
            info_hash,
            peer_id,
            port,
            uploaded: 0,
            downloaded: 0,
            left: None,
            size: None,
            event: Event::None,
            numwant: None,
            key: None,
            compact: None,
            no_peer_id: false,
            ip: None,
            ipv4: None,
            ipv6: None,
            tracker_id: None,
        }
    }

    /// The query, without `?`.
    #[must_use]
    pub fn to_query(&self) -> String {
        let mut out = String::with_capacity(320);
        out.push_str("info_hash=");
        percent::encode(&self.info_hash.0, &mut out);
        out.push_str("&peer_id=");
        percent::encode(&self.peer_id.0, &mut out);
        let left = self.left.unwrap_or(i64::MAX as u64);
        push(&mut out, "port", self.port);
        push(&mut out, "uploaded", self.uploaded);
        push(&mut out, "downloaded", self.downloaded);
        push(&mut out, "left", left);
        if let Some(size) = self.size {
            push(&mut out, "size", size);
        }
        match self.event {
            Event::None => {}
            Event::Started => push(&mut out, "event", "started"),
            Event::Completed => push(&mut out, "event", "completed"),
            Event::Stopped => push(&mut out, "event", "stopped"),
            Event::Paused => push(&mut out, "event", "paused"),
        }
        if let Some(numwant) = self.numwant {
            push(&mut out, "numwant", numwant);
        }
        if let Some(key) = self.key {
            push(&mut out, "key", format_args!("{key:08X}"));
        }
        if let Some(compact) = self.compact {
            push(&mut out, "compact", u8::from(compact));
        }
        if self.no_peer_id {
            push(&mut out, "no_peer_id", 1);
        }
        for (name, text) in [
            ("ip", self.ip.map(|ip| ip.to_string())),
            ("ipv4", self.ipv4.map(|addr| addr.to_string())),
            ("ipv6", self.ipv6.map(|addr| addr.to_string())),
        ] {
            if let Some(text) = text {
                push(&mut out, name, "");
                percent::encode(text.as_bytes(), &mut out);
            }
        }
        if let Some(id) = &self.tracker_id {
            push(&mut out, "trackerid", "");
            percent::encode(id, &mut out);
        }
        out
    }

    /// The address to ask: the tracker's `announce` URL, which may have a query already, and ours.
    #[must_use]
    pub fn to_url(&self, announce: &str) -> String {
        percent::append(announce, &self.to_query())
    }

    /// Reads a query, with or without its `?`. Order does not matter; of repeated keys the last
    /// counts, since clients append theirs to what stood in the URL; unknown keys are ignored.
    ///
    /// Only what a tracker cannot do without is demanded: the info-hash, the peer id and the port.
    /// Port 0 is read as it is: whether that is acceptable is the tracker's policy.
    pub fn from_query(query: &str) -> Result<Self, QueryError> {
        let mut info_hash = Err(QueryError::Missing("info_hash"));
        let mut peer_id = Err(QueryError::Missing("peer_id"));
        let mut port = Err(QueryError::Missing("port"));
        let mut out = Self::new(InfoHash::default(), PeerId::default(), 0);
        for (name, raw) in percent::pairs(query) {
            match name {
                "info_hash" => info_hash = read_info_hash(raw),
                "peer_id" => peer_id = read_peer_id(raw),
                "port" => port = number("port", raw),
                "uploaded" => out.uploaded = count("uploaded", raw)?.unwrap_or(0),
                "downloaded" => out.downloaded = count("downloaded", raw)?.unwrap_or(0),
                "left" => out.left = count("left", raw)?.filter(|left| *left < LEFT_UNKNOWN),
                "size" => out.size = count("size", raw)?.filter(|size| *size < LEFT_UNKNOWN),
                "event" => out.event = read_event(raw),
                // A negative wish, or one that is not a number, is no wish.
                "numwant" | "num want" => {
                    out.numwant = count("numwant", raw)
                        .ok()
                        .flatten()
                        .map(|want| u32::try_from(want).unwrap_or(u32::MAX));
                }
                "key" => out.key = read_key(raw),
                "compact" => out.compact = Some(raw != "0"),
                "no_peer_id" => out.no_peer_id = raw != "0",
                "ip" => out.ip = read_ip(raw),
                "ipv4" => out.ipv4 = read_addr(raw).filter(SocketAddr::is_ipv4),
                "ipv6" => out.ipv6 = read_addr(raw).filter(SocketAddr::is_ipv6),
                "trackerid" => out.tracker_id = Some(percent::decode(raw)),
                _ => {}
            }
        }
        out.info_hash = info_hash?;
        out.peer_id = peer_id?;
        out.port = port?;
        // BEP 7 lets the port be left out of these; it is then that of the announce, which may
        // have come later in the query.
        for addr in [&mut out.ipv4, &mut out.ipv6].into_iter().flatten() {
            if addr.port() == 0 {
                addr.set_port(out.port);
            }
        }
        Ok(out)
    }
}

fn push(out: &mut String, name: &str, value: impl fmt::Display) {
    // Writing to a String cannot fail.
    let _ = write!(out, "&{name}={value}");
}

/// 20 bytes, or the 32 of a v2 hash, which trackers know by its first 20 (BEP 52).
pub(super) fn read_info_hash(raw: &str) -> Result<InfoHash, QueryError> {
    let bytes = percent::decode(raw);
    let name = match bytes.len() {
        32 => bytes.get(..20),
        _ => Some(bytes.as_slice()),
    };
    name.and_then(InfoHash::from_slice)
        .ok_or(QueryError::Length {
            field: "info_hash",
            got: bytes.len(),
        })
}

fn read_peer_id(raw: &str) -> Result<PeerId, QueryError> {
    let bytes = percent::decode(raw);
    PeerId::from_slice(&bytes).ok_or(QueryError::Length {
        field: "peer_id",
        got: bytes.len(),
    })
}

fn number<T: core::str::FromStr>(field: &'static str, raw: &str) -> Result<T, QueryError> {
    raw.parse().map_err(|_| QueryError::Number(field))
}

/// A count of bytes or peers; `None` if it is negative or empty (some clients say `left=-1`), the
/// largest number if it is beyond 64 bits.
fn count(field: &'static str, raw: &str) -> Result<Option<u64>, QueryError> {
    if raw.is_empty() {
        return Ok(None);
    }
    let digits = raw.strip_prefix('-').unwrap_or(raw);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(QueryError::Number(field));
    }
    if digits.len() < raw.len() {
        return Ok(None);
    }
    Ok(Some(digits.parse().unwrap_or(u64::MAX)))
}

/// Events that we do not know are ordinary announces.
fn read_event(raw: &str) -> Event {
    match raw {
        "started" => Event::Started,
        "completed" => Event::Completed,
        "stopped" => Event::Stopped,
        "paused" => Event::Paused,
        _ => Event::None,
    }
}

/// Eight hexadecimal digits are a number, as nearly every client writes it; other text is hashed
/// (FNV-1a, 32 bits).
fn read_key(raw: &str) -> Option<u32> {
    let bytes = percent::decode(raw);
    if bytes.is_empty() {
        return None;
    }
    let text = core::str::from_utf8(&bytes).ok();
    let hex = text
        .filter(|text| text.len() <= 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .and_then(|text| u32::from_str_radix(text, 16).ok());
    Some(hex.unwrap_or_else(|| {
        bytes.iter().fold(0x811c_9dc5, |hash, byte| {
            (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
        })
    }))
}

/// An address in digits. Names are ignored: a tracker must not look up what a stranger names.
fn read_ip(raw: &str) -> Option<IpAddr> {
    let bytes = percent::decode(raw);
    let text = core::str::from_utf8(&bytes).ok()?;
    text.trim_matches(['[', ']']).parse().ok()
}

fn read_addr(raw: &str) -> Option<SocketAddr> {
    let bytes = percent::decode(raw);
    let text = core::str::from_utf8(&bytes).ok()?;
    text.parse()
        .ok()
        .or_else(|| read_ip(raw).map(|ip| SocketAddr::new(ip, 0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "info_hash=%124Vx%9A%BC%DE%F1%23Eg%89%AB%CD%EF%124Vx%9A";
    const REST: &str = "peer_id=-XX0001-123456789012&port=6881";

    fn full() -> AnnounceRequest {
        AnnounceRequest {
            uploaded: 1,
            downloaded: 2,
            left: Some(3),
            size: Some(4),
            event: Event::Completed,
            numwant: Some(77),
            key: Some(0xDEAD_0001),
            compact: Some(true),
            no_peer_id: true,
            ip: "2001:db8::1".parse().ok(),
            ipv4: "192.0.2.7:80".parse().ok(),
            ipv6: "[2001:db8::2]:90".parse().ok(),
            tracker_id: Some(b"a&b=\0".to_vec()),
            ..AnnounceRequest::new(InfoHash([0x2b; 20]), PeerId([0xff; 20]), 6881)
        }
    }

    #[test]
    fn everything_round_trips() {
        let sent = full();
        assert_eq!(AnnounceRequest::from_query(&sent.to_query()), Ok(sent));
        for event in [Event::None, Event::Started, Event::Stopped] {
            let bare = AnnounceRequest {
                event,
                ..AnnounceRequest::new(InfoHash([0; 20]), PeerId([b' '; 20]), 1)
            };
            assert!(bare.to_query().contains("left=9223372036854775807"));
            assert_eq!(AnnounceRequest::from_query(&bare.to_query()), Ok(bare));
        }
    }

    #[test]
    fn the_hash_of_the_wiki_reads_as_it_should() {
        let query = format!("?{REST}&{HASH}&left=0");
        let request = AnnounceRequest::from_query(&query).expect("valid");
        assert_eq!(
            request.info_hash.to_string(),
            "123456789abcdef123456789abcdef123456789a"
        );
        assert_eq!((request.left, request.port), (Some(0), 6881));
        assert_eq!(
            request.to_url("http://t/announce?passkey=k"),
            format!("http://t/announce?passkey=k&{}", request.to_query())
        );
    }

    #[test]
    fn a_v2_hash_is_truncated() {
        let long = HASH.to_owned() + &"%00".repeat(12);
        let request = AnnounceRequest::from_query(&format!("{long}&{REST}")).expect("valid");
        let short = AnnounceRequest::from_query(&format!("{HASH}&{REST}")).expect("valid");
        assert_eq!(request, short);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let text = |query: &str| {
            AnnounceRequest::from_query(query)
                .expect_err("must be refused")
                .to_string()
        };
        assert_eq!(text(""), "the request lacks info_hash");
        assert_eq!(
            text("info_hash=abc&port=1"),
            "info_hash must be 20 bytes, percent-encoded; it is 3"
        );
        assert_eq!(text(HASH), "the request lacks peer_id");
        assert_eq!(
            text(&format!("{HASH}&peer_id=12345678901234567890")),
            "the request lacks port"
        );
        for port in ["x", "-1", "65536", ""] {
            let query = format!("{HASH}&{REST}&port={port}");
            assert_eq!(text(&query), "port is not a number in its range");
        }
        assert_eq!(
            text(&format!("{HASH}&{REST}&left=1e9")),
            "left is not a number in its range"
        );
    }

    #[test]
    fn the_habits_of_foreign_clients_are_understood() {
        let read = |more: &str| {
            AnnounceRequest::from_query(&format!("{HASH}&{REST}&{more}")).expect("valid")
        };
        assert_eq!(read("left=-1").left, None);
        assert_eq!(read("left=").left, None);
        assert_eq!(read("left=9223372036854775807").left, None);
        assert_eq!(read("left=5&left=6").left, Some(6));
        assert_eq!(read("numwant=-1").numwant, None);
        assert_eq!(read("numwant=0").numwant, Some(0));
        assert_eq!(
            read("numwant=99999999999999999999999").numwant,
            Some(u32::MAX)
        );
        assert_eq!(read("numwant=many").numwant, None);
        assert_eq!(read("event=").event, Event::None);
        assert_eq!(read("event=paused").event, Event::Paused);
        assert_eq!(read("event=idle").event, Event::None);
        assert_eq!(read("compact=0").compact, Some(false));
        assert_eq!(read("key=%00%ff").key, read("key=%00%FF").key);
        assert_ne!(read("key=secret-1").key, read("key=secret-2").key);
        assert_eq!(read("key=").key, None);
        assert_eq!(read("ip=tracker.example").ip, None);
        assert_eq!(read("ipv6=2001:db8::5").ipv6.map(|a| a.port()), Some(6881));
        assert_eq!(read("ipv6=192.0.2.1:5").ipv6, None);
        assert_eq!(read("&&a&=&supportcrypto=1&ev%").event, Event::None);
    }

    #[test]
    fn nothing_makes_it_panic() {
        let whole = full().to_query();
        for end in 0..whole.len() {
            let _ = AnnounceRequest::from_query(&whole[..end]);
        }
        let mut state = 1_u32;
        for _ in 0..20_000 {
            let mut bytes = whole.clone().into_bytes();
            for _ in 0..3 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = state as usize % bytes.len();
                bytes[at] = (state >> 20) as u8;
            }
            let _ = AnnounceRequest::from_query(&String::from_utf8_lossy(&bytes));
        }
    }
}

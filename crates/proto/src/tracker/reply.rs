//! The answer to an announce (BEP 3, 7, 23, 24) and the refusal of one (BEP 3, 31).

use super::loose::{LooseDict, elements};
use super::{DEFAULT_INTERVAL, MAX_INTERVAL, MAX_PEERS, MAX_REPLY};
use crate::bencode::Encoder;
use crate::hash::PeerId;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What a tracker answers.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct AnnounceReply {
    /// Seconds until the next announce. When decoded: never 0, never beyond [`MAX_INTERVAL`].
    pub interval: u32,
    /// Seconds that must pass before an earlier one.
    pub min_interval: Option<u32>,
    /// Seeds in the swarm.
    pub complete: Option<u32>,
    /// Leeches in the swarm.
    pub incomplete: Option<u32>,
    /// How often the torrent was downloaded to the end.
    pub downloaded: Option<u32>,
    /// Who to connect to, IPv4 and IPv6. When decoded: every address can be dialled.
    pub peers: Vec<SocketAddr>,
    /// What `peers` call themselves, one each, or empty. Only the dictionary form carries them, and
    /// a reply that lacks one of them is decoded without any.
    pub peer_ids: Vec<PeerId>,
    /// Words for the person; the announce succeeded all the same.
    pub warning: Option<String>,
    /// To be sent back as `trackerid`.
    pub tracker_id: Option<Vec<u8>>,
    /// Where the tracker sees the asker (BEP 24).
    pub external_ip: Option<IpAddr>,
}

/// How the list of peers is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// 6 bytes a peer in `peers`, 18 in `peers6` (BEP 23, 7).
    Compact,
    /// A dictionary a peer (BEP 3).
    Dictionary {
        /// With `peer id`, where it is known.
        peer_ids: bool,
    },
}

impl Form {
    /// The form a request asks for. BEP 23: compact unless it is declined.
    #[must_use]
    pub fn wanted(compact: Option<bool>, no_peer_id: bool) -> Self {
        match compact {
            Some(false) => Self::Dictionary {
                peer_ids: !no_peer_id,
            },
            _ => Self::Compact,
        }
    }
}

/// When a refused client may ask again (BEP 31).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryIn {
    /// After so many minutes.
    Minutes(u32),
    /// Never.
    Never,
}

/// A tracker's no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why, in plain words.
    pub reason: String,
    /// Whether asking again makes sense.
    pub retry_in: Option<RetryIn>,
}

impl Refusal {
    /// A refusal that says nothing about later.
    pub fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            retry_in: None,
        }
    }

    /// The bytes to send.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut e = Encoder::new();
        e.dict(|d| {
            d.key("failure reason").bytes(&self.reason);
            match self.retry_in {
                None => {}
                Some(RetryIn::Minutes(minutes)) => d.key("retry in").int(minutes.into()),
                Some(RetryIn::Never) => d.key("retry in").bytes("never"),
            }
        });
        e.finish()
    }

    pub(super) fn read(dict: &LooseDict<'_>) -> Option<Self> {
        let reason = dict.text("failure reason")?;
        let retry_in = match dict.bytes("retry in") {
            Some(b"never") => Some(RetryIn::Never),
            _ => dict.count("retry in").map(RetryIn::Minutes),
        };
        Some(Self { reason, retry_in })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl core::error::Error for Refusal {}

/// Why a reply is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyError {
    /// The tracker understood, and says no.
    Refused(Refusal),
    /// More than [`MAX_REPLY`] bytes.
    TooLong,
    /// Not a bencoded dictionary, or one that is cut short.
    NotBencode,
    /// A dictionary, but without what makes it this kind of reply.
    Missing(&'static str),
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => write!(f, "the tracker refuses: {refusal}"),
            Self::TooLong => write!(f, "the tracker's reply is longer than {MAX_REPLY} bytes"),
            Self::NotBencode => {
                f.write_str("what answered is no tracker: the reply is not bencode")
            }
            Self::Missing(key) => write!(f, "the tracker's reply has no \"{key}\""),
        }
    }
}

impl core::error::Error for ReplyError {}

impl AnnounceReply {
    /// The bytes to send.
    #[must_use]
    pub fn encode(&self, form: Form) -> Vec<u8> {
        let mut e = Encoder::new();
        e.dict(|d| {
            d.key("interval").int(self.interval.into());
            for (key, value) in [
                ("min interval", self.min_interval),
                ("complete", self.complete),
                ("incomplete", self.incomplete),
                ("downloaded", self.downloaded),
            ] {
                if let Some(value) = value {
                    d.key(key).int(value.into());
                }
            }
            if let Some(warning) = &self.warning {
                d.key("warning message").bytes(warning);
            }
            if let Some(id) = &self.tracker_id {
                d.key("tracker id").bytes(id);
            }
            match self.external_ip {
                None => {}
                Some(IpAddr::V4(ip)) => d.key("external ip").bytes(ip.octets()),
                Some(IpAddr::V6(ip)) => d.key("external ip").bytes(ip.octets()),
            }
            match form {
                Form::Compact => {
                    let (v4, v6) = self.compact();
                    d.key("peers").bytes(v4);
                    if !v6.is_empty() {
                        d.key("peers6").bytes(v6);
                    }
                }
                Form::Dictionary { peer_ids } => {
                    d.key("peers").list(|l| self.dictionaries(l, peer_ids));
                }
            }
        });
        e.finish()
    }

    fn compact(&self) -> (Vec<u8>, Vec<u8>) {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for peer in &self.peers {
            match peer {
                SocketAddr::V4(addr) => {
                    v4.extend_from_slice(&addr.ip().octets());
                    v4.extend_from_slice(&addr.port().to_be_bytes());
                }
                SocketAddr::V6(addr) => {
                    v6.extend_from_slice(&addr.ip().octets());
                    v6.extend_from_slice(&addr.port().to_be_bytes());
                }
            }
        }
        (v4, v6)
    }

    fn dictionaries(&self, list: &mut Encoder, peer_ids: bool) {
        for (at, peer) in self.peers.iter().enumerate() {
            list.dict(|d| {
                d.key("ip").bytes(peer.ip().to_string());
                d.key("port").int(peer.port().into());
                if let Some(id) = self.peer_ids.get(at).filter(|_| peer_ids) {
                    d.key("peer id").bytes(id.0);
                }
            });
        }
    }

    /// Reads a reply, of whatever form and however untidy. Peers that cannot be dialled (port 0,
    /// unspecified or multicast addresses, host names) are left out.
    pub fn decode(bytes: &[u8]) -> Result<Self, ReplyError> {
        if bytes.len() > MAX_REPLY {
            return Err(ReplyError::TooLong);
        }
        let dict = LooseDict::read(bytes).ok_or(ReplyError::NotBencode)?;
        if let Some(refusal) = Refusal::read(&dict) {
            return Err(ReplyError::Refused(refusal));
        }
        let interval = dict.count("interval").filter(|seconds| *seconds > 0);
        if interval.is_none() && dict.raw("peers").is_none() && dict.raw("peers6").is_none() {
            return Err(ReplyError::Missing("peers"));
        }
        let mut out = Self {
            interval: interval.unwrap_or(DEFAULT_INTERVAL).min(MAX_INTERVAL),
            min_interval: dict.count("min interval").map(|s| s.min(MAX_INTERVAL)),
            complete: dict.count("complete"),
            incomplete: dict.count("incomplete"),
            downloaded: dict.count("downloaded"),
            warning: dict.text("warning message"),
            tracker_id: dict.bytes("tracker id").map(<[u8]>::to_vec),
            external_ip: dict.bytes("external ip").and_then(read_ip),
            ..Self::default()
        };
        if let Some(raw) = dict.raw("peers") {
            match dict.bytes("peers") {
                Some(compact) => out.read_compact::<6>(compact),
                None => out.read_dictionaries(raw),
            }
        }
        if let Some(compact) = dict.bytes("peers6") {
            out.read_compact::<18>(compact);
        }
        if out.peer_ids.len() != out.peers.len() {
            out.peer_ids.clear();
        }
        Ok(out)
    }

    fn read_compact<const N: usize>(&mut self, bytes: &[u8]) {
        for record in bytes.chunks_exact(N) {
            if let Some((ip, port)) = record.split_last_chunk::<2>()
                && let Some(ip) = read_ip(ip)
            {
                self.push(ip, u16::from_be_bytes(*port), None);
            }
        }
    }

    fn read_dictionaries(&mut self, raw: &[u8]) {
        for element in elements(raw).take(MAX_PEERS) {
            let Some(dict) = LooseDict::read(element) else {
                continue;
            };
            let ip = dict.text("ip").and_then(|text| text.parse().ok());
            let port = dict.int("port").and_then(|port| u16::try_from(port).ok());
            if let (Some(ip), Some(port)) = (ip, port) {
                let id = dict.bytes("peer id").and_then(PeerId::from_slice);
                self.push(ip, port, id);
            }
        }
    }

    fn push(&mut self, ip: IpAddr, port: u16, id: Option<PeerId>) {
        let ip = ip.to_canonical();
        let broadcast = ip == IpAddr::V4(Ipv4Addr::BROADCAST);
        let dialable = !ip.is_unspecified() && !ip.is_multicast() && !broadcast;
        if dialable && port != 0 && self.peers.len() < MAX_PEERS {
            self.peers.push(SocketAddr::new(ip, port));
            self.peer_ids.extend(id);
        }
    }
}

/// 4 or 16 bytes.
fn read_ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bencode;

    fn reply() -> AnnounceReply {
        AnnounceReply {
            interval: 1800,
            min_interval: Some(60),
            complete: Some(1),
            incomplete: Some(2),
            downloaded: Some(3),
            peers: vec![
                "192.0.2.1:6881".parse().expect("address"),
                "[2001:db8::1]:6882".parse().expect("address"),
                "10.0.0.1:1".parse().expect("address"),
            ],
            peer_ids: vec![PeerId([1; 20]), PeerId([2; 20]), PeerId([3; 20])],
            warning: Some("careful".into()),
            tracker_id: Some(vec![0, 255]),
            external_ip: "2001:db8::9".parse().ok(),
        }
    }

    #[test]
    fn compact_is_canonical_and_round_trips() {
        let bytes = reply().encode(Form::Compact);
        let value = bencode::parse(&bytes).expect("canonical");
        let dict = value.as_dict().expect("dictionary");
        assert_eq!(dict.bytes("peers").map(<[u8]>::len), Some(12));
        assert_eq!(
            dict.bytes("peers").map(|peers| &peers[..6]),
            Some(&[192, 0, 2, 1, 0x1a, 0xe1][..])
        );
        assert_eq!(dict.bytes("peers6").map(<[u8]>::len), Some(18));
        let mut want = reply();
        want.peers.swap(1, 2);
        want.peer_ids.clear();
        assert_eq!(AnnounceReply::decode(&bytes), Ok(want));
    }

    #[test]
    fn dictionaries_round_trip_with_and_without_ids() {
        let bytes = reply().encode(Form::Dictionary { peer_ids: true });
        bencode::parse(&bytes).expect("canonical");
        assert_eq!(AnnounceReply::decode(&bytes), Ok(reply()));
        let bytes = reply().encode(Form::Dictionary { peer_ids: false });
        let mut want = reply();
        want.peer_ids.clear();
        assert_eq!(AnnounceReply::decode(&bytes), Ok(want));
    }

    #[test]
    fn an_empty_swarm_has_an_empty_list() {
        let bytes = AnnounceReply {
            interval: 5,
            ..AnnounceReply::default()
        }
        .encode(Form::Compact);
        assert_eq!(bytes, b"d8:intervali5e5:peers0:e");
    }

    #[test]
    fn refusals() {
        for retry_in in [None, Some(RetryIn::Minutes(5)), Some(RetryIn::Never)] {
            let refusal = Refusal {
                reason: "no \u{1f41f}".into(),
                retry_in,
            };
            let bytes = refusal.encode();
            bencode::parse(&bytes).expect("canonical");
            assert_eq!(
                AnnounceReply::decode(&bytes),
                Err(ReplyError::Refused(refusal))
            );
        }
        // Torrust and others say why and give a list all the same: the reason wins.
        let both = b"d8:intervali5e5:peers0:14:failure reason2:noe";
        assert!(matches!(
            AnnounceReply::decode(both),
            Err(ReplyError::Refused(_))
        ));
    }

    #[test]
    fn untidy_replies_are_read() {
        let read = |bytes: &[u8]| AnnounceReply::decode(bytes).expect("read");
        let unsorted = read(b"d5:peers6:\x01\x02\x03\x04\x00\x508:intervali60e8:completei-1ee\r\n");
        assert_eq!(unsorted.interval, 60);
        assert_eq!(unsorted.complete, None);
        assert_eq!(unsorted.peers, ["1.2.3.4:80".parse().expect("address")]);
        for nonsense in [&b"i0e"[..], b"i-5e", b"3:abc", b"le"] {
            let bytes = [b"d8:interval", nonsense, b"5:peers0:e"].concat();
            assert_eq!(read(&bytes).interval, DEFAULT_INTERVAL);
        }
        assert_eq!(
            read(b"d8:intervali99999999999e5:peers0:e").interval,
            MAX_INTERVAL
        );
        assert_eq!(
            read(b"d5:peers7:\x01\x02\x03\x04\x00\x50\x01e").peers.len(),
            1
        );
        let names = read(
            b"d5:peersld2:ip11:example.com4:porti1eed4:porti2e2:ip9:127.0.0.1ei5e\
              d2:ip3:::14:porti70000eed2:ip3:::14:porti3eeee",
        );
        assert_eq!(
            names.peers,
            [
                "127.0.0.1:2".parse().expect("address"),
                "[::1]:3".parse().expect("address")
            ]
        );
        let undialable = b"d5:peers18:\0\0\0\0\0\x01\xff\xff\xff\xff\0\x01\x01\x02\x03\x04\0\0e";
        assert!(read(undialable).peers.is_empty());
    }

    #[test]
    fn limits_and_garbage() {
        let many = [b"d5:peers120000:".as_slice(), &[1; 120_000], b"e"].concat();
        assert_eq!(
            AnnounceReply::decode(&many).map(|reply| reply.peers.len()),
            Ok(MAX_PEERS)
        );
        assert_eq!(
            AnnounceReply::decode(&vec![b'd'; MAX_REPLY + 1]),
            Err(ReplyError::TooLong)
        );
        assert_eq!(
            AnnounceReply::decode(b"<html>"),
            Err(ReplyError::NotBencode)
        );
        assert_eq!(
            AnnounceReply::decode(b"de"),
            Err(ReplyError::Missing("peers"))
        );
        let whole = reply().encode(Form::Dictionary { peer_ids: true });
        for end in 0..whole.len() {
            assert!(AnnounceReply::decode(&whole[..end]).is_err());
        }
        let mut state = 1_u32;
        for round in 0..20_000 {
            let mut bytes = reply().encode(if round % 2 == 0 {
                Form::Compact
            } else {
                Form::Dictionary { peer_ids: true }
            });
            for _ in 0..3 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = (state >> 8) as usize % bytes.len();
                bytes[at] = (state >> 20) as u8;
            }
            let _ = AnnounceReply::decode(&bytes);
        }
    }
}

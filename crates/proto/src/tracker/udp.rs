//! What peers and trackers say to each other over UDP (BEP 15, with the options of BEP 41).
//!
//! Both directions for both sides: our tracker reads [`Request`] and writes replies, our client does
//! the reverse. Requests borrow the packet and replies are written piece by piece, so that a tracker
//! that answers half a million packets a second allocates nothing for one.
//!
//! A packet is one of three requests, told apart by its second field: `connect`, which proves that
//! the asker can hear us at its address, and `announce` and `scrape`, which carry the proof. The peers
//! of a reply are 6 bytes each where the exchange is over IPv4, and 18 over IPv6; nothing in the
//! packet says which.

use super::{DEFAULT_INTERVAL, Event, LEFT_UNKNOWN, MAX_INTERVAL, Refusal};
use crate::hash::{InfoHash, PeerId};
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What a connect request begins with, in place of a connection id.
pub const PROTOCOL_ID: u64 = 0x0417_2710_1980;

/// Bytes of a connect request, and of its answer: nothing is amplified.
pub const CONNECT_LEN: usize = 16;

/// Bytes of an announce request without options.
pub const ANNOUNCE_LEN: usize = 98;

/// Bytes of an announce reply before its peers.
pub const ANNOUNCE_REPLY_HEAD: usize = 20;

/// Bytes of a scrape request before its info-hashes, and of a reply before its counts is
/// [`REPLY_HEAD`].
pub const SCRAPE_HEAD: usize = 16;

/// Action and transaction id: what every reply begins with.
pub const REPLY_HEAD: usize = 8;

/// Info-hashes of a scrape (BEP 15: "up to about 74", which is what fits 1,496 bytes). What comes
/// after is ignored.
pub const MAX_UDP_SCRAPE: usize = 74;

/// Most bytes of a reply that we write: an Ethernet frame of 1,500, less the headers of IPv6 (40) and
/// UDP (8), less 52 for the tunnels that users sit behind. 230 IPv4 or 76 IPv6 peers.
pub const MAX_UDP_REPLY: usize = 1_400;

/// Most bytes of `URLData` that are put together from options (BEP 41). A path with a passkey is
/// below 100; a packet cannot hold more than this without being fragmented.
pub const MAX_URL_DATA: usize = 1_400;

/// Links a request to its reply.
pub type TransactionId = [u8; 4];

/// Proves that whoever sends it can hear what is sent to its address.
pub type ConnectionId = [u8; 8];

const CONNECT: u32 = 0;
const ANNOUNCE: u32 = 1;
const SCRAPE: u32 = 2;
const ERROR: u32 = 3;

/// A packet from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Asks for a connection id.
    Connect {
        /// To be sent back.
        transaction: TransactionId,
    },
    /// Asks for peers.
    Announce {
        /// From a connect reply.
        connection: ConnectionId,
        /// To be sent back.
        transaction: TransactionId,
        /// What it says.
        announce: UdpAnnounce,
        /// What follows (BEP 41).
        options: Options<'a>,
    },
    /// Asks for counts.
    Scrape {
        /// From a connect reply.
        connection: ConnectionId,
        /// To be sent back.
        transaction: TransactionId,
        /// About what.
        hashes: Hashes<'a>,
    },
}

/// What a peer tells the tracker over UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpAnnounce {
    /// The swarm.
    pub info_hash: InfoHash,
    /// What the peer calls itself.
    pub peer_id: PeerId,
    /// Bytes fetched since `started`.
    pub downloaded: u64,
    /// Bytes still to fetch; `None` while the metadata is not known (magnet links).
    pub left: Option<u64>,
    /// Bytes sent since `started`.
    pub uploaded: u64,
    /// Why it announces.
    pub event: Event,
    /// Where the peer says it is; trackers that are wise ignore it. Meaningless over IPv6.
    pub ip: Option<Ipv4Addr>,
    /// A secret by which a peer is known again.
    pub key: u32,
    /// How many peers it would like; `None` leaves it to the tracker.
    pub numwant: Option<u32>,
    /// The port on which it listens.
    pub port: u16,
}

/// Why a packet is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketError {
    /// Cut short: so many bytes.
    Short(usize),
    /// The action is none of the three.
    Action(u32),
    /// It asks for a connection id without [`PROTOCOL_ID`].
    Protocol,
    /// A scrape whose info-hashes are not a multiple of 20 bytes, or are none.
    Hashes(usize),
}

impl fmt::Display for PacketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short(len) => write!(f, "a packet of {len} bytes is cut short"),
            Self::Action(action) => write!(f, "there is no action {action}"),
            Self::Protocol => f.write_str("a connect request of another protocol"),
            Self::Hashes(len) => write!(f, "{len} bytes are no list of info-hashes"),
        }
    }
}

impl core::error::Error for PacketError {}

/// Takes a fixed number of bytes off the front.
fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    take(bytes).map(u32::from_be_bytes)
}

fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    take(bytes).map(u64::from_be_bytes)
}

impl<'a> Request<'a> {
    /// Reads a packet.
    pub fn decode(packet: &'a [u8]) -> Result<Self, PacketError> {
        Self::read(packet).ok_or(PacketError::Short(packet.len()))?
    }

    /// `None` if it is cut short.
    fn read(packet: &'a [u8]) -> Option<Result<Self, PacketError>> {
        let mut rest = packet;
        let connection: ConnectionId = take(&mut rest)?;
        let action = take_u32(&mut rest)?;
        let transaction = take(&mut rest)?;
        Some(match action {
            CONNECT if connection == PROTOCOL_ID.to_be_bytes() => Ok(Self::Connect { transaction }),
            CONNECT => Err(PacketError::Protocol),
            ANNOUNCE => Ok(Self::Announce {
                connection,
                transaction,
                announce: UdpAnnounce::read(&mut rest)?,
                options: Options(rest),
            }),
            // Some clients pad their packets; a hash that is cut short is no padding.
            SCRAPE if rest.is_empty() || !rest.len().is_multiple_of(20) => {
                Err(PacketError::Hashes(rest.len()))
            }
            SCRAPE => Ok(Self::Scrape {
                connection,
                transaction,
                hashes: Hashes(rest),
            }),
            _ => Err(PacketError::Action(action)),
        })
    }

    /// Appends the packet to send.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Connect { transaction } => {
                out.extend_from_slice(&PROTOCOL_ID.to_be_bytes());
                out.extend_from_slice(&CONNECT.to_be_bytes());
                out.extend_from_slice(transaction);
            }
            Self::Announce {
                connection,
                transaction,
                announce,
                options,
            } => {
                out.extend_from_slice(connection);
                out.extend_from_slice(&ANNOUNCE.to_be_bytes());
                out.extend_from_slice(transaction);
                announce.write(out);
                out.extend_from_slice(options.0);
            }
            Self::Scrape {
                connection,
                transaction,
                hashes,
            } => {
                out.extend_from_slice(connection);
                out.extend_from_slice(&SCRAPE.to_be_bytes());
                out.extend_from_slice(transaction);
                out.extend_from_slice(hashes.0);
            }
        }
    }
}

impl UdpAnnounce {
    fn read(rest: &mut &[u8]) -> Option<Self> {
        Some(Self {
            info_hash: InfoHash(take(rest)?),
            peer_id: PeerId(take(rest)?),
            downloaded: take_u64(rest)?,
            left: Some(take_u64(rest)?).filter(|left| *left < LEFT_UNKNOWN),
            uploaded: take_u64(rest)?,
            event: match take_u32(rest)? {
                1 => Event::Completed,
                2 => Event::Started,
                3 => Event::Stopped,
                // In no BEP: the number that libtorrent gives to the event of BEP 21.
                4 => Event::Paused,
                _ => Event::None,
            },
            ip: Some(Ipv4Addr::from_bits(take_u32(rest)?)).filter(|ip| !ip.is_unspecified()),
            key: take_u32(rest)?,
            // Negative is "as you like"; -1 is the default of BEP 15.
            numwant: u32::try_from(take_u32(rest)?.cast_signed()).ok(),
            port: take(rest).map(u16::from_be_bytes)?,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        let event: u32 = match self.event {
            Event::None => 0,
            Event::Completed => 1,
            Event::Started => 2,
            Event::Stopped => 3,
            Event::Paused => 4,
        };
        let left = self.left.unwrap_or(i64::MAX as u64);
        let numwant = self
            .numwant
            .map_or(-1, |want| i32::try_from(want).unwrap_or(i32::MAX));
        out.extend_from_slice(&self.info_hash.0);
        out.extend_from_slice(&self.peer_id.0);
        out.extend_from_slice(&self.downloaded.to_be_bytes());
        out.extend_from_slice(&left.to_be_bytes());
        out.extend_from_slice(&self.uploaded.to_be_bytes());
        out.extend_from_slice(&event.to_be_bytes());
        out.extend_from_slice(&self.ip.unwrap_or(Ipv4Addr::UNSPECIFIED).octets());
        out.extend_from_slice(&self.key.to_be_bytes());
        out.extend_from_slice(&numwant.to_be_bytes());
        out.extend_from_slice(&self.port.to_be_bytes());
    }
}

/// Info-hash and port of a packet that looks like an announce, without reading the rest: for a tracker
/// that wants its memory to be ready when it does.
#[must_use]
pub fn peek_announce(packet: &[u8]) -> Option<(InfoHash, u16)> {
    let packet = packet.first_chunk::<ANNOUNCE_LEN>()?;
    let (head, mut rest) = packet.split_at(SCRAPE_HEAD);
    let info_hash = InfoHash(take(&mut rest)?);
    let port = *packet.last_chunk::<2>()?;
    head.get(8..12)
        .is_some_and(|action| *action == ANNOUNCE.to_be_bytes())
        .then(|| (info_hash, u16::from_be_bytes(port)))
}

/// What follows an announce: BEP 41's options, still packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Options<'a>(&'a [u8]);

impl<'a> Options<'a> {
    /// Options that [`Options::pack_url`] has packed.
    #[must_use]
    pub fn packed(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Packs the path and query of the tracker's address: what a tracker that serves several, or that
    /// knows its users by a key in the path, needs to see. Beyond [`MAX_URL_DATA`] it is cut.
    #[must_use]
    pub fn pack_url(path_and_query: &str) -> Vec<u8> {
        let bytes = path_and_query.as_bytes();
        let bytes = bytes.get(..MAX_URL_DATA).unwrap_or(bytes);
        let mut out = Vec::with_capacity(bytes.len() + 8);
        for part in bytes.chunks(255) {
            out.extend_from_slice(&[URL_DATA, part.len() as u8]);
            out.extend_from_slice(part);
        }
        out.push(END);
        out
    }

    /// Whether there is nothing at all, as in nearly every packet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Path and query of the address that the client was given, put together from its parts; empty
    /// if there are none. Unknown options are skipped; one that is cut short ends the list, as BEP 41
    /// leaves room for: some clients pad.
    #[must_use]
    pub fn url_data(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut rest = self.0;
        while let Some((&kind, after)) = rest.split_first() {
            rest = after;
            match kind {
                END => break,
                NOP => {}
                _ => {
                    let Some((&len, after)) = rest.split_first() else {
                        break;
                    };
                    let Some((data, after)) = after.split_at_checked(len.into()) else {
                        break;
                    };
                    rest = after;
                    if kind == URL_DATA {
                        let room = MAX_URL_DATA.saturating_sub(out.len());
                        out.extend_from_slice(data.get(..room).unwrap_or(data));
                    }
                }
            }
        }
        out
    }
}

const END: u8 = 0;
const NOP: u8 = 1;
const URL_DATA: u8 = 2;

/// The info-hashes of a scrape, in the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hashes<'a>(&'a [u8]);

impl<'a> Hashes<'a> {
    /// Those packed in `bytes`, 20 each.
    #[must_use]
    pub fn packed(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The info-hashes, [`MAX_UDP_SCRAPE`] at most.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = InfoHash> + use<'a> {
        let (hashes, _) = self.0.as_chunks::<20>();
        hashes
            .iter()
            .take(MAX_UDP_SCRAPE)
            .map(|hash| InfoHash(*hash))
    }
}

/// The whole reply to a connect request.
#[must_use]
pub fn connect_reply(transaction: TransactionId, connection: ConnectionId) -> [u8; CONNECT_LEN] {
    let mut out = [0; CONNECT_LEN];
    out[..4].copy_from_slice(&CONNECT.to_be_bytes());
    out[4..8].copy_from_slice(&transaction);
    out[8..].copy_from_slice(&connection);
    out
}

/// An announce reply up to its peers: 6 or 18 bytes each, to be appended.
#[must_use]
pub fn announce_reply_head(
    transaction: TransactionId,
    interval: u32,
    leeches: u32,
    seeds: u32,
) -> [u8; ANNOUNCE_REPLY_HEAD] {
    let mut out = [0; ANNOUNCE_REPLY_HEAD];
    out[..4].copy_from_slice(&ANNOUNCE.to_be_bytes());
    out[4..8].copy_from_slice(&transaction);
    out[8..12].copy_from_slice(&interval.to_be_bytes());
    out[12..16].copy_from_slice(&leeches.to_be_bytes());
    out[16..].copy_from_slice(&seeds.to_be_bytes());
    out
}

/// A scrape reply up to its counts.
#[must_use]
pub fn scrape_reply_head(transaction: TransactionId) -> [u8; REPLY_HEAD] {
    reply_head(SCRAPE, transaction)
}

/// An error reply up to its words.
#[must_use]
pub fn error_reply_head(transaction: TransactionId) -> [u8; REPLY_HEAD] {
    reply_head(ERROR, transaction)
}

/// The counts of one swarm in a scrape reply, in the order of the request.
#[must_use]
pub fn scrape_counts(seeds: u32, downloaded: u32, leeches: u32) -> [u8; 12] {
    let mut out = [0; 12];
    out[..4].copy_from_slice(&seeds.to_be_bytes());
    out[4..8].copy_from_slice(&downloaded.to_be_bytes());
    out[8..].copy_from_slice(&leeches.to_be_bytes());
    out
}

fn reply_head(action: u32, transaction: TransactionId) -> [u8; REPLY_HEAD] {
    let mut out = [0; REPLY_HEAD];
    out[..4].copy_from_slice(&action.to_be_bytes());
    out[4..].copy_from_slice(&transaction);
    out
}

/// A packet from a tracker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// That of the request which it answers.
    pub transaction: TransactionId,
    /// What it says.
    pub body: ReplyBody,
}

/// What a tracker says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyBody {
    /// Where to go on from.
    Connect(ConnectionId),
    /// Who is there.
    Announce {
        /// Seconds until the next announce: never 0, never beyond [`MAX_INTERVAL`].
        interval: u32,
        /// Leeches in the swarm.
        leeches: u32,
        /// Seeds in the swarm.
        seeds: u32,
        /// Who to connect to; every address can be dialled.
        peers: Vec<SocketAddr>,
    },
    /// Seeds, downloads to the end, and leeches of every swarm asked about, in that order.
    Scrape(Vec<[u32; 3]>),
    /// No.
    Error(Refusal),
}

impl Reply {
    /// Reads what a tracker sent. `over_v6` says how it came, since the peers' form hangs on it.
    /// Bytes after the last whole peer are ignored.
    pub fn decode(packet: &[u8], over_v6: bool) -> Result<Self, PacketError> {
        Self::read(packet, over_v6).ok_or(PacketError::Short(packet.len()))?
    }

    fn read(packet: &[u8], over_v6: bool) -> Option<Result<Self, PacketError>> {
        let mut rest = packet;
        let action = take_u32(&mut rest)?;
        let transaction = take(&mut rest)?;
        let body = match action {
            CONNECT => ReplyBody::Connect(take(&mut rest)?),
            ANNOUNCE => {
                let interval = take_u32(&mut rest)?;
                ReplyBody::Announce {
                    interval: match interval {
                        0 => DEFAULT_INTERVAL,
                        seconds => seconds.min(MAX_INTERVAL),
                    },
                    leeches: take_u32(&mut rest)?,
                    seeds: take_u32(&mut rest)?,
                    peers: peers(rest, over_v6),
                }
            }
            SCRAPE => {
                let mut counts = Vec::new();
                while counts.len() < MAX_UDP_SCRAPE && rest.len() >= 12 {
                    counts.push([
                        take_u32(&mut rest)?,
                        take_u32(&mut rest)?,
                        take_u32(&mut rest)?,
                    ]);
                }
                ReplyBody::Scrape(counts)
            }
            // Some trackers end their words with a NUL.
            ERROR => ReplyBody::Error(Refusal::new(
                String::from_utf8_lossy(rest).trim_end_matches('\0'),
            )),
            _ => return Some(Err(PacketError::Action(action))),
        };
        Some(Ok(Self { transaction, body }))
    }
}

fn peers(bytes: &[u8], over_v6: bool) -> Vec<SocketAddr> {
    let dialled = |addr: &SocketAddr| {
        let ip = addr.ip();
        addr.port() != 0 && !ip.is_unspecified() && !ip.is_multicast()
    };
    let read = |chunk: &[u8]| {
        let mut rest = chunk;
        let ip: IpAddr = if over_v6 {
            Ipv6Addr::from(take::<16>(&mut rest)?).into()
        } else {
            Ipv4Addr::from(take::<4>(&mut rest)?).into()
        };
        Some(SocketAddr::new(ip, u16::from_be_bytes(take(&mut rest)?)))
    };
    let size = if over_v6 { 18 } else { 6 };
    bytes
        .chunks_exact(size)
        .filter_map(read)
        .filter(dialled)
        .collect()
}

#[cfg(test)]
mod tests;

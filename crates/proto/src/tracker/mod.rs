//! What peers and trackers say to each other: over HTTP (BEP 3, 7, 21, 23, 24, 31, 48, and 52 for the
//! length of an info-hash), and over UDP in [`udp`] (BEP 15, 41).
//!
//! One set of types for both sides: our tracker reads [`AnnounceRequest`] and writes
//! [`AnnounceReply`], our client does the reverse. What foreign clients and trackers send is read
//! generously (missing counts, keys out of order, either form of the peer list), what we send is
//! canonical. Every list has a limit that is named here.

mod announce;
mod loose;
mod percent;
mod reply;
mod scrape;
pub mod udp;

pub use announce::{AnnounceRequest, Event, QueryError};
pub use percent::{decode as percent_decode, encode as percent_encode};
pub use reply::{AnnounceReply, Form, Refusal, ReplyError, RetryIn};
pub use scrape::{ScrapeCounts, ScrapeReply, ScrapeRequest, scrape_url};

/// Longest reply that is read, in bytes. 2,000 peers as dictionaries are about 200 kB; a reply
/// beyond this is somebody's web page or an attack.
pub const MAX_REPLY: usize = 1024 * 1024;

/// Peers taken from one reply; what comes after is ignored. Ten times what any tracker hands out.
pub const MAX_PEERS: usize = 2_000;

/// Info-hashes taken from one scrape; what comes after is ignored. As many as aquatic answers, and
/// what fits the 8 KiB request line that most servers allow.
pub const MAX_SCRAPE: usize = 100;

/// Seconds until the next announce where a tracker does not say, or says nonsense: what most public
/// trackers ask for. A client that took 0 at its word would hammer (rtorrent issue 1424).
pub const DEFAULT_INTERVAL: u32 = 1_800;

/// Longest interval that is believed, in seconds: a day.
pub const MAX_INTERVAL: u32 = 86_400;

/// `left` at or above this means "I do not know yet": a client that starts from a magnet link has no
/// metadata (Transmission then says 2^63 - 1). No torrent is an exbibyte.
pub const LEFT_UNKNOWN: u64 = 1 << 60;

//! Asking trackers, over HTTP and UDP: announce, scrape, and fetching a .torrent file.
//!
//! A hybrid torrent has two info-hashes and so two swarms (BEP 52). We announce the v1 one only: every
//! client of a hybrid torrent is in that swarm, and one announce is half the load. Connections are
//! accepted under either.

mod guard;
mod http;
mod udp;
mod url;

pub(crate) use http::Http;
pub(crate) use udp::Udp;

use crate::error::NodeError;
use http::{HttpError, look_up};
use samara_engine as engine;
use samara_engine::AnnounceEvent;
use samara_proto::metainfo::MAX_TORRENT_BYTES;
use samara_proto::tracker::udp::MAX_UDP_SCRAPE;
use samara_proto::tracker::{
    AnnounceReply, AnnounceRequest, Event, LEFT_UNKNOWN, MAX_REPLY, MAX_SCRAPE, ReplyError,
    ScrapeCounts, ScrapeReply, ScrapeRequest,
};
use samara_proto::{InfoHash, PeerId};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Mutex as TurnMutex;
use tokio::time::timeout;
use udp::Target;
use url::Url;

/// What a tracker wants to be told again (`trackerid`).
type TrackerId = Option<Vec<u8>>;

/// A tracker with addresses of both families is asked over both; once one has answered, the other gets
/// this much longer. IPv6 that leads nowhere is common, and must not keep us from our peers.
const OTHER_FAMILY: Duration = Duration::from_secs(3);

/// What one torrent tells trackers of itself.
#[derive(Debug)]
pub(crate) struct Announcer {
    pub(crate) http: Arc<Http>,
    pub(crate) udp: Arc<Udp>,
    pub(crate) info_hash: InfoHash,
    pub(crate) peer_id: PeerId,
    pub(crate) listen: SocketAddr,
    /// The same for the whole session, so that a tracker knows us when our address changes.
    pub(crate) key: u32,
    /// Bytes of the torrent, where they are known.
    pub(crate) size: Option<u64>,
    /// By the address of the tracker: as many as the torrent has. Held while one is asked, so that it
    /// hears a goodbye after, and never before, what was under way when we left.
    pub(crate) tracker_ids: Mutex<BTreeMap<String, Arc<TurnMutex<TrackerId>>>>,
}

impl Announcer {
    /// Asks one tracker, over every address family that it and we have; the error is for people.
    pub(crate) async fn announce(
        &self,
        tracker: &str,
        words: &engine::Announce,
    ) -> Result<engine::Answer, String> {
        let turn = {
            let turns = self.tracker_ids.lock();
            let mut turns = turns.unwrap_or_else(PoisonError::into_inner);
            Arc::clone(turns.entry(tracker.to_owned()).or_default())
        };
        let mut tracker_id = turn.lock().await;
        let request = self.request(words, tracker_id.clone());
        let way = Way::parse(tracker, |tracker| request.to_url(tracker))?;
        let (host, port) = way.host();
        let found = look_up(host, port).await.map_err(|error| error.0)?;
        let (v4, v6) = families(&found, self.listen.ip());
        // BEP 7 wants each address known.
        let (v4, v6) = both(self.ask(&way, &request, &v4), self.ask(&way, &request, &v6)).await;
        for reply in [&v4, &v6].into_iter().flatten().flatten() {
            if let Some(id) = &reply.tracker_id {
                *tracker_id = Some(id.clone());
            }
        }
        match (v4, v6) {
            (Some(Ok(first)), Some(Ok(second))) => Ok(merge(first, second)),
            (Some(Ok(reply)), _) | (_, Some(Ok(reply))) => Ok(translate(reply)),
            (Some(Err(error)), _) | (_, Some(Err(error))) => Err(error),
            (None, None) => Err("its name has no address".to_owned()),
        }
    }

    fn request(&self, words: &engine::Announce, tracker_id: TrackerId) -> AnnounceRequest {
        let mut request = AnnounceRequest::new(self.info_hash, self.peer_id, self.listen.port());
        request.uploaded = words.uploaded;
        request.downloaded = words.downloaded;
        request.left = (words.left < LEFT_UNKNOWN).then_some(words.left);
        request.size = self.size;
        request.event = match words.event {
            AnnounceEvent::Started => Event::Started,
            AnnounceEvent::Periodic => Event::None,
            AnnounceEvent::Completed => Event::Completed,
            AnnounceEvent::Stopped => Event::Stopped,
        };
        request.numwant = Some(words.num_want);
        request.key = Some(self.key);
        request.compact = Some(true);
        request.tracker_id = tracker_id;
        request
    }

    /// `None` if there is no address to ask.
    async fn ask(
        &self,
        way: &Way,
        request: &AnnounceRequest,
        addrs: &[SocketAddr],
    ) -> Option<Result<AnnounceReply, String>> {
        if addrs.is_empty() {
            return None;
        }
        Some(match way {
            Way::Http(url) => fetch(&self.http, url, addrs, AnnounceReply::decode).await,
            Way::Udp(target) => self.udp.announce(target, addrs, request).await,
        })
    }
}

/// How a tracker is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Way {
    Http(Url),
    Udp(Target),
}

impl Way {
    /// Reads a tracker's address; over HTTP `complete` makes the address of the question of it.
    fn parse(tracker: &str, complete: impl FnOnce(&str) -> String) -> Result<Self, String> {
        if Target::is_meant(tracker) {
            Target::parse(tracker).map(Self::Udp)
        } else {
            Url::parse(&complete(tracker)).map(Self::Http)
        }
    }

    fn host(&self) -> (&str, u16) {
        match self {
            Self::Http(url) => (url.host(), url.port()),
            Self::Udp(target) => (target.host(), target.port()),
        }
    }
}

/// What comes of two questions side by side. The first good answer lets the other question go on for
/// [`OTHER_FAMILY`] only.
async fn both<T, E>(
    one: impl Future<Output = Option<Result<T, E>>>,
    other: impl Future<Output = Option<Result<T, E>>>,
) -> (Option<Result<T, E>>, Option<Result<T, E>>) {
    async fn rest<T>(is_good: bool, late: impl Future<Output = Option<T>>) -> Option<T> {
        if is_good {
            timeout(OTHER_FAMILY, late).await.ok().flatten()
        } else {
            late.await
        }
    }
    tokio::pin!(one, other);
    tokio::select! {
        first = &mut one => {
            let second = rest(matches!(first, Some(Ok(_))), other).await;
            (first, second)
        }
        second = &mut other => {
            let first = rest(matches!(second, Some(Ok(_))), one).await;
            (first, second)
        }
    }
}

/// A tracker's reply, read. Refusals come with any status; everything else needs a good one.
async fn fetch<T>(
    http: &Http,
    url: &Url,
    addrs: &[SocketAddr],
    read: impl FnOnce(&[u8]) -> Result<T, ReplyError>,
) -> Result<T, String> {
    if !guard::may_ask(url.path_and_query(), addrs) {
        return Err("it is on this machine, and only /announce and /scrape are asked here".into());
    }
    let reply = http.get(url, addrs, MAX_REPLY).await.map_err(|e| e.0)?;
    match read(&reply.body) {
        Err(error @ ReplyError::Refused(_)) => Err(error.to_string()),
        _ if !reply.status.is_success() => Err(format!("it answers \"{}\"", reply.status)),
        read => read.map_err(|error| error.to_string()),
    }
}

/// The addresses by family, without a family that we do not listen on: a tracker that saw us there
/// would send peers to where nobody answers. If that leaves nothing, all of them.
fn families(found: &[SocketAddr], listen: IpAddr) -> (Vec<SocketAddr>, Vec<SocketAddr>) {
    let (v4, v6): (Vec<_>, Vec<_>) = found.iter().copied().partition(SocketAddr::is_ipv4);
    // A listener on [::] takes both.
    let takes_v4 = listen.is_ipv4() || listen.is_unspecified();
    let takes_v6 = listen.is_ipv6();
    match (takes_v4 && !v4.is_empty(), takes_v6 && !v6.is_empty()) {
        (true, false) => (v4, Vec::new()),
        (false, true) => (Vec::new(), v6),
        _ => (v4, v6),
    }
}

fn translate(reply: AnnounceReply) -> engine::Answer {
    let seconds = |seconds: u32| engine::Duration::from_secs(u64::from(seconds));
    engine::Answer {
        interval: seconds(reply.interval),
        min_interval: reply.min_interval.map(seconds),
        seeds: reply.complete,
        leeches: reply.incomplete,
        completed: reply.downloaded,
        peers: reply.peers,
        warning: reply.warning,
    }
}

/// Two replies of one tracker: all peers, the larger counts (both are of the same swarm), the earlier
/// next time.
fn merge(first: AnnounceReply, second: AnnounceReply) -> engine::Answer {
    let (mut all, other) = (translate(first), translate(second));
    all.interval = all.interval.min(other.interval);
    all.min_interval = all.min_interval.max(other.min_interval);
    all.seeds = all.seeds.max(other.seeds);
    all.leeches = all.leeches.max(other.leeches);
    all.completed = all.completed.max(other.completed);
    for peer in other.peers {
        if !all.peers.contains(&peer) {
            all.peers.push(peer);
        }
    }
    all.warning = all.warning.or(other.warning);
    all
}

/// The counts of one swarm at a tracker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrapeEntry {
    /// The swarm.
    pub info_hash: InfoHash,
    /// What the tracker knows of it; `None` if it does not know it.
    pub counts: Option<ScrapeCounts>,
}

/// Asks a tracker for the counts of swarms (BEP 48).
pub(crate) async fn scrape(
    http: &Http,
    udp: &Udp,
    tracker: &str,
    hashes: &[InfoHash],
) -> Result<Vec<ScrapeEntry>, NodeError> {
    if Target::is_meant(tracker) {
        return scrape_udp(udp, tracker, hashes).await;
    }
    let mut entries = Vec::with_capacity(hashes.len());
    for hashes in hashes.chunks(MAX_SCRAPE) {
        let request = ScrapeRequest {
            info_hashes: hashes.to_vec(),
        };
        let Some(text) = request.to_url(tracker) else {
            return Err(NodeError::Url {
                url: tracker.to_owned(),
                message: "no scrape address belongs to it: its last part does not begin with \"announce\""
                    .to_owned(),
            });
        };
        let url = parse(&text, tracker)?;
        let reply = fetch(http, &url, &[], ScrapeReply::decode).await;
        let reply = reply.map_err(|message| NodeError::Http {
            url: tracker.to_owned(),
            message,
        })?;
        entries.extend(hashes.iter().map(|hash| ScrapeEntry {
            info_hash: *hash,
            counts: reply.get(*hash),
        }));
    }
    Ok(entries)
}

/// The same over UDP (BEP 15), where a tracker cannot say that it does not know a swarm: it says zeros.
async fn scrape_udp(
    udp: &Udp,
    tracker: &str,
    hashes: &[InfoHash],
) -> Result<Vec<ScrapeEntry>, NodeError> {
    let fail = |message| NodeError::Http {
        url: tracker.to_owned(),
        message,
    };
    let target = Target::parse(tracker).map_err(|message| NodeError::Url {
        url: tracker.to_owned(),
        message,
    })?;
    let found = look_up(target.host(), target.port()).await;
    let found = found.map_err(|error| fail(error.0))?;
    // Either family will do: the counts are those of the whole swarm.
    let (v4, v6): (Vec<_>, Vec<_>) = found.into_iter().partition(SocketAddr::is_ipv4);
    let mut entries = Vec::with_capacity(hashes.len());
    for hashes in hashes.chunks(MAX_UDP_SCRAPE) {
        let ask = async |addrs: &[SocketAddr]| match addrs {
            [] => None,
            addrs => Some(udp.scrape(addrs, hashes).await),
        };
        let counts = match both(ask(&v4), ask(&v6)).await {
            (Some(Ok(counts)), _) | (_, Some(Ok(counts))) => counts,
            (Some(Err(error)), _) | (_, Some(Err(error))) => return Err(fail(error)),
            (None, None) => return Err(fail("its name has no address".to_owned())),
        };
        let mut counts = counts.into_iter();
        entries.extend(hashes.iter().map(|hash| ScrapeEntry {
            info_hash: *hash,
            counts: counts.next(),
        }));
    }
    Ok(entries)
}

/// Fetches a .torrent file.
pub(crate) async fn fetch_torrent(http: &Http, text: &str) -> Result<Vec<u8>, NodeError> {
    let url = parse(text, text)?;
    let fail = |error: HttpError| NodeError::Http {
        url: text.to_owned(),
        message: error.0,
    };
    let reply = http.get(&url, &[], MAX_TORRENT_BYTES).await.map_err(fail)?;
    if !reply.status.is_success() {
        return Err(NodeError::Http {
            url: text.to_owned(),
            message: format!("it answers \"{}\"", reply.status),
        });
    }
    if reply.body.first() != Some(&b'd') {
        return Err(NodeError::Reply {
            url: text.to_owned(),
            message: "that is no .torrent file".to_owned(),
        });
    }
    Ok(reply.body.to_vec())
}

fn parse(text: &str, shown: &str) -> Result<Url, NodeError> {
    Url::parse(text).map_err(|message| NodeError::Url {
        url: shown.to_owned(),
        message,
    })
}

/// Whether we can ask this tracker. WebSocket trackers cannot be asked.
pub(crate) fn is_supported(tracker: &str) -> bool {
    Way::parse(tracker, str::to_owned).is_ok()
}

#[cfg(test)]
mod tests;

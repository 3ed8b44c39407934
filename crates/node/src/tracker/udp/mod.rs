//! Asking trackers over UDP (BEP 15), with the path of their address in the packet (BEP 41).
//!
//! One [`Line`] for each tracker's address serves all torrents of the session: they share its
//! connection id, and what is known of its silence. Nobody waits for anybody else's answer: the
//! replies find whoever asked by the transaction id.

mod conn;
mod line;
mod target;

pub(crate) use target::Target;

use line::Line;
use samara_proto::InfoHash;
use samara_proto::tracker::udp::{Hashes, Options, ReplyBody, Request, UdpAnnounce};
use samara_proto::tracker::{AnnounceReply, AnnounceRequest, ScrapeCounts};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Addresses of trackers that are remembered. A session with more asks on: those that nobody is using
/// are forgotten first.
const LINES_MAX: usize = 256;

/// How long things take; tests are less patient.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// Wait for the first packet's answer; doubled with each that is not answered (BEP 15: 15 s).
    pub(crate) first_wait: Duration,
    /// A whole question, packets sent again included. Shorter than BEP 15's two hours, so that the next
    /// tracker is asked meanwhile (BEP 12): what is known of the silence stays with the line.
    pub(crate) budget: Duration,
    /// A connection id is used for so long after it came (BEP 15: a minute).
    pub(crate) id_life: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            first_wait: Duration::from_secs(15),
            budget: Duration::from_secs(20),
            id_life: Duration::from_secs(60),
        }
    }
}

/// Asks trackers over UDP.
#[derive(Debug)]
pub(crate) struct Udp {
    listen: IpAddr,
    timing: Timing,
    lines: Mutex<BTreeMap<SocketAddr, Arc<Line>>>,
}

impl Udp {
    /// Packets are sent from `listen` if that is a particular address.
    pub(crate) fn new(listen: IpAddr, timing: Timing) -> Self {
        Self {
            listen,
            timing,
            lines: Mutex::default(),
        }
    }

    /// Announces to one of `addrs`, which are of one family.
    pub(crate) async fn announce(
        &self,
        target: &Target,
        addrs: &[SocketAddr],
        words: &AnnounceRequest,
    ) -> Result<AnnounceReply, String> {
        let announce = UdpAnnounce {
            info_hash: words.info_hash,
            peer_id: words.peer_id,
            downloaded: words.downloaded,
            left: words.left,
            uploaded: words.uploaded,
            event: words.event,
            ip: None,
            key: words.key.unwrap_or_default(),
            numwant: words.numwant,
            port: words.port,
        };
        let options = target.options();
        let write = |connection, transaction| {
            let mut out = Vec::new();
            let options = Options::packed(&options);
            let request = Request::Announce {
                connection,
                transaction,
                announce,
                options,
            };
            request.encode(&mut out);
            out
        };
        match self.line(addrs)?.ask(write).await? {
            ReplyBody::Announce {
                interval,
                leeches,
                seeds,
                peers,
            } => Ok(AnnounceReply {
                interval,
                complete: Some(seeds),
                incomplete: Some(leeches),
                peers,
                ..AnnounceReply::default()
            }),
            other => Err(unfit(&other)),
        }
    }

    /// Asks one of `addrs` for the counts of swarms, not more than a packet holds.
    pub(crate) async fn scrape(
        &self,
        addrs: &[SocketAddr],
        hashes: &[InfoHash],
    ) -> Result<Vec<ScrapeCounts>, String> {
        let packed: Vec<u8> = hashes.iter().flat_map(|hash| hash.0).collect();
        let write = |connection, transaction| {
            let mut out = Vec::new();
            let hashes = Hashes::packed(&packed);
            let request = Request::Scrape {
                connection,
                transaction,
                hashes,
            };
            request.encode(&mut out);
            out
        };
        match self.line(addrs)?.ask(write).await? {
            ReplyBody::Scrape(counts) => Ok(counts
                .into_iter()
                .map(|[complete, downloaded, incomplete]| ScrapeCounts {
                    complete,
                    downloaded,
                    incomplete,
                    downloaders: None,
                })
                .collect()),
            other => Err(unfit(&other)),
        }
    }

    /// The line to the first address that is not known to be silent.
    fn line(&self, addrs: &[SocketAddr]) -> Result<Arc<Line>, String> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let speaks = |addr: &&SocketAddr| lines.get(addr).is_none_or(|line| !line.is_silent());
        let addr = addrs.iter().find(speaks).or(addrs.first());
        let addr = *addr.ok_or("its name has no address")?;
        if lines.len() >= LINES_MAX && !lines.contains_key(&addr) {
            lines.retain(|_, line| Arc::strong_count(line) > 1);
        }
        let line = lines
            .entry(addr)
            .or_insert_with(|| Arc::new(Line::new(addr, self.listen, self.timing)));
        Ok(Arc::clone(line))
    }
}

fn unfit(body: &ReplyBody) -> String {
    match body {
        ReplyBody::Error(refusal) => format!("the tracker refuses: {refusal}"),
        _ => "what answered is no tracker: it answers something else than it was asked".to_owned(),
    }
}

#[cfg(test)]
mod tests;

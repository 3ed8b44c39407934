//! Announces over HTTP: from a query to bencode.

use super::super::config::TrustIp;
use super::super::handle::Handle;
use super::super::live::Live;
use super::reply::number;
use crate::guard::Limit;
use crate::swarm::{Announce, Answer, Listed, Sink};
use samara_proto::tracker::{AnnounceRequest, Form, Refusal, RetryIn};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Buffers that a thread uses for one answer after the other.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    compact: Compact,
    pub(super) body: Vec<u8>,
}

/// Peers as they stand in a compact answer (BEP 23, 7).
#[derive(Debug, Default)]
struct Compact {
    v4: Vec<u8>,
    v6: Vec<u8>,
}

impl Sink for Compact {
    fn v4(&mut self, ip: Ipv4Addr, port: u16) {
        self.v4.extend_from_slice(&ip.octets());
        self.v4.extend_from_slice(&port.to_be_bytes());
    }

    fn v6(&mut self, ip: Ipv6Addr, port: u16) {
        self.v6.extend_from_slice(&ip.octets());
        self.v6.extend_from_slice(&port.to_be_bytes());
    }

    fn takes_both(&self) -> bool {
        true
    }
}

/// Answers an announce of `client` into `scratch.body`; whether it is in the compact form.
pub(super) fn announce(
    handle: &Handle,
    live: &Live,
    client: IpAddr,
    query: &str,
    scratch: &mut Scratch,
) -> Result<bool, Refusal> {
    let request = AnnounceRequest::from_query(query).map_err(|error| Refusal {
        reason: error.to_string(),
        retry_in: Some(RetryIn::Never),
    })?;
    let announce = locate(live.trust_ip, client, &request);
    handle.admits(&announce.info_hash)?;
    let now = handle.now();
    let addr = SocketAddr::new(announce.source, announce.port);
    let guard = handle.guard();
    guard
        .announce(now, &announce.info_hash, addr)
        .map_err(refused_by)?;
    let form = Form::wanted(request.compact, request.no_peer_id);
    scratch.body.clear();
    let (told, interval) = if form == Form::Compact {
        let compact = &mut scratch.compact;
        compact.v4.clear();
        compact.v6.clear();
        let answer = handle.store().announce(now, &announce, compact)?;
        write_compact(&answer, announce.source, compact, &mut scratch.body);
        (
            compact.v4.len() / 6 + compact.v6.len() / 18,
            answer.interval,
        )
    } else {
        let mut listed = Listed::default();
        let answer = handle.store().announce(now, &announce, &mut listed)?;
        let reply = answer.reply(listed, announce.source);
        scratch.body.extend_from_slice(&reply.encode(form));
        (reply.peers.len(), answer.interval)
    };
    tracing::debug!(
        swarm = %announce.info_hash,
        peer = %addr,
        event = ?announce.event,
        left = announce.left,
        told,
        interval,
        "announce"
    );
    Ok(form == Form::Compact)
}

/// Where the peer is: where its connection comes from, or where it says if that is trusted.
fn locate(trust: TrustIp, client: IpAddr, request: &AnnounceRequest) -> Announce {
    let mut announce = Announce::new(request, client);
    if trust.covers(client) {
        announce.source = request.ip.map_or(client, |ip| ip.to_canonical());
        announce.also = match announce.source {
            IpAddr::V4(_) => request.ipv6,
            IpAddr::V6(_) => request.ipv4,
        };
    }
    announce
}

/// To one that asks too often. A minute is the shortest time that BEP 31 can say.
pub(super) fn refused_by(limit: Limit) -> Refusal {
    Refusal {
        reason: limit.words().into(),
        retry_in: Some(RetryIn::Minutes(1)),
    }
}

/// What [`AnnounceReply::encode`](samara_proto::tracker::AnnounceReply::encode) writes, without the
/// lists and dictionaries that it makes on the way: nine of ten requests are this one.
fn write_compact(answer: &Answer, source: IpAddr, peers: &Compact, out: &mut Vec<u8>) {
    let int = |key: &str, value: u32, out: &mut Vec<u8>| {
        out.extend_from_slice(key.as_bytes());
        number(value.into(), out);
        out.push(b'e');
    };
    let bytes = |key: &str, value: &[u8], out: &mut Vec<u8>| {
        out.extend_from_slice(key.as_bytes());
        number(value.len() as u64, out);
        out.push(b':');
        out.extend_from_slice(value);
    };
    out.push(b'd');
    int("8:completei", answer.stats.seeds, out);
    int("10:downloadedi", answer.stats.downloaded, out);
    match source.to_canonical() {
        IpAddr::V4(ip) => bytes("11:external ip", &ip.octets(), out),
        IpAddr::V6(ip) => bytes("11:external ip", &ip.octets(), out),
    }
    int("10:incompletei", answer.stats.leeches, out);
    int("8:intervali", answer.interval, out);
    if let Some(min) = answer.min_interval {
        int("12:min intervali", min, out);
    }
    bytes("5:peers", &peers.v4, out);
    if !peers.v6.is_empty() {
        bytes("6:peers6", &peers.v6, out);
    }
    if let Some(warning) = answer.warning() {
        bytes("15:warning message", warning.as_bytes(), out);
    }
    out.push(b'e');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::{Role, SwarmStats};

    /// The short way and the long way write the same bytes.
    #[test]
    fn compact_answers_are_those_of_the_protocol_room() {
        let stats = SwarmStats {
            seeds: 3,
            leeches: 40,
            waiting: 2,
            paused: 0,
            downloaded: 7,
            had_seed: true,
        };
        for (role, open, min_interval) in [
            (Some(Role::Leech), true, Some(15)),
            (Some(Role::Leech), false, Some(1)),
            (Some(Role::Waiting), false, None),
            (Some(Role::Seed), true, Some(900)),
            (None, true, None),
        ] {
            for peers in [
                vec![],
                vec!["192.0.2.1:6881"],
                vec!["[2001:db8::1]:1"],
                vec!["192.0.2.1:6881", "[2001:db8::1]:65535", "10.0.0.1:2"],
            ] {
                let answer = Answer {
                    interval: 1_800,
                    min_interval,
                    role,
                    open,
                    stats,
                };
                let peers: Vec<SocketAddr> = peers
                    .iter()
                    .map(|addr| addr.parse().expect("an address"))
                    .collect();
                let mut compact = Compact::default();
                for peer in &peers {
                    match peer.ip() {
                        IpAddr::V4(ip) => compact.v4(ip, peer.port()),
                        IpAddr::V6(ip) => compact.v6(ip, peer.port()),
                    }
                }
                for source in ["192.0.2.9", "2001:db8::9", "::ffff:192.0.2.9"] {
                    let source = source.parse().expect("an address");
                    let mut out = Vec::new();
                    write_compact(&answer, source, &compact, &mut out);
                    let long = answer.reply(Listed(peers.clone()), source);
                    assert_eq!(out, long.encode(Form::Compact));
                }
            }
        }
    }
}

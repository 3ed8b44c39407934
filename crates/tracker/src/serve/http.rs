//! From a request to a response.

use super::config::TrustIp;
use super::handle::Handle;
use super::pages;
use crate::guard::Limit;
use crate::swarm::{Announce, Listed};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Body;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use samara_proto::tracker::{
    AnnounceRequest, Form, Refusal, RetryIn, ScrapeRequest, percent_decode,
};
use std::net::{IpAddr, SocketAddr};

/// Answers one request from `client`, which is the address of the socket.
pub(super) fn answer<B: Body>(
    handle: &Handle,
    trust: TrustIp,
    client: IpAddr,
    request: &Request<B>,
) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET is understood here\n",
        );
        let allow = HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(header::ALLOW, allow);
        return closing(response);
    }
    if !request.body().is_end_stream() {
        let words = "requests have no body here\n";
        return closing(text(StatusCode::PAYLOAD_TOO_LARGE, words));
    }
    if let Err(limit) = handle.guard().request(handle.now(), client) {
        return closing(bencode(Err(refused_by(limit))));
    }
    let query = request.uri().query().unwrap_or("");
    match request.uri().path() {
        "/announce" => bencode(announce(handle, trust, client, query)),
        "/scrape" => bencode(scrape(handle, query)),
        "/health" => text(StatusCode::OK, "ok\n"),
        "/ready" if handle.is_ready() => text(StatusCode::OK, "ready\n"),
        "/ready" => text(StatusCode::SERVICE_UNAVAILABLE, "ending\n"),
        "/metrics" => page("text/plain; version=0.0.4", pages::metrics(handle)),
        "/" => page("text/html; charset=utf-8", pages::status(handle)),
        "/stats.json" => page("application/json", pages::stats_json(handle)),
        path => file(handle, path),
    }
}

fn announce(
    handle: &Handle,
    trust: TrustIp,
    client: IpAddr,
    query: &str,
) -> Result<Vec<u8>, Refusal> {
    let request = AnnounceRequest::from_query(query).map_err(|error| Refusal {
        reason: error.to_string(),
        retry_in: Some(RetryIn::Never),
    })?;
    let announce = locate(trust, client, &request);
    handle.admits(&announce.info_hash)?;
    let now = handle.now();
    let addr = SocketAddr::new(announce.source, announce.port);
    handle
        .guard()
        .announce(now, &announce.info_hash, addr)
        .map_err(refused_by)?;
    let mut listed = Listed::default();
    let answer = handle.store().announce(now, &announce, &mut listed)?;
    let reply = answer.reply(listed, announce.source);
    tracing::debug!(
        swarm = %announce.info_hash,
        peer = %addr,
        event = ?announce.event,
        left = announce.left,
        told = reply.peers.len(),
        interval = reply.interval,
        "announce"
    );
    Ok(reply.encode(Form::wanted(request.compact, request.no_peer_id)))
}

/// To one that asks too often. Its next announce is a minute away, which is the shortest that BEP 31
/// can say.
fn refused_by(limit: Limit) -> Refusal {
    Refusal {
        reason: limit.words().into(),
        retry_in: Some(RetryIn::Minutes(1)),
    }
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

fn scrape(handle: &Handle, query: &str) -> Result<Vec<u8>, Refusal> {
    let request =
        ScrapeRequest::from_query(query).map_err(|error| Refusal::new(error.to_string()))?;
    if request.info_hashes.is_empty() {
        return Err(Refusal::new(
            "a scrape of everything is not served: name the info-hashes",
        ));
    }
    Ok(handle.store().scrape(&request.info_hashes).encode())
}

fn file(handle: &Handle, path: &str) -> Response<Full<Bytes>> {
    // `+` is itself in a path, and a space only in a query.
    let path = percent_decode(&path.replace('+', "%2B"));
    let file = String::from_utf8(path)
        .ok()
        .and_then(|path| handle.file(&path));
    let Some(file) = file else {
        return text(StatusCode::NOT_FOUND, "there is nothing here\n");
    };
    let mut response = Response::new(Full::new(file.bytes));
    let kind = HeaderValue::from_str(&file.content_type)
        .unwrap_or(HeaderValue::from_static("application/octet-stream"));
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// A refusal is a success for HTTP: clients read the reason only from a reply with status 200.
fn bencode(answer: Result<Vec<u8>, Refusal>) -> Response<Full<Bytes>> {
    let bytes = answer.unwrap_or_else(|refusal| {
        tracing::debug!(reason = %refusal, "refused");
        refusal.encode()
    });
    page("text/plain; charset=iso-8859-1", bytes)
}

fn page(content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn text(status: StatusCode, words: &'static str) -> Response<Full<Bytes>> {
    let mut response = page("text/plain; charset=utf-8", words);
    *response.status_mut() = status;
    response
}

/// The connection ends with this response.
pub(super) fn closing(mut response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}

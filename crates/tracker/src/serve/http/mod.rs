//! The tracker over HTTP/1 (RFC 9112), as much of it as a tracker needs: GET and HEAD without bodies,
//! connections that stay, requests that do not wait for the answer before (pipelining).
//!
//! It is written out here rather than taken from a library because the limits are the point
//! (`docs/decisions/0009-own-http.md`). The parser of heads is hyper's, `httparse`.

mod announce;
mod connection;
#[cfg(target_os = "linux")]
mod door;
mod forwarded;
mod head;
mod reply;
mod tls;

pub(super) use connection::{Asker, Begun, serve};
#[cfg(target_os = "linux")]
pub(super) use door::Door;
pub use forwarded::ProxyHeader;
pub(super) use tls::Tls;
pub use tls::{TlsError, TlsFiles};

use super::handle::Handle;
use super::keys;
use super::live::Live;
use super::pages;
use announce::{Scratch, announce, refused_by};
use head::{Head, HeadError, Verb};
use reply::{Reply, Status};
use samara_proto::tracker::{Refusal, ScrapeRequest, percent_decode};
use std::net::IpAddr;

/// What bencode is called. Nothing better is registered, and clients do not look.
const BENCODE: &str = "text/plain; charset=iso-8859-1";

/// Answers one request into `out`; whether the connection stays. `socket` is who is at its other end.
// long: what is asked of each page, in the order in which it is found out
fn answer(
    handle: &Handle,
    live: &Live,
    socket: IpAddr,
    head: &Head<'_>,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> bool {
    let close = !head.keep_alive;
    let mut words = |status, text: &str| {
        let reply = Reply::words(status);
        let reply = if close { reply.closing() } else { reply };
        reply.write(Some(head), text.as_bytes(), out);
        !close
    };
    if head.verb == Verb::Other {
        words(Status::OnlyGet, "only GET is understood here\n");
        return false;
    }
    if head.has_body {
        words(Status::TooLarge, "requests have no body here\n");
        return false;
    }
    let (path, query) = head.path_and_query();
    // Whoever watches the tracker asks it directly, proxies or not.
    match path {
        "/health" => return words(Status::Ok, "ok\n"),
        "/ready" if handle.is_ready() => return words(Status::Ok, "ready\n"),
        "/ready" => return words(Status::Ending, "not ready\n"),
        _ => {}
    }
    let client = if live.is_proxy(socket) {
        forwarded::client(live.proxy_header, &head.forwarded, &live.proxies)
    } else {
        Some(socket)
    };
    let Some(client) = client else {
        let name = live.proxy_header;
        let text = format!("the proxy does not say who asks: have it send {name}\n");
        return words(Status::BadRequest, &text);
    };
    if let Err(limit) = handle.guard().request(handle.now(), client) {
        let body = refused_by(limit).encode();
        let reply = Reply::page(BENCODE).vain().closing();
        reply.write(Some(head), &body, out);
        return false;
    }
    let mut page = Reply::page("");
    page.close = close;
    let (key, rest) = keys::split(path);
    let is_page = matches!(path, "/" | "/stats.json" | "/metrics");
    if is_page && !live.shows_pages_to(client) {
        return words(Status::Forbidden, "this page is not for everybody\n");
    }
    match rest {
        "/announce" | "/scrape" if key.is_none() || live.keys.is_some() => {
            page.kind = BENCODE;
            let done = live.admit(key).and_then(|()| match rest {
                "/announce" => announce(handle, live, client, query, scratch),
                _ => scrape(handle, query, scratch),
            });
            match done {
                Ok(true) => page.vain().write(Some(head), &scratch.body, out),
                Ok(false) => page.write(Some(head), &scratch.body, out),
                // A refusal is a success for HTTP: clients read the reason only from a reply with status 200.
                Err(refusal) => {
                    tracing::debug!(reason = %refusal, "refused");
                    page.vain().write(Some(head), &refusal.encode(), out);
                }
            }
        }
        "/metrics" => {
            page.kind = "text/plain; version=0.0.4";
            page.write(Some(head), pages::metrics(handle).as_bytes(), out);
        }
        "/" => {
            page.kind = "text/html; charset=utf-8";
            page.write(Some(head), pages::status(handle).as_bytes(), out);
        }
        "/stats.json" => {
            page.kind = "application/json";
            page.write(Some(head), pages::stats_json(handle).as_bytes(), out);
        }
        _ => {
            // `+` is itself in a path, and a space only in a query.
            let path = percent_decode(&path.replace('+', "%2B"));
            let file = String::from_utf8(path)
                .ok()
                .and_then(|path| handle.file(&path));
            let Some(file) = file else {
                return words(Status::NotFound, "there is nothing here\n");
            };
            page.kind = &file.content_type;
            page.keep = true;
            page.write(Some(head), &file.bytes, out);
        }
    }
    !close
}

/// Answers what cannot be read.
fn answer_rubbish(error: HeadError, out: &mut Vec<u8>) {
    let (status, text) = match error {
        HeadError::Malformed => (Status::BadRequest, "this is no HTTP/1 request\n"),
        HeadError::TooManyHeaders => (Status::HeadTooLarge, "too many headers\n"),
    };
    Reply::words(status)
        .closing()
        .write(None, text.as_bytes(), out);
}

/// Answers a head that does not end.
fn answer_giant(out: &mut Vec<u8>) {
    let reply = Reply::words(Status::HeadTooLarge).closing();
    reply.write(None, b"the request is too long\n", out);
}

fn scrape(handle: &Handle, query: &str, scratch: &mut Scratch) -> Result<bool, Refusal> {
    let request =
        ScrapeRequest::from_query(query).map_err(|error| Refusal::new(error.to_string()))?;
    if request.info_hashes.is_empty() {
        return Err(Refusal::new(
            "a scrape of everything is not served: name the info-hashes",
        ));
    }
    scratch.body = handle.store().scrape(&request.info_hashes).encode();
    Ok(false)
}

//! The store against what the text says, against a naive model, and against chance.

mod fair;
mod limits;
mod membership;
mod model;
mod news;
mod saved;
mod seed_rule;
mod times;

use super::{Announce, Config, Store};
use samara_proto::tracker::{AnnounceReply, Event};
use samara_proto::{InfoHash, PeerId};
use std::net::{IpAddr, SocketAddr};

const HASH: InfoHash = InfoHash([7; 20]);
const SIZE: u64 = 1_000_000;

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// A leech that has nothing, named after `n`, on a public address of its own.
fn leech(n: u32) -> Announce {
    let mut id = [b'-'; 20];
    id[16..].copy_from_slice(&n.to_be_bytes());
    let [_, b, c, d] = n.to_be_bytes();
    Announce {
        info_hash: HASH,
        peer_id: PeerId(id),
        key: Some(n),
        source: IpAddr::from([50, b, c, d]),
        port: 6881,
        also: None,
        downloaded: 0,
        left: Some(SIZE),
        size: None,
        event: Event::Started,
        numwant: None,
    }
}

fn seed(n: u32) -> Announce {
    Announce {
        left: Some(0),
        ..leech(n)
    }
}

fn on(announce: Announce, text: &str) -> Announce {
    let addr = addr(text);
    Announce {
        source: addr.ip(),
        port: addr.port(),
        ..announce
    }
}

fn with(announce: &Announce, event: Event, left: u64) -> Announce {
    Announce {
        event,
        left: Some(left),
        ..announce.clone()
    }
}

fn store() -> Store {
    Store::new(Config::default(), 1)
}

fn say(store: &mut Store, now: u64, announce: &Announce) -> AnnounceReply {
    let reply = store.announce(now, announce).expect("answered");
    store.check();
    reply
}

fn sorted(reply: &AnnounceReply) -> Vec<String> {
    let mut peers: Vec<String> = reply.peers.iter().map(ToString::to_string).collect();
    peers.sort();
    peers
}

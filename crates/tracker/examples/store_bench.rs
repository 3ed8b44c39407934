//! What the store costs: `cargo run --release -p samara-tracker --example store_bench`
//!
//! Prints nanoseconds an announce, in swarms of several sizes, and bytes of resident memory a peer
//! (Linux). One thread, no sockets.

use samara_proto::tracker::Event;
use samara_proto::{InfoHash, PeerId};
use samara_tracker::swarm::{Announce, Config, Store};
use std::net::IpAddr;
use std::time::Instant;

fn announce(n: u32, swarms: u32) -> Announce {
    let mut hash = [0; 20];
    // Multiplied by an odd number, so that neighbours in time are not neighbours in the index.
    hash[..4].copy_from_slice(&(n % swarms).wrapping_mul(0x9e37_79b1).to_be_bytes());
    let mut id = [0; 20];
    id[..4].copy_from_slice(&n.to_be_bytes());
    let [a, b, c, d] = n.to_be_bytes();
    Announce {
        info_hash: InfoHash(hash),
        peer_id: PeerId(id),
        key: Some(n),
        source: IpAddr::from([20 + a, b, c, d]),
        port: 6881,
        also: None,
        downloaded: 0,
        left: Some(u64::from(n / swarms % 2)),
        size: None,
        event: Event::None,
        numwant: Some(30),
    }
}

/// Resident bytes of this process; 0 where the system does not say.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4_096
}

fn main() {
    println!("   swarms      peers   join ns  again ns  bytes/peer");
    for (swarms, peers) in [
        (1, 1_000),
        (1, 100_000),
        (1_000, 200_000),
        (200_000, 400_000),
        (1_000_000, 2_000_000),
    ] {
        let before = resident();
        let mut store = Store::new(Config::default(), 1);
        let mut times = [0.0; 2];
        for (round, time) in times.iter_mut().enumerate() {
            let start = Instant::now();
            for n in 0..peers {
                let now = round as u64 * 2_000;
                store
                    .announce(now, &announce(n, swarms))
                    .expect("nothing is refused here");
            }
            *time = start.elapsed().as_nanos() as f64 / f64::from(peers);
        }
        let bytes = resident().saturating_sub(before) / u64::from(peers);
        println!(
            "{swarms:9} {peers:10} {:9.0} {:9.0} {bytes:11}",
            times[0], times[1]
        );
    }
}

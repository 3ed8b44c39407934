//! The smallest tracker:
//! `cargo run --release -p samara-tracker --example tracker -- 127.0.0.1:6969 [UDP-ADDRESS [WORKERS]]`
//!
//! What `samara tracker` does, without its settings; for measurements.

use samara_tracker::serve::{ServeConfig, Server};
use std::error::Error;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut config = ServeConfig::default();
    let mut args = std::env::args().skip(1);
    if let Some(listen) = args.next() {
        config.listen = listen.parse()?;
    }
    if let Some(udp) = args.next() {
        config.udp.push(udp.parse()?);
    }
    if let Some(workers) = args.next() {
        config.workers = workers.parse()?;
    }
    config.policy.allow_seedless = true;
    let server = Server::bind(config)?;
    println!("http://{}/announce", server.local_addr());
    for addr in server.udp_addrs() {
        println!("udp://{addr}");
    }
    let handle = server.handle();
    server
        .run(async {
            let _ = tokio::signal::ctrl_c().await;
        })
        .await;
    println!("{:?}\n{:?}", handle.stats(), handle.udp_stats());
    Ok(())
}

//! The smallest tracker: `cargo run --release -p samara-tracker --example tracker -- 127.0.0.1:6969`

use samara_tracker::serve::{ServeConfig, Server};
use std::error::Error;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut config = ServeConfig::default();
    if let Some(listen) = std::env::args().nth(1) {
        config.listen = listen.parse()?;
    }
    let server = Server::bind(config)?;
    println!("http://{}/announce", server.local_addr());
    server.run(std::future::pending::<()>()).await;
    Ok(())
}

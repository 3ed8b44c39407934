//! Torrents that have to be fetched before anything else can be done.

use crate::commands::App;
use crate::exit::Failure;
use crate::load;
use samara_node::{Session, SessionConfig};
use samara_proto::magnet::Magnet;
use samara_proto::metainfo::Metainfo;
use std::net::{Ipv4Addr, SocketAddr};

/// A session that takes no part in any swarm yet.
pub async fn session(app: &App, listen: SocketAddr) -> Result<Session, Failure> {
    let config = SessionConfig {
        listen,
        up_limit: app.settings.up_limit,
        down_limit: app.settings.down_limit,
        ..SessionConfig::default()
    };
    Session::start(config).await.map_err(Failure::failed)
}

/// The torrent at an http(s) address, for commands that talk to no peer.
pub async fn fetch(app: &App, url: &str) -> Result<Metainfo, Failure> {
    let session = session(app, (Ipv4Addr::LOCALHOST, 0).into()).await?;
    let fetched = fetch_with(app, &session, url).await;
    session.stop().await;
    fetched
}

/// The torrent at an http(s) address.
pub async fn fetch_with(app: &App, session: &Session, url: &str) -> Result<Metainfo, Failure> {
    let bytes = tokio::select! {
        fetched = session.fetch_torrent(url) => fetched.map_err(Failure::failed)?,
        _ = app.stop.asked() => return Err(Failure::interrupted()),
    };
    load::parse(&bytes, url, app.settings.names)
}

/// The torrent that a magnet link names, asked of peers.
pub async fn resolve(app: &App, magnet: &Magnet) -> Result<Metainfo, Failure> {
    let session = session(app, app.settings.listen).await?;
    let resolved = resolve_with(app, &session, magnet).await;
    session.stop().await;
    resolved
}

/// The torrent that a magnet link names, asked of peers, with the trackers of the link.
pub async fn resolve_with(
    app: &App,
    session: &Session,
    magnet: &Magnet,
) -> Result<Metainfo, Failure> {
    let name = magnet
        .name
        .clone()
        .unwrap_or_else(|| magnet.info_hash().to_string());
    app.out.note(&format!(
        "asking peers what \"{}\" is",
        crate::out::escape(&name)
    ));
    tokio::select! {
        resolved = session.fetch_metadata(magnet) => resolved.map_err(Failure::failed),
        _ = app.stop.asked() => Err(Failure::interrupted()),
    }
}

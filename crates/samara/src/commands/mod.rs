//! One file a command.

pub mod create;
pub mod demo;
pub mod get;
pub mod info;
pub mod scrape;
pub mod seed;
pub mod share;
pub mod tracker;
pub mod verify;

use crate::args::{Command, Settings};
use crate::exit::Failure;
use crate::out::Out;
use crate::out::events::Summary;
use crate::stop::Stop;
use samara_proto::metainfo::Info;
use std::sync::Arc;

/// What every command is given.
#[derive(Clone, Debug)]
pub struct App {
    /// The common flags.
    pub settings: Arc<Settings>,
    /// Where to print.
    pub out: Arc<Out>,
    /// When to stop.
    pub stop: Stop,
}

/// Runs one command to its end.
pub async fn run(app: &App, command: Command) -> Result<(), Failure> {
    match command {
        Command::Share(args) => share::run(app, args).await,
        Command::Get(args) => get::run(app, args).await,
        Command::Create(args) => create::run(app, args).await,
        Command::Seed(args) => seed::run(app, args).await,
        Command::Tracker(args) => tracker::run(app, args).await,
        Command::Info(args) => info::run(app, args).await,
        Command::Verify(args) => verify::run(app, args).await,
        Command::Scrape(args) => scrape::run(app, args).await,
        Command::Demo(args) => demo::run(app, args).await,
    }
}

/// Runs work that keeps a core busy on a thread of its own.
pub async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|err| Failure::failed(format!("internal error: {err}")))
}

/// The fields by which a torrent is known.
pub fn summary(info: &Info) -> Summary<'_> {
    Summary {
        name: &info.name,
        info_hash: info.info_hash().to_string(),
        info_hash_v2: info.hash_v2.map(|hash| hash.to_string()),
        bytes: info.total(),
        files: info.files.len() as u64,
        pieces: info.geometry.pieces(),
        piece_length: info.geometry.piece_length(),
    }
}

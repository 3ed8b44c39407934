//! `samara seed`: serves what is already here.

use super::get::{OnDisk, add, with_trackers};
use super::{App, on_a_thread, verify};
use crate::args::SeedCmd;
use crate::exit::{Exit, Failure};
use crate::follow::{Plan, follow};
use crate::load::Source;
use crate::peerless;
use samara_node::{Mode, Session};
use samara_proto::metainfo::{Info, Metainfo};
use std::path::PathBuf;
use std::sync::Arc;

/// Checks (or trusts the journal of an earlier run), then serves.
pub async fn run(app: &App, args: SeedCmd) -> Result<(), Failure> {
    if !args.data.is_dir() {
        return Err(Failure::failed(format!(
            "cannot seed from {}: it is not a folder; --data names the folder that holds the data",
            args.data.display()
        )));
    }
    let source = Source::of(&args.torrent, app.settings.names)?;
    let session = peerless::session(app, app.settings.listen).await?;
    let done = seed(app, &args, source, &session).await;
    session.stop().await;
    done
}

async fn seed(app: &App, args: &SeedCmd, source: Source, session: &Session) -> Result<(), Failure> {
    let metainfo: Metainfo = match source {
        Source::Torrent(metainfo) => *metainfo,
        Source::Url(url) => peerless::fetch_with(app, session, &url).await?,
        Source::Magnet(_) => {
            return Err(Failure::new(
                Exit::Usage,
                "a magnet link holds no hashes to check the data against; name a .torrent file",
            ));
        }
    };
    let metainfo = with_trackers(metainfo, &args.tracker);
    let info = Arc::new(metainfo.info.clone());
    let (torrent, plan) = add(
        app,
        session,
        metainfo,
        &args.data,
        Mode::Seed,
        args.seed,
        args.peer.clone(),
        OnDisk {
            record: args.record.clone(),
            ..OnDisk::default()
        },
    )
    .await?;
    let done = follow(
        app,
        &torrent,
        Plan {
            quiet_complete: true,
            ..plan
        },
    )
    .await;
    match done {
        Err(failure) if failure.exit == Exit::Mismatch => {
            Err(list(app, info, args.data.clone(), failure).await)
        }
        done => done,
    }
}

/// Says of every file what is wrong with it, so that one look tells what to mend.
async fn list(app: &App, info: Arc<Info>, data: PathBuf, failure: Failure) -> Failure {
    let inner = app.clone();
    let told = on_a_thread(move || {
        let report = verify::check(&inner, &info, &data)?;
        verify::tell(&inner, &info, &data, &report)
    });
    match told.await {
        Ok(Err(listed)) | Err(listed) => listed,
        // What was wrong a moment ago is right now; the first word stands.
        Ok(Ok(())) => failure,
    }
}

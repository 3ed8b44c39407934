//! `samara share`: tracker, .torrent and seed in one process.

use super::App;
use super::create::{make, output_path, write};
use super::get::{OnDisk, add};
use super::tracker::{bind, host_for};
use crate::args::Share;
use crate::exit::Failure;
use crate::follow::{Plan, follow};
use crate::host;
use crate::out::{Event, escape};
use crate::peerless;
use samara_disk::create::Created;
use samara_node::Mode;
use samara_proto::InfoHash;
use samara_proto::magnet::Magnet;
use samara_tracker::serve::{Handle, ServeError, Server};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::oneshot;

/// Where the tracker is looked for by habit.
const USUAL_PORT: u16 = 6969;

/// A seed that its own tracker does not know after this long cannot reach it by the name that others
/// are given.
const SELF_CHECK: Duration = Duration::from_secs(10);

/// Shares until it is stopped, or until the goal of `--seed` is reached.
pub async fn run(app: &App, args: Share) -> Result<(), Failure> {
    let server = open(args.http, args.allow_seedless).map_err(Failure::failed)?;
    let listen = server.local_addr();
    let base = format!(
        "http://{}",
        host::in_url(&host_for(listen, args.host.as_deref()), listen.port())
    );
    let announce = format!("{base}/announce");
    let created = make(app, &args.paths, &args.making, vec![vec![announce.clone()]]).await?;
    if let Some(output) = &args.output {
        write(
            &output_path(Some(output), &created.metainfo.info.name),
            &created.torrent,
            true,
        )?;
    }
    let root = root_of(&created)?;
    let handle = server.handle();
    let url = format!("{base}{}", publish(&handle, &created)?);

    let (end, ended) = oneshot::channel::<()>();
    let tracker = tokio::spawn(server.run(async move { drop(ended.await) }));
    let done = seed(app, &args, created, &root, &handle, &Said { url, announce }).await;
    let _ = end.send(());
    let _ = tracker.await;
    done
}

/// What other hosts are told.
struct Said {
    url: String,
    announce: String,
}

async fn seed(
    app: &App,
    args: &Share,
    created: Created,
    root: &Path,
    handle: &Handle,
    said: &Said,
) -> Result<(), Failure> {
    let session = peerless::session(app, app.settings.listen).await?;
    let info = &created.metainfo.info;
    let hash = info.info_hash();
    let magnet = Magnet::of(&created.metainfo).to_string();
    let name = info.name.clone();
    let added = add(
        app,
        &session,
        created.metainfo,
        root,
        Mode::Seed,
        args.seed,
        Vec::new(),
        OnDisk {
            trusted: true,
            ..OnDisk::default()
        },
    )
    .await;
    let (torrent, plan) = match added {
        Ok(added) => added,
        Err(failure) => {
            session.stop().await;
            return Err(failure);
        }
    };
    let command = format!("samara get {}", said.url);
    app.out.event(&Event::Share {
        command: &command,
        url: &said.url,
        announce: &said.announce,
        magnet: &magnet,
        name: &name,
    });
    app.out.note(&format!(
        "run this on the other hosts to get \"{}\":",
        escape(&name)
    ));
    app.out.result(&command);
    if app.settings.verbose > 0 {
        app.out.result(&magnet);
    }
    let checker = tokio::spawn(self_check(
        app.clone(),
        handle.clone(),
        hash,
        said.announce.clone(),
    ));
    let census = handle.clone();
    let census = move || {
        let swarm = census.swarm(hash)?;
        Some((
            swarm.seeds.into(),
            swarm.leeches.into(),
            swarm.downloaded.into(),
        ))
    };
    let plan = Plan {
        quiet_complete: true,
        census: Some(Box::new(census)),
        ..plan
    };
    let done = follow(app, &torrent, plan).await;
    checker.abort();
    session.stop().await;
    done
}

/// The usual port if nothing else was asked for and it is free, else any: two `share` side by side are
/// nothing unusual, and the line that is printed says which port it is.
fn open(asked: Option<SocketAddr>, allow_seedless: bool) -> Result<Server, ServeError> {
    if let Some(listen) = asked {
        return bind(listen, allow_seedless);
    }
    let on = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    match bind(on(USUAL_PORT), allow_seedless) {
        Err(err) if err.is_taken() => bind(on(0), allow_seedless),
        bound => bound,
    }
}

/// Serves the .torrent; gives its path as it stands in a URL.
fn publish(handle: &Handle, created: &Created) -> Result<String, Failure> {
    let info = &created.metainfo.info;
    for hash in info.names_in_swarms() {
        handle.register(hash, &info.name, Some(info.total()));
    }
    let path = format!("/{}.torrent", info.name);
    handle
        .add_file(&path, created.torrent.clone(), "application/x-bittorrent")
        .map_err(Failure::failed)
}

/// The folder that the torrent's paths are below. Several PATHs lie in one folder, which gave the
/// torrent its name, so that there always is one.
pub fn root_of(created: &Created) -> Result<PathBuf, Failure> {
    let files = &created.metainfo.info.files;
    let first = created.sources.first().zip(files.first());
    let root = first.and_then(|(source, file)| {
        let root = source.ancestors().nth(file.path.len())?.to_owned();
        // A relative path of one component has "" above it.
        Some(if root.as_os_str().is_empty() {
            PathBuf::from(".")
        } else {
            root
        })
    });
    let root = root.ok_or_else(|| Failure::failed("there is nothing to share"))?;
    for (source, file) in created.sources.iter().zip(files) {
        let here = file
            .path
            .iter()
            .fold(root.clone(), |path, part| path.join(part));
        let same = here == *source
            || here
                .canonicalize()
                .ok()
                .is_some_and(|here| source.canonicalize().ok() == Some(here));
        if !same {
            return Err(Failure::failed(format!(
                "{} does not lie where the torrent would have it ({}); share it by its real path",
                source.display(),
                here.display()
            )));
        }
    }
    Ok(root)
}

/// Warns if the name that others are given does not even lead here from here.
async fn self_check(app: App, handle: Handle, hash: InfoHash, announce: String) {
    tokio::time::sleep(SELF_CHECK).await;
    if handle.swarm(hash).is_none_or(|swarm| swarm.seeds == 0) {
        app.out.warning(&format!("the tracker has not heard of this seed: does {announce} lead to this host? --host says how others reach it"));
    }
}

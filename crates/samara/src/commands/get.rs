//! `samara get`: downloads, checks, seeds.

use super::{App, on_a_thread};
use crate::args::{Get, Goal};
use crate::exit::Failure;
use crate::follow::{Plan, follow};
use crate::load::{Source, tiers};
use crate::out::Meter;
use crate::peerless;
use samara_disk::check::{CheckError, Control, verify_some};
use samara_disk::store::{JOURNAL_FOLDER, Store, StoreOptions};
use samara_engine::SeedGoal;
use samara_node::{AddTorrent, Mode, Session, Torrent};
use samara_proto::Bitfield;
use samara_proto::metainfo::{Info, Metainfo};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Names of files in the way that one line holds.
const NAMES_SHOWN: usize = 3;

/// Downloads.
pub async fn run(app: &App, args: Get) -> Result<(), Failure> {
    let source = Source::of(&args.source, app.settings.names)?;
    let session = peerless::session(app, app.settings.listen).await?;
    let done = get(app, &args, source, &session).await;
    session.stop().await;
    done
}

async fn get(app: &App, args: &Get, source: Source, session: &Session) -> Result<(), Failure> {
    let mut candidates = args.peer.clone();
    let metainfo = match source {
        Source::Torrent(metainfo) => *metainfo,
        Source::Url(url) => peerless::fetch_with(app, session, &url).await?,
        Source::Magnet(mut magnet) => {
            magnet.trackers.extend(tiers(&args.tracker).concat());
            magnet
                .peers
                .extend(args.peer.iter().map(ToString::to_string));
            for peer in &magnet.peers {
                if let Ok(found) = tokio::net::lookup_host(peer.as_str()).await {
                    candidates.extend(found);
                }
            }
            let metainfo = peerless::resolve_with(app, session, &magnet).await?;
            let trackers = magnet
                .trackers
                .iter()
                .map(|url| vec![url.clone()])
                .collect();
            metainfo.with_trackers(trackers)
        }
    };
    let metainfo = with_trackers(metainfo, &args.tracker);
    let (inner, info, root, force) = (
        app.clone(),
        Arc::new(metainfo.info.clone()),
        args.output.clone(),
        args.force,
    );
    on_a_thread(move || make_way(&inner, &info, &root, force)).await??;
    let (torrent, plan) = add(
        app,
        session,
        metainfo,
        &args.output,
        Mode::Get,
        args.seed,
        candidates,
        OnDisk {
            preallocate: args.preallocate,
            record: args.record.clone(),
            ..OnDisk::default()
        },
    )
    .await?;
    follow(app, &torrent, plan).await
}

/// The torrent with the trackers of `-t` in front.
pub fn with_trackers(metainfo: Metainfo, flags: &[String]) -> Metainfo {
    if flags.is_empty() {
        return metainfo;
    }
    let mut all = tiers(flags);
    all.extend(metainfo.trackers.iter().cloned());
    metainfo.with_trackers(all)
}

/// What is, and what is to be, on the disk.
#[derive(Clone, Debug, Default)]
pub struct OnDisk {
    /// The data were hashed a moment ago.
    pub trusted: bool,
    /// Take the space of all files first.
    pub preallocate: bool,
    /// Write down what the engine is told into this file.
    pub record: Option<PathBuf>,
}

/// Adds a torrent to the session; the plan is for following it.
#[allow(
    clippy::too_many_arguments,
    reason = "three callers, each with its own mix"
)]
pub async fn add(
    app: &App,
    session: &Session,
    metainfo: Metainfo,
    root: &Path,
    mode: Mode,
    goal: Goal,
    candidates: Vec<SocketAddr>,
    on_disk: OnDisk,
) -> Result<(Torrent, Plan), Failure> {
    let plan = Plan {
        info: Arc::new(metainfo.info.clone()),
        root: root.to_owned(),
        listen: session.listen_addr(),
        goal,
        trackers: metainfo.trackers.concat(),
        quiet_complete: false,
        census: None,
    };
    let mut request = AddTorrent {
        candidates,
        trust_existing: on_disk.trusted,
        preallocate: on_disk.preallocate,
        record: on_disk.record,
        ..AddTorrent::new(metainfo, root, mode)
    };
    request.config.seed_goal = seed_goal(goal);
    let torrent = tokio::select! {
        added = session.add(request) => added.map_err(Failure::failed)?,
        _ = app.stop.asked() => return Err(Failure::interrupted()),
    };
    Ok((torrent, plan))
}

/// The engine's word for a goal.
pub fn seed_goal(goal: Goal) -> SeedGoal {
    match goal {
        Goal::Everyone => SeedGoal::Everyone,
        Goal::None => SeedGoal::None,
        Goal::Forever => SeedGoal::Forever,
        Goal::Ratio(ratio) => SeedGoal::Ratio(ratio),
        Goal::Time(time) => SeedGoal::Time(samara_engine::Duration::from_millis(
            u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
        )),
    }
}

/// Refuses to write over files that have nothing to do with the torrent. A file that an earlier run
/// wrote is vouched for by its journal; a file that came otherwise is ours if at least one piece in it
/// is right. With `force`, what is in the way is removed.
fn make_way(app: &App, info: &Arc<Info>, root: &Path, force: bool) -> Result<(), Failure> {
    let journal = root
        .join(JOURNAL_FOLDER)
        .join(format!("{}.redb", info.info_hash()));
    if journal.exists() {
        return Ok(());
    }
    let there: Vec<(u32, PathBuf, u64)> = (0..)
        .zip(&info.files)
        .filter_map(|(at, file)| {
            let path = file
                .path
                .iter()
                .fold(root.to_owned(), |path, part| path.join(part));
            let found = std::fs::symlink_metadata(&path).ok()?;
            (found.is_file() && found.len() > 0).then_some((at, path, found.len()))
        })
        .collect();
    if there.is_empty() {
        return Ok(());
    }
    let right = right_pieces(app, info, root, &there)?;
    let unrelated: Vec<&PathBuf> = there
        .iter()
        .filter(|(at, _, length)| {
            let file = &info.files[*at as usize];
            *length > file.length || !pieces_of(info, *at).any(|piece| right.get(piece))
        })
        .map(|(_, path, _)| path)
        .collect();
    if force {
        for path in &unrelated {
            std::fs::remove_file(path).map_err(|err| {
                Failure::failed(format!("cannot remove {}: {err}", path.display()))
            })?;
        }
        return Ok(());
    }
    match unrelated.as_slice() {
        [] => Ok(()),
        [one] => Err(Failure::failed(format!(
            "{} is there already and is not part of this torrent; move it, choose another folder with -o, or overwrite it with --force",
            one.display()
        ))),
        many => {
            let names: Vec<String> = many
                .iter()
                .take(NAMES_SHOWN)
                .map(|path| path.display().to_string())
                .collect();
            let more = many.len().saturating_sub(NAMES_SHOWN);
            let more = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            Err(Failure::failed(format!(
                "{}{more} are there already and are not part of this torrent; move them, choose another folder with -o, or overwrite them with --force",
                names.join(", ")
            )))
        }
    }
}

/// The pieces in files that are there which are right. A file that is longer than it should be is
/// unrelated without a look.
fn right_pieces(
    app: &App,
    info: &Arc<Info>,
    root: &Path,
    there: &[(u32, PathBuf, u64)],
) -> Result<Bitfield, Failure> {
    let mut wanted = Bitfield::empty(info.geometry.pieces());
    for (at, _, _) in there {
        for piece in pieces_of(info, *at) {
            wanted.set(piece);
        }
    }
    let options = StoreOptions {
        follow_links: true,
        ..StoreOptions::read_only()
    };
    let Ok(store) = Store::open(Arc::clone(info), root, options) else {
        // Whatever is wrong there is told when it is opened for writing.
        return Ok(Bitfield::full(info.geometry.pieces()));
    };
    let meter = Meter::new(
        &app.out,
        "looking at what is there",
        u64::from(wanted.count()) * u64::from(info.geometry.piece_length()),
    );
    let done = AtomicU64::new(0);
    let progress = |bytes: u64| meter.at(done.fetch_add(bytes, Ordering::Relaxed) + bytes);
    verify_some(
        &store,
        &wanted,
        Control {
            threads: 0,
            progress: &progress,
            cancel: app.stop.flag(),
        },
    )
    .map_err(|err| match err {
        CheckError::Cancelled => Failure::interrupted(),
        err => Failure::failed(err),
    })
}

fn pieces_of(info: &Info, file: u32) -> impl Iterator<Item = u32> + use<> {
    let piece_length = u64::from(info.geometry.piece_length());
    let range = info
        .files
        .get(file as usize)
        .filter(|file| file.length > 0)
        .map(|file| {
            let first = (file.offset / piece_length) as u32;
            let last = ((file.offset + file.length - 1) / piece_length) as u32;
            first..=last
        });
    range.into_iter().flatten()
}

//! `samara verify`: data on disk against a torrent, piece by piece and file by file.

use super::{App, on_a_thread};
use crate::args;
use crate::exit::{Exit, Failure};
use crate::load::Source;
use crate::out::units::{Time, count, grouped};
use crate::out::{Event, Meter, escape};
use crate::peerless;
use samara_disk::check::{CheckError, Control, Outcome, check_files, verify};
use samara_disk::store::{Store, StoreOptions};
use samara_proto::Bitfield;
use samara_proto::metainfo::{Info, Version};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What was found.
#[derive(Debug)]
pub struct Report {
    /// Pieces that are right.
    pub pieces: Bitfield,
    /// One a file, in the order of the torrent.
    pub files: Vec<Outcome>,
    /// How long it took.
    pub took: Duration,
}

/// Checks and tells.
pub async fn run(app: &App, args: args::Verify) -> Result<(), Failure> {
    let metainfo = match Source::of(&args.torrent, app.settings.names)? {
        Source::Torrent(metainfo) => *metainfo,
        Source::Url(url) => peerless::fetch(app, &url).await?,
        Source::Magnet(_) => {
            return Err(Failure::new(
                Exit::Usage,
                "a magnet link holds no hashes to check against; name a .torrent file",
            ));
        }
    };
    let info = Arc::new(metainfo.info);
    let (inner, shared, data) = (app.clone(), Arc::clone(&info), args.data.clone());
    let report = on_a_thread(move || check(&inner, &shared, &data)).await??;
    tell(app, &info, &args.data, &report)
}

/// Reads all data twice at most: pieces against their hashes, then whole files against theirs where
/// that proves more. In a v2 torrent the pieces' hashes are part of the file's tree, so right pieces
/// are a right file.
pub fn check(app: &App, info: &Arc<Info>, data: &Path) -> Result<Report, Failure> {
    if !data.is_dir() {
        return Err(Failure::failed(format!(
            "cannot check {}: it is not a folder; --data names the folder that holds \"{}\"",
            data.display(),
            info.name
        )));
    }
    let began = Instant::now();
    let options = StoreOptions {
        follow_links: true,
        ..StoreOptions::read_only()
    };
    let store = Store::open(Arc::clone(info), data, options).map_err(Failure::failed)?;
    let failed = |err: CheckError| match err {
        CheckError::Cancelled => Failure::interrupted(),
        err => Failure::failed(err),
    };
    let pieces = {
        let meter = Meter::new(&app.out, "checking pieces", info.total());
        let done = AtomicU64::new(0);
        let progress = |bytes: u64| meter.at(done.fetch_add(bytes, Ordering::Relaxed) + bytes);
        verify(
            &store,
            Control {
                threads: 0,
                progress: &progress,
                cancel: app.stop.flag(),
            },
        )
        .map_err(failed)?
    };
    let by_pieces = files_by_pieces(&store, &pieces);
    let proves_more = info.version != Version::V2
        && info
            .files
            .iter()
            .any(|file| file.sha1.is_some() || file.root.is_some());
    let files = if proves_more {
        let meter = Meter::new(&app.out, "checking files", info.total());
        let done = AtomicU64::new(0);
        let progress = |bytes: u64| meter.at(done.fetch_add(bytes, Ordering::Relaxed) + bytes);
        let checks = check_files(
            &store,
            Control {
                threads: 0,
                progress: &progress,
                cancel: app.stop.flag(),
            },
        )
        .map_err(failed)?;
        by_pieces
            .into_iter()
            .zip(checks)
            .map(|(by_pieces, check)| match check.outcome {
                // A piece may be wrong for the neighbour's sake; the file's own hash knows better.
                Outcome::NoHash => by_pieces,
                outcome => outcome,
            })
            .collect()
    } else {
        by_pieces
    };
    Ok(Report {
        pieces,
        files,
        took: began.elapsed(),
    })
}

/// What the pieces say about each file.
fn files_by_pieces(store: &Store, pieces: &Bitfield) -> Vec<Outcome> {
    let info = store.info();
    let piece_length = u64::from(info.geometry.piece_length());
    (0..)
        .zip(&info.files)
        .map(|(at, file)| {
            if store.fingerprint(at).is_none() {
                return Outcome::Missing;
            }
            if store
                .fingerprint(at)
                .is_some_and(|found| found.size != file.length)
            {
                return Outcome::Bad;
            }
            if file.length == 0 {
                return Outcome::Ok;
            }
            let first = (file.offset / piece_length) as u32;
            let last = ((file.offset + file.length - 1) / piece_length) as u32;
            if (first..=last).all(|piece| pieces.get(piece)) {
                Outcome::Ok
            } else {
                Outcome::Bad
            }
        })
        .collect()
}

/// Lists the files and sums up; data that differs is an error.
pub fn tell(app: &App, info: &Info, data: &Path, report: &Report) -> Result<(), Failure> {
    let mut right = 0;
    for (file, outcome) in info.files.iter().zip(&report.files) {
        let status = match outcome {
            Outcome::Ok | Outcome::NoHash => "ok",
            Outcome::Bad => "bad",
            Outcome::Missing => "missing",
        };
        let path = file.path.join("/");
        app.out.event(&Event::File {
            path: &path,
            bytes: file.length,
            status,
        });
        if status == "ok" {
            right += 1;
        }
        if status != "ok" || info.files.len() <= 100 || app.settings.verbose > 0 {
            app.out.result(&format!("{status:<8}{}", escape(&path)));
        }
    }
    let files = info.files.len();
    let (pieces_ok, pieces) = (report.pieces.count(), report.pieces.len());
    let ok = right == files && report.pieces.is_full();
    let speed = info.total() as f64 / 1_048_576.0 / report.took.as_secs_f64().max(1e-6);
    app.out.event(&Event::Verified {
        ok,
        pieces_ok,
        pieces,
        files_ok: right as u64,
        files: files as u64,
        bytes: info.total(),
        seconds: report.took.as_secs_f64(),
        mib_per_second: speed,
    });
    let summary = format!(
        "{} of {} and {} of {} are right; {} at {speed:.0} MiB/s",
        grouped(right as u64),
        count(files as u64, "file"),
        grouped(pieces_ok.into()),
        count(pieces.into(), "piece"),
        Time(report.took),
    );
    if ok {
        app.out.result(&summary);
        return Ok(());
    }
    Err(Failure::new(
        Exit::Mismatch,
        format!(
            "{} does not match \"{}\": {summary}",
            data.display(),
            info.name
        ),
    ))
}

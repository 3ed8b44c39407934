//! `samara create`, and the making of a torrent that `share` and `demo` do too.

use super::{App, on_a_thread, summary};
use crate::args::{Create, Format, Making};
use crate::exit::{Exit, Failure};
use crate::load::tiers;
use crate::out::units::{Bytes, Time, count};
use crate::out::{Event, Meter, escape};
use samara_disk::create::{CreateError, CreateRequest, Created, create};
use samara_proto::magnet::Magnet;
use samara_proto::metainfo::Version;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

/// Makes the torrent and writes it.
pub async fn run(app: &App, args: Create) -> Result<(), Failure> {
    let began = Instant::now();
    // Hashing may take minutes: what is sure to fail is said before.
    let early = args.output.as_deref().filter(|path| !path.is_dir());
    if let Some(path) = early
        && path.exists()
        && !args.force
    {
        return Err(in_the_way(path));
    }
    if args.making.tracker.is_empty() {
        app.out
            .warning("the torrent will name no tracker; give one with -t URL");
    }
    let created = make(app, &args.paths, &args.making, Vec::new()).await?;
    let info = &created.metainfo.info;
    let path = output_path(args.output.as_deref(), &info.name);
    write(&path, &created.torrent, args.force)?;
    let magnet = Magnet::of(&created.metainfo).to_string();
    let took = began.elapsed();
    let speed = info.total() as f64 / 1_048_576.0 / took.as_secs_f64().max(1e-6);
    app.out.event(&Event::Created {
        path: &path,
        torrent: summary(info),
        magnet: &magnet,
        seconds: took.as_secs_f64(),
        mib_per_second: speed,
    });
    app.out
        .result(&format!("{}", escape(&path.display().to_string())));
    app.out.note(&format!(
        "{} in {}, {} of {}, made in {} at {speed:.0} MiB/s\ninfo-hash {}",
        Bytes(info.total()),
        count(info.files.len() as u64, "file"),
        count(info.geometry.pieces().into(), "piece"),
        Bytes(info.geometry.piece_length().into()),
        Time(took),
        info.info_hash(),
    ));
    Ok(())
}

/// Hashes with progress. `more_trackers` are tiers in front of those of the flags.
pub async fn make(
    app: &App,
    paths: &[PathBuf],
    making: &Making,
    more_trackers: Vec<Vec<String>>,
) -> Result<Created, Failure> {
    let request = CreateRequest {
        names: app.settings.names,
        ..request(paths, making, more_trackers)?
    };
    let inner = app.clone();
    let created = on_a_thread(move || {
        let meter = OnceLock::new();
        let progress = |at: samara_disk::create::Progress| {
            meter
                .get_or_init(|| Meter::new(&inner.out, "hashing", at.total))
                .at(at.done);
        };
        create(&request, &progress, inner.stop.flag())
    })
    .await?;
    let created = created.map_err(|err| match err {
        CreateError::Cancelled => Failure::interrupted(),
        CreateError::NoPaths
        | CreateError::NameNeeded
        | CreateError::PieceTooLarge { .. }
        | CreateError::BadTracker(_)
        | CreateError::BadWebSeed(_) => Failure::new(Exit::Usage, err),
        err => Failure::failed(err),
    })?;
    for path in &created.skipped {
        app.out
            .warning(&format!("left out the symbolic link {}", path.display()));
    }
    Ok(created)
}

fn request(
    paths: &[PathBuf],
    making: &Making,
    more_trackers: Vec<Vec<String>>,
) -> Result<CreateRequest, Failure> {
    let [first, ..] = paths else {
        return Err(Failure::new(Exit::Usage, "name a file or a folder"));
    };
    let piece_size = match making.piece_size {
        Some(size) => Some(piece_size(size.0)?),
        None => None,
    };
    let mut trackers = more_trackers;
    trackers.extend(tiers(&making.tracker));
    let since_1970 = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    Ok(CreateRequest {
        paths: paths.to_vec(),
        format: match making.format {
            Format::Hybrid => Version::Hybrid,
            Format::V1 => Version::V1,
            Format::V2 => Version::V2,
        },
        piece_size,
        allow_large_pieces: making.allow_large_pieces,
        private: making.private,
        comment: making.comment.clone(),
        trackers,
        web_seeds: making.webseed.clone(),
        created_at: i64::try_from(since_1970.as_secs()).ok(),
        ..CreateRequest::new(first)
    })
}

fn piece_size(bytes: u64) -> Result<u32, Failure> {
    match u32::try_from(bytes) {
        Ok(size) if size.is_power_of_two() && size >= 16 * 1024 => Ok(size),
        _ => Err(Failure::new(
            Exit::Usage,
            format!(
                "a piece of {bytes} bytes is not possible; take a power of two from 16KiB on, like 256KiB"
            ),
        )),
    }
}

/// `-o`: a file name, or a folder that exists; without it, here.
pub fn output_path(output: Option<&Path>, name: &str) -> PathBuf {
    let file = format!("{name}.torrent");
    match output {
        None => PathBuf::from(file),
        Some(folder) if folder.is_dir() => folder.join(file),
        Some(path) => path.to_owned(),
    }
}

/// Writes beside the final name and renames, so that nobody ever reads half a torrent.
pub fn write(path: &Path, torrent: &[u8], force: bool) -> Result<(), Failure> {
    let fail =
        |err: std::io::Error| Failure::failed(format!("cannot write {}: {err}", path.display()));
    if !force {
        // A link cannot replace what is there, which a rename would.
        if path.exists() {
            return Err(in_the_way(path));
        }
    }
    let mut name = path
        .file_name()
        .map_or_else(Default::default, std::ffi::OsStr::to_os_string);
    name.push(format!(".{}.part", std::process::id()));
    let part = path.with_file_name(name);
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&part)
        .and_then(|mut file| file.write_all(torrent).and_then(|()| file.sync_all()));
    let done = written.and_then(|()| {
        if force {
            return std::fs::rename(&part, path);
        }
        match std::fs::hard_link(&part, path) {
            Ok(()) => std::fs::remove_file(&part),
            // File systems without links: the check above has to do.
            Err(err) if err.kind() != ErrorKind::AlreadyExists => std::fs::rename(&part, path),
            Err(err) => Err(err),
        }
    });
    done.map_err(|err| {
        let _ = std::fs::remove_file(&part);
        if err.kind() == ErrorKind::AlreadyExists {
            in_the_way(path)
        } else {
            fail(err)
        }
    })
}

fn in_the_way(path: &Path) -> Failure {
    Failure::failed(format!(
        "{} is there already; choose another name with -o, or overwrite it with --force",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn piece_sizes() {
        assert_eq!(piece_size(16_384), Ok(16_384));
        assert_eq!(piece_size(1 << 20), Ok(1 << 20));
        for bytes in [0, 8192, 100_000, 1 << 40] {
            assert_eq!(piece_size(bytes).expect_err("refused").exit, Exit::Usage);
        }
    }

    #[test]
    fn a_torrent_is_not_overwritten_unless_asked() {
        let folder = std::env::temp_dir().join(format!("samara-create-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("made");
        let path = folder.join("a.torrent");
        write(&path, b"one", false).expect("new");
        let refused = write(&path, b"two", false).expect_err("is there");
        assert!(refused.to_string().contains("--force"), "{refused}");
        assert_eq!(std::fs::read(&path).expect("kept"), b"one");
        write(&path, b"two", true).expect("forced");
        assert_eq!(std::fs::read(&path).expect("new"), b"two");
        assert_eq!(
            std::fs::read_dir(&folder).expect("listed").count(),
            1,
            "nothing is left behind"
        );
        assert_eq!(output_path(Some(&folder), "b"), folder.join("b.torrent"));
        assert_eq!(output_path(None, "b"), PathBuf::from("b.torrent"));
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}

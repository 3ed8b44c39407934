//! `samara demo`: a whole swarm on this machine, on real sockets and real files.
//!
//! Every host is a session of its own with a port, a folder and an uplink of its own; they share
//! nothing but the process. The uplinks are capped, since on a loopback without caps the seed alone
//! would be as fast as everybody together.

use super::create::make;
use super::get::{OnDisk, add};
use super::tracker::bind;
use super::{App, on_a_thread};
use crate::args::{Demo, Format, Goal, Making, Settings};
use crate::exit::{Exit, Failure};
use crate::out::units::{Bytes, Rate, Time, count};
use crate::out::{Event, escape};
use crate::peerless;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use samara_disk::create::Created;
use samara_node::{Mode, Outcome, Session, Torrent, TorrentEvent};
use samara_proto::metainfo::Metainfo;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufReader, Read, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Uplink of every host unless `--up-limit` says otherwise, bytes a second: slow enough to watch, and
/// the default run takes about 8 s.
const UPLINK: u64 = 8 << 20;

/// Rows of bars that are drawn; more would scroll.
const BARS_MAX: usize = 24;

/// Without a terminal a line this often.
const LINE_EVERY: Duration = Duration::from_secs(2);

/// A folder that goes away with all that is in it.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// One host of the swarm.
struct Host {
    session: Session,
    torrent: Torrent,
    folder: PathBuf,
    /// When it was complete and checked, counted from the start.
    done: Option<Duration>,
    events: tokio::sync::mpsc::UnboundedReceiver<TorrentEvent>,
}

/// Runs the swarm to its end.
pub async fn run(app: &App, args: Demo) -> Result<(), Failure> {
    let unique = format!(
        "samara-demo-{}-{:08x}",
        std::process::id(),
        RandomState::new().hash_one(0) as u32
    );
    let scratch = Scratch(std::env::temp_dir().join(unique));
    std::fs::create_dir_all(&scratch.0)
        .map_err(|err| Failure::failed(format!("cannot make {}: {err}", scratch.0.display())))?;
    let uplink = app.settings.up_limit.unwrap_or(UPLINK);
    // Hosts find each other on the loopback; nothing leaves this machine.
    let settings = Settings {
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        up_limit: Some(uplink),
        ..(*app.settings).clone()
    };
    let app = App {
        settings: Arc::new(settings),
        ..app.clone()
    };
    let path = match args.path {
        Some(path) => path,
        None => random_file(&scratch.0, args.size.0).await?,
    };
    let server = bind((Ipv4Addr::LOCALHOST, 0).into(), false).map_err(Failure::failed)?;
    let announce = format!("http://{}/announce", server.local_addr());
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let tracker = tokio::spawn(server.run(async move { drop(ended.await) }));
    let done = swarm(&app, &path, &scratch.0, args.leeches, announce, uplink).await;
    let _ = end.send(());
    let _ = tracker.await;
    done
}

async fn swarm(
    app: &App,
    path: &Path,
    scratch: &Path,
    leeches: u16,
    announce: String,
    uplink: u64,
) -> Result<(), Failure> {
    let making = Making {
        tracker: Vec::new(),
        piece_size: None,
        allow_large_pieces: false,
        format: Format::V1,
        private: false,
        comment: None,
        webseed: Vec::new(),
    };
    let created = make(app, &[path.to_owned()], &making, vec![vec![announce]]).await?;
    let info = created.metainfo.info.clone();
    let root = super::share::root_of(&created)?;
    app.out.note(&format!(
        "\"{}\": {} in {}, {} of {}; one seed, {}, every uplink {}",
        escape(&info.name),
        Bytes(info.total()),
        count(info.files.len() as u64, "file"),
        count(info.geometry.pieces().into(), "piece"),
        Bytes(info.geometry.piece_length().into()),
        count(leeches.into(), "leech"),
        Rate(uplink),
    ));
    let began = Instant::now();
    let seed = host(app, &created.metainfo, root.clone(), Mode::Seed).await?;
    let mut hosts = vec![seed];
    for number in 1..=leeches {
        let folder = scratch.join(format!("host-{number}"));
        hosts.push(host(app, &created.metainfo, folder, Mode::Get).await?);
    }
    let watched = watch(app, &mut hosts, began).await;
    // All at once: each waits for its trackers.
    let stop = |host: &Host| {
        let session = host.session.clone();
        tokio::spawn(async move { session.stop().await })
    };
    let stopping: Vec<_> = hosts.iter().map(stop).collect();
    for stopped in stopping {
        let _ = stopped.await;
    }
    watched?;
    // From the goodbye: the snapshots of a running torrent are a quarter of a second old.
    let mut seed_uploaded = 0;
    while let Some(event) = hosts[0].events.recv().await {
        if let TorrentEvent::Stopped { uploaded, .. } = event {
            seed_uploaded = uploaded;
            break;
        }
    }
    app.out
        .note("every host is complete; comparing every file byte for byte");
    let times: Vec<Duration> = hosts.iter().skip(1).filter_map(|host| host.done).collect();
    let folders: Vec<PathBuf> = hosts
        .iter()
        .skip(1)
        .map(|host| host.folder.clone())
        .collect();
    drop(hosts);
    let checked = on_a_thread(move || compare(&created, &folders)).await??;
    summary(
        app,
        leeches,
        info.total(),
        info.files.len() as u64,
        &times,
        seed_uploaded,
        checked,
    );
    Ok(())
}

async fn host(
    app: &App,
    metainfo: &Metainfo,
    folder: PathBuf,
    mode: Mode,
) -> Result<Host, Failure> {
    let session = peerless::session(app, app.settings.listen).await?;
    let on_disk = OnDisk {
        trusted: mode == Mode::Seed,
        ..OnDisk::default()
    };
    let (torrent, _) = add(
        app,
        &session,
        metainfo.clone(),
        &folder,
        mode,
        Goal::Forever,
        Vec::new(),
        on_disk,
    )
    .await?;
    let events = torrent.events();
    Ok(Host {
        session,
        torrent,
        folder,
        done: None,
        events,
    })
}

/// Until every leech is complete.
async fn watch(app: &App, hosts: &mut [Host], began: Instant) -> Result<(), Failure> {
    let bars = bars(app, hosts);
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    let mut said = Instant::now();
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            _ = app.stop.asked() => return Err(Failure::interrupted()),
        }
        for (number, host) in hosts.iter_mut().enumerate() {
            while let Ok(event) = host.events.try_recv() {
                match event {
                    TorrentEvent::Complete { .. } if number > 0 => {
                        host.done.get_or_insert(began.elapsed());
                    }
                    TorrentEvent::Failed(err) => {
                        return Err(Failure::failed(format!("host {number}: {err}")));
                    }
                    TorrentEvent::Stopped { .. } => {
                        return Err(ended(number, host.torrent.wait().await));
                    }
                    _ => {}
                }
            }
        }
        draw(hosts, &bars);
        let done = hosts.iter().filter(|host| host.done.is_some()).count();
        if said.elapsed() >= LINE_EVERY && bars.is_empty() {
            said = Instant::now();
            app.out.note(&plain(hosts, began.elapsed()));
        }
        if done + 1 == hosts.len() {
            for bar in bars {
                bar.abandon();
            }
            return Ok(());
        }
    }
}

fn ended(number: usize, outcome: Outcome) -> Failure {
    match outcome {
        Outcome::Failed(err) => Failure::failed(format!("host {number}: {err}")),
        Outcome::Mismatch { message, .. } => {
            Failure::new(Exit::Mismatch, format!("host {number}: {message}"))
        }
        _ => Failure::failed(format!("host {number} left before it was done")),
    }
}

fn bars(app: &App, hosts: &[Host]) -> Vec<ProgressBar> {
    if !app.out.bars() {
        return Vec::new();
    }
    let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(8));
    let style = ProgressStyle::with_template("{prefix:>8} {bar:30} {percent:>3}% {wide_msg}");
    let style = style
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━━─");
    let row = |(number, host): (usize, &Host)| {
        let total = host.torrent.snapshot().map_or(1, |now| now.bytes);
        let bar = all.add(ProgressBar::new(total).with_style(style.clone()));
        bar.set_prefix(if number == 0 {
            "seed".to_owned()
        } else {
            format!("host {number}")
        });
        bar
    };
    hosts.iter().enumerate().take(BARS_MAX).map(row).collect()
}

fn draw(hosts: &[Host], bars: &[ProgressBar]) {
    for (host, bar) in hosts.iter().zip(bars) {
        let Some(now) = host.torrent.snapshot() else {
            continue;
        };
        bar.set_length(now.bytes);
        bar.set_position(now.bytes_have);
        let state = host.done.map_or(String::new(), |done| {
            format!(", complete after {}", Time(done))
        });
        bar.set_message(format!(
            "up {}, down {}, {}{state}",
            Rate(now.up_rate),
            Rate(now.down_rate),
            count(now.peers.into(), "peer")
        ));
    }
}

fn plain(hosts: &[Host], time: Duration) -> String {
    let percent = |host: &Host| {
        let now = host.torrent.snapshot()?;
        Some(format!(
            "{}%",
            now.bytes_have.saturating_mul(100) / now.bytes.max(1)
        ))
    };
    let all: Vec<String> = hosts
        .iter()
        .skip(1)
        .map(|host| percent(host).unwrap_or_else(|| "-".to_owned()))
        .collect();
    format!("{:>6}  {}", Time(time).to_string(), all.join(" "))
}

fn summary(
    app: &App,
    leeches: u16,
    bytes: u64,
    files: u64,
    times: &[Duration],
    seed_uploaded: u64,
    checked: u64,
) {
    let last = times.iter().max().copied().unwrap_or_default();
    let first = times.iter().min().copied().unwrap_or_default();
    let copies = seed_uploaded as f64 / bytes.max(1) as f64;
    app.out.event(&Event::Demo {
        hosts: leeches + 1,
        bytes,
        files,
        seconds: last.as_secs_f64(),
        first_seconds: first.as_secs_f64(),
        seed_uploaded,
        seed_copies: copies,
        checked,
        equal: true,
    });
    app.out.result(&format!(
        "hosts          1 seed and {}\nbytes          {} each, {} in all\ntime           {} until the last was complete, {} until the first\nseed sent      {copies:.2} copies ({}); the hosts sent each other the rest\nchecked        {} compared byte for byte, all equal",
        count(leeches.into(), "leech"),
        Bytes(bytes),
        Bytes(bytes.saturating_mul(leeches.into())),
        Time(last),
        Time(first),
        Bytes(seed_uploaded),
        count(checked, "file"),
    ));
}

/// A file that no compression or sparse file makes easier. Not secret, so that a plain generator does
/// (splitmix64, Steele et al. 2014).
async fn random_file(folder: &Path, size: u64) -> Result<PathBuf, Failure> {
    if size == 0 {
        return Err(Failure::new(
            Exit::Usage,
            "a demo of nothing shows nothing; give --size at least one byte",
        ));
    }
    let path = folder.join("random.bin");
    let target = path.clone();
    let written = on_a_thread(move || -> std::io::Result<()> {
        let mut file = File::create(&target)?;
        let mut state = RandomState::new().hash_one(1);
        let mut buffer = vec![0_u8; 1 << 20];
        let mut left = size;
        while left > 0 {
            for word in buffer.chunks_exact_mut(8) {
                state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                word.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes());
            }
            let part = left.min(buffer.len() as u64) as usize;
            file.write_all(&buffer[..part])?;
            left -= part as u64;
        }
        Ok(())
    })
    .await?;
    written.map_err(|err| Failure::failed(format!("cannot write {}: {err}", path.display())))?;
    Ok(path)
}

/// Compares every file of every host with its source; gives the number compared.
fn compare(created: &Created, folders: &[PathBuf]) -> Result<u64, Failure> {
    let mut compared = 0;
    for folder in folders {
        for (source, file) in created.sources.iter().zip(&created.metainfo.info.files) {
            let copy = file
                .path
                .iter()
                .fold(folder.clone(), |path, part| path.join(part));
            let equal = same_bytes(source, &copy).map_err(|err| {
                Failure::failed(format!(
                    "cannot compare {} with {}: {err}",
                    copy.display(),
                    source.display()
                ))
            })?;
            if !equal {
                return Err(Failure::new(
                    Exit::Mismatch,
                    format!("{} differs from {}", copy.display(), source.display()),
                ));
            }
            compared += 1;
        }
    }
    Ok(compared)
}

fn same_bytes(a: &Path, b: &Path) -> std::io::Result<bool> {
    let (a, b) = (File::open(a)?, File::open(b)?);
    if a.metadata()?.len() != b.metadata()?.len() {
        return Ok(false);
    }
    let (mut a, mut b) = (BufReader::new(a), BufReader::new(b));
    let (mut left, mut right) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        let n = a.read(&mut left)?;
        if n == 0 {
            return Ok(true);
        }
        match b.read_exact(&mut right[..n]) {
            Ok(()) if left[..n] == right[..n] => {}
            Ok(()) => return Ok(false),
            Err(err) if err.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(err) => return Err(err),
        }
    }
}

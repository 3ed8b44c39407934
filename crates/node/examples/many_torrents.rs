//! What a torrent costs when there are many in one session.
//!
//!     cargo run --release -p samara-node --example many_torrents idle [TORRENTS] [SECONDS]
//!     cargo run --release -p samara-node --example many_torrents active [TORRENTS] [KIB] [FOLDER]
//!
//! `idle`: seeds without peers; memory a torrent, and CPU seconds while nothing happens. `active`: two
//! sessions in this process, the one downloads all torrents from the other at once; memory a torrent at the
//! peak (both sides), MiB/s and CPU seconds a GiB (both sides).

use samara_disk::create::{CreateRequest, create};
use samara_engine::SeedGoal;
use samara_node::{AddTorrent, Mode, Outcome, Session, SessionConfig, Torrent, TorrentEvent};
use samara_proto::metainfo::Metainfo;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

const USAGE: &str = "many_torrents idle [TORRENTS] [SECONDS] | active [TORRENTS] [KIB] [FOLDER]";

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: u64| {
        args.get(at)
            .map_or(default, |text| text.parse().expect(USAGE))
    };
    match args.first().map(String::as_str) {
        Some("idle") => idle(number(1, 10_000), number(2, 20)).await,
        Some("active") => {
            let folder = args.get(3).map_or_else(std::env::temp_dir, PathBuf::from);
            active(number(1, 1_000), number(2, 1024), &folder).await;
        }
        _ => panic!("{USAGE}"),
    }
}

/// A file of its own for every torrent, below `root`.
fn make(root: &Path, at: u64, bytes: u64) -> Metainfo {
    let mut state = at.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut noise = Vec::with_capacity(bytes as usize + 8);
    while noise.len() < bytes as usize {
        state = state.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1);
        noise.extend((state ^ (state >> 29)).to_le_bytes());
    }
    noise.truncate(bytes as usize);
    let path = root.join(format!("file-{at}"));
    std::fs::write(&path, noise).expect("written");
    create(&CreateRequest::new(path), &|_| {}, &AtomicBool::new(false))
        .expect("hashed")
        .metainfo
}

async fn session() -> Session {
    let config = SessionConfig {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        ..SessionConfig::default()
    };
    Session::start(config).await.expect("a port")
}

async fn seed_all(session: &Session, root: &Path, torrents: &[Metainfo]) -> Vec<Torrent> {
    let mut seeds = Vec::new();
    for metainfo in torrents {
        let mut request = AddTorrent::new(metainfo.clone(), root, Mode::Seed);
        request.trust_existing = true;
        request.config.seed_goal = SeedGoal::Forever;
        seeds.push(session.add(request).await.expect("added"));
    }
    for seed in &seeds {
        while seed.snapshot().is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    seeds
}

async fn idle(torrents: u64, seconds: u64) {
    let folder = tempfile::TempDir::new().expect("folder");
    let metainfos: Vec<Metainfo> = (0..torrents)
        .map(|at| make(folder.path(), at, 1000))
        .collect();
    let session = session().await;
    let before = resident_kib("VmRSS:");
    let _seeds = seed_all(&session, folder.path(), &metainfos).await;
    // The first second of each is for what comes once.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let held = resident_kib("VmRSS:").saturating_sub(before);
    let cpu = cpu_seconds();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let cpu = cpu_seconds() - cpu;
    println!(
        "{torrents} idle torrents: {:.1} KiB each, {:.4} CPU s a second",
        held as f64 / torrents as f64,
        cpu / seconds as f64
    );
}

async fn active(torrents: u64, kib: u64, folder: &Path) {
    let folder = tempfile::TempDir::new_in(folder).expect("folder");
    let (source, copies) = (folder.path().join("source"), folder.path().join("copies"));
    std::fs::create_dir_all(&source).expect("made");
    std::fs::create_dir_all(&copies).expect("made");
    let metainfos: Vec<Metainfo> = (0..torrents)
        .map(|at| make(&source, at, kib << 10))
        .collect();
    let before = resident_kib("VmRSS:");
    let (giving, taking) = (session().await, session().await);
    let _seeds = seed_all(&giving, &source, &metainfos).await;
    let (cpu, began) = (cpu_seconds(), Instant::now());
    let mut leeches = Vec::new();
    for metainfo in metainfos {
        let mut request = AddTorrent::new(metainfo, &copies, Mode::Get);
        request.candidates = vec![giving.listen_addr()];
        request.config.seed_goal = SeedGoal::None;
        let leech = taking.add(request).await.expect("added");
        leeches.push((leech.events(), leech));
    }
    let mut complete = 0;
    for (events, leech) in &mut leeches {
        while let Some(event) = events.recv().await {
            complete += u64::from(matches!(event, TorrentEvent::Complete { .. }));
        }
        let outcome = leech.wait().await;
        assert!(matches!(outcome, Outcome::Stopped), "{outcome:?}");
    }
    assert_eq!(complete, torrents, "everything arrives");
    let (took, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let mib = (torrents * kib) as f64 / 1024.0;
    let held = resident_kib("VmHWM:").saturating_sub(before);
    println!(
        "{torrents} torrents of {kib} KiB at once: {:.0} MiB/s, {:.2} CPU s a GiB (both sides), {:.0} KiB each at the peak",
        mib / took,
        cpu / mib * 1024.0,
        held as f64 / torrents as f64
    );
}

/// A line of /proc/self/status, in KiB.
fn resident_kib(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.split_whitespace().nth(1));
    value
        .and_then(|value| value.parse().ok())
        .expect("a number")
}

/// User and system time of this process so far.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u64>().expect("a number"))
        .sum();
    // USER_HZ is 100 on every Linux.
    ticks as f64 / 100.0
}

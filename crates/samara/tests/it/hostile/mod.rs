//! A download among hostile peers, on real sockets. `cargo xtask hostile` runs it for longer and among more.

mod kinds;

use super::process::{Process, samara};
use super::swarm::{Swarm, get};
use kinds::{Hostile, KINDS, Plan};
use samara_proto::metainfo::Metainfo;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What the process of a leech may have in memory, whatever its peers do: 24 MiB of pieces that are not
/// written yet (`Config::memory`), 8 MiB of what was read and not looked at yet, 5 MiB of blame, and for
/// each of its 200 connections up to 256 KiB of buffers and queues, so 50 MiB; with 20 MiB of program,
/// rounded up.
const BUDGET_MIB: u64 = 128;

const PIECE: u32 = 128 << 10;

struct Size {
    peers: usize,
    seconds: u64,
    mib: usize,
    /// Flags of the seed.
    rate: Option<String>,
}

fn size() -> Size {
    let number = |name: &str, usual: u64| {
        let given = std::env::var(format!("SAMARA_HOSTILE_{name}"));
        given.map_or(usual, |text| text.parse().expect("a number"))
    };
    Size {
        peers: number("PEERS", 45) as usize,
        seconds: number("SECONDS", 6),
        mib: number("MIB", 8) as usize,
        rate: std::env::var("SAMARA_HOSTILE_RATE").ok(),
    }
}

/// A port that was free a moment ago.
fn free(host: u8) -> SocketAddr {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, host], 0))).expect("bound");
    listener.local_addr().expect("bound")
}

fn memory_kib(process: &Process, what: &str) -> u64 {
    let path = format!("/proc/{}/status", process.id());
    let status = std::fs::read_to_string(path).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(what));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.expect("a number of KiB")
}

fn said(process: &Process, name: &str) -> bool {
    process.events().iter().any(|event| event["event"] == name)
}

/// The honest part: a seed, and leeches of which the first is watched.
struct Honest {
    seed: Process,
    leeches: Vec<Process>,
}

impl Honest {
    fn done(&self) -> usize {
        let done = self.leeches.iter().filter(|leech| said(leech, "complete"));
        done.count()
    }

    /// Everybody has to run on, and nobody honest may be banned.
    fn check(&self) {
        for process in self.leeches.iter().chain([&self.seed]) {
            let alive = Path::new(&format!("/proc/{}", process.id())).exists();
            assert!(alive && !said(process, "error"), "{}", process.story());
            for event in process.events() {
                let addr = event["addr"].as_str().unwrap_or_default();
                let honest = addr.starts_with("127.0.0.");
                assert!(event["event"] != "peer_banned" || !honest, "{event}");
            }
        }
    }
}

#[test]
fn attack_15_a_leech_among_hostile_peers_finishes_within_its_budget() {
    let size = size();
    let swarm = Swarm::with(size.mib << 20, 91, &["--piece-size", "128KiB"]);
    let bytes = std::fs::read(&swarm.torrent).expect("made");
    let metainfo = Metainfo::from_bytes(&bytes).expect("our own");
    let (seed_at, leech_at) = (free(2), free(3));
    let plan = Plan {
        info_hash: metainfo.info.info_hash().0,
        pieces: metainfo.info.geometry.pieces(),
        piece_size: PIECE,
        stop: AtomicBool::new(false),
        connections: AtomicU64::new(0),
        sent: AtomicU64::new(0),
        sockets: tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime"),
    };
    let rate = size
        .rate
        .iter()
        .flat_map(|rate| ["--up-limit", rate.as_str()]);
    let at = [
        "--json",
        "--listen",
        &seed_at.to_string(),
        "seed",
        "--seed",
        "forever",
    ]
    .map(str::to_owned);
    let mut seeding = samara(at);
    seeding
        .args(rate)
        .arg(&swarm.torrent)
        .arg("--data")
        .arg(swarm.path().join("src"));
    let seed = Process::start(&mut seeding);
    seed.wait_event("ready");

    thread::scope(|scope| {
        for number in 0..size.peers {
            // A fifth of them, of all kinds, at the seed; the others at the one that is watched.
            let target = if number / KINDS.len() % 5 == 4 {
                seed_at
            } else {
                leech_at
            };
            let hostile = Hostile::new(&plan, target, number);
            scope.spawn(move || hostile.live());
        }
        // A test that fails must not wait for them for ever.
        let _stop = Stop(&plan.stop);
        let watched = [
            "--json",
            "--listen",
            &leech_at.to_string(),
            "get",
            "--seed",
            "forever",
            "-o",
        ]
        .map(str::to_owned);
        let mut watched = samara(watched);
        watched.arg(swarm.path().join("out3")).arg(&swarm.torrent);
        let mut leeches = vec![Process::start(&mut watched)];
        for host in 4..7 {
            let into = swarm.path().join(format!("out{host}"));
            leeches.push(get(&swarm.torrent, &into, host, &["--seed", "forever"]));
        }
        let honest = Honest { seed, leeches };
        watch(&honest, &plan, &size);
        assert!(plan.connections.load(Ordering::Relaxed) > size.peers as u64 / 2);
        for host in 3..7 {
            swarm.assert_arrived(&swarm.path().join(format!("out{host}")));
        }
    });
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Until the time is over and the honest part has finished.
fn watch(honest: &Honest, plan: &Plan, size: &Size) {
    let begun = Instant::now();
    let patience = Duration::from_secs(size.seconds + 120);
    let (mut said, mut finished) = (0, None);
    loop {
        let seconds = begun.elapsed().as_secs();
        honest.check();
        let leech = &honest.leeches[0];
        let (now, most) = (memory_kib(leech, "VmRSS:"), memory_kib(leech, "VmHWM:"));
        assert!(most <= BUDGET_MIB << 10, "{most} KiB after {seconds} s");
        let done = honest.done();
        let end = done == honest.leeches.len();
        if end && finished.is_none() {
            finished = Some(seconds);
        }
        if seconds / 30 > said || end && seconds >= size.seconds {
            said = seconds / 30;
            println!(
                "{seconds:4} s: leech {:.1} MiB, at most {:.1}; seed {:.1}; {done} of {} leeches done; \
                 hostile: {} connections, {} MiB sent",
                now as f64 / 1024.0,
                most as f64 / 1024.0,
                memory_kib(&honest.seed, "VmHWM:") as f64 / 1024.0,
                honest.leeches.len(),
                plan.connections.load(Ordering::Relaxed),
                plan.sent.load(Ordering::Relaxed) >> 20,
            );
        }
        if end && seconds >= size.seconds {
            println!(
                "{} hostile peers of {} kinds, {seconds} s: all honest leeches done after {} s, budget {BUDGET_MIB} MiB",
                size.peers,
                KINDS.len(),
                finished.unwrap_or(seconds),
            );
            return;
        }
        assert!(begun.elapsed() < patience, "{}", leech.story());
        thread::sleep(Duration::from_millis(200));
    }
}

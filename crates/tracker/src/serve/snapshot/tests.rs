use super::*;
use crate::serve::{ServeConfig, Server};
use crate::swarm::{Announce, Listed};
use samara_proto::tracker::udp::{ConnectionId, Options, Reply, ReplyBody, Request, UdpAnnounce};
use samara_proto::tracker::{AnnounceRequest, Event};
use samara_proto::{InfoHash, PeerId};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Instant;

fn handle() -> Handle {
    Handle::new(&ServeConfig::default()).expect("no files")
}

fn fill(handle: &Handle, peers: u32) {
    for n in 0..peers {
        let mut hash = [0; 20];
        hash[..4].copy_from_slice(&(n % 1_000).to_be_bytes());
        let mut request = AnnounceRequest::new(InfoHash(hash), PeerId([1; 20]), 6_881);
        request.left = Some(u64::from(n % 2));
        request.event = Event::Started;
        let source = IpAddr::from((0x3200_0000 + n).to_be_bytes());
        let announce = Announce::new(&request, source);
        let now = handle.now();
        let answer = handle
            .store()
            .announce(now, &announce, &mut Listed::default());
        answer.expect("answered");
    }
}

/// An empty folder of this test's own, removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("samara-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("tracker.state")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_snapshot_comes_back_whole() {
    let folder = Folder::new("whole");
    let path = folder.file();
    assert!(
        restore(&handle(), &path)
            .expect("no file is no error")
            .is_none()
    );
    let before = handle();
    fill(&before, 5_000);
    let written = save(&before, &path).expect("saved");
    assert_eq!(fs::metadata(&path).expect("there").len(), written);
    // Over the old one.
    save(&before, &path).expect("saved");
    let after = handle();
    let restored = restore(&after, &path).expect("read").expect("there");
    assert_eq!((restored.swarms, restored.peers), (1_000, 5_000));
    let (was, is) = (before.stats(), after.stats());
    assert_eq!(
        (was.seeds, was.leeches, was.swarms),
        (is.seeds, is.leeches, is.swarms)
    );
    assert_eq!(
        fs::read_dir(&folder.0).expect("a folder").count(),
        1,
        "nothing lies about"
    );
}

#[test]
fn damage_is_noticed_wherever_it_is_and_put_aside() {
    let folder = Folder::new("damage");
    let path = folder.file();
    let before = handle();
    fill(&before, 3_000);
    save(&before, &path).expect("saved");
    let good = fs::read(&path).expect("read");
    for at in (0..good.len()).step_by(good.len() / 23) {
        // The time is not covered: a wrong one makes peers older or younger.
        let at = if (8..16).contains(&at) { 0 } else { at };
        let mut flipped = good.clone();
        flipped[at] ^= 0x10;
        for bad in [flipped, good[..at].to_vec()] {
            fs::write(&path, bad).expect("written");
            let after = handle();
            let restored = restore(&after, &path).expect("no error").expect("there");
            assert!(restored.swarms <= 1_000);
            assert!(!path.exists() && beside(&path, ".damaged").exists());
        }
    }
}

#[test]
fn where_nothing_can_be_written_it_says_where() {
    let error = save(&handle(), Path::new("/nonexistent/folder/state")).expect_err("no folder");
    assert!(error.to_string().contains("/nonexistent/folder/state"));
    let folder = Folder::new("unreadable");
    assert!(
        restore(&handle(), &folder.0).is_err(),
        "a folder is no file"
    );
}

/// Started by the test below, in a process of its own, to be killed.
#[test]
#[ignore = "runs until it is killed"]
fn child_that_is_killed() {
    let (Ok(path), Ok(port)) = (std::env::var("SAMARA_STATE"), std::env::var("SAMARA_PORT")) else {
        return;
    };
    let server = Server::bind(ServeConfig {
        listen: "127.0.0.1:0".parse().expect("address"),
        udp: vec![format!("127.0.0.1:{port}").parse().expect("address")],
        workers: 1,
        state: Some(path.into()),
        save_every: Duration::from_millis(100),
        ..ServeConfig::default()
    })
    .expect("binds");
    server.restore().expect("restored");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("runtime");
    runtime.block_on(server.run(std::future::pending::<()>()));
}

/// The file at `path`, as far as it can be told from the one before and the one after: each is a new
/// file, made while the one before is still there.
#[cfg(unix)]
fn generation(path: &Path) -> Option<(u64, i64)> {
    use std::os::unix::fs::MetadataExt as _;
    let file = fs::metadata(path).ok()?;
    Some((file.ino(), file.mtime_nsec()))
}

/// A client of the tracker that is killed, which counts what it was answered.
#[cfg(unix)]
struct Announcer {
    client: UdpSocket,
    server: SocketAddr,
    /// Peers that have announced: their ports are 1, 2, 3 and so on.
    announced: u16,
    path: PathBuf,
    seen: Option<(u64, i64)>,
    /// Peers that had announced when the snapshot that is seen was not there yet, and when the one
    /// before it was not.
    before: [u16; 2],
}

#[cfg(unix)]
impl Announcer {
    const SWARM: InfoHash = InfoHash([5; 20]);

    fn ask(&self, request: Request<'_>) -> Option<ReplyBody> {
        let mut packet = Vec::new();
        request.encode(&mut packet);
        let mut buf = [0; 2_048];
        let _ = self.client.send_to(&packet, self.server);
        let len = self.client.recv(&mut buf).ok()?;
        Some(Reply::decode(&buf[..len], false).ok()?.body)
    }

    fn connect(&self) -> ConnectionId {
        let start = Instant::now();
        loop {
            let connect = Request::Connect {
                transaction: [1; 4],
            };
            if let Some(ReplyBody::Connect(id)) = self.ask(connect) {
                return id;
            }
            assert!(start.elapsed() < Duration::from_secs(30), "no answer");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// One more peer; then a look at the snapshot.
    fn announce(&mut self, connection: ConnectionId) {
        let said = self.ask(Request::Announce {
            connection,
            transaction: [2; 4],
            announce: UdpAnnounce {
                info_hash: Self::SWARM,
                peer_id: PeerId([5; 20]),
                downloaded: 0,
                left: Some(0),
                uploaded: 0,
                event: Event::Started,
                ip: None,
                key: 0,
                numwant: Some(0),
                port: self.announced + 1,
            },
            options: Options::default(),
        });
        let before = self.announced;
        if let Some(ReplyBody::Announce { .. }) = said {
            self.announced += 1;
        }
        let now = generation(&self.path);
        if now != self.seen {
            // It was not there at the look before, when as many had been answered as now but one.
            self.seen = now;
            self.before = [before, self.before[0]];
        }
    }
}

/// Killed under load, over and over, the file is whole every time, and holds whoever had announced
/// before the last snapshot was begun. One is begun when the one before is in its place: so nobody is
/// missing who was answered while the one before the last was not there yet. The loss is what was
/// announced in one interval and the time that it takes to write.
#[cfg(unix)]
#[test]
fn killed_under_load_it_loses_an_interval_and_no_more() {
    let folder = Folder::new("killed");
    let path = folder.file();
    let probe = UdpSocket::bind("127.0.0.1:0").expect("binds");
    let server: SocketAddr = probe.local_addr().expect("bound");
    drop(probe);
    let client = UdpSocket::bind("127.0.0.1:0").expect("binds");
    let limit = Some(Duration::from_millis(500));
    client.set_read_timeout(limit).expect("a time limit");
    let mut load = Announcer {
        client,
        server,
        announced: 0,
        path: path.clone(),
        seen: None,
        before: [0; 2],
    };
    let mut lost: BTreeSet<u16> = BTreeSet::new();
    for round in 0..4 {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args([
                "--ignored",
                "--exact",
                "serve::snapshot::tests::child_that_is_killed",
            ])
            .env("SAMARA_STATE", &path)
            .env("SAMARA_PORT", server.port().to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let id = load.connect();
        // Somewhere between two snapshots, elsewhere each time.
        let mut snapshots = 0;
        let mut after = 0;
        while (snapshots < 4 || after < 37 * round) && load.announced < u16::MAX - 1 {
            let seen = load.seen;
            load.announce(id);
            snapshots += usize::from(load.seen != seen);
            after = if load.seen == seen { after + 1 } else { 0 };
        }
        child.kill().expect("killed");
        child.wait().expect("gone");
        let check = handle();
        let restored = restore(&check, &path).expect("read").expect("there");
        assert!(path.exists(), "whole: not put aside");
        let back: Vec<u16> = check
            .store()
            .peers(Announcer::SWARM)
            .iter()
            .map(|peer| peer.addr.port())
            .collect();
        assert_eq!(restored.peers, back.len() as u64);
        let sure = load.before[1];
        assert!(sure > 0, "round {round}: no two snapshots were seen");
        let missing = |port: &u16| !back.contains(port) && !lost.contains(port);
        assert_eq!(
            (1..=sure).filter(missing).count(),
            0,
            "of {sure} in round {round}"
        );
        // Whoever came after that may be lost, and stays so.
        lost = (1..=load.announced)
            .filter(|port| !back.contains(port))
            .collect();
    }
}

/// What snapshots and expiry cost a tracker of a million torrents and two million peers, and how long
/// they keep anybody waiting:
/// `cargo test --release -p samara-tracker --lib what_upkeep_costs -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn what_upkeep_costs() {
    let folder = Folder::new("cost");
    let handle = handle();
    let announce = |n: u32| {
        let mut hash = [0; 20];
        hash[..4].copy_from_slice(&(n % 1_000_000).wrapping_mul(0x9e37_79b1).to_be_bytes());
        let mut request = AnnounceRequest::new(InfoHash(hash), PeerId([1; 20]), 6_881);
        request.left = Some(u64::from(n % 3));
        let source = IpAddr::from((0x3200_0000 + n).to_be_bytes());
        let announce = Announce::new(&request, source);
        let (store, now) = (handle.store(), handle.now());
        let answer = store.announce(now, &announce, &mut Listed::default());
        answer.expect("answered");
    };
    (0..2_000_000).for_each(announce);
    // Announces one after the other, and the longest that one took, while something else goes on.
    let beside = |work: &(dyn Fn() + Sync)| {
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let probe = scope.spawn(|| {
                let mut times = Vec::new();
                let mut n = 1_u32;
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let start = Instant::now();
                    announce(n % 2_000_000);
                    times.push(start.elapsed());
                }
                times.sort();
                let at = |part: usize| times[(times.len() - 1) * part / 100_000];
                (at(50_000), at(99_000), at(99_990), at(100_000))
            });
            work();
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            probe.join().expect("measured")
        })
    };
    let longest = std::cell::Cell::new(Duration::ZERO);
    let start = Instant::now();
    let mut bytes = 0;
    for part in 0..Shards::PARTS {
        let mut section = Vec::new();
        let start = Instant::now();
        handle.store().save(part, handle.now(), &mut section);
        longest.set(longest.get().max(start.elapsed()));
        bytes += section.len();
    }
    let (copy, most) = (start.elapsed(), longest.get());
    println!("snapshot, copying alone: {copy:?} for {bytes} bytes, one part {most:?} at the most");
    let path = folder.file();
    let start = Instant::now();
    save(&handle, &path).expect("saved");
    println!("snapshot, written and synchronised: {:?}", start.elapsed());
    let quiet = beside(&|| std::thread::sleep(Duration::from_secs(2)));
    println!("announces beside nothing (p50, p99, p99.99, longest): {quiet:?}");
    let busy = beside(&|| {
        for _ in 0..3 {
            save(&handle, &path).expect("saved");
        }
    });
    println!("announces beside snapshots: {busy:?}");
    let walks = std::sync::Mutex::new(Vec::new());
    let busy = beside(&|| {
        for _ in 0..200 {
            let start = Instant::now();
            handle.store().expire(handle.now());
            walks.lock().expect("one thread").push(start.elapsed());
        }
    });
    let mut walks = walks.into_inner().expect("one thread");
    walks.sort();
    println!(
        "expiry, one call a second: {:?}, {:?} at the most",
        walks[100], walks[199]
    );
    println!("announces beside expiry: {busy:?}");
}

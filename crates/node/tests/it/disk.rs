//! Disks that fail or hang under a real session, and files that somebody else changes while it runs.

use crate::harness::{
    Leech, Material, forever, noise, outcome, request, seed, seed_as, session, until,
};
use rustix::io::Errno;
use samara_disk::resume::Journal;
use samara_disk::seam::{Action, Call, Gate, Seam, Verdict};
use samara_node::{Mode, NodeError, Outcome, TorrentEvent};
use samara_proto::metainfo::Version;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use tempfile::TempDir;

const PIECE: u32 = 64 * 1024;

fn material() -> Material {
    Material::new(
        &[("a", noise(1, 1 << 20)), ("b", noise(2, 2 << 20))],
        Version::V1,
        PIECE,
    )
}

fn is_journal(path: &Path) -> bool {
    path.extension().is_some_and(|ext| ext == "redb")
}

/// A gate that is a function.
struct Asks<F>(F);

impl<F> std::fmt::Debug for Asks<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Asks")
    }
}

impl<F: Fn(&Call<'_>) -> Verdict + Send + Sync> Gate for Asks<F> {
    fn pass(&self, call: &Call<'_>) -> Verdict {
        (self.0)(call)
    }
}

fn seam(ask: impl Fn(&Call<'_>) -> Verdict + Send + Sync + 'static) -> Seam {
    Seam::with(Arc::new(Asks(ask)))
}

async fn leech_with(material: &Material, peer: std::net::SocketAddr, seam: Seam) -> Leech {
    let dir = TempDir::new().expect("folder");
    let mut request = request(material, dir.path(), Mode::Get);
    request.candidates = vec![peer];
    request.seam = seam;
    Leech::with(request, dir).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_fails_ends_it_and_nothing_is_vouched_for() {
    let material = material();
    let host = session().await;
    let _seeding = seed(&host, &material).await;
    // The first sync of data fails; all that follow are well, as they are on Linux.
    let failed = Arc::new(AtomicBool::new(false));
    let seam = seam(move |call| match call.action {
        Action::Sync if !is_journal(call.path) && !failed.swap(true, Ordering::Relaxed) => {
            Verdict::Fail(Errno::IO.raw_os_error())
        }
        _ => Verdict::Pass,
    });
    let leech = leech_with(&material, host.listen_addr(), seam).await;
    let Outcome::Failed(NodeError::Disk(text)) = outcome(&leech.torrent).await else {
        panic!("it has to end");
    };
    assert!(
        text.contains("cannot sync") && text.contains("material/"),
        "{text}"
    );
    let info = Arc::new(material.metainfo.info.clone());
    let (journal, recovered) = Journal::open(info, leech.dir.path()).expect("not busy");
    assert_eq!(recovered.have.count(), 0, "{:?}", recovered.have);
    drop(journal);
    leech.session.stop().await;
    // The next one hashes what is there, and fetches nothing that is right.
    let mut again = request(&material, leech.dir.path(), Mode::Get);
    again.candidates = vec![host.listen_addr()];
    let mut again = Leech::with(again, leech.dir).await;
    again.complete().await;
    material.assert_same(again.dir.path());
    again.session.stop().await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_cannot_be_written_is_a_warning() {
    let material = material();
    let host = session().await;
    let _seeding = seed(&host, &material).await;
    let seam = seam(|call| match call.action {
        Action::Sync | Action::Write { .. } if is_journal(call.path) => {
            Verdict::Fail(Errno::NOSPC.raw_os_error())
        }
        _ => Verdict::Pass,
    });
    let mut leech = leech_with(&material, host.listen_addr(), seam).await;
    let said = leech.complete().await;
    let warned = |event: &TorrentEvent| matches!(event, TorrentEvent::Notice(text) if text.contains("journal"));
    assert!(said.iter().any(warned), "{said:?}");
    leech.session.stop().await;
    material.assert_same(leech.dir.path());
    host.stop().await;
}

/// Lets writes wait until it is opened.
#[derive(Debug, Default)]
struct Barrier {
    open: Mutex<bool>,
    opened: Condvar,
    waiting: AtomicUsize,
}

impl Gate for Barrier {
    fn pass(&self, call: &Call<'_>) -> Verdict {
        if matches!(call.action, Action::Write { .. }) && !is_journal(call.path) {
            self.waiting.fetch_add(1, Ordering::Relaxed);
            let open = self.open.lock().expect("whole");
            drop(self.opened.wait_while(open, |open| !*open).expect("whole"));
        }
        Verdict::Pass
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_hangs_holds_up_its_own_download_only() {
    let material = material();
    let host = session().await;
    let _seeding = seed(&host, &material).await;
    let barrier = Arc::new(Barrier::default());
    let gate = Seam::with(Arc::clone(&barrier) as Arc<dyn Gate>);
    let mut stuck = leech_with(&material, host.listen_addr(), gate).await;
    while barrier.waiting.load(Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    // Its network goes on: it is connected, and the numbers for people come.
    until(&mut stuck.events, |event| {
        matches!(event, TorrentEvent::PeerConnected { .. }).then_some(())
    })
    .await;
    // Everybody else is served meanwhile.
    let mut other = Leech::new(&material, &[host.listen_addr()]).await;
    other.complete().await;
    assert_eq!(stuck.torrent.snapshot().expect("open").pieces_have, 0);
    // The disk is back, and so is the download.
    *barrier.open.lock().expect("whole") = true;
    barrier.opened.notify_all();
    stuck.complete().await;
    material.assert_same(stuck.dir.path());
    for leech in [stuck, other] {
        leech.session.stop().await;
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_hangs_holds_up_no_other_torrent_of_its_session() {
    let material = material();
    let another = Material::file(3 << 20, PIECE);
    let host = session().await;
    let _seeding = (seed(&host, &material).await, seed(&host, &another).await);
    let barrier = Arc::new(Barrier::default());
    let gate = Seam::with(Arc::clone(&barrier) as Arc<dyn Gate>);
    let mut stuck = leech_with(&material, host.listen_addr(), gate).await;
    // Both of its session's threads, if the pieces come together.
    while barrier.waiting.load(Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    let dir = TempDir::new().expect("folder");
    let mut request = request(&another, dir.path(), Mode::Get);
    request.candidates = vec![host.listen_addr()];
    let other = stuck.session.add(request).await.expect("added");
    until(&mut other.events(), |event| {
        matches!(event, TorrentEvent::Complete { .. }).then_some(())
    })
    .await;
    another.assert_same(dir.path());
    assert_eq!(stuck.torrent.snapshot().expect("open").pieces_have, 0);
    *barrier.open.lock().expect("whole") = true;
    barrier.opened.notify_all();
    stuck.complete().await;
    stuck.session.stop().await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_does_not_wait_for_a_disk_that_hangs() {
    let material = material();
    let host = session().await;
    let _seeding = seed(&host, &material).await;
    let barrier = Arc::new(Barrier::default());
    let gate = Seam::with(Arc::clone(&barrier) as Arc<dyn Gate>);
    let stuck = leech_with(&material, host.listen_addr(), gate).await;
    while barrier.waiting.load(Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    stuck.session.stop().await;
    *barrier.open.lock().expect("whole") = true;
    barrier.opened.notify_all();
    host.stop().await;
}

/// Overwrites some bytes in place, and sets the time of the last write back, as some tools do.
fn scribble(path: &Path, at: u64) {
    let file = fs::OpenOptions::new()
        .write(true)
        .open(path)
        .expect("there");
    let before = file.metadata().expect("known").modified().expect("known");
    file.write_all_at(b"somebody was here", at)
        .expect("written");
    file.set_modified(before).expect("set");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_changed_or_cut_while_it_is_shared_is_mended() {
    let material = material();
    let host = session().await;
    let _seeding = seed(&host, &material).await;
    let mut leech = Leech::new(&material, &[host.listen_addr()]).await;
    leech.complete().await;
    let top = leech.dir.path().join("material");
    type Change = fn(&Path);
    let changes: [Change; 2] = [
        |top| scribble(&top.join("a"), 200_000),
        |top| {
            let file = fs::OpenOptions::new().write(true).open(top.join("b"));
            file.expect("there").set_len(1_000_000).expect("cut");
        },
    ];
    for change in changes {
        change(&top);
        until(&mut leech.events, |event| match event {
            TorrentEvent::Notice(text) => text.contains("not by us").then_some(()),
            _ => None,
        })
        .await;
        leech.torrent.add_candidates(vec![host.listen_addr()]);
        leech.complete().await;
        material.assert_same(leech.dir.path());
    }
    let fetched = leech.torrent.snapshot().expect("open").downloaded;
    let total = material.metainfo.info.total();
    // One piece that was written to; and what is behind the cut.
    let most = total + u64::from(PIECE) + (2 << 20) - 1_000_000 + u64::from(PIECE);
    assert!(fetched > total && fetched <= most, "{fetched} of {total}");
    leech.session.stop().await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_changed_while_it_is_downloaded_is_mended() {
    let material = material();
    let host = session().await;
    let mut slow = request(&material, material.dir.path(), Mode::Seed);
    slow.up_limit = Some(600 << 10);
    let _seeding = seed_as(&host, slow).await;
    let mut leech = Leech::new(&material, &[host.listen_addr()]).await;
    let piece = until(&mut leech.events, |event| match event {
        TorrentEvent::PieceVerified { piece } if *piece < 16 => Some(*piece),
        _ => None,
    })
    .await;
    scribble(
        &leech.dir.path().join("material/a"),
        u64::from(piece) * u64::from(PIECE),
    );
    leech.complete().await;
    material.assert_same(leech.dir.path());
    leech.session.stop().await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_taken_away_or_replaced_are_named() {
    let material = material();
    let host = session().await;
    let _seeding = seed(&host, &material).await;
    type Change = fn(&Path);
    let changes: [(Change, &str); 2] = [
        (
            |path| fs::remove_file(path).expect("removed"),
            "was taken away",
        ),
        (
            |path| {
                fs::copy(path, path.with_extension("new")).expect("copied");
                fs::rename(path.with_extension("new"), path).expect("moved");
            },
            "was replaced by another file",
        ),
    ];
    for (change, words) in changes {
        let mut leech = Leech::new(&material, &[host.listen_addr()]).await;
        leech.complete().await;
        change(&leech.dir.path().join("material/b"));
        let Outcome::Failed(error) = outcome(&leech.torrent).await else {
            panic!("it has to be noticed");
        };
        let text = error.to_string();
        assert!(
            text.contains("material/b") && text.contains(words),
            "{text}"
        );
        leech.session.stop().await;
        // The same command again: what is there is checked, and what is missing is fetched.
        let mut again = request(&material, leech.dir.path(), Mode::Get);
        again.candidates = vec![host.listen_addr()];
        let mut again = Leech::with(again, leech.dir).await;
        again.complete().await;
        material.assert_same(again.dir.path());
        again.session.stop().await;
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_whose_data_change_says_so_and_one_that_is_only_touched_stays() {
    let material = material();
    let host = session().await;
    let torrent = seed(&host, &material).await;
    let mut events = torrent.events();
    let path = material.dir.path().join("material/a");
    // The same bytes, written anew: hashed, and served again.
    fs::write(&path, noise(1, 1 << 20)).expect("written");
    until(&mut events, |event| {
        matches!(event, TorrentEvent::Notice(text) if text.contains("not by us")).then_some(())
    })
    .await;
    let mut leech = Leech::new(&material, &[host.listen_addr()]).await;
    leech.complete().await;
    leech.session.stop().await;
    scribble(&path, 5);
    let Outcome::Failed(error) = outcome(&torrent).await else {
        panic!("it has to be noticed");
    };
    let text = error.to_string();
    assert!(
        text.contains("material/a") && text.contains("1 of its pieces"),
        "{text}"
    );
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_that_goes_at_99_percent_is_waited_for() {
    let material = Material::file(100 * PIECE as usize, PIECE);
    let host = session().await;
    let mut slow = request(&material, material.dir.path(), Mode::Seed);
    slow.up_limit = Some(2 << 20);
    let _seeding = seed_as(&host, slow).await;
    let mut leech = Leech::new(&material, &[host.listen_addr()]).await;
    let mut have = 0;
    until(&mut leech.events, |event| {
        have += u32::from(matches!(event, TorrentEvent::PieceVerified { .. }));
        (have == 99).then_some(())
    })
    .await;
    host.stop().await;
    until(&mut leech.events, |event| {
        matches!(
            event,
            TorrentEvent::PeerGone { .. } | TorrentEvent::Complete { .. }
        )
        .then_some(())
    })
    .await;
    // Another one, at another address.
    let other = session().await;
    let mut request = request(&material, material.dir.path(), Mode::Seed);
    request.config = forever();
    let _seeding = seed_as(&other, request).await;
    leech.torrent.add_candidates(vec![other.listen_addr()]);
    if leech
        .torrent
        .snapshot()
        .is_some_and(|seen| seen.pieces_have < 100)
    {
        leech.complete().await;
    }
    material.assert_same(leech.dir.path());
    let fetched = leech.torrent.snapshot().expect("open").downloaded;
    assert!(fetched <= 101 * u64::from(PIECE), "{fetched}");
    leech.session.stop().await;
    other.stop().await;
}

//! The n-th call to the disk fails, for every n of a whole download, and in every way.

use super::*;
use crate::seam::{Action, Call, Gate, Verdict};
use rustix::io::Errno;
use std::sync::Mutex;

/// How it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// This call, with this error.
    Once(Errno),
    /// A write does its first half, or all but its last byte; then as above.
    Torn(Errno, bool),
    /// This call and all that follow: a device that is gone, a file system that went read-only, or a
    /// process that was killed, for all that the disk sees of it.
    FromHere(Errno),
}

#[derive(Debug)]
struct Nth {
    n: usize,
    how: How,
    /// Calls so far, and what was hit.
    seen: Mutex<(usize, Option<String>)>,
}

const NEVER: usize = usize::MAX;

impl Nth {
    fn new(n: usize, how: How) -> Arc<Self> {
        Arc::new(Self {
            n,
            how,
            seen: Mutex::default(),
        })
    }

    fn seam(self: &Arc<Self>) -> Seam {
        Seam::with(Arc::clone(self) as Arc<dyn Gate>)
    }

    fn calls(&self) -> usize {
        self.seen.lock().expect("whole").0
    }

    /// What was hit, if there were so many calls.
    fn hit(&self) -> Option<String> {
        self.seen.lock().expect("whole").1.clone()
    }
}

impl Gate for Nth {
    fn pass(&self, call: &Call<'_>) -> Verdict {
        let mut seen = self.seen.lock().expect("whole");
        let at = seen.0;
        seen.0 += 1;
        if at < self.n || (at > self.n && !matches!(self.how, How::FromHere(_))) {
            return Verdict::Pass;
        }
        if at == self.n {
            let name = call.path.file_name().unwrap_or_default().to_string_lossy();
            let name = match &*name {
                name if name.ends_with("redb") => "journal",
                name if name.starts_with(".tmp") => "the root",
                name => name,
            };
            seen.1 = Some(format!("{} {name}", call.action.name()));
        }
        match (self.how, call.action) {
            (How::Torn(errno, half), Action::Write { parts, .. }) => {
                let len: usize = parts.iter().map(|part| part.len()).sum();
                let bytes = if half { len / 2 } else { len.saturating_sub(1) };
                Verdict::Tear(bytes, errno.raw_os_error())
            }
            (How::Once(errno) | How::Torn(errno, _) | How::FromHere(errno), _) => {
                Verdict::Fail(errno.raw_os_error())
            }
        }
    }
}

/// Fails the n-th call of the first process, and lets the next one finish. What was hit, and how many pieces
/// were fetched again: the one that was being written, at most. What is on disk and in no journal is found
/// there.
fn run(info: &Arc<Info>, n: usize, how: How) -> Option<(String, usize)> {
    let dir = folder();
    let gate = Nth::new(n, how);
    let what = |gate: &Nth| format!("call {n} ({:?}) {how:?}", gate.hit());
    let trusted = |store: &Store, have: &Bitfield| assert_true(store, have, &what(&gate));
    let first = process(info, dir.path(), &gate.seam(), trusted, |_| {});
    let hit = gate.hit()?;
    if let Some(text) = &first.failed {
        assert!(text.len() > 20, "{}: a reason: {text}", what(&gate));
    }
    // The next process, on a disk that is well again.
    let trusted = |store: &Store, have: &Bitfield| assert_true(store, have, &what(&gate));
    let second = process(info, dir.path(), &Seam::default(), trusted, |_| {});
    assert!(second.complete, "{}: {second:?}", what(&gate));
    assert_whole(info, dir.path(), &what(&gate));
    let again: Vec<u32> = (second.fetched.keys().copied())
        .filter(|piece| first.fetched.contains_key(piece))
        .collect();
    let vouched = |piece: &&u32| first.committed.contains(piece);
    let lost: Vec<&u32> = again.iter().filter(vouched).collect();
    assert!(lost.is_empty(), "{}: {lost:?} were journaled", what(&gate));
    assert!(again.len() <= 1, "{}: {again:?} fetched again", what(&gate));
    // And nothing is left to be done.
    let third = process(info, dir.path(), &Seam::default(), |_, _| {}, |_| {});
    assert!(third.complete && third.fetched.is_empty(), "{third:?}");
    Some((hit, again.len()))
}

#[test]
fn every_call_fails_in_every_way() {
    let info = sample();
    let whole = Nth::new(NEVER, How::Once(Errno::IO));
    let dir = folder();
    let told = process(&info, dir.path(), &whole.seam(), |_, _| {}, |_| {});
    assert!(told.complete && told.warnings.is_empty(), "{told:?}");
    let calls = whole.calls();
    let ways = [
        How::Once(Errno::IO),
        How::Once(Errno::NOSPC),
        How::Once(Errno::ACCESS),
        How::Once(Errno::MFILE),
        How::Torn(Errno::IO, true),
        How::Torn(Errno::NOSPC, false),
        How::FromHere(Errno::IO),
        How::FromHere(Errno::ROFS),
        How::FromHere(Errno::NOSPC),
    ];
    let (mut runs, mut again, mut hits) = (0, 0, BTreeMap::<String, usize>::new());
    for how in ways {
        for n in 0..calls {
            // A fault can make a run shorter than the one that was counted.
            let Some((hit, fetched)) = run(&info, n, how) else {
                continue;
            };
            runs += 1;
            again = again.max(fetched);
            *hits.entry(hit).or_default() += 1;
        }
    }
    println!(
        "{runs} runs over {calls} calls; at most {again} of {} pieces fetched again; hit: {hits:?}",
        info.geometry.pieces()
    );
    for name in [
        "create",
        "mkdir",
        "resize",
        "write",
        "sync",
        "sync folder",
        "read",
    ] {
        let kind = |hit: &String| {
            hit.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(' '))
        };
        assert!(hits.keys().any(kind), "no {name} in {hits:?}");
    }
    assert!(runs > calls * 8, "{runs} runs of {calls} calls");
}

#[test]
fn a_download_that_goes_on_fails_at_every_call_too() {
    let info = sample();
    let half = |root: &Path| {
        // Killed in the middle, with data that no journal vouches for yet.
        let gate = Nth::new(75, How::FromHere(Errno::IO));
        process(&info, root, &gate.seam(), |_, _| {}, |_| {})
    };
    let dir = folder();
    let before = half(dir.path());
    assert!(
        before.committed.len() >= 3 && !before.complete,
        "{before:?}"
    );
    let whole = Nth::new(NEVER, How::Once(Errno::IO));
    assert!(process(&info, dir.path(), &whole.seam(), |_, _| {}, |_| {}).complete);
    for how in [
        How::Once(Errno::IO),
        How::Torn(Errno::IO, true),
        How::FromHere(Errno::IO),
    ] {
        for n in 0..whole.calls() {
            let what = format!("call {n} {how:?}");
            let dir = folder();
            let first = half(dir.path());
            let gate = Nth::new(n, how);
            let trusted = |store: &Store, have: &Bitfield| assert_true(store, have, &what);
            let second = process(&info, dir.path(), &gate.seam(), trusted, |_| {});
            let trusted = |store: &Store, have: &Bitfield| assert_true(store, have, &what);
            let third = process(&info, dir.path(), &Seam::default(), trusted, |_| {});
            assert!(third.complete, "{what}: {third:?}");
            assert_whole(&info, dir.path(), &what);
            // A journal that could not be opened for a moment is not the end of what it says.
            for piece in first.committed.union(&second.committed) {
                assert!(
                    !third.fetched.contains_key(piece),
                    "{what} ({:?}): {piece} fetched again\n{second:?}",
                    gate.hit()
                );
            }
        }
    }
}

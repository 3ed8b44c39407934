//! The power goes at every moment of a download, and what was not synced is on the disk or not.
//!
//! A record of every call is kept. What a disk may hold after it lost power at some moment follows from it:
//! of each file what was written before its last sync, and of what was written after that anything: nothing,
//! all, some of the writes, parts of one in sectors of 512 bytes; its length and its times as they were at
//! the sync, or later ones, whether or not the bytes are there (what file systems with delayed allocation
//! do); names that were made since the folder was synced, or not. Each such image becomes a folder in which
//! the next process starts.

use super::*;
use crate::seam::{Action, Call, Gate, Verdict};
use crate::store::Fingerprint;
use rustix::io::Errno;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that a disk writes whole or not at all.
const SECTOR: usize = 512;

/// splitmix64 (Steele, Lea, Flood 2014).
struct Rng(u64);

impl Rng {
    fn is(&mut self) -> bool {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) & 1 == 1
    }
}

#[derive(Clone, Debug)]
enum Done {
    Create(PathBuf),
    Mkdir(PathBuf),
    Resize(PathBuf, u64),
    Write(PathBuf, u64, Vec<u8>),
    Sync(PathBuf),
    SyncFolder(PathBuf),
}

/// Number and times of a file on the disk that is made up.
#[derive(Clone, Copy, Debug, Default)]
struct Looks {
    inode: u64,
    time: i64,
}

#[derive(Debug, Default)]
struct Tape {
    done: Vec<Done>,
    looks: BTreeMap<PathBuf, Looks>,
}

/// Records calls below a root. Times and numbers of files are places on the tape, so that the same ones can
/// be given to files of an image.
#[derive(Debug)]
struct Recorder {
    root: PathBuf,
    /// Added to places on the tape: times of a process that comes after another one's.
    base: i64,
    /// From this place on nothing is done any more: the process was killed.
    killed_at: AtomicUsize,
    tape: Mutex<Tape>,
}

impl Recorder {
    fn new(root: &Path, base: i64, looks: BTreeMap<PathBuf, Looks>) -> Arc<Self> {
        let tape = Tape {
            looks,
            ..Tape::default()
        };
        Arc::new(Self {
            root: root.to_path_buf(),
            base,
            killed_at: AtomicUsize::new(usize::MAX),
            tape: Mutex::new(tape),
        })
    }

    fn seam(self: &Arc<Self>) -> Seam {
        Seam::with(Arc::clone(self) as Arc<dyn Gate>)
    }

    fn len(&self) -> usize {
        self.tape.lock().expect("whole").done.len()
    }

    fn below(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.root).unwrap_or(path).to_path_buf()
    }
}

impl Gate for Recorder {
    fn pass(&self, call: &Call<'_>) -> Verdict {
        let path = self.below(call.path);
        let mut tape = self.tape.lock().expect("whole");
        if tape.done.len() >= self.killed_at.load(Ordering::Relaxed) {
            return Verdict::Fail(Errno::IO.raw_os_error());
        }
        let now = self.base + tape.done.len() as i64 + 1;
        let there = call.path.exists();
        let done = match call.action {
            Action::Create if !there => Done::Create(path),
            Action::Mkdir if !there => Done::Mkdir(path),
            Action::Resize(len) => Done::Resize(path, len),
            Action::Write { offset, parts } => Done::Write(path, offset, parts.concat()),
            Action::Sync => Done::Sync(path),
            Action::SyncFolder => Done::SyncFolder(path),
            Action::Rename(to) => {
                // A journal that was not whole before its first sync; nothing rests on its name.
                if let Some(looks) = tape.looks.remove(&path) {
                    tape.looks.insert(self.below(to), looks);
                }
                return Verdict::Pass;
            }
            Action::SyncAll => panic!("not in this download: {call:?}"),
            Action::Create | Action::Mkdir | Action::Open | Action::Read => return Verdict::Pass,
        };
        if let Done::Create(path) | Done::Resize(path, _) | Done::Write(path, ..) = &done {
            let looks = tape.looks.entry(path.clone()).or_default();
            looks.time = now;
            if matches!(done, Done::Create(_)) {
                looks.inode = now as u64;
            }
        }
        tape.done.push(done);
        Verdict::Pass
    }

    fn fingerprint(&self, path: &Path, found: Fingerprint) -> Fingerprint {
        let tape = self.tape.lock().expect("whole");
        let looks = tape.looks.get(&self.below(path)).copied();
        let looks = looks.unwrap_or_else(|| panic!("{path:?} was never made"));
        Fingerprint {
            size: found.size,
            mtime_ns: looks.time,
            ctime_ns: looks.time,
            inode: looks.inode,
        }
    }
}

/// What becomes of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// All of it is lost, names too.
    Nothing,
    /// All of it is there.
    Everything,
    /// Lengths, times and names are there, and the bytes are not.
    BytesLost,
    /// Any of it, drawn from this seed.
    Some(u64),
}

const FATES: [Fate; 3] = [Fate::Nothing, Fate::Everything, Fate::BytesLost];

/// A file on the image.
#[derive(Clone, Debug, Default)]
struct Image {
    bytes: Vec<u8>,
    named: bool,
    inode: u64,
    time: i64,
}

impl Image {
    fn put(&mut self, offset: u64, data: &[u8]) {
        let end = offset as usize + data.len();
        self.reach(end);
        self.bytes[offset as usize..end].copy_from_slice(data);
    }

    fn reach(&mut self, len: usize) {
        if self.bytes.len() < len {
            self.bytes.resize(len, 0);
        }
    }
}

/// Folders and files of a disk.
type Disk = (BTreeSet<PathBuf>, BTreeMap<PathBuf, Image>);

/// Whether a later sync has made a call durable.
fn is_durable(done: &[Done], at: usize) -> bool {
    let mut later = done[at + 1..].iter();
    match &done[at] {
        Done::Mkdir(path) | Done::Create(path) => {
            let above = path.parent().unwrap_or(path);
            later.any(|call| matches!(call, Done::SyncFolder(folder) if folder == above))
        }
        Done::Resize(path, _) | Done::Write(path, ..) => {
            later.any(|call| matches!(call, Done::Sync(file) if file == path))
        }
        Done::Sync(_) | Done::SyncFolder(_) => true,
    }
}

/// What the disk holds if the power goes after the first `cut` calls.
fn image(done: &[Done], cut: usize, fate: Fate) -> Disk {
    let done = &done[..cut];
    let mut rng = Rng(match fate {
        Fate::Some(seed) => seed,
        _ => 0,
    });
    let (mut folders, mut files) = (BTreeSet::new(), BTreeMap::<PathBuf, Image>::new());
    for (at, call) in done.iter().enumerate() {
        let time = at as i64 + 1;
        let durable = is_durable(done, at);
        let mut kept = |lost: bool| {
            durable
                || match fate {
                    Fate::Nothing => false,
                    Fate::Everything => true,
                    Fate::BytesLost => !lost,
                    Fate::Some(_) => rng.is(),
                }
        };
        match call {
            Done::Mkdir(path) => {
                if kept(false) {
                    folders.insert(path.clone());
                }
            }
            Done::Create(path) => {
                let file = files.entry(path.clone()).or_default();
                (file.named, file.inode, file.time) = (kept(false), time as u64, time);
            }
            Done::Resize(path, len) => {
                let file = files.entry(path.clone()).or_default();
                if kept(false) {
                    file.bytes.resize(*len as usize, 0);
                    file.time = time;
                }
            }
            Done::Write(path, offset, data) => {
                let file = files.entry(path.clone()).or_default();
                if kept(false) {
                    file.time = time;
                    if fate == Fate::BytesLost {
                        file.reach(*offset as usize + data.len());
                    }
                }
                if durable || fate == Fate::Everything {
                    file.put(*offset, data);
                } else if kept(true) {
                    // Any of its sectors.
                    for (sector, part) in data.chunks(SECTOR).enumerate() {
                        if kept(true) {
                            file.put(offset + (sector * SECTOR) as u64, part);
                        }
                    }
                }
            }
            Done::Sync(_) | Done::SyncFolder(_) => {}
        }
    }
    (folders, files)
}

/// Makes the image a folder; gives the looks of its files. What has no name, or lies in a folder that has
/// none, is not there.
fn make(root: &Path, (folders, files): &Disk) -> BTreeMap<PathBuf, Looks> {
    let there = |path: &Path| {
        let mut above = path.ancestors().skip(1);
        above.all(|folder| folder.as_os_str().is_empty() || folders.contains(folder))
    };
    for folder in folders.iter().filter(|folder| there(folder)) {
        fs::create_dir_all(root.join(folder)).expect("made");
    }
    let mut looks = BTreeMap::new();
    for (path, file) in files {
        if file.named && there(path) {
            fs::write(root.join(path), &file.bytes).expect("written");
            let (inode, time) = (file.inode, file.time);
            looks.insert(path.clone(), Looks { inode, time });
        }
    }
    looks
}

/// What a download did, and what its commits had vouched for after how many calls.
type Recording = (Vec<Done>, Vec<(usize, BTreeSet<u32>)>);

/// A download to its end; by a second process if the first is killed after so many calls.
fn recorded(info: &Arc<Info>, killed_at: Option<usize>) -> Recording {
    let dir = folder();
    let recorder = Recorder::new(dir.path(), 0, BTreeMap::new());
    let mut commits = Vec::new();
    let seam = recorder.seam();
    let mut run = || {
        let commit = |pieces: &BTreeSet<u32>| commits.push((recorder.len(), pieces.clone()));
        process(info, dir.path(), &seam, |_, _| {}, commit)
    };
    if let Some(at) = killed_at {
        recorder.killed_at.store(at, Ordering::Relaxed);
        run();
        recorder.killed_at.store(usize::MAX, Ordering::Relaxed);
    }
    let told = run();
    assert!(told.complete, "{told:?}");
    let done = recorder.tape.lock().expect("whole").done.clone();
    (done, commits)
}

/// Starts a process on one image, and lets it finish. How many pieces it fetched, or what is wrong.
fn restart(
    info: &Arc<Info>,
    (done, commits): &Recording,
    cut: usize,
    fate: Fate,
) -> Result<usize, String> {
    let what = format!("after call {cut} of {}, {fate:?}", done.len());
    let dir = folder();
    let looks = make(dir.path(), &image(done, cut, fate));
    let recorder = Recorder::new(dir.path(), 1 << 32, looks);
    let mut lie = None;
    let trusted = |store: &Store, have: &Bitfield| {
        let right = truth(store, have);
        lie = (&right != have).then(|| format!("{what}: trusted {have:?}, right are {right:?}"));
    };
    let told = process(info, dir.path(), &recorder.seam(), trusted, |_| {});
    if let Some(lie) = lie {
        return Err(lie);
    }
    if !told.complete {
        return Err(format!("{what}: {told:?}"));
    }
    assert_whole(info, dir.path(), &what);
    let before = commits.iter().rev().find(|(at, _)| *at <= cut);
    let vouched = before.map(|(_, pieces)| pieces.clone()).unwrap_or_default();
    let fetched = |piece: &&u32| told.fetched.contains_key(piece);
    match vouched.iter().find(fetched) {
        Some(piece) => Err(format!(
            "{what}: {piece} was journaled, and is fetched again"
        )),
        None => Ok(told.fetched.len()),
    }
}

/// Every moment, with these fates and so many drawn ones; the first thing that is wrong.
fn every_moment(
    info: &Arc<Info>,
    recording: &Recording,
    fates: &[Fate],
    drawn: u64,
) -> Result<usize, String> {
    let mut images = 0;
    for cut in 0..=recording.0.len() {
        let seeds = (0..drawn).map(|n| Fate::Some(n + cut as u64 * 1000));
        for fate in fates.iter().copied().chain(seeds) {
            restart(info, recording, cut, fate)?;
            images += 1;
        }
    }
    Ok(images)
}

fn is_journal(path: &Path) -> bool {
    path.starts_with(".samara")
}

#[test]
fn the_power_goes_at_every_moment() {
    let info = sample();
    let whole = recorded(&info, None);
    let images = every_moment(&info, &whole, &FATES, 4);
    let images = images.unwrap_or_else(|wrong| panic!("{wrong}"));
    println!("{images} images of {} calls", whole.0.len());
    assert!(images > 500, "{images}");
}

#[test]
fn the_power_goes_after_a_kill_and_a_recheck() {
    // What a killed process wrote and never synced is in memory; who finds it right must not vouch for it
    // before it is on the disk.
    let info = sample();
    let len = recorded(&info, None).0.len();
    let mut images = 0;
    for killed_at in (40..len).step_by(31) {
        let both = recorded(&info, Some(killed_at));
        for cut in killed_at..=both.0.len() {
            for fate in [Fate::Nothing, Fate::BytesLost, Fate::Some(cut as u64)] {
                restart(&info, &both, cut, fate).unwrap_or_else(|wrong| panic!("{wrong}"));
                images += 1;
            }
        }
    }
    println!("{images} images");
    assert!(images > 200, "{images}");
}

#[test]
fn a_missing_sync_is_found() {
    let info = sample();
    let (done, commits) = recorded(&info, None);
    let without = |fate, drop: &dyn Fn(&Done) -> bool| {
        // Left in its place, so that times stay; of a file that does not exist.
        let nothing = || Done::Sync(PathBuf::from("nothing"));
        let kept = |call: &Done| if drop(call) { nothing() } else { call.clone() };
        let done = done.iter().map(kept).collect();
        every_moment(&info, &(done, commits.clone()), &[fate], 0)
    };
    let data = |call: &Done| matches!(call, Done::Sync(path) if !is_journal(path));
    let lie = without(Fate::BytesLost, &data);
    assert!(lie.is_err_and(|wrong| wrong.contains("trusted")));
    let loss = without(Fate::Nothing, &data);
    assert!(loss.is_err_and(|wrong| wrong.contains("fetched again")));
    // A journal that is lost as a whole costs a check, and nothing else.
    let journal = |call: &Done| matches!(call, Done::Sync(path) if is_journal(path));
    assert!(without(Fate::Nothing, &journal).is_ok());
    let names = |call: &Done| matches!(call, Done::SyncFolder(_));
    let loss = without(Fate::Nothing, &names);
    assert!(loss.is_err_and(|wrong| wrong.contains("fetched again")));
}

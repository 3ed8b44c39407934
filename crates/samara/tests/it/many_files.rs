//! More files than a process may have open.

use super::data::folder;
use super::process::{Ended, PATIENCE, Process};
use super::swarm::Tracker;
use std::path::Path;
use std::process::Command;

const FILES: usize = 100_000;

/// `samara` where no more than 256 descriptors may be open.
fn limited(args: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 256 && exec \"$0\" \"$@\""]);
    command.arg(env!("CARGO_BIN_EXE_samara")).args(args);
    command
}

/// To the end, which takes long on a slow disk.
fn run(command: &mut Command) -> Ended {
    Process::start(command).end_within(PATIENCE * 5)
}

/// A folder of [`FILES`] files of 0 to 96 bytes, a thousand in each folder below it.
fn make(root: &Path) {
    for at in 0..FILES {
        let folder = root.join(format!("{:03}", at / 1000));
        if at % 1000 == 0 {
            std::fs::create_dir_all(&folder).expect("made");
        }
        let bytes = at.to_string().repeat(at % 20);
        std::fs::write(
            folder.join(at.to_string()),
            bytes.get(..96).unwrap_or(&bytes),
        )
        .expect("written");
    }
}

#[test]
fn a_large_number_of_files_needs_few_descriptors() {
    let work = folder();
    let path = |name: &str| work.path().join(name).display().to_string();
    make(&work.path().join("src/many"));
    let tracker = Tracker::start();
    let torrent = path("many.torrent");
    run(&mut limited(&[
        "create",
        "-q",
        "-t",
        &tracker.announce,
        "-o",
        &torrent,
        &path("src/many"),
    ]))
    .expect_code(0);
    let seed = Process::start(&mut limited(&[
        "--json",
        "--listen",
        "127.0.0.2:0",
        "seed",
        "--seed",
        "forever",
        &torrent,
        "--data",
        &path("src"),
    ]));
    seed.wait_event("ready");
    let got = Process::start(&mut limited(&[
        "--json",
        "--listen",
        "127.0.0.3:0",
        "get",
        "--seed",
        "none",
        &torrent,
        "-o",
        &path("out"),
    ]))
    .end_within(PATIENCE * 5)
    .expect_code(0);
    assert_eq!(got.event("complete").expect("complete")["files"], FILES);
    let verified = run(&mut limited(&[
        "--json",
        "verify",
        &torrent,
        "--data",
        &path("out"),
    ]))
    .expect_code(0);
    let verified = verified.event("verified").expect("verified");
    assert_eq!(
        (&verified["ok"], &verified["files_ok"]),
        (&true.into(), &FILES.into())
    );
}

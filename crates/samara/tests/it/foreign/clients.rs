//! Starts one foreign client as a seed or as a leech, and learns when it has everything.

use crate::namespace::Namespace;
use crate::process::{Process, run, until};
use std::fs;
use std::path::{Path, PathBuf};

/// A client that is not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    Aria2,
    Transmission,
    Libtorrent,
}

/// What a client is to do.
pub struct Job<'a> {
    pub space: &'a Namespace,
    pub torrent: &'a Path,
    /// For settings and marks.
    pub home: PathBuf,
    /// The folder that holds the data, or will.
    pub content: PathBuf,
    pub port: u16,
}

/// A client at work; it ends when it is dropped.
pub struct Running<'a> {
    process: Process,
    client: Client,
    space: &'a Namespace,
    /// Made by the client when it is complete.
    mark: PathBuf,
    rpc: String,
}

impl Client {
    pub fn name(self) -> &'static str {
        match self {
            Self::Aria2 => "aria2",
            Self::Transmission => "transmission",
            Self::Libtorrent => "libtorrent",
        }
    }

    pub fn leech<'a>(self, job: &Job<'a>) -> Running<'a> {
        self.start(job, false)
    }

    pub fn seed<'a>(self, job: &Job<'a>) -> Running<'a> {
        self.start(job, true)
    }

    fn start<'a>(self, job: &Job<'a>, seed: bool) -> Running<'a> {
        fs::create_dir_all(&job.home).expect("made");
        fs::create_dir_all(&job.content).expect("made");
        let mark = job.home.join("complete");
        let hook = job.home.join("hook.sh");
        fs::write(&hook, format!("#!/bin/sh\n: > '{}'\n", mark.display())).expect("written");
        run(std::process::Command::new("chmod").arg("755").arg(&hook)).expect_code(0);
        let rpc = format!("127.0.0.1:{}", job.port + 10_000);
        let process = match self {
            Self::Aria2 => aria2(job, &hook, seed),
            Self::Transmission => transmission(job, &hook),
            Self::Libtorrent => libtorrent(job, &mark),
        };
        let running = Running {
            process,
            client: self,
            space: job.space,
            mark,
            rpc,
        };
        if self == Self::Transmission {
            let story = || {
                format!(
                    "transmission takes the torrent\n{}",
                    running.process.story()
                )
            };
            until(story, || {
                let content = job.content.to_string_lossy().into_owned();
                let torrent = job.torrent.to_string_lossy().into_owned();
                let added = running.remote(&["-a", &torrent, "-w", &content]);
                added.contains("success").then_some(())
            });
        }
        running
    }
}

impl Running<'_> {
    #[track_caller]
    pub fn until_complete(&self) {
        let story = || {
            format!(
                "{} is complete\n{}",
                self.client.name(),
                self.process.story()
            )
        };
        until(story, || {
            let complete = match self.client {
                Client::Transmission => {
                    let info = self.remote(&["-t", "all", "-i"]);
                    info.contains("Percent Done: 100%") && !info.contains("State: Verifying")
                }
                _ => self.mark.exists(),
            };
            complete.then_some(())
        });
    }

    fn remote(&self, args: &[&str]) -> String {
        let output = self
            .space
            .command("transmission-remote")
            .arg(&self.rpc)
            .args(args)
            .output()
            .expect("transmission-remote runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

fn aria2(job: &Job<'_>, hook: &Path, seed: bool) -> Process {
    let mut command = job.space.command("aria2c");
    command.env("HOME", &job.home).current_dir(&job.home);
    command
        .arg(format!("--dir={}", job.content.display()))
        .arg(format!("--listen-port={}", job.port))
        .arg(format!("--dht-listen-port={}", job.port))
        .arg(format!("--on-bt-download-complete={}", hook.display()));
    command.args([
        "--no-conf=true",
        // Without it there are no UDP trackers; nobody is known to ask in it.
        "--enable-dht=true",
        "--enable-dht6=false",
        "--bt-enable-lpd=false",
        "--seed-ratio=0.0",
        "--file-allocation=none",
        "--summary-interval=0",
        "--console-log-level=warn",
    ]);
    if seed {
        command.args(["--check-integrity=true", "--bt-hash-check-seed=true"]);
    }
    Process::start(command.arg(job.torrent))
}

fn transmission(job: &Job<'_>, hook: &Path) -> Process {
    let settings = serde_json::json!({
        "rpc-enabled": true, "rpc-port": job.port + 10_000, "rpc-bind-address": "127.0.0.1",
        "rpc-whitelist-enabled": false, "rpc-host-whitelist-enabled": false, "rpc-authentication-required": false,
        "peer-port": job.port, "download-dir": job.content, "start-added-torrents": true,
        "dht-enabled": false, "lpd-enabled": false, "utp-enabled": false, "port-forwarding-enabled": false,
        "encryption": 0, "preallocation": 0, "message-level": 1,
        "script-torrent-done-enabled": true, "script-torrent-done-filename": hook,
    });
    fs::write(job.home.join("settings.json"), settings.to_string()).expect("written");
    let mut command = job.space.command("transmission-daemon");
    Process::start(
        command
            .env("HOME", &job.home)
            .args(["--foreground", "--config-dir"])
            .arg(&job.home),
    )
}

fn libtorrent(job: &Job<'_>, mark: &Path) -> Process {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/foreign/lt.py");
    let mut command = job.space.command(libtorrent_python());
    Process::start(
        command
            .arg("-W")
            .arg("ignore")
            .arg(script)
            .arg(job.torrent)
            .arg(&job.content)
            .arg(job.port.to_string())
            .arg(mark),
    )
}

/// Any Python 3.
pub fn python() -> PathBuf {
    PathBuf::from("python3")
}

/// A Python with libtorrent: `$LT_PY`, else the one that `scripts/test-tools.sh` makes.
pub fn libtorrent_python() -> PathBuf {
    match std::env::var_os("LT_PY") {
        Some(path) => path.into(),
        None => PathBuf::from(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../target/lt/bin/python"
        )),
    }
}

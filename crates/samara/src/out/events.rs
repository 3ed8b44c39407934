//! What `--json` prints: one object a line. Scripts rely on the names; fields may be added, never
//! renamed. docs/cli.md lists them.

use serde::Serialize;
use std::net::SocketAddr;
use std::path::Path;

/// One line of `--json`. Bytes are bytes, rates (`*_bps`) are bytes a second.
#[derive(Serialize, Debug, Clone)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event<'a> {
    /// It takes part from now on.
    Ready(Ready<'a>),
    /// The tracker listens.
    #[serde(rename = "ready")]
    TrackerReady {
        role: &'static str,
        listen: SocketAddr,
        announce: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        announce_https: Option<&'a str>,
        #[serde(skip_serializing_if = "<[String]>::is_empty")]
        announce_udp: &'a [String],
    },
    /// What other hosts are to run.
    Share {
        command: &'a str,
        url: &'a str,
        announce: &'a str,
        magnet: &'a str,
        name: &'a str,
    },
    /// Data is being hashed to make a torrent.
    Hashing { done: u64, total: u64 },
    /// Data on disk is being checked.
    Verifying { done: u64, total: u64 },
    /// A torrent file was written.
    Created {
        path: &'a Path,
        #[serde(flatten)]
        torrent: Summary<'a>,
        magnet: &'a str,
        seconds: f64,
        mib_per_second: f64,
    },
    /// Numbers, about once a second.
    Progress(Progress),
    /// Nothing moves; why, in words.
    Waiting { message: &'a str },
    /// A tracker answered.
    Tracker {
        url: &'a str,
        seeds: Option<u64>,
        leeches: Option<u64>,
        peers: usize,
    },
    /// A tracker did not.
    TrackerFailed {
        url: &'a str,
        message: &'a str,
        retry_in: f64,
    },
    /// Something to know that stops nothing.
    Warning { message: &'a str },
    /// A piece failed its checksum and is fetched again; `peer` is the first of `peers`.
    PieceRejected {
        piece: u32,
        peer: Option<SocketAddr>,
        peers: &'a [SocketAddr],
    },
    /// A peer is not spoken to again.
    PeerBanned { peer: SocketAddr, reason: &'a str },
    /// Everything is written, and every whole file was checked.
    Complete {
        info_hash: &'a str,
        bytes: u64,
        files: u64,
        verified: &'a str,
        seconds: f64,
        path: &'a Path,
    },
    /// Complete, and serving others.
    Seeding { goal: &'a str },
    /// Nobody who asked is without a copy.
    EveryoneHasACopy { seeds: u64, copies: u64 },
    /// It has left.
    Stopped {
        uploaded: u64,
        downloaded: u64,
        complete: bool,
    },
    /// One file of `verify`.
    File {
        path: &'a str,
        bytes: u64,
        status: &'static str,
    },
    /// The result of `verify`.
    Verified {
        ok: bool,
        pieces_ok: u32,
        pieces: u32,
        files_ok: u64,
        files: u64,
        bytes: u64,
        seconds: f64,
        mib_per_second: f64,
    },
    /// One tracker of `scrape`.
    Scrape {
        url: &'a str,
        seeds: Option<u64>,
        leeches: Option<u64>,
        completed: Option<u64>,
        error: Option<&'a str>,
    },
    /// `info`.
    Info(Box<crate::commands::info::Described>),
    /// The end of `demo`.
    Demo {
        hosts: u16,
        bytes: u64,
        files: u64,
        seconds: f64,
        first_seconds: f64,
        seed_uploaded: u64,
        seed_copies: f64,
        checked: u64,
        equal: bool,
    },
    /// It ends here.
    Error { message: &'a str, exit: u8 },
}

/// [`Event::Ready`].
#[derive(Serialize, Debug, Clone)]
pub struct Ready<'a> {
    /// `seed` or `leech`.
    pub role: &'static str,
    #[serde(flatten)]
    pub torrent: Summary<'a>,
    /// Where peers reach us.
    pub listen: SocketAddr,
    /// Pieces that are here.
    pub pieces_have: u32,
}

/// A torrent in a few fields.
#[derive(Serialize, Debug, Clone)]
pub struct Summary<'a> {
    pub name: &'a str,
    pub info_hash: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub info_hash_v2: Option<String>,
    pub bytes: u64,
    pub files: u64,
    pub pieces: u32,
    pub piece_length: u32,
}

/// [`Event::Progress`].
#[derive(Serialize, Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    pub phase: &'static str,
    /// Bytes that are here and verified.
    pub have: u64,
    /// Bytes of all files.
    pub total: u64,
    pub pieces_have: u32,
    pub pieces: u32,
    pub down_bps: u64,
    pub up_bps: u64,
    /// Payload kept in this run.
    pub downloaded: u64,
    /// Payload sent in this run.
    pub uploaded: u64,
    /// Payload received in vain.
    pub wasted: u64,
    pub peers: u32,
    pub peer_seeds: u32,
    pub swarm_seeds: Option<u32>,
    pub swarm_leeches: Option<u32>,
    /// Seconds to go at this rate.
    pub eta: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_that_scripts_look_for() {
        let summary = Summary {
            name: "n",
            info_hash: "ab".into(),
            info_hash_v2: None,
            bytes: 1,
            files: 1,
            pieces: 1,
            piece_length: 16384,
        };
        let ready = Event::Ready(Ready {
            role: "seed",
            torrent: summary,
            listen: ([127, 0, 0, 1], 9).into(),
            pieces_have: 1,
        });
        let line = serde_json::to_string(&ready).expect("serialises");
        assert!(
            line.starts_with(r#"{"event":"ready","role":"seed","name":"n","info_hash":"ab","#),
            "{line}"
        );
        assert!(line.contains(r#""listen":"127.0.0.1:9""#), "{line}");
        let complete = Event::Complete {
            info_hash: "ab",
            bytes: 5,
            files: 1,
            verified: "pieces+file",
            seconds: 0.5,
            path: Path::new("x"),
        };
        let line = serde_json::to_string(&complete).expect("serialises");
        assert_eq!(
            line,
            r#"{"event":"complete","info_hash":"ab","bytes":5,"files":1,"verified":"pieces+file","seconds":0.5,"path":"x"}"#
        );
        let tracker = Event::TrackerReady {
            role: "tracker",
            listen: ([0, 0, 0, 0], 6969).into(),
            announce: "http://h/announce",
            announce_https: None,
            announce_udp: &[],
        };
        assert!(
            serde_json::to_string(&tracker)
                .expect("serialises")
                .starts_with(r#"{"event":"ready","role":"tracker""#)
        );
    }
}

//! Follows one torrent from its first event to its last, and tells the user.

use crate::args::Goal;
use crate::commands::{App, summary};
use crate::exit::{Exit, Failure};
use crate::out::events::{Progress, Ready};
use crate::out::units::{Bytes, Rate, Time, count};
use crate::out::{Event, escape};
use crate::stop::Why;
use crate::words::{self, TrackerState, TrackerView, View};
use indicatif::ProgressBar;
use samara_engine::Phase;
use samara_node::{Outcome, Torrent, TorrentEvent};
use samara_proto::metainfo::Info;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The same sentence about a wait is said again after this long without a terminal.
const REPEAT_EVERY: Duration = Duration::from_secs(30);

/// Counts of a tracker in this process: seeds, leeches, full copies made.
pub type Census = Box<dyn Fn() -> Option<(u64, u64, u64)> + Send>;

/// What is followed, and how it is told.
pub struct Plan {
    /// The torrent.
    pub info: Arc<Info>,
    /// Where its data is.
    pub root: PathBuf,
    /// Where peers reach us.
    pub listen: SocketAddr,
    /// How long to stay.
    pub goal: Goal,
    /// Trackers in order.
    pub trackers: Vec<String>,
    /// Data that is here already is not worth a line.
    pub quiet_complete: bool,
    /// Of the tracker that this process runs, if it does.
    pub census: Option<Census>,
}

/// Follows `torrent` until it has left. An ending that is not good is an error.
pub async fn follow(app: &App, torrent: &Torrent, plan: Plan) -> Result<(), Failure> {
    let mut events = torrent.events();
    let mut follower = Follower::new(app, torrent, plan);
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut stopping = None;
    let mut ended = std::pin::pin!(torrent.wait());
    let outcome = loop {
        tokio::select! {
            // What was said comes before the end.
            biased;
            event = events.recv() => match event {
                Some(event) => follower.on(event),
                None => break ended.await,
            },
            // A torrent that ended before anybody listened has nothing more to say.
            outcome = &mut ended => break outcome,
            _ = tick.tick() => follower.numbers(),
            why = app.stop.asked(), if stopping.is_none() => {
                stopping = Some(why);
                let torrent = torrent.clone();
                tokio::spawn(async move { torrent.stop().await });
            }
        }
    };
    while let Ok(event) = events.try_recv() {
        follower.on(event);
    }
    app.out.end_bar();
    match outcome {
        Outcome::Failed(err) => Err(Failure::failed(err)),
        Outcome::Mismatch { message, .. } => Err(Failure::new(Exit::Mismatch, message)),
        // A signal that finds everything done interrupts nothing.
        _ if stopping == Some(Why::Signal) && !follower.complete => Err(Failure::interrupted()),
        _ => Ok(()),
    }
}

struct Follower<'a> {
    app: &'a App,
    torrent: &'a Torrent,
    plan: Plan,
    bar: Option<ProgressBar>,
    verifying: Option<crate::out::Meter<'a>>,
    trackers: Vec<TrackerView>,
    complete: bool,
    ready: bool,
    said_wait: Option<(String, Instant)>,
    said_numbers: Instant,
    last: Option<Progress>,
    /// Full copies that were made when we last said that everybody has one.
    said_copies: u64,
}

impl<'a> Follower<'a> {
    fn new(app: &'a App, torrent: &'a Torrent, plan: Plan) -> Self {
        let asked = |url: &String| TrackerView {
            url: url.clone(),
            state: TrackerState::Asked,
        };
        Self {
            app,
            torrent,
            trackers: plan.trackers.iter().map(asked).collect(),
            plan,
            bar: None,
            verifying: None,
            complete: false,
            ready: false,
            said_wait: None,
            said_numbers: Instant::now(),
            last: None,
            said_copies: 0,
        }
    }

    fn on(&mut self, event: TorrentEvent) {
        match event {
            TorrentEvent::Verifying { done, total } => {
                let app = self.app;
                self.verifying
                    .get_or_insert_with(|| crate::out::Meter::new(&app.out, "checking", total))
                    .at(done);
            }
            TorrentEvent::Ready { have, pieces } => self.on_ready(have, pieces),
            TorrentEvent::PeerBanned { addr, fault, proof } => {
                self.on_banned(addr, &format!("{fault} ({proof})"));
            }
            TorrentEvent::PieceRejected { piece, peers } => self.on_rejected(piece, &peers),
            TorrentEvent::TrackerAnswered {
                url,
                seeds,
                leeches,
                peers,
            } => {
                let (seeds, leeches) = (seeds.map(u64::from), leeches.map(u64::from));
                self.app.out.event(&Event::Tracker {
                    url: &url,
                    seeds,
                    leeches,
                    peers,
                });
                self.tracker(
                    url,
                    TrackerState::Answered {
                        peers,
                        again_in: None,
                    },
                );
            }
            TorrentEvent::TrackerFailed {
                url,
                message,
                retry_in,
            } => self.on_tracker_failed(url, message, retry_in),
            // The seed rule's own warning is told in our words, with fresh numbers.
            TorrentEvent::TrackerWarning(message) if message.starts_with("no seed yet") => {}
            TorrentEvent::TrackerWarning(message) => {
                self.app
                    .out
                    .warning(&format!("the tracker says: {message}"));
            }
            TorrentEvent::Notice(message) => self.app.out.warning(&message),
            TorrentEvent::CheckingFiles => self
                .app
                .out
                .note("all pieces are here; checking every whole file"),
            TorrentEvent::Complete {
                bytes,
                files,
                verified,
                seconds,
            } => self.on_complete(bytes, files as u64, verified, seconds),
            TorrentEvent::Seeding => self.on_seeding(),
            TorrentEvent::GoalReached => self.app.out.note(&self.goal_reached()),
            TorrentEvent::Stopped {
                uploaded,
                downloaded,
            } => {
                self.app.out.event(&Event::Stopped {
                    uploaded,
                    downloaded,
                    complete: self.complete,
                });
                self.app.out.note(&format!(
                    "left the swarm: {} sent, {} received",
                    Bytes(uploaded),
                    Bytes(downloaded)
                ));
            }
            // The ending says it; single peers and pieces are for the log.
            _ => {}
        }
    }

    fn on_ready(&mut self, have: u32, pieces: u32) {
        self.verifying = None;
        self.ready = true;
        self.complete = have == pieces && self.plan.quiet_complete;
        let role = if have == pieces { "seed" } else { "leech" };
        let info = &self.plan.info;
        let (torrent, listen) = (summary(info), self.plan.listen);
        self.app.out.event(&Event::Ready(Ready {
            role,
            torrent,
            listen,
            pieces_have: have,
        }));
        if have < pieces {
            let has = if have > 0 {
                format!(", {} of them here already", count(have.into(), "piece"))
            } else {
                String::new()
            };
            self.app.out.note(&format!(
                "\"{}\": {} in {}, {}{has}",
                escape(&info.name),
                Bytes(info.total()),
                count(info.files.len() as u64, "file"),
                count(pieces.into(), "piece"),
            ));
            self.bar = self.app.out.bar(info.total(), "getting");
        }
    }

    fn on_banned(&self, peer: SocketAddr, reason: &str) {
        self.app.out.event(&Event::PeerBanned { peer, reason });
        self.app.out.note(&format!("{peer} is banned: it {reason}"));
    }

    fn on_rejected(&self, piece: u32, peers: &[SocketAddr]) {
        self.app.out.event(&Event::PieceRejected {
            piece,
            peer: peers.first().copied(),
            peers,
        });
        let from: Vec<String> = peers.iter().map(ToString::to_string).collect();
        self.app.out.note(&format!(
            "piece {piece} from {} failed its checksum; fetching it again",
            from.join(", ")
        ));
    }

    fn on_tracker_failed(&mut self, url: String, message: String, retry_in: Duration) {
        self.app.out.event(&Event::TrackerFailed {
            url: &url,
            message: &message,
            retry_in: retry_in.as_secs_f64(),
        });
        let known = self.trackers.iter().any(|tracker| {
            tracker.url == url && matches!(&tracker.state, TrackerState::Failed { message: before, .. } if *before == message)
        });
        if !known {
            self.app
                .out
                .note(&escape(&words::failed(&url, &message, Some(retry_in))));
        }
        self.tracker(
            url,
            TrackerState::Failed {
                message,
                again_in: Some(retry_in),
            },
        );
    }

    fn tracker(&mut self, url: String, state: TrackerState) {
        match self.trackers.iter_mut().find(|tracker| tracker.url == url) {
            Some(tracker) => tracker.state = state,
            None => self.trackers.push(TrackerView { url, state }),
        }
    }

    fn on_complete(&mut self, bytes: u64, files: u64, verified: &str, seconds: f64) {
        self.complete = true;
        let info = &self.plan.info;
        let path = self.plan.root.join(&info.name);
        let info_hash = info.info_hash().to_string();
        self.app.out.event(&Event::Complete {
            info_hash: &info_hash,
            bytes,
            files,
            verified,
            seconds,
            path: &path,
        });
        self.app.out.end_bar();
        self.bar = None;
        if self.plan.quiet_complete {
            return;
        }
        let checked = if verified == "pieces+file" {
            "every piece and every whole file checked"
        } else {
            "every piece checked"
        };
        let time = Time(Duration::try_from_secs_f64(seconds).unwrap_or_default());
        self.app.out.result(&escape(&path.display().to_string()));
        self.app.out.note(&format!(
            "complete: {} in {}, {time}, {checked}",
            Bytes(bytes),
            count(files, "file")
        ));
    }

    fn on_seeding(&mut self) {
        self.complete = true;
        let (name, words) = match self.plan.goal {
            Goal::Everyone => (
                "everyone".to_owned(),
                "until nobody who asked is without a copy".to_owned(),
            ),
            Goal::None => return,
            Goal::Forever => ("forever".to_owned(), "until stopped".to_owned()),
            Goal::Ratio(ratio) => (
                format!("ratio={}", f64::from(ratio) / 1000.0),
                format!("until {} times the size is sent", f64::from(ratio) / 1000.0),
            ),
            Goal::Time(time) => (
                format!("time={}", time.as_secs()),
                format!("for {}", Time(time)),
            ),
        };
        self.app.out.event(&Event::Seeding { goal: &name });
        self.app.out.note(&format!(
            "seeding on {} {words}; press Ctrl-C to leave",
            self.plan.listen
        ));
        self.bar = self.app.out.bar(self.plan.info.total(), "seeding");
    }

    fn goal_reached(&self) -> String {
        match self.plan.goal {
            Goal::Everyone => "everybody who asked has a copy".to_owned(),
            Goal::Ratio(ratio) => {
                format!("{} times the size has been sent", f64::from(ratio) / 1000.0)
            }
            Goal::Time(time) => format!("seeded for {}", Time(time)),
            Goal::None | Goal::Forever => "done".to_owned(),
        }
    }

    /// Once a second.
    fn numbers(&mut self) {
        let Some(progress) = self.progress() else {
            return;
        };
        self.everyone();
        let waiting = self.waiting(&progress);
        if let Some(bar) = &self.bar {
            bar.set_position(progress.have);
            bar.set_message(
                waiting
                    .as_ref()
                    .map_or_else(|| line(&progress), |words| escape(words).into_owned()),
            );
        }
        if let Some(words) = &waiting {
            self.say_waiting(words);
        }
        let due = self.said_numbers.elapsed() + Duration::from_millis(100)
            >= self.app.out.numbers_every();
        let moved = self
            .last
            .is_none_or(|last| (last.have, last.uploaded) != (progress.have, progress.uploaded));
        // A JSON reader is owed a sign of life; people only what is new.
        if due && (self.app.out.json() || (moved && waiting.is_none())) {
            self.said_numbers = Instant::now();
            self.last = Some(progress);
            self.app.out.event(&Event::Progress(progress));
            if !self.app.out.bars() {
                self.app.out.note(&line(&progress));
            }
        }
    }

    fn progress(&self) -> Option<Progress> {
        let now = self.torrent.snapshot().filter(|_| self.ready)?;
        let missing = now.bytes.saturating_sub(now.bytes_have);
        Some(Progress {
            phase: match now.phase {
                Phase::Downloading => "downloading",
                Phase::Checking => "checking",
                Phase::Seeding => "seeding",
                Phase::Leaving | Phase::Stopped => "leaving",
            },
            have: now.bytes_have,
            total: now.bytes,
            pieces_have: now.pieces_have,
            pieces: now.pieces,
            down_bps: now.down_rate,
            up_bps: now.up_rate,
            downloaded: now.downloaded,
            uploaded: now.uploaded,
            wasted: now.wasted,
            peers: now.peers,
            peer_seeds: now.peer_seeds,
            swarm_seeds: now.swarm_seeds,
            swarm_leeches: now.swarm_leeches,
            eta: (missing > 0)
                .then(|| missing.checked_div(now.down_rate))
                .flatten(),
        })
    }

    fn waiting(&self, progress: &Progress) -> Option<String> {
        let availability = self.torrent.snapshot()?.availability;
        words::waiting(&View {
            downloading: progress.phase == "downloading",
            down_rate: progress.down_bps,
            peers: progress.peers,
            peer_seeds: progress.peer_seeds,
            availability,
            swarm_seeds: progress.swarm_seeds,
            swarm_leeches: progress.swarm_leeches,
            trackers: self.trackers.clone(),
        })
    }

    fn say_waiting(&mut self, words: &str) {
        let kind: String = words.chars().filter(|c| !c.is_ascii_digit()).collect();
        let said = self
            .said_wait
            .as_ref()
            .is_some_and(|(before, at)| *before == kind && at.elapsed() < REPEAT_EVERY);
        if said {
            return;
        }
        self.said_wait = Some((kind, Instant::now()));
        self.app.out.event(&Event::Waiting { message: words });
        if !self.app.out.bars() {
            self.app.out.note(&escape(words));
        }
    }

    /// `share` stays; it says when it could go.
    fn everyone(&mut self) {
        let Some((seeds, leeches, copies)) = self.plan.census.as_ref().and_then(|census| census())
        else {
            return;
        };
        if leeches > 0 || copies <= self.said_copies {
            return;
        }
        self.said_copies = copies;
        self.app
            .out
            .event(&Event::EveryoneHasACopy { seeds, copies });
        self.app.out.note(&format!(
            "everybody who asked has a copy ({} made so far)",
            count(copies, "copy")
        ));
    }
}

/// Numbers in one line.
fn line(progress: &Progress) -> String {
    let peers = match progress.peer_seeds {
        0 => count(progress.peers.into(), "peer"),
        seeds => format!(
            "{} ({})",
            count(progress.peers.into(), "peer"),
            count(seeds.into(), "seed")
        ),
    };
    if progress.have == progress.total {
        return format!(
            "seeding: {} sent, up {}, {peers}",
            Bytes(progress.uploaded),
            Rate(progress.up_bps)
        );
    }
    let eta = progress.eta.map_or(String::new(), |eta| {
        format!(", {} to go", Time(Duration::from_secs(eta)))
    });
    format!(
        "{} of {}, down {}, up {}, {peers}{eta}",
        Bytes(progress.have),
        Bytes(progress.total),
        Rate(progress.down_bps),
        Rate(progress.up_bps),
    )
}

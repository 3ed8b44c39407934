//! What each wish of the engine means in the world of sockets and files.

use super::driver::Driver;
use super::{Fact, TorrentEvent};
use crate::error::NodeError;
use crate::session::shake::{self, Ours};
use crate::workers::Job;
use samara_disk::check::{
    CheckError, Control, Outcome as FileOutcome, chain_of, check_files, part_ok, verify_some,
};
use samara_disk::store::Store;
use samara_engine::{
    Announce, Answer, Event, FilesOutcome, Input, Output, PeerFault, PeerKey, Proof, TrackerKey,
};
use samara_proto::{BLOCK, Bitfield, InfoHash, Span};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

impl Driver {
    pub(super) fn perform(&mut self, output: Output) {
        match output {
            Output::Dial(addr) => self.dial(addr),
            Output::Hangup { peer, why } => {
                tracing::debug!(peer = peer.0, ?why, "hang up");
                if self.links.remove(&peer).is_some() {
                    self.follow_ups.push_back(Input::PeerDown { peer });
                }
            }
            Output::Send { peer, message } => {
                self.with_parcel(peer, |link| link.send(&message));
            }
            Output::Serve { peer, span } => self.with_parcel(peer, |link| link.serve(span)),
            Output::ServeHeld { peer, span } => self.serve_held(peer, span),
            Output::CheckPart {
                piece,
                from,
                to,
                before,
                after,
            } => {
                // On this thread: parts are short, and not used where pieces come fast.
                let blocks = self.kept.blocks(piece, from / BLOCK, to.div_ceil(BLOCK));
                let info = &self.setting.shared.info;
                let good = !blocks.is_empty() && part_ok(info, piece, blocks, before, after);
                self.follow_ups
                    .push_back(Input::PartDone { piece, from, good });
            }
            Output::Chain { piece, step } => self.compute_chain(piece, step),
            Output::Keep { span } => self.keep(span),
            Output::Verify { piece, digests } => {
                let job = Job {
                    store: Arc::clone(&self.store),
                    piece,
                    blocks: self.kept.take(piece),
                    digests,
                    answer: self.setting.shared.facts.clone(),
                    since: std::time::Instant::now(),
                };
                self.setting.workers.submit(job);
            }
            Output::Forget { piece } => self.kept.forget(piece),
            Output::Record { piece } => {
                let bytes = self.setting.shared.info.geometry.data_len(piece);
                self.keeper.record(piece, u64::from(bytes));
            }
            Output::CheckFiles => self.check_files(),
            Output::Announce(words) => self.announce(words),
            Output::Event(event) => self.tell(event),
            Output::Stopped => self.stopped = true,
        }
    }

    fn serve_held(&mut self, peer: PeerKey, span: Span) {
        let at = span.block();
        match self.kept.blocks(span.piece, at, at + 1) {
            [block] => {
                let block = block.clone();
                self.with_parcel(peer, |link| link.serve_held(span, block));
            }
            _ => {
                tracing::error!(?span, "asked to serve what is not held");
                self.follow_ups.push_back(Input::ServeFailed { peer, span });
            }
        }
    }

    /// Reads a piece for its chaining values, on a thread of its own.
    fn compute_chain(&mut self, piece: u32, step: u32) {
        let store = Arc::clone(&self.store);
        let facts = self.setting.shared.facts.clone();
        self.errands.spawn(async move {
            let reading = tokio::task::spawn_blocking(move || chain_of(&store, piece, step));
            let values = match reading.await {
                Ok(Ok(values)) => values,
                Ok(Err(error)) => {
                    tracing::debug!(piece, %error, "no chain");
                    Vec::new()
                }
                Err(error) => {
                    tracing::error!(piece, %error, "no chain");
                    Vec::new()
                }
            };
            let _ = facts.send(Fact::Say(Input::Chained { piece, values }));
        });
    }

    fn with_parcel(&mut self, peer: PeerKey, fill: impl FnOnce(&mut crate::peer::Link)) {
        let Some(link) = self.links.get_mut(&peer) else {
            return;
        };
        if !link.has_parcel() {
            self.parcels.push(peer);
        }
        fill(link);
    }

    fn keep(&mut self, span: Span) {
        let geometry = &self.setting.shared.info.geometry;
        match self.at_hand.take() {
            Some((at_hand, payload)) if at_hand == span => {
                self.kept.keep(geometry, span, payload);
            }
            other => tracing::error!(?span, ?other, "asked to keep what is not at hand"),
        }
    }

    fn dial(&mut self, addr: SocketAddr) {
        let info = &self.setting.shared.info;
        let info_hash = info.info_hash();
        let ours = Ours {
            peer_id: self.setting.peer_id,
            v2: info.hash_v2.is_some(),
        };
        let upgrade = info.hash_v2.map(InfoHash::from);
        let listen = self.setting.listen.ip();
        let shared = Arc::clone(&self.setting.shared);
        self.errands.spawn(async move {
            let call = async {
                let _turn = shared.member.may_dial().await;
                let place = shared.member.enter(addr.ip())?;
                let shaken = shake::call(addr, listen, info_hash, upgrade, ours).await?;
                io::Result::Ok((shaken, place))
            };
            let fact = match call.await {
                Ok((shaken, place)) => Fact::Connected {
                    shaken,
                    outgoing: true,
                    place,
                },
                Err(error) => {
                    tracing::debug!(%addr, %error, "dial");
                    Fact::Say(Input::DialFailed { addr })
                }
            };
            let _ = shared.facts.send(fact);
        });
    }

    fn tracker_url(&self, key: TrackerKey) -> Option<String> {
        let tier = self.trackers.get(usize::from(key.tier))?;
        tier.get(usize::from(key.place)).cloned()
    }

    fn announce(&mut self, words: Announce) {
        let url = self.tracker_url(words.tracker);
        let announcer = Arc::clone(&self.setting.announcer);
        let alias = self.setting.alias.clone();
        let facts = self.setting.shared.facts.clone();
        self.errands.spawn(async move {
            let result = match url {
                Some(url) => {
                    // Whoever is in the swarm of that name finds us; we cannot dial them under ours,
                    // so what the tracker says of it is of no use here.
                    let elsewhere = async {
                        match alias {
                            Some(alias) => alias.announce(&url, &words).await.is_ok(),
                            None => false,
                        }
                    };
                    tokio::join!(announcer.announce(&url, &words), elsewhere).0
                }
                None => Err("no such tracker".to_owned()),
            };
            let _ = facts.send(Fact::Announced { words, result });
        });
    }

    pub(super) fn announced(&mut self, words: Announce, result: Result<Answer, String>) {
        let url = self.tracker_url(words.tracker).unwrap_or_default();
        let tracker = words.tracker;
        match result {
            Ok(answer) => {
                tracing::debug!(%url, event = ?words.event, peers = answer.peers.len(), "announced");
                self.setting.shared.bus.say(TorrentEvent::TrackerAnswered {
                    url,
                    seeds: answer.seeds,
                    leeches: answer.leeches,
                    peers: answer.peers.len(),
                });
                let answer = Some(answer);
                self.say(Input::Announced { tracker, answer });
            }
            Err(message) => {
                let answer = None;
                self.say(Input::Announced { tracker, answer });
                self.setting.shared.bus.say(TorrentEvent::TrackerFailed {
                    url,
                    message,
                    retry_in: self.retry_in(),
                });
            }
        }
    }

    /// Checks every file from what is on disk, on threads of its own.
    fn check_files(&mut self) {
        let store = Arc::clone(&self.store);
        let shared = Arc::clone(&self.setting.shared);
        let threads = self.setting.hash_threads;
        let facts = shared.facts.clone();
        let checking = move || {
            let control = Control {
                threads,
                progress: &|_| {},
                cancel: &shared.cancel,
            };
            let outcome = check_all(&store, control);
            // Cancelled: the torrent is leaving, and its engine no longer waits for this.
            if let Some(outcome) = outcome.transpose() {
                let outcome = outcome.unwrap_or_else(|error| FilesOutcome::Disk(error.to_string()));
                let _ = facts.send(Fact::Say(Input::FilesChecked(outcome)));
            }
        };
        let facts = self.setting.shared.facts.clone();
        self.errands.spawn(async move {
            if let Err(error) = tokio::task::spawn_blocking(checking).await {
                let outcome = FilesOutcome::Disk(format!("checking the files failed: {error}"));
                let _ = facts.send(Fact::Say(Input::FilesChecked(outcome)));
            }
        });
    }

    fn tell(&mut self, event: Event) {
        let told = match event {
            Event::PeerConnected { addr } => TorrentEvent::PeerConnected { addr },
            Event::PeerGone { addr, fault } => TorrentEvent::PeerGone { addr, fault },
            Event::PeerBanned { addr, fault, proof } => banned(addr, fault, proof),
            Event::PieceVerified { piece } => TorrentEvent::PieceVerified { piece },
            Event::PieceRejected { piece, peers } => TorrentEvent::PieceRejected { piece, peers },
            Event::TrackerWarning(text) => TorrentEvent::TrackerWarning(text),
            Event::Checking => TorrentEvent::CheckingFiles,
            Event::Complete => return self.tell_complete(),
            Event::GoalReached => {
                // With nobody to say goodbye to it can go at once, and not at its next deadline.
                self.follow_ups.push_back(Input::Tick);
                TorrentEvent::GoalReached
            }
            Event::DiskFailed(text) => return self.fail(NodeError::Disk(text)),
            Event::Contradiction(text) => return self.fail(NodeError::Contradiction(text)),
        };
        self.setting.shared.bus.say(told);
    }

    fn tell_complete(&mut self) {
        // Who hears of it and asks for numbers gets those of a whole torrent.
        self.take_snapshot();
        let info = &self.setting.shared.info;
        let hashed = |file: &samara_proto::metainfo::File| {
            file.length == 0 || file.sha1.is_some() || file.root.is_some()
        };
        let verified = if info.files.iter().all(hashed) {
            "pieces+file"
        } else {
            "pieces"
        };
        let took = crate::clock::std_duration(self.now.since(self.began));
        let complete = TorrentEvent::Complete {
            bytes: info.total(),
            files: info.files.len(),
            verified,
            seconds: took.as_secs_f64(),
        };
        self.setting.shared.bus.say(complete);
        self.setting.shared.bus.say(TorrentEvent::Seeding);
        self.keeper.completed(&self.store);
    }

    fn fail(&mut self, error: NodeError) {
        let told = TorrentEvent::Failed(error.clone());
        self.setting.shared.bus.say(told);
        self.failure.get_or_insert(error);
    }
}

fn banned(addr: SocketAddr, fault: PeerFault, proof: Proof) -> TorrentEvent {
    tracing::info!(%addr, "banned: it {fault} ({proof})");
    TorrentEvent::PeerBanned { addr, fault, proof }
}

/// Whole files against their hashes; `None` if it was told to stop. A file that is wrong has its pieces
/// hashed again: if some are wrong the disk changed under us, and if none is, the torrent's hashes do
/// not fit each other.
fn check_all(store: &Store, control: Control<'_>) -> Result<Option<FilesOutcome>, CheckError> {
    let checked = match check_files(store, control) {
        Ok(checked) => checked,
        Err(CheckError::Cancelled) => return Ok(None),
        Err(error) => return Err(error),
    };
    let wrong: Vec<u32> = checked
        .iter()
        .filter(|check| matches!(check.outcome, FileOutcome::Bad | FileOutcome::Missing))
        .map(|check| check.file)
        .collect();
    let Some(first) = wrong.first() else {
        return Ok(Some(FilesOutcome::Good));
    };
    let info = store.info();
    let mut suspects = Bitfield::empty(info.geometry.pieces());
    for file in wrong.iter().filter_map(|at| info.files.get(*at as usize)) {
        for piece in store.layout().pieces_of(file.offset, file.length) {
            suspects.set(piece);
        }
    }
    let right = match verify_some(store, &suspects, control) {
        Ok(right) => right,
        Err(CheckError::Cancelled) => return Ok(None),
        Err(error) => return Err(error),
    };
    let bad: Vec<u32> = suspects.iter().filter(|piece| !right.get(*piece)).collect();
    if bad.is_empty() {
        let path = store.path(*first).unwrap_or_default();
        let text = format!(
            "all pieces of {} are right, but the file as a whole does not have the hash that the torrent gives it",
            path.display()
        );
        return Ok(Some(FilesOutcome::Contradiction(text)));
    }
    Ok(Some(FilesOutcome::BadPieces(bad)))
}

//! Hears what other trackers tell.

use super::address::SharedAddress;
use super::places::{channel, locate, open};
use super::resp::{Commands, Reply};
use super::wire::{self, Head};
use super::{Board, DEAF_AFTER, add};
use crate::serve::handle::Handle;
use crate::swarm::{News, Of};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

/// Pause before another connection is tried.
const PAUSE: Duration = Duration::from_millis(200);

/// Senders whose packets are counted at a time; a new one in each restart of a tracker.
const MAX_SENDERS: usize = 1_024;

/// The thread that hears.
pub(super) struct Listener {
    address: SharedAddress,
    handle: Handle,
    board: Arc<Board>,
    /// What this tracker's own packets say.
    sender: u64,
    /// Number of the last packet of each.
    last: BTreeMap<u64, u64>,
    /// Which server of a cluster to hear; another after each failure.
    turn: usize,
}

impl Listener {
    pub(super) fn new(
        address: SharedAddress,
        handle: Handle,
        board: Arc<Board>,
        sender: u64,
    ) -> Self {
        Self {
            address,
            handle,
            board,
            sender,
            last: BTreeMap::new(),
            turn: 0,
        }
    }

    pub(super) fn run(mut self) {
        while !self.board.is_ending() {
            if let Err(error) = self.listen() {
                tracing::debug!(store = %self.address, %error, "does not hear other trackers");
            }
            self.board.listen_on(None);
            self.turn = self.turn.wrapping_add(1);
            if !self.board.is_ending() {
                thread::park_timeout(PAUSE);
            }
        }
    }

    /// Hears until something is wrong.
    fn listen(&mut self) -> io::Result<()> {
        let (nodes, _) = locate(&self.address, std::iter::empty())?;
        let node = nodes.get(self.turn % nodes.len().max(1));
        let mut link = open(node.ok_or(io::ErrorKind::NotFound)?, &self.address)?;
        let channel = channel(&self.address);
        link.send(&Commands::one(&[b"SUBSCRIBE", channel.as_bytes()]))?;
        if let Reply::Error(error) = link.read(Instant::now() + DEAF_AFTER)? {
            return Err(io::Error::other(error));
        }
        // Whatever was told before is in the store, whatever is told from now on is heard.
        self.last.clear();
        self.board.wants_read.store(true, Ordering::Relaxed);
        self.board.listen_on(Some(link.stream()?));
        while !self.board.is_ending() {
            let reply = link.read(Instant::now() + DEAF_AFTER)?;
            if let [_, _, Reply::Text(packet)] = reply.list() {
                self.hear(packet);
            }
        }
        Ok(())
    }

    /// One packet.
    fn hear(&mut self, packet: &[u8]) {
        let mut rest = packet;
        let Some(head) = Head::read(&mut rest) else {
            tracing::debug!("a packet of another kind on the trackers' channel");
            return;
        };
        let now = self.handle.now();
        if head.sender == self.sender {
            self.board.came_back(head.sent);
            while let Some(news) = wire::read(&mut rest) {
                self.hear_own(now, news);
            }
            return;
        }
        if self.last.len() >= MAX_SENDERS && !self.last.contains_key(&head.sender) {
            self.last.clear();
        }
        let last = self.last.insert(head.sender, head.number);
        match last {
            Some(last) if last.wrapping_add(1) != head.number => {
                self.board.wants_read.store(true, Ordering::Relaxed);
            }
            None if head.number == 1 => self.board.newcomer.store(true, Ordering::Relaxed),
            _ => {}
        }
        let mut heard = 0;
        while let Some(news) = wire::read(&mut rest) {
            heard += 1;
            if self.handle.admits_quietly(&news.info_hash) {
                self.handle.store().learn(now, &news);
            }
        }
        add(&self.board.received, heard);
    }

    /// The order of the channel decides, for everybody alike: who has left is gone, though another
    /// tracker that had not heard of it told of it again in between; and who came back since is there.
    fn hear_own(&self, now: u64, mut news: News) {
        if news.hearsay {
            return;
        }
        if let Of::Here { completed, .. } = &mut news.of {
            // It has been counted.
            *completed = false;
        }
        news.hearsay = true;
        self.handle.store().learn(now, &news);
    }
}

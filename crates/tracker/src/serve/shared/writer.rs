//! Tells other trackers what has changed here, and reads what the store has.

use super::address::SharedAddress;
use super::places::{Places, channel};
use super::resp::{Commands, Reply};
use super::wire::{self, Head};
use super::{Board, FLUSH_EVERY, HEARTBEAT, add};
use crate::serve::handle::Handle;
use crate::serve::shards::Shards;
use crate::swarm::{News, SavedSwarm};
use samara_proto::InfoHash;
use std::collections::BTreeMap;
use std::io;
use std::mem::take;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

/// News in a packet: 50 kB at the most.
const AT_ONCE: usize = 1_000;

/// News that are told again between two flushes, so that new ones do not wait: 40,000 a second.
const TELL_AT_ONCE: usize = 2_000;

/// Peers that are read between two flushes: 200,000 a second.
const READ_AT_ONCE: usize = 10_000;

/// Names that a server is asked for at once, and swarms.
const SCAN_AT_ONCE: &[u8] = b"1000";
const SETS_AT_ONCE: usize = 200;

/// Members of a swarm that are read at once: a server does nothing else meanwhile.
const PAGE: usize = 512;

/// Pause between two readings of the whole store.
const READ_PAUSE: Duration = Duration::from_secs(5);

/// The same after a server did not answer.
const GAPS_PAUSE: Duration = Duration::from_secs(30);

/// After the store did not take something, everything is told again, but only after this: a part of a
/// cluster may be away for long, and the others need not hear everything all the time meanwhile.
const TELL_PAUSE: Duration = Duration::from_secs(10);

/// For how many seconds the store keeps a swarm's count of downloads when all have left, as here.
const COUNT_LIFE: u64 = 86_400;

/// The thread that tells, and reads.
pub(super) struct Writer {
    handle: Handle,
    board: Arc<Board>,
    places: Places,
    sender: u64,
    /// Most members of a swarm in the store.
    most: u64,
    /// Number of the last packet.
    number: u64,
    /// Which server packets are given to: any will do.
    speaker: usize,
    last_packet: Instant,
    /// Taken from the swarms, and not published yet.
    news: Vec<News>,
    packet: Vec<u8>,
    /// From when on everything is to be told again.
    owes: Option<Instant>,
    /// Parts of the swarms that are still to be told, and the next of them.
    tell_left: usize,
    tell_next: usize,
    /// When that was last begun.
    told: Option<Instant>,
    reading: Option<Reading>,
    read_after: Instant,
    /// When to read again, because a server did not answer.
    gaps: Option<Instant>,
}

/// A walk through the whole store.
#[derive(Debug)]
struct Reading {
    /// The server that is asked, and where it goes on.
    server: usize,
    cursor: Vec<u8>,
    /// Swarms whose names are known: their server, and from which member on they are to be read.
    swarms: Vec<(usize, InfoHash, usize)>,
    /// Whether a server was left out.
    gaps: bool,
}

/// All the news of a swarm that are told at once.
type OfSwarm<'a> = &'a [&'a News];

impl Writer {
    pub(super) fn new(
        address: SharedAddress,
        handle: Handle,
        board: Arc<Board>,
        sender: u64,
        max_peers_per_torrent: usize,
    ) -> Self {
        let now = Instant::now();
        Self {
            handle,
            board,
            places: Places::new(address),
            sender,
            // Two are no peers.
            most: max_peers_per_torrent as u64 + 2,
            number: 0,
            speaker: 0,
            last_packet: now,
            news: Vec::new(),
            packet: Vec::new(),
            // What a snapshot has brought back.
            owes: Some(now),
            tell_left: 0,
            tell_next: 0,
            told: None,
            reading: None,
            read_after: now,
            gaps: None,
        }
    }

    pub(super) fn run(mut self) {
        let mut well = None;
        loop {
            let ending = self.board.is_ending();
            let round = self.round();
            match &round {
                Ok(()) if well != Some(true) => {
                    tracing::info!(store = %self.places.address, "shares its swarms");
                }
                Err(error) if well != Some(false) => {
                    tracing::warn!(
                        store = %self.places.address, %error,
                        "the shared store does not answer: this tracker answers from its own memory"
                    );
                }
                _ => {}
            }
            well = Some(round.is_ok());
            if ending {
                return;
            }
            thread::park_timeout(FLUSH_EVERY);
        }
    }

    /// Everything that is to be done between two pauses. An error is that nothing can be told.
    fn round(&mut self) -> io::Result<()> {
        self.places.look()?;
        if self.news.is_empty() {
            let lost = self.handle.store().take_news(&mut self.news);
            if lost > 0 {
                add(&self.board.lost, lost as usize);
                self.owes = Some(Instant::now());
            }
        }
        let news = take(&mut self.news);
        let mut rest = news.as_slice();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(AT_ONCE));
            if let Err(error) = self.publish(now) {
                self.news = rest.to_vec();
                return Err(error);
            }
            add(&self.board.sent, now.len());
            self.write(now);
            rest = later;
        }
        if self.last_packet.elapsed() >= HEARTBEAT {
            self.publish(&[])?;
        }
        self.catch_up()
    }

    /// Publishes a packet. Any server will do: a cluster's tell each other.
    fn publish(&mut self, news: &[News]) -> io::Result<()> {
        self.number += 1;
        self.packet.clear();
        let head = Head {
            sender: self.sender,
            number: self.number,
            sent: self.board.now(),
        };
        head.write(&mut self.packet);
        for one in news {
            wire::write(one, &mut self.packet);
        }
        let channel = channel(&self.places.address);
        let command = Commands::one(&[b"PUBLISH", channel.as_bytes(), &self.packet]);
        let mut last = io::Error::from(io::ErrorKind::NotConnected);
        for _ in 0..self.places.len().max(1) {
            match self.places.call(self.speaker, &command) {
                Ok(replies) => match replies.first() {
                    Some(Reply::Error(error)) => last = io::Error::other(error.clone()),
                    _ => {
                        self.last_packet = Instant::now();
                        return Ok(());
                    }
                },
                Err(error) => last = error,
            }
            self.speaker = (self.speaker + 1) % self.places.len().max(1);
        }
        // Who did hear the packet and who did not is not known. What is told again is told by one who
        // has read before what others told meanwhile.
        self.board.wants_read.store(true, Ordering::Relaxed);
        self.owes = Some(Instant::now());
        self.tell_left = 0;
        Err(last)
    }

    /// Writes news to the store. What cannot be written is counted, and told again when it can be.
    fn write(&mut self, news: &[News]) {
        let mut sorted: Vec<&News> = news.iter().collect();
        // News of one swarm stay in their order.
        sorted.sort_by_key(|news| news.info_hash);
        let mut todo: Vec<OfSwarm<'_>> =
            sorted.chunk_by(|a, b| a.info_hash == b.info_hash).collect();
        // Once more for those that are elsewhere now.
        for again in [true, false] {
            todo = self.write_swarms(&todo, again);
            if todo.is_empty() {
                return;
            }
            if self.places.look().is_err() {
                break;
            }
        }
        add(
            &self.board.unreached,
            todo.iter().map(|one| one.len()).sum(),
        );
        self.owe_after(TELL_PAUSE);
    }

    /// One command a swarm, all for a server at once. Which are to be tried `again`.
    fn write_swarms<'a>(&mut self, swarms: &[OfSwarm<'a>], again: bool) -> Vec<OfSwarm<'a>> {
        let mut by_server: BTreeMap<usize, Vec<OfSwarm<'a>>> = BTreeMap::new();
        for swarm in swarms {
            if let Some(first) = swarm.first() {
                let server = self.places.of(&first.info_hash);
                by_server.entry(server).or_default().push(swarm);
            }
        }
        let mut left = Vec::new();
        for (server, swarms) in by_server {
            let replies = self.places.connect(server).and_then(|()| {
                let mut commands = Commands::default();
                for swarm in &swarms {
                    self.command(server, swarm, &mut commands);
                }
                self.places.call(server, &commands)
            });
            let Ok(replies) = replies else {
                add(
                    &self.board.unreached,
                    swarms.iter().map(|one| one.len()).sum(),
                );
                self.owe_after(TELL_PAUSE);
                continue;
            };
            for (swarm, reply) in swarms.iter().zip(replies) {
                let Reply::Error(error) = reply else {
                    continue;
                };
                match error.split(' ').next() {
                    Some("MOVED" | "ASK" | "READONLY") if again => {
                        self.places.moved();
                        left.push(*swarm);
                    }
                    Some("NOSCRIPT") if again => {
                        self.places.forget(server);
                        left.push(*swarm);
                    }
                    Some("OOM") => {
                        add(&self.board.full, swarm.len());
                        self.owe_after(TELL_PAUSE);
                    }
                    _ => {
                        tracing::debug!(%error, "the store refused news");
                        add(&self.board.refused, swarm.len());
                        self.owe_after(TELL_PAUSE);
                    }
                }
            }
        }
        left
    }

    /// What the script is to do with a swarm.
    fn command(&self, server: usize, swarm: OfSwarm<'_>, commands: &mut Commands) {
        let Some(first) = swarm.first() else {
            return;
        };
        let largest = swarm
            .iter()
            .map(|news| news.largest_left)
            .max()
            .unwrap_or(0);
        let operations = swarm.len() + usize::from(largest > 0);
        commands.begin(6 + 3 * operations);
        commands.word(b"EVALSHA");
        commands.word(self.places.script(server));
        commands.word(b"1");
        commands.word(self.places.key(&first.info_hash).as_bytes());
        commands.number(self.most);
        commands.number(COUNT_LIFE);
        let mut operation = |member: &[u8], bits: u8, number: u32| {
            commands.word(member);
            commands.number(bits.into());
            commands.number(number.into());
        };
        if largest > 0 {
            operation(b"l", 0, largest);
        }
        for news in swarm {
            let (member, bits, number) = wire::operation(news);
            operation(&member, bits, number);
        }
    }

    /// Everything is to be told again, but not before `pause`.
    fn owe_after(&mut self, pause: Duration) {
        self.owes.get_or_insert_with(|| Instant::now() + pause);
    }

    /// A step of reading the store, or of telling everything.
    fn catch_up(&mut self) -> io::Result<()> {
        let now = Instant::now();
        if self.gaps.is_some_and(|again| now >= again) {
            self.gaps = None;
            self.board.wants_read.store(true, Ordering::Relaxed);
        }
        let due = self.reading.is_none() && now >= self.read_after;
        if due && self.board.wants_read.swap(false, Ordering::Relaxed) {
            self.reading = Some(Reading {
                server: 0,
                cursor: b"0".to_vec(),
                swarms: Vec::new(),
                gaps: false,
            });
        }
        if let Some(mut reading) = self.reading.take() {
            if self.read_on(&mut reading) {
                add(&self.board.reads, 1);
                self.read_after = Instant::now() + READ_PAUSE;
                self.gaps = reading.gaps.then(|| Instant::now() + GAPS_PAUSE);
            } else {
                self.reading = Some(reading);
            }
            return Ok(());
        }
        if self.board.newcomer.swap(false, Ordering::Relaxed) {
            let soonest = self.told.map_or(now, |told| told + TELL_PAUSE);
            self.owes.get_or_insert(soonest.max(now));
        }
        let is_current = self.board.hears.load(Ordering::Relaxed)
            && !self.board.wants_read.load(Ordering::Relaxed);
        if !is_current {
            return Ok(());
        }
        if self.tell_left == 0 && self.owes.is_some_and(|owes| now >= owes) {
            self.owes = None;
            self.told = Some(now);
            self.tell_left = Shards::PARTS;
        }
        self.tell_on()
    }

    /// Reads a little more; whether that was all. A server that does not answer is left out, and read
    /// another time.
    fn read_on(&mut self, reading: &mut Reading) -> bool {
        let mut budget = READ_AT_ONCE;
        while budget > 0 {
            let read = if !reading.swarms.is_empty() {
                self.read_sets(reading)
            } else if reading.server < self.places.len() {
                self.read_names(reading)
            } else {
                return true;
            };
            match read {
                Ok(read) => budget = budget.saturating_sub(read.max(1)),
                Err(error) => {
                    tracing::debug!(%error, "a server of the store is not read");
                    reading.gaps = true;
                    reading.swarms.clear();
                    reading.server += 1;
                    reading.cursor = b"0".to_vec();
                    budget = 0;
                }
            }
        }
        false
    }

    /// Asks for the names of more swarms.
    fn read_names(&mut self, reading: &mut Reading) -> io::Result<usize> {
        let pattern = format!("{}:{{*", self.places.address.prefix);
        let words: [&[u8]; 6] = [
            b"SCAN",
            &reading.cursor,
            b"MATCH",
            pattern.as_bytes(),
            b"COUNT",
            SCAN_AT_ONCE,
        ];
        let replies = self.places.call(reading.server, &Commands::one(&words))?;
        let Some([Reply::Text(cursor), Reply::List(keys)]) = replies.first().map(Reply::list)
        else {
            return Err(io::Error::other("SCAN was not answered"));
        };
        for key in keys {
            if let Reply::Text(key) = key
                && let Some(info_hash) = self.places.swarm_of(key)
            {
                reading.swarms.push((reading.server, info_hash, 0));
            }
        }
        if cursor == b"0" {
            reading.server += 1;
        }
        reading.cursor.clone_from(cursor);
        Ok(keys.len())
    }

    /// Reads some swarms whose names are known; how many peers.
    fn read_sets(&mut self, reading: &mut Reading) -> io::Result<usize> {
        let Some((server, ..)) = reading.swarms.last().copied() else {
            return Ok(0);
        };
        let from = reading.swarms.len().saturating_sub(SETS_AT_ONCE);
        let some = reading.swarms.split_off(from);
        let mut commands = Commands::one(&[b"TIME"]);
        for (_, info_hash, first) in &some {
            commands.begin(5);
            commands.word(b"ZRANGE");
            commands.word(self.places.key(info_hash).as_bytes());
            commands.number(*first as u64);
            commands.number((first + PAGE - 1) as u64);
            commands.word(b"WITHSCORES");
        }
        let mut replies = self.places.call(server, &commands)?.into_iter();
        let time = replies.next().unwrap_or(Reply::Nil);
        let seconds = time.list().first().and_then(Reply::word);
        let Some(seconds) = seconds.and_then(|seconds| seconds.parse().ok()) else {
            return Err(io::Error::other("TIME was not answered"));
        };
        let now = self.handle.now();
        let mut read = 0;
        for ((_, info_hash, first), reply) in some.into_iter().zip(replies) {
            let (pairs, _) = reply.list().as_chunks::<2>();
            read += pairs.len();
            if pairs.len() == PAGE {
                reading.swarms.push((server, info_hash, first + PAGE));
            }
            if !self.handle.admits_quietly(&info_hash) {
                continue;
            }
            let entries = pairs.iter().filter_map(|pair| match pair {
                [Reply::Text(member), Reply::Text(score)] => {
                    let score = str::from_utf8(score).ok()?.parse().ok()?;
                    Some((member.as_slice(), score))
                }
                _ => None,
            });
            for news in wire::from_set(info_hash, seconds, entries) {
                self.handle.store().learn(now, &news);
            }
        }
        Ok(read)
    }

    /// Tells a little more of everything.
    fn tell_on(&mut self) -> io::Result<()> {
        let mut told = 0;
        while self.tell_left > 0 && told < TELL_AT_ONCE {
            let mut saved = Vec::new();
            let (store, now) = (self.handle.store(), self.handle.now());
            store.save(self.tell_next, now, &mut saved);
            let mut rest = saved.as_slice();
            let mut news = Vec::new();
            while let Some(swarm) = SavedSwarm::read(&mut rest) {
                news.extend(swarm.news());
            }
            for some in news.chunks(AT_ONCE) {
                self.publish(some)?;
                self.write(some);
            }
            told += news.len();
            self.tell_next = (self.tell_next + 1) % Shards::PARTS;
            self.tell_left -= 1;
            if self.tell_left == 0 {
                add(&self.board.tells, 1);
            }
        }
        Ok(())
    }
}

//! One thread asks by the clock, whatever the answers do; another one listens.
//!
//! *Open loop*: questions come at random times of a fixed rate (a Poisson process), as those of clients
//! that know nothing of each other. A latency counts from the time at which a question was **to be**
//! asked, so that a tracker that stops for a second pays for all that was due in it, and not for one
//! question ("coordinated omission", Gil Tene). How late the asking itself was is shown beside.

use crate::histogram::Histogram;
use crate::pending::{Kind, Pending};
use crate::plan::{Plan, Question, Rng};
use crate::udp::Client;
use mio::{Events, Interest, Poll, Token};
use samara_proto::tracker::udp::{ANNOUNCE_REPLY_HEAD, CONNECT_LEN};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Longest sleep of who asks: what is due within it goes out together, and so a latency is known to
/// about this.
const TICK: Duration = Duration::from_micros(100);
/// Questions after which their lateness is shown to others.
const FLUSH_AFTER: u64 = 10_000;
/// How long all may take to get their first connection ids.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// Largest packet that is looked at.
const PACKET: usize = 4_096;

/// What was asked, and what came of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) announces: u64,
    pub(crate) scrapes: u64,
    pub(crate) connects: u64,
    pub(crate) errors: u64,
    /// Answers to what must not be answered.
    pub(crate) leaks: u64,
    pub(crate) peers: u64,
    /// Announces and scrapes, ns.
    pub(crate) latency: Histogram,
}

impl Counts {
    pub(crate) fn merge(&mut self, other: &Self) {
        self.announces += other.announces;
        self.scrapes += other.scrapes;
        self.connects += other.connects;
        self.errors += other.errors;
        self.leaks += other.leaks;
        self.peers += other.peers;
        self.latency.merge(&other.latency);
    }
}

/// What the threads share.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) clients: Vec<Client>,
    pub(crate) pending: Pending,
    counts: Mutex<Counts>,
    /// How late questions were asked, ns.
    lateness: Mutex<Histogram>,
    pub(crate) asked: AtomicU64,
    pub(crate) forged: AtomicU64,
    pub(crate) malformed: AtomicU64,
    /// What our own machine would not send.
    pub(crate) unsent: AtomicU64,
    pub(crate) stop: AtomicBool,
    began: Instant,
}

impl Stage {
    pub(crate) fn new(clients: Vec<Client>) -> Self {
        Self {
            clients,
            pending: Pending::default(),
            counts: Mutex::default(),
            lateness: Mutex::default(),
            asked: AtomicU64::new(0),
            forged: AtomicU64::new(0),
            malformed: AtomicU64::new(0),
            unsent: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            began: Instant::now(),
        }
    }

    /// Nanoseconds since the start.
    fn now(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Forgets what was counted so far; gives it.
    pub(crate) fn take_counts(&self) -> (Counts, Histogram) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let lateness = self.lateness.lock();
        let mut lateness = lateness.unwrap_or_else(PoisonError::into_inner);
        (std::mem::take(&mut counts), std::mem::take(&mut lateness))
    }
}

/// Gets a connection id for every client.
pub(crate) fn connect(stage: &Stage) -> io::Result<()> {
    let mut out = Vec::new();
    let end = Instant::now() + CONNECT_PATIENCE;
    while let Some(missing) = stage.clients.iter().find(|client| !client.has_id()) {
        if Instant::now() > end {
            let to = missing.socket.peer_addr()?;
            let text =
                format!("no tracker answers a connect request at udp://{to}: is it running?");
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        for client in &stage.clients {
            // Refused, or full: the next round tries again.
            let _ = client.connect_if_due(&stage.pending, stage.now(), &mut out);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Asks at `rate` a second until `done`, or until the stage is told to stop.
pub(crate) fn ask(stage: &Stage, plan: &mut Plan, rate: f64, done: impl Fn(&Plan, u64) -> bool) {
    let began = stage.now();
    let mut rng = Rng(began);
    let mut due = began as f64;
    let mut out = Vec::new();
    let mut lateness = Histogram::default();
    while !stage.stopped() {
        let now = stage.now();
        if due > now as f64 {
            if lateness.total() >= FLUSH_AFTER {
                flush(&mut lateness, stage);
            }
            let pause = Duration::from_nanos((due - now as f64) as u64);
            std::thread::sleep(pause.max(TICK / 2).min(TICK));
            continue;
        }
        if done(plan, due as u64 - began) {
            break;
        }
        lateness.add(now - due as u64);
        ask_one(stage, plan.next(), due as u64, now, &mut rng, &mut out);
        // The gaps of a Poisson process are exponential.
        due += -(1.0 - rng.unit()).ln() * 1e9 / rate;
    }
    flush(&mut lateness, stage);
}

fn flush(lateness: &mut Histogram, stage: &Stage) {
    let shared = stage.lateness.lock();
    let mut shared = shared.unwrap_or_else(PoisonError::into_inner);
    shared.merge(lateness);
    *lateness = Histogram::default();
}

fn ask_one(
    stage: &Stage,
    question: Question,
    due: u64,
    now: u64,
    rng: &mut Rng,
    out: &mut Vec<u8>,
) {
    let clients = stage.clients.len() as u32;
    let number = match question {
        Question::Announce(peer) | Question::Forged(peer) => peer.number % clients,
        Question::Scrape(_) | Question::Malformed => rng.below(clients),
    };
    let client = &stage.clients[number as usize];
    // Half of the forged ids were given to somebody else, the others to nobody.
    let random = rng.word();
    let others = if random.is_multiple_of(2) || !client.own_address || clients == 1 {
        random
    } else {
        stage.clients[((number + 1) % clients) as usize].id()
    };
    let kind = match question {
        Question::Announce(_) | Question::Scrape(_) => &stage.asked,
        Question::Forged(_) => &stage.forged,
        Question::Malformed => &stage.malformed,
    };
    let sent = client
        .connect_if_due(&stage.pending, now, out)
        .and_then(|()| client.ask(&question, &stage.pending, due, others, out));
    match sent {
        Ok(true) => kind.fetch_add(1, Ordering::Relaxed),
        _ => stage.unsent.fetch_add(1, Ordering::Relaxed),
    };
}

/// Who listens.
#[derive(Debug)]
pub(crate) struct Listener {
    poll: Poll,
}

impl Listener {
    /// Is told of every packet that comes to one of the stage's clients.
    pub(crate) fn new(stage: &mut Stage) -> io::Result<Self> {
        let poll = Poll::new()?;
        for (number, client) in stage.clients.iter_mut().enumerate() {
            let token = Token(number);
            poll.registry()
                .register(&mut client.socket, token, Interest::READABLE)?;
        }
        Ok(Self { poll })
    }

    /// Listens until the stage is told to stop.
    pub(crate) fn run(mut self, stage: &Stage) -> io::Result<()> {
        let mut events = Events::with_capacity(1_024);
        let mut buf = [0; PACKET];
        while !stage.stopped() {
            let polled = self
                .poll
                .poll(&mut events, Some(Duration::from_millis(100)));
            match polled {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            let mut counts = stage.counts.lock().unwrap_or_else(PoisonError::into_inner);
            for event in &events {
                let client = &stage.clients[event.token().0];
                // Until there is no more: mio tells of changes only.
                loop {
                    match client.socket.recv(&mut buf) {
                        Ok(len) => hear(stage, client, &buf[..len], &mut counts),
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                        // The tracker's port was closed for a moment.
                        Err(_) => {}
                    }
                }
            }
        }
        Ok(())
    }
}

fn hear(stage: &Stage, client: &Client, packet: &[u8], counts: &mut Counts) {
    let Some((head, _)) = packet.split_first_chunk::<8>() else {
        counts.errors += 1;
        return;
    };
    let [_, _, _, action, tag @ ..] = *head;
    let (kind, due) = stage.pending.answered(u32::from_be_bytes(tag));
    if kind == Kind::Forged {
        counts.leaks += 1;
        return;
    }
    let Some(due) = due else { return };
    match (kind, action) {
        (Kind::Connect, 0) => {
            counts.connects += 1;
            if let Some(id) = packet.get(..CONNECT_LEN).and_then(<[u8]>::last_chunk) {
                client.set_id(*id);
            }
            return;
        }
        (Kind::Announce, 1) => {
            counts.announces += 1;
            let size = if client.over_v6 { 18 } else { 6 };
            counts.peers += (packet.len().saturating_sub(ANNOUNCE_REPLY_HEAD) / size) as u64;
        }
        (Kind::Scrape, 2) => counts.scrapes += 1,
        _ => counts.errors += 1,
    }
    counts.latency.add(stage.now().saturating_sub(due));
}

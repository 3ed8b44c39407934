//! One thread: packets in, answers out.

use super::id::Ids;
use super::packet::{Inbox, Outbox};
use super::train::{Key, Train, compose};
use super::{Board, UdpStats, sys};
use crate::serve::handle::Handle;
use crate::serve::shards::Way;
use crate::serve::traffic::Traffic;
use crate::swarm::{Announce, PREFETCHES};
use samara_proto::tracker::udp::{
    ANNOUNCE_REPLY_HEAD, Hashes, MAX_UDP_REPLY, Options, Request, TransactionId, UdpAnnounce,
    announce_reply_head, connect_reply, error_reply_head, peek_announce, scrape_counts,
    scrape_reply_head,
};
use samara_proto::tracker::{Refusal, RetryIn};
use std::io;
use std::mem::take;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

/// Most peers of a reply, by what fits.
const MAX_V4: u32 = ((MAX_UDP_REPLY - ANNOUNCE_REPLY_HEAD) / 6) as u32;
const MAX_V6: u32 = ((MAX_UDP_REPLY - ANNOUNCE_REPLY_HEAD) / 18) as u32;

/// Most bytes of the words of an error.
const MAX_WORDS: usize = 200;

/// Packets of a batch from which their misses overlap enough.
const WORTH_PREFETCHING: usize = 4;

/// Packets whose memory is asked for before the first of them is answered: four to eight cache lines each,
/// which the first-level cache (32 to 48 KiB) holds until it is their turn.
const AHEAD: usize = 64;

/// Room for packets that is prepared even if few came lately.
const ROOM_LEAST: usize = 16;

/// Pause after the system refused to receive for a reason that will not pass at once.
const RECEIVE_PAUSE: Duration = Duration::from_millis(100);

/// Packets a millisecond from which they are let gather: below, each is answered when it comes.
const BUSY: u64 = 20;

/// For how long they are let gather. What a batch costs besides its packets (waking up, two calls into
/// the kernel, memory that is not in the cache yet) is shared by all that have come, and more answers
/// to one socket make longer trains. No client minds a millisecond.
const GATHER: Duration = Duration::from_millis(1);

/// What a packet deserves.
enum Deed {
    /// An answer that lies ready.
    Send,
    /// Nothing.
    Drop,
}

pub(super) struct Worker {
    socket: UdpSocket,
    handle: Handle,
    ids: Ids,
    board: Arc<Board>,
    stats: UdpStats,
    /// Whether the system sends trains: not everyone does, nor by every device.
    coupled: bool,
    keys: Vec<Key>,
    order: Vec<u16>,
    trains: Vec<Train>,
    ways: Vec<Way>,
}

/// The time, asked for once a batch.
#[derive(Clone, Copy)]
struct Clocks {
    /// Milliseconds, of the store.
    store: u64,
    /// Seconds since 1970, of the connection ids.
    wall: u64,
}

impl Worker {
    pub(super) fn new(socket: UdpSocket, handle: Handle, ids: Ids, board: Arc<Board>) -> Self {
        Self {
            socket,
            handle,
            ids,
            board,
            stats: UdpStats::default(),
            coupled: cfg!(target_os = "linux"),
            keys: Vec::new(),
            order: Vec::new(),
            trains: Vec::new(),
            ways: Vec::new(),
        }
    }

    /// Answers until `stop`.
    pub(super) fn run(mut self, stop: &AtomicBool) {
        let mut inbox = vec![Inbox::new(); sys::BATCH];
        let mut outbox = vec![Outbox::new(); sys::BATCH];
        let local = self.socket.local_addr();
        // Bound to one address, answers come from there anyhow.
        let everywhere = local.is_ok_and(|addr| addr.ip().is_unspecified());
        let mut room = ROOM_LEAST;
        let mut traffic = Traffic::new(BUSY);
        while !stop.load(Ordering::Relaxed) {
            let open = inbox.len().min(room);
            let slots = inbox.get_mut(..open).unwrap_or_default();
            match sys::receive(&self.socket, slots, everywhere) {
                Ok(came) => {
                    // Room is prepared one slot at a time: for what is to be expected.
                    room = (came * 2).max(ROOM_LEAST);
                    self.batch(&mut inbox, &mut outbox, came);
                    // A full batch says that more wait already.
                    if traffic.note(self.handle.now(), came) && came < sys::BATCH {
                        std::thread::sleep(GATHER);
                    }
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock
                    | io::ErrorKind::TimedOut
                    | io::ErrorKind::Interrupted
                    // Somebody's port was closed when an earlier answer arrived.
                    | io::ErrorKind::ConnectionRefused
                    | io::ErrorKind::ConnectionReset => {}
                    _ => {
                        tracing::warn!(%error, "cannot receive over UDP");
                        std::thread::sleep(RECEIVE_PAUSE);
                    }
                },
            }
        }
    }

    fn batch(&mut self, inbox: &mut [Inbox], outbox: &mut [Outbox], came: usize) {
        let now = Clocks {
            store: self.handle.now(),
            wall: SystemTime::UNIX_EPOCH
                .elapsed()
                .map_or(0, |age| age.as_secs()),
        };
        let mut ready = 0;
        for number in 0..came {
            if number % AHEAD == 0 {
                let end = came.min(number + AHEAD);
                self.prefetch(inbox.get(number..end).unwrap_or_default());
            }
            let Some(slot) = inbox.get_mut(number) else {
                break;
            };
            self.stats.received += 1;
            let Some(out) = outbox.get_mut(ready) else {
                break;
            };
            out.clear();
            out.answers = number;
            if let Deed::Send = self.answer(now, slot, out) {
                slot.turn_round();
                ready += 1;
            }
        }
        // Whoever has an answer finds it counted.
        self.board.show(&self.stats);
        self.send(inbox, outbox, ready);
    }

    /// Has the memory fetched that some announces will need, all side by side. Whatever else came is not
    /// looked at; nor are ids, since asking for memory says nothing to anybody.
    fn prefetch(&mut self, inbox: &[Inbox]) {
        if inbox.len() < WORTH_PREFETCHING {
            return;
        }
        let store = self.handle.store();
        self.ways.clear();
        self.ways.extend(inbox.iter().filter_map(|slot| {
            let (info_hash, port) = peek_announce(slot.packet())?;
            let source = slot.name.get()?;
            let addr = SocketAddr::new(source.ip().to_canonical(), port);
            Some(store.way(info_hash, addr))
        }));
        for step in 0..PREFETCHES {
            for way in &mut self.ways {
                store.prefetch(step, way);
            }
        }
    }

    fn send(&mut self, inbox: &mut [Inbox], outbox: &[Outbox], ready: usize) {
        let (mut order, mut trains) = (take(&mut self.order), take(&mut self.trains));
        compose(
            outbox,
            inbox,
            ready,
            self.coupled,
            &mut self.keys,
            &mut order,
            &mut trains,
        );
        let mut next = 0;
        while let Some(rest) = trains.get(next..).filter(|rest| !rest.is_empty()) {
            match sys::send(&self.socket, rest, &order, outbox, inbox) {
                Ok(sent) => next += sent.max(1),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if rest.first().is_some_and(|train| train.range.len() > 1) => {
                    // Some devices cannot cut trains apart. Once is enough to know.
                    tracing::info!(%error, "answers are sent one by one from now on");
                    self.coupled = false;
                    uncouple(&mut trains, next);
                }
                Err(error) => {
                    // This one cannot be sent: the next can.
                    tracing::debug!(%error, "an answer could not be sent");
                    self.stats.unsent += 1;
                    self.board.show(&self.stats);
                    next += 1;
                }
            }
        }
        (self.order, self.trains) = (order, trains);
    }

    fn answer(&mut self, now: Clocks, slot: &Inbox, out: &mut Outbox) -> Deed {
        let source = slot.name.get().filter(|addr| addr.port() != 0);
        let request = Request::decode(slot.packet());
        let (Some(source), Ok(request), false) = (source, request, slot.truncated) else {
            self.stats.malformed += 1;
            return Deed::Drop;
        };
        let ip = source.ip().to_canonical();
        match request {
            Request::Connect { transaction } => {
                self.stats.connects += 1;
                out.push(&connect_reply(transaction, self.ids.give(now.wall, ip)));
            }
            Request::Announce { connection, .. } | Request::Scrape { connection, .. }
                if !self.ids.accepts(now.wall, ip, connection) =>
            {
                self.stats.bad_ids += 1;
                return Deed::Drop;
            }
            Request::Announce { .. } | Request::Scrape { .. }
                if self.handle.guard().request(now.store, ip).is_err() =>
            {
                self.stats.limited += 1;
                return Deed::Drop;
            }
            Request::Announce {
                transaction,
                announce,
                options,
                ..
            } => {
                self.stats.announces += 1;
                if let Err(refusal) = self.announce(now, ip, transaction, &announce, options, out) {
                    self.refuse(transaction, &refusal, out);
                }
            }
            Request::Scrape {
                transaction,
                hashes,
                ..
            } => {
                self.stats.scrapes += 1;
                match self.handle.admits_path(Vec::new) {
                    Ok(()) => self.scrape(transaction, hashes, out),
                    Err(refusal) => self.refuse(transaction, &refusal, out),
                }
            }
        }
        Deed::Send
    }

    fn announce(
        &self,
        now: Clocks,
        ip: IpAddr,
        transaction: TransactionId,
        said: &UdpAnnounce,
        options: Options<'_>,
        out: &mut Outbox,
    ) -> Result<(), Refusal> {
        let fits = if ip.is_ipv4() { MAX_V4 } else { MAX_V6 };
        let announce = Announce {
            info_hash: said.info_hash,
            peer_id: said.peer_id,
            key: Some(said.key),
            source: ip,
            port: said.port,
            also: None,
            downloaded: said.downloaded,
            left: said.left,
            size: None,
            event: said.event,
            numwant: said.numwant.map(|want| want.min(fits)),
        };
        self.handle.admits_path(|| options.url_data())?;
        let addr = SocketAddr::new(ip, said.port);
        let guard = self.handle.guard();
        guard
            .announce(now.store, &said.info_hash, addr)
            .map_err(|limit| Refusal::new(limit.words()))?;
        self.handle.admits(&said.info_hash)?;
        // The head is written last: its numbers are known only then.
        out.push(&[0; ANNOUNCE_REPLY_HEAD]);
        let answer = self.handle.store().announce(now.store, &announce, out)?;
        let head = announce_reply_head(
            transaction,
            answer.interval,
            answer.stats.leeches,
            answer.stats.seeds,
        );
        out.bytes[..ANNOUNCE_REPLY_HEAD].copy_from_slice(&head);
        Ok(())
    }

    fn scrape(&self, transaction: TransactionId, hashes: Hashes<'_>, out: &mut Outbox) {
        out.push(&scrape_reply_head(transaction));
        let store = self.handle.store();
        let mut last = None;
        for hash in hashes.iter() {
            let stats = store.swarm(hash).unwrap_or_default();
            out.push(&scrape_counts(stats.seeds, stats.downloaded, stats.leeches));
            last = Some(hash);
        }
        if let Some(hash) = last {
            store.count_scrape(hash);
        }
    }

    fn refuse(&mut self, transaction: TransactionId, refusal: &Refusal, out: &mut Outbox) {
        self.stats.errors += 1;
        out.clear();
        out.push(&error_reply_head(transaction));
        let later = later(refusal.retry_in);
        let room = MAX_WORDS.saturating_sub(later.len());
        let words = refusal.reason.as_bytes();
        out.push(words.get(..room).unwrap_or(words));
        out.push(later.as_bytes());
    }
}

/// What BEP 31 says in a field of its own over HTTP: over UDP there are only words.
fn later(retry_in: Option<RetryIn>) -> String {
    match retry_in {
        None => String::new(),
        Some(RetryIn::Never) => " (do not ask again)".to_owned(),
        Some(RetryIn::Minutes(minutes)) => format!(" (ask again in {minutes} min)"),
    }
}

/// Makes trains of one car out of those from `next` on.
fn uncouple(trains: &mut Vec<Train>, next: usize) {
    let coupled = trains.split_off(next);
    let cars = coupled.into_iter().flat_map(|train| train.range);
    // The size matters only where there is more than one.
    trains.extend(cars.map(|at| Train {
        range: at..at + 1,
        size: 0,
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::{Limits, Pace};
    use crate::serve::ServeConfig;
    use samara_proto::tracker::Event;
    use samara_proto::tracker::udp::{ConnectionId, PROTOCOL_ID, Reply, ReplyBody};
    use samara_proto::{InfoHash, PeerId};

    const NOW: Clocks = Clocks {
        store: 5_000,
        wall: 1_000_000,
    };

    fn worker(limits: Limits) -> Worker {
        let config = ServeConfig {
            limits,
            ..ServeConfig::default()
        };
        let socket = UdpSocket::bind("127.0.0.1:0").expect("binds");
        let ids = Ids::new([7; 16], 120);
        let handle = Handle::new(&config).expect("no files");
        Worker::new(socket, handle, ids, Arc::default())
    }

    /// What is answered to a packet that says it comes from there; loopback is exempt from limits, so
    /// that these cannot be seen through a socket.
    fn ask(worker: &mut Worker, from: &str, request: &Request<'_>) -> Option<ReplyBody> {
        let (mut slot, mut out, mut bytes) = (Inbox::new(), Outbox::new(), Vec::new());
        request.encode(&mut bytes);
        slot.bytes[..bytes.len()].copy_from_slice(&bytes);
        slot.len = bytes.len();
        slot.name.set(from.parse().expect("address"));
        match worker.answer(NOW, &slot, &mut out) {
            Deed::Drop => None,
            Deed::Send => {
                let over_v6 = from.starts_with('[');
                let reply = Reply::decode(&out.bytes[..out.len], over_v6);
                Some(reply.expect("a reply").body)
            }
        }
    }

    fn connect(worker: &mut Worker, from: &str) -> ConnectionId {
        let transaction = [1; 4];
        match ask(worker, from, &Request::Connect { transaction }) {
            Some(ReplyBody::Connect(id)) => id,
            other => panic!("{other:?}"),
        }
    }

    fn announce(worker: &mut Worker, from: &str, port: u16) -> Option<ReplyBody> {
        let connection = connect(worker, from);
        let announce = UdpAnnounce {
            info_hash: InfoHash([3; 20]),
            peer_id: PeerId([4; 20]),
            downloaded: 0,
            left: Some(0),
            uploaded: 0,
            event: Event::None,
            ip: None,
            key: 1,
            numwant: None,
            port,
        };
        let request = Request::Announce {
            connection,
            transaction: [1; 4],
            announce,
            options: Options::default(),
        };
        ask(worker, from, &request)
    }

    #[test]
    fn a_flood_from_one_address_or_network_is_dropped_and_others_are_served() {
        let burst = |burst| Pace {
            per_second: 1,
            burst,
        };
        for (one, same_network, elsewhere) in [
            ("192.0.2.1:9", "192.0.2.2:9", "198.51.100.1:9"),
            (
                "[2001:db8::1]:9",
                "[2001:db8:0:1::1]:9",
                "[2001:db8:1::1]:9",
            ),
        ] {
            let mut worker = worker(Limits {
                address: burst(10),
                network: burst(15),
                peer: Pace::ANY,
                ..Limits::default()
            });
            let mut served = |from| {
                let answers = (1..=100).filter_map(|port| announce(&mut worker, from, port));
                answers.count()
            };
            assert_eq!(served(one), 10, "its own limit");
            assert_eq!(served(same_network), 5, "what its network has left");
            assert_eq!(served(elsewhere), 10, "as if nothing had happened");
            assert_eq!(worker.stats.limited, 275);
            assert_eq!(worker.stats.announces, 25);
        }
    }

    #[test]
    fn who_forges_addresses_uses_up_the_share_of_nobody() {
        let mut worker = worker(Limits {
            address: Pace {
                per_second: 1,
                burst: 1,
            },
            ..Limits::default()
        });
        let victim = "192.0.2.1:9";
        for _ in 0..1_000 {
            connect(&mut worker, victim);
            let forged = Request::Announce {
                connection: PROTOCOL_ID.to_be_bytes(),
                transaction: [1; 4],
                announce: UdpAnnounce {
                    info_hash: InfoHash([3; 20]),
                    peer_id: PeerId([4; 20]),
                    downloaded: 0,
                    left: None,
                    uploaded: 0,
                    event: Event::None,
                    ip: None,
                    key: 1,
                    numwant: None,
                    port: 1,
                },
                options: Options::default(),
            };
            assert_eq!(ask(&mut worker, victim, &forged), None);
        }
        assert!(announce(&mut worker, victim, 1).is_some());
        assert_eq!((worker.stats.bad_ids, worker.stats.limited), (1_000, 0));
    }

    #[test]
    fn a_peer_that_hammers_is_told_so() {
        let mut worker = worker(Limits {
            peer: Pace {
                per_second: 1,
                burst: 3,
            },
            ..Limits::default()
        });
        let mut answers = (0..5).map(|_| announce(&mut worker, "192.0.2.1:9", 1));
        for _ in 0..3 {
            let answer = answers.next().flatten();
            assert!(matches!(answer, Some(ReplyBody::Announce { .. })));
        }
        for answer in answers {
            let Some(ReplyBody::Error(refusal)) = answer else {
                panic!("{answer:?}");
            };
            assert!(refusal.reason.contains("too often"), "{refusal}");
        }
        let another = announce(&mut worker, "192.0.2.1:9", 2);
        assert!(matches!(another, Some(ReplyBody::Announce { .. })));
    }

    #[test]
    fn words_say_when_to_ask_again() {
        let mut worker = worker(Limits::default());
        let refuse = |worker: &mut Worker, reason: String, retry_in| {
            let mut out = Outbox::new();
            worker.refuse([1; 4], &Refusal { reason, retry_in }, &mut out);
            let words = String::from_utf8_lossy(&out.bytes[8..out.len]).into_owned();
            assert!(words.len() <= MAX_WORDS);
            words
        };
        let words = refuse(&mut worker, "no".into(), Some(RetryIn::Never));
        assert_eq!(words, "no (do not ask again)");
        let words = refuse(&mut worker, "x".repeat(999), Some(RetryIn::Minutes(5)));
        assert!(words.ends_with("x (ask again in 5 min)"), "{words}");
    }
}

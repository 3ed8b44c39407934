//! Magnet links: finds peers, asks them for the info dictionary. What to ask whom is
//! [`samara_engine::metadata`]'s to say.

use crate::clock::Clock;
use crate::error::NodeError;
use crate::session::shake::{self, Ours, Shaken};
use crate::session::{Inner, Member};
use crate::tracker::{Announcer, is_supported};
use bytes::{Bytes, BytesMut};
use samara_disk::hash::{sha1_many, sha256_many};
use samara_engine::metadata::{Fetch, Wish};
use samara_engine::{Announce, AnnounceEvent, Answer, PeerKey, TrackerKey};
use samara_proto::InfoHash;
use samara_proto::magnet::Magnet;
use samara_proto::metainfo::{Info, Metainfo, Version};
use samara_proto::tracker::LEFT_UNKNOWN;
use samara_proto::wire::{
    Decoder, ExtendedHandshake, Frame, Message, MetadataMessage, UT_METADATA_ID,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc::{Receiver, Sender, UnboundedSender, channel, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// After this long without metadata we say that there is none to be had. Announces may take 20 s each,
/// and a swarm whose only seed has just come gives it with the next one.
const GIVE_UP: Duration = Duration::from_secs(180);
/// Connections and dials at once.
const PEERS_MAX: usize = 30;
/// Addresses that wait to be tried; more are not remembered.
const CANDIDATES_MAX: usize = 1000;
/// Peers wanted from a tracker.
const NUM_WANT: u32 = 100;
/// Pause between two announces: what a tracker says, within these bounds.
const ANNOUNCE_MIN: Duration = Duration::from_secs(2);
const ANNOUNCE_MAX: Duration = Duration::from_secs(60);
/// Pause before a peer that the link names is tried again.
const LOOK_UP_EVERY: Duration = Duration::from_secs(5);
/// Time for the goodbye to the trackers.
const GOODBYE_MAX: Duration = Duration::from_secs(2);
/// The number of pieces is not known yet; a bitfield is skipped up to this many (1 MiB of it).
const PIECES_MAX: u32 = 1 << 23;
/// Words from peers that wait to be heard.
const NEWS_MAX: usize = 64;

/// What comes from peers and trackers.
enum News {
    Up(PeerKey, UnboundedSender<Message>),
    Hello(PeerKey, ExtendedHandshake),
    Said(PeerKey, MetadataMessage),
    Down(PeerKey),
    Candidates(Vec<SocketAddr>),
    TrackerFailed(String),
}

/// Fetches the metadata of a magnet link.
pub(crate) async fn fetch(session: &Arc<Inner>, magnet: &Magnet) -> Result<Metainfo, NodeError> {
    let info_hash = match (magnet.hash_v1, magnet.hash_v2) {
        (Some(v1), _) => InfoHash::from(v1),
        (None, Some(v2)) => InfoHash::from(v2),
        (None, None) => return Err(NodeError::Metadata("it has no info-hash".to_owned())),
    };
    let trackers: Vec<String> = magnet
        .trackers
        .iter()
        .filter(|url| is_supported(url))
        .cloned()
        .collect();
    if trackers.is_empty() && magnet.peers.is_empty() {
        let text = "it names no http, https or udp tracker and no peer (\"x.pe\"), and there is no other way yet to find one";
        return Err(NodeError::Metadata(text.to_owned()));
    }
    let (send, receive) = channel(NEWS_MAX);
    let announcer = Arc::new(Announcer {
        http: Arc::clone(&session.http),
        udp: Arc::clone(&session.udp),
        info_hash,
        peer_id: session.peer_id,
        listen: session.listen,
        key: session.key,
        size: None,
        tracker_ids: Mutex::default(),
    });
    let mut errands = JoinSet::new();
    for url in &trackers {
        errands.spawn(ask_tracker(
            Arc::clone(&announcer),
            url.clone(),
            send.clone(),
        ));
    }
    errands.spawn(look_up(magnet.peers.clone(), send.clone()));
    let mut hunt = Hunt {
        session: Arc::clone(session),
        info_hash,
        magnet,
        clock: session.clock,
        fetch: Fetch::new(),
        wishes: Vec::new(),
        peers: BTreeMap::new(),
        addrs: BTreeMap::new(),
        seen: BTreeSet::new(),
        waiting: VecDeque::new(),
        next_key: 0,
        errands,
        send,
        trouble: None,
        member: Arc::new(session.places.join(None)),
    };
    let found = timeout(GIVE_UP, hunt.run(receive)).await;
    hunt.errands.shutdown().await;
    say_goodbye(&announcer, &trackers).await;
    match found {
        Ok(raw) => finish(raw, magnet),
        Err(_) => Err(NodeError::Metadata(hunt.why_not())),
    }
}

/// What is known of a search.
struct Hunt<'a> {
    session: Arc<Inner>,
    info_hash: InfoHash,
    magnet: &'a Magnet,
    clock: Clock,
    fetch: Fetch,
    wishes: Vec<Wish>,
    /// Connections, with a way to say something to each.
    peers: BTreeMap<PeerKey, UnboundedSender<Message>>,
    /// Connections and dials.
    addrs: BTreeMap<PeerKey, SocketAddr>,
    /// Addresses that are not to be tried now: connected, waiting, or banned.
    seen: BTreeSet<SocketAddr>,
    waiting: VecDeque<SocketAddr>,
    next_key: u32,
    errands: JoinSet<()>,
    send: Sender<News>,
    /// The last trouble with a tracker.
    trouble: Option<String>,
    /// Its part of the session's connections.
    member: Arc<Member>,
}

impl Hunt<'_> {
    async fn run(&mut self, mut news: Receiver<News>) -> Bytes {
        loop {
            if let Some(found) = self.perform() {
                return found;
            }
            self.dial();
            while self.errands.try_join_next().is_some() {}
            let due = self.clock.timer(self.fetch.deadline());
            tokio::select! {
                Some(news) = news.recv() => self.hear(news),
                () = sleep_until(due) => {
                    self.fetch.tick(self.clock.now(), &mut self.wishes);
                }
            }
        }
    }

    fn hear(&mut self, news: News) {
        let now = self.clock.now();
        match news {
            News::Up(peer, voice) => {
                self.peers.insert(peer, voice);
            }
            News::Hello(peer, hello) => self.fetch.handshake(now, peer, &hello, &mut self.wishes),
            News::Said(peer, message) => self.fetch.message(now, peer, message, &mut self.wishes),
            News::Down(peer) => {
                self.let_go(peer, false);
                self.fetch.peer_down(now, peer, &mut self.wishes);
            }
            News::Candidates(addrs) => {
                for addr in addrs {
                    if self.waiting.len() < CANDIDATES_MAX && self.seen.insert(addr) {
                        self.waiting.push_back(addr);
                    }
                }
            }
            News::TrackerFailed(text) => self.trouble = Some(text),
        }
    }

    fn let_go(&mut self, peer: PeerKey, ban: bool) {
        self.peers.remove(&peer);
        if let Some(addr) = self.addrs.remove(&peer)
            && !ban
        {
            // It may be tried again when somebody names it again.
            self.seen.remove(&addr);
        }
    }

    /// Does what the search asks for; gives the metadata once they are right.
    fn perform(&mut self) -> Option<Bytes> {
        while !self.wishes.is_empty() {
            for wish in std::mem::take(&mut self.wishes) {
                match wish {
                    Wish::Ask { peer, id, piece } => {
                        let payload = MetadataMessage::Request { piece }.encode();
                        if let Some(voice) = self.peers.get(&peer) {
                            let _ = voice.send(Message::Extended { id, payload });
                        }
                    }
                    // Its task ends when there is nobody left to tell it anything.
                    Wish::Part { peer, ban } => self.let_go(peer, ban),
                    Wish::Check(raw) => {
                        if is_it(&raw, self.magnet) {
                            return Some(raw);
                        }
                        tracing::debug!("metadata with a wrong hash");
                        self.fetch.failed(self.clock.now(), &mut self.wishes);
                    }
                }
            }
        }
        None
    }

    fn dial(&mut self) {
        while self.addrs.len() < PEERS_MAX
            && let Some(addr) = self.waiting.pop_front()
        {
            let peer = PeerKey(self.next_key);
            self.next_key += 1;
            self.addrs.insert(peer, addr);
            let listen = self.session.listen;
            let ours = Ours {
                peer_id: self.session.peer_id,
                v2: self.magnet.hash_v2.is_some(),
            };
            let upgrade = self.magnet.hash_v2.map(InfoHash::from);
            let (send, info_hash) = (self.send.clone(), self.info_hash);
            let member = Arc::clone(&self.member);
            self.errands.spawn(async move {
                let call = async {
                    let _turn = member.may_dial().await;
                    let place = member.enter(addr.ip())?;
                    let shaken = shake::call(addr, listen.ip(), info_hash, upgrade, ours).await?;
                    io::Result::Ok((shaken, place))
                };
                let ended = match call.await {
                    Ok((shaken, _place)) => converse(shaken, peer, listen.port(), &send).await,
                    Err(error) => Err(error),
                };
                if let Err(error) = ended {
                    tracing::debug!(%addr, %error, "metadata peer");
                }
                let _ = send.send(News::Down(peer)).await;
            });
        }
    }

    fn why_not(&self) -> String {
        let tried = self.next_key;
        let trouble = self.trouble.as_ref();
        let trouble = trouble.map_or_else(String::new, |text| format!("; {text}"));
        format!(
            "after {} s nobody has given it ({tried} connections tried{trouble}); try again later, or use the .torrent file",
            GIVE_UP.as_secs()
        )
    }
}

/// Speaks with one peer until it is gone or no longer wanted.
async fn converse(shaken: Shaken, peer: PeerKey, port: u16, send: &Sender<News>) -> io::Result<()> {
    if !shaken.theirs.reserved.extended() {
        return Ok(());
    }
    let (mut reading, mut writing) = shaken.stream.into_split();
    let mut out = BytesMut::new();
    if shaken.theirs.reserved.fast() {
        Message::HaveNone.encode(&mut out);
    }
    let hello = ExtendedHandshake {
        ut_metadata: Some(UT_METADATA_ID),
        client: Some(concat!("Samara ", env!("CARGO_PKG_VERSION")).to_owned()),
        port: (port != 0).then_some(port),
        ..ExtendedHandshake::default()
    };
    let payload = hello.encode();
    Message::Extended { id: 0, payload }.encode(&mut out);
    writing.write_all(&out).await?;
    let (voice, mut words) = unbounded_channel();
    if send.send(News::Up(peer, voice)).await.is_err() {
        return Ok(());
    }
    let decoder = Decoder::new(PIECES_MAX);
    let mut buf = BytesMut::new();
    loop {
        tokio::select! {
            word = words.recv() => {
                let Some(word) = word else { return Ok(()) };
                out.clear();
                word.encode(&mut out);
                writing.write_all(&out).await?;
            }
            got = reading.read_buf(&mut buf) => {
                if got? == 0 {
                    return Ok(());
                }
                while let Some(frame) = decoder
                    .decode(&mut buf)
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?
                {
                    if let Some(news) = read(peer, frame)
                        && send.send(news).await.is_err()
                    {
                        return Ok(());
                    }
                }
            }
        }
    }
}

/// What a frame says about metadata; everything else is for a torrent that is open.
fn read(peer: PeerKey, frame: Frame) -> Option<News> {
    let Frame::Message(Message::Extended { id, payload }) = frame else {
        return None;
    };
    match id {
        0 => Some(News::Hello(peer, ExtendedHandshake::decode(&payload)?)),
        UT_METADATA_ID => Some(News::Said(peer, MetadataMessage::decode(&payload)?)),
        _ => None,
    }
}

fn words(event: AnnounceEvent) -> Announce {
    Announce {
        tracker: TrackerKey { tier: 0, place: 0 },
        event,
        uploaded: 0,
        downloaded: 0,
        left: LEFT_UNKNOWN,
        num_want: if event == AnnounceEvent::Stopped {
            0
        } else {
            NUM_WANT
        },
    }
}

/// Asks one tracker again and again.
async fn ask_tracker(announcer: Arc<Announcer>, url: String, send: Sender<News>) {
    let mut event = AnnounceEvent::Started;
    loop {
        let pause = match announcer.announce(&url, &words(event)).await {
            Ok(Answer {
                interval, peers, ..
            }) => {
                event = AnnounceEvent::Periodic;
                let _ = send.send(News::Candidates(peers)).await;
                crate::clock::std_duration(interval)
            }
            Err(message) => {
                let _ = send
                    .send(News::TrackerFailed(format!("{url}: {message}")))
                    .await;
                Duration::ZERO
            }
        };
        sleep(pause.clamp(ANNOUNCE_MIN, ANNOUNCE_MAX)).await;
    }
}

async fn say_goodbye(announcer: &Arc<Announcer>, trackers: &[String]) {
    let mut goodbyes = JoinSet::new();
    for url in trackers {
        let (announcer, url) = (Arc::clone(announcer), url.clone());
        goodbyes.spawn(async move {
            let _ = announcer
                .announce(&url, &words(AnnounceEvent::Stopped))
                .await;
        });
    }
    let end = Instant::now() + GOODBYE_MAX;
    while let Ok(Some(_)) = tokio::time::timeout_at(end, goodbyes.join_next()).await {}
}

/// Names the peers of the link, again and again: one may come up later.
async fn look_up(peers: Vec<String>, send: Sender<News>) {
    loop {
        for peer in &peers {
            if let Ok(found) = tokio::net::lookup_host(peer).await {
                let addrs = found.map(crate::session::socket::normal).collect();
                let _ = send.send(News::Candidates(addrs)).await;
            }
        }
        sleep(LOOK_UP_EVERY).await;
    }
}

/// Whether the bytes have the hashes of the link, each that it gives.
fn is_it(raw: &Bytes, magnet: &Magnet) -> bool {
    let (mut v1, mut v2) = ([[0; 20]], [[0; 32]]);
    sha1_many(&[raw], &mut v1);
    sha256_many(&[raw], &mut v2);
    magnet.hash_v1.is_none_or(|hash| hash.0 == v1[0])
        && magnet.hash_v2.is_none_or(|hash| hash.0 == v2[0])
}

fn finish(raw: Bytes, magnet: &Magnet) -> Result<Metainfo, NodeError> {
    let info = Info::from_bytes(raw).map_err(|error| NodeError::BadTorrent(error.to_string()))?;
    if info.version == Version::V2 && !info.has_layers() {
        // The hashes of single pieces are not part of the metadata (BEP 52).
        let text = "magnet links of torrents that are v2 only are not supported yet (those of v1 and hybrid ones are): use the .torrent file";
        return Err(NodeError::Metadata(text.to_owned()));
    }
    let tiers = magnet
        .trackers
        .iter()
        .map(|url| vec![url.clone()])
        .collect();
    let mut metainfo = Metainfo::from_info(info).with_trackers(tiers);
    metainfo.web_seeds.clone_from(&magnet.web_seeds);
    Ok(metainfo)
}

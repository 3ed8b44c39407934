//! From the torrent's wishes to a socket: control messages and blocks of a turn in as few writes as
//! they fit into.

use super::source::{self, Outgoing};
use crate::limits::Throttle;
use crate::session::socket::Unsent;
use crate::torrent::Fact;
use bytes::{Bytes, BytesMut};
use samara_disk::store::Store;
use samara_engine::{Input, PeerKey};
use samara_proto::Span;
use samara_proto::wire::block_header;
use std::collections::VecDeque;
use std::io;
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// Blocks that are read in one go: 256 KiB of the usual ones, which still fit the second level cache
/// between the read and the write.
const RUN_MAX: usize = 16;
/// Bytes that are written without waiting for more.
const WRITE_MIN: usize = 128 * 1024;

/// What goes to a peer.
#[derive(Debug)]
pub(crate) enum Item {
    /// Messages as they go over the wire.
    Control(BytesMut),
    /// A block, to be sent from disk.
    Block(Span),
    /// A block of a piece that is not whole yet.
    Held(Span, Bytes),
}

/// Where parcels are put for the writer.
#[derive(Debug)]
pub(crate) struct Outbox {
    parcels: mpsc::UnboundedSender<Vec<Item>>,
    waiting: Arc<AtomicUsize>,
    unwritten: Arc<AtomicUsize>,
}

/// Where the writer takes them from. The channel itself has no limit; whoever fills it looks at what
/// [`Outbox::push`] returns.
#[derive(Debug)]
pub(crate) struct Inbox {
    parcels: mpsc::UnboundedReceiver<Vec<Item>>,
    /// Control bytes that wait.
    waiting: Arc<AtomicUsize>,
    /// Parcels that are not wholly with the socket.
    unwritten: Arc<AtomicUsize>,
    /// Those of them that were taken.
    taken: usize,
}

pub(crate) fn channel() -> (Outbox, Inbox) {
    let (send, receive) = mpsc::unbounded_channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    let unwritten = Arc::new(AtomicUsize::new(0));
    let outbox = Outbox {
        parcels: send,
        waiting: Arc::clone(&waiting),
        unwritten: Arc::clone(&unwritten),
    };
    let inbox = Inbox {
        parcels: receive,
        waiting,
        unwritten,
        taken: 0,
    };
    (outbox, inbox)
}

fn control_bytes(parcel: &[Item]) -> usize {
    let weigh = |item: &Item| match item {
        Item::Control(bytes) => bytes.len(),
        Item::Block(_) | Item::Held(..) => 0,
    };
    parcel.iter().map(weigh).sum()
}

impl Outbox {
    /// Hands over a parcel; says how many control bytes wait now.
    pub(crate) fn push(&self, parcel: Vec<Item>) -> usize {
        let bytes = control_bytes(&parcel);
        let before = self.waiting.fetch_add(bytes, Ordering::Relaxed);
        self.unwritten.fetch_add(1, Ordering::Relaxed);
        // A writer that has ended has closed the socket; the reader tells the torrent.
        let _ = self.parcels.send(parcel);
        before + bytes
    }

    /// Writes from the torrent's task what the socket takes at once, if no parcel is before it. Says how many bytes; an error
    /// is the writer's to find. Only the torrent's task adds parcels, so that the socket stays ours meanwhile.
    pub(crate) fn write_now(&self, stream: &TcpStream, bytes: &[u8]) -> usize {
        if self.unwritten.load(Ordering::Acquire) > 0 {
            return 0;
        }
        stream.try_write(bytes).unwrap_or(0)
    }
}

impl Inbox {
    /// Waits for something to do and takes all there is.
    async fn take(&mut self, into: &mut VecDeque<Item>) -> bool {
        let Some(parcel) = self.parcels.recv().await else {
            return false;
        };
        into.extend(parcel);
        self.taken += 1;
        while let Ok(parcel) = self.parcels.try_recv() {
            into.extend(parcel);
            self.taken += 1;
        }
        true
    }

    /// All that was taken is with the socket.
    fn written(&mut self) {
        self.unwritten
            .fetch_sub(std::mem::take(&mut self.taken), Ordering::Release);
    }
}

/// Writes until the torrent lets go of the connection or the peer is gone. Closes the socket at the end,
/// so that the reader notices too.
pub(crate) async fn run(
    stream: Arc<TcpStream>,
    peer: PeerKey,
    store: Arc<Store>,
    throttle: Throttle,
    unsent: Unsent,
    inbox: Inbox,
    facts: mpsc::UnboundedSender<Fact>,
) {
    let mut writer = Writer {
        stream: &stream,
        peer,
        store,
        throttle,
        facts,
        out: Outgoing::default(),
        payload: 0,
        unsent,
    };
    if let Err(error) = writer.work(inbox).await {
        tracing::debug!(peer = peer.0, %error, "cannot send");
    }
    let _ = socket2::SockRef::from(&*stream).shutdown(Shutdown::Both);
}

struct Writer<'a> {
    stream: &'a TcpStream,
    peer: PeerKey,
    store: Arc<Store>,
    throttle: Throttle,
    facts: mpsc::UnboundedSender<Fact>,
    /// What the next write takes.
    out: Outgoing,
    /// Bytes of payload in it.
    payload: u64,
    unsent: Unsent,
}

impl Writer<'_> {
    async fn work(&mut self, mut inbox: Inbox) -> io::Result<()> {
        let mut items = VecDeque::new();
        while inbox.take(&mut items).await {
            while let Some(item) = items.pop_front() {
                match item {
                    Item::Control(bytes) => {
                        self.out.push(&bytes);
                        inbox.waiting.fetch_sub(bytes.len(), Ordering::Relaxed);
                    }
                    Item::Held(span, payload) => {
                        self.out.push(&block_header(span));
                        self.out.push(&payload);
                        self.payload += u64::from(span.length);
                    }
                    Item::Block(span) => {
                        self.add_run(&gather_run(span, &mut items)).await;
                    }
                }
                if self.out.len() >= WRITE_MIN {
                    self.flush().await?;
                }
            }
            self.flush().await?;
            inbox.written();
            self.out.release();
        }
        Ok(())
    }

    async fn add_run(&mut self, run: &[Span]) {
        let out = std::mem::take(&mut self.out);
        let (out, lost) = source::append(&self.store, run, out).await;
        self.out = out;
        let peer = self.peer;
        let wanted: u64 = run.iter().map(|span| u64::from(span.length)).sum();
        self.payload += wanted;
        for (span, error) in lost {
            self.payload -= u64::from(span.length);
            tracing::warn!(%error, "a block cannot be served");
            let failed = Input::ServeFailed { peer, span };
            let _ = self.facts.send(Fact::Say(failed));
        }
    }

    /// Writes what there is, and tells the torrent of the payload in it.
    async fn flush(&mut self) -> io::Result<()> {
        let mut rest = self.out.bytes();
        while !rest.is_empty() {
            // Small control messages are not worth limiting, and must not wait behind a limit.
            let granted = if self.payload == 0 {
                rest.len()
            } else {
                self.throttle.take(rest.len()).await
            };
            let (mut part, later) = rest.split_at(granted.min(rest.len()));
            rest = later;
            while !part.is_empty() {
                let sent = source::send(self.stream, part).await?;
                self.unsent.sent(self.stream, sent);
                part = part.get(sent..).unwrap_or_default();
            }
        }
        self.out.clear();
        let (peer, bytes) = (self.peer, std::mem::take(&mut self.payload));
        if bytes > 0 {
            let served = Input::Served { peer, bytes };
            let _ = self.facts.send(Fact::Say(served));
        }
        Ok(())
    }
}

/// The block at hand and those right behind it.
fn gather_run(first: Span, items: &mut VecDeque<Item>) -> Vec<Span> {
    let mut run = vec![first];
    while run.len() < RUN_MAX
        && let Some(Item::Block(span)) = items.front()
    {
        run.push(*span);
        items.pop_front();
    }
    run
}

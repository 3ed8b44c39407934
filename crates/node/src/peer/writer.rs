//! From the torrent's wishes to a socket: control messages of a turn in one write, blocks from the
//! page cache without passing through the program where the system can do that.

use super::source::{self, Piecework};
use crate::limits::Throttle;
use crate::torrent::Fact;
use bytes::{Buf, Bytes, BytesMut};
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

/// Blocks that are looked up, read or sent in one go: 256 KiB of the usual ones.
const RUN_MAX: usize = 16;

/// What goes to a peer.
#[derive(Debug)]
pub(crate) enum Item {
    /// Messages as they go over the wire.
    Control(BytesMut),
    /// A block, to be sent from disk.
    Block(Span),
}

/// Where parcels are put for the writer.
#[derive(Debug)]
pub(crate) struct Outbox {
    parcels: mpsc::UnboundedSender<Vec<Item>>,
    waiting: Arc<AtomicUsize>,
}

/// Where the writer takes them from. The channel itself has no limit; whoever fills it looks at what
/// [`Outbox::push`] returns.
#[derive(Debug)]
pub(crate) struct Inbox {
    parcels: mpsc::UnboundedReceiver<Vec<Item>>,
    waiting: Arc<AtomicUsize>,
}

pub(crate) fn channel() -> (Outbox, Inbox) {
    let (send, receive) = mpsc::unbounded_channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    let outbox = Outbox {
        parcels: send,
        waiting: Arc::clone(&waiting),
    };
    let inbox = Inbox {
        parcels: receive,
        waiting,
    };
    (outbox, inbox)
}

fn control_bytes(parcel: &[Item]) -> usize {
    let weigh = |item: &Item| match item {
        Item::Control(bytes) => bytes.len(),
        Item::Block(_) => 0,
    };
    parcel.iter().map(weigh).sum()
}

impl Outbox {
    /// Hands over a parcel; says how many control bytes wait now.
    pub(crate) fn push(&self, parcel: Vec<Item>) -> usize {
        let bytes = control_bytes(&parcel);
        let before = self.waiting.fetch_add(bytes, Ordering::Relaxed);
        // A writer that has ended has closed the socket; the reader tells the torrent.
        let _ = self.parcels.send(parcel);
        before + bytes
    }
}

impl Inbox {
    /// Waits for something to do and takes all there is.
    async fn take(&mut self, into: &mut VecDeque<Item>) -> bool {
        let Some(parcel) = self.parcels.recv().await else {
            return false;
        };
        into.extend(parcel);
        while let Ok(parcel) = self.parcels.try_recv() {
            into.extend(parcel);
        }
        true
    }
}

/// Writes until the torrent lets go of the connection or the peer is gone. Closes the socket at the end,
/// so that the reader notices too.
pub(crate) async fn run(
    stream: Arc<TcpStream>,
    peer: PeerKey,
    store: Arc<Store>,
    throttle: Throttle,
    inbox: Inbox,
    facts: mpsc::UnboundedSender<Fact>,
) {
    let mut writer = Writer {
        stream: &stream,
        peer,
        store,
        throttle,
        facts,
        staged: BytesMut::new(),
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
    /// Control bytes that go with the next write.
    staged: BytesMut,
}

impl Writer<'_> {
    async fn work(&mut self, mut inbox: Inbox) -> io::Result<()> {
        let mut items = VecDeque::new();
        while inbox.take(&mut items).await {
            while let Some(item) = items.pop_front() {
                match item {
                    Item::Control(bytes) => {
                        self.staged.extend_from_slice(&bytes);
                        inbox.waiting.fetch_sub(bytes.len(), Ordering::Relaxed);
                    }
                    Item::Block(span) => {
                        let run = gather_run(span, &mut items);
                        self.serve(run).await?;
                    }
                }
            }
            self.flush(false).await?;
        }
        Ok(())
    }

    /// Sends a run of blocks, whatever was staged first.
    async fn serve(&mut self, run: Vec<Span>) -> io::Result<()> {
        let mut sent = 0;
        if !self.throttle.is_off() || run.len() == 1 {
            for span in run {
                sent += self.serve_some(vec![span]).await?;
            }
        } else {
            sent = self.serve_some(run).await?;
        }
        let peer = self.peer;
        if sent > 0 {
            let served = Input::Served { peer, bytes: sent };
            let _ = self.facts.send(Fact::Say(served));
        }
        Ok(())
    }

    async fn serve_some(&mut self, run: Vec<Span>) -> io::Result<u64> {
        let work = source::look_up(&self.store, run).await;
        let mut sent = 0;
        source::cork(self.stream, work.len() > 1);
        for piecework in &work {
            match piecework {
                Piecework::Lost(span, error) => {
                    tracing::warn!(%error, "a block cannot be served");
                    let (peer, span) = (self.peer, *span);
                    let failed = Input::ServeFailed { peer, span };
                    let _ = self.facts.send(Fact::Say(failed));
                }
                Piecework::Copied(span, bytes) => {
                    self.staged.extend_from_slice(&block_header(*span));
                    self.flush(true).await?;
                    self.send_bytes(bytes.clone()).await?;
                    sent += u64::from(span.length);
                }
                #[cfg(target_os = "linux")]
                Piecework::InPlace(span, segments) => {
                    self.staged.extend_from_slice(&block_header(*span));
                    self.flush(true).await?;
                    self.send_segments(segments).await?;
                    sent += u64::from(span.length);
                }
            }
        }
        source::cork(self.stream, false);
        Ok(sent)
    }

    /// Writes what is staged. `more`: payload follows at once, so no packet is to go without it.
    async fn flush(&mut self, more: bool) -> io::Result<()> {
        while !self.staged.is_empty() {
            let staged = &self.staged;
            let sent = source::send(self.stream, staged, more).await?;
            self.staged.advance(sent);
        }
        self.staged.clear();
        Ok(())
    }

    async fn send_bytes(&mut self, mut bytes: Bytes) -> io::Result<()> {
        while !bytes.is_empty() {
            let granted = self.throttle.take(bytes.len()).await;
            let mut part = bytes.split_to(granted.min(bytes.len()));
            while !part.is_empty() {
                let sent = source::send(self.stream, &part, false).await?;
                part.advance(sent);
            }
        }
        Ok(())
    }

    #[cfg(target_os = "linux")]
    async fn send_segments(&mut self, segments: &[samara_disk::store::Segment]) -> io::Result<()> {
        use samara_disk::store::Segment;
        for segment in segments {
            match segment {
                Segment::Zeros { len } => {
                    self.send_bytes(Bytes::from(vec![0; *len as usize])).await?;
                }
                Segment::File { file, offset, len } => {
                    let (mut at, end) = (*offset, offset + u64::from(*len));
                    while at < end {
                        let granted = self.throttle.take((end - at) as usize).await as u64;
                        let stop = (at + granted).min(end);
                        while at < stop {
                            at = source::send_file(self.stream, file, at, stop).await?;
                        }
                    }
                }
            }
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

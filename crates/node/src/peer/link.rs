//! The torrent task's end of a connection: what waits to be sent, and the two tasks.

use super::buffers::Buffers;
use super::reader::{self, Batch};
use super::writer::{self, Item, Outbox};
use crate::limits::Throttle;
use crate::session::socket::Unsent;
use crate::session::{Place, Uplink};
use crate::torrent::Fact;
use bytes::{Buf, Bytes, BytesMut};
use samara_disk::store::Store;
use samara_engine::PeerKey;
use samara_proto::Span;
use samara_proto::wire::Message;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// Control bytes that may wait for a peer that does not read. A Have for each of 100,000 pieces is
/// 0.9 MB; a peer that asks and never reads its rejects is dropped when they come to this.
const OUTBOX_MAX: usize = 4 << 20;

/// What a link is made of.
pub(crate) struct LinkParts {
    pub(crate) peer: PeerKey,
    pub(crate) stream: TcpStream,
    pub(crate) pieces: u32,
    pub(crate) store: Arc<Store>,
    pub(crate) down: Throttle,
    pub(crate) up: Throttle,
    pub(crate) uplink: Arc<Uplink>,
    pub(crate) buffers: Arc<Buffers>,
    pub(crate) batches: mpsc::Sender<Batch>,
    pub(crate) facts: mpsc::UnboundedSender<Fact>,
    pub(crate) place: Place,
}

/// A live connection. Dropping it ends both tasks and closes the socket.
#[derive(Debug)]
pub(crate) struct Link {
    /// What this turn has for the peer, handed over in one parcel at its end.
    turn: Vec<Item>,
    /// Memory for the next turn's messages.
    spare: BytesMut,
    stream: Arc<TcpStream>,
    outbox: Outbox,
    reader: AbortHandle,
    writer: AbortHandle,
    /// Held as long as the connection is.
    _place: Place,
}

impl Link {
    /// Starts the two tasks.
    pub(crate) fn open(parts: LinkParts) -> Self {
        let stream = Arc::new(parts.stream);
        let uplink = parts.uplink.watch(&stream);
        let unsent = Unsent::new(uplink.is_some());
        let (outbox, inbox) = writer::channel();
        let reader = tokio::spawn(reader::run(
            Arc::clone(&stream),
            parts.peer,
            parts.pieces,
            parts.down,
            parts.buffers,
            parts.batches,
        ));
        let writer = tokio::spawn(writer::run(
            Arc::clone(&stream),
            parts.peer,
            parts.store,
            parts.up.and(uplink),
            unsent,
            inbox,
            parts.facts,
        ));
        Self {
            turn: Vec::new(),
            spare: BytesMut::new(),
            stream,
            outbox,
            reader: reader.abort_handle(),
            writer: writer.abort_handle(),
            _place: parts.place,
        }
    }

    /// Adds a message to this turn's parcel.
    pub(crate) fn send(&mut self, message: &Message) {
        if let Some(Item::Control(bytes)) = self.turn.last_mut() {
            message.encode(bytes);
        } else {
            let mut bytes = std::mem::take(&mut self.spare);
            message.encode(&mut bytes);
            self.turn.push(Item::Control(bytes));
        }
    }

    /// Adds a block to this turn's parcel. The engine bounds them by its serve window.
    pub(crate) fn serve(&mut self, span: Span) {
        self.turn.push(Item::Block(span));
    }

    /// The same for a block that is in memory.
    pub(crate) fn serve_held(&mut self, span: Span, payload: Bytes) {
        self.turn.push(Item::Held(span, payload));
    }

    /// Whether this turn has anything for the peer.
    pub(crate) fn has_parcel(&self) -> bool {
        !self.turn.is_empty()
    }

    /// Sends the turn's parcel. Messages alone go to the socket from here if nothing waits before them and it takes them,
    /// without waking the writer. All else is handed to it. False: the peer does not read, and has to go.
    pub(crate) fn flush(&mut self) -> bool {
        if let [Item::Control(bytes)] = self.turn.as_mut_slice() {
            let sent = self.outbox.write_now(&self.stream, bytes);
            if sent == bytes.len() {
                self.spare = std::mem::take(bytes);
                self.spare.clear();
                self.turn.clear();
                return true;
            }
            bytes.advance(sent);
        }
        let parcel = std::mem::take(&mut self.turn);
        self.outbox.push(parcel) <= OUTBOX_MAX
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.reader.abort();
        self.writer.abort();
    }
}

//! A socket that talks with one tracker, for as long as a connection id is good.
//!
//! Some trackers bind the id to the port of the asker as well as to its address, and a machine may get
//! other addresses while it runs: so each id has a socket of its own. The socket is connected: what
//! others send does not reach us, and a port where nobody listens is told at once.

use crate::session::socket;
use samara_proto::tracker::udp::{Reply, ReplyBody, TransactionId};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tokio::net::UdpSocket;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

/// Bytes of a reply that are read; what is longer is cut. Trackers that are wise stay below one MTU.
const REPLY_MAX: usize = 8 * 1024;

/// What somebody waits for: the answer, or why none will come.
type Answer = Result<ReplyBody, String>;

/// Who waits for what; shared with the task that reads.
#[derive(Debug, Default)]
struct Desk {
    waiting: Mutex<BTreeMap<TransactionId, oneshot::Sender<Answer>>>,
    /// Why the socket is of no more use.
    trouble: OnceLock<String>,
}

impl Desk {
    fn waiting(&self) -> MutexGuard<'_, BTreeMap<TransactionId, oneshot::Sender<Answer>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Conn {
    socket: Arc<UdpSocket>,
    desk: Arc<Desk>,
    reading: AbortHandle,
}

impl Conn {
    pub(super) fn open(addr: SocketAddr, listen: IpAddr) -> io::Result<Self> {
        let socket = Arc::new(socket::datagrams(addr, listen)?);
        let desk = Arc::new(Desk::default());
        let reading = tokio::spawn(read(Arc::clone(&socket), Arc::clone(&desk), addr.is_ipv6()));
        Ok(Self {
            socket,
            desk,
            reading: reading.abort_handle(),
        })
    }

    /// Whether it can still be used.
    pub(super) fn is_alive(&self) -> bool {
        self.desk.trouble.get().is_none()
    }

    /// Sends one packet and waits for the reply with that transaction id, for as long as the caller
    /// likes.
    pub(super) async fn ask(&self, transaction: TransactionId, packet: &[u8]) -> Answer {
        let (send, receive) = oneshot::channel();
        self.desk.waiting().insert(transaction, send);
        let _ticket = Ticket(&self.desk, transaction);
        self.socket
            .send(packet)
            .await
            .map_err(|error| plain(&error))?;
        // The task that reads may have ended before our name was in the book: then it told everybody but us.
        if let Some(trouble) = self.desk.trouble.get() {
            return Err(trouble.clone());
        }
        let answer = receive.await;
        answer.unwrap_or_else(|_| Err("the connection has ended".to_owned()))
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

/// Takes a name out of the book when nobody waits any more.
struct Ticket<'a>(&'a Desk, TransactionId);

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.0.waiting().remove(&self.1);
    }
}

/// Hands replies to whoever waits for them. Ends at the first trouble: then everybody hears of it.
async fn read(socket: Arc<UdpSocket>, desk: Arc<Desk>, over_v6: bool) {
    let mut buf = vec![0; REPLY_MAX];
    let trouble = loop {
        let packet = match socket.recv(&mut buf).await {
            Ok(len) => buf.get(..len).unwrap_or_default(),
            Err(error) => break plain(&error),
        };
        match Reply::decode(packet, over_v6) {
            Ok(reply) => {
                // Nobody waits any more for what comes late, or twice.
                if let Some(asker) = desk.waiting().remove(&reply.transaction) {
                    let _ = asker.send(Ok(reply.body));
                }
            }
            Err(error) => tracing::debug!(%error, "a tracker's packet"),
        }
    };
    let trouble = desk.trouble.get_or_init(|| trouble);
    for (_, asker) in std::mem::take(&mut *desk.waiting()) {
        let _ = asker.send(Err(trouble.clone()));
    }
}

/// The operating system's words, as an answer to "what is wrong with this tracker".
pub(super) fn plain(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::ConnectionRefused {
        return "cannot connect: nobody listens on this port".to_owned();
    }
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    format!("cannot be reached: {}", text.to_lowercase())
}

//! From a socket to batches of frames: large reads, frames cut without copying.

use super::buffers::{Buffers, SIZES};
use crate::limits::Throttle;
use bytes::{BufMut, BytesMut};
use samara_engine::PeerKey;
use samara_proto::wire::{Decoder, Frame};
use std::io;
use std::sync::Arc;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// Smallest read buffer, bytes. What a quiet connection never touches of it is no memory.
const READ_MIN: usize = SIZES[0];
/// Largest, bytes. A read system call and a turn of the torrent's task are then paid once in 16
/// blocks; larger buffers no longer fit the second level cache between read and hash.
const READ_MAX: usize = SIZES[3];

/// What one read brought.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Whose words they are.
    pub(crate) peer: PeerKey,
    /// In the order they came.
    pub(crate) frames: Vec<Frame>,
    /// Set in the last batch of a connection.
    pub(crate) end: Option<End>,
}

/// Why a connection is over.
#[derive(Debug)]
pub(crate) enum End {
    /// The peer closed it, or the network did.
    Closed,
    /// The peer sent what is no message.
    Malformed,
}

/// Reads until the connection ends, and says so in a last batch. A batch waits for its place in the
/// channel *before* it is read: what the torrent's task has not taken stays in the socket.
pub(crate) async fn run(
    stream: Arc<TcpStream>,
    peer: PeerKey,
    pieces: u32,
    throttle: Throttle,
    buffers: Arc<Buffers>,
    batches: mpsc::Sender<Batch>,
) {
    let mut reader = Reader {
        buffers,
        from_buffers: 0,
        decoder: Decoder::new(pieces),
        buf: BytesMut::with_capacity(READ_MIN),
        size: READ_MIN,
    };
    loop {
        if stream.readable().await.is_err() {
            break;
        }
        let grant = if throttle.is_off() {
            usize::MAX
        } else {
            throttle.take(reader.size).await
        };
        let Ok(place) = batches.reserve().await else {
            return; // the torrent has gone
        };
        let read = reader.read(&stream, grant);
        if !throttle.is_off() {
            throttle.restore(grant.saturating_sub(*read.as_ref().unwrap_or(&0)));
        }
        let (frames, end) = match read {
            Ok(0) => (Vec::new(), Some(End::Closed)),
            Ok(_) => reader.cut(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => {
                tracing::debug!(peer = peer.0, %error, "connection lost");
                (Vec::new(), Some(End::Closed))
            }
        };
        let last = end.is_some();
        if last || !frames.is_empty() {
            place.send(Batch { peer, frames, end });
        }
        if last {
            return;
        }
    }
    let frames = Vec::new();
    let end = Some(End::Closed);
    let _ = batches.send(Batch { peer, frames, end }).await;
}

/// One `recv` of at most `room` bytes. One that brings less has emptied the socket, and the next would only find that out: with 50
/// leeches on one machine these were half of all. So the socket counts as empty from here on until the system says
/// otherwise, as it does where tokio reads by itself.
fn read_once(stream: &TcpStream, buf: &mut BytesMut, room: usize) -> io::Result<usize> {
    let mut read = Err(io::ErrorKind::WouldBlock.into());
    let emptied = || Err(io::ErrorKind::WouldBlock.into());
    // What comes after this call began wakes us all the same: the mark is only taken off if nothing new was said.
    let _ = stream.try_io(Interest::READABLE, || {
        read = stream.try_read_buf(&mut buf.limit(room));
        match &read {
            Ok(0) | Err(_) => Ok(()),
            Ok(got) if *got < room && cfg!(unix) => emptied(),
            Ok(_) => Ok(()),
        }
    });
    read
}

struct Reader {
    buffers: Arc<Buffers>,
    /// The size for which it gave the buffer at hand.
    from_buffers: usize,
    decoder: Decoder,
    buf: BytesMut,
    /// Bytes that the next buffer has room for; follows the speed of the connection.
    size: usize,
}

impl Reader {
    /// One read of at most `most` bytes. Zero is the end of the stream.
    fn read(&mut self, stream: &TcpStream, most: usize) -> io::Result<usize> {
        self.make_room();
        let room = self.buf.capacity() - self.buf.len();
        let got = read_once(stream, &mut self.buf, room.min(most))?;
        if got >= room {
            self.size = (self.size * 2).min(READ_MAX);
        } else if got < self.size / 8 {
            self.size = (self.size / 2).max(READ_MIN);
        }
        Ok(got)
    }

    /// Sees to it that the frame at the front can become whole and that a read is worth its call. Blocks
    /// hold on to the buffer they were cut from, so a full one is left to them and a new one is begun;
    /// only the frame that is not whole yet (less than a block, as a rule) is copied.
    fn make_room(&mut self) {
        let room = self.buf.capacity() - self.buf.len();
        let missing = Decoder::missing(&self.buf);
        if room >= missing.max(self.size / 2) {
            return;
        }
        let want = missing.max(self.size.saturating_sub(self.buf.len()));
        if self.buf.capacity() >= self.size && self.buf.try_reclaim(want) {
            return;
        }
        let whole = self.buf.len() + want;
        let mut fresh = self.buffers.take(whole);
        fresh.extend_from_slice(&self.buf);
        let used = std::mem::replace(&mut self.buf, fresh);
        let size = std::mem::replace(&mut self.from_buffers, whole);
        self.buffers.give_back(used, size);
    }

    fn cut(&mut self) -> (Vec<Frame>, Option<End>) {
        let mut frames = Vec::with_capacity(self.buf.len() / 16_397 + 1);
        loop {
            match self.decoder.decode(&mut self.buf) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => return (frames, None),
                Err(error) => {
                    tracing::debug!(%error, "not the peer protocol");
                    return (frames, Some(End::Malformed));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use samara_proto::Span;
    use samara_proto::wire::{Message, block_header};
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let addr = listener.local_addr().expect("addr");
        let (a, b) = tokio::join!(TcpStream::connect(addr), listener.accept());
        (a.expect("connect"), b.expect("accept").0)
    }

    #[tokio::test]
    async fn frames_arrive_whole_whatever_the_sizes_of_reads() {
        let (mut far, near) = pair().await;
        let (send, mut batches) = mpsc::channel(2);
        let reading = tokio::spawn(run(
            Arc::new(near),
            PeerKey(7),
            64,
            Throttle::default(),
            Arc::default(),
            send,
        ));
        let writing = tokio::spawn(async move {
            for piece in 0..200u32 {
                let length = 1 + piece * 577 % 16384;
                let span = Span {
                    piece,
                    offset: 0,
                    length,
                };
                far.write_all(&block_header(span)).await.expect("write");
                let bytes = vec![piece as u8; length as usize];
                far.write_all(&bytes).await.expect("write");
                let mut have = BytesMut::new();
                Message::Have(piece).encode(&mut have);
                far.write_all(&have).await.expect("write");
            }
        });
        let mut got = Vec::new();
        while let Some(batch) = batches.recv().await {
            assert_eq!(batch.peer, PeerKey(7));
            got.extend(batch.frames);
            if batch.end.is_some() {
                break;
            }
        }
        writing.await.expect("no panic");
        reading.await.expect("no panic");
        assert_eq!(got.len(), 400);
        for (at, pair) in got.chunks(2).enumerate() {
            let Frame::Block { span, payload } = &pair[0] else {
                panic!("a block was sent")
            };
            assert_eq!(span.piece, at as u32);
            assert!(payload.iter().all(|byte| *byte == at as u8));
            assert_eq!(payload.len(), span.length as usize);
            assert_eq!(pair[1], Frame::Message(Message::Have(at as u32)));
        }
    }

    #[tokio::test]
    async fn a_torrent_that_takes_nothing_stops_the_reading() {
        let (far, near) = pair().await;
        let (send, mut batches) = mpsc::channel(1);
        let reading = tokio::spawn(run(
            Arc::new(near),
            PeerKey(0),
            64,
            Throttle::default(),
            Arc::default(),
            send,
        ));
        let mut message = BytesMut::new();
        Message::Extended {
            id: 9,
            payload: Bytes::from(vec![0; 60_000]),
        }
        .encode(&mut message);
        let mut sent = 0;
        let patience = std::time::Duration::from_millis(300);
        loop {
            let wait = tokio::time::timeout(patience, far.writable()).await;
            if wait.is_err() {
                break;
            }
            sent += far.try_write(&message).unwrap_or(0);
            assert!(sent < 64 << 20, "nothing held the sender back");
        }
        assert!(!reading.is_finished());
        assert!(batches.recv().await.is_some());
        reading.abort();
    }

    #[tokio::test]
    async fn garbage_ends_the_connection() {
        let (mut far, near) = pair().await;
        let (send, mut batches) = mpsc::channel(4);
        far.write_all(&[0xff; 100]).await.expect("write");
        let throttle = Throttle::default();
        run(
            Arc::new(near),
            PeerKey(0),
            64,
            throttle,
            Arc::default(),
            send,
        )
        .await;
        let batch = batches.recv().await.expect("one batch");
        assert!(matches!(batch.end, Some(End::Malformed)));
    }
}

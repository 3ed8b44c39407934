//! Where the bytes of a block come from, and the system calls that send them.
//!
//! A network thread must never wait for a disk. So a block is first looked up: what is in the page cache
//! is sent from there by `sendfile`, without a copy into the program (Linux); everything else is read
//! on a thread of its own, a whole run of blocks at once, and sent from memory.

use bytes::Bytes;
use samara_disk::store::Store;
use samara_proto::Span;
use std::io;
use std::sync::Arc;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// How one block is to be sent.
#[derive(Debug)]
pub(crate) enum Piecework {
    /// It cannot be read; nothing was sent of it.
    Lost(Span, String),
    /// From memory.
    Copied(Span, Bytes),
    /// From the page cache.
    #[cfg(target_os = "linux")]
    InPlace(Span, Vec<samara_disk::store::Segment>),
}

/// Says for each block of a run how it is to be sent, in the same order.
pub(crate) async fn look_up(store: &Arc<Store>, run: Vec<Span>) -> Vec<Piecework> {
    #[cfg(target_os = "linux")]
    {
        let warm: Option<Vec<Piecework>> =
            run.iter().map(|span| linux::warm(store, *span)).collect();
        if let Some(work) = warm {
            return work;
        }
    }
    read_aside(store, run).await
}

/// Reads a run on a blocking thread.
async fn read_aside(store: &Arc<Store>, run: Vec<Span>) -> Vec<Piecework> {
    let spans = run.clone();
    let store = Arc::clone(store);
    let reading = tokio::task::spawn_blocking(move || {
        let read = |span: &Span| {
            let mut bytes = vec![0; span.length as usize];
            match store.read(*span, &mut bytes) {
                Ok(()) => Piecework::Copied(*span, Bytes::from(bytes)),
                Err(error) => Piecework::Lost(*span, error.to_string()),
            }
        };
        spans.iter().map(read).collect()
    });
    reading.await.unwrap_or_else(|error| {
        let lost = |span: &Span| Piecework::Lost(*span, error.to_string());
        run.iter().map(lost).collect()
    })
}

/// Sends some of `bytes`; with `more`, lets them wait for what follows.
pub(crate) async fn send(stream: &TcpStream, bytes: &[u8], more: bool) -> io::Result<usize> {
    use rustix::net::SendFlags;
    #[cfg(target_os = "linux")]
    let flags = if more {
        SendFlags::NOSIGNAL | SendFlags::MORE
    } else {
        SendFlags::NOSIGNAL
    };
    #[cfg(not(target_os = "linux"))]
    let flags = {
        let _ = more;
        SendFlags::empty()
    };
    let attempt = || rustix::net::send(stream, bytes, flags).map_err(io::Error::from);
    stream.async_io(Interest::WRITABLE, attempt).await
}

#[cfg(target_os = "linux")]
pub(crate) use linux::{cork, send_file};

#[cfg(not(target_os = "linux"))]
pub(crate) fn cork(_stream: &TcpStream, _on: bool) {}

#[cfg(target_os = "linux")]
mod linux {
    use super::{Interest, Piecework, Span, Store, TcpStream, io};
    use rustix::io::{Errno, ReadWriteFlags, preadv2};
    use samara_disk::store::Segment;
    use std::fs::File;
    use std::io::IoSliceMut;

    /// While on, only full packets leave; several blocks then share them.
    pub(crate) fn cork(stream: &TcpStream, on: bool) {
        // It is a hint about packets: a socket that does not know it works all the same.
        let _ = rustix::net::sockopt::set_tcp_cork(stream, on);
    }

    /// The block, if all of it is likely to be in the page cache. Its last byte speaks for the rest: the
    /// kernel reads ahead in larger units than a block.
    pub(super) fn warm(store: &Store, span: Span) -> Option<Piecework> {
        let segments = store.segments(span).ok()?;
        let cached = |segment: &Segment| match segment {
            Segment::Zeros { .. } => true,
            Segment::File { file, offset, len } => {
                is_cached(file, offset + u64::from(len.saturating_sub(1)))
            }
        };
        segments
            .iter()
            .all(cached)
            .then(|| Piecework::InPlace(span, segments.into_iter().collect()))
    }

    /// False also for a file that has no such byte: the reading on the side says what is wrong.
    fn is_cached(file: &File, at: u64) -> bool {
        let mut byte = [0; 1];
        let mut into = [IoSliceMut::new(&mut byte)];
        match preadv2(file, &mut into, at, ReadWriteFlags::NOWAIT) {
            Ok(got) => got == 1,
            Err(Errno::OPNOTSUPP) => lives_in_memory(file),
            Err(_) => false,
        }
    }

    /// tmpfs and ramfs are page cache and nothing else.
    fn lives_in_memory(file: &File) -> bool {
        const TMPFS: i128 = 0x0102_1994;
        const RAMFS: i128 = 0x8584_58f6;
        rustix::fs::fstatfs(file).is_ok_and(|stat| {
            let kind = i128::from(stat.f_type);
            kind == TMPFS || kind == RAMFS
        })
    }

    /// Sends bytes `at..end` of a file, or some of them; says how far it came.
    pub(crate) async fn send_file(
        stream: &TcpStream,
        file: &File,
        at: u64,
        end: u64,
    ) -> io::Result<u64> {
        let attempt = || {
            let mut offset = at;
            match rustix::fs::sendfile(stream, file, Some(&mut offset), (end - at) as usize) {
                // The header has promised bytes that are no longer there: the connection is lost.
                Ok(0) => Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "a file became shorter while it was sent",
                )),
                Ok(sent) => Ok(at + sent as u64),
                Err(error) => Err(error.into()),
            }
        };
        stream.async_io(Interest::WRITABLE, attempt).await
    }
}

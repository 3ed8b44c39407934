//! Where the bytes of blocks come from, and the system call that sends them.
//!
//! A network thread must never wait for a disk. So a run of blocks is first read with `RWF_NOWAIT`, which
//! gives what is in the page cache and nothing else; what is not there is read on a thread of its own.
//! Blocks land in one buffer with their headers between them, and leave in one call.
//!
//! That is a copy more than `sendfile`, and cheaper all the same: 13 bytes of header before every 16 KiB
//! keep the kernel from building large segments out of pages. `bench/send_path.c` measures the ways, and
//! `docs/performance.md` has what they cost there and in this program.

use samara_disk::store::Store;
use samara_proto::Span;
use samara_proto::wire::block_header;
use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Bytes of a block's header.
const HEADER: usize = 13;

/// Memory of runs that a thread keeps for the next ones.
const SPARES_MAX: usize = 2;

thread_local! {
    /// Whatever connection is served next on this thread uses them: they are still in its cache, and a connection that is
    /// served now and then holds none.
    static SPARES: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Bytes that are about to be sent. Keeps its memory, and does not clear it, from run to run.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    bytes: Vec<u8>,
    /// How many of them are to be sent.
    end: usize,
}

/// Blocks that could not be read, and why.
pub(crate) type Lost = Vec<(Span, String)>;

impl Outgoing {
    pub(crate) fn len(&self) -> usize {
        self.end
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.end).unwrap_or_default()
    }

    /// Begins anew in the same memory.
    pub(crate) fn clear(&mut self) {
        self.end = 0;
    }

    /// Leaves the memory to whoever is served next.
    pub(crate) fn release(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        self.end = 0;
        SPARES.with_borrow_mut(|spares| {
            if spares.len() < SPARES_MAX && !bytes.is_empty() {
                spares.push(bytes);
            }
        });
    }

    /// Adds messages as they go over the wire.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).copy_from_slice(bytes);
        self.end += bytes.len();
    }

    /// Room for `len` bytes at the end, whatever is in it now.
    fn room(&mut self, len: usize) -> &mut [u8] {
        let want = self.end + len;
        if self.bytes.is_empty() {
            self.bytes = SPARES.with_borrow_mut(Vec::pop).unwrap_or_default();
        }
        if self.bytes.len() < want {
            self.bytes.resize(want, 0);
        }
        &mut self.bytes[self.end..want]
    }
}

/// Adds blocks with their headers, from the page cache if they are there.
pub(crate) async fn append(
    store: &Arc<Store>,
    run: &[Span],
    mut out: Outgoing,
) -> (Outgoing, Lost) {
    #[cfg(target_os = "linux")]
    if linux::append_cached(store, run, &mut out) {
        return (out, Lost::new());
    }
    let (store, spans) = (Arc::clone(store), run.to_vec());
    let reading = tokio::task::spawn_blocking(move || {
        let lost = append_slowly(&store, &spans, &mut out);
        (out, lost)
    });
    reading.await.unwrap_or_else(|error| {
        let lost = run.iter().map(|span| (*span, error.to_string()));
        (Outgoing::default(), lost.collect())
    })
}

/// Reads block by block, waiting for the disk.
fn append_slowly(store: &Store, run: &[Span], out: &mut Outgoing) -> Lost {
    let mut lost = Lost::new();
    if let (Some(first), Some(last)) = (run.first(), run.last()) {
        let geometry = &store.info().geometry;
        let start = geometry.piece_start(first.piece) + u64::from(first.offset);
        let end = geometry.piece_start(last.piece) + u64::from(last.offset + last.length);
        store.will_read(start, end.saturating_sub(start));
    }
    for span in run {
        let room = out.room(HEADER + span.length as usize);
        let (header, payload) = room.split_at_mut(HEADER);
        header.copy_from_slice(&block_header(*span));
        match store.read(*span, payload) {
            Ok(()) => out.end += HEADER + span.length as usize,
            Err(error) => lost.push((*span, error.to_string())),
        }
    }
    lost
}

/// Sends some of `bytes`; says how many.
pub(crate) async fn send(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    stream
        .async_io(Interest::WRITABLE, || stream.try_write(bytes))
        .await
}

#[cfg(target_os = "linux")]
mod linux {
    use super::{HEADER, Outgoing, Span, Store, block_header};
    use rustix::io::{ReadWriteFlags, preadv2};
    use samara_disk::store::Segment;
    use std::fs::File;
    use std::io::IoSliceMut;
    use std::mem::take;
    use std::sync::Arc;

    /// Consecutive bytes of one file, and where they go.
    struct Stretch<'a> {
        file: Arc<File>,
        offset: u64,
        len: u64,
        into: Vec<IoSliceMut<'a>>,
    }

    /// Adds the blocks of a run if all of them are in memory; otherwise leaves `out` as it was.
    pub(super) fn append_cached(store: &Store, run: &[Span], out: &mut Outgoing) -> bool {
        let len = run.iter().map(|span| HEADER + span.length as usize).sum();
        let room = out.room(len);
        let Some(stretches) = lay_out(store, run, room) else {
            return false;
        };
        let flags = if store.in_memory() {
            ReadWriteFlags::empty()
        } else {
            ReadWriteFlags::NOWAIT
        };
        let done = stretches
            .into_iter()
            .all(|stretch| read_cached(stretch, flags));
        if done {
            out.end += len;
        }
        done
    }

    /// Headers are written, padding too; what is to be read is gathered by file. `None` if a file cannot
    /// be opened: the slow way says why.
    fn lay_out<'a>(
        store: &Store,
        run: &[Span],
        mut room: &'a mut [u8],
    ) -> Option<Vec<Stretch<'a>>> {
        let mut stretches: Vec<Stretch<'a>> = Vec::new();
        for span in run {
            let (header, rest) = take(&mut room).split_at_mut(HEADER);
            header.copy_from_slice(&block_header(*span));
            room = rest;
            for segment in store.segments(*span).ok()? {
                match segment {
                    Segment::Zeros { len } => {
                        let (zeros, rest) = take(&mut room).split_at_mut(len as usize);
                        zeros.fill(0);
                        room = rest;
                    }
                    Segment::File { file, offset, len } => {
                        let (into, rest) = take(&mut room).split_at_mut(len as usize);
                        room = rest;
                        let into = IoSliceMut::new(into);
                        match stretches.last_mut() {
                            Some(last)
                                if Arc::ptr_eq(&last.file, &file)
                                    && last.offset + last.len == offset =>
                            {
                                last.len += u64::from(len);
                                last.into.push(into);
                            }
                            _ => stretches.push(Stretch {
                                file,
                                offset,
                                len: u64::from(len),
                                into: vec![into],
                            }),
                        }
                    }
                }
            }
        }
        Some(stretches)
    }

    fn read_cached(stretch: Stretch<'_>, flags: ReadWriteFlags) -> bool {
        let Stretch {
            file,
            offset,
            len,
            mut into,
        } = stretch;
        preadv2(&file, &mut into, offset, flags).is_ok_and(|got| got as u64 == len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::{Bytes, BytesMut};
    use samara_disk::store::StoreOptions;
    use samara_proto::metainfo::Info;
    use samara_proto::wire::{Decoder, Frame};

    fn store(len: usize) -> (tempfile::TempDir, Arc<Store>, Vec<u8>) {
        let data: Vec<u8> = (0..len).map(|at| (at * 31 % 251) as u8).collect();
        let dir = tempfile::TempDir::new().expect("folder");
        let half = len / 2;
        let raw = format!(
            "d5:filesld6:lengthi{half}e4:pathl1:aeed6:lengthi{}e4:pathl1:beee4:name1:t12:piece lengthi32768e6:pieces{}:",
            len - half,
            len.div_ceil(32768) * 20
        );
        let mut raw = raw.into_bytes();
        raw.resize(raw.len() + len.div_ceil(32768) * 20, b'x');
        raw.push(b'e');
        let info = Info::from_bytes(Bytes::from(raw)).expect("a torrent");
        let top = dir.path().join("t");
        std::fs::create_dir(&top).expect("made");
        std::fs::write(top.join("a"), &data[..half]).expect("written");
        std::fs::write(top.join("b"), &data[half..]).expect("written");
        let options = StoreOptions::read_only();
        let store = Store::open(Arc::new(info), dir.path(), options).expect("open");
        (dir, Arc::new(store), data)
    }

    fn blocks(bytes: &[u8]) -> Vec<(Span, Bytes)> {
        let (decoder, mut buf) = (Decoder::new(1), BytesMut::from(bytes));
        let mut found = Vec::new();
        while let Some(frame) = decoder.decode(&mut buf).expect("legal") {
            let Frame::Block { span, payload } = frame else {
                panic!("only blocks were sent")
            };
            found.push((span, payload));
        }
        assert!(buf.is_empty());
        found
    }

    #[tokio::test]
    async fn both_ways_give_the_bytes_of_the_files() {
        let (_dir, store, data) = store(300_000);
        let geometry = &store.info().geometry;
        // Out of order, across the border of the files, and some in a row.
        let mut run: Vec<Span> = (0..geometry.pieces())
            .flat_map(|piece| {
                (0..geometry.blocks(piece)).map(move |b| geometry.block_span(piece, b))
            })
            .collect();
        run.swap(0, 5);
        let (fast, lost) = append(&store, &run, Outgoing::default()).await;
        assert!(lost.is_empty());
        let mut slow = Outgoing::default();
        assert!(append_slowly(&store, &run, &mut slow).is_empty());
        assert!(fast.bytes() == slow.bytes());
        let found = blocks(fast.bytes());
        assert_eq!(found.len(), run.len());
        for ((span, payload), want) in found.iter().zip(&run) {
            assert_eq!(span, want);
            let start = geometry.piece_start(span.piece) as usize + span.offset as usize;
            assert!(payload[..] == data[start..start + span.length as usize]);
        }
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_left_out() {
        let (dir, store, _) = store(100_000);
        std::fs::remove_file(dir.path().join("t/b")).expect("removed");
        let geometry = &store.info().geometry;
        let run: Vec<Span> = (0..geometry.pieces())
            .map(|p| geometry.block_span(p, 0))
            .collect();
        let mut out = Outgoing::default();
        out.push(b"");
        let (out, lost) = append(&store, &run, out).await;
        assert!(!lost.is_empty());
        let found = blocks(out.bytes());
        assert_eq!(found.len() + lost.len(), run.len());
        assert!(
            lost.iter().all(|(_, text)| text.contains("t/b")),
            "{lost:?}"
        );
    }
}

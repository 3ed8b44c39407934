//! One connection: bytes in, answers out, and its end.

use super::announce::Scratch;
use super::head::{self, Head};
use super::{answer, answer_giant, answer_rubbish};
use crate::serve::handle::Handle;
use crate::serve::live::Seen;
use std::cell::RefCell;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, Sleep, sleep_until, timeout};

/// Bytes of answers that are put together before they are sent: more requests wait meanwhile.
const MAX_OUT: usize = 64 * 1024;

/// What a connection that is idle keeps of its buffers. An announce is 300 to 500 bytes.
const IDLE_BUFFER: usize = 1_024;

/// How long whoever was refused may go on sending before the connection is cut: cut at once, the reason
/// would be lost on the way (RFC 9112, 9.6).
const LINGER: Duration = Duration::from_millis(500);

/// Bytes that are read and thrown away meanwhile.
const LINGER_BYTES: usize = 256 * 1024;

/// Who is at the other end, and what a connection needs to answer.
pub(in crate::serve) struct Asker {
    pub(in crate::serve) handle: Handle,
    pub(in crate::serve) seen: Seen,
    /// Where the connection comes from.
    pub(in crate::serve) socket: IpAddr,
}

thread_local! {
    /// Answers are put together without waiting, so that a thread needs one of these.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// How the requests in a buffer have been dealt with.
#[derive(Debug)]
pub(super) struct Dealt {
    /// Bytes of the buffer.
    pub(super) used: usize,
    /// Whether the connection stays.
    pub(super) stays: bool,
    /// Whether the rest is to be read and thrown away.
    pub(super) linger: bool,
}

impl Default for Dealt {
    fn default() -> Self {
        Self {
            used: 0,
            stays: true,
            linger: false,
        }
    }
}

/// What a connection has behind it already.
#[derive(Debug, Default)]
pub(in crate::serve) struct Begun {
    /// Bytes that have come.
    pub(super) bytes: Vec<u8>,
    /// Answers to some of them, which have not been sent yet.
    pub(super) out: Vec<u8>,
    /// What there is to do when they are.
    pub(super) dealt: Dealt,
}

impl Asker {
    /// Answers all requests that have come whole, as far as the answers may be long. Of `bytes`, the
    /// first `looked` are known to hold no whole head. In a `hurry`, the connection ends with the last.
    pub(super) fn deal(
        &mut self,
        bytes: &[u8],
        looked: usize,
        hurry: bool,
        out: &mut Vec<u8>,
    ) -> Dealt {
        self.handle.refresh(&mut self.seen);
        let live = &self.seen.live;
        let from_proxy = live.is_proxy(self.socket);
        let header = from_proxy.then(|| live.proxy_header.name());
        let mut dealt = Dealt::default();
        let mut from = looked;
        while dealt.stays && out.len() < MAX_OUT {
            let rest = bytes.get(dealt.used..).unwrap_or_default();
            let Some(end) = head::end(rest, from) else {
                if rest.len() > live.max_head {
                    answer_giant(out);
                    (dealt.stays, dealt.linger) = (false, true);
                }
                break;
            };
            from = 0;
            let text = rest.get(..end).unwrap_or_default();
            dealt.used += end;
            match Head::read(text, header) {
                Ok(_) if end > live.max_head => {
                    answer_giant(out);
                    (dealt.stays, dealt.linger) = (false, true);
                }
                Ok(mut head) => {
                    let more = rest.get(end..).unwrap_or_default();
                    if hurry && head::end(more, 0).is_none() {
                        head.keep_alive = false;
                    }
                    dealt.stays = SCRATCH.with_borrow_mut(|scratch| {
                        answer(&self.handle, live, self.socket, &head, scratch, out)
                    });
                    dealt.linger = head.has_body;
                }
                Err(error) => {
                    answer_rubbish(error, out);
                    (dealt.stays, dealt.linger) = (false, true);
                }
            }
        }
        dealt
    }
}

/// Serves a connection until either side has had enough. `hurry` says whether places are short, so that
/// whoever has an answer gives up its own.
pub(in crate::serve) async fn serve<S>(
    mut stream: S,
    mut asker: Asker,
    begun: Begun,
    hurry: impl Fn() -> bool,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let life_end = Instant::now() + asker.seen.live.connection_life;
    let until = |asker: &Asker| (Instant::now() + asker.seen.live.head_timeout).min(life_end);
    let mut alarm = pin!(sleep_until(until(&asker)));
    let Begun {
        mut bytes,
        mut out,
        mut dealt,
    } = begun;
    let mut looked = 0;
    loop {
        while !(bytes.is_empty() && out.is_empty()) {
            if out.is_empty() {
                dealt = asker.deal(&bytes, looked, hurry(), &mut out);
                looked = 0;
            }
            if out.is_empty() {
                break;
            }
            alarm.as_mut().reset(until(&asker));
            let sent = before(alarm.as_mut(), async {
                stream.write_all(&out).await?;
                stream.flush().await
            });
            let Some(sent) = sent.await else {
                return Ok(());
            };
            sent?;
            out.clear();
            if !dealt.stays {
                if before(alarm.as_mut(), stream.shutdown()).await.is_none() {
                    return Ok(());
                }
                if dealt.linger {
                    let _ = timeout(LINGER, linger(&mut stream)).await;
                }
                return Ok(());
            }
            bytes.drain(..dealt.used);
        }
        looked = bytes.len();
        if bytes.is_empty() && !(IDLE_BUFFER..=2 * IDLE_BUFFER).contains(&bytes.capacity()) {
            bytes = Vec::with_capacity(IDLE_BUFFER);
        }
        if out.capacity() > 4 * IDLE_BUFFER {
            out = Vec::new();
        }
        let Some(count) = before(alarm.as_mut(), stream.read_buf(&mut bytes)).await else {
            return Ok(());
        };
        if count? == 0 {
            return Ok(());
        }
    }
}

/// What `work` comes to, if it does before the alarm.
async fn before<T>(mut alarm: Pin<&mut Sleep>, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        () = &mut alarm => None,
    }
}

/// Reads what still comes.
async fn linger(stream: &mut (impl AsyncRead + Unpin)) {
    let mut waste = [0; 4_096];
    let mut left = LINGER_BYTES;
    while let Ok(count @ 1..) = stream.read(&mut waste).await {
        left = left.saturating_sub(count);
        if left == 0 {
            return;
        }
    }
}

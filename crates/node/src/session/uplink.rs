//! The host's uplink: what its connections have seen of it, and the limit that keeps it without a queue. When and how much is
//! the [`Shaper`]'s to say.

use super::socket::on_this_host;
use crate::clock::{Clock, std_duration};
use crate::limits::Bucket;
use crate::sys::tcp;
use samara_engine::Duration;
use samara_engine::shaper::{Pace, Path, Shaper};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::sleep;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Uplink {
    /// What all that leaves the host passes.
    bucket: Arc<Bucket>,
    watched: Mutex<Vec<Watched>>,
    /// There is something to watch.
    begun: Notify,
}

/// A connection that leaves the host.
#[derive(Debug)]
struct Watched {
    stream: Weak<TcpStream>,
    acked: u64,
}

impl Uplink {
    pub(super) fn new() -> Self {
        Self {
            bucket: Arc::new(Bucket::open()),
            watched: Mutex::default(),
            begun: Notify::new(),
        }
    }

    fn watched(&self) -> MutexGuard<'_, Vec<Watched>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What this connection sends passes the bucket that is returned, unless it stays on the host or the system does not say what
    /// becomes of it.
    pub(crate) fn watch(&self, stream: &Arc<TcpStream>) -> Option<Arc<Bucket>> {
        if on_this_host(stream) || tcp::info(stream).is_err() {
            return None;
        }
        self.watched().push(Watched {
            stream: Arc::downgrade(stream),
            acked: 0,
        });
        self.begun.notify_one();
        Some(Arc::clone(&self.bucket))
    }

    /// What the connections have seen since the last look. False: there are none.
    fn paths(&self, into: &mut Vec<Path>) -> bool {
        into.clear();
        let mut watched = self.watched();
        watched.retain_mut(|watched| {
            let Some(stream) = watched.stream.upgrade() else {
                return false;
            };
            into.extend(watched.look(&stream));
            true
        });
        !watched.is_empty()
    }

    /// Looks at the connections until the session is gone.
    pub(super) async fn look_after(uplink: Arc<Self>, clock: Clock) {
        let (mut shaper, mut paths) = (Shaper::new(), Vec::new());
        let mut was_free = true;
        loop {
            sleep(std_duration(shaper.looks_after(clock.now()))).await;
            let some = uplink.paths(&mut paths);
            let pace = shaper.look(clock.now(), &mut paths, uplink.bucket.has_held_up());
            uplink.follow(pace);
            let free = pace == Pace::Free;
            if free != was_free {
                tracing::debug!(?pace, "the limit that follows the uplink");
            }
            was_free = free;
            if !some {
                uplink.begun.notified().await;
            }
        }
    }

    fn follow(&self, pace: Pace) {
        match pace {
            Pace::Free => self.bucket.set(0),
            Pace::Held { rate, pause } => {
                self.bucket.set(rate);
                self.bucket.pause(std_duration(pause));
            }
        }
    }
}

impl Watched {
    fn look(&mut self, stream: &TcpStream) -> Option<Path> {
        let info = tcp::info(stream).ok()?;
        let queue = info.round_trip.saturating_sub(info.shortest?);
        let before = std::mem::replace(&mut self.acked, info.acked);
        Some(Path {
            acked: info.acked.saturating_sub(before),
            unsent: info.unsent,
            queue: Duration::from_micros(u64::try_from(queue.as_micros()).unwrap_or(u64::MAX)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let to = listener.local_addr().expect("bound");
        let (dialled, accepted) = tokio::join!(TcpStream::connect(to), listener.accept());
        (dialled.expect("connected"), accepted.expect("accepted").0)
    }

    #[tokio::test]
    async fn what_stays_on_the_host_is_not_held_back() {
        let (here, _there) = pair().await;
        let uplink = Uplink::new();
        assert!(uplink.watch(&Arc::new(here)).is_none());
        assert!(!uplink.paths(&mut Vec::new()));
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_look_counts_what_has_arrived_since_the_one_before() {
        let (mut here, mut there) = pair().await;
        let mut looks = Vec::new();
        let mut watched = Watched {
            stream: Weak::new(),
            acked: 0,
        };
        for bytes in [20_000, 30_000] {
            here.write_all(&vec![7; bytes]).await.expect("sent");
            there.read_exact(&mut vec![0; bytes]).await.expect("read");
            there.write_all(b"!").await.expect("answered");
            here.read_exact(&mut [0; 1]).await.expect("heard");
            looks.push(watched.look(&here).expect("known"));
        }
        // The first one counts the SYN.
        assert!(looks[0].acked.abs_diff(20_000) <= 1, "{looks:?}");
        assert_eq!(looks[1].acked, 30_000);
        assert!(looks.iter().all(|path| path.unsent == 0));
    }

    #[tokio::test]
    async fn a_connection_that_is_gone_is_not_looked_at() {
        let (here, _there) = pair().await;
        let here = Arc::new(here);
        let uplink = Uplink::new();
        uplink.watched().push(Watched {
            stream: Arc::downgrade(&here),
            acked: 0,
        });
        assert!(uplink.paths(&mut Vec::new()));
        drop(here);
        assert!(!uplink.paths(&mut Vec::new()));
    }

    #[tokio::test]
    async fn the_bucket_does_what_the_shaper_says() {
        let uplink = Uplink::new();
        let pause = Duration::from_millis(40);
        uplink.follow(Pace::Held { rate: 1000, pause });
        let limit = crate::limits::Throttle::default().and(Some(Arc::clone(&uplink.bucket)));
        assert!(!limit.is_off());
        uplink.follow(Pace::Free);
        assert!(limit.is_off());
    }
}

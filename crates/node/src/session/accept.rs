//! Connections that come in: who may be half open, and which torrent each one is for.

use super::Inner;
use super::places::PeerLimits;
use super::shake::{self, Ours, Shaken};
use super::socket::normal;
use samara_proto::InfoHash;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Pause after a failed accept: descriptors are scarce, and asking at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Counts half-open connections.
#[derive(Debug)]
pub(crate) struct HalfOpen {
    counts: Mutex<HashMap<IpAddr, usize>>,
    limits: PeerLimits,
}

/// A place among the half-open connections. Given back when dropped.
#[derive(Debug)]
struct Door {
    all: Arc<HalfOpen>,
    ip: IpAddr,
}

impl HalfOpen {
    fn new(limits: PeerLimits) -> Arc<Self> {
        Arc::new(Self {
            counts: Mutex::default(),
            limits,
        })
    }

    fn enter(self: &Arc<Self>, ip: IpAddr) -> Option<Door> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let total: usize = counts.values().sum();
        let here = counts.get(&ip).copied().unwrap_or(0);
        if total >= self.limits.half_open_max || here >= self.limits.half_open_per_address {
            return None;
        }
        counts.insert(ip, here + 1);
        let all = Arc::clone(self);
        Some(Door { all, ip })
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let mut counts = self
            .all
            .counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.ip);
            }
        }
    }
}

/// Accepts until the session is gone or this task is aborted; its handshakes end with it.
pub(crate) async fn run(listener: TcpListener, limits: PeerLimits, session: Weak<Inner>) {
    #[cfg(target_os = "linux")]
    let control = super::pacing::Control::of_listener(&listener);
    let half_open = HalfOpen::new(limits);
    let mut shaking = JoinSet::new();
    loop {
        while shaking.try_join_next().is_some() {}
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        #[cfg(target_os = "linux")]
        control.settle(&stream);
        let from = normal(from);
        let Some(door) = half_open.enter(from.ip()) else {
            tracing::debug!(%from, "too many half-open connections");
            continue;
        };
        shaking.spawn(greet(stream, from, door, session.clone()));
    }
}

async fn greet(stream: TcpStream, from: std::net::SocketAddr, door: Door, session: Weak<Inner>) {
    let find = |hash: InfoHash| -> Option<Ours> { session.upgrade()?.ours(hash) };
    match shake::answer(stream, from, find).await {
        Ok(shaken) => hand_over(shaken, door, &session),
        Err(error) => tracing::debug!(%from, %error, "no handshake"),
    }
}

fn hand_over(shaken: Shaken, door: Door, session: &Weak<Inner>) {
    let Some(session) = session.upgrade() else {
        return;
    };
    if let Some(torrent) = session.torrent(shaken.theirs.info_hash) {
        match torrent.member.enter(shaken.addr.ip()) {
            Ok(place) => torrent.connected(shaken, place),
            Err(full) => tracing::debug!(from = %shaken.addr, ?full, "no place"),
        }
        drop(door);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attack_15_places_are_limited_and_given_back() {
        let limits = PeerLimits::default();
        let half_open = HalfOpen::new(limits);
        let ip = |last: u8| IpAddr::from([10, 0, 0, last]);
        let from_one: Vec<_> = (0..100).filter_map(|_| half_open.enter(ip(1))).collect();
        assert_eq!(from_one.len(), limits.half_open_per_address);
        let others: Vec<_> = (2..250)
            .flat_map(|last| (0..10).map(move |_| last))
            .filter_map(|last| half_open.enter(ip(last)))
            .collect();
        let left = limits.half_open_max - limits.half_open_per_address;
        assert_eq!(others.len(), left);
        drop((from_one, others));
        assert!(half_open.counts.lock().expect("lock").is_empty());
        assert!(half_open.enter(ip(1)).is_some());
    }
}

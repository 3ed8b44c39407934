//! Connections of a session, counted over all torrents: in total, from one address, and dials under way.
//!
//! What one torrent may have is its engine's to decide; here is what all may have together, so that many
//! torrents do not use up the descriptors and the memory of the process, and one stranger does not sit on
//! places of every torrent at once.
//!
//! The total is shared fairly. A torrent's part is the total through the number of torrents. While there is
//! plenty any torrent may have more; the last sixteenth is kept for those that have less than their part, and
//! when one of them takes from it, the torrent that has most is told to let one go. Dials wait in
//! one line for all, and a torrent has few in it ([`samara_engine::Config::dials_max`]).

use crate::torrent::Fact;
use samara_engine::{Input, is_shared, network};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Limits of a session on connections to peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerLimits {
    /// Connections of all torrents together. Each costs a descriptor, of which a process commonly has
    /// 1,024, and some tens of KiB.
    pub peers_max: usize,
    /// ... with one address, or IPv6 /64, however many torrents it takes part in. Loopback and private
    /// addresses are exempt: many peers may be behind one of them.
    pub peers_per_address: usize,
    /// Dials under way, of all torrents together. Home routers of old track few half-open connections.
    pub dials_max: usize,
    /// Connections from elsewhere that have not said yet what they want. What comes beyond is closed at
    /// once, and its side will try again.
    pub half_open_max: usize,
    /// ... from one address. Many peers may share one behind a NAT, and a demonstration runs them all
    /// on one machine; a flood from one address still leaves room for others.
    pub half_open_per_address: usize,
}

impl Default for PeerLimits {
    fn default() -> Self {
        Self {
            peers_max: 800,
            peers_per_address: 64,
            dials_max: 100,
            half_open_max: 256,
            half_open_per_address: 64,
        }
    }
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// All places are taken, or this torrent has its part of what there is.
    Session,
    /// The address has as many as it may.
    Address,
}

impl From<Full> for io::Error {
    fn from(full: Full) -> Self {
        Self::other(match full {
            Full::Session => "no place: this session has as many connections as it may",
            Full::Address => "no place: this address has as many connections as it may",
        })
    }
}

/// What one torrent has.
#[derive(Debug)]
struct Part {
    count: usize,
    /// Places that it was asked to give back and has not yet.
    asked: usize,
    /// Where to say that room is needed; `None` if nothing can be let go.
    torrent: Option<UnboundedSender<Fact>>,
}

#[derive(Debug, Default)]
struct Counts {
    total: usize,
    addresses: HashMap<IpAddr, usize>,
    parts: BTreeMap<u64, Part>,
    next: u64,
}

/// The places of a session.
#[derive(Debug)]
pub(crate) struct Places {
    limits: PeerLimits,
    counts: Mutex<Counts>,
    dials: Arc<Semaphore>,
}

/// A torrent's seat at the table. Given back when dropped; places that it has are counted on.
#[derive(Debug)]
pub(crate) struct Member {
    all: Arc<Places>,
    key: u64,
}

/// A place of a connection. Given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    all: Arc<Places>,
    key: u64,
    network: IpAddr,
}

impl Places {
    pub(crate) fn new(limits: PeerLimits) -> Arc<Self> {
        Arc::new(Self {
            counts: Mutex::default(),
            dials: Arc::new(Semaphore::new(
                limits.dials_max.clamp(1, Semaphore::MAX_PERMITS),
            )),
            limits,
        })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A torrent, or something else that connects to peers, takes part.
    pub(crate) fn join(self: &Arc<Self>, torrent: Option<UnboundedSender<Fact>>) -> Member {
        let mut counts = self.counts();
        let key = counts.next;
        counts.next += 1;
        counts.parts.insert(
            key,
            Part {
                count: 0,
                asked: 0,
                torrent,
            },
        );
        Member {
            all: Arc::clone(self),
            key,
        }
    }
}

impl Counts {
    fn of(&self, key: u64) -> usize {
        self.parts.get(&key).map_or(0, |part| part.count)
    }

    /// The torrent that has most is told to let one go, if it has more than its part.
    fn make_room(&mut self, part: usize) {
        let can = self.parts.values_mut().filter(|one| one.torrent.is_some());
        let most = can.max_by_key(|one| one.count.saturating_sub(one.asked));
        if let Some(most) = most
            && most.count.saturating_sub(most.asked) > part
            && let Some(torrent) = &most.torrent
        {
            most.asked += 1;
            let _ = torrent.send(Fact::Say(Input::MakeRoom));
        }
    }
}

impl Member {
    /// A place for a connection with `ip`.
    pub(crate) fn enter(&self, ip: IpAddr) -> Result<Place, Full> {
        let limits = &self.all.limits;
        let mut counts = self.all.counts();
        let network = network(ip);
        let here = counts.addresses.get(&network).copied().unwrap_or(0);
        if here >= limits.peers_per_address && !is_shared(ip) {
            return Err(Full::Address);
        }
        let part = (limits.peers_max / counts.parts.len().max(1)).max(1);
        let plenty = limits.peers_max - limits.peers_max.div_ceil(16);
        // One torrent alone has all of it.
        let less = counts.of(self.key) < part;
        let most = if less { limits.peers_max } else { plenty };
        if less && counts.total >= plenty {
            counts.make_room(part);
        }
        if counts.total >= most {
            return Err(Full::Session);
        }
        counts.total += 1;
        counts.addresses.insert(network, here + 1);
        if let Some(own) = counts.parts.get_mut(&self.key) {
            own.count += 1;
        }
        Ok(Place {
            all: Arc::clone(&self.all),
            key: self.key,
            network,
        })
    }

    /// It has ended: the others share what it had.
    pub(crate) fn leave(&self) {
        self.all.counts().parts.remove(&self.key);
    }

    /// Waits until one more may be dialled. First come, first served.
    pub(crate) async fn may_dial(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.all.dials).acquire_owned().await.ok()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.all.counts();
        counts.total -= 1;
        if let Some(own) = counts.parts.get_mut(&self.key) {
            own.count -= 1;
            own.asked = own.asked.saturating_sub(1);
        }
        if let Some(count) = counts.addresses.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                counts.addresses.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    fn places(peers_max: usize) -> Arc<Places> {
        Places::new(PeerLimits {
            peers_max,
            peers_per_address: 3,
            ..PeerLimits::default()
        })
    }

    fn torrent(all: &Arc<Places>) -> (Member, UnboundedReceiver<Fact>) {
        let (sender, receiver) = unbounded_channel();
        (all.join(Some(sender)), receiver)
    }

    fn ip(n: usize) -> IpAddr {
        IpAddr::from((0x0800_0000 + n as u32).to_be_bytes())
    }

    fn calls(receiver: &mut UnboundedReceiver<Fact>) -> usize {
        let mut count = 0;
        while let Ok(Fact::Say(Input::MakeRoom)) = receiver.try_recv() {
            count += 1;
        }
        count
    }

    #[test]
    fn one_torrent_alone_may_have_every_place_and_no_more() {
        let all = places(32);
        let (only, mut told) = torrent(&all);
        let held: Vec<_> = (0..100).map_while(|n| only.enter(ip(n)).ok()).collect();
        assert_eq!(held.len(), 32);
        drop(held);
        assert_eq!(calls(&mut told), 0, "nobody needs its places");
        assert!(only.enter(ip(1)).is_ok());
    }

    #[test]
    fn attack_21_an_address_has_so_many_places_over_all_torrents() {
        let all = places(100);
        let members: Vec<_> = (0..9).map(|_| torrent(&all)).collect();
        let enter = |ip: &str| -> Vec<_> {
            let ip: IpAddr = ip.parse().expect("valid");
            let tries = members.iter().map(|(member, _)| member.enter(ip));
            tries.filter_map(Result::ok).collect()
        };
        let held = enter("8.1.2.3");
        assert_eq!(held.len(), 3);
        assert_eq!(members[0].0.enter(ip(9)).map(drop), Ok(()));
        // An IPv6 /64 is one host; a private address may be many.
        let first = enter("2a00::1");
        assert_eq!((first.len(), enter("2a00::2:1").len()), (3, 0));
        assert_eq!(enter("192.168.1.2").len(), 9);
        drop(held);
        assert_eq!(enter("8.1.2.3").len(), 3);
    }

    /// A torrent that comes late to a full session gets its part, as fast as the first lets go.
    #[test]
    fn who_has_less_than_its_part_gets_it_from_who_has_more() {
        let all = places(64);
        let (rich, mut rich_told) = torrent(&all);
        let mut rich_holds: Vec<_> = (0..64).map_while(|n| rich.enter(ip(n)).ok()).collect();
        let (poor, mut poor_told) = torrent(&all);
        let mut poor_holds = Vec::new();
        for n in 100..400 {
            poor_holds.extend(poor.enter(ip(n)).ok());
            for _ in 0..calls(&mut rich_told) {
                rich_holds.pop();
            }
            assert!(rich_holds.len() + poor_holds.len() <= 64);
            if rich_holds.len() >= 32 {
                assert_eq!(rich.enter(ip(n)).map(drop), Err(Full::Session));
            }
        }
        assert!(
            (28..=32).contains(&poor_holds.len()),
            "{}",
            poor_holds.len()
        );
        assert!(
            (28..=32).contains(&rich_holds.len()),
            "{}",
            rich_holds.len()
        );
        assert_eq!(calls(&mut poor_told), 0);
    }

    #[test]
    fn a_torrent_that_has_gone_leaves_its_part_to_the_others() {
        let all = places(32);
        let (gone, _) = torrent(&all);
        let held = gone.enter(ip(1)).expect("a place");
        drop(gone);
        let (stays, _) = torrent(&all);
        let mut others = Vec::new();
        others.extend((2..100).map_while(|n| stays.enter(ip(n)).ok()));
        assert_eq!(others.len(), 31);
        drop(held);
        assert!(stays.enter(ip(200)).is_ok());
    }

    #[tokio::test]
    async fn dials_wait_for_their_turn() {
        let all = Places::new(PeerLimits {
            dials_max: 2,
            ..PeerLimits::default()
        });
        let (one, _) = torrent(&all);
        let (other, _) = torrent(&all);
        let (first, _second) = (one.may_dial().await, one.may_dial().await);
        let mut waits = Box::pin(one.may_dial());
        let mut waits_too = Box::pin(other.may_dial());
        assert!(futures_ready(&mut waits).await.is_none());
        assert!(futures_ready(&mut waits_too).await.is_none());
        drop(first);
        let third = futures_ready(&mut waits)
            .await
            .expect("its turn")
            .expect("open");
        assert!(futures_ready(&mut waits_too).await.is_none());
        drop(third);
        assert!(futures_ready(&mut waits_too).await.is_some());
    }

    /// What a future gives if it is asked once.
    async fn futures_ready<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        std::future::poll_fn(|context| {
            use std::task::Poll;
            Poll::Ready(match std::pin::Pin::new(&mut *future).poll(context) {
                Poll::Ready(out) => Some(out),
                Poll::Pending => None,
            })
        })
        .await
    }
}

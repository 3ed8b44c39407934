//! A host: an unmodified engine, the disk below it, and the network keys above it.

mod disk;

pub use disk::{Disk, DiskDone, digest};

use crate::net::FlowId;
use crate::scenario::HostSpec;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use samara_engine::rng::Rng;
use samara_engine::{
    Config, Deadline, Duration, Input, Instant, Outputs, PeerKey, SeedGoal, Snapshot, Spec, Torrent,
};
use samara_proto::{Bitfield, PeerId};
use std::collections::VecDeque;
use std::sync::Arc;

/// Port that every host listens on; they differ by address.
const PORT: u16 = 6881;

/// Most hosts of a world: what fits the addresses 10.0.0.0/8.
pub const HOSTS_MAX: usize = 1 << 23;

/// What decides: the engine, or in tests an engine with something wrong in it.
pub trait Brain: fmt::Debug {
    /// See [`Torrent::handle`].
    fn handle(&mut self, now: Instant, input: Input, out: &mut Outputs);
    /// See [`Torrent::deadline`].
    fn deadline(&self) -> Deadline;
    /// See [`Torrent::snapshot`].
    fn snapshot(&self, now: Instant) -> Snapshot;
}

impl Brain for Torrent {
    fn handle(&mut self, now: Instant, input: Input, out: &mut Outputs) {
        Self::handle(self, now, input, out);
    }

    fn deadline(&self) -> Deadline {
        Self::deadline(self)
    }

    fn snapshot(&self, now: Instant) -> Snapshot {
        Self::snapshot(self, now)
    }
}

/// Makes the brain of a host.
pub type Maker = dyn FnMut(u32, Spec, Arc<Config>, Instant) -> Box<dyn Brain>;

/// Where a host is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Not started yet, or between a crash and the restart.
    Away,
    /// Running.
    Here,
    /// Left for good.
    Left,
}

/// A host of the world.
#[derive(Debug)]
pub struct Host {
    /// What it was made from.
    pub spec: HostSpec,
    /// Where it listens.
    pub addr: SocketAddr,
    /// What it calls itself.
    pub peer_id: PeerId,
    /// Where it is in its life.
    pub life: Life,
    /// How often it was started; events of an earlier life are void.
    pub starts: u32,
    /// What decides for it, while it is here.
    pub brain: Option<Box<dyn Brain>>,
    /// Own sending flow by peer key; `None` once the connection is gone.
    pub peers: Vec<Option<FlowId>>,
    /// Its disk.
    pub disk: Disk,
    /// Pieces in its journal: what a restart begins with.
    pub journal: Bitfield,
    /// When the next tick is due.
    pub tick: Instant,
    /// When its present life began.
    pub joined: Instant,
    /// How long it was here in the lives before.
    pub was_here: Duration,
    /// When it had everything, checked.
    pub finished: Option<Instant>,
    /// Whether its files were checked.
    pub checked: bool,
    /// Payload handed to the network in all lives, bytes.
    pub sent: u64,
    /// Counts the blocks that it sent: corruptors go by it.
    pub blocks_sent: u32,
    /// Moments at which it had one more piece.
    pub pieces_at: Vec<Instant>,
    /// Blocks held back by a slow loris.
    pub held_back: VecDeque<(FlowId, samara_proto::Span)>,
    /// Why it cannot finish, if it said so.
    pub gave_up: Option<String>,
    /// Addresses it banned.
    pub banned: Vec<SocketAddr>,
    /// Settings of its engine.
    pub settings: Arc<Config>,
}

impl Host {
    /// Host number `at`, not started yet.
    #[must_use]
    pub fn new(at: u32, spec: HostSpec, pieces: u32, config: &Config, rng: &mut Rng) -> Self {
        use crate::scenario::Leave;
        let mut id = *b"-Sa0100-............";
        for byte in id.iter_mut().skip(8) {
            *byte = b'a' + rng.below(26) as u8;
        }
        let mut settings = config.clone();
        settings.seed_goal = match spec.leaves {
            Leave::Never | Leave::AfterOneCopy => SeedGoal::Forever,
            Leave::After(stay) => SeedGoal::Time(stay),
            Leave::Everyone => SeedGoal::Everyone,
            Leave::WhenComplete => SeedGoal::None,
        };
        let mut journal = if spec.seed || spec.lacks.is_some() {
            Bitfield::full(pieces)
        } else {
            Bitfield::empty(pieces)
        };
        if let Some(piece) = spec.lacks {
            journal.clear(piece);
        }
        Self {
            addr: address(at),
            peer_id: PeerId(id),
            life: Life::Away,
            starts: 0,
            brain: None,
            peers: Vec::new(),
            disk: Disk::new(spec.disk),
            journal,
            tick: Instant::NEVER,
            joined: Instant::ZERO,
            was_here: Duration::ZERO,
            finished: None,
            checked: spec.seed,
            sent: 0,
            blocks_sent: 0,
            pieces_at: Vec::new(),
            held_back: VecDeque::new(),
            gave_up: None,
            banned: Vec::new(),
            settings: Arc::new(settings),
            spec,
        }
    }

    /// How long it has been here by `now`, in all lives.
    #[must_use]
    pub fn here(&self, now: Instant) -> Duration {
        match self.life {
            Life::Here => self.was_here + now.since(self.joined),
            Life::Away | Life::Left => self.was_here,
        }
    }

    /// The flow to a peer, while the connection is up.
    #[must_use]
    pub fn flow(&self, peer: PeerKey) -> Option<FlowId> {
        self.peers.get(peer.0 as usize).copied().flatten()
    }

    /// A key for a new connection.
    pub fn key_for(&mut self, flow: FlowId) -> PeerKey {
        self.peers.push(Some(flow));
        PeerKey(self.peers.len() as u32 - 1)
    }
}

/// Where host number `at` listens.
#[must_use]
pub fn address(at: u32) -> SocketAddr {
    let [_, b, c, d] = (at + 1).to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, b, c, d)), PORT)
}

/// Which host listens at `addr`.
#[must_use]
pub fn host_at(addr: SocketAddr) -> Option<u32> {
    match addr.ip() {
        IpAddr::V4(v4) if addr.port() == PORT => {
            let [ten, b, c, d] = v4.octets();
            let at = u32::from_be_bytes([0, b, c, d]);
            (ten == 10 && at > 0).then(|| at - 1)
        }
        _ => None,
    }
}

/// Where a connection of host `at` seems to come from: its address, and a port of the moment.
#[must_use]
pub fn source_of(at: u32, connection: u32) -> SocketAddr {
    SocketAddr::new(address(at).ip(), 32_768 + (connection % 28_000) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lead_back() {
        for at in [0, 1, 254, 255, 65_535, 100_000] {
            assert_eq!(host_at(address(at)), Some(at));
            assert_eq!(source_of(at, 7).ip(), address(at).ip());
        }
        assert_eq!(host_at(source_of(3, 1)), None);
    }
}

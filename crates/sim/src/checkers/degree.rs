//! Who is connected to whom at one moment: what the tracker's hand-out makes of a swarm.

use super::{Checker, Ledger, Seen, Sums};
use samara_engine::Instant;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// The connections of a swarm.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    peers: BTreeMap<u32, BTreeSet<u32>>,
}

impl Graph {
    /// Connections of each host that has one, fewest first.
    #[must_use]
    pub fn degrees(&self) -> Vec<usize> {
        let mut degrees: Vec<usize> = self.peers.values().map(BTreeSet::len).collect();
        degrees.sort_unstable();
        degrees
    }

    /// Hosts that `from` reaches in at most so many steps, itself included.
    #[must_use]
    pub fn within(&self, from: u32, steps: u32) -> usize {
        let mut reached = BTreeSet::from([from]);
        let mut edge = vec![from];
        for _ in 0..steps {
            let next = edge
                .iter()
                .filter_map(|host| self.peers.get(host))
                .flatten();
            let fresh = next.copied().filter(|host| !reached.contains(host));
            edge = fresh.collect();
            reached.extend(&edge);
        }
        reached.len()
    }

    /// Of all pairs of a host's peers, the part that is connected itself: in a random graph about the mean
    /// degree over the number of hosts, in cliques near 1.
    #[must_use]
    pub fn clustering(&self) -> f64 {
        let (mut pairs, mut closed) = (0u64, 0u64);
        for peers in self.peers.values() {
            let list: Vec<u32> = peers.iter().copied().collect();
            for (at, a) in list.iter().enumerate() {
                for b in &list[at + 1..] {
                    pairs += 1;
                    closed += u64::from(self.peers.get(a).is_some_and(|its| its.contains(b)));
                }
            }
        }
        closed as f64 / pairs.max(1) as f64
    }
}

/// Takes a picture of the connections at one moment.
#[derive(Debug)]
pub struct Degree {
    at: Instant,
    now: Graph,
    ends: BTreeMap<u32, (u32, u32)>,
    picture: Rc<RefCell<Option<Graph>>>,
}

impl Degree {
    /// A watcher, and where its picture will be: as it was at the first event after `at`.
    #[must_use]
    pub fn new(at: Instant) -> (Self, Rc<RefCell<Option<Graph>>>) {
        let picture = Rc::default();
        let watcher = Self {
            at,
            now: Graph::default(),
            ends: BTreeMap::new(),
            picture: Rc::clone(&picture),
        };
        (watcher, picture)
    }
}

impl Checker for Degree {
    fn name(&self) -> &'static str {
        "degree"
    }

    fn see(&mut self, now: Instant, seen: &Seen<'_>, _ledger: Option<&Ledger>) {
        if self.picture.borrow().is_some() {
            return;
        }
        if now >= self.at {
            *self.picture.borrow_mut() = Some(core::mem::take(&mut self.now));
            return;
        }
        match *seen {
            Seen::Up { flow, host, other } => {
                self.ends.insert(flow.0, (host, other));
                self.now.peers.entry(host).or_default().insert(other);
            }
            Seen::Down { flow } => {
                if let Some((host, other)) = self.ends.remove(&flow.0)
                    && let Some(peers) = self.now.peers.get_mut(&host)
                {
                    peers.remove(&other);
                }
            }
            _ => {}
        }
    }

    fn verdict(&mut self, _sums: &Sums) -> Vec<String> {
        Vec::new()
    }
}

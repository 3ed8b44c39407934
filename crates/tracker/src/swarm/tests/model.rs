//! Long random histories, told to the store and to a model that is too simple to be wrong.

use super::*;
use crate::swarm::Role;
use crate::swarm::rng::Rng;
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    role: Role,
    countable: bool,
}

/// Everything in one map, every question answered by a walk.
#[derive(Default)]
struct Model {
    peers: BTreeMap<SocketAddr, Known>,
    downloaded: u32,
    largest: u64,
}

impl Model {
    fn seeds(&self) -> usize {
        self.peers.values().filter(|p| p.role == Role::Seed).count()
    }

    /// Who may be told.
    fn announce(&mut self, a: &Announce) -> Vec<SocketAddr> {
        let addr = SocketAddr::new(a.source, a.port);
        let left = a.left.unwrap_or(0);
        if a.event == Event::Stopped {
            self.peers.remove(&addr);
            return Vec::new();
        }
        self.largest = self.largest.max(left);
        let before = self.peers.get(&addr).copied();
        let was_seed = before.is_some_and(|known| known.role == Role::Seed);
        let others_seed = self.seeds() > usize::from(was_seed);
        let begun = before.is_some_and(|known| known.role != Role::Waiting);
        let begun = begun && a.event != Event::Started;
        let role = if left == 0 {
            Role::Seed
        } else if begun || others_seed || a.downloaded > 0 || left < self.largest {
            Role::Leech
        } else {
            Role::Waiting
        };
        let mut countable = match before {
            Some(known) if a.event != Event::Started => known.countable,
            Some(known) => known.countable || left > 0,
            None => left > 0,
        };
        if left == 0 && a.event == Event::Completed && countable {
            countable = false;
            self.downloaded += 1;
        }
        self.peers.insert(addr, Known { role, countable });
        let seeds = self.seeds() > 0;
        let told = |other: &Known| match role {
            Role::Seed => other.role != Role::Seed,
            Role::Leech => seeds || other.role == Role::Leech,
            Role::Waiting => false,
        };
        let others = self.peers.iter().filter(|(other, _)| **other != addr);
        others.filter(|(_, k)| told(k)).map(|(at, _)| *at).collect()
    }
}

/// The announce that numbers make: few peers and addresses, so that they meet.
fn random(rng: &mut Rng) -> Announce {
    let n = rng.below(12);
    let addr = format!("50.0.0.{}:{}", rng.below(8), 1 + rng.below(3));
    let event = match rng.below(8) {
        0 | 1 => Event::Started,
        2 | 3 => Event::Completed,
        4 => Event::Stopped,
        _ => Event::None,
    };
    Announce {
        downloaded: u64::from(rng.below(6) == 0),
        left: Some([0, 50, 100, 100, 100][rng.below(5) as usize]),
        event,
        numwant: Some([0, 1, 3, 200][rng.below(4) as usize]),
        ..on(leech(n), &addr)
    }
}

#[test]
fn the_store_agrees_with_the_model() {
    for history in 0..300 {
        let mut rng = Rng::new(history);
        let mut store = Store::new(Config::default(), history);
        let mut model = Model::default();
        for step in 0..120 {
            let announce = random(&mut rng);
            let may = model.announce(&announce);
            let reply = store.announce(step, &announce).expect("answered");
            store.check();
            let at = format!("history {history}, step {step}: {announce:?}");
            let mut told = reply.peers.clone();
            told.sort();
            told.dedup();
            assert_eq!(told.len(), reply.peers.len(), "somebody twice, {at}");
            assert!(told.iter().all(|peer| may.contains(peer)), "{at}");
            if announce.event != Event::Stopped {
                let want = announce.numwant.unwrap_or(50) as usize;
                assert_eq!(told.len(), may.len().min(want), "{at}");
            }
            let stats = store.swarm(HASH).unwrap_or_default();
            assert_eq!(stats.seeds as usize, model.seeds(), "{at}");
            assert_eq!(
                (stats.seeds + stats.leeches) as usize,
                model.peers.len(),
                "{at}"
            );
            assert_eq!(stats.downloaded, model.downloaded, "{at}");
        }
    }
}

/// Families, clocks, limits and expiry thrown in: no agreement to check, only the store's own books.
#[test]
fn no_history_breaks_the_books() {
    for history in 0..100 {
        let mut rng = Rng::new(history);
        let config = Config {
            max_torrents: 3,
            max_peers: 12,
            max_peers_per_torrent: 6,
            max_peers_per_address: 2,
            allow_seedless: history % 2 == 0,
            ..Config::default()
        };
        let mut store = Store::new(config, history);
        let mut now = 0;
        for _ in 0..200 {
            now += u64::from(rng.below(60_000));
            let mut announce = random(&mut rng);
            announce.info_hash = InfoHash([rng.below(5) as u8; 20]);
            let six = format!("[2a00::{}]:{}", rng.below(6), 1 + rng.below(2));
            match rng.below(4) {
                0 => announce = on(announce, &six),
                1 => announce.also = Some(addr(&six)),
                _ => {}
            }
            if rng.below(4) == 0 {
                announce.left = None;
            }
            let own = SocketAddr::new(announce.source, announce.port);
            if let Ok(reply) = store.announce(now, &announce) {
                assert!(!reply.peers.contains(&own));
            }
            if rng.below(3) == 0 {
                store.expire(now);
            }
            store.check();
        }
    }
}

#[test]
fn the_same_calls_have_the_same_answers() {
    let run = |seed: u64| {
        let mut rng = Rng::new(5);
        let mut store = Store::new(Config::default(), seed);
        let mut out = Vec::new();
        for step in 0..5_000_u64 {
            let mut announce = random(&mut rng);
            announce.peer_id.0[0] = rng.below(200) as u8;
            announce.port = 1 + rng.below(300) as u16;
            out.push(store.announce(step * 50, &announce));
            if step.is_multiple_of(20) {
                store.expire(step * 50);
            }
        }
        out
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

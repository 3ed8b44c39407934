//! The tracker's membership table: histories, and what is put back from a snapshot.

use arbitrary::{Result, Unstructured};
use samara_proto::tracker::Event;
use samara_proto::{InfoHash, PeerId};
use samara_tracker::swarm::{Announce, Config, Elsewhere, Role, SavedSwarm, Store};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Steps of one history; what follows is not looked at.
const STEPS: usize = 400;

/// Everything in one map: too simple to be wrong. Holds while nothing is forgotten or evicted.
#[derive(Default)]
struct Model {
    /// Members, and whether they are seeds.
    swarms: BTreeMap<InfoHash, BTreeMap<SocketAddr, bool>>,
}

impl Model {
    fn told(&mut self, announce: &Announce) {
        let addr = SocketAddr::new(announce.source, announce.port);
        let swarm = self.swarms.entry(announce.info_hash).or_default();
        if announce.event == Event::Stopped {
            swarm.remove(&addr);
        } else {
            let unknown = announce.left.is_none() && announce.event == Event::Completed;
            swarm.insert(addr, announce.left == Some(0) || unknown);
        }
    }
}

fn source(u: &mut Unstructured<'_>) -> Result<IpAddr> {
    let n: u8 = u.arbitrary()?;
    Ok(match n % 8 {
        0..=3 => IpAddr::from([50, 0, 0, n]),
        4 | 5 => Ipv6Addr::from([0x2a00, 0, 0, u16::from(n), 0, 0, 0, 1]).into(),
        6 => IpAddr::from([10, 0, 0, n]),
        _ => IpAddr::from(u.arbitrary::<[u8; 4]>()?),
    })
}

fn announce(u: &mut Unstructured<'_>) -> Result<Announce> {
    let event = match u.arbitrary::<u8>()? % 8 {
        0 | 1 => Event::Started,
        2 => Event::Completed,
        3 => Event::Stopped,
        4 => Event::Paused,
        _ => Event::None,
    };
    let also = match u.arbitrary::<u8>()? {
        0..=31 => Some(SocketAddr::new(source(u)?, 1)),
        _ => None,
    };
    Ok(Announce {
        info_hash: InfoHash([u.arbitrary::<u8>()? % 5; 20]),
        peer_id: PeerId([u.arbitrary::<u8>()? % 16; 20]),
        key: None,
        source: source(u)?,
        port: 1 + u16::from(u.arbitrary::<u8>()? % 4),
        also,
        downloaded: u64::from(u.arbitrary::<bool>()?),
        left: match u.arbitrary::<u8>()? % 8 {
            0 | 1 => Some(0),
            2 => None,
            3 => Some(u.arbitrary()?),
            n => Some(u64::from(n) * 1000),
        },
        size: u.arbitrary::<bool>()?.then_some(7000),
        event,
        numwant: [None, Some(0), Some(3), Some(u32::MAX)][usize::from(u.arbitrary::<u8>()? % 4)],
    })
}

/// Nobody is told of itself, of somebody twice, or of more than it may be; counts agree with the model as
/// long as nothing makes room or is overdue, and with the store's own books always.
pub fn history(data: &[u8]) {
    let _ = run(&mut Unstructured::new(data));
}

fn run(u: &mut Unstructured<'_>) -> Result<()> {
    let tight = u.arbitrary::<bool>()?;
    let roomy = Config {
        allow_seedless: u.arbitrary()?,
        ..Config::default()
    };
    let config = if tight {
        Config {
            max_torrents: 3,
            max_peers: 12,
            max_peers_per_torrent: 6,
            max_peers_per_address: 2,
            registered_only: u.arbitrary()?,
            ..roomy
        }
    } else {
        roomy
    };
    let mut store = Store::new(config.clone(), u64::from(u.arbitrary::<u8>()?));
    let mut model = Model::default();
    let (mut now, mut exact, mut registered) = (0, !tight, BTreeSet::new());
    for _ in 0..STEPS {
        if u.is_empty() {
            break;
        }
        match u.arbitrary::<u8>()? % 16 {
            0 => {
                now += u64::from(u.arbitrary::<u32>()? % 4_000_000);
                store.expire(now);
                exact &= now < 10_000;
            }
            1 => {
                let hash = InfoHash([u.arbitrary::<u8>()? % 5; 20]);
                registered.insert(hash);
                store.register(now, hash, Some(7000));
            }
            2 => {
                let _ = store.expire_part(now, usize::from(u.arbitrary::<u8>()?));
            }
            3 => {
                let hashes = [InfoHash([u.arbitrary::<u8>()? % 5; 20]); 2];
                assert!(store.scrape(&hashes).files.len() <= 2);
            }
            _ => {
                now += u64::from(u.arbitrary::<u8>()?);
                let announce = announce(u)?;
                step(&mut store, &config, now, &announce);
                // A second address is a second member; what cannot be connected to is none.
                let odd = announce.source.is_multicast() || announce.source.is_unspecified();
                exact &=
                    announce.also.is_none() && !odd && announce.source != IpAddr::from([255; 4]);
                model.told(&announce);
            }
        }
        // What the operator registers is not counted against strangers.
        let swarms = config.max_torrents + registered.len();
        let peers = config.max_peers + registered.len();
        books(&store, (swarms, peers), exact.then_some(&model));
    }
    Ok(())
}

fn step(store: &mut Store, config: &Config, now: u64, announce: &Announce) {
    let own = SocketAddr::new(announce.source, announce.port);
    let Ok(reply) = store.announce(now, announce) else {
        return;
    };
    let most = announce.numwant.unwrap_or(config.default_numwant);
    let most = most.min(config.max_numwant) as usize;
    let told: BTreeSet<_> = reply.peers.iter().collect();
    assert_eq!(told.len(), reply.peers.len(), "somebody twice");
    assert!(!told.contains(&own), "told of itself");
    assert!(reply.peers.len() <= most, "more than wanted");
    assert!(reply.interval > 0);
    if announce.event == Event::Stopped {
        assert!(reply.peers.is_empty());
    }
    let members = store.peers(announce.info_hash);
    let members: BTreeSet<_> = members.iter().map(|peer| peer.addr).collect();
    let known = told.iter().all(|peer| members.contains(peer));
    assert!(known, "told of a stranger");
}

fn books(store: &Store, (swarms, peers): (usize, usize), model: Option<&Model>) {
    #[cfg(fuzzing)]
    store.check();
    let stats = store.stats();
    assert!(
        stats.swarms <= swarms as u64,
        "more swarms than are allowed"
    );
    let here = stats.seeds + stats.leeches;
    assert!(here <= peers as u64, "more peers than are allowed");
    let Some(model) = model else { return };
    for (hash, known) in &model.swarms {
        let peers = store.peers(*hash);
        let here: BTreeMap<SocketAddr, bool> = peers
            .iter()
            .map(|peer| (peer.addr, peer.role == Role::Seed))
            .collect();
        assert_eq!(&here, known);
    }
}

/// The first bytes are times; the rest is what a file holds that says it is a snapshot. What comes back
/// keeps the limits, and is the same when it is saved and put back again.
pub fn snapshot(data: &[u8]) {
    let Some((&[age, tight], mut rest)) = data.split_first_chunk::<2>() else {
        return;
    };
    let config = if tight & 1 == 0 {
        Config::default()
    } else {
        Config {
            max_torrents: 2,
            max_peers: 5,
            max_peers_per_torrent: 3,
            ..Config::default()
        }
    };
    let now = 100_000_000;
    let limits = (config.max_torrents, config.max_peers);
    let mut store = Store::new(config.clone(), 1);
    let mut hashes = BTreeSet::new();
    while let Some(swarm) = SavedSwarm::read(&mut rest) {
        hashes.insert(swarm.info_hash);
        store.restore(now, u64::from(age) * 1000, &swarm, Elsewhere::default());
        books(&store, limits, None);
    }
    let mut saved = Vec::new();
    store.save(now, &mut saved);
    let mut again = Store::new(config, 2);
    let mut rest = saved.as_slice();
    while let Some(swarm) = SavedSwarm::read(&mut rest) {
        again.restore(now, 0, &swarm, Elsewhere::default());
    }
    assert!(rest.is_empty(), "what was saved can be read");
    books(&again, limits, None);
    for hash in hashes {
        let members = |store: &Store| {
            let peers = store.peers(hash);
            let members = peers.iter().map(|peer| (peer.addr, peer.role as u8));
            members.collect::<BTreeSet<_>>()
        };
        assert_eq!(members(&again), members(&store));
    }
    store.expire(now + 200_000_000);
    books(&store, limits, None);
}

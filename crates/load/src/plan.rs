//! Who asks what: peers, their torrents, and the mix of questions.

use samara_proto::tracker::Event;
use samara_proto::{InfoHash, PeerId};

/// What the load is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mix {
    /// Peers that there are.
    pub(crate) peers: u32,
    /// Torrents that there are.
    pub(crate) torrents: u32,
    /// Exponent of the popularity of torrents (Zipf's law); 0: all alike.
    pub(crate) zipf: f64,
    /// Share of peers that have everything.
    pub(crate) seeds: f64,
    /// Share of questions that are scrapes.
    pub(crate) scrapes: f64,
    /// Share of announces with which a peer leaves; another one comes in its place.
    pub(crate) churn: f64,
    /// Share of packets with a connection id that was not given to their address.
    pub(crate) forged: f64,
    /// Share of packets that are cut short or nonsense.
    pub(crate) malformed: f64,
}

/// Swarms of one scrape.
pub(crate) const SCRAPED: usize = 10;

/// One question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// A peer announces.
    Announce(Peer),
    /// Somebody asks for counts.
    Scrape([InfoHash; SCRAPED]),
    /// An announce under an id of somebody else.
    Forged(Peer),
    /// Not a request.
    Malformed,
}

/// What a peer says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Its number: it always asks from the same address.
    pub(crate) number: u32,
    /// Its swarm.
    pub(crate) info_hash: InfoHash,
    /// Its name, of this life.
    pub(crate) peer_id: PeerId,
    /// Its port, of this life.
    pub(crate) port: u16,
    /// Bytes it lacks.
    pub(crate) left: u64,
    /// Why it announces.
    pub(crate) event: Event,
}

/// A fast generator (splitmix64, Steele et al. 2014); nothing here is secret.
#[derive(Clone, Debug)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    /// 64 bits.
    pub(crate) fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        scramble(self.0)
    }

    /// Between 0 and 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.word() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Below `limit`.
    pub(crate) fn below(&mut self, limit: u32) -> u32 {
        (((self.word() >> 32) * u64::from(limit)) >> 32) as u32
    }
}

fn scramble(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// Draws questions.
#[derive(Debug)]
pub(crate) struct Plan {
    mix: Mix,
    rng: Rng,
    /// Torrent of each peer.
    torrents: Vec<u32>,
    /// How many lives each peer's place has had, twice; odd: it is about to come again.
    lives: Vec<u8>,
    /// Peers that have not come for the first time.
    to_come: u32,
}

impl Plan {
    /// The same seed gives the same questions.
    pub(crate) fn new(mix: Mix, seed: u64) -> Self {
        let mut rng = Rng(seed);
        let popularity = popularity(mix.torrents, mix.zipf);
        let torrents = (0..mix.peers).map(|_| {
            let at = rng.unit() * popularity.last().copied().unwrap_or(1.0);
            popularity.partition_point(|sum| *sum <= at) as u32
        });
        Self {
            torrents: torrents.collect(),
            lives: vec![0; mix.peers as usize],
            to_come: mix.peers,
            mix,
            rng,
        }
    }

    /// Whether every peer has come once.
    pub(crate) fn is_full(&self) -> bool {
        self.to_come == 0
    }

    /// The next question: first each peer comes, then the mix.
    pub(crate) fn next(&mut self) -> Question {
        if let Some(next) = self.to_come.checked_sub(1) {
            self.to_come = next;
            return Question::Announce(self.peer(next, Event::Started));
        }
        let draw = self.rng.unit();
        let number = self.rng.below(self.mix.peers);
        let mix = &self.mix;
        if draw < mix.malformed {
            return Question::Malformed;
        }
        if draw < mix.malformed + mix.forged {
            return Question::Forged(self.peer(number, Event::None));
        }
        if draw < mix.malformed + mix.forged + mix.scrapes {
            let torrents = mix.torrents;
            return Question::Scrape(std::array::from_fn(|_| hash(self.rng.below(torrents))));
        }
        let leaves = self.rng.unit() < self.mix.churn;
        let event = match self.lives[number as usize] % 2 {
            1 => Event::Started,
            _ if leaves => Event::Stopped,
            _ => Event::None,
        };
        let peer = self.peer(number, event);
        if event != Event::None {
            let life = &mut self.lives[number as usize];
            *life = life.wrapping_add(1);
        }
        Question::Announce(peer)
    }

    fn peer(&self, number: u32, event: Event) -> Peer {
        let life = match (self.lives[number as usize], event) {
            // Who comes again is somebody else.
            (life, Event::Started) => life.wrapping_add(1) / 2,
            (life, _) => life / 2,
        };
        let who = scramble((u64::from(number) << 8) | u64::from(life));
        let mut peer_id = *b"-LD0100-............";
        peer_id[8..16].copy_from_slice(&who.to_be_bytes());
        let is_seed = Rng(u64::from(number)).unit() < self.mix.seeds;
        Peer {
            number,
            info_hash: hash(self.torrents[number as usize]),
            peer_id: PeerId(peer_id),
            // Not below 1024, and above the few that trackers do not like.
            port: 10_000 + (who % 50_000) as u16,
            left: if is_seed { 0 } else { 1 << 20 },
            event,
        }
    }
}

/// The sums of the torrents' shares: a draw below the n-th sum and not below the one before is the n-th.
fn popularity(torrents: u32, exponent: f64) -> Vec<f64> {
    let mut sum = 0.0;
    let share = |n: u32| f64::from(n).powf(-exponent);
    (1..=torrents)
        .map(|n| {
            sum += share(n);
            sum
        })
        .collect()
}

fn hash(torrent: u32) -> InfoHash {
    let mut out = [0; 20];
    let mut rng = Rng(u64::from(torrent) << 20);
    for part in out.chunks_mut(8) {
        part.copy_from_slice(&rng.word().to_be_bytes()[..part.len()]);
    }
    InfoHash(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const MIX: Mix = Mix {
        peers: 2_000,
        torrents: 500,
        zipf: 1.0,
        seeds: 0.75,
        scrapes: 0.1,
        churn: 0.5,
        forged: 0.1,
        malformed: 0.1,
    };

    #[test]
    fn everybody_comes_once_and_then_the_shares_are_right() {
        let mut plan = Plan::new(MIX, 1);
        let mut seen = BTreeMap::new();
        let mut seeds = 0;
        while !plan.is_full() {
            let Question::Announce(peer) = plan.next() else {
                panic!("they come first");
            };
            assert_eq!(peer.event, Event::Started);
            seeds += u32::from(peer.left == 0);
            assert_eq!(seen.insert(peer.number, peer.peer_id), None);
        }
        assert_eq!(seen.len(), 2_000);
        assert!((1_400..1_600).contains(&seeds), "{seeds}");
        let mut kinds = [0; 4];
        for _ in 0..20_000 {
            kinds[match plan.next() {
                Question::Announce(_) => 0,
                Question::Scrape(_) => 1,
                Question::Forged(_) => 2,
                Question::Malformed => 3,
            }] += 1;
        }
        assert!((13_500..14_500).contains(&kinds[0]), "{kinds:?}");
        let others = kinds[1..].iter();
        assert!(
            others.copied().all(|n| (1_800..2_200).contains(&n)),
            "{kinds:?}"
        );
    }

    #[test]
    fn who_leaves_comes_again_as_somebody_else() {
        let mut plan = Plan::new(MIX, 2);
        let mut there: BTreeMap<u32, PeerId> = BTreeMap::new();
        let mut names = 0;
        for _ in 0..50_000 {
            let Question::Announce(peer) = plan.next() else {
                continue;
            };
            match peer.event {
                Event::Started => {
                    assert_eq!(there.insert(peer.number, peer.peer_id), None);
                    names += 1;
                }
                Event::Stopped => assert_eq!(there.remove(&peer.number), Some(peer.peer_id)),
                _ => assert_eq!(there.get(&peer.number), Some(&peer.peer_id)),
            }
        }
        assert!(names > 5_000, "{names}");
    }

    #[test]
    fn popularity_follows_zipf() {
        let many = Mix {
            peers: 200_000,
            ..MIX
        };
        let plan = Plan::new(many, 3);
        let count = |n| {
            plan.torrents
                .iter()
                .filter(|torrent| **torrent == n)
                .count() as f64
        };
        let ratio = count(0) / count(9);
        assert!((8.0..12.0).contains(&ratio), "{ratio}");
        assert!(plan.torrents.iter().all(|torrent| *torrent < 500));
    }
}

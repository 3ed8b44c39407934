//! One swarm: a cache line, and what hangs on it once it has more than a few peers.

use super::answer::Sink;
use super::config::Config;
use super::pool::{Audience, Counts, Heap, Inline, Pool};
use super::record::{Four, Meta, Record, Role, Scope, Six, Tick};
use super::rng::Rng;
use super::slab::Slab;
use crate::sys::prefetch::prefetch;
use samara_proto::InfoHash;
use std::net::{IpAddr, SocketAddr};

/// A moment in tenths of a second; 32 bits are 13 years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tenth(u32);

impl Tenth {
    pub(super) fn at(now: u64) -> Self {
        Self(u32::try_from(now / 100).unwrap_or(u32::MAX))
    }

    /// Milliseconds since.
    pub(super) fn age(self, now: u64) -> u64 {
        now.saturating_sub(u64::from(self.0) * 100)
    }
}

/// A number of bytes in 32 bits: exact below 64 MiB, to one part in 33 million above. Larger numbers
/// never become smaller ones, so that comparing what was packed is right but for that.
pub(super) fn pack(bytes: u64) -> u32 {
    let shift = (64 - bytes.leading_zeros()).saturating_sub(26);
    shift << 26 | (bytes >> shift) as u32
}

/// Peers that a swarm holds in itself.
const IPV4_INLINE: usize = 3;
const IPV6_INLINE: usize = 1;

#[derive(Clone, Debug)]
enum Peers {
    Fours(Inline<Four, IPV4_INLINE>),
    Sixes(Inline<Six, IPV6_INLINE>),
    /// Number of its [`Large`].
    Large(u32),
}

/// The peers of a swarm of more than a few.
#[derive(Clone, Debug, Default)]
pub(super) struct Large {
    v4: Heap<Four>,
    v6: Heap<Six>,
}

/// One swarm: 64 bytes, one cache line.
#[derive(Clone, Debug)]
pub(super) struct Swarm {
    pub(super) info_hash: InfoHash,
    /// Since when the membership has been as it is, roughly: see [`Swarm::changed`].
    calm_since: Tenth,
    /// When somebody last announced.
    pub(super) touched: Tenth,
    /// 30 bits of count, and two bits.
    downloaded: u32,
    /// Most that any peer has said is left, [`pack`]ed.
    pub(super) largest_left: u32,
    peers: Peers,
}

const _: () = assert!(size_of::<Option<Swarm>>() == 64);

const HAD_SEED: u32 = 1 << 31;
const REGISTERED: u32 = 1 << 30;

impl Swarm {
    pub(super) fn new(info_hash: InfoHash, now: u64) -> Self {
        Self {
            info_hash,
            calm_since: Tenth::at(now),
            touched: Tenth::at(now),
            downloaded: 0,
            largest_left: 0,
            peers: Peers::Fours(Inline::default()),
        }
    }

    pub(super) fn downloaded(&self) -> u32 {
        self.downloaded & (REGISTERED - 1)
    }

    pub(super) fn add_downloaded(&mut self, n: u32) {
        let sum = self.downloaded().saturating_add(n).min(REGISTERED - 1);
        self.downloaded = self.downloaded & (HAD_SEED | REGISTERED) | sum;
    }

    pub(super) fn had_seed(&self) -> bool {
        self.downloaded & HAD_SEED != 0
    }

    pub(super) fn set_had_seed(&mut self) {
        self.downloaded |= HAD_SEED;
    }

    pub(super) fn registered(&self) -> bool {
        self.downloaded & REGISTERED != 0
    }

    pub(super) fn set_registered(&mut self) {
        self.downloaded |= REGISTERED;
    }

    /// For how long the membership has been as it is, in milliseconds.
    pub(super) fn calm(&self, now: u64) -> u64 {
        self.calm_since.age(now)
    }

    pub(super) fn set_calm_since(&mut self, since: Tenth) {
        self.calm_since = since;
    }

    /// Notes that a peer has come, left or completed. The calm shrinks by that peer's share of a
    /// turnover: at once to nothing in a swarm of a few, little by little in a large one, where it
    /// comes to rest at the time that a quarter of the swarm takes to change.
    pub(super) fn changed(&mut self, now: u64, peers: u32, config: &Config) {
        let peers = u64::from(peers).max(config.turnover).max(1);
        let calm = self.calm(now);
        let share = u128::from(calm) * u128::from(config.turnover) / u128::from(peers);
        // Up to the next tenth: rounding down would let calm grow out of nothing.
        let since = (now - calm.saturating_sub(share as u64).min(now)).div_ceil(100);
        self.calm_since = Tenth::at(since * 100);
    }
}

/// A peer's address, of either family.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    Four(Four),
    Six(Six),
}

impl Place {
    pub(super) fn new(addr: SocketAddr) -> Self {
        match addr.ip() {
            IpAddr::V4(ip) => Self::Four(Four::new(ip, addr.port())),
            IpAddr::V6(ip) => Self::Six(Six::new(ip, addr.port())),
        }
    }

    fn is_six(&self) -> bool {
        matches!(self, Self::Six(_))
    }
}

/// A swarm and what hangs on it.
#[derive(Debug)]
pub(super) struct Members<'a> {
    pub(super) swarm: &'a mut Swarm,
    pub(super) larges: &'a mut Slab<Large>,
    /// Of the indexes.
    pub(super) key: u64,
}

/// Does the same with whichever pool a place belongs in; `$none` where there is no such pool.
macro_rules! with_pool {
    ($self:ident, $place:expr, |$pool:ident, $record:ident| $body:expr, $none:expr) => {
        match ($place, &mut $self.swarm.peers) {
            (Place::Four($record), Peers::Fours($pool)) => $body,
            (Place::Six($record), Peers::Sixes($pool)) => $body,
            (place, Peers::Large(number)) => match ($self.larges.get_mut(*number), place) {
                (Some(large), Place::Four($record)) => {
                    let $pool = &mut large.v4;
                    $body
                }
                (Some(large), Place::Six($record)) => {
                    let $pool = &mut large.v6;
                    $body
                }
                (None, _) => $none,
            },
            _ => $none,
        }
    };
}

/// Does the same with every pool there is.
macro_rules! each_pool {
    ($self:ident, |$pool:ident| $body:expr) => {
        match &mut $self.swarm.peers {
            Peers::Fours($pool) => $body,
            Peers::Sixes($pool) => $body,
            Peers::Large(number) => {
                if let Some(large) = $self.larges.get_mut(*number) {
                    {
                        let $pool = &mut large.v4;
                        $body
                    }
                    {
                        let $pool = &mut large.v6;
                        $body
                    }
                }
            }
        }
    };
}

impl Members<'_> {
    pub(super) fn counts(&self) -> Counts {
        counts(self.swarm, self.larges)
    }

    /// What a peer is, what is noted of it, and where it stands.
    pub(super) fn find(&mut self, place: &Place) -> Option<(Role, Meta, usize)> {
        let key = self.key;
        with_pool!(
            self,
            place,
            |pool, record| {
                let at = pool.find(record, key)?;
                let meta = pool.all().get(at)?.meta();
                Some((pool.bounds().role(at), meta, at))
            },
            None
        )
    }

    /// Adds a peer that is not there; where it stands.
    pub(super) fn insert(&mut self, place: &Place, role: Role) -> usize {
        let key = self.key;
        let fits = match (&mut self.swarm.peers, place) {
            (Peers::Fours(pool), Place::Four(record)) => pool.insert(*record, role, key),
            (Peers::Sixes(pool), Place::Six(record)) => pool.insert(*record, role, key),
            (Peers::Fours(pool), Place::Six(record)) if pool.all().is_empty() => {
                let mut pool = Inline::default();
                let at = pool.insert(*record, role, key);
                self.swarm.peers = Peers::Sixes(pool);
                at
            }
            (Peers::Sixes(pool), Place::Four(record)) if pool.all().is_empty() => {
                let mut pool = Inline::default();
                let at = pool.insert(*record, role, key);
                self.swarm.peers = Peers::Fours(pool);
                at
            }
            _ => None,
        };
        if let Some(at) = fits {
            return at;
        }
        self.enlarge();
        with_pool!(
            self,
            place,
            |pool, record| pool.insert(*record, role, key).unwrap_or(0),
            0
        )
    }

    fn enlarge(&mut self) {
        let mut large = Large::default();
        match &self.swarm.peers {
            Peers::Fours(pool) => large.v4.adopt(pool, self.key),
            Peers::Sixes(pool) => large.v6.adopt(pool, self.key),
            Peers::Large(_) => return,
        }
        self.swarm.peers = Peers::Large(self.larges.insert(large));
    }

    /// Back to the small form, with a margin so that a peer that comes and goes does not make
    /// memory come and go.
    fn settle(&mut self) {
        let Peers::Large(number) = self.swarm.peers else {
            return;
        };
        let Some(large) = self.larges.get(number) else {
            return;
        };
        if large.v6.all().is_empty() && large.v4.all().len() < IPV4_INLINE {
            let mut small = Inline::default();
            for (at, record) in large.v4.all().iter().enumerate() {
                small.insert(*record, large.v4.bounds().role(at), self.key);
            }
            self.swarm.peers = Peers::Fours(small);
            self.larges.remove(number);
        }
    }

    pub(super) fn remove(&mut self, place: &Place, at: usize) {
        let key = self.key;
        with_pool!(self, place, |pool, _record| pool.remove(at, key), ());
        self.settle();
    }

    pub(super) fn set_role(&mut self, place: &Place, at: usize, role: Role) -> usize {
        let key = self.key;
        with_pool!(
            self,
            place,
            |pool, _record| pool.set_role(at, role, key),
            at
        )
    }

    pub(super) fn set_meta(&mut self, place: &Place, at: usize, meta: Meta) {
        with_pool!(
            self,
            place,
            |pool, _record| {
                pool.set_paused(at, meta.paused());
                if let Some(record) = pool.all_mut().get_mut(at) {
                    record.set_meta(meta);
                }
            },
            ()
        );
    }

    /// Forgets who is overdue among `budget` peers of each family from a random place on, except one;
    /// how many.
    pub(super) fn expire_some(
        &mut self,
        now: u64,
        spared: &Place,
        budget: usize,
        rng: &mut Rng,
    ) -> u32 {
        let (tick, key) = (Tick::at(now), self.key);
        let mut gone = 0;
        // A large pool is looked at seldom, but then in one stretch: the same work in fewer misses.
        let seldom = rng.below(4) == 0;
        let mut from = |len: usize| match len {
            len if len <= budget => Some((0, budget)),
            len if seldom => {
                let budget = len.min(budget * 4);
                Some((rng.below((len - budget) as u32 + 1) as usize, budget))
            }
            _ => None,
        };
        let (four, six) = match spared {
            Place::Four(record) => (Some(record), None),
            Place::Six(record) => (None, Some(record)),
        };
        match &mut self.swarm.peers {
            Peers::Fours(pool) => gone += pool.expire(tick, 0, budget, four, key).0,
            Peers::Sixes(pool) => gone += pool.expire(tick, 0, budget, six, key).0,
            Peers::Large(number) => {
                if let Some(large) = self.larges.get_mut(*number) {
                    if let Some((start, budget)) = from(large.v4.all().len()) {
                        gone += large.v4.expire(tick, start, budget, four, key).0;
                    }
                    if let Some((start, budget)) = from(large.v6.all().len()) {
                        gone += large.v6.expire(tick, start, budget, six, key).0;
                    }
                }
            }
        }
        if gone > 0 {
            self.settle();
        }
        gone
    }

    /// Forgets who is overdue among `budget` peers from `from` on, the families one after the other.
    /// How many were looked at, how many went, and where to go on, `None` at the end.
    pub(super) fn expire(
        &mut self,
        now: u64,
        from: usize,
        budget: usize,
    ) -> (usize, u32, Option<usize>) {
        let (tick, key) = (Tick::at(now), self.key);
        let mut walk = Walk {
            budget,
            skip: from,
            ..Walk::default()
        };
        each_pool!(self, |pool| walk.on(pool, tick, key));
        let Walk {
            looked, gone, rest, ..
        } = walk;
        if gone > 0 && rest.is_none() {
            self.settle();
        }
        (looked, gone, rest)
    }

    /// Whether a newcomer at `place` would fit without anybody making room for it.
    pub(super) fn has_room(
        &mut self,
        now: u64,
        place: &Place,
        config: &Config,
        rng: &mut Rng,
    ) -> bool {
        let (tick, key) = (Tick::at(now), self.key);
        let limit = config.max_peers_per_address;
        let crowd = with_pool!(
            self,
            place,
            |pool, record| match record.scope() {
                Scope::Loopback => None,
                _ => pool.crowd(record, limit, tick, rng, key),
            },
            None
        );
        crowd.is_none() && (self.counts().all() as usize) < config.max_peers_per_torrent
    }

    /// Makes room for one more peer, if the limits ask for it or the tracker is `full`; how many had
    /// to go (0 to 2).
    pub(super) fn make_room(
        &mut self,
        now: u64,
        place: &Place,
        full: bool,
        config: &Config,
        rng: &mut Rng,
    ) -> u64 {
        let (tick, key) = (Tick::at(now), self.key);
        let mut evicted = 0;
        let limit = config.max_peers_per_address;
        let crowd = with_pool!(
            self,
            place,
            |pool, record| match record.scope() {
                Scope::Loopback => None,
                _ => pool.crowd(record, limit, tick, rng, key),
            },
            None
        );
        if let Some(at) = crowd {
            self.remove(place, at);
            evicted += 1;
        }
        let all = self.counts().all() as usize;
        if all >= config.max_peers_per_torrent || (full && evicted == 0 && all > 0) {
            let mut victim = None;
            // Of the newcomer's family if there is anybody, else of the other.
            let own = with_pool!(
                self,
                place,
                |pool, _record| pool
                    .stalest(tick, SAMPLES, rng)
                    .filter(|_| !pool.all().is_empty()),
                None
            );
            match own {
                Some(at) => self.remove(place, at),
                None => {
                    each_pool!(self, |pool| {
                        if victim.is_none() && !pool.all().is_empty() {
                            victim = pool.stalest(tick, SAMPLES, rng);
                            if let Some(at) = victim {
                                pool.remove(at, key);
                            }
                        }
                    });
                    self.settle();
                }
            }
            evicted += 1;
        }
        evicted
    }

    /// Tells `asker` of others: its own family first; the other gets a quarter, since an asker may
    /// well have both, and whatever the first does not fill. Over UDP there is room for one family
    /// only.
    pub(super) fn draw(&mut self, asker: &Asker, rng: &mut Rng, sink: &mut impl Sink) {
        let six = asker.place.is_six();
        let both = sink.takes_both();
        let (own, other) = (asker.own, asker.other);
        let (at4, at6) = if six { (other, own) } else { (own, other) };
        let mut want = Want::new(asker.want, six, both);
        let (audience, scope) = (asker.audience, asker.scope);
        match &self.swarm.peers {
            Peers::Fours(pool) => {
                want.split(|| pool.eligible(audience, scope, at4), || 0);
                pool.draw(audience, scope, at4, want.four, rng, |one| {
                    sink.v4(one.ip(), one.port());
                });
            }
            Peers::Sixes(pool) => {
                want.split(|| 0, || pool.eligible(audience, scope, at6));
                pool.draw(audience, scope, at6, want.six, rng, |one| {
                    sink.v6(one.ip(), one.port());
                });
            }
            Peers::Large(number) => {
                let Some(large) = self.larges.get(*number) else {
                    return;
                };
                want.split(
                    || large.v4.eligible(audience, scope, at4),
                    || large.v6.eligible(audience, scope, at6),
                );
                large.v4.draw(audience, scope, at4, want.four, rng, |one| {
                    sink.v4(one.ip(), one.port());
                });
                large.v6.draw(audience, scope, at6, want.six, rng, |one| {
                    sink.v6(one.ip(), one.port());
                });
            }
        }
    }
}

/// A walk over both families, one after the other, that may begin and end anywhere.
#[derive(Default)]
struct Walk {
    budget: usize,
    skip: usize,
    before: usize,
    looked: usize,
    gone: u32,
    rest: Option<usize>,
}

impl Walk {
    fn on<R: Record>(&mut self, pool: &mut impl Pool<R>, now: Tick, key: u64) {
        let len = pool.all().len();
        if self.rest.is_none() && self.skip < len {
            let budget = self.budget - self.looked;
            let (gone, stopped) = pool.expire(now, self.skip, budget, None, key);
            self.looked += (len - self.skip).min(budget);
            self.gone += gone;
            self.rest = stopped.map(|at| self.before + at);
        }
        self.skip = self.skip.saturating_sub(len);
        self.before += pool.all().len();
    }
}

/// How many of which family.
struct Want {
    all: usize,
    is_six: bool,
    both: bool,
    four: usize,
    six: usize,
}

impl Want {
    fn new(all: usize, is_six: bool, both: bool) -> Self {
        let (four, six) = if is_six { (0, all) } else { (all, 0) };
        Self {
            all,
            is_six,
            both,
            four,
            six,
        }
    }

    fn split(&mut self, four: impl Fn() -> usize, six: impl Fn() -> usize) {
        if !self.both {
            return;
        }
        let (own, other) = if self.is_six {
            (six(), four())
        } else {
            (four(), six())
        };
        let to_other = other.min(self.all / 4);
        let to_own = own.min(self.all - to_other);
        let to_other = other.min(self.all - to_own);
        (self.four, self.six) = if self.is_six {
            (to_other, to_own)
        } else {
            (to_own, to_other)
        };
    }
}

/// Peers looked at to find one that can make room.
pub(super) const SAMPLES: usize = 8;

/// What decides who somebody is told of.
#[derive(Debug)]
pub(super) struct Asker {
    pub(super) place: Place,
    /// Where it stands itself, and where its other half does.
    pub(super) own: Option<usize>,
    pub(super) other: Option<usize>,
    pub(super) scope: Scope,
    pub(super) audience: Audience,
    pub(super) want: usize,
}

pub(super) fn counts(swarm: &Swarm, larges: &Slab<Large>) -> Counts {
    match &swarm.peers {
        Peers::Fours(pool) => pool.counts(),
        Peers::Sixes(pool) => pool.counts(),
        Peers::Large(number) => larges.get(*number).map_or_else(Counts::default, |large| {
            large.v4.counts().plus(large.v6.counts())
        }),
    }
}

/// Asks for what hangs on a swarm; whether there is anything.
pub(super) fn prefetch_large(swarm: &Swarm, larges: &Slab<Large>) -> bool {
    if let Peers::Large(number) = swarm.peers
        && let Some(slot) = larges.slot(number)
    {
        prefetch(slot);
        return true;
    }
    false
}

/// Asks for where in a pool `place` is looked for: `first` for the index, if there is one, then for the
/// place. Whether there is more to ask for.
pub(super) fn prefetch_place(
    swarm: &Swarm,
    larges: &Slab<Large>,
    place: &Place,
    key: u64,
    first: bool,
) -> bool {
    if let Peers::Large(number) = swarm.peers
        && let Some(large) = larges.get(number)
    {
        return match place {
            Place::Four(record) => large.v4.prefetch(record, key, first),
            Place::Six(record) => large.v6.prefetch(record, key, first),
        };
    }
    false
}

/// Everybody in a swarm: address, role, and what is noted.
pub(super) fn everybody(
    swarm: &Swarm,
    larges: &Slab<Large>,
    mut see: impl FnMut(SocketAddr, Role, Meta),
) {
    fn walk<R: Record>(pool: &impl Pool<R>, see: &mut impl FnMut(SocketAddr, Role, Meta)) {
        for (at, record) in pool.all().iter().enumerate() {
            see(record.addr(), pool.bounds().role(at), record.meta());
        }
    }
    match &swarm.peers {
        Peers::Fours(pool) => walk(pool, &mut see),
        Peers::Sixes(pool) => walk(pool, &mut see),
        Peers::Large(number) => {
            if let Some(large) = larges.get(*number) {
                walk(&large.v4, &mut see);
                walk(&large.v6, &mut see);
            }
        }
    }
}

/// Lets go of what hangs on a swarm.
pub(super) fn release(swarm: &Swarm, larges: &mut Slab<Large>) {
    if let Peers::Large(number) = swarm.peers {
        larges.remove(number);
    }
}

#[cfg(any(test, fuzzing))]
pub(super) fn check(swarm: &Swarm, larges: &Slab<Large>, key: u64) {
    fn check<R: Record>(pool: &impl Pool<R>, key: u64) {
        for (at, record) in pool.all().iter().enumerate() {
            assert_eq!(
                pool.find(record, key),
                Some(at),
                "found elsewhere, or twice"
            );
            let seed = pool.bounds().role(at) == Role::Seed;
            assert!(!(seed && record.meta().paused()));
        }
        let paused = pool.all().iter().filter(|one| one.meta().paused()).count();
        let local = |one: &&R| one.scope() != Scope::Public;
        assert_eq!(pool.paused() as usize, paused);
        assert_eq!(
            pool.local() as usize,
            pool.all().iter().filter(local).count()
        );
        let bounds = pool.bounds();
        assert!(bounds.seeds <= bounds.begun && bounds.begun as usize <= pool.all().len());
    }
    match &swarm.peers {
        Peers::Fours(pool) => check(pool, key),
        Peers::Sixes(pool) => check(pool, key),
        Peers::Large(number) => {
            let large = larges.get(*number).expect("there");
            check(&large.v4, key);
            check(&large.v6, key);
            large.v4.check_index();
            large.v6.check_index();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_sizes_keep_their_order() {
        let mut last = 0;
        for bits in 0..60 {
            for add in [0, 1, 5, 1 << 12] {
                let packed = pack((1_u64 << bits) + add.min(1 << bits));
                assert!(packed >= last || add == 0 || bits < 13, "{bits} {add}");
                if add == 0 {
                    assert!(packed >= last);
                    last = packed;
                }
            }
        }
        assert_eq!(pack(0), 0);
        assert!(pack(1_000_000) > pack(999_999));
        // A terabyte, less two blocks.
        assert!(pack(1 << 40) > pack((1 << 40) - 32_768));
        assert!(pack(u64::MAX) > pack(u64::MAX >> 1));
    }
}

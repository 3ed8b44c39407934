//! The peers of one family in one swarm: an array, seeds first, then leeches, then those that wait.
//!
//! The counts are then two numbers, everybody who may be told to somebody is one range of the array,
//! and a fair choice costs as many steps as it has results. A change of role is one swap.
//!
//! Nearly every swarm has one or two peers, so that a pool comes in two sizes: [`Inline`] in the
//! swarm itself, and [`Heap`], which finds its peers by a table once it is worth one.

use super::index::Index;
use super::record::{Record, Role, Scope, Tick};
use super::rng::Rng;
use crate::sys::prefetch::prefetch;
use std::ops::Range;

/// Peers from which a pool has a table: below, a walk is faster.
const INDEX_FROM: usize = 24;

/// Peers looked at to find those of one host, where a pool is larger than that.
const HOST_LOOKS: usize = 4_096;

/// How many are what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Counts {
    pub(super) seeds: u32,
    pub(super) leeches: u32,
    pub(super) waiting: u32,
    /// Of the leeches, those that are paused (BEP 21).
    pub(super) paused: u32,
}

impl Counts {
    pub(super) fn all(&self) -> u32 {
        self.seeds + self.leeches + self.waiting
    }

    /// Whether everyone has all that it wants, and somebody is there.
    pub(super) fn is_complete(&self) -> bool {
        self.seeds > 0 && self.leeches + self.waiting == self.paused
    }

    /// Whether somebody wants it and nobody has it.
    pub(super) fn is_seedless(&self) -> bool {
        self.seeds == 0 && self.leeches + self.waiting > 0
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            seeds: self.seeds + other.seeds,
            leeches: self.leeches + other.leeches,
            waiting: self.waiting + other.waiting,
            paused: self.paused + other.paused,
        }
    }
}

/// Where seeds end, and where leeches that have begun end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Bounds {
    pub(super) seeds: u32,
    pub(super) begun: u32,
}

/// Who is at `from` goes into the hole, which is there then.
fn shift_one<R: Copy>(
    all: &mut [R],
    hole: &mut usize,
    from: usize,
    moved: &mut impl FnMut(&R, usize, usize),
) {
    if from != *hole
        && let Some(one) = all.get(from).copied()
        && let Some(place) = all.get_mut(*hole)
    {
        *place = one;
        moved(&one, from, *hole);
        *hole = from;
    }
}

impl Bounds {
    pub(super) fn role(self, at: usize) -> Role {
        if at < self.seeds as usize {
            Role::Seed
        } else if at < self.begun as usize {
            Role::Leech
        } else {
            Role::Waiting
        }
    }

    /// Room is made for one of `role` where the array has a free place at `len`; that is where it
    /// goes. `moved` hears of everybody who moves.
    fn open<R: Copy>(
        &mut self,
        all: &mut [R],
        len: usize,
        role: Role,
        mut moved: impl FnMut(&R, usize, usize),
    ) -> usize {
        let mut hole = len;
        let mut shift = |hole: &mut usize, from: u32| {
            shift_one(all, hole, from as usize, &mut moved);
        };
        if role != Role::Waiting {
            shift(&mut hole, self.begun);
            self.begun += 1;
        }
        if role == Role::Seed {
            shift(&mut hole, self.seeds);
            self.seeds += 1;
        }
        hole
    }

    /// The place at `at` is closed; the array's last place is free then.
    fn close<R: Copy>(
        &mut self,
        all: &mut [R],
        at: usize,
        mut moved: impl FnMut(&R, usize, usize),
    ) {
        let role = self.role(at);
        let mut hole = at;
        let last = all.len() - 1;
        let mut shift = |hole: &mut usize, from: usize| {
            shift_one(all, hole, from, &mut moved);
        };
        if role == Role::Seed {
            self.seeds -= 1;
            shift(&mut hole, self.seeds as usize);
        }
        if role != Role::Waiting {
            self.begun -= 1;
            shift(&mut hole, self.begun as usize);
        }
        shift(&mut hole, last);
    }

    /// The one at `at` becomes `role`; that is where it goes. `swapped` hears of every two that have
    /// changed places.
    fn change<R: Copy>(
        &mut self,
        all: &mut [R],
        mut at: usize,
        role: Role,
        mut swapped: impl FnMut(&[R], usize, usize),
    ) -> usize {
        let mut swap = |at: &mut usize, with: u32| {
            let with = with as usize;
            if *at != with {
                all.swap(*at, with);
                swapped(all, *at, with);
                *at = with;
            }
        };
        // Over one border at a time.
        while self.role(at) < role {
            if self.role(at) == Role::Seed {
                self.seeds -= 1;
                swap(&mut at, self.seeds);
            } else {
                self.begun -= 1;
                swap(&mut at, self.begun);
            }
        }
        while self.role(at) > role {
            if self.role(at) == Role::Waiting {
                swap(&mut at, self.begun);
                self.begun += 1;
            } else {
                swap(&mut at, self.seeds);
                self.seeds += 1;
            }
        }
        at
    }
}

/// Who may be told to somebody.
#[derive(Clone, Copy, Debug)]
pub(super) enum Audience {
    /// Leeches, those that wait included.
    Leeches,
    /// Everybody.
    All,
    /// Leeches that have begun.
    Begun,
    /// Nobody.
    Nobody,
}

/// A pool of either size.
pub(super) trait Pool<R: Record> {
    fn all(&self) -> &[R];
    fn all_mut(&mut self) -> &mut [R];
    fn bounds(&self) -> Bounds;
    /// Peers that the public cannot reach.
    fn local(&self) -> u32;
    fn paused(&self) -> u32;
    fn find(&self, record: &R, key: u64) -> Option<usize>;
    /// Adds one that is not there; `None` if there is no room.
    fn insert(&mut self, record: R, role: Role, key: u64) -> Option<usize>;
    fn remove(&mut self, at: usize, key: u64);
    fn set_role(&mut self, at: usize, role: Role, key: u64) -> usize;
    /// Marks one as paused or not.
    fn set_paused(&mut self, at: usize, paused: bool);
    /// Whether so many of this host may be here that it must be looked at closely. O(1).
    fn many_of_host(&self, record: &R, limit: usize, key: u64) -> bool;

    fn counts(&self) -> Counts {
        let bounds = self.bounds();
        Counts {
            seeds: bounds.seeds,
            leeches: bounds.begun - bounds.seeds,
            waiting: self.all().len() as u32 - bounds.begun,
            paused: self.paused(),
        }
    }

    fn range(&self, audience: Audience) -> Range<usize> {
        let (bounds, len) = (self.bounds(), self.all().len());
        match audience {
            Audience::Leeches => bounds.seeds as usize..len,
            Audience::All => 0..len,
            Audience::Begun => bounds.seeds as usize..bounds.begun as usize,
            Audience::Nobody => 0..0,
        }
    }

    /// Forgets who is overdue among `budget` peers from `from` on, except `spared`; how many went,
    /// and where to go on, `None` after the last.
    fn expire(
        &mut self,
        now: Tick,
        from: usize,
        budget: usize,
        spared: Option<&R>,
        key: u64,
    ) -> (u32, Option<usize>) {
        let to = self.all().len().min(from.saturating_add(budget));
        let mut gone = 0;
        // Downwards: whoever takes the place of one that goes comes from above, and has been seen.
        for at in (from.min(to)..to).rev() {
            let Some(record) = self.all().get(at) else {
                continue;
            };
            if record.meta().overdue(now) && !spared.is_some_and(|spared| spared.same(record)) {
                self.remove(at, key);
                gone += 1;
            }
        }
        (gone, (to < self.all().len()).then_some(to))
    }

    /// The one of a few drawn that will be overdue first.
    fn stalest(&self, now: Tick, samples: usize, rng: &mut Rng) -> Option<usize> {
        let all = self.all();
        (0..samples)
            .map(|_| rng.below(all.len() as u32) as usize)
            .filter_map(|at| Some((all.get(at)?.meta().remaining_ticks(now), at)))
            .min()
            .map(|(_, at)| at)
    }

    /// If there are `limit` peers of this host, the one of them that will be overdue first. In a
    /// large pool the number is estimated from a part of it.
    fn crowd(&self, record: &R, limit: usize, now: Tick, rng: &mut Rng, key: u64) -> Option<usize> {
        if !self.many_of_host(record, limit, key) {
            return None;
        }
        let all = self.all();
        let mut found = 0;
        let mut oldest: Option<(u16, usize)> = None;
        // Spread over the pool: those of one host have often come together and stand together.
        rng.spread(all.len() as u32, HOST_LOOKS as u32, |at| {
            let at = at as usize;
            if let Some(other) = all.get(at).filter(|other| other.same_host(record)) {
                found += 1;
                let this = (other.meta().remaining_ticks(now), at);
                oldest = Some(oldest.map_or(this, |oldest| oldest.min(this)));
            }
        });
        // All of a small pool were seen; of a large one, so many in proportion.
        let estimate = found * all.len().max(HOST_LOOKS) / HOST_LOOKS;
        oldest.filter(|_| estimate >= limit).map(|(_, at)| at)
    }

    /// How many of `audience` an asker in `scope` could be told of, the one at `own` left out.
    fn eligible(&self, audience: Audience, scope: Scope, own: Option<usize>) -> usize {
        let range = self.range(audience);
        let held = own.is_some_and(|own| range.contains(&own));
        let n = range.len() - usize::from(held);
        if self.local() == 0 || scope == Scope::Loopback {
            return n;
        }
        let all = self.all().get(range.clone()).unwrap_or_default();
        (range.start..)
            .zip(all)
            .take(MIXED_LOOKS)
            .filter(|(at, record)| Some(*at) != own && scope.reaches(record.scope()))
            .count()
    }

    /// Gives `want` of them, everyone equally likely: one out of each of `want` equal stretches of
    /// the range, which is first turned by a random amount.
    fn draw(
        &self,
        audience: Audience,
        scope: Scope,
        own: Option<usize>,
        want: usize,
        rng: &mut Rng,
        mut give: impl FnMut(&R),
    ) {
        let range = self.range(audience);
        if self.local() > 0 && scope != Scope::Loopback {
            self.draw_mixed(range, scope, own, want, rng, give);
            return;
        }
        let hole = own.filter(|own| range.contains(own));
        let n = range.len() - usize::from(hole.is_some());
        let Some(all) = self.all().get(range.clone()) else {
            return;
        };
        let hole = hole.map_or(usize::MAX, |hole| hole - range.start);
        // In a large swarm each is a cache miss: asked for before the first is looked at, they overlap.
        let mut picks = [0_u32; PICKS];
        let mut picked = 0;
        let mut flush = |picks: &[u32]| {
            for pick in picks {
                if let Some(record) = all.get(*pick as usize) {
                    give(record);
                }
            }
        };
        rng.spread(n as u32, want as u32, |pick| {
            let pick = pick + u32::from(pick as usize >= hole);
            if let Some(record) = all.get(pick as usize) {
                prefetch(record);
            }
            if picked == PICKS {
                flush(&picks);
                picked = 0;
            }
            if let Some(place) = picks.get_mut(picked) {
                *place = pick;
                picked += 1;
            }
        });
        flush(picks.get(..picked).unwrap_or_default());
    }

    /// The same where some can be reached by everybody and some only from here: a tracker in a house
    /// or a lab. Looks at [`MIXED_LOOKS`] at the most, from a random place on.
    fn draw_mixed(
        &self,
        range: Range<usize>,
        scope: Scope,
        own: Option<usize>,
        want: usize,
        rng: &mut Rng,
        mut give: impl FnMut(&R),
    ) {
        let n = range.len();
        if n == 0 {
            return;
        }
        let start = rng.below(n as u32) as usize;
        let reach: Vec<&R> = (0..n.min(MIXED_LOOKS))
            .map(|step| range.start + (start + step) % n)
            .filter(|at| Some(*at) != own)
            .filter_map(|at| self.all().get(at))
            .filter(|record| scope.reaches(record.scope()))
            .collect();
        rng.spread(reach.len() as u32, want as u32, |pick| {
            if let Some(record) = reach.get(pick as usize) {
                give(record);
            }
        });
    }
}

/// Peers whose memory is asked for side by side: as many as nearly all replies have.
const PICKS: usize = 64;

/// Peers looked at to draw from where not everybody can be told: ten times what is handed out.
const MIXED_LOOKS: usize = 2_048;

/// A number up to 3. An enum, since it leaves 252 values of its byte for the compiler to tell one
/// kind of swarm from another by: a swarm is a cache line thanks to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u8)]
enum Few {
    #[default]
    Zero,
    One,
    Two,
    Three,
}

impl From<Few> for usize {
    fn from(few: Few) -> Self {
        few as Self
    }
}

impl From<usize> for Few {
    fn from(n: usize) -> Self {
        match n {
            0 => Self::Zero,
            1 => Self::One,
            2 => Self::Two,
            _ => Self::Three,
        }
    }
}

/// Up to `N` peers, 3 at the most, without any memory of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inline<R, const N: usize> {
    records: [R; N],
    seeds: u8,
    begun: u8,
    len: Few,
}

impl<R: Record, const N: usize> Default for Inline<R, N> {
    fn default() -> Self {
        const { assert!(N <= 3) };
        Self {
            records: [R::default(); N],
            seeds: 0,
            begun: 0,
            len: Few::Zero,
        }
    }
}

impl<R: Record, const N: usize> Inline<R, N> {
    fn set_bounds(&mut self, bounds: Bounds) {
        self.seeds = bounds.seeds as u8;
        self.begun = bounds.begun as u8;
    }
}

impl<R: Record, const N: usize> Pool<R> for Inline<R, N> {
    fn all(&self) -> &[R] {
        &self.records[..self.len.into()]
    }

    fn all_mut(&mut self) -> &mut [R] {
        &mut self.records[..self.len.into()]
    }

    fn bounds(&self) -> Bounds {
        Bounds {
            seeds: self.seeds.into(),
            begun: self.begun.into(),
        }
    }

    fn local(&self) -> u32 {
        let local = |record: &&R| record.scope() != Scope::Public;
        self.all().iter().filter(local).count() as u32
    }

    fn paused(&self) -> u32 {
        let leeches = self.all().get(self.seeds.into()..).unwrap_or_default();
        leeches.iter().filter(|one| one.meta().paused()).count() as u32
    }

    fn find(&self, record: &R, _: u64) -> Option<usize> {
        self.all().iter().position(|held| held.same(record))
    }

    fn insert(&mut self, record: R, role: Role, _: u64) -> Option<usize> {
        let len = usize::from(self.len);
        if len == N {
            return None;
        }
        let mut bounds = self.bounds();
        let at = bounds.open(&mut self.records, len, role, |_, _, _| ());
        if let Some(place) = self.records.get_mut(at) {
            *place = record;
        }
        self.set_bounds(bounds);
        self.len = Few::from(len + 1);
        Some(at)
    }

    fn remove(&mut self, at: usize, _: u64) {
        let mut bounds = self.bounds();
        bounds.close(self.all_mut(), at, |_, _, _| ());
        self.set_bounds(bounds);
        self.len = Few::from(usize::from(self.len) - 1);
    }

    fn set_role(&mut self, at: usize, role: Role, _: u64) -> usize {
        let mut bounds = self.bounds();
        let at = bounds.change(self.all_mut(), at, role, |_, _, _| ());
        self.set_bounds(bounds);
        at
    }

    fn set_paused(&mut self, at: usize, paused: bool) {
        if let Some(record) = self.all_mut().get_mut(at) {
            record.set_meta(record.meta().with_paused(paused));
        }
    }

    fn many_of_host(&self, _: &R, limit: usize, _: u64) -> bool {
        self.all().len() >= limit
    }
}

/// Any number of peers.
#[derive(Clone, Debug)]
pub(super) struct Heap<R> {
    records: Vec<R>,
    bounds: Bounds,
    local: u32,
    paused: u32,
    index: Option<Index>,
}

impl<R> Default for Heap<R> {
    fn default() -> Self {
        Self {
            records: Vec::new(),
            bounds: Bounds::default(),
            local: 0,
            paused: 0,
            index: None,
        }
    }
}

impl<R: Record> Heap<R> {
    /// Takes over what a smaller pool holds, with room for `more`.
    pub(super) fn adopt(&mut self, pool: &impl Pool<R>, key: u64) {
        self.records.reserve_exact(pool.all().len() + 1);
        for (at, record) in pool.all().iter().enumerate() {
            self.insert(*record, pool.bounds().role(at), key);
        }
    }

    /// Asks for the memory that [`Pool::find`] will look at `first`, or after that; whether there is
    /// more of it.
    pub(super) fn prefetch(&self, record: &R, key: u64, first: bool) -> bool {
        match &self.index {
            Some(index) if first => index.prefetch(record.hash(key)),
            Some(index) => {
                let place = index.likely(record.hash(key));
                let record = place.and_then(|place| self.records.get(place));
                record.into_iter().for_each(prefetch);
            }
            None => self.records.first().into_iter().for_each(prefetch),
        }
        first && self.index.is_some()
    }

    /// Room grows by a quarter, not by the double: at 8 bytes a peer, copying is cheap and space
    /// is not.
    fn make_place(&mut self) {
        let len = self.records.len();
        if len == self.records.capacity() {
            self.records.reserve_exact((len / 4).max(4));
        }
    }

    fn counted(&mut self, record: &R, by: i32) {
        if record.scope() != Scope::Public {
            self.local = self.local.saturating_add_signed(by);
        }
        if record.meta().paused() {
            self.paused = self.paused.saturating_add_signed(by);
        }
    }
}

impl<R: Record> Pool<R> for Heap<R> {
    fn all(&self) -> &[R] {
        &self.records
    }

    fn all_mut(&mut self) -> &mut [R] {
        &mut self.records
    }

    fn bounds(&self) -> Bounds {
        self.bounds
    }

    fn local(&self) -> u32 {
        self.local
    }

    fn paused(&self) -> u32 {
        self.paused
    }

    fn find(&self, record: &R, key: u64) -> Option<usize> {
        match &self.index {
            Some(index) => index.find(record.hash(key), |at| {
                self.records.get(at).is_some_and(|held| held.same(record))
            }),
            None => self.records.iter().position(|held| held.same(record)),
        }
    }

    fn insert(&mut self, record: R, role: Role, key: u64) -> Option<usize> {
        self.make_place();
        let len = self.records.len();
        self.records.push(record);
        let index = &mut self.index;
        let at = self
            .bounds
            .open(&mut self.records, len, role, |one, from, to| {
                if let Some(index) = index {
                    index.moved(one.hash(key), from, to);
                }
            });
        if let Some(place) = self.records.get_mut(at) {
            *place = record;
        }
        self.counted(&record, 1);
        match &mut self.index {
            Some(index) if index.has_room() => {
                index.add(record.hash(key), record.host_hash(key), at);
            }
            None if self.records.len() < INDEX_FROM => {}
            _ => self.index = Some(Index::of(&self.records, key)),
        }
        Some(at)
    }

    fn remove(&mut self, at: usize, key: u64) {
        let Some(record) = self.records.get(at).copied() else {
            return;
        };
        if let Some(index) = &mut self.index {
            let records = &self.records;
            index.remove(record.hash(key), record.host_hash(key), at, |at| {
                records.get(at).map_or(0, |record| record.hash(key))
            });
        }
        let index = &mut self.index;
        self.bounds.close(&mut self.records, at, |one, from, to| {
            if let Some(index) = index {
                index.moved(one.hash(key), from, to);
            }
        });
        self.records.pop();
        self.counted(&record, -1);
        let len = self.records.len();
        if len < INDEX_FROM / 2 {
            self.index = None;
        }
        if self.records.capacity() > 16 && len < self.records.capacity() / 2 {
            self.records.shrink_to(len + len / 4);
            if self.index.as_ref().is_some_and(|index| index.is_loose(len)) {
                self.index = Some(Index::of(&self.records, key));
            }
        }
    }

    fn set_role(&mut self, at: usize, role: Role, key: u64) -> usize {
        let index = &mut self.index;
        self.bounds
            .change(&mut self.records, at, role, |all, one, other| {
                if let Some(index) = index
                    && let (Some(first), Some(second)) = (all.get(one), all.get(other))
                {
                    index.swapped(first.hash(key), second.hash(key), one, other);
                }
            })
    }

    fn set_paused(&mut self, at: usize, paused: bool) {
        if let Some(record) = self.records.get_mut(at)
            && record.meta().paused() != paused
        {
            record.set_meta(record.meta().with_paused(paused));
            self.paused = self
                .paused
                .saturating_add_signed(if paused { 1 } else { -1 });
        }
    }

    fn many_of_host(&self, record: &R, limit: usize, key: u64) -> bool {
        match &self.index {
            Some(index) => index.of_host(record.host_hash(key)) >= limit.min(Index::MOST_OF_HOST),
            None => self.records.len() >= limit,
        }
    }
}

#[cfg(any(test, fuzzing))]
impl<R> Heap<R> {
    pub(super) fn check_index(&self) {
        if let Some(index) = &self.index {
            assert_eq!(index.used(), self.records.len());
        }
    }
}

//! What one tracker tells others of its swarms, where several stand behind one name.
//!
//! A store that is asked to ([`Store::tell`]) notes what announces have changed: who came or goes on,
//! who left, who has completed. Another store [learns](Store::learn) it and answers from then on as if
//! the peer had announced there. How the notes travel is not this room's business.
//!
//! A peer that comes again and has not changed is told of again only after a quarter of the time for
//! which it is expected, so that others never hold a deadline that is more than that behind: they
//! forget it after 2.2 intervals, so that one interval and a quarter of the rest are always left.

use super::config::Config;
use super::members::{Members, Place, Tenth};
use super::record::{Meta, Role};
use super::rng::Rng;
use super::saved::{SavedSwarm, flags_of, from_flags};
use super::store::{Elsewhere, Store};
use samara_proto::InfoHash;
use std::net::SocketAddr;

/// What a store tells of one swarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct News {
    /// The swarm.
    pub info_hash: InfoHash,
    /// Most that any peer has said is left, in the store's own packing; 0 if nothing is known.
    pub largest_left: u32,
    /// Whether this is told because somebody asked again, and not because it has just happened. Then
    /// it fills gaps, and what is newer stays.
    pub hearsay: bool,
    /// What there is to tell.
    pub of: Of,
}

/// What there is to tell of a swarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// A peer is there.
    Here {
        /// Where.
        addr: SocketAddr,
        /// What it is, and what is noted of it, in the five bits of a snapshot.
        flags: u8,
        /// For how many seconds it is expected.
        seconds: u16,
        /// Whether it has just completed its download.
        completed: bool,
    },
    /// A peer has left.
    Gone(SocketAddr),
    /// The swarm was downloaded to the end so often, at least.
    Downloaded(u32),
}

impl Of {
    /// Of the five bits that [`Of::Here`] has, the one that says that a download to the end has not
    /// been counted yet.
    pub const COUNTABLE: u8 = 4;
}

/// Where a store notes its news.
#[derive(Clone, Debug, Default)]
pub(super) struct Notes {
    /// How many fit; 0 where nobody wants them.
    room: usize,
    notes: Vec<News>,
    lost: u64,
}

impl Notes {
    pub(super) fn wanted(&self) -> bool {
        self.room > 0
    }

    pub(super) fn push(&mut self, news: News) {
        if self.notes.len() < self.room {
            self.notes.push(news);
        } else {
            self.lost += 1;
        }
    }
}

/// Whether one that comes again unchanged after `gap` of its `life` milliseconds is to be told of: at
/// the first announce in each stretch of a quarter of the life, cut to a power of two so that the
/// stretches do not move when lives vary a little.
pub(super) fn worth_telling(now: u64, gap: u64, life: u64) -> bool {
    let stretch = 1 << (life / 4).max(1).ilog2();
    now.saturating_sub(gap) / stretch != now / stretch
}

impl Store {
    /// Notes up to `room` news from now on, until they are [taken](Store::take_news); 0 ends it.
    pub fn tell(&mut self, room: usize) {
        self.notes.room = room;
        if room == 0 {
            self.notes.notes = Vec::new();
        }
    }

    /// Takes the news, in order, to the end of `out`; how many were lost since there was no room.
    pub fn take_news(&mut self, out: &mut Vec<News>) -> u64 {
        out.append(&mut self.notes.notes);
        std::mem::take(&mut self.notes.lost)
    }

    /// Takes note of what another store tells, within the same limits as an announce. Whether it was
    /// taken.
    pub fn learn(&mut self, now: u64, news: &News, elsewhere: Elsewhere) -> bool {
        let guest = match news.of {
            Of::Gone(addr) => return self.unlearn(now, &news.info_hash, addr),
            Of::Downloaded(_) => None,
            Of::Here {
                addr,
                flags,
                seconds,
                completed,
            } => match from_flags(flags) {
                Some((role, meta)) if addr.port() != 0 && seconds > 0 => Some(Guest {
                    place: Place::new(addr),
                    role,
                    meta,
                    life: u64::from(seconds) * 1_000,
                    completed,
                    hearsay: news.hearsay,
                }),
                _ => return false,
            },
        };
        let number = match self.number(&news.info_hash) {
            Some(number)
                if self.is_full(elsewhere)
                    && self.is_empty(number)
                    && self.make_room(elsewhere, false).is_err() =>
            {
                return false;
            }
            Some(number) => number,
            None if self.config.registered_only || self.make_room(elsewhere, true).is_err() => {
                return false;
            }
            None => self.add(news.info_hash, now),
        };
        let Some(swarm) = self.swarms.get_mut(number) else {
            return false;
        };
        swarm.largest_left = swarm.largest_left.max(news.largest_left);
        swarm.touched = swarm.touched.max(Tenth::at(now));
        if let Of::Downloaded(count) = news.of {
            swarm.add_downloaded(count.saturating_sub(swarm.downloaded()));
            if count > 0 {
                swarm.set_had_seed();
            }
        }
        let mut members = Members {
            swarm,
            larges: &mut self.larges,
            key: self.key,
        };
        let before = members.counts();
        if let Some(guest) = guest {
            let full = self.stats.seeds + self.stats.leeches + elsewhere.peers
                >= self.config.max_peers as u64;
            let evicted = guest.enter(now, &mut members, full, &self.config, &mut self.rng);
            self.stats.evictions += evicted;
        }
        let after = members.counts();
        if before != after {
            self.count(before, after);
        }
        if after.all() == 0 {
            self.forget_if_stale(now, number);
        }
        true
    }

    fn unlearn(&mut self, now: u64, info_hash: &InfoHash, addr: SocketAddr) -> bool {
        let Some(number) = self.number(info_hash) else {
            return false;
        };
        let Some(swarm) = self.swarms.get_mut(number) else {
            return false;
        };
        let mut members = Members {
            swarm,
            larges: &mut self.larges,
            key: self.key,
        };
        let place = Place::new(addr);
        let Some((_, _, at)) = members.find(&place) else {
            return false;
        };
        let before = members.counts();
        members.remove(&place, at);
        let after = members.counts();
        members.swarm.changed(now, after.all(), &self.config);
        self.count(before, after);
        true
    }
}

/// A peer of which another store has told.
struct Guest {
    place: Place,
    role: Role,
    meta: Meta,
    life: u64,
    completed: bool,
    hearsay: bool,
}

impl Guest {
    /// Enters the swarm; how many had to make room.
    fn enter(
        &self,
        now: u64,
        members: &mut Members<'_>,
        full: bool,
        config: &Config,
        rng: &mut Rng,
    ) -> u64 {
        let known = members.find(&self.place);
        if self.completed && known.is_none_or(|(_, meta, _)| meta.countable()) {
            members.swarm.add_downloaded(1);
        }
        if self.role == Role::Seed {
            members.swarm.set_had_seed();
        }
        let Some((role, meta, at)) = known else {
            let evicted = members.make_room(now, &self.place, full, config, rng);
            let at = members.insert(&self.place, self.role);
            members.set_meta(&self.place, at, self.meta.with_life(now, self.life));
            let peers = members.counts().all();
            members.swarm.changed(now, peers, config);
            return evicted;
        };
        // What is only repeated may be older than what is known: it makes lives longer and leeches
        // seeds, and nothing else.
        if self.hearsay && (role == self.role || self.role != Role::Seed) {
            if self.life > meta.remaining(now) {
                members.set_meta(&self.place, at, meta.with_life(now, self.life));
            }
            return 0;
        }
        let mut at = at;
        if role != self.role {
            if meta.paused() {
                members.set_meta(&self.place, at, meta.with_paused(false));
            }
            at = members.set_role(&self.place, at, self.role);
            if self.role == Role::Seed {
                let peers = members.counts().all();
                members.swarm.changed(now, peers, config);
            }
        }
        members.set_meta(&self.place, at, self.meta.with_life(now, self.life));
        0
    }
}

impl SavedSwarm<'_> {
    /// What was saved, as hearsay.
    pub fn news(&self) -> impl Iterator<Item = News> {
        let info_hash = self.info_hash;
        let largest_left = self.largest_left();
        let news = move |of| News {
            info_hash,
            largest_left,
            hearsay: true,
            of,
        };
        let count = (self.downloaded() > 0).then(|| news(Of::Downloaded(self.downloaded())));
        let peers = self.peers().map(move |(addr, role, meta, left)| {
            news(Of::Here {
                addr,
                flags: flags_of(role, meta),
                seconds: u16::try_from(left / 1_000).unwrap_or(u16::MAX),
                completed: false,
            })
        });
        count.into_iter().chain(peers)
    }
}

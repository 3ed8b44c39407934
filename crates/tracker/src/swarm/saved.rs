//! A swarm as bytes, to outlive the process.
//!
//! Times are written as ages and as time left, so that what was saved can be put back at any later
//! moment: whoever would have been overdue by then is left out. A moment before the store's time 0
//! cannot be said, so that a clock that is to be used after a restoration had better begin late: see
//! [`Store::restore`].

use super::members::{Members, Place, Tenth, everybody};
use super::record::{Meta, Role};
use super::store::{Elsewhere, Store};
use samara_proto::InfoHash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const HAD_SEED: u32 = 1;
const COUNTABLE: u8 = 4;
const PROMPT: u8 = 8;
const PAUSED: u8 = 16;
const SIX: u8 = 32;

/// One swarm in the bytes of a snapshot.
#[derive(Clone, Copy, Debug)]
pub struct SavedSwarm<'a> {
    /// Its name.
    pub info_hash: InfoHash,
    flags: u32,
    downloaded: u32,
    largest_left: u32,
    /// Tenths of a second for which it has been calm, and since anybody announced.
    calm: u32,
    idle: u32,
    peers: &'a [u8],
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

fn number(bytes: &mut &[u8]) -> Option<u32> {
    take(bytes).map(u32::from_le_bytes)
}

impl<'a> SavedSwarm<'a> {
    /// Takes one swarm off the front of `bytes`; `None` if they are not what [`Store::save`] wrote.
    pub fn read(bytes: &mut &'a [u8]) -> Option<Self> {
        let mut rest = *bytes;
        let mut out = Self {
            info_hash: InfoHash(take(&mut rest)?),
            flags: number(&mut rest)?,
            downloaded: number(&mut rest)?,
            largest_left: number(&mut rest)?,
            calm: number(&mut rest)?,
            idle: number(&mut rest)?,
            peers: &[],
        };
        let len = number(&mut rest)?;
        let (peers, rest) = rest.split_at_checked(len as usize)?;
        out.peers = peers;
        *bytes = rest;
        Some(out)
    }

    pub(super) fn largest_left(&self) -> u32 {
        self.largest_left
    }

    pub(super) fn downloaded(&self) -> u32 {
        self.downloaded
    }

    /// Address, role, what is noted, and the milliseconds left. Ends at the first that makes no sense.
    pub(super) fn peers(&self) -> impl Iterator<Item = (SocketAddr, Role, Meta, u64)> {
        let mut rest = self.peers;
        std::iter::from_fn(move || {
            let [flags] = take::<1>(&mut rest)?;
            let left = u16::from_le_bytes(take(&mut rest)?);
            let port = u16::from_be_bytes(take(&mut rest)?);
            let ip: IpAddr = if flags & SIX == 0 {
                Ipv4Addr::from(take::<4>(&mut rest)?).into()
            } else {
                Ipv6Addr::from(take::<16>(&mut rest)?).into()
            };
            let (role, meta) = from_flags(flags & !SIX)?;
            let left = u64::from(left) * 1_000;
            Some((SocketAddr::new(ip, port), role, meta, left))
        })
    }
}

impl Store {
    /// Appends all swarms that hold anything worth keeping.
    pub fn save(&self, now: u64, out: &mut Vec<u8>) {
        for id in 0..self.swarms.end() {
            let Some(swarm) = self.swarms.get(id) else {
                continue;
            };
            let start = out.len();
            out.extend_from_slice(&swarm.info_hash.0);
            let flags = if swarm.had_seed() { HAD_SEED } else { 0 };
            let tenths = |millis: u64| u32::try_from(millis / 100).unwrap_or(u32::MAX);
            for number in [
                flags,
                swarm.downloaded(),
                swarm.largest_left,
                tenths(swarm.calm(now)),
                tenths(swarm.touched.age(now)),
                0,
            ] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            let first = out.len();
            everybody(swarm, &self.larges, |addr, role, meta| {
                save_peer(now, addr, role, meta, out);
            });
            let len = out.len() - first;
            if len == 0 && swarm.downloaded() == 0 {
                out.truncate(start);
            } else if let Some(place) = out.get_mut(first - 4..first) {
                place.copy_from_slice(&(len as u32).to_le_bytes());
            }
        }
    }

    /// Puts back a swarm that was saved `since` milliseconds ago, as far as the limits allow; how many
    /// peers came back. Who is there already, or would be overdue, is left out. `now` should be more
    /// than a day: what lies before 0 is taken for 0.
    pub fn restore(
        &mut self,
        now: u64,
        since: u64,
        saved: &SavedSwarm<'_>,
        elsewhere: Elsewhere,
    ) -> u64 {
        let held = self.held();
        let room = (self.config.max_peers as u64)
            .saturating_sub(held.peers + elsewhere.peers)
            .min(self.config.max_peers_per_torrent as u64);
        let number = match self.number(&saved.info_hash) {
            Some(number) => number,
            None if self.config.registered_only
                || held.swarms + elsewhere.swarms >= self.config.max_torrents as u64 =>
            {
                return 0;
            }
            None => self.add(saved.info_hash, now),
        };
        let key = self.key;
        let Some(swarm) = self.swarms.get_mut(number) else {
            return 0;
        };
        if saved.flags & HAD_SEED != 0 {
            swarm.set_had_seed();
        }
        swarm.add_downloaded(saved.downloaded);
        swarm.largest_left = swarm.largest_left.max(saved.largest_left);
        let ago = |tenths: u32| now.saturating_sub(u64::from(tenths) * 100);
        swarm.set_calm_since(Tenth::at(ago(saved.calm)));
        swarm.touched = Tenth::at(ago(saved.idle).saturating_sub(since));
        let mut members = Members {
            swarm,
            larges: &mut self.larges,
            key,
        };
        let before = members.counts();
        // Two parts of a damaged snapshot may be about one swarm.
        let most = self.config.max_peers_per_torrent as u64;
        let room = room.min(most.saturating_sub(u64::from(before.all())));
        let mut back = 0;
        for (addr, role, meta, left) in saved.peers() {
            let place = Place::new(addr);
            let left = left.saturating_sub(since);
            if left == 0 || addr.port() == 0 || back >= room || members.find(&place).is_some() {
                continue;
            }
            let at = members.insert(&place, role);
            members.set_meta(&place, at, meta.with_life(now, left));
            back += 1;
        }
        let after = members.counts();
        self.count(before, after);
        if after.all() == 0 {
            self.forget_if_stale(now, number);
        }
        back
    }
}

/// What a peer is and what is noted of it, in five bits.
pub(super) fn flags_of(role: Role, meta: Meta) -> u8 {
    let bit = |on: bool, bit: u8| if on { bit } else { 0 };
    role as u8
        | bit(meta.countable(), COUNTABLE)
        | bit(meta.prompt(), PROMPT)
        | bit(meta.paused(), PAUSED)
}

/// The reverse; `None` if there is no such role, or there are more bits.
pub(super) fn from_flags(flags: u8) -> Option<(Role, Meta)> {
    let role = match flags & 3 {
        0 => Role::Seed,
        1 => Role::Leech,
        2 => Role::Waiting,
        _ => return None,
    };
    let meta = Meta::default()
        .with_countable(flags & COUNTABLE != 0)
        .with_prompt(flags & PROMPT != 0)
        .with_paused(flags & PAUSED != 0 && role == Role::Leech);
    (flags & !(3 | COUNTABLE | PROMPT | PAUSED) == 0).then_some((role, meta))
}

fn save_peer(now: u64, addr: SocketAddr, role: Role, meta: Meta, out: &mut Vec<u8>) {
    let left = meta.remaining(now).div_ceil(1_000);
    let Ok(left @ 1..) = u16::try_from(left) else {
        return;
    };
    let six = if addr.is_ipv6() { SIX } else { 0 };
    out.push(flags_of(role, meta) | six);
    out.extend_from_slice(&left.to_le_bytes());
    out.extend_from_slice(&addr.port().to_be_bytes());
    match addr.ip() {
        IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
    }
}

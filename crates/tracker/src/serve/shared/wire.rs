//! News as bytes: in packets on the channel, and in the sorted sets of the store.
//!
//! A packet is a head (its kind, who sends it, the how-manieth it is, when that was on the sender's
//! clock) and any number of news. A piece of news is a byte of bits, the info-hash, the most that was
//! ever left, and an address with the seconds for which it is expected; or a count.

use crate::swarm::{News, Of};
use samara_proto::InfoHash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What a packet begins with: its kind and version.
const MAGIC: [u8; 4] = *b"SMN\x01";

/// Bits of a piece of news, above the five that a snapshot has.
const SIX: u8 = 32;
const COMPLETED: u8 = 64;
const HEARSAY: u8 = 128;

/// In place of a role: it has left; with [`COUNT`], a count of downloads.
const GONE: u8 = 3;
const COUNT: u8 = 4;

/// What stands before the news of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Drawn by every instance at its start.
    pub(super) sender: u64,
    /// Counts packets, so that a missing one is noticed.
    pub(super) number: u64,
    /// Milliseconds on the sender's clock.
    pub(super) sent: u64,
}

impl Head {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&MAGIC);
        for word in [self.sender, self.number, self.sent] {
            out.extend_from_slice(&word.to_le_bytes());
        }
    }

    /// Takes the head off a packet; `None` if it is of another kind.
    pub(super) fn read(bytes: &mut &[u8]) -> Option<Self> {
        let magic: [u8; 4] = take(bytes)?;
        let mut word = || take(bytes).map(u64::from_le_bytes);
        let head = Self {
            sender: word()?,
            number: word()?,
            sent: word()?,
        };
        (magic == MAGIC).then_some(head)
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

/// Appends a piece of news to a packet.
pub(super) fn write(news: &News, out: &mut Vec<u8>) {
    let hearsay = if news.hearsay { HEARSAY } else { 0 };
    let start = out.len();
    out.push(hearsay);
    out.extend_from_slice(&news.info_hash.0);
    out.extend_from_slice(&news.largest_left.to_le_bytes());
    let bits = match news.of {
        Of::Downloaded(count) => {
            out.extend_from_slice(&count.to_le_bytes());
            GONE | COUNT
        }
        Of::Gone(addr) => GONE | write_addr(addr, 0, out),
        Of::Here {
            addr,
            flags,
            seconds,
            completed,
        } => {
            let completed = if completed { COMPLETED } else { 0 };
            flags | completed | write_addr(addr, seconds, out)
        }
    };
    if let Some(first) = out.get_mut(start) {
        *first |= bits;
    }
}

fn write_addr(addr: SocketAddr, seconds: u16, out: &mut Vec<u8>) -> u8 {
    out.extend_from_slice(&seconds.to_le_bytes());
    write_member(addr, out);
    if addr.is_ipv6() { SIX } else { 0 }
}

/// Takes a piece of news off a packet; `None` at its end, or if it makes no sense.
pub(super) fn read(bytes: &mut &[u8]) -> Option<News> {
    let [bits] = take(bytes)?;
    let info_hash = InfoHash(take(bytes)?);
    let largest_left = take(bytes).map(u32::from_le_bytes)?;
    let of = if bits & 7 == GONE | COUNT {
        Of::Downloaded(take(bytes).map(u32::from_le_bytes)?)
    } else {
        let seconds = take(bytes).map(u16::from_le_bytes)?;
        let len = if bits & SIX == 0 { 6 } else { 18 };
        let (member, rest) = bytes.split_at_checked(len)?;
        *bytes = rest;
        let addr = read_member(member)?;
        if bits & 3 == GONE {
            Of::Gone(addr)
        } else {
            Of::Here {
                addr,
                flags: bits & 31,
                seconds,
                completed: bits & COMPLETED != 0,
            }
        }
    };
    Some(News {
        info_hash,
        largest_left,
        hearsay: bits & HEARSAY != 0,
        of,
    })
}

/// An address as a member of a sorted set: 6 or 18 bytes, in the order of the network.
fn write_member(addr: SocketAddr, out: &mut Vec<u8>) {
    match addr.ip() {
        IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
    }
    out.extend_from_slice(&addr.port().to_be_bytes());
}

fn read_member(member: &[u8]) -> Option<SocketAddr> {
    let (ip, port) = member.split_last_chunk::<2>()?;
    let ip: IpAddr = if let Ok(ip) = <[u8; 4]>::try_from(ip) {
        Ipv4Addr::from(ip).into()
    } else {
        Ipv6Addr::from(<[u8; 16]>::try_from(ip).ok()?).into()
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes(*port)))
}

/// What the script is to do: a member, its bits, and its seconds or a count.
pub(super) fn operation(news: &News) -> (Vec<u8>, u8, u32) {
    let hearsay = if news.hearsay { HEARSAY } else { 0 };
    let mut member = Vec::with_capacity(18);
    match news.of {
        Of::Downloaded(count) => (b"d".to_vec(), 0, count),
        Of::Gone(addr) => {
            write_member(addr, &mut member);
            (member, hearsay | GONE, super::GONE_LIFE)
        }
        Of::Here {
            addr,
            flags,
            seconds,
            completed,
        } => {
            write_member(addr, &mut member);
            let completed = if completed { COMPLETED } else { 0 };
            (member, hearsay | flags | completed, seconds.into())
        }
    }
}

/// What a swarm's sorted set says, as hearsay. `now` is the server's clock in seconds.
pub(super) fn from_set<'a>(
    info_hash: InfoHash,
    now: u64,
    entries: impl Iterator<Item = (&'a [u8], f64)> + Clone,
) -> impl Iterator<Item = News> {
    // What is no address is named by one letter, and counted below zero.
    let named = |name: &[u8]| {
        let mut all = entries.clone();
        all.find(|(member, _)| *member == name)
            .map_or(0, |(_, score)| -score as u32)
    };
    let (largest_left, count) = (named(b"l"), named(b"d"));
    let news = move |of| News {
        info_hash,
        largest_left,
        hearsay: true,
        of,
    };
    let count = (count > 0).then(|| news(Of::Downloaded(count)));
    let peers = entries.filter_map(move |(member, score)| {
        let addr = read_member(member)?;
        let (score, until) = (score as u64, score as u64 / 32);
        let seconds = until.checked_sub(now).filter(|left| *left > 0)?;
        let flags = (score % 32) as u8;
        Some(news(match flags & 3 {
            GONE => Of::Gone(addr),
            _ => Of::Here {
                addr,
                flags,
                seconds: u16::try_from(seconds).unwrap_or(u16::MAX),
                completed: false,
            },
        }))
    });
    count.into_iter().chain(peers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news() -> Vec<News> {
        let four: SocketAddr = "1.2.3.4:5".parse().expect("an address");
        let six: SocketAddr = "[2001:db8::1]:6".parse().expect("an address");
        let here = |addr, flags, completed| Of::Here {
            addr,
            flags,
            seconds: 600,
            completed,
        };
        let all = [
            here(four, 0, true),
            here(six, 31 & !3, false),
            here(six, 6, false),
            Of::Gone(four),
            Of::Gone(six),
            Of::Downloaded(70_000),
        ];
        let news = |(nth, of): (usize, Of)| News {
            info_hash: InfoHash([nth as u8; 20]),
            largest_left: 1_u32 << nth,
            hearsay: nth % 2 == 0,
            of,
        };
        all.into_iter().enumerate().map(news).collect()
    }

    #[test]
    fn packets_are_read_as_they_were_written() {
        let head = Head {
            sender: 1,
            number: u64::MAX,
            sent: 3,
        };
        let mut bytes = Vec::new();
        head.write(&mut bytes);
        news().iter().for_each(|one| write(one, &mut bytes));
        let mut rest = bytes.as_slice();
        assert_eq!(Head::read(&mut rest), Some(head));
        let back: Vec<News> = std::iter::from_fn(|| read(&mut rest)).collect();
        assert_eq!(back, news());
        assert!(rest.is_empty());
        // Cut anywhere, what was whole is read and no more.
        for end in 0..bytes.len() {
            let mut rest = &bytes[..end];
            if Head::read(&mut rest).is_some() {
                let back: Vec<News> = std::iter::from_fn(|| read(&mut rest)).collect();
                assert_eq!(back, news()[..back.len()]);
                assert!(back.len() < news().len());
            }
        }
        bytes[3] = 2;
        assert_eq!(Head::read(&mut bytes.as_slice()), None, "another version");
    }

    #[test]
    fn a_set_is_read_as_the_script_writes_it() {
        let hash = InfoHash([9; 20]);
        let now = 1_800_000_000_u64;
        let mut set: Vec<(Vec<u8>, f64)> = vec![(b"l".to_vec(), -77.0), (b"d".to_vec(), -3.0)];
        for one in news() {
            let (member, bits, life) = operation(&one);
            if member.len() > 1 {
                let score = (now + u64::from(life)) * 32 + u64::from(bits & 31);
                set.push((member, score as f64));
            }
        }
        // One that should have been swept, and something that is not ours.
        set.push((vec![1, 1, 1, 1, 0, 1], (now * 32) as f64));
        set.push((b"what?".to_vec(), 7.0));
        let entries = set
            .iter()
            .map(|(member, score)| (member.as_slice(), *score));
        let back: Vec<News> = from_set(hash, now, entries).collect();
        assert_eq!(back[0].of, Of::Downloaded(3));
        assert!(back.iter().all(|one| one.hearsay && one.largest_left == 77));
        let peers: Vec<Of> = back[1..].iter().map(|one| one.of).collect();
        let told = news().into_iter().map(|one| match one.of {
            Of::Here {
                addr,
                flags,
                seconds,
                ..
            } => Of::Here {
                addr,
                flags,
                seconds,
                completed: false,
            },
            of => of,
        });
        let told: Vec<Of> = told.filter(|of| !matches!(of, Of::Downloaded(_))).collect();
        assert_eq!(peers, told);
    }
}

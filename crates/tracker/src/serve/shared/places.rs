//! Which server has what: one for all, the one that Sentinels name, or a cluster's parts.
//!
//! Everything that a swarm has stands under one key, so that a cluster has it in one slot; the key's
//! hash tag is the info-hash.

use super::address::{Kind, Node, SharedAddress};
use super::link::Link;
use super::resp::{Commands, Reply};
use samara_proto::InfoHash;
use std::io;
use std::time::{Duration, Instant};

/// How long an answer is waited for, and a connection. On one network an answer takes less than a
/// millisecond and a busy server's tens of them; one that takes longer than this hangs.
pub(super) const TIME_LIMIT: Duration = Duration::from_secs(1);

/// Pauses between attempts to reach a server: the first, and the longest.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// Most servers of a cluster that are known at a time (Redis advises 1,000 at the most).
const MAX_NODES: usize = 1_000;

/// Parts into which a cluster sorts its keys.
const SLOTS: usize = 16_384;

/// What writes news: see there.
const SCRIPT: &str = include_str!("script.lua");

/// One server.
#[derive(Debug)]
struct Server {
    node: Node,
    link: Option<Link>,
    /// How the server calls [`SCRIPT`].
    script: Vec<u8>,
    /// Not to be tried before.
    again: Instant,
    pause: Duration,
}

impl Server {
    fn new(node: Node) -> Self {
        Self {
            node,
            link: None,
            script: Vec::new(),
            again: Instant::now(),
            pause: PAUSE,
        }
    }

    fn failed(&mut self) {
        self.link = None;
        self.again = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    fn connect(&mut self, address: &SharedAddress) -> io::Result<&mut Link> {
        let link = match self.link.take() {
            Some(link) => link,
            None if Instant::now() < self.again => return Err(io::ErrorKind::WouldBlock.into()),
            None => {
                let mut link = open(&self.node, address)?;
                let name = link.ask(&[b"SCRIPT", b"LOAD", SCRIPT.as_bytes()], TIME_LIMIT)?;
                let Reply::Text(name) = name else {
                    return Err(io::Error::other("SCRIPT LOAD was answered with no name"));
                };
                self.script = name;
                self.pause = PAUSE;
                link
            }
        };
        Ok(self.link.insert(link))
    }
}

/// Connects to a server that is to hold data, and makes sure that it is the one that may be written to.
pub(super) fn open(node: &Node, address: &SharedAddress) -> io::Result<Link> {
    let mut link = Link::open(node, TIME_LIMIT)?;
    link.log_in(address, TIME_LIMIT)?;
    if let Kind::Sentinel(_) = address.kind {
        // Sentinels may be the last to know, and a server that is replaced the very last.
        let role = link.ask(&[b"ROLE"], TIME_LIMIT)?;
        if role.list().first().and_then(Reply::word).as_deref() != Some("master") {
            return Err(io::Error::other("it is a replica"));
        }
    }
    Ok(link)
}

/// The servers of a store, and which has what.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) address: SharedAddress,
    servers: Vec<Server>,
    /// For each slot the number of its server; empty where there is only one.
    slots: Vec<u16>,
    /// Whether it is time to ask again who has what.
    stale: bool,
    asked: Option<Instant>,
}

impl Places {
    pub(super) fn new(address: SharedAddress) -> Self {
        Self {
            address,
            servers: Vec::new(),
            slots: Vec::new(),
            stale: true,
            asked: None,
        }
    }

    /// Finds out who has what, if that is not known; not more often than is good for the servers.
    pub(super) fn look(&mut self) -> io::Result<()> {
        let soon = |asked: Instant| asked.elapsed() < PAUSE;
        if !self.stale || self.asked.is_some_and(soon) {
            return Ok(());
        }
        self.asked = Some(Instant::now());
        let (nodes, slots) = locate(&self.address, self.servers.iter().map(|one| &one.node))?;
        let mut old = std::mem::take(&mut self.servers);
        self.servers = nodes
            .into_iter()
            .map(|node| match old.iter().position(|one| one.node == node) {
                Some(at) => old.swap_remove(at),
                None => Server::new(node),
            })
            .collect();
        self.slots = slots;
        self.stale = false;
        Ok(())
    }

    /// How many servers hold data.
    pub(super) fn len(&self) -> usize {
        self.servers.len()
    }

    /// Number of the server that has a swarm.
    pub(super) fn of(&self, info_hash: &InfoHash) -> usize {
        if self.slots.is_empty() {
            return 0;
        }
        let slot = slot_of(info_hash.to_string().as_bytes());
        self.slots.get(slot).copied().unwrap_or(0).into()
    }

    /// The key of a swarm. Its hash tag is the info-hash: whatever else a swarm will have is beside it.
    pub(super) fn key(&self, info_hash: &InfoHash) -> String {
        format!("{}:{{{info_hash}}}", self.address.prefix)
    }

    /// The info-hash in a key.
    pub(super) fn swarm_of(&self, key: &[u8]) -> Option<InfoHash> {
        let rest = str::from_utf8(key).ok()?;
        let rest = rest.strip_prefix(self.address.prefix.as_str())?;
        InfoHash::from_hex(rest.strip_prefix(":{")?.strip_suffix('}')?)
    }

    /// How a server calls the script, once there is a connection.
    pub(super) fn script(&self, server: usize) -> &[u8] {
        self.servers.get(server).map_or(&[], |one| &one.script)
    }

    /// Makes sure that there is a connection.
    pub(super) fn connect(&mut self, server: usize) -> io::Result<()> {
        let Some(one) = self.servers.get_mut(server) else {
            self.stale = true;
            return Err(io::ErrorKind::NotConnected.into());
        };
        let connected = one.connect(&self.address).map(drop);
        if let Err(error) = &connected
            && error.kind() != io::ErrorKind::WouldBlock
        {
            one.failed();
            self.stale = true;
        }
        connected
    }

    /// Sends commands to a server and waits for its answers. If that fails, the connection is gone,
    /// and it is asked anew who has what.
    pub(super) fn call(&mut self, server: usize, commands: &Commands) -> io::Result<Vec<Reply>> {
        self.connect(server)?;
        let Some(one) = self.servers.get_mut(server) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let link = one.link.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let replies = link.call(commands, TIME_LIMIT);
        if replies.is_err() {
            one.failed();
            self.stale = true;
        }
        replies
    }

    /// Notes that a server has said that something is elsewhere, or that it is not what it was.
    pub(super) fn moved(&mut self) {
        self.stale = true;
    }

    /// Gives a connection up.
    pub(super) fn forget(&mut self, server: usize) {
        if let Some(one) = self.servers.get_mut(server) {
            one.failed();
        }
        self.stale = true;
    }
}

/// Where news go: the channel of everybody with this prefix.
pub(super) fn channel(address: &SharedAddress) -> String {
    format!("{}:news", address.prefix)
}

/// The servers that hold data, and which slot is where.
pub(super) fn locate<'a>(
    address: &'a SharedAddress,
    known: impl Iterator<Item = &'a Node>,
) -> io::Result<(Vec<Node>, Vec<u16>)> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    match &address.kind {
        Kind::Single => return Ok((address.named.clone(), Vec::new())),
        Kind::Sentinel(name) => {
            for node in &address.named {
                match ask_sentinel(node, name) {
                    Ok(node) => return Ok((vec![node], Vec::new())),
                    Err(error) => last = error,
                }
            }
        }
        Kind::Cluster => {
            for node in known.chain(&address.named) {
                match ask_cluster(node, address) {
                    Ok(map) => return Ok(map),
                    Err(error) => last = error,
                }
            }
        }
    }
    Err(last)
}

fn ask_sentinel(node: &Node, name: &str) -> io::Result<Node> {
    let mut link = Link::open(node, TIME_LIMIT)?;
    let words: [&[u8]; 3] = [b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", name.as_bytes()];
    let reply = link.ask(&words, TIME_LIMIT)?;
    let unknown = || io::Error::other(format!("a Sentinel does not know {name}"));
    match reply.list() {
        [host, port] => {
            let port = port.word().and_then(|port| port.parse().ok());
            host.word().zip(port).ok_or_else(unknown)
        }
        _ => Err(unknown()),
    }
}

fn ask_cluster(node: &Node, address: &SharedAddress) -> io::Result<(Vec<Node>, Vec<u16>)> {
    let mut link = open(node, address)?;
    let reply = link.ask(&[b"CLUSTER", b"SLOTS"], TIME_LIMIT)?;
    let mut nodes: Vec<Node> = Vec::new();
    let mut slots = vec![0; SLOTS];
    for range in reply.list() {
        let [first, last, master, ..] = range.list() else {
            continue;
        };
        let [host, port, ..] = master.list() else {
            continue;
        };
        // An empty host is the one that was asked.
        let host = host.word().filter(|host| !host.is_empty() && host != "?");
        let host = host.unwrap_or_else(|| node.0.clone());
        let Some(port) = port.number().and_then(|port| u16::try_from(port).ok()) else {
            continue;
        };
        let owner = (host, port);
        let known = nodes.iter().position(|one| *one == owner);
        let number = known.unwrap_or_else(|| {
            nodes.push(owner);
            nodes.len() - 1
        });
        let range = first.number().zip(last.number()).and_then(|(first, last)| {
            let (first, last) = (usize::try_from(first).ok()?, usize::try_from(last).ok()?);
            slots.get_mut(first..=last)
        });
        if let Some(range) = range
            && number < MAX_NODES
        {
            range.fill(number as u16);
        }
    }
    if nodes.is_empty() || nodes.len() > MAX_NODES {
        return Err(io::Error::other("the cluster does not say who has what"));
    }
    Ok((nodes, slots))
}

/// The slot of a hash tag: CRC-16/XMODEM modulo 16,384.
fn slot_of(tag: &[u8]) -> usize {
    let crc = tag.iter().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| {
            let out = crc & 0x8000 != 0;
            (crc << 1) ^ if out { 0x1021 } else { 0 }
        })
    });
    usize::from(crc) % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_the_clusters() {
        // The check value of CRC-16/XMODEM, and what `CLUSTER KEYSLOT foo` says.
        assert_eq!(slot_of(b"123456789"), 0x31c3 % SLOTS);
        assert_eq!(slot_of(b"foo"), 12_182);
        assert_eq!(slot_of(b""), 0);
    }

    #[test]
    fn keys_name_their_swarm() {
        let places = Places::new("redis://h?prefix=a.b".parse().expect("an address"));
        let hash = InfoHash([0xab; 20]);
        let key = places.key(&hash);
        assert_eq!(key, format!("a.b:{{{}}}", "ab".repeat(20)));
        assert_eq!(places.swarm_of(key.as_bytes()), Some(hash));
        for key in ["a.b:news", "", "a.b:{ab}", "x", "\u{e9}"] {
            assert_eq!(places.swarm_of(key.as_bytes()), None);
        }
    }
}

//! The numbers of the policy, with their reasons.

/// Limits and times of a [`Store`](super::Store). All times are in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Let downloads begin in a swarm that has no seed (`--allow-seedless`).
    pub allow_seedless: bool,
    /// Serve only swarms that were registered: the tracker that `share` runs is for its own
    /// torrent, and not for everybody who finds the port.
    pub registered_only: bool,

    /// Interval of a leech that waits for a seed. A person is looking at it; 500 waiting hosts are
    /// 250 requests a second.
    pub waiting_interval: u64,
    /// Shortest interval otherwise. Kraken uses 3 s for its whole life; 5 s is still far below the
    /// time a transfer takes that is worth a swarm.
    pub shortest_interval: u64,
    /// Longest interval: what public trackers ask for (opentracker, chihaya). Above an hour, peers are
    /// forgotten before they have missed two announces.
    pub longest_interval: u64,
    /// The interval is the time for which the swarm has been calm, divided by this. With 2, what a
    /// client knows is never older than half of how long it has been true.
    pub calm_divisor: u64,
    /// The part of a swarm whose change counts as a whole turnover, as a divisor: a quarter. Each
    /// peer that comes, leaves or completes takes `calm / (peers / turnover)` off the calm.
    pub turnover: u64,
    /// Announces a second that one swarm may cost, whatever its calm: the interval is at least
    /// peers divided by this. 50 a second for each of a thousand busy swarms is a core's worth of
    /// HTTP.
    pub announces_per_second: u64,
    /// The same for leeches that wait: they are served nothing and cost less.
    pub waiting_per_second: u64,
    /// Intervals vary by so many per cent up and down, so that a fleet that starts together does not
    /// stay together.
    pub jitter_percent: u32,
    /// Longest `min interval`, which is half the interval below it: libtorrent will not come more
    /// often anyway, and a peer that runs out of others should not wait longer.
    pub longest_min_interval: u64,

    /// How often a peer may be expected in vain, in tenths: it is forgotten after 2.2 intervals, so
    /// after two announces that did not come.
    pub expiry_tenths: u64,
    /// Pace of a peer that has not been seen to keep to its interval: libtorrent's
    /// `min_announce_interval`, below which it does not go however short the interval is.
    pub unproven_pace: u64,
    /// A peer is never forgotten sooner than this.
    pub shortest_life: u64,
    /// How long an empty swarm's download count is kept (opentracker: a day).
    pub empty_life: u64,

    /// Peers handed out where the request does not say (BEP 3).
    pub default_numwant: u32,
    /// Most that are handed out: 200 IPv4 peers are a reply of 1,300 bytes, one packet.
    pub max_numwant: u32,
    /// Most swarms. When there are more, a sampled one that is empty or has a single peer makes
    /// room; a registered one never does. A swarm of up to three IPv4 peers costs 72 bytes, so this
    /// is 144 MB.
    pub max_torrents: usize,
    /// Most peers in all swarms together: 8 to 20 bytes each over IPv4 beyond the first three of a
    /// swarm, 20 to 35 over IPv6, so this is 160 MB at the most if all are IPv4. When there are more,
    /// a newcomer takes the place of one in its own swarm, and new swarms are refused.
    pub max_peers: usize,
    /// Most peers of a swarm. When there are more, the one of a few that was heard of least
    /// recently makes room.
    pub max_peers_per_torrent: usize,
    /// Most peers of one IPv4 address, or one IPv6 /64, in a swarm, 255 at the most: hosts behind one
    /// NAT are rarely more. When there are more, one of that address that was heard of least recently
    /// makes room. Loopback is exempt: nobody can come from there but the machine itself.
    pub max_peers_per_address: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            allow_seedless: false,
            registered_only: false,
            waiting_interval: 2_000,
            shortest_interval: 5_000,
            longest_interval: 1_800_000,
            calm_divisor: 2,
            turnover: 4,
            announces_per_second: 50,
            waiting_per_second: 250,
            jitter_percent: 10,
            longest_min_interval: 300_000,
            expiry_tenths: 22,
            unproven_pace: 300_000,
            shortest_life: 20_000,
            empty_life: 86_400_000,
            default_numwant: 50,
            max_numwant: 200,
            max_torrents: 2_000_000,
            max_peers: 8_000_000,
            max_peers_per_torrent: 100_000,
            max_peers_per_address: 200,
        }
    }
}

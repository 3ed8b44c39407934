//! Every number that steers a torrent, with its unit and where it comes from.

use crate::io::SeedGoal;
use crate::time::Duration;

/// Settings of a torrent. [`Config::default`] is what Samara uses.
#[derive(Clone, Debug)]
pub struct Config {
    /// Connections at once. Legout et al. 2006 saw 80 in the mainline client; with 200 a random graph
    /// of a few thousand peers stays connected with room to spare.
    pub peers_max: usize,
    /// Connections at once from one address, or one IPv6 /64. An office behind one NAT has so many peers in
    /// one swarm; whoever takes on many identities gets no more than a sixth of the places. Private and
    /// loopback addresses are exempt: many machines are behind them, and nobody far away.
    pub peers_per_address: usize,
    /// We dial while there are fewer connections than this (mainline: 40 initiated), so that
    /// newcomers find room.
    pub peers_wanted: usize,
    /// Dials under way at once; half-open connections cost the other side too.
    pub dials_max: usize,
    /// Peers served at once besides the optimistic ones: two and one, where mainline has three and one (BEP 3). What is
    /// sent to few is whole, and passed on, earlier, and an idle uplink lets more peers ask anyway: in the simulator's S1
    /// two finish first (0.886; with three 0.882, with one 0.868), and the seed repeats less.
    pub upload_slots: usize,
    /// The same where most peers pass pieces on by parts: then a piece need not be whole early. In the simulator's S1 four finish at
    /// 0.900 and mixed uplinks at 0.902, two at 0.892 and 0.892, eight at 0.906 and 0.895 (with whole pieces in the line, before
    /// decision 0012 was complete); on sockets six and three are worse.
    pub part_slots: usize,
    /// Slots are added up to this many while the uplink is not full or has nothing to do.
    pub upload_slots_max: usize,
    /// Least length of the parts that a piece is passed on by before it is whole, bytes (`torrent/parts.rs`); 0: it is passed on
    /// when it is whole.
    pub part_min: u32,
    /// Whether the first seed of a swarm shows its pieces one by one (super-seeding, BEP 16).
    pub super_seed: bool,
    /// Optimistic unchokes. Cohen 2003: one.
    pub optimistic_slots: usize,
    /// Longest time between choices of whom to serve. Cohen 2003: 10 s, long enough for TCP to reach
    /// its rate.
    pub rechoke_max: Duration,
    /// Shortest time between them; a 1 GiB file on a fast network is gone in a second, and with the
    /// full 10 s the first choice would last for all of it.
    pub rechoke_min: Duration,
    /// The period aims at this many choices in one transfer.
    pub rechokes_per_transfer: u64,
    /// Rechoke periods in one optimistic round. Cohen 2003: every third.
    pub optimistic_rounds: u32,
    /// No block for this long while we wait for some: the peer snubs us. Cohen 2003: 60 s; it
    /// scales with the rechoke period (six of them).
    pub snub_max: Duration,
    /// Pieces chosen at random before rarest first. The issue of the first piece is Cohen's: until
    /// one piece is complete.
    pub random_first: u32,
    /// Requests that a peer may have waiting with us (`reqq`, BEP 10).
    pub request_queue: usize,
    /// Requests we keep waiting with a peer at the least. Cohen 2003: 5.
    pub pipeline_min: usize,
    /// ... and at the most, if the peer does not say less. 512 blocks are 8 MiB: 80 ms at 100 MB/s.
    pub pipeline_max: usize,
    /// Payload that may be held in memory for pieces that are not written yet, bytes. At least two
    /// pieces are always allowed.
    pub memory: u64,
    /// Copies of one request that may be out in the endgame.
    pub endgame_copies: u32,
    /// Payload handed to a connection before the transport has taken what came before, bytes, at
    /// the least and at the most.
    pub serve_window_min: u64,
    /// See [`Config::serve_window_min`].
    pub serve_window_max: u64,
    /// How long a Have may wait for other messages to the same peer, or for more of its kind, if nobody is idle meanwhile.
    pub have_wait: Duration,
    /// A connection that says nothing for this long is closed. BEP 3: keep-alives come every two
    /// minutes.
    pub silence_max: Duration,
    /// We say something at least this often. BEP 3: two minutes, less a margin.
    pub keep_alive: Duration,
    /// Peers wanted from a tracker.
    pub num_want: u32,
    /// How long to stay when complete.
    pub seed_goal: SeedGoal,
    /// With [`SeedGoal::Everyone`]: how long nobody may be lacking before we believe it.
    pub linger: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            peers_max: 200,
            peers_per_address: 32,
            peers_wanted: 60,
            dials_max: 30,
            upload_slots: 2,
            part_slots: 4,
            upload_slots_max: 16,
            part_min: 32 << 10,
            super_seed: true,
            optimistic_slots: 1,
            rechoke_max: Duration::from_secs(10),
            rechoke_min: Duration::from_millis(500),
            rechokes_per_transfer: 20,
            optimistic_rounds: 3,
            snub_max: Duration::from_secs(60),
            random_first: 1,
            request_queue: 2000,
            pipeline_min: 4,
            pipeline_max: 512,
            memory: 24 << 20,
            endgame_copies: 2,
            serve_window_min: 16 << 10,
            serve_window_max: 2 << 20,
            have_wait: Duration::from_millis(250),
            silence_max: Duration::from_secs(150),
            keep_alive: Duration::from_secs(100),
            num_want: 100,
            seed_goal: SeedGoal::Everyone,
            linger: Duration::from_secs(3),
        }
    }
}

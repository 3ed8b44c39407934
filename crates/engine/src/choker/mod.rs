//! Whom to serve.
//!
//! A leech serves those who serve it best (*tit for tat*, Cohen 2003: rates are rolling averages over
//! 20 s) and one more at random (*optimistic unchoke*), three times as likely one that has just come.
//! Peers that snub us get nothing but that chance. A seed gives everybody the same service time,
//! whatever their rates (Legout et al. 2006, the choke of mainline 4.0 in seed state): a sliding set
//! of those unchoked last, with a newcomer in two rounds of three.
//!
//! The choker is handed the standings and returns who is to be unchoked. When to ask it is decided by
//! [`period`]: Cohen's 10 s for long transfers, less for short ones. Cost: O(n log n) for n peers.

use crate::config::Config;
use crate::io::PeerKey;
use crate::rng::Rng;
use crate::time::{Duration, Instant, time_for};
use core::cmp::Reverse;
use std::collections::BTreeSet;

/// Pieces that a peer was given and no other has got from it, from which on it is behind: see [`Choker::first_copy_round`].
const SPREAD_BEHIND: u32 = 2;

/// What the choker knows of a peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    pub(crate) peer: PeerKey,
    /// It wants something from us.
    pub(crate) interested: bool,
    /// It has sent nothing for long though we asked.
    pub(crate) snubbing: bool,
    /// We serve it now.
    pub(crate) unchoked: bool,
    /// Bytes a second from it, rolling.
    pub(crate) from_it: u64,
    /// Bytes a second to it, rolling.
    pub(crate) to_it: u64,
    /// When we last began to serve it.
    pub(crate) unchoked_at: Option<Instant>,
    /// It waits for blocks that it asked for.
    pub(crate) waiting: bool,
    /// When it came.
    pub(crate) came: Instant,
    /// Bytes that we ever sent to it.
    pub(crate) given: u64,
    /// Bytes that we sent to it since we last began to serve it.
    pub(crate) given_in_turn: u64,
    /// Pieces that it was given and that no other has got from it yet.
    pub(crate) unspread: u32,
    /// Bytes that it has asked for and that are not sent, or that it is just about to ask for.
    pub(crate) supply: u64,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Choker {
    round: u32,
    slots: usize,
    slots_min: usize,
    slots_max: usize,
    optimistic_slots: usize,
    optimistic_rounds: u32,
    optimistic: Vec<PeerKey>,
    rng: Rng,
}

/// Time between two rounds: the time that what is left of the transfer takes at the present rate,
/// divided into [`Config::rechokes_per_transfer`] rounds, within the configured bounds.
pub(crate) fn period(config: &Config, bytes_left: u64, rate: u64) -> Duration {
    time_for(bytes_left, rate)
        .divided(config.rechokes_per_transfer)
        .clamp(config.rechoke_min, config.rechoke_max)
}

impl Choker {
    pub(crate) fn new(config: &Config, rng: Rng) -> Self {
        Self {
            round: 0,
            slots: config.upload_slots.max(1),
            slots_min: config.upload_slots.max(1),
            slots_max: config.upload_slots_max.max(config.upload_slots).max(1),
            optimistic_slots: config.optimistic_slots,
            optimistic_rounds: config.optimistic_rounds.max(1),
            optimistic: Vec::new(),
            rng,
        }
    }

    /// Slots in use, optimistic ones included.
    pub(crate) fn slots(&self) -> usize {
        self.slots + self.optimistic_slots
    }

    /// Slots that are given by merit.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn regular_slots(&self) -> usize {
        self.slots
    }

    /// Adds a slot while nobody who is served waits for us (the uplink is not full), takes one away as
    /// soon as most of them do: with few slots a piece is whole, and passed on, early.
    pub(crate) fn adapt(&mut self, served: usize, waiting: usize) {
        if served >= self.slots && waiting == 0 {
            self.slots = (self.slots + 1).min(self.slots_max);
        } else if waiting * 2 >= served && self.slots > self.slots_min {
            self.slots -= 1;
        }
    }

    /// There are at least so many regular slots from now on.
    pub(crate) fn set_least(&mut self, slots: usize) {
        let slots = slots.clamp(1, self.slots_max);
        if self.slots == self.slots_min {
            self.slots = slots;
        }
        self.slots_min = slots;
        self.slots = self.slots.max(slots);
    }

    /// A peer is gone.
    pub(crate) fn forget(&mut self, peer: PeerKey) {
        self.optimistic.retain(|other| *other != peer);
    }

    /// One round while we lack pieces.
    pub(crate) fn leech_round(
        &mut self,
        now: Instant,
        period: Duration,
        standings: &[Standing],
    ) -> BTreeSet<PeerKey> {
        let mut order: Vec<(&Standing, u64)> = standings
            .iter()
            .filter(|standing| standing.interested && !standing.snubbing)
            .map(|standing| (standing, self.rng.next_u64()))
            .collect();
        // Equals stay as they are: a slot that wanders every round serves nobody a whole piece.
        order.sort_by_key(|(standing, tie)| {
            (
                Reverse(standing.from_it),
                Reverse(standing.to_it),
                !standing.unchoked,
                *tie,
            )
        });
        let mut chosen: BTreeSet<PeerKey> = order
            .iter()
            .take(self.slots)
            .map(|(standing, _)| standing.peer)
            .collect();
        self.choose_optimistic(now, period, standings, &chosen);
        chosen.extend(&self.optimistic);
        self.round = self.round.wrapping_add(1);
        chosen
    }

    fn choose_optimistic(
        &mut self,
        now: Instant,
        period: Duration,
        standings: &[Standing],
        regular: &BTreeSet<PeerKey>,
    ) {
        let eligible: Vec<&Standing> = standings
            .iter()
            .filter(|standing| standing.interested && !regular.contains(&standing.peer))
            .collect();
        let rotate = self.round.is_multiple_of(self.optimistic_rounds);
        self.optimistic
            .retain(|peer| !rotate && eligible.iter().any(|s| s.peer == *peer));
        while self.optimistic.len() < self.optimistic_slots {
            let newcomer = period.times(u64::from(self.optimistic_rounds));
            let mut lots = Vec::new();
            for standing in &eligible {
                if self.optimistic.contains(&standing.peer) {
                    continue;
                }
                // Cohen: a new connection starts three times as likely.
                let weight = if now.since(standing.came) < newcomer {
                    3
                } else {
                    1
                };
                lots.extend(core::iter::repeat_n(standing.peer, weight));
            }
            let Some(&peer) = self.rng.choose(&lots) else {
                return;
            };
            self.optimistic.push(peer);
        }
    }

    /// One round while we are the only one who has everything: turns are counted in bytes, not in time.
    /// Whoever has had `turn` bytes makes room for those who have had least, so that as soon as possible
    /// everybody has something to give. Nobody is interrupted in its turn. Slots are added while those who have one will have
    /// asked for less than `supply` bytes; what is given to slow uplinks is late everywhere, so not for who has
    /// [`SPREAD_BEHIND`] pieces to pass on, unless the swarm is `behind` as a whole.
    pub(crate) fn first_copy_round(
        &mut self,
        (turn, supply, behind): (u64, u64, bool),
        standings: &[Standing],
    ) -> BTreeSet<PeerKey> {
        self.optimistic.clear();
        let mut order: Vec<(&Standing, u64)> = standings
            .iter()
            .filter(|standing| standing.interested)
            .map(|standing| (standing, self.rng.next_u64()))
            .collect();
        let in_turn = |standing: &Standing| standing.unchoked && standing.given_in_turn < turn;
        order.sort_by_key(|(standing, tie)| {
            (!in_turn(standing), standing.unspread, standing.given, *tie)
        });
        let order = order.iter().map(|(standing, _)| *standing);
        let first = order.clone().take(self.slots());
        let mut chosen: BTreeSet<PeerKey> = first.map(|standing| standing.peer).collect();
        let mut supplied = 0;
        for standing in order {
            let goes_on = in_turn(standing);
            let wanted = supplied < supply && (behind || standing.unspread < SPREAD_BEHIND);
            if goes_on || chosen.contains(&standing.peer) || wanted && chosen.len() < self.slots_max
            {
                chosen.insert(standing.peer);
                let more = if goes_on { standing.supply } else { turn };
                supplied = supplied.saturating_add(more);
            }
        }
        chosen
    }

    /// One round when we have everything.
    pub(crate) fn seed_round(
        &mut self,
        now: Instant,
        period: Duration,
        standings: &[Standing],
    ) -> BTreeSet<PeerKey> {
        self.optimistic.clear();
        let slots = self.slots();
        // A turn ends because newcomers push the oldest out: one in two rounds of three, so after one and a half rounds
        // for each slot. Within that time it does not matter whether a peer waits: all requests of a slow one may be with
        // its transport. (With two rounds here, slow leeches had half of the others' time.)
        let recent = period.times(2 * slots as u64);
        let mut order: Vec<(&Standing, u64)> = standings
            .iter()
            .filter(|standing| standing.interested)
            .map(|standing| (standing, self.rng.next_u64()))
            .collect();
        order.sort_by_key(|(standing, tie)| {
            let fresh = standing.unchoked
                && (standing.waiting
                    || standing
                        .unchoked_at
                        .is_some_and(|at| now.since(at) < recent));
            let last = if fresh { standing.unchoked_at } else { None };
            (!fresh, Reverse(last), Reverse(standing.to_it), *tie)
        });
        let newcomers = usize::from(!self.round.is_multiple_of(3));
        let keep = slots.saturating_sub(newcomers).max(1);
        let mut chosen: BTreeSet<PeerKey> = order
            .iter()
            .take(keep)
            .map(|(standing, _)| standing.peer)
            .collect();
        let rest: Vec<PeerKey> = order
            .iter()
            .filter(|(standing, _)| !chosen.contains(&standing.peer) && !standing.unchoked)
            .map(|(standing, _)| standing.peer)
            .collect();
        if chosen.len() < slots
            && let Some(&peer) = self.rng.choose(&rest)
        {
            chosen.insert(peer);
        }
        // A slot that no choked peer wants stays with who has it.
        for (standing, _) in &order {
            if chosen.len() >= slots {
                break;
            }
            chosen.insert(standing.peer);
        }
        self.round = self.round.wrapping_add(1);
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Seed;

    fn choker(seed: u64) -> Choker {
        let config = Config {
            upload_slots: 4,
            ..Config::default()
        };
        Choker::new(&config, Rng::new(Seed(seed), "choker"))
    }

    fn standing(peer: u32, from_it: u64) -> Standing {
        Standing {
            peer: PeerKey(peer),
            interested: true,
            snubbing: false,
            unchoked: false,
            from_it,
            to_it: 0,
            unchoked_at: None,
            waiting: false,
            came: Instant::ZERO,
            given: 0,
            given_in_turn: 0,
            unspread: 0,
            supply: 0,
        }
    }

    const TEN: Duration = Duration::from_secs(10);

    #[test]
    fn the_best_givers_are_served_and_one_more() {
        let mut table: Vec<_> = (0..10).map(|n| standing(n, u64::from(n) * 100)).collect();
        table[9].interested = false;
        table[8].snubbing = true;
        for seed in 0..50 {
            let chosen = choker(seed).leech_round(Instant::ZERO, TEN, &table);
            for best in [7, 6, 5, 4] {
                assert!(chosen.contains(&PeerKey(best)));
            }
            assert_eq!(chosen.len(), 5);
            assert!(!chosen.contains(&PeerKey(9)));
        }
    }

    #[test]
    fn the_optimistic_slot_stays_for_three_rounds_and_reaches_everybody() {
        let table: Vec<_> = (0..12)
            .map(|n| standing(n, if n < 4 { 1000 } else { 0 }))
            .collect();
        let mut choker = choker(3);
        let mut seen = BTreeSet::new();
        for round in 0..300u64 {
            let before = choker.optimistic.clone();
            choker.leech_round(Instant::ZERO + TEN.times(1000 + round), TEN, &table);
            if round % 3 != 0 {
                assert_eq!(choker.optimistic, before);
            }
            seen.extend(choker.optimistic.clone());
        }
        assert_eq!(
            seen.len(),
            8,
            "every peer outside the regular slots had its chance"
        );
    }

    #[test]
    fn newcomers_are_three_times_as_likely() {
        let now = Instant::ZERO + Duration::from_secs(1000);
        let mut table: Vec<_> = (0..8)
            .map(|n| standing(n, if n < 4 { 1000 } else { 0 }))
            .collect();
        table[7].came = now;
        let mut newcomer = 0;
        for seed in 0..3000 {
            let mut choker = choker(seed);
            choker.leech_round(now, TEN, &table);
            newcomer += u32::from(choker.optimistic == [PeerKey(7)]);
        }
        assert!(
            (1350..1650).contains(&newcomer),
            "{newcomer} of 3000, 1500 expected"
        );
    }

    #[test]
    fn equals_keep_their_slots() {
        let mut table: Vec<_> = (0..9).map(|n| standing(n, 0)).collect();
        for n in [1, 3, 5, 7] {
            table[n].unchoked = true;
        }
        let chosen = choker(1).leech_round(Instant::ZERO, TEN, &table);
        assert!([1, 3, 5, 7].iter().all(|n| chosen.contains(&PeerKey(*n))));
    }

    /// Legout: the same service time for all, whatever they take.
    #[test]
    fn a_seed_serves_everybody_alike() {
        let mut choker = choker(11);
        let mut table: Vec<_> = (0..20).map(|n| standing(n, 0)).collect();
        for (n, standing) in table.iter_mut().enumerate() {
            standing.to_it = n as u64 * 1000;
        }
        let mut service = [0u32; 20];
        let rounds = 6000u64;
        for round in 0..rounds {
            let now = Instant::ZERO + TEN.times(round);
            let chosen = choker.seed_round(now, TEN, &table);
            assert_eq!(chosen.len(), 5);
            for standing in &mut table {
                let unchoked = chosen.contains(&standing.peer);
                if unchoked && !standing.unchoked {
                    standing.unchoked_at = Some(now);
                }
                standing.unchoked = unchoked;
                // Of every other one the transport has taken all requests.
                standing.waiting = unchoked && standing.peer.0.is_multiple_of(2);
                service[standing.peer.0 as usize] += u32::from(unchoked);
            }
        }
        let fair = rounds as u32 * 5 / 20;
        for (peer, time) in service.iter().enumerate() {
            let low = fair * 85 / 100;
            let high = fair * 115 / 100;
            assert!(
                (low..high).contains(time),
                "peer {peer}: {time} rounds, {fair} is fair"
            );
        }
    }

    #[test]
    fn until_the_first_copy_is_out_turns_go_to_who_has_had_least() {
        let mut choker = choker(1);
        let mut table: Vec<_> = (0..9).map(|n| standing(n, 0)).collect();
        for (n, standing) in table.iter_mut().enumerate() {
            standing.given = n as u64 * 100;
        }
        let chosen = choker.first_copy_round((1000, 0, false), &table);
        assert_eq!(chosen, (0..5).map(PeerKey).collect());
        for n in [7, 8] {
            table[n].unchoked = true;
        }
        table[7].given_in_turn = 999;
        table[8].given_in_turn = 1000;
        let chosen = choker.first_copy_round((1000, 0, false), &table);
        assert!(chosen.contains(&PeerKey(7)), "its piece is not whole yet");
        assert!(!chosen.contains(&PeerKey(8)), "its turn is over");
    }

    /// Five in the middle of their turns, who will ask for 100 bytes more each, and seven that wait.
    fn in_turn() -> Vec<Standing> {
        let mut table: Vec<_> = (0..12).map(|n| standing(n, 0)).collect();
        for standing in table.iter_mut().take(5) {
            standing.unchoked = true;
            standing.given_in_turn = 900;
            standing.supply = 100;
        }
        table
    }

    #[test]
    fn slots_are_added_while_too_little_is_asked_for() {
        let mut choker = choker(1);
        let table = in_turn();
        for (supply, slots) in [
            (0, 5),
            (500, 5),
            (501, 6),
            (1500, 6),
            (2500, 7),
            (1 << 40, 12),
        ] {
            let chosen = choker.first_copy_round((1000, supply, false), &table);
            assert_eq!(chosen.len(), slots, "{supply} bytes wanted");
            assert!((0..5).all(|peer| chosen.contains(&PeerKey(peer))));
        }
    }

    #[test]
    fn nobody_is_interrupted_in_its_turn() {
        let mut choker = choker(1);
        let mut table = in_turn();
        for standing in &mut table {
            (standing.unchoked, standing.supply) = (true, 500);
        }
        let chosen = choker.first_copy_round((1000, 100, false), &table);
        assert_eq!(chosen.len(), 12, "slots that were added stay for a turn");
        table[3].given_in_turn = 1000;
        let chosen = choker.first_copy_round((1000, 100, false), &table);
        assert!(chosen.len() == 11 && !chosen.contains(&PeerKey(3)));
    }

    #[test]
    fn added_slots_pass_over_who_cannot_pass_on_what_it_has() {
        let mut choker = choker(1);
        let mut table = in_turn();
        for standing in table.iter_mut().skip(5) {
            standing.unspread = SPREAD_BEHIND;
        }
        let chosen = choker.first_copy_round((1000, 10_000, false), &table);
        assert_eq!(chosen.len(), 5, "they have enough to do");
        let chosen = choker.first_copy_round((1000, 10_000, true), &table);
        assert_eq!(chosen.len(), 12, "the seed is faster than all of them");
    }

    #[test]
    fn a_new_least_of_slots_holds_at_once_and_keeps_those_that_were_added() {
        let mut choker = choker(1);
        choker.set_least(2);
        assert_eq!(choker.slots, 2);
        choker.set_least(4);
        assert_eq!(choker.slots, 4);
        choker.adapt(4, 0);
        choker.set_least(2);
        assert_eq!(
            choker.slots, 5,
            "one was added because the uplink was not full"
        );
        choker.adapt(5, 5);
        choker.set_least(0);
        assert_eq!(choker.slots, 4, "it falls one by one");
    }

    #[test]
    fn slots_follow_the_uplink() {
        let mut choker = choker(1);
        for _ in 0..100 {
            choker.adapt(choker.slots, 0);
        }
        assert_eq!(choker.slots, 16);
        for _ in 0..100 {
            choker.adapt(choker.slots, choker.slots);
        }
        assert_eq!(choker.slots, 4);
    }

    #[test]
    fn the_period_scales_with_the_transfer() {
        let config = Config::default();
        let gib = 1 << 30;
        assert_eq!(period(&config, gib, 0), config.rechoke_max);
        assert_eq!(period(&config, gib, 100_000), config.rechoke_max);
        assert_eq!(period(&config, gib, 1 << 30), config.rechoke_min);
        assert_eq!(
            period(&config, 64 << 20, 64 << 20 >> 5),
            Duration::from_millis(1600)
        );
    }
}

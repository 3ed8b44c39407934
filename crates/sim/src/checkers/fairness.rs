//! Nobody is starved, equals are treated alike, and giving nothing does not pay.

use super::service::Book;
use super::{Checker, Complaints, Ledger, Seen, Stage, Sums};
use samara_engine::{Duration, Instant};
use std::cell::RefCell;
use std::rc::Rc;

/// A seed draws whose turn is next among those that wait, so that a leech misses `k` turns that it would have had
/// on average once in e^k. Sixteen is once in nine million.
const MISSED_MAX: f64 = 16.0;

/// Turns that a seed must have given to each leech on average before their service times are compared: with
/// so many, chance alone spreads them by a quarter.
const TURNS_MIN: u32 = 16;

/// Factor between a leech's service time and the median of all. Legout et al. 2006: equal.
const SERVICE_FACTOR: f64 = 3.0;

/// Least of Jain's index over what leeches that are alike have sent: one half is what it is if every other
/// one sends nothing.
const JAIN_MIN: f64 = 0.75;

/// Leeches that must be alike before their sums are compared.
const ALIKE_MIN: usize = 6;

/// Leeches that come within this time of each other are alike if all else is.
const TOGETHER: Duration = Duration::from_millis(100);

/// Bytes that leeches must have sent on average before their uploads are compared: 64 blocks.
const SENT_MIN: u64 = 1 << 20;

/// Pieces for each leech at the least: with fewer, most have nothing that others lack.
const PIECES_EACH: usize = 2;

/// Part of the median finish of those who give before which none who gives nothing may finish, where capacity
/// is scarce. It should be 1; one rider among eight who give is done in 0.87 of it (`riders`).
const RIDERS_NOT_BEFORE: f64 = 0.8;

/// Transfers that are over before this are not judged by it. Rates are rolling averages over 20 s (Cohen
/// 2003): until then a leech cannot tell who gives from who does not.
const RIDERS_KNOWN_AFTER: f64 = 25.0;

/// Jain, Chiu and Hawe 1984: 1 if all are equal, 1/n if one has everything.
#[must_use]
pub fn jain(values: &[f64]) -> f64 {
    let sum: f64 = values.iter().sum();
    let squares: f64 = values.iter().map(|value| value * value).sum();
    if squares == 0.0 {
        return 1.0;
    }
    sum * sum / (values.len() as f64 * squares)
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Fairness {
    stage: Stage,
    book: Book,
    finished: Vec<Option<Instant>>,
    left: Vec<bool>,
    wrong: Complaints,
}

impl Fairness {
    /// For a world that is about to start.
    #[must_use]
    pub fn new(stage: &Stage) -> Self {
        Self {
            book: Book::new(stage),
            finished: vec![None; stage.hosts.len()],
            left: vec![false; stage.hosts.len()],
            wrong: Complaints::default(),
            stage: stage.clone(),
        }
    }

    /// Legout's criterion for each host in seed state.
    fn unequal_service(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (seed, cast) in (0u32..).zip(&self.stage.hosts) {
            if !cast.honest {
                continue;
            }
            let of_seed: Vec<_> = self.book.pairs().filter(|pair| pair.0 == seed).collect();
            let longest = of_seed.iter().map(|(_, _, pair)| pair.wanted).max();
            let long = longest.unwrap_or_default().divided(2);
            let mut shares: Vec<(f64, u32)> = of_seed
                .iter()
                .filter(|(_, _, pair)| pair.wanted > long)
                .map(|(_, leech, pair)| (share(pair.served, pair.wanted), *leech))
                .collect();
            let turns = self.book.turns(seed);
            if shares.len() < ALIKE_MIN || turns < TURNS_MIN * shares.len() as u32 {
                continue;
            }
            shares.sort_by(|a, b| a.0.total_cmp(&b.0));
            let median = shares[shares.len() / 2].0;
            for (share, leech) in [shares[0], shares[shares.len() - 1]] {
                if share * SERVICE_FACTOR < median || share > median * SERVICE_FACTOR {
                    wrong.push(format!(
                        "seed {seed} serves leech {leech} for {share:.3} of the time that it wants something, \
                         half of the others for {median:.3}"
                    ));
                }
            }
        }
        wrong
    }

    /// Leeches that differ in nothing but in what they give, in groups.
    fn alike(&self) -> Vec<Vec<usize>> {
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for (at, host) in self.stage.hosts.iter().enumerate() {
            if host.seed || self.stage.lacks[at].is_some() || !(host.honest || host.rides) {
                continue;
            }
            let fits = |group: &&mut Vec<usize>| {
                let first = &self.stage.hosts[group[0]];
                let apart = host.arrives.since(first.arrives);
                first.link == host.link
                    && first.dialled == host.dialled
                    && apart.max(first.arrives.since(host.arrives)) < TOGETHER
            };
            match groups.iter_mut().find(fits) {
                Some(group) => group.push(at),
                None => groups.push(vec![at]),
            }
        }
        groups
    }

    fn unequal_uploads(&self, group: &[usize], sums: &Sums) -> Option<String> {
        let honest = group.iter().filter(|at| self.stage.hosts[**at].honest);
        let sent: Vec<f64> = honest.map(|at| sums.hosts[*at].served as f64).collect();
        let all: f64 = sent.iter().sum();
        let left_early = group.iter().any(|at| self.left[*at]);
        let few = (self.stage.geometry.pieces() as usize) < PIECES_EACH * self.stage.hosts.len();
        if few || left_early || sent.len() < ALIKE_MIN || all < SENT_MIN as f64 * sent.len() as f64
        {
            return None;
        }
        let index = jain(&sent);
        (index < JAIN_MIN).then(|| {
            format!(
                "leeches that are alike send unequally: Jain's index is {index:.3} over {sent:?}"
            )
        })
    }

    /// Whether leeches' uplinks decide when the last one finishes: who gives nothing then lives on the others.
    fn scarce(&self) -> bool {
        let total = self.stage.geometry.data_total() as f64;
        let hosts = &self.stage.hosts;
        let up = |seeds: bool| -> f64 {
            let them = hosts
                .iter()
                .filter(|host| host.seed == seeds && !host.rides);
            them.map(|host| host.link.up as f64).sum()
        };
        let leeches: Vec<_> = hosts.iter().filter(|host| !host.seed).collect();
        let down = leeches.iter().map(|host| host.link.down).min();
        let together = leeches.len() as f64 * total / (up(true) + up(false)).max(1.0);
        // Where the seed alone could do it, nobody depends on what others give.
        up(false) > up(true) && together > 2.0 * total / down.unwrap_or(1).max(1) as f64
    }

    fn riders_ahead(&self, group: &[usize], sums: &Sums) -> Option<String> {
        let times = |rides: bool| {
            let them = group
                .iter()
                .filter(|at| self.stage.hosts[**at].rides == rides);
            // Who has not finished is as late as can be.
            let finish = |at: &usize| self.finished[*at].unwrap_or(sums.ended);
            let mut times: Vec<Instant> = them.map(finish).collect();
            times.sort_unstable();
            times
        };
        let (giving, riding) = (times(false), times(true));
        if giving.len() < ALIKE_MIN || !self.scarce() {
            return None;
        }
        let median = giving[giving.len() / 2].since(Instant::ZERO).as_nanos() as f64 / 1e9;
        let first = riding.first()?.since(Instant::ZERO).as_nanos() as f64 / 1e9;
        (median > RIDERS_KNOWN_AFTER && first < RIDERS_NOT_BEFORE * median).then(|| {
            format!(
                "who gives nothing has everything after {first:.1} s, half of those who give only after \
                 {median:.1} s"
            )
        })
    }
}

fn share(part: Duration, whole: Duration) -> f64 {
    part.as_nanos() as f64 / whole.as_nanos().max(1) as f64
}

impl Checker for Fairness {
    fn name(&self) -> &'static str {
        "fairness"
    }

    fn see(&mut self, now: Instant, seen: &Seen<'_>, _ledger: Option<&Ledger>) {
        match *seen {
            Seen::Finished { host } => self.finished[host as usize] = Some(now),
            Seen::Left { host } => self.left[host as usize] = true,
            _ => {}
        }
        for over in self.book.note(now, seen) {
            let honest = self.stage.hosts[over.seed as usize].honest;
            if honest && over.before < MISSED_MAX && over.missed >= MISSED_MAX {
                let text = format!(
                    "seed {} has passed over leech {} {} times, {MISSED_MAX} of them its own",
                    over.seed, over.leech, over.turns
                );
                self.wrong.say(now, || text);
            }
        }
    }

    fn verdict(&mut self, sums: &Sums) -> Vec<String> {
        let mut wrong = self.wrong.take();
        self.book.close(sums.ended);
        if !self.stage.undisturbed {
            return wrong;
        }
        wrong.extend(self.unequal_service());
        for group in self.alike() {
            wrong.extend(self.unequal_uploads(&group, sums));
            wrong.extend(self.riders_ahead(&group, sums));
        }
        wrong
    }
}

/// Watches service and says nothing about it: for those who want the figures. It watches until the first leech
/// has everything. After that fewer share the seed; who is slow stays longest and has it to itself in the end, which
/// would look as if it were favoured.
#[derive(Debug)]
pub struct Shares {
    book: Rc<RefCell<Book>>,
    over: bool,
}

impl Shares {
    /// A watcher, and the book that it writes.
    #[must_use]
    pub fn new(stage: &Stage) -> (Self, Rc<RefCell<Book>>) {
        let book = Rc::new(RefCell::new(Book::new(stage)));
        let watcher = Self {
            book: Rc::clone(&book),
            over: false,
        };
        (watcher, book)
    }
}

impl Checker for Shares {
    fn name(&self) -> &'static str {
        "shares"
    }

    fn see(&mut self, now: Instant, seen: &Seen<'_>, _ledger: Option<&Ledger>) {
        if self.over {
            return;
        }
        let mut book = self.book.borrow_mut();
        book.note(now, seen);
        if let Seen::Finished { host } = *seen
            && !book.is_seed(host)
        {
            book.close(now);
            self.over = true;
        }
    }

    fn verdict(&mut self, sums: &Sums) -> Vec<String> {
        if !self.over {
            self.book.borrow_mut().close(sums.ended);
        }
        Vec::new()
    }
}

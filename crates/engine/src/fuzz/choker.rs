//! Rounds of choosing whom to serve, with any standings.

use crate::choker::{Choker, Standing, period};
use crate::config::Config;
use crate::io::PeerKey;
use crate::rng::{Rng, Seed};
use crate::time::{Duration, Instant};
use arbitrary::{Result, Unstructured};
use std::collections::BTreeSet;

/// Rounds of one history; what follows is not looked at.
const ROUNDS: usize = 100;

/// Only who is there and wants something is served, never more than there are slots, and no slot is empty
/// that somebody wants; what a leech gives in return decides; the period keeps its bounds.
pub fn choker(data: &[u8]) {
    let _ = run(&mut Unstructured::new(data));
}

fn standing(u: &mut Unstructured<'_>, peer: u32, now: Instant) -> Result<Standing> {
    let rate = |u: &mut Unstructured<'_>| -> Result<u64> {
        Ok(match u.arbitrary::<u8>()? {
            255 => u64::MAX,
            n => u64::from(n / 32) * 1000,
        })
    };
    let ago = |u: &mut Unstructured<'_>| -> Result<Instant> {
        let back = Duration::from_millis(u64::from(u.arbitrary::<u16>()?));
        Ok(Instant::ZERO + now.since(Instant::ZERO + back))
    };
    Ok(Standing {
        peer: PeerKey(peer),
        interested: u.arbitrary::<u8>()? % 4 != 0,
        snubbing: u.arbitrary::<u8>()? % 4 == 0,
        unchoked: false,
        from_it: rate(u)?,
        to_it: rate(u)?,
        unchoked_at: if u.arbitrary()? { Some(ago(u)?) } else { None },
        waiting: u.arbitrary()?,
        came: ago(u)?,
        unspread: u32::from(u.arbitrary::<u8>()? % 4),
        supply: u64::from(u.arbitrary::<u16>()?),
        given: rate(u)?,
        given_in_turn: rate(u)?,
    })
}

fn run(u: &mut Unstructured<'_>) -> Result<()> {
    let config = Config {
        upload_slots: usize::from(u.arbitrary::<u8>()? % 5),
        upload_slots_max: usize::from(u.arbitrary::<u8>()? % 20),
        optimistic_slots: usize::from(u.arbitrary::<u8>()? % 3),
        optimistic_rounds: u32::from(u.arbitrary::<u8>()? % 4),
        ..Config::default()
    };
    let most = config.upload_slots_max.max(config.upload_slots).max(1) + config.optimistic_slots;
    let mut choker = Choker::new(
        &config,
        Rng::new(Seed(u64::from(u.arbitrary::<u8>()?)), "c"),
    );
    let mut now = Instant::ZERO + Duration::from_secs(100);
    let mut served = BTreeSet::new();
    for _ in 0..ROUNDS {
        if u.is_empty() {
            break;
        }
        let length = period(&config, u.arbitrary()?, u.arbitrary()?);
        assert!((config.rechoke_min..=config.rechoke_max).contains(&length));
        now = now + length;
        let mut standings = Vec::new();
        for peer in 0..u32::from(u.arbitrary::<u8>()? % 12) {
            let mut one = standing(u, peer, now)?;
            one.unchoked = served.contains(&one.peer);
            standings.push(one);
        }
        if u.arbitrary::<u8>()? % 4 == 0 {
            choker.forget(PeerKey(u32::from(u.arbitrary::<u8>()? % 12)));
        }
        choker.adapt(
            usize::from(u.arbitrary::<u8>()? % 12),
            usize::from(u.arbitrary::<u8>()? % 12),
        );
        let kind = u.arbitrary::<u8>()? % 3;
        let turn = u.arbitrary()?;
        let chosen = match kind {
            0 => choker.leech_round(now, length, &standings),
            1 => choker.seed_round(now, length, &standings),
            _ => choker.first_copy_round((turn, u.arbitrary()?, u.arbitrary()?), &standings),
        };
        if kind == 2 {
            check_first_copy(turn, &chosen, &standings, (&choker, most));
        } else {
            check(kind, &chosen, &standings, &choker);
        }
        assert!(choker.slots() <= most);
        served = chosen;
    }
    Ok(())
}

/// While pieces are shown one by one slots are added, and nobody is interrupted.
fn check_first_copy(
    turn: u64,
    chosen: &BTreeSet<PeerKey>,
    standings: &[Standing],
    (choker, most): (&Choker, usize),
) {
    let wants = |standing: &&Standing| standing.interested;
    let wanting: Vec<&Standing> = standings.iter().filter(wants).collect();
    let known = |peer: &PeerKey| wanting.iter().any(|standing| standing.peer == *peer);
    assert!(chosen.iter().all(known), "serves who wants nothing");
    let in_turn = wanting
        .iter()
        .filter(|one| one.unchoked && one.given_in_turn < turn);
    let in_turn: Vec<PeerKey> = in_turn.map(|one| one.peer).collect();
    assert!(
        in_turn.iter().all(|peer| chosen.contains(peer)),
        "interrupted"
    );
    let least = choker.slots().min(wanting.len());
    assert!(chosen.len() >= least, "an empty slot that is wanted");
    assert!(
        chosen.len() <= most.max(least + in_turn.len()),
        "more than the slots"
    );
}

fn check(kind: u8, chosen: &BTreeSet<PeerKey>, standings: &[Standing], choker: &Choker) {
    let slots = choker.slots();
    assert!(chosen.len() <= slots, "more than the slots");
    let wants = |standing: &&Standing| standing.interested;
    let wanting: Vec<&Standing> = standings.iter().filter(wants).collect();
    for peer in chosen {
        assert!(
            wanting.iter().any(|standing| standing.peer == *peer),
            "serves who wants nothing"
        );
    }
    if kind != 0 {
        assert_eq!(
            chosen.len(),
            slots.min(wanting.len()),
            "an empty slot that is wanted"
        );
        return;
    }
    // Whoever gives more than one who is served by merit is served as well: only the optimistic may be
    // served with less.
    let left_out = wanting
        .iter()
        .filter(|standing| !standing.snubbing && !chosen.contains(&standing.peer))
        .map(|standing| standing.from_it)
        .max();
    if let Some(most) = left_out {
        let below = wanting
            .iter()
            .filter(|s| chosen.contains(&s.peer) && (s.from_it < most || s.snubbing));
        assert!(
            below.count() <= slots - choker.regular_slots(),
            "served by chance, not by merit"
        );
    }
}

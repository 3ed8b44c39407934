//! What the literature found is found here, in small settings; `samara-sim --suite published --full` has them
//! as published.

use samara_sim::published::{PARTS, Size};

fn holds(name: &str) {
    let (_, part) = PARTS.iter().find(|(part, _)| *part == name).expect("known");
    let rows = part(Size::Quick);
    let text: Vec<String> = rows.iter().map(ToString::to_string).collect();
    println!("{}", text.join("\n"));
    assert!(rows.iter().all(|row| row.holds), "\n{}", text.join("\n"));
}

#[test]
fn the_discrete_optimum_is_never_beaten() {
    holds("optimum");
}

#[test]
fn uplinks_are_used_whatever_the_size() {
    holds("sizes");
}

#[test]
fn a_slow_seed_has_its_knee() {
    holds("knee");
}

#[test]
fn a_seed_serves_for_equal_times() {
    holds("service");
}

#[test]
fn pieces_shown_one_by_one_are_sent_once() {
    holds("copies");
}

#[test]
fn the_fluid_bound_is_never_beaten() {
    holds("bound");
}

#[test]
fn a_missing_piece_makes_a_swarm_grow_and_staying_cures_it() {
    holds("missing");
}

#[test]
fn random_pieces_are_worse_than_rarest_first_and_a_seed_that_chooses_is_better() {
    holds("policies");
}

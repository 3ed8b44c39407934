//! What the literature found is found here, in small settings; `samara-sim --suite published --full` has them
//! as published.

use samara_sim::published::{PARTS, Size};

fn holds(part: usize) {
    let rows = PARTS[part](Size::Quick);
    let text: Vec<String> = rows.iter().map(ToString::to_string).collect();
    println!("{}", text.join("\n"));
    assert!(rows.iter().all(|row| row.holds), "\n{}", text.join("\n"));
}

#[test]
fn the_discrete_optimum_is_never_beaten() {
    holds(0);
}

#[test]
fn uplinks_are_used_whatever_the_size() {
    holds(1);
}

#[test]
fn a_slow_seed_has_its_knee() {
    holds(2);
}

#[test]
fn a_seed_serves_for_equal_times() {
    holds(3);
}

#[test]
fn pieces_shown_one_by_one_are_sent_once() {
    holds(4);
}

#[test]
fn the_fluid_bound_is_never_beaten() {
    holds(5);
}

#[test]
fn a_missing_piece_makes_a_swarm_grow_and_staying_cures_it() {
    holds(6);
}

//! Whole swarms. What has to hold in every run (legality, sums, progress, the bound) is the checkers'
//! business; a test only says what it is about.

mod faults;
mod graph;
mod planted;
mod published;
mod swarms;

//! `cargo xtask deny`: what comes in with dependencies. `deny.toml` says what may.

use super::step;
use std::process::Command;

/// The database of advisories is a git repository; where it cannot be reached the rest is still worth knowing.
pub fn run() -> Result<(), String> {
    let there = Command::new("cargo").args(["deny", "--version"]).output();
    if !there.is_ok_and(|output| output.status.success()) {
        return Err("cargo-deny is not here: cargo install --locked cargo-deny".to_owned());
    }
    step("cargo", &["deny", "check", "bans", "licenses", "sources"])?;
    step("cargo", &["deny", "check", "advisories"]).map_err(|error| {
        format!(
            "{error} (licences, bans and sources are well; if the database of advisories could not be fetched, \
             this says nothing about them: try again with a network)"
        )
    })
}

//! `cargo xtask hostile`: a leech, honest others and a seed among hostile peers, on real sockets. The test in
//! `crates/samara/tests/it/hostile` does it; here it gets its size.

use std::process::Command;

pub const USAGE: &str = "\
cargo xtask hostile [--peers N] [--minutes M] [--mib SIZE] [--rate RATE]
                           a download among N hostile peers (200) for M minutes (10), of SIZE MiB (400) from a seed
                           that gives RATE bytes a second (1M); fails if its memory passes the budget";

const TEST: &str = "hostile::attack_15_a_leech_among_hostile_peers_finishes_within_its_budget";

pub fn run(args: &[&str]) -> Result<(), String> {
    let (mut peers, mut minutes, mut mib, mut rate) = (200, 10, 400, "1M");
    let mut args = args.iter();
    while let Some(flag) = args.next() {
        let value = args.next().ok_or_else(|| format!("{flag} needs a value"))?;
        let number = || -> Result<u32, String> {
            value
                .parse()
                .map_err(|_| format!("{flag} {value}: not a number"))
        };
        match *flag {
            "--peers" => peers = number()?,
            "--minutes" => minutes = number()?,
            "--mib" => mib = number()?,
            "--rate" => rate = value,
            _ => return Err(format!("unknown flag {flag}\n{USAGE}")),
        }
    }
    let mut command = Command::new("cargo");
    command
        .args(["test", "-p", "samara", "--test", "it", "--", "--exact"])
        .args([TEST, "--nocapture"])
        .current_dir(super::root())
        .env("SAMARA_HOSTILE_PEERS", peers.to_string())
        .env("SAMARA_HOSTILE_SECONDS", (minutes * 60).to_string())
        .env("SAMARA_HOSTILE_MIB", mib.to_string())
        .env("SAMARA_HOSTILE_RATE", rate);
    let status = command.status();
    let status = status.map_err(|error| format!("cannot run cargo: {error}"))?;
    match status.success() {
        true => Ok(()),
        false => Err("the test failed; what it said is above".to_owned()),
    }
}

//! The command line.

use crate::plan::Mix;
use std::fmt::Display;
use std::net::SocketAddr;
use std::str::FromStr;

pub(crate) const HELP: &str = "\
samara-load: open-loop load for UDP trackers

    samara-load --target IP:PORT [--target IP:PORT ...] [settings]

  --target IP:PORT   a tracker's address; several (IPv4 and IPv6) share the load
  --rate N           questions a second, at random times (100000)
  --seconds N        how long, after every peer has come once (30)
  --fill-rate N      questions a second until then (the rate)
  --clients N        client addresses for each target (512)
  --prefix6 HEX      IPv6 clients are in networks of their own from this one on: the first 64 bits,
                     as 16 hexadecimal digits; without it all have the machine's own address
  --peers N          peers (2000000)
  --torrents N       torrents (1000000)
  --zipf S           exponent of the torrents' popularity (0.8)
  --seeds S          share of seeds (0.75)
  --numwant N        peers wanted (30)
  --scrapes S        share of scrapes (0.01)
  --churn S          share of announces that are goodbyes; somebody else comes instead (0.02)
  --forged S         share of packets with an id of somebody else, or of nobody (0.02)
  --malformed S      share of packets that are no request (0.01)
  --pid N            the tracker's process: its processor time and memory are shown (Linux)
  --every N          seconds between lines (10)
  --seed N           the same questions again (1)

Latencies count from the time at which a question was to be asked. Exit code 1: a packet that must not be
answered was, or nothing answers.
";

/// What to do.
#[derive(Clone, Debug)]
pub(crate) struct Args {
    pub(crate) targets: Vec<SocketAddr>,
    pub(crate) rate: f64,
    pub(crate) fill_rate: Option<f64>,
    pub(crate) seconds: u64,
    pub(crate) clients: u16,
    pub(crate) prefix6: Option<u64>,
    pub(crate) numwant: u32,
    pub(crate) pid: Option<u32>,
    pub(crate) every: u64,
    pub(crate) seed: u64,
    pub(crate) mix: Mix,
}

impl Default for Args {
    fn default() -> Self {
        Self {
            targets: Vec::new(),
            rate: 100_000.0,
            fill_rate: None,
            seconds: 30,
            clients: 512,
            prefix6: None,
            numwant: 30,
            pid: None,
            every: 10,
            seed: 1,
            mix: Mix {
                peers: 2_000_000,
                torrents: 1_000_000,
                zipf: 0.8,
                seeds: 0.75,
                scrapes: 0.01,
                churn: 0.02,
                forged: 0.02,
                malformed: 0.01,
            },
        }
    }
}

impl Args {
    /// Reads the words after the program's name; the error is for people.
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut args = Self::default();
        while let Some(name) = words.next() {
            let text = words.next().ok_or(format!("{name} needs a value"))?;
            let (mix, text) = (&mut args.mix, text.as_str());
            match name.as_str() {
                "--target" => args.targets.push(read(&name, text)?),
                "--rate" => args.rate = positive(&name, text)?,
                "--fill-rate" => args.fill_rate = Some(positive(&name, text)?),
                "--seconds" => args.seconds = read(&name, text)?,
                "--clients" => args.clients = read(&name, text)?,
                "--prefix6" => args.prefix6 = Some(hexadecimal(&name, text)?),
                "--numwant" => args.numwant = read(&name, text)?,
                "--pid" => args.pid = Some(read(&name, text)?),
                "--every" => args.every = read(&name, text)?,
                "--seed" => args.seed = read(&name, text)?,
                "--peers" => mix.peers = read(&name, text)?,
                "--torrents" => mix.torrents = read(&name, text)?,
                "--zipf" => mix.zipf = read(&name, text)?,
                "--seeds" => mix.seeds = share(&name, text)?,
                "--scrapes" => mix.scrapes = share(&name, text)?,
                "--churn" => mix.churn = share(&name, text)?,
                "--forged" => mix.forged = share(&name, text)?,
                "--malformed" => mix.malformed = share(&name, text)?,
                _ => return Err(format!("there is no {name}")),
            }
        }
        if args.targets.is_empty() {
            return Err("--target IP:PORT is missing".to_owned());
        }
        let enough = [args.mix.peers, args.mix.torrents, args.clients.into()];
        if enough.contains(&0) || args.every == 0 {
            return Err("--peers, --torrents, --clients and --every are at least 1".to_owned());
        }
        Ok(args)
    }
}

fn read<T: FromStr<Err: Display>>(name: &str, text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|error| format!("{name} {text}: {error}"))
}

fn hexadecimal(name: &str, text: &str) -> Result<u64, String> {
    u64::from_str_radix(text, 16).map_err(|error| format!("{name} {text}: {error}"))
}

fn share(name: &str, text: &str) -> Result<f64, String> {
    let share: f64 = read(name, text)?;
    let inside = (0.0..=1.0).contains(&share);
    inside
        .then_some(share)
        .ok_or(format!("{name} {text}: it is a share, 0 to 1"))
}

fn positive(name: &str, text: &str) -> Result<f64, String> {
    let rate: f64 = read(name, text)?;
    let is_rate = rate.is_finite() && rate > 0.0;
    is_rate
        .then_some(rate)
        .ok_or(format!("{name} {text}: it must be above 0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, String> {
        Args::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn what_is_said_and_what_is_not() {
        let line =
            "--target 127.0.0.1:1 --target [::1]:2 --rate 5e3 --prefix6 fd5a000000000000 --churn 0";
        let args = parse(line).expect("valid");
        assert_eq!((args.targets.len(), args.rate), (2, 5_000.0));
        assert_eq!((args.prefix6, args.mix.churn), (Some(0xfd5a << 48), 0.0));
        assert_eq!(args.mix.peers, 2_000_000);
    }

    #[test]
    fn mistakes_name_their_flag() {
        for (line, want) in [
            ("", "--target"),
            ("--target x", "--target x"),
            ("--target 127.0.0.1:1 --rate 0", "--rate 0"),
            ("--target 127.0.0.1:1 --churn 2", "--churn 2"),
            ("--target 127.0.0.1:1 --peers 0", "--peers"),
            ("--target", "--target needs"),
            ("--wrong 1", "--wrong"),
        ] {
            let error = parse(line).expect_err(line);
            assert!(error.contains(want), "{line}: {error}");
        }
    }

    #[test]
    fn the_help_knows_every_flag() {
        let source = include_str!("args.rs");
        let flags = source
            .lines()
            .filter_map(|line| line.trim().strip_prefix("\"--"))
            .filter(|rest| rest.contains("=> "))
            .filter_map(|rest| rest.split('"').next());
        let mut count = 0;
        for flag in flags {
            assert!(HELP.contains(&format!("  --{flag} ")), "{flag}");
            count += 1;
        }
        assert_eq!(count, 18);
    }
}

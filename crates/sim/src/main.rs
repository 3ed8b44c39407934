//! Runs swarms from seed numbers: `samara-sim --seed N [--hosts N] [--scenario NAME] [--runs N]`.

mod sweep;

use samara_engine::Instant;
use samara_sim::World;
use samara_sim::checkers::Log;
use samara_sim::published::{PARTS, Size, TABLE_HEAD};
use samara_sim::replay::replay;
use samara_sim::report::{HEAD, Report, plot};
use samara_sim::scenario::{Checks, HostSpec, Leave, NAMES, Scenario, drawn, named};
use std::process::ExitCode;

const USAGE: &str = "\
usage: samara-sim [--seed N] [--scenario NAME] [--hosts N] [--runs N] [options]
       samara-sim --sweep N [--seed FIRST]
       samara-sim --suite NAME [--full]
       samara-sim replay FILE [--verbose]

  --seed N         all randomness grows from N (default 1)
  --scenario NAME  a setting with a name (default: one drawn from the seed)
  --hosts N        leeches, where the setting leaves that open
  --runs N         so many seeds, one after the other, a line each
  --plot FILE      pieces over time as SVG (one run)
  --uplinks        the part of the uplinks that is busy over time, in percent: of the seeds, and of the leeches
  --log HOST       what this host says, hears and wants, a line each, on standard error
  --light          sums only, no message is checked: for large swarms
  --set KEY=VALUE  a number of the engine's settings (repeatable; see below)
  --list           the settings with a name
  --sweep N        drawn worlds of N seeds on all cores: a table of what was wrong, with the seeds
  --suite NAME     published: figures of the literature beside ours, as a table; --full: in full size;
                   or one part of it: optimum, sizes, knee, policies, service, copies, bound, missing
  replay FILE      a recording (samara_engine::record), told to the engine again; --verbose: every line

keys of --set: slots, slots_max, part_kib, part_slots, optimistic, peers, wanted, pipeline_min, pipeline_max,
  rechoke_min_ms, rechoke_max_ms, rechokes, window_min_kib, window_max_kib, have_wait_ms, endgame, random_first,
  piece_kib, total_kib, delay_ms, buffer_kib, header_permille, super_seed (0 or 1),
  seed_kbit, up_kbit, down_kbit (of all leeches), stay_ms (of all leeches, when complete)";

struct Options {
    seed: u64,
    scenario: Option<String>,
    hosts: Option<usize>,
    runs: u64,
    plot: Option<String>,
    uplinks: bool,
    log: Option<u32>,
    light: bool,
    set: Vec<String>,
    sweep: Option<u64>,
    suite: Option<String>,
    full: bool,
    replay: Option<String>,
    verbose: bool,
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(Some(options)) => options,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("samara-sim: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match go(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("samara-sim: {error}");
            ExitCode::from(2)
        }
    }
}

fn options() -> Result<Option<Options>, lexopt::Error> {
    use lexopt::prelude::*;
    let mut options = Options {
        seed: 1,
        scenario: None,
        hosts: None,
        runs: 1,
        plot: None,
        uplinks: false,
        log: None,
        light: false,
        set: Vec::new(),
        sweep: None,
        suite: None,
        full: false,
        replay: None,
        verbose: false,
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("seed") => options.seed = parser.value()?.parse()?,
            Long("scenario") => options.scenario = Some(parser.value()?.string()?),
            Long("hosts") => options.hosts = Some(parser.value()?.parse()?),
            Long("runs") => options.runs = parser.value()?.parse()?,
            Long("plot") => options.plot = Some(parser.value()?.string()?),
            Long("uplinks") => options.uplinks = true,
            Long("log") => options.log = Some(parser.value()?.parse()?),
            Long("light") => options.light = true,
            Long("sweep") => options.sweep = Some(parser.value()?.parse()?),
            Long("suite") => options.suite = Some(parser.value()?.string()?),
            Long("full") => options.full = true,
            Long("verbose") => options.verbose = true,
            Value(word) if word == "replay" => options.replay = Some(parser.value()?.string()?),
            Long("set") => options.set.push(parser.value()?.string()?),
            Long("list") => {
                for (name, about) in NAMES {
                    println!("{name:<10} {about}");
                }
                return Ok(None);
            }
            Long("help") | Short('h') => {
                println!("{USAGE}");
                return Ok(None);
            }
            _ => return Err(arg.unexpected()),
        }
    }
    Ok(Some(options))
}

fn go(options: &Options) -> Result<bool, String> {
    if let Some(count) = options.sweep {
        if !options.set.is_empty() {
            return Err("--sweep does not know --set; --runs N does".into());
        }
        return Ok(sweep::sweep(options.seed, count, options.hosts));
    }
    if let Some(name) = &options.suite {
        return suite(name, options.full);
    }
    if let Some(path) = &options.replay {
        return play(path, options.verbose);
    }
    let mut right = true;
    if options.runs > 1 {
        println!("{HEAD}");
    }
    for seed in options.seed..options.seed.saturating_add(options.runs) {
        let mut scenario = match &options.scenario {
            None => drawn(seed, options.hosts),
            Some(name) => named(name, seed, options.hosts)
                .ok_or_else(|| format!("no scenario is called {name}; --list shows them"))?,
        };
        if options.light {
            scenario.checks = Checks::Sums;
        }
        if options.log.is_some() {
            scenario.checks = Checks::All;
        }
        for pair in &options.set {
            set(&mut scenario, pair)?;
        }
        if options.runs == 1 {
            print_options(&scenario);
        }
        let mut world = World::new(scenario);
        if let Some(host) = options.log {
            world.watch(Box::new(Log::new(host, std::io::stderr())));
        }
        let report = world.run();
        right &= report.violations.is_empty();
        if options.runs == 1 {
            print!("{report}");
        } else {
            println!("{}", report.row());
            if let Some((checker, what)) = report.violations.first() {
                println!("    WRONG ({checker}): {what}");
            }
        }
        if options.uplinks {
            print_uplinks(&report);
        }
        if let Some(path) = &options.plot {
            write(path, &plot(&report)).map_err(|error| format!("{path}: {error}"))?;
        }
    }
    Ok(right)
}

fn suite(name: &str, full: bool) -> Result<bool, String> {
    let parts = PARTS
        .iter()
        .filter(|(part, _)| name == "published" || name == *part);
    let parts: Vec<_> = parts.collect();
    if parts.is_empty() {
        return Err(format!("no suite is called {name}; --help names them"));
    }
    let size = if full { Size::Full } else { Size::Quick };
    println!("{TABLE_HEAD}");
    let mut right = true;
    for (_, part) in parts {
        for row in part(size) {
            right &= row.holds;
            println!("{row}");
        }
    }
    Ok(right)
}

/// Tells a recording to the engine again. The one file that is ever read.
#[allow(clippy::disallowed_methods)]
fn play(path: &str, verbose: bool) -> Result<bool, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{path}: {error}"))?;
    let played = replay(&bytes, |now, input, outputs| {
        if verbose {
            println!("{:>14.6} {input:?}", now.as_nanos() as f64 / 1e9);
            outputs
                .iter()
                .for_each(|output| println!("{:>17} {output:?}", ">"));
        }
    });
    let played = played.map_err(|error| format!("{path}: {error}"))?;
    print!("{played}");
    Ok(played.differs_by.is_none())
}

/// The one file that is ever written, after the run is over.
#[allow(clippy::disallowed_methods)]
fn write(path: &str, text: &str) -> std::io::Result<()> {
    std::fs::write(path, text)
}

/// Columns that fit into a line of a wide terminal.
const COLUMNS: usize = 36;

/// Uplinks over time, a few bins a column.
fn print_uplinks(report: &Report) {
    let of_seeds = report.uplinks_over_time(true);
    let of_leeches = report.uplinks_over_time(false);
    let bins = of_seeds.len().max(of_leeches.len());
    let wide = bins.div_ceil(COLUMNS).max(1);
    let bin = report.bin.as_nanos() as f64 / 1e9;
    let row = |name: &str, cell: &dyn Fn(usize) -> f64| {
        let cells = (0..bins)
            .step_by(wide)
            .map(|at| format!("{:5.1}", cell(at)));
        println!("{name:<8}{}", cells.collect::<String>());
    };
    let mean = |shares: &[f64], at: usize| {
        let those = shares.iter().skip(at).take(wide);
        those.sum::<f64>() * 100.0 / wide as f64
    };
    row("s", &|at| at as f64 * bin);
    row("seeds %", &|at| mean(&of_seeds, at));
    row("leeches %", &|at| mean(&of_leeches, at));
}

/// Everything that was drawn, so that a run can be understood without running it.
fn print_options(scenario: &Scenario) {
    let (net, tracker) = (&scenario.net, &scenario.tracker);
    println!(
        "{} seed={} pieces={} piece_length={} total={}",
        scenario.name,
        scenario.seed,
        scenario.total.div_ceil(scenario.piece_length.into()),
        scenario.piece_length,
        scenario.total
    );
    println!("{net:?}\n{tracker:?} checks={:?}", scenario.checks);
    let mut at = 0;
    while at < scenario.hosts.len() {
        let alike = |host: &HostSpec| HostSpec {
            arrives: Instant::ZERO,
            ..host.clone()
        };
        let host = alike(&scenario.hosts[at]);
        let same: Vec<&HostSpec> = scenario.hosts[at..]
            .iter()
            .take_while(|other| alike(other) == host)
            .collect();
        let times = || same.iter().map(|host| host.arrives.as_nanos() as f64 / 1e9);
        let first = times().fold(f64::MAX, f64::min);
        let last = times().fold(0.0, f64::max);
        println!("{} that come at {first}..{last} s: {host:?}", same.len());
        at += same.len();
    }
    for (at, fault) in &scenario.faults {
        println!("at {} s: {fault:?}", at.as_nanos() / 1_000_000_000);
    }
    println!();
}

/// Changes one setting: for experiments.
fn set(scenario: &mut Scenario, pair: &str) -> Result<(), String> {
    use samara_engine::Duration;
    let (key, value) = pair
        .split_once('=')
        .ok_or_else(|| format!("{pair}: not KEY=VALUE"))?;
    let value: u64 = value
        .parse()
        .map_err(|_| format!("{value}: not a number"))?;
    let size = value as usize;
    let millis = Duration::from_millis(value);
    let config = &mut scenario.config;
    match key {
        "slots" => config.upload_slots = size,
        "part_slots" => config.part_slots = size,
        "part_kib" => config.part_min = (value << 10) as u32,
        "slots_max" => config.upload_slots_max = size,
        "optimistic" => config.optimistic_slots = size,
        "peers" => config.peers_max = size,
        "wanted" => config.peers_wanted = size,
        "pipeline_min" => config.pipeline_min = size,
        "pipeline_max" => config.pipeline_max = size,
        "rechoke_min_ms" => config.rechoke_min = millis,
        "rechoke_max_ms" => config.rechoke_max = millis,
        "rechokes" => config.rechokes_per_transfer = value,
        "window_min_kib" => config.serve_window_min = value << 10,
        "have_wait_ms" => config.have_wait = millis,
        "window_max_kib" => config.serve_window_max = value << 10,
        "endgame" => config.endgame_copies = value as u32,
        "random_first" => config.random_first = value as u32,
        "piece_kib" => scenario.piece_length = (value << 10) as u32,
        "total_kib" => scenario.total = value << 10,
        "delay_ms" => scenario
            .hosts
            .iter_mut()
            .for_each(|host| host.link.delay = millis),
        "buffer_kib" => scenario.net.send_buffer = value << 10,
        "header_permille" => scenario.net.header_permille = value,
        "super_seed" => config.super_seed = value != 0,
        _ => return set_hosts(scenario, key, value),
    }
    Ok(())
}

/// Changes all seeds, or all leeches.
fn set_hosts(scenario: &mut Scenario, key: &str, value: u64) -> Result<(), String> {
    use samara_engine::Duration;
    let rate = value * 125;
    let change: &dyn Fn(&mut HostSpec) = match key {
        "seed_kbit" => &|host| {
            if host.seed {
                host.link.up = rate;
            }
        },
        "up_kbit" => &|host| {
            if !host.seed {
                host.link.up = rate;
            }
        },
        "down_kbit" => &|host| {
            if !host.seed {
                host.link.down = rate;
            }
        },
        "stay_ms" => &|host| {
            if !host.seed {
                host.leaves = Leave::After(Duration::from_millis(value));
            }
        },
        _ => return Err(format!("{key}: no such setting; --help shows them")),
    };
    scenario.hosts.iter_mut().for_each(change);
    Ok(())
}

//! `samara-load`: open-loop load for UDP trackers, with latencies as clients see them.
//!
//! Many clients, each at an address of its own, announce for millions of peers in torrents of Zipf's
//! popularity, scrape, leave and come again; some packets are forged or malformed, and must not be
//! answered. What is asked is in `plan`, when in `run`, over what in `udp`: another transport needs a
//! `Client` of its own, and what `run::hear` reads of its answers.

mod args;
mod histogram;
mod host;
mod pending;
mod plan;
mod report;
mod run;
mod udp;

use args::Args;
use plan::Plan;
use report::{Report, mib};
use run::{Listener, Stage};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use udp::Client;

/// Time for the last answers after the last question.
const AFTERWARDS: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--help" || word == "-h") {
        print!("{}", args::HELP);
        return ExitCode::SUCCESS;
    }
    let args = match Args::parse(words.into_iter()) {
        Ok(args) => args,
        Err(error) => {
            eprintln!("samara-load: {error}; --help has the settings");
            return ExitCode::from(2);
        }
    };
    match load(&args) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(leaks) => {
            eprintln!("samara-load: {leaks} packets were answered that must not be");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("samara-load: {error}");
            ExitCode::FAILURE
        }
    }
}

/// How many packets were answered that must not be.
fn load(args: &Args) -> std::io::Result<u64> {
    let mut clients = Vec::new();
    for number in 0..args.clients {
        for target in &args.targets {
            clients.push(Client::open(*target, number, args.prefix6, args.numwant)?);
        }
    }
    let mut stage = Stage::new(clients);
    let listener = Listener::new(&mut stage)?;
    let stage = &stage;
    std::thread::scope(|scope| {
        let listening = scope.spawn(move || listener.run(stage));
        let outcome = play(args, stage);
        stage.stop.store(true, Ordering::Relaxed);
        let listened = listening.join().unwrap_or(Ok(()));
        outcome.and_then(|leaks| listened.map(|()| leaks))
    })
}

fn play(args: &Args, stage: &Stage) -> std::io::Result<u64> {
    run::connect(stage)?;
    let usage = || args.pid.and_then(host::usage).unwrap_or_default();
    let asked = || stage.asked.load(Ordering::Relaxed);
    let mut plan = Plan::new(args.mix, args.seed);
    let fill_rate = args.fill_rate.unwrap_or(args.rate);
    println!(
        "{} clients; {} peers in {} torrents come at {fill_rate} a second",
        stage.clients.len(),
        args.mix.peers,
        args.mix.torrents
    );
    run::ask(stage, &mut plan, fill_rate, |plan, _| plan.is_full());
    std::thread::sleep(AFTERWARDS);
    let (filled, _) = stage.take_counts();
    let (lost, before, full) = (stage.pending.unanswered(), asked(), usage());
    println!(
        "{} came, {lost} unanswered, {} errors; the tracker has {:.1} MiB",
        filled.announces,
        filled.errors,
        mib(full.resident)
    );
    let mut report = Report::new(full);
    let mut left = args.seconds;
    while left > 0 {
        let began = Instant::now();
        let part = Duration::from_secs(args.every.min(left)).as_nanos() as u64;
        run::ask(stage, &mut plan, args.rate, |_, since| since >= part);
        let (counts, late) = stage.take_counts();
        report.part(&counts, &late, usage(), began.elapsed().as_secs_f64());
        left = left.saturating_sub(args.every);
    }
    std::thread::sleep(AFTERWARDS);
    let (rest, late) = stage.take_counts();
    report.add(&rest, &late);
    report.end(stage, asked() - before, stage.pending.unanswered() - lost);
    Ok(filled.leaks + report.counts.leaks)
}

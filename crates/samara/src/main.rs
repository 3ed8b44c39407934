//! `samara`: the command line.

// Nothing of a program is reachable from outside; `pub` says "for the other modules".
#![allow(unreachable_pub)]

mod args;
mod commands;
mod exit;
mod follow;
mod host;
mod load;
mod log;
mod out;
mod peerless;
mod stop;
mod words;

use args::{Cli, Command, Settings};
use clap::Parser;
use commands::App;
use commands::tracker::config::Config;
use exit::{Exit, Failure};
use out::Out;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Threads that are still busy when all is done (a name being looked up, a slow disk) are not waited
/// for longer than this.
const PATIENCE: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let cli = Cli::parse();
    let begun = Settings::new(&cli.common, &cli.command).and_then(|settings| {
        begin_log(&settings, &cli)?;
        Ok(settings)
    });
    let settings = match begun {
        Ok(settings) => settings,
        Err(failure) => {
            eprintln!("samara: {failure}");
            return ExitCode::from(failure.exit as u8);
        }
    };
    let out = Arc::new(Out::new(&settings));
    let done = start(settings, &out, cli.command);
    out.end_bar();
    match done {
        Ok(()) => ExitCode::from(Exit::Done as u8),
        // Whoever closed the pipe has what they wanted.
        Err(_) if out.reader_gone() => ExitCode::from(Exit::Done as u8),
        Err(failure) => {
            out.failure(&failure);
            ExitCode::from(failure.exit as u8)
        }
    }
}

/// A tracker's settings say how much it logs, and how.
fn begin_log(settings: &Settings, cli: &Cli) -> Result<(), Failure> {
    let (level, json) = match &cli.command {
        Command::Tracker(args) => {
            let config = Config::new(cli.common.config.as_deref(), args)?;
            (
                config.log.level.0 as u8,
                config.log.format.0 == args::LogFormat::Json,
            )
        }
        _ => (0, false),
    };
    // Quiet has the last word; a flag can ask for more than the file, and not for less.
    let level = if settings.quiet { 0 } else { level };
    log::start(level.max(log::level_of(settings.verbose)), json);
    Ok(())
}

fn start(settings: Settings, out: &Arc<Out>, command: Command) -> Result<(), Failure> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all();
    if let Command::Tracker(tracker) = &command
        && let Some(workers) = tracker.workers
    {
        builder.worker_threads(workers.into());
    }
    let runtime = builder
        .build()
        .map_err(|err| Failure::failed(format!("cannot start threads: {err}")))?;
    let done = runtime.block_on(async {
        let stop = stop::Stop::listen(out)
            .map_err(|err| Failure::failed(format!("cannot listen for signals: {err}")))?;
        let app = App {
            settings: Arc::new(settings),
            out: Arc::clone(out),
            stop,
        };
        commands::run(&app, command).await
    });
    runtime.shutdown_timeout(PATIENCE);
    done
}

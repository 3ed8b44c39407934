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
    let settings = match Settings::new(&cli.common) {
        Ok(settings) => settings,
        Err(failure) => {
            eprintln!("samara: {failure}");
            return ExitCode::from(failure.exit as u8);
        }
    };
    log::start(settings.verbose);
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

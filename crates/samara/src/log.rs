//! The log on stderr, for `-v`.

use tracing::Level;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// What `-v` given so often asks for: 0: errors; 1: what happens; 2: what peers and trackers say; 3:
/// everything, of libraries too.
pub fn level_of(verbose: u8) -> u8 {
    [0, 2, 3, 4][usize::from(verbose.min(3))]
}

/// Begins to write, as text or as one JSON object a line: 0: errors; 1: warnings; 2: what happens; 3: what
/// peers and trackers say; 4: everything.
pub fn start(level: u8, json: bool) {
    let (ours, theirs) = match level {
        0 => (LevelFilter::ERROR, LevelFilter::OFF),
        1 => (LevelFilter::WARN, LevelFilter::OFF),
        2 => (LevelFilter::INFO, LevelFilter::WARN),
        3 => (LevelFilter::DEBUG, LevelFilter::WARN),
        _ => (LevelFilter::TRACE, LevelFilter::DEBUG),
    };
    let targets = Targets::new().with_default(theirs).with_targets(
        [
            "samara",
            "samara_node",
            "samara_tracker",
            "samara_disk",
            "samara_engine",
        ]
        .map(|name| (name, ours)),
    );
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(ours >= Level::DEBUG || json);
    let lines = if json {
        lines
            .json()
            .flatten_event(true)
            .with_filter(targets)
            .boxed()
    } else {
        lines.with_filter(targets).boxed()
    };
    // A second start would be our bug, and costs only the log.
    let _ = tracing_subscriber::registry().with(lines).try_init();
}

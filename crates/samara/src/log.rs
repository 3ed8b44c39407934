//! The log on stderr, for `-v`.

use tracing::Level;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// 0: warnings; 1: what happens; 2: what peers and trackers say; 3: everything, of libraries too.
pub fn start(verbose: u8) {
    let (ours, theirs) = match verbose {
        0 => (LevelFilter::ERROR, LevelFilter::OFF),
        1 => (LevelFilter::INFO, LevelFilter::WARN),
        2 => (LevelFilter::DEBUG, LevelFilter::WARN),
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
        .with_target(ours >= Level::DEBUG)
        .with_filter(targets);
    // A second start would be our bug, and costs only the log.
    let _ = tracing_subscriber::registry().with(lines).try_init();
}

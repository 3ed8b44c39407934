//! Being told to stop: SIGINT, SIGTERM, or a reader of stdout that went away.

use crate::exit::Exit;
use crate::out::Out;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::watch;

/// Whether, and why, the program is to stop. Clones share one state.
#[derive(Clone, Debug)]
pub struct Stop {
    why: watch::Receiver<Option<Why>>,
    cancel: Arc<AtomicBool>,
}

/// Why it is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// A signal.
    Signal,
    /// Nobody reads stdout any more; whoever ran `samara ... | head` has seen enough.
    ReaderGone,
}

impl Stop {
    /// Listens from now on. The first signal asks; a second one ends the program on the spot, for
    /// whoever does not want to wait for the goodbyes.
    pub fn listen(out: &Arc<Out>) -> std::io::Result<Self> {
        let (tell, why) = watch::channel(None);
        let cancel = Arc::new(AtomicBool::new(false));
        let stop = Self {
            why,
            cancel: Arc::clone(&cancel),
        };
        let mut signals = Signals::new()?;
        let out = Arc::clone(out);
        tokio::spawn(async move {
            let first = tokio::select! {
                () = signals.next() => Why::Signal,
                () = out.wait_reader_gone() => Why::ReaderGone,
            };
            cancel.store(true, Ordering::Release);
            tell.send_replace(Some(first));
            if first == Why::Signal {
                out.note("leaving the swarm; press Ctrl-C again to leave at once");
            }
            signals.next().await;
            out.end_bar();
            std::process::exit(Exit::Interrupted as i32);
        });
        Ok(stop)
    }

    /// Returns when it is time to stop, with the reason.
    pub async fn asked(&self) -> Why {
        let mut why = self.why.clone();
        loop {
            if let Some(why) = *why.borrow_and_update() {
                return why;
            }
            // The sender lives as long as the task above, which ends with the program.
            if why.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// For work on threads: true when it is time to stop.
    pub fn flag(&self) -> &AtomicBool {
        &self.cancel
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

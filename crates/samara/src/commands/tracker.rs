//! `samara tracker`.

use super::App;
use crate::args;
use crate::exit::Failure;
use crate::host;
use crate::out::Event;
use crate::out::units::count;
use samara_tracker::serve::{Access, AccessError, Handle, ServeConfig, ServeError, Server};
use samara_tracker::swarm;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Serves until it is stopped. A tracker is never done, so that a signal is its good end.
pub async fn run(app: &App, args: args::Tracker) -> Result<(), Failure> {
    let lists = Lists {
        allow: args.allow.clone(),
        deny: args.deny.clone(),
    };
    let access = lists.read().map_err(Failure::failed)?;
    let server = bind_with(args).map_err(Failure::failed)?;
    server.handle().set_access(access);
    if let Some(restored) = server.restore().map_err(Failure::failed)? {
        app.out.note(&format!(
            "{} and {} are back from {} s ago",
            count(restored.swarms, "swarm"),
            count(restored.peers, "peer"),
            restored.age.as_secs()
        ));
    }
    let listen = server.local_addr();
    let announce = format!(
        "http://{}/announce",
        host::in_url(&host_for(listen, None), listen.port())
    );
    let udp: Vec<String> = server
        .udp_addrs()
        .iter()
        .map(|addr| {
            let host = host::in_url(&host_for(*addr, None), addr.port());
            format!("udp://{host}/announce")
        })
        .collect();
    app.out.event(&Event::TrackerReady {
        role: "tracker",
        listen,
        announce: &announce,
        announce_udp: &udp,
    });
    app.out.result(&announce);
    udp.iter().for_each(|url| app.out.result(url));
    app.out.note(&format!(
        "the tracker listens on {listen}; http://{listen}/ shows its swarms; press Ctrl-C to end"
    ));
    let handle = server.handle();
    let stop = app.stop.clone();
    let reload = tokio::spawn(lists.follow(app.clone(), handle.clone()));
    server
        .run(async move {
            stop.asked().await;
        })
        .await;
    reload.abort();
    let stats = handle.stats();
    app.out.note(&format!(
        "{} answered, {} made",
        count(stats.announces, "announce"),
        count(stats.downloaded, "copy")
    ));
    app.out.event(&Event::Stopped {
        uploaded: 0,
        downloaded: 0,
        complete: true,
    });
    Ok(())
}

/// Files that say which swarms are served.
struct Lists {
    allow: Option<PathBuf>,
    deny: Option<PathBuf>,
}

impl Lists {
    fn read(&self) -> Result<Access, AccessError> {
        Access::read(self.allow.as_deref(), self.deny.as_deref())
    }

    /// Reads them again at every SIGHUP. If that fails, what was read before stays in force.
    #[cfg(unix)]
    async fn follow(self, app: App, handle: Handle) {
        use tokio::signal::unix::{SignalKind, signal};
        let mut hangup = match signal(SignalKind::hangup()) {
            Ok(hangup) => hangup,
            Err(error) => {
                let words = format!("the lists cannot be reloaded: {error}");
                app.out.warning(&words);
                return;
            }
        };
        while hangup.recv().await.is_some() {
            match self.read() {
                Ok(access) => {
                    handle.set_access(access);
                    app.out.note("the lists were read again");
                }
                Err(error) => app
                    .out
                    .warning(&format!("{error}; the old lists stay in force")),
            }
        }
    }

    #[cfg(not(unix))]
    async fn follow(self, _: App, _: Handle) {}
}

fn bind_with(args: args::Tracker) -> Result<Server, ServeError> {
    let policy = swarm::Config {
        allow_seedless: args.allow_seedless,
        ..swarm::Config::default()
    };
    let defaults = ServeConfig::default();
    Server::bind(ServeConfig {
        listen: args.http,
        udp: args.udp,
        workers: args.workers.map_or(defaults.workers, usize::from),
        state: args.state,
        policy,
        ..defaults
    })
}

/// A tracker beside a seed, with the program's settings.
pub fn bind(listen: SocketAddr, allow_seedless: bool) -> Result<Server, ServeError> {
    let policy = swarm::Config {
        allow_seedless,
        ..swarm::Config::default()
    };
    Server::bind(ServeConfig {
        listen,
        policy,
        ..ServeConfig::default()
    })
}

/// What other hosts call a server on `listen`: what the user says, else the address that it is bound
/// to, else one that is likely to be reachable.
pub fn host_for(listen: SocketAddr, said: Option<&str>) -> String {
    match said {
        Some(host) => host.to_owned(),
        None if listen.ip().is_unspecified() => host::reachable_address().to_string(),
        None => listen.ip().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_what_others_can_reach() {
        let on = |text: &str| text.parse::<SocketAddr>().expect("an address");
        assert_eq!(host_for(on("10.1.2.3:80"), None), "10.1.2.3");
        assert_eq!(
            host_for(on("0.0.0.0:80"), Some("files.example.org")),
            "files.example.org"
        );
        assert_ne!(host_for(on("0.0.0.0:80"), None), "0.0.0.0");
    }
}

//! `samara tracker`.

pub mod config;
mod files;

use super::App;
use crate::args;
use crate::exit::Failure;
use crate::host;
use crate::out::Event;
use crate::out::units::count;
use config::Config;
use samara_tracker::serve::{Access, AccessError, Handle, ServeConfig, ServeError, Server};
use samara_tracker::swarm;
use std::net::SocketAddr;

/// Serves until it is stopped. A tracker is never done, so that a signal is its good end.
pub async fn run(app: &App, args: args::Tracker) -> Result<(), Failure> {
    let mut reload = Reload::new(app, args)?;
    if reload.args.print_config {
        app.out.result(reload.config.print().trim_end());
        return Ok(());
    }
    let access = read_lists(&reload.config).map_err(Failure::failed)?;
    let mut serve = reload.config.serve();
    serve.max_connections = files::room_for(serve.max_connections);
    let server = Server::bind(serve).map_err(Failure::failed)?;
    server.handle().set_access(access);
    if let Some(restored) = server.restore().map_err(Failure::failed)? {
        app.out.note(&format!(
            "{} and {} are back from {} s ago",
            count(restored.swarms, "swarm"),
            count(restored.peers, "peer"),
            restored.age.as_secs()
        ));
    }
    show(app, &server);
    let handle = server.handle();
    reload.handle = Some(handle.clone());
    let stop = app.stop.clone();
    let reload = tokio::spawn(reload.follow());
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

/// Says where it is.
fn show(app: &App, server: &Server) {
    let listen = server.local_addr();
    let url = |scheme: &str, addr: SocketAddr| {
        let host = host::in_url(&host_for(addr, None), addr.port());
        format!("{scheme}://{host}/announce")
    };
    let announce = url("http", listen);
    let https = server.https_addr().map(|addr| url("https", addr));
    let udp: Vec<String> = server
        .udp_addrs()
        .iter()
        .map(|addr| url("udp", *addr))
        .collect();
    app.out.event(&Event::TrackerReady {
        role: "tracker",
        listen,
        announce: &announce,
        announce_https: https.as_deref(),
        announce_udp: &udp,
    });
    app.out.result(&announce);
    https.iter().chain(&udp).for_each(|url| app.out.result(url));
    app.out.note(&format!(
        "the tracker listens on {listen}; http://{listen}/ shows its swarms; press Ctrl-C to end"
    ));
}

/// What it takes to read the settings again.
struct Reload {
    app: App,
    args: args::Tracker,
    config: Config,
    /// The tracker, once there is one.
    handle: Option<Handle>,
}

impl Reload {
    fn new(app: &App, args: args::Tracker) -> Result<Self, Failure> {
        let config = Config::new(app.settings.config.as_deref(), &args)?;
        Ok(Self {
            app: app.clone(),
            args,
            config,
            handle: None,
        })
    }

    /// Reads everything again at every SIGHUP.
    #[cfg(unix)]
    async fn follow(mut self) {
        use tokio::signal::unix::{SignalKind, signal};
        let mut hangup = match signal(SignalKind::hangup()) {
            Ok(hangup) => hangup,
            Err(error) => {
                let words = format!("the settings cannot be reloaded: {error}");
                self.app.out.warning(&words);
                return;
            }
        };
        while hangup.recv().await.is_some() {
            match self.reload() {
                Ok(later) if later.is_empty() => {
                    tracing::info!("settings and lists were read again");
                    self.app.out.note("the settings and lists were read again");
                }
                Ok(later) => self.app.out.warning(&format!(
                    "the settings and lists were read again; these need a restart: {}",
                    later.join(", ")
                )),
                Err(error) => self
                    .app
                    .out
                    .warning(&format!("{error}; what was read before stays in force")),
            }
        }
    }

    #[cfg(not(unix))]
    async fn follow(self) {}

    /// Reads it all; then takes it over, or nothing of it. What needs a restart comes back.
    fn reload(&mut self) -> Result<Vec<&'static str>, Failure> {
        let config = Config::new(self.app.settings.config.as_deref(), &self.args)?;
        let access = read_lists(&config).map_err(Failure::failed)?;
        if let Some(handle) = &self.handle {
            handle.apply(&config.serve()).map_err(Failure::failed)?;
            handle.set_access(access);
        }
        // Compared with what runs, however often it is read.
        Ok(config.needs_restart(&self.config))
    }
}

fn read_lists(config: &Config) -> Result<Access, AccessError> {
    let access = &config.access;
    Access::read(access.allow.as_deref(), access.deny.as_deref())
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

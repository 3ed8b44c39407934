//! `samara scrape`: what every tracker of a torrent knows.

use super::App;
use crate::args;
use crate::exit::{Exit, Failure};
use crate::load::Source;
use crate::out::units::count;
use crate::out::{Event, escape};
use crate::peerless;
use samara_node::{ScrapeEntry, Session};
use samara_proto::InfoHash;
use std::net::Ipv4Addr;

/// Asks all trackers; fails if none answers.
pub async fn run(app: &App, args: args::Scrape) -> Result<(), Failure> {
    let source = Source::of(&args.torrent, app.settings.names)?;
    let session = peerless::session(app, (Ipv4Addr::LOCALHOST, 0).into()).await?;
    let done = scrape(app, source, &session).await;
    session.stop().await;
    done
}

async fn scrape(app: &App, source: Source, session: &Session) -> Result<(), Failure> {
    let (hash, trackers) = match source {
        Source::Torrent(metainfo) => (metainfo.info.info_hash(), metainfo.trackers.concat()),
        Source::Url(url) => {
            let metainfo = peerless::fetch_with(app, session, &url).await?;
            (metainfo.info.info_hash(), metainfo.trackers.concat())
        }
        Source::Magnet(magnet) => (magnet.info_hash(), magnet.trackers.clone()),
    };
    if trackers.is_empty() {
        return Err(Failure::new(
            Exit::Failed,
            "the torrent names no tracker to ask",
        ));
    }
    let mut answered = 0;
    for url in &trackers {
        let hashes = [hash];
        let answer = tokio::select! {
            answer = session.scrape(url, &hashes) => answer,
            _ = app.stop.asked() => return Err(Failure::interrupted()),
        };
        match answer {
            Ok(entries) => {
                answered += 1;
                tell(app, url, hash, &entries);
            }
            Err(err) => {
                let error = err.to_string();
                app.out.event(&Event::Scrape {
                    url,
                    seeds: None,
                    leeches: None,
                    completed: None,
                    error: Some(&error),
                });
                if !app.out.json() {
                    app.out.warning(&error);
                }
            }
        }
    }
    if answered == 0 {
        return Err(Failure::failed(format!(
            "none of {} answered",
            count(trackers.len() as u64, "tracker")
        )));
    }
    Ok(())
}

fn tell(app: &App, url: &str, hash: InfoHash, entries: &[ScrapeEntry]) {
    let counts = entries
        .iter()
        .find(|entry| entry.info_hash == hash)
        .and_then(|entry| entry.counts);
    match counts {
        Some(counts) => {
            let (seeds, leeches, completed) = (
                u64::from(counts.complete),
                u64::from(counts.incomplete),
                u64::from(counts.downloaded),
            );
            app.out.event(&Event::Scrape {
                url,
                seeds: Some(seeds),
                leeches: Some(leeches),
                completed: Some(completed),
                error: None,
            });
            let numbers = format!(
                "{}, {}, {} made",
                count(seeds, "seed"),
                count(leeches, "leech"),
                count(completed, "copy")
            );
            app.out.result(&format!("{}: {numbers}", escape(url)));
        }
        None => {
            let error = "it does not know this torrent";
            app.out.event(&Event::Scrape {
                url,
                seeds: None,
                leeches: None,
                completed: None,
                error: Some(error),
            });
            app.out.result(&format!("{}: {error}", escape(url)));
        }
    }
}

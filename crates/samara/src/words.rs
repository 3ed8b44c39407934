//! Why nothing moves, in plain words: a pure function from numbers to a sentence.

use crate::out::units::count;
use std::time::Duration;

/// What is known of one tracker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackerView {
    /// Its address, as in the torrent.
    pub url: String,
    /// What came of asking it.
    pub state: TrackerState,
}

/// What came of asking a tracker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrackerState {
    /// No answer yet.
    Asked,
    /// It answered with this many addresses.
    Answered {
        /// Addresses of peers.
        peers: usize,
        /// Time until it is asked again, if known.
        again_in: Option<Duration>,
    },
    /// It did not answer, or refused.
    Failed {
        /// Why.
        message: String,
        /// Time until the next try.
        again_in: Option<Duration>,
    },
}

/// What a torrent looks like from outside.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct View {
    /// Pieces are missing.
    pub downloading: bool,
    /// Bytes a second received.
    pub down_rate: u64,
    /// Connected peers.
    pub peers: u32,
    /// Connected peers that have everything.
    pub peer_seeds: u32,
    /// Copies among connected peers, in thousandths.
    pub availability: u32,
    /// By the tracker's count.
    pub swarm_seeds: Option<u32>,
    /// By the tracker's count.
    pub swarm_leeches: Option<u32>,
    /// All trackers.
    pub trackers: Vec<TrackerView>,
}

/// The sentence, if the download waits for something.
pub fn waiting(view: &View) -> Option<String> {
    if !view.downloading || view.down_rate > 0 {
        return None;
    }
    // A copy that is spread over the peers is as good as a seed.
    let whole_copy = view.peer_seeds > 0 || view.availability >= 1000;
    if view.swarm_seeds == Some(0) && !whole_copy {
        let leeches = view.swarm_leeches.unwrap_or(0).max(view.peers);
        return Some(match leeches {
            0 => "waiting for a seed: the tracker knows nobody else".to_owned(),
            1 => {
                "waiting for a seed: the tracker knows 1 leech and it does not have the whole file"
                    .to_owned()
            }
            n => format!(
                "waiting for a seed: the tracker knows {n} leeches and none has the whole file"
            ),
        });
    }
    if view.peers > 0 {
        let peers = count(view.peers.into(), "peer");
        return Some(format!(
            "connected to {peers}; waiting for the first to send"
        ));
    }
    let Some(first) = view.trackers.first() else {
        return Some("no peers: the torrent names no tracker; give one with -t URL, or a peer with --peer IP:PORT".to_owned());
    };
    let answered = view
        .trackers
        .iter()
        .find_map(|tracker| match tracker.state {
            TrackerState::Answered { peers, again_in } => Some((tracker, peers, again_in)),
            _ => None,
        });
    if let Some((tracker, peers, again_in)) = answered {
        return Some(match peers {
            0 => format!(
                "no peers yet: asked {}{}",
                tracker.url,
                after(", again", again_in)
            ),
            n => format!(
                "trying {} that {} named",
                count(n as u64, "peer"),
                tracker.url
            ),
        });
    }
    if view
        .trackers
        .iter()
        .any(|tracker| tracker.state == TrackerState::Asked)
    {
        return Some(format!("asking the tracker at {}", first.url));
    }
    let TrackerState::Failed { message, again_in } = &first.state else {
        return None;
    };
    Some(failed(&first.url, message, *again_in))
}

/// A tracker that did not answer, in words.
pub fn failed(url: &str, message: &str, again_in: Option<Duration>) -> String {
    format!(
        "the tracker at {url} failed ({message}){}",
        after("; trying again", again_in)
    )
}

fn after(what: &str, time: Option<Duration>) -> String {
    match time {
        Some(time) => format!(
            "{what} in {}",
            crate::out::units::Time(Duration::from_secs(time.as_secs_f64().ceil() as u64))
                .to_string()
                .replace(".0 s", " s")
        ),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "http://h:1/announce";

    fn view(state: TrackerState) -> View {
        View {
            downloading: true,
            trackers: vec![TrackerView {
                url: URL.into(),
                state,
            }],
            ..View::default()
        }
    }

    fn says(view: &View, expected: &str) {
        assert_eq!(waiting(view).as_deref(), Some(expected));
    }

    #[test]
    fn nothing_is_said_while_it_moves() {
        let mut moving = view(TrackerState::Asked);
        moving.down_rate = 1;
        assert_eq!(waiting(&moving), None);
        let seeding = View {
            downloading: false,
            ..view(TrackerState::Asked)
        };
        assert_eq!(waiting(&seeding), None);
    }

    #[test]
    fn every_wait_has_its_words() {
        let answered = |peers, secs| TrackerState::Answered {
            peers,
            again_in: Some(Duration::from_secs(secs)),
        };
        says(
            &view(TrackerState::Asked),
            "asking the tracker at http://h:1/announce",
        );
        says(
            &view(answered(0, 5)),
            "no peers yet: asked http://h:1/announce, again in 5 s",
        );
        says(
            &view(answered(3, 5)),
            "trying 3 peers that http://h:1/announce named",
        );
        let down = TrackerState::Failed {
            message: "connection refused".into(),
            again_in: Some(Duration::from_millis(9300)),
        };
        says(
            &view(down),
            "the tracker at http://h:1/announce failed (connection refused); trying again in 10 s",
        );
        let seedless = View {
            swarm_seeds: Some(0),
            swarm_leeches: Some(3),
            ..view(answered(0, 2))
        };
        says(
            &seedless,
            "waiting for a seed: the tracker knows 3 leeches and none has the whole file",
        );
        let connected = View {
            peers: 2,
            swarm_seeds: Some(1),
            ..view(answered(2, 60))
        };
        says(
            &connected,
            "connected to 2 peers; waiting for the first to send",
        );
        let spread = View {
            peers: 2,
            swarm_seeds: Some(0),
            availability: 1200,
            ..view(answered(2, 60))
        };
        says(
            &spread,
            "connected to 2 peers; waiting for the first to send",
        );
        let none = View {
            downloading: true,
            ..View::default()
        };
        assert!(waiting(&none).expect("words").contains("names no tracker"));
    }
}

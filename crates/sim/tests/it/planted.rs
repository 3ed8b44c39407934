//! Engines with a bug planted in them: the checkers of a whole world notice each.

use samara_engine::{Deadline, Input, Instant, Output, Outputs, PeerKey, Snapshot, Spec, Torrent};
use samara_proto::wire::Message;
use samara_sim::World;
use samara_sim::host::Brain;
use samara_sim::scenario::{Citizen, Scenario, named};
use std::sync::Arc;

/// An engine whose outputs are spoiled.
#[derive(Debug)]
struct Spoiled {
    engine: Torrent,
    spoil: fn(&Input, &mut Outputs),
    /// A peer that is never unchoked.
    starved: Option<PeerKey>,
}

impl Brain for Spoiled {
    fn handle(&mut self, now: Instant, input: Input, out: &mut Outputs) {
        let told = input.clone();
        self.engine.handle(now, input, out);
        (self.spoil)(&told, out);
        if let Some(starved) = self.starved {
            out.retain(|output| match output {
                Output::Send { peer, message } => *peer != starved || *message != Message::Unchoke,
                _ => true,
            });
        }
    }

    fn deadline(&self) -> Deadline {
        self.engine.deadline()
    }

    fn snapshot(&self, now: Instant) -> Snapshot {
        self.engine.snapshot(now)
    }
}

/// Which checkers complain if every host is spoiled like that.
fn complaints(spoil: fn(&Input, &mut Outputs)) -> Vec<String> {
    let mut scenario = named("s1", 1, Some(3)).expect("known");
    scenario.total = 2 << 20;
    scenario.piece_length = 64 << 10;
    let maker = move |_, spec: Spec, config: Arc<_>, now| -> Box<dyn Brain> {
        let engine = Torrent::new(spec, config, now);
        Box::new(Spoiled {
            engine,
            spoil,
            starved: None,
        })
    };
    let report = World::with_brains(scenario, Box::new(maker)).run();
    report
        .violations
        .into_iter()
        .map(|(checker, _)| checker)
        .collect()
}

fn assert_caught(by: &str, spoil: fn(&Input, &mut Outputs)) {
    let found = complaints(spoil);
    assert!(found.iter().any(|checker| checker == by), "{by}: {found:?}");
}

#[test]
fn an_engine_as_it_is_passes() {
    assert_eq!(complaints(|_, _| {}), Vec::<String>::new());
}

#[test]
fn asking_twice_is_caught() {
    assert_caught("legality", |_, out| {
        let requests: Vec<Output> = out
            .iter()
            .filter(|output| {
                matches!(
                    output,
                    Output::Send {
                        message: Message::Request(_),
                        ..
                    }
                )
            })
            .cloned()
            .collect();
        out.extend(requests);
    });
}

#[test]
fn serving_what_was_not_asked_is_caught() {
    assert_caught("legality", |_, out| {
        for output in out {
            if let Output::Serve { span, .. } = output {
                span.offset = 0;
            }
        }
    });
}

#[test]
fn announcing_what_one_has_not_is_caught() {
    assert_caught("legality", |_, out| {
        for output in out {
            if let Output::Send {
                message: Message::Have(piece),
                ..
            } = output
            {
                *piece = (*piece + 1) % 32;
            }
        }
    });
}

#[test]
fn keeping_what_is_not_in_hand_is_caught() {
    assert_caught("driving contract", |_, out| {
        for output in out {
            if let Output::Keep { span } = output {
                span.piece = (span.piece + 1) % 32;
            }
        }
    });
}

fn is_served(output: &Output) -> bool {
    matches!(output, Output::Serve { .. } | Output::ServeHeld { .. })
}

#[test]
fn never_serving_is_caught() {
    assert_caught("progress", |_, out| {
        out.retain(|output| !is_served(output));
    });
}

/// Every second leech cannot be dialled, and the seed neither: it takes the others to pass pieces on.
fn behind_nat() -> Scenario {
    let mut it = named("s1", 1, Some(4)).expect("known");
    it.total = 2 << 20;
    it.piece_length = 64 << 10;
    [0, 2, 4]
        .iter()
        .for_each(|&host| it.hosts[host].natted = true);
    it
}

#[test]
fn not_passing_on_what_others_cannot_fetch_themselves_is_caught() {
    let report = samara_sim::run(behind_nat());
    assert!(report.violations.is_empty(), "{report}");
    assert!(report.all_finished(), "{report}");

    // Leeches that can be dialled keep what they have, until they are complete and after it.
    let maker = move |host, spec: Spec, config: Arc<_>, now| -> Box<dyn Brain> {
        let engine = Torrent::new(spec, config, now);
        if host % 2 == 0 {
            return Box::new(engine);
        }
        Box::new(Spoiled {
            engine,
            spoil: |_, out| out.retain(|output| !is_served(output)),
            starved: None,
        })
    };
    let report = World::with_brains(behind_nat(), Box::new(maker)).run();
    let stuck = report.violations.iter().filter(|(by, _)| by == "progress");
    let stuck: Vec<&str> = stuck.map(|(_, text)| &text[..6]).collect();
    assert_eq!(stuck, ["host 2", "host 4"], "{report}");
}

#[test]
fn nobody_is_blamed_for_what_cannot_be_reached() {
    // Nobody can be dialled at all.
    let mut it = behind_nat();
    it.hosts.iter_mut().for_each(|host| host.natted = true);
    let report = samara_sim::run(it);
    assert!(report.finishes().is_empty(), "{report}");
    let mut wrong = report.violations.iter();
    assert!(wrong.all(|(by, _)| by != "progress"), "{report}");
}

#[test]
fn speaking_to_the_dead_is_caught() {
    assert_caught("driving contract", |told, out| {
        if let Input::PieceDone { .. } = told {
            out.push(Output::Send {
                peer: PeerKey(9_999),
                message: Message::KeepAlive,
            });
        }
    });
}

/// A world in which only the seed gives: it is long, and all service is the seed's.
fn one_seed_for_all() -> Scenario {
    let mut it = named("nat", 1, Some(12)).expect("known");
    // 320 s and 640 rounds.
    it.total = 64 << 20;
    it.piece_length = 256 << 10;
    it.config.rechoke_max = it.config.rechoke_min;
    // Not to count in bytes, piece by piece.
    it.config.super_seed = false;
    it.config.upload_slots = 2;
    it.config.upload_slots_max = 2;
    it
}

/// What the fairness checker says of it if the seed is spoiled like that.
fn unfair(starved: Option<PeerKey>, spoil: fn(&Input, &mut Outputs)) -> String {
    let maker = move |host, spec: Spec, config: Arc<_>, now| -> Box<dyn Brain> {
        let engine = Torrent::new(spec, config, now);
        if host > 0 {
            return Box::new(engine);
        }
        Box::new(Spoiled {
            engine,
            spoil,
            starved,
        })
    };
    let report = World::with_brains(one_seed_for_all(), Box::new(maker)).run();
    let fairness = report.violations.iter().filter(|(by, _)| by == "fairness");
    let texts: Vec<&str> = fairness.map(|(_, text)| text.as_str()).collect();
    texts.join("; ")
}

#[test]
fn a_seed_as_it_is_is_fair() {
    assert_eq!(unfair(None, |_, _| {}), "");
}

#[test]
fn starving_one_peer_is_caught() {
    let said = unfair(Some(PeerKey(3)), |_, _| {});
    assert!(said.contains("passed over leech"), "{said}");
}

#[test]
fn a_favourite_is_caught() {
    // Never choked again once it has been served.
    let said = unfair(None, |_, out| {
        out.retain(|output| match output {
            Output::Send { peer, message } => *peer != PeerKey(3) || *message != Message::Choke,
            _ => true,
        });
    });
    assert!(
        said.contains("of the time that it wants something"),
        "{said}"
    );
}

#[test]
fn serving_who_gives_nothing_first_is_caught() {
    let mut scenario = named("riders", 1, Some(9)).expect("known");
    for at in 2..=9 {
        scenario.hosts[at].citizen = Citizen::Honest;
    }
    let rider = samara_sim::host::address(1);
    let maker = move |_, spec: Spec, config: Arc<_>, now| -> Box<dyn Brain> {
        let seed = spec.have.is_full();
        let engine = Torrent::new(spec, config, now);
        Box::new(Favours {
            engine,
            seed,
            rider: rider.ip(),
            key: None,
        })
    };
    let report = World::with_brains(scenario.clone(), Box::new(maker)).run();
    let said = format!("{:?}", report.violations);
    assert!(said.contains("who gives nothing"), "{report}");
    let report = samara_sim::run(scenario);
    assert!(report.violations.is_empty(), "{report}");
}

/// An engine that as a leech unchokes nobody but one. As a seed it is honest: what it gives, the leeches pass on to that one only.
#[derive(Debug)]
struct Favours {
    engine: Torrent,
    seed: bool,
    rider: core::net::IpAddr,
    key: Option<PeerKey>,
}

impl Brain for Favours {
    fn handle(&mut self, now: Instant, input: Input, out: &mut Outputs) {
        if let Input::PeerUp { peer, addr, .. } = &input
            && addr.ip() == self.rider
        {
            self.key = Some(*peer);
        }
        self.engine.handle(now, input, out);
        if self.seed {
            return;
        }
        out.retain(|output| match output {
            Output::Send { peer, message } => {
                Some(*peer) == self.key || *message != Message::Unchoke
            }
            _ => true,
        });
    }

    fn deadline(&self) -> Deadline {
        self.engine.deadline()
    }

    fn snapshot(&self, now: Instant) -> Snapshot {
        self.engine.snapshot(now)
    }
}

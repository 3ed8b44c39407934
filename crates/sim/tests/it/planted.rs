//! Engines with a bug planted in them: the checkers of a whole world notice each.

use samara_engine::{Deadline, Input, Instant, Output, Outputs, PeerKey, Snapshot, Spec, Torrent};
use samara_proto::wire::Message;
use samara_sim::World;
use samara_sim::host::Brain;
use samara_sim::scenario::named;
use std::sync::Arc;

/// An engine whose outputs are spoiled.
#[derive(Debug)]
struct Spoiled {
    engine: Torrent,
    spoil: fn(&Input, &mut Outputs),
}

impl Brain for Spoiled {
    fn handle(&mut self, now: Instant, input: Input, out: &mut Outputs) {
        let told = input.clone();
        self.engine.handle(now, input, out);
        (self.spoil)(&told, out);
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
        Box::new(Spoiled { engine, spoil })
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

#[test]
fn never_serving_is_caught() {
    assert_caught("progress", |_, out| {
        out.retain(|output| !matches!(output, Output::Serve { .. }));
    });
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

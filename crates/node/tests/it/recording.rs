//! What is recorded of a run over sockets is the run: replayed, every engine says the same again.

use crate::harness::{Leech, Material, PATIENCE, outcome, request, seed_as, session};
use samara_engine::record::{Entry, Recording, Trace};
use samara_engine::{Event, Input, Output, Outputs, Seed, Torrent};
use samara_node::{Mode, Outcome};
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::time::timeout;

/// What came of a replay.
#[derive(Debug, Default)]
struct Replayed {
    blocks: usize,
    served: usize,
    complete: bool,
    /// Hashes over the outputs that were compared, and those that were the same.
    compared: usize,
    same: usize,
}

/// Replays a recording that comes to its end, with this seed instead of its own if there is one.
fn replay(path: &Path, seed: Option<Seed>) -> Replayed {
    let bytes = std::fs::read(path).expect("recorded");
    let mut recording = Recording::open(&bytes).expect("a recording");
    let mut spec = recording.spec.clone();
    spec.seed = seed.unwrap_or(spec.seed);
    let config = Arc::new(recording.config.clone());
    let mut torrent = Torrent::new(spec, config, recording.start);
    let (mut trace, mut out) = (Trace::default(), Outputs::new());
    let mut found = Replayed::default();
    loop {
        match recording.next_entry().expect("it comes to its end") {
            Entry::Input(now, input) => {
                found.blocks += usize::from(matches!(input, Input::Block { .. }));
                torrent.handle(now, input, &mut out);
                for output in out.drain(..) {
                    found.served += usize::from(matches!(output, Output::Serve { .. }));
                    found.complete |= matches!(output, Output::Event(Event::Complete));
                    trace.note(now, 0, &output);
                }
            }
            Entry::Check(hash) => {
                found.compared += 1;
                found.same += usize::from(hash == trace.hash());
            }
            Entry::End(hash) => {
                found.compared += 1;
                found.same += usize::from(hash == trace.hash());
                return found;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_over_sockets_is_replayed_output_by_output() {
    let material = Material::file(8 << 20, 64 * 1024);
    let blocks = (8 << 20) / (16 << 10);
    let records = TempDir::new().expect("temporary folder");
    let [of_seed, of_leech] = ["seed", "leech"].map(|name| records.path().join(name));

    let host = session().await;
    let mut give = request(&material, material.dir.path(), Mode::Seed);
    give.record = Some(of_seed.clone());
    let seeding = seed_as(&host, give).await;
    let dir = TempDir::new().expect("temporary folder");
    let mut get = request(&material, dir.path(), Mode::Get);
    get.candidates = vec![host.listen_addr()];
    get.record = Some(of_leech.clone());
    let mut leech = Leech::with(get, dir).await;
    leech.complete().await;
    material.assert_same(leech.dir.path());
    timeout(PATIENCE, leech.session.stop())
        .await
        .expect("in time");
    timeout(PATIENCE, host.stop()).await.expect("in time");
    assert!(matches!(outcome(&seeding).await, Outcome::Stopped));

    let (seed, leech) = (replay(&of_seed, None), replay(&of_leech, None));
    assert!(leech.complete && leech.blocks >= blocks, "{leech:?}");
    assert!(seed.served >= blocks, "{seed:?}");
    for replayed in [&seed, &leech] {
        // Every 256 inputs, and at the end.
        assert!(replayed.compared > 2, "{replayed:?}");
        assert_eq!(replayed.same, replayed.compared, "{replayed:?}");
    }
    // Another engine does not do the same: the comparison can fail.
    let other = replay(&of_seed, Some(Seed(1)));
    assert!(other.same < other.compared, "{other:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_there_is_not_overwritten_by_a_recording() {
    let material = Material::file(1 << 20, 64 * 1024);
    let records = TempDir::new().expect("temporary folder");
    let path = records.path().join("precious");
    std::fs::write(&path, "precious").expect("written");
    let host = session().await;
    let mut give = request(&material, material.dir.path(), Mode::Seed);
    give.record = Some(path.clone());
    let torrent = host.add(give).await.expect("added");
    let Outcome::Failed(error) = outcome(&torrent).await else {
        panic!("it goes on")
    };
    assert!(error.to_string().contains("precious"), "{error}");
    let kept = std::fs::read_to_string(&path).expect("still there");
    assert_eq!(kept, "precious");
    host.stop().await;
}

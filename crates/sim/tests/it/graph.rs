//! The tracker's hand-out makes a random graph of even degree.

use samara_engine::{Duration, Instant};
use samara_sim::World;
use samara_sim::checkers::Degree;
use samara_sim::scenario::named;

#[test]
fn the_hand_out_makes_a_random_graph_of_even_degree() {
    let leeches = 400;
    let mut scenario = named("bharambe", 3, Some(leeches)).expect("known");
    // Whole pieces: then a part of the connections is made anew, since whoever finds nothing of use for 10 s looks for others. With parts
    // there is always something, connections stay as they came, and some of 400 are more than six steps from each other.
    scenario.config.part_min = 0;
    // All are here after 10 s, nobody has left yet.
    let picture_at = Instant::ZERO + Duration::from_secs(25);
    scenario.limit = picture_at + Duration::from_secs(1);
    let (wanted, most) = (scenario.config.peers_wanted, scenario.config.peers_max);
    let mut world = World::new(scenario);
    let (watcher, picture) = Degree::new(picture_at);
    world.watch(Box::new(watcher));
    let _unfinished = world.run();
    let graph = picture.borrow_mut().take().expect("the run is longer");
    let degrees = graph.degrees();
    let mean = degrees.iter().sum::<usize>() as f64 / degrees.len() as f64;
    let spread = degrees
        .iter()
        .map(|d| (*d as f64 - mean).powi(2))
        .sum::<f64>();
    let spread = (spread / degrees.len() as f64).sqrt();
    println!(
        "degree {} to {}, mean {mean:.2}, deviation {spread:.2}, clustering {:.3}",
        degrees[0],
        degrees[degrees.len() - 1],
        graph.clustering()
    );
    assert_eq!(degrees.len(), leeches + 1);
    // Everybody has about what it wants, and nobody is a hub.
    assert!(degrees[0] + 2 >= wanted, "{degrees:?}");
    assert!(degrees[leeches] <= most, "{degrees:?}");
    assert!(spread < 0.4 * mean, "{mean} {spread} {degrees:?}");
    // One network, and a small one: in a random graph of this degree 4 steps reach all.
    for from in [0, 1, 200, 400] {
        assert_eq!(graph.within(from, 5), leeches + 1, "from {from}");
    }
    // Who came together does not stay among itself: cliques would be near 1.
    assert!(
        graph.clustering() < 5.0 * mean / leeches as f64,
        "{}",
        graph.clustering()
    );
}

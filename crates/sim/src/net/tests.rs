use super::*;
use crate::world::Queue;
use samara_engine::Seed;

const BLOCK: u32 = 16 * 1024;

/// A network alone: every flow sends blocks as long as it has some.
struct Rig {
    net: Network<u32>,
    queue: Queue<NetEvent>,
    now: Instant,
    got: Vec<(Instant, FlowId, u32)>,
    taken: u64,
}

impl Rig {
    fn new(spec: NetSpec, links: &[LinkSpec]) -> Self {
        let mut net = Network::new(spec, Rng::new(Seed(1), "net"), Duration::from_millis(100));
        for link in links {
            net.add_link(*link);
        }
        Self {
            net,
            queue: Queue::default(),
            now: Instant::ZERO,
            got: Vec::new(),
            taken: 0,
        }
    }

    fn send(&mut self, flow: FlowId, number: u32, bytes: u32, payload: u32) {
        let (mut later, mut facts) = (Vec::new(), Vec::new());
        let now = self.now;
        self.net
            .send(now, flow, number, bytes, payload, &mut later, &mut facts);
        self.settle(later, facts);
    }

    fn settle(&mut self, later: Later, facts: Vec<NetFact<u32>>) {
        for (at, event) in later {
            assert!(at >= self.now, "the past is over");
            self.queue.push(at, event);
        }
        for fact in facts {
            match fact {
                NetFact::Taken(_, bytes) => self.taken += bytes,
                NetFact::Delivered(flow, number) => self.got.push((self.now, flow, number)),
            }
        }
    }

    fn run(&mut self, until: Duration) {
        while let Some((at, event)) = self.queue.pop() {
            if at > Instant::ZERO + until {
                self.queue.push(at, event);
                break;
            }
            self.now = at;
            let (mut later, mut facts) = (Vec::new(), Vec::new());
            self.net.handle(at, event, &mut later, &mut facts);
            self.settle(later, facts);
        }
        self.now = Instant::ZERO + until;
    }

    fn received(&self, flow: FlowId) -> u64 {
        let of = self.got.iter().filter(|(_, from, _)| *from == flow);
        of.count() as u64 * u64::from(BLOCK)
    }
}

fn plain() -> NetSpec {
    NetSpec {
        header_permille: 0,
        ..NetSpec::default()
    }
}

fn link(up: u64, down: u64, millis: u64) -> LinkSpec {
    LinkSpec {
        up,
        down,
        delay: Duration::from_millis(millis),
    }
}

const MB: u64 = 1_000_000;

#[test]
fn one_block_takes_its_bytes_over_the_rate_plus_the_way() {
    let mut rig = Rig::new(plain(), &[link(MB, MB, 10), link(MB, MB, 20)]);
    let flow = rig.net.open(0, 1);
    rig.send(flow, 1, 10_000, 10_000);
    rig.run(Duration::from_secs(1));
    // 10 ms of sending and 30 ms of way; the downlink is as fast and receives meanwhile.
    assert_eq!(rig.got, [(Instant::from_nanos(40_000_000), flow, 1)]);
}

#[test]
fn a_slow_downlink_is_what_counts() {
    let mut rig = Rig::new(plain(), &[link(10 * MB, MB, 0), link(MB, MB, 0)]);
    let flow = rig.net.open(0, 1);
    for number in 0..100 {
        rig.send(flow, number, 10_000, 10_000);
    }
    rig.run(Duration::from_secs(2));
    assert_eq!(rig.got.len(), 100);
    let last = rig.got[99].0.as_nanos();
    assert!((1_000_000_000..1_010_000_000).contains(&last), "{last}");
    let order: Vec<u32> = rig.got.iter().map(|(_, _, number)| *number).collect();
    assert!(order.is_sorted());
}

#[test]
fn an_uplink_is_shared_equally_and_never_idle() {
    let links: Vec<_> = (0..5).map(|_| link(MB, 100 * MB, 5)).collect();
    let mut rig = Rig::new(plain(), &links);
    let flows: Vec<_> = (1..5).map(|to| rig.net.open(0, to)).collect();
    for &flow in &flows {
        for number in 0..1000 {
            rig.send(flow, number, BLOCK, BLOCK);
        }
    }
    rig.run(Duration::from_secs(10));
    let all: u64 = flows.iter().map(|flow| rig.received(*flow)).sum();
    assert!(all as f64 > 0.99 * 10.0 * MB as f64, "{all}");
    for &flow in &flows {
        let share = rig.received(flow) as f64 / all as f64;
        assert!((share - 0.25).abs() < 0.01, "{share}");
    }
    assert!(rig.net.counts(0).busy >= 9_990_000_000);
}

#[test]
fn what_a_full_receiver_cannot_take_goes_to_others() {
    // Max-min: the slow receiver gets all of its 0.1 MB/s, the other two 0.45 each.
    let links = [
        link(MB, MB, 5),
        link(MB, MB / 10, 5),
        link(MB, MB, 5),
        link(MB, MB, 5),
    ];
    let spec = NetSpec {
        window: 256 << 10,
        ..plain()
    };
    let mut rig = Rig::new(spec, &links);
    let flows: Vec<_> = (1..4).map(|to| rig.net.open(0, to)).collect();
    for &flow in &flows {
        for number in 0..3000 {
            rig.send(flow, number, BLOCK, BLOCK);
        }
    }
    rig.run(Duration::from_secs(40));
    let rate = |at: usize| rig.received(flows[at]) as f64 / 40.0 / MB as f64;
    assert!((rate(0) - 0.1).abs() < 0.01, "{}", rate(0));
    assert!((rate(1) - 0.45).abs() < 0.02, "{}", rate(1));
    assert!((rate(2) - 0.45).abs() < 0.02, "{}", rate(2));
}

#[test]
fn a_downlink_is_shared_by_its_senders() {
    let links: Vec<_> = (0..5).map(|_| link(MB, MB, 5)).collect();
    let mut rig = Rig::new(plain(), &links);
    let flows: Vec<_> = (1..5).map(|from| rig.net.open(from, 0)).collect();
    for number in 0..3000 {
        for &flow in &flows {
            rig.send(flow, number, BLOCK, BLOCK);
        }
    }
    rig.run(Duration::from_secs(40));
    let all: u64 = flows.iter().map(|flow| rig.received(*flow)).sum();
    assert!(
        all as f64 > 0.97 * 40.0 * MB as f64 && all <= 40 * MB,
        "{all}"
    );
    for &flow in &flows {
        let share = rig.received(flow) as f64 / all as f64;
        assert!((share - 0.25).abs() < 0.03, "{share}");
    }
}

#[test]
fn the_window_limits_a_long_way() {
    // 64 KiB a round trip of 200 ms is 328 kB/s, whatever the links can do.
    let spec = NetSpec {
        window: 64 << 10,
        ..plain()
    };
    let mut rig = Rig::new(
        spec,
        &[link(10 * MB, 10 * MB, 50), link(10 * MB, 10 * MB, 50)],
    );
    let flow = rig.net.open(0, 1);
    for number in 0..1000 {
        rig.send(flow, number, BLOCK, BLOCK);
    }
    rig.run(Duration::from_secs(20));
    let rate = rig.received(flow) as f64 / 20.0;
    assert!(
        (rate - 65536.0 / 0.2).abs() < 0.15 * 65536.0 / 0.2,
        "{rate}"
    );
}

#[test]
fn messages_pass_between_the_blocks_of_others_but_not_of_their_own() {
    let mut rig = Rig::new(
        plain(),
        &[link(MB, MB, 0), link(MB, MB, 0), link(MB, MB, 0)],
    );
    let (busy, quiet) = (rig.net.open(0, 1), rig.net.open(0, 2));
    for number in 0..50 {
        rig.send(busy, number, BLOCK, BLOCK);
    }
    rig.send(busy, 1000, 17, 0);
    rig.send(quiet, 2000, 17, 0);
    rig.run(Duration::from_secs(5));
    let at = |number| rig.got.iter().position(|(_, _, got)| *got == number);
    assert!(at(2000) <= Some(2), "{:?}", at(2000));
    assert_eq!(at(1000), Some(51));
}

#[test]
fn payload_is_conserved_also_when_connections_close() {
    let links: Vec<_> = (0..6).map(|at| link(MB + at * MB, 2 * MB, at)).collect();
    let mut rig = Rig::new(plain(), &links);
    let mut rng = Rng::new(Seed(3), "test");
    let mut flows = Vec::new();
    for from in 0..6 {
        for to in 0..from {
            flows.push(rig.net.open(from, to));
        }
    }
    let mut handed = 0;
    for round in 0..2000u64 {
        let flow = *rng.choose(&flows).expect("some");
        let flow = if rng.one_in(2) { flow } else { flow.back() };
        handed += u64::from(BLOCK);
        rig.send(flow, round as u32, BLOCK, BLOCK);
        if rng.one_in(200) {
            rig.net.close(flow);
        }
        rig.run(Duration::from_millis(2 * round));
        let got = rig.got.len() as u64 * u64::from(BLOCK);
        let there = rig.net.payload_under_way();
        assert_eq!(
            handed,
            got + rig.net.lost_payload() + there,
            "in round {round}"
        );
    }
    rig.run(Duration::from_secs(1000));
    assert_eq!(rig.net.payload_under_way(), 0);
    let down: u64 = (0..6).map(|at| rig.net.counts(at).payload_down).sum();
    assert_eq!(down, rig.got.len() as u64 * u64::from(BLOCK));
}

#[test]
fn a_partition_stops_and_its_end_goes_on() {
    let mut rig = Rig::new(plain(), &[link(MB, MB, 1), link(MB, MB, 1)]);
    let flow = rig.net.open(0, 1);
    for number in 0..100 {
        rig.send(flow, number, BLOCK, BLOCK);
    }
    rig.run(Duration::from_millis(500));
    let (mut later, mut facts) = (Vec::new(), Vec::new());
    rig.net.set_group(rig.now, 1, 1, &mut later, &mut facts);
    rig.settle(later, facts);
    rig.run(Duration::from_secs(10));
    let before = rig.got.len();
    assert!((20..40).contains(&before), "{before}");
    let (mut later, mut facts) = (Vec::new(), Vec::new());
    rig.net.set_group(rig.now, 1, 0, &mut later, &mut facts);
    rig.settle(later, facts);
    rig.run(Duration::from_secs(20));
    assert_eq!(rig.got.len(), 100);
}

#[test]
fn loss_costs_time_and_no_data() {
    let finish = |loss_per_million| {
        let spec = NetSpec {
            loss_per_million,
            ..plain()
        };
        let mut rig = Rig::new(spec, &[link(MB, MB, 50), link(MB, MB, 50)]);
        let flow = rig.net.open(0, 1);
        for number in 0..500 {
            rig.send(flow, number, BLOCK, BLOCK);
        }
        rig.run(Duration::from_secs(1000));
        assert_eq!(rig.got.len(), 500);
        assert!(rig.got.iter().map(|(_, _, number)| *number).is_sorted());
        rig.got[499].0
    };
    assert!(finish(0) < finish(20_000));
    assert!(finish(20_000) < finish(200_000));
}

#[test]
fn the_send_buffer_says_what_is_taken() {
    let mut rig = Rig::new(plain(), &[link(MB, MB, 0), link(MB, MB, 0)]);
    let flow = rig.net.open(0, 1);
    for number in 0..100 {
        rig.send(flow, number, BLOCK, BLOCK);
    }
    // One block is being sent, the buffer holds eight more.
    assert_eq!(rig.taken, 8 * u64::from(BLOCK) + u64::from(BLOCK));
    rig.run(Duration::from_secs(10));
    assert_eq!(rig.taken, 100 * u64::from(BLOCK));
}

#[test]
fn a_block_that_waits_behind_a_message_for_a_small_buffer_is_sent() {
    // The message is in the buffer, so the block, which fills it alone, is not; nothing is said after it.
    let spec = NetSpec {
        send_buffer: 16 << 10,
        ..plain()
    };
    let mut rig = Rig::new(spec, &[link(MB, MB, 1), link(MB, MB, 1)]);
    let busy = rig.net.open(0, 1);
    let flow = rig.net.open(0, 1);
    rig.send(busy, 0, BLOCK, BLOCK);
    rig.send(flow, 1, 9, 0);
    rig.send(flow, 2, BLOCK + 13, BLOCK);
    rig.run(Duration::from_secs(10));
    assert_eq!(rig.got.len(), 3, "{:?}", rig.got);
    assert_eq!(rig.taken, 2 * u64::from(BLOCK));
}

#[test]
fn a_full_downlink_counts_every_parcel_once() {
    // Blocks and messages mixed, from two senders that are each faster than the receiver.
    let links = [
        link(10 * MB, MB, 3),
        link(10 * MB, MB, 5),
        link(MB, MB / 2, 1),
    ];
    let mut rig = Rig::new(plain(), &links);
    let flows = [rig.net.open(0, 2), rig.net.open(1, 2)];
    for number in 0..200 {
        for flow in flows {
            rig.send(flow, number, 9, 0);
            rig.send(flow, number, BLOCK, BLOCK);
        }
    }
    rig.run(Duration::from_secs(100));
    let all = 400 * u64::from(BLOCK + 9);
    assert_eq!(rig.net.counts(2).wire_down, all);
    let last = rig.got.last().expect("some").0;
    let took = last.since(Instant::ZERO).as_nanos() as f64 / 1e9;
    let least = all as f64 / (MB as f64 / 2.0);
    assert!((least..least * 1.01).contains(&took), "{took} of {least}");
}

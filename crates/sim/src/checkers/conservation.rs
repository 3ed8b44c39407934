//! Bytes neither appear nor vanish, and nobody sends faster than its uplink.

use super::{Checker, Complaints, Ledger, Seen, Stage, Sums};
use crate::net::FlowId;
use samara_engine::Instant;
use samara_proto::Span;
use std::collections::VecDeque;

/// Bytes of one turn of an uplink: a block and what stands before it.
const TURN: u64 = 16 * 1024 + 13;

/// Whether every block that arrives was sent, once, in that order on that connection, and whether
/// the engines' own counts agree with the wire.
#[derive(Debug)]
pub struct Conservation {
    /// Blocks under way by flow.
    under_way: Vec<VecDeque<Span>>,
    wrong: Complaints,
    honest: Vec<bool>,
}

impl Conservation {
    /// For a world that is about to start.
    #[must_use]
    pub fn new(stage: &Stage) -> Self {
        Self {
            under_way: Vec::new(),
            wrong: Complaints::default(),
            honest: stage.hosts.iter().map(|host| host.honest).collect(),
        }
    }

    fn lane(&mut self, flow: FlowId) -> &mut VecDeque<Span> {
        let at = flow.0 as usize;
        if self.under_way.len() <= at {
            self.under_way.resize_with(at + 1, VecDeque::new);
        }
        &mut self.under_way[at]
    }
}

impl Checker for Conservation {
    fn name(&self) -> &'static str {
        "conservation"
    }

    fn see(&mut self, now: Instant, seen: &Seen<'_>, _ledger: Option<&Ledger>) {
        match *seen {
            Seen::Served { flow, span } => self.lane(flow).push_back(span),
            Seen::Got { flow, span } => {
                let sent = self.lane(flow).pop_front();
                if sent != Some(span) {
                    self.wrong.say(now, || {
                        format!("{span:?} arrives on {flow:?}, sent was {sent:?}")
                    });
                }
            }
            Seen::Down { flow } => {
                *self.lane(flow.back()) = VecDeque::new();
            }
            _ => {}
        }
    }

    fn verdict(&mut self, sums: &Sums) -> Vec<String> {
        let mut wrong = self.wrong.take();
        let sent: u64 = sums.hosts.iter().map(|host| host.served).sum();
        let got: u64 = sums.hosts.iter().map(|host| host.received).sum();
        if sent != got + sums.lost + sums.under_way {
            wrong.push(format!(
                "{sent} bytes were sent; {got} arrived, {} were lost, {} are under way",
                sums.lost, sums.under_way
            ));
        }
        for (at, host) in sums.hosts.iter().enumerate() {
            // Rounding: every turn is up to a nanosecond short.
            let most = u128::from(host.busy + host.busy / 1000 + 1000) * u128::from(host.up);
            if u128::from(host.wire_up) * 1_000_000_000 > most {
                wrong.push(format!("host {at} sent more than its uplink takes"));
            }
            // A turn that has begun is counted to its end: a block, and messages that went ahead of it.
            let turn = samara_engine::time::time_for(2 * TURN, host.up).as_nanos();
            if host.busy
                > sums
                    .ended
                    .as_nanos()
                    .saturating_add(1_000_000_000)
                    .saturating_add(turn)
            {
                wrong.push(format!("host {at} was busy for longer than the run"));
            }
            let Some([sent, kept, vain, failed]) = host.says else {
                continue;
            };
            if self.honest[at] && sent > host.served {
                wrong.push(format!(
                    "host {at} counts {sent} sent, it was {}",
                    host.served
                ));
            }
            // A block of a failed piece may be counted as kept before and as failed after.
            if kept > host.received || kept.max(failed) + vain > host.received {
                wrong.push(format!(
                    "host {at} counts {kept} kept, {vain} in vain and {failed} failed of {}",
                    host.received
                ));
            }
        }
        wrong
    }
}

//! What goes wrong with a world.

use super::World;
use crate::checkers::Seen;
use crate::host::Life;
use crate::net::FlowId;
use crate::scenario::Fault;

impl World {
    pub(super) fn fault(&mut self, at: u32) {
        let Some((_, fault)) = self.scenario.faults.get(at as usize).cloned() else {
            return;
        };
        match fault {
            Fault::Split(cut) => {
                for host in cut {
                    self.group(host, 1);
                }
            }
            Fault::Join => {
                for host in 0..self.hosts.len() as u32 {
                    self.group(host, 0);
                }
            }
            Fault::Crash(host) => {
                self.gone(host, Life::Away);
                let at = &mut self.hosts[host as usize];
                at.disk.crash();
                at.held_back.clear();
                at.brain = None;
            }
            Fault::Restart(host) => self.join(host),
            Fault::TrackerDown => self.tracker.down = true,
            Fault::TrackerUp => self.tracker.down = false,
            Fault::Reset(count) => {
                for _ in 0..count {
                    let flow = FlowId(self.rng.below(self.ends.len() as u32));
                    if (flow.0 as usize) < self.ends.len() {
                        self.reset(flow);
                    }
                }
            }
            Fault::Stop(host) => self.stop(host),
        }
        if self.scenario.healed == self.now {
            self.see(&Seen::Healed);
        }
    }

    fn group(&mut self, host: u32, group: u8) {
        let (mut later, mut facts) = (super::take(&mut self.later), super::take(&mut self.facts));
        self.net
            .set_group(self.now, host, group, &mut later, &mut facts);
        self.network(later, facts);
    }
}

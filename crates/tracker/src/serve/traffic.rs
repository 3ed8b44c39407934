//! How much comes, for those who let things gather while it is much.

/// Milliseconds over which the pace is measured.
const PACE_SPAN: u64 = 10;

/// How many packets or connections come.
#[derive(Debug)]
pub(super) struct Traffic {
    /// From how many a millisecond on they are many.
    many: u64,
    since: u64,
    came: u64,
    busy: bool,
}

impl Traffic {
    pub(super) fn new(many: u64) -> Self {
        Self {
            many,
            since: 0,
            came: 0,
            busy: false,
        }
    }

    /// Takes note of those that came by `now`, in milliseconds; whether there are many.
    pub(super) fn note(&mut self, now: u64, came: usize) -> bool {
        self.came += came as u64;
        let span = now.saturating_sub(self.since);
        if span >= PACE_SPAN {
            self.busy = self.came >= span * self.many;
            (self.since, self.came) = (now, 0);
        }
        self.busy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_are_many_only_while_they_come() {
        let mut traffic = Traffic::new(20);
        let mut now = 1_000;
        let mut second = |each: usize| {
            let busy = (0..1_000).filter(|_| {
                now += 1;
                traffic.note(now, each)
            });
            busy.count()
        };
        assert!(second(19) < 20, "19,000 a second");
        assert!(second(21) > 980, "21,000 a second");
        assert!(second(0) < 20, "nobody comes");
        // One burst after a silence is no pace.
        assert!(!traffic.note(now + 60_000, 1_024));
    }
}

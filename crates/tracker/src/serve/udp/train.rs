//! Answers that go to one socket are sent as one.
//!
//! A client with a thousand torrents announces them all from one socket, in bursts, and half of what a
//! UDP tracker costs is the way of each answer through the kernel. The kernel can take several packets
//! to one socket at once and cut them apart at the very end, if all are of one size but for the last,
//! which may be shorter: a *train*. So the answers of a batch are put in order by where they go and by
//! size. For clients that come one by one nothing changes.

use super::packet::{Inbox, Outbox};
use std::ops::Range;

/// Most packets of a train. The kernel takes 64 (128 since Linux 6.9).
const MOST_CARS: usize = 64;

/// Most bytes of a train: a datagram may have 65,507.
const MOST_BYTES: usize = 60_000;

/// Packets to one socket, all but the last of `size` bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Train {
    /// Where in the order they stand.
    pub(crate) range: Range<usize>,
    pub(crate) size: u16,
}

impl Train {
    /// Numbers of its packets.
    pub(crate) fn cars<'a>(&self, order: &'a [u16]) -> &'a [u16] {
        order.get(self.range.clone()).unwrap_or_default()
    }
}

/// By what answers are put in order: where they go; then the longest first, so that a shorter one can end
/// a train of longer ones; and the number of the answer in the last 16 bits.
pub(crate) type Key = (u64, u64, u32);

/// Puts the first `ready` answers in order, and makes trains of them; of one car each unless they may
/// be `coupled`. All three lists are written anew.
pub(crate) fn compose(
    outbox: &[Outbox],
    inbox: &[Inbox],
    ready: usize,
    coupled: bool,
    keys: &mut Vec<Key>,
    order: &mut Vec<u16>,
    trains: &mut Vec<Train>,
) {
    order.clear();
    trains.clear();
    let place = |car: u16| {
        let packet = outbox.get(usize::from(car))?;
        Some((inbox.get(packet.answers)?, packet.len))
    };
    if coupled {
        // Once for each answer, and not for each comparison.
        keys.clear();
        keys.extend((0..ready as u16).filter_map(|car| {
            let (slot, len) = place(car)?;
            let (one, two) = slot.destination();
            let shortness = u32::from(u16::MAX - len as u16);
            Some((one, two, (shortness << 16) | u32::from(car)))
        }));
        keys.sort_unstable();
        order.extend(keys.iter().map(|(.., low)| *low as u16));
    } else {
        order.extend(0..ready as u16);
    }
    for (at, car) in order.iter().enumerate() {
        let Some((slot, len)) = place(*car) else {
            continue;
        };
        if coupled
            && let Some(train) = trains.last_mut()
            && let Some((before, last)) = order.get(at - 1).and_then(|car| place(*car))
            && slot.goes_where(before)
            // Still open: nothing shorter than the rest has ended it.
            && last == usize::from(train.size)
            && train.range.len() < MOST_CARS
            && (train.range.len() + 1) * usize::from(train.size) <= MOST_BYTES
        {
            train.range.end = at + 1;
        } else {
            trains.push(Train {
                range: at..at + 1,
                size: len as u16,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trains_have_one_destination_and_one_size_but_for_the_last() {
        let mut state = 5_u64;
        let mut next = |n: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % n
        };
        for round in 0..300 {
            let count = 1 + next(250) as usize;
            let sockets = 1 + next(20);
            let mut inbox = vec![Inbox::new(); count];
            let mut outbox = vec![Outbox::new(); count];
            for at in 0..count {
                let port = 1_000 + next(sockets) as u16;
                inbox[at].name.set(([127, 0, 0, 1], port).into());
                outbox[at].answers = at;
                outbox[at].len = [16, 20, 26, 200, 1_400][next(5) as usize];
            }
            let (mut keys, mut order, mut trains) = (Vec::new(), Vec::new(), Vec::new());
            let coupled = round % 10 > 0;
            compose(
                &outbox,
                &inbox,
                count,
                coupled,
                &mut keys,
                &mut order,
                &mut trains,
            );
            let mut seen = vec![false; count];
            for train in &trains {
                let cars = train.cars(&order);
                assert!(!cars.is_empty() && (coupled || cars.len() == 1));
                let slot = |car: &u16| &inbox[outbox[usize::from(*car)].answers];
                let bytes: usize = cars.iter().map(|car| outbox[usize::from(*car)].len).sum();
                assert!(bytes <= MOST_BYTES && cars.len() <= MOST_CARS);
                for (at, car) in cars.iter().enumerate() {
                    assert!(!std::mem::replace(&mut seen[usize::from(*car)], true));
                    assert_eq!(slot(car).name.get(), slot(&cars[0]).name.get());
                    let len = outbox[usize::from(*car)].len;
                    if at + 1 < cars.len() {
                        assert_eq!(len, train.size.into());
                    } else {
                        assert!(len <= train.size.into());
                    }
                }
            }
            assert!(seen.into_iter().all(|seen| seen));
            if coupled && sockets == 1 && count > 200 {
                assert!(trains.len() < 20, "{}", trains.len());
            }
        }
    }
}

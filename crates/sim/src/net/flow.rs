//! One direction of a connection: a send buffer, a window, and what is under way.

use super::{FIRST_WINDOW, LinkId};
use samara_engine::{Duration, Instant};
use std::collections::VecDeque;

/// Something on its way.
#[derive(Debug)]
pub(super) struct Parcel<C> {
    /// Bytes on the wire, packet headers included.
    pub(super) wire: u32,
    /// Bytes of a block among them.
    pub(super) payload: u32,
    /// What it is.
    pub(super) cargo: C,
}

/// One direction of a connection.
#[derive(Debug)]
pub(super) struct Flow<C> {
    pub(super) from: LinkId,
    pub(super) to: LinkId,
    pub(super) delay: Duration,
    /// Not sent yet; the first `taken` are in the send buffer.
    pub(super) queue: VecDeque<Parcel<C>>,
    pub(super) taken: usize,
    /// Bytes in the send buffer.
    pub(super) buffered: u64,
    /// Sent and not delivered.
    pub(super) flight: VecDeque<Parcel<C>>,
    /// The first so many of them have reached the downlink and wait for it.
    pub(super) arrived: usize,
    pub(super) last_arrival: Instant,
    pub(super) window: u64,
    /// Bytes sent and not acknowledged.
    pub(super) unacked: u64,
    /// Acknowledgements on their way back: (when, bytes).
    pub(super) acks: VecDeque<(Instant, u64)>,
    /// What is left of its turn in the round robin, bytes.
    pub(super) credit: i64,
    /// Has a place in the round.
    pub(super) listed: bool,
    /// Waits for an acknowledgement.
    pub(super) blocked: bool,
    pub(super) closed: bool,
}

/// What a flow sends in one go.
pub(super) struct Turn {
    pub(super) parcels: u16,
    pub(super) wire: u64,
    pub(super) payload: u64,
}

impl<C> Flow<C> {
    pub(super) fn new(from: LinkId, to: LinkId, delay: Duration) -> Self {
        Self {
            from,
            to,
            delay,
            queue: VecDeque::new(),
            taken: 0,
            buffered: 0,
            flight: VecDeque::new(),
            arrived: 0,
            last_arrival: Instant::ZERO,
            window: FIRST_WINDOW,
            unacked: 0,
            acks: VecDeque::new(),
            credit: 0,
            listed: false,
            blocked: false,
            closed: false,
        }
    }

    /// Whether nothing may be sent before an acknowledgement. An idle flow may always send.
    pub(super) fn window_is_full(&self) -> bool {
        self.unacked > 0 && self.unacked >= self.window
    }

    /// Takes note of the acknowledgements that have come by `now`; the window opens by what they
    /// acknowledge, up to `most`.
    pub(super) fn acknowledged(&mut self, now: Instant, most: u64) {
        while let Some(&(at, bytes)) = self.acks.front()
            && at <= now
        {
            self.acks.pop_front();
            self.unacked = self.unacked.saturating_sub(bytes);
            self.window = (self.window + bytes).min(most);
        }
        if !self.window_is_full() {
            self.blocked = false;
        }
    }

    /// Takes one block, or messages up to `batch` bytes, out of the send buffer.
    pub(super) fn take_turn(&mut self, batch: u32) -> Turn {
        let mut turn = Turn {
            parcels: 0,
            wire: 0,
            payload: 0,
        };
        while self.taken > 0
            && turn.parcels < u16::MAX
            && let Some(parcel) = self.queue.front()
        {
            let fits = parcel.payload == 0 && turn.wire + u64::from(parcel.wire) <= batch.into();
            if turn.parcels > 0 && !fits {
                break;
            }
            let Some(parcel) = self.queue.pop_front() else {
                break;
            };
            self.taken -= 1;
            self.buffered -= u64::from(parcel.wire);
            turn.parcels += 1;
            turn.wire += u64::from(parcel.wire);
            turn.payload += u64::from(parcel.payload);
            let is_block = parcel.payload > 0;
            self.flight.push_back(parcel);
            if is_block {
                break;
            }
        }
        self.unacked += turn.wire;
        turn
    }

    /// The next `count` parcels under way reach the downlink; the answer is their bytes.
    pub(super) fn arrive(&mut self, count: u16) -> u64 {
        let next = self
            .flight
            .iter()
            .skip(self.arrived)
            .take(usize::from(count));
        let bytes = next.map(|parcel| u64::from(parcel.wire)).sum();
        self.arrived = (self.arrived + usize::from(count)).min(self.flight.len());
        bytes
    }

    /// The downlink has taken the next parcel.
    pub(super) fn land(&mut self) -> Option<Parcel<C>> {
        self.arrived = self.arrived.saturating_sub(1);
        self.flight.pop_front()
    }

    /// Nothing more will be sent. The answer is the payload that is lost, bytes.
    pub(super) fn drop_unsent(&mut self) -> u64 {
        self.closed = true;
        self.taken = 0;
        self.buffered = 0;
        let lost = self.queue.iter().map(|parcel| u64::from(parcel.payload));
        let lost = lost.sum();
        self.queue = VecDeque::new();
        lost
    }

    /// Nothing more will arrive. The answer is the payload that is lost, bytes.
    pub(super) fn drop_flight(&mut self) -> u64 {
        let lost = self.flight.iter().map(|parcel| u64::from(parcel.payload));
        let lost = lost.sum();
        self.flight = VecDeque::new();
        self.arrived = 0;
        self.acks = VecDeque::new();
        lost
    }

    /// Payload that is waiting or under way, bytes.
    pub(super) fn payload(&self) -> u64 {
        let all = self.queue.iter().chain(&self.flight);
        all.map(|parcel| u64::from(parcel.payload)).sum()
    }
}

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
    /// Sent and not delivered, then those in the send buffer, then those that wait for room in it.
    parcels: VecDeque<Parcel<C>>,
    /// So many of them are sent ...
    flown: u32,
    /// ... the first so many of which have reached the downlink and wait for it ...
    arrived: u32,
    /// ... and so many are in the send buffer.
    pub(super) taken: u32,
    /// Bytes in the send buffer.
    pub(super) buffered: u64,
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
            parcels: VecDeque::new(),
            flown: 0,
            arrived: 0,
            taken: 0,
            buffered: 0,
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

    /// Whether all that it was given is sent.
    pub(super) fn is_empty(&self) -> bool {
        self.parcels.len() == self.flown as usize
    }

    /// Takes a parcel that is to be sent when its turn comes.
    pub(super) fn push(&mut self, parcel: Parcel<C>) {
        self.parcels.push_back(parcel);
    }

    /// Sends a parcel at once. For a flow that [`Flow::is_empty`].
    pub(super) fn send(&mut self, parcel: Parcel<C>) {
        debug_assert!(self.is_empty(), "it would overtake others");
        self.unacked += u64::from(parcel.wire);
        self.parcels.push_back(parcel);
        self.flown += 1;
    }

    /// Moves the next parcel into the send buffer if it holds no more than `most` bytes then; an empty buffer takes a
    /// parcel of any size. The answer is its payload.
    pub(super) fn admit(&mut self, most: u64) -> Option<u32> {
        let next = (self.flown + self.taken) as usize;
        let parcel = self.parcels.get(next)?;
        let wire = u64::from(parcel.wire);
        if self.buffered > 0 && self.buffered + wire > most {
            return None;
        }
        self.buffered += wire;
        self.taken += 1;
        Some(parcel.payload)
    }

    /// Sends one block, or messages up to `batch` bytes, out of the send buffer.
    pub(super) fn take_turn(&mut self, batch: u32) -> Turn {
        let mut turn = Turn {
            parcels: 0,
            wire: 0,
            payload: 0,
        };
        while self.taken > 0
            && turn.parcels < u16::MAX
            && let Some(parcel) = self.parcels.get(self.flown as usize)
        {
            let wire = u64::from(parcel.wire);
            let fits = parcel.payload == 0 && turn.wire + wire <= batch.into();
            if turn.parcels > 0 && !fits {
                break;
            }
            self.taken -= 1;
            self.flown += 1;
            self.buffered -= wire;
            turn.parcels += 1;
            turn.wire += wire;
            turn.payload += u64::from(parcel.payload);
            if parcel.payload > 0 {
                break;
            }
        }
        self.unacked += turn.wire;
        turn
    }

    /// The next `count` parcels under way reach the downlink; the answer is their bytes.
    pub(super) fn arrive(&mut self, count: u16) -> u64 {
        let until = (self.arrived + u32::from(count)).min(self.flown);
        let next = self
            .parcels
            .range(self.arrived.min(until) as usize..until as usize);
        let bytes = next.map(|parcel| u64::from(parcel.wire)).sum();
        self.arrived = until;
        bytes
    }

    /// The downlink has taken the next parcel.
    pub(super) fn land(&mut self) -> Option<Parcel<C>> {
        self.arrived = self.arrived.saturating_sub(1);
        self.flown = self.flown.checked_sub(1)?;
        self.parcels.pop_front()
    }

    /// Nothing more will be sent. The answer is the payload that is lost, bytes.
    pub(super) fn drop_unsent(&mut self) -> u64 {
        self.closed = true;
        self.taken = 0;
        self.buffered = 0;
        let lost = self.parcels.drain(self.flown as usize..);
        let lost = lost.map(|parcel| u64::from(parcel.payload)).sum();
        self.parcels.shrink_to_fit();
        lost
    }

    /// Nothing more will arrive. The answer is the payload that is lost, bytes.
    pub(super) fn drop_flight(&mut self) -> u64 {
        let lost = self.parcels.drain(..self.flown as usize);
        let lost = lost.map(|parcel| u64::from(parcel.payload)).sum();
        self.parcels.shrink_to_fit();
        self.flown = 0;
        self.arrived = 0;
        self.acks = VecDeque::new();
        lost
    }

    /// Payload that is waiting or under way, bytes.
    pub(super) fn payload(&self) -> u64 {
        let all = self.parcels.iter();
        all.map(|parcel| u64::from(parcel.payload)).sum()
    }
}

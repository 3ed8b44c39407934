//! A connected peer: what we know of it, what we asked of it, what it asked of us.

mod pipeline;
mod rate;

pub(crate) use pipeline::Pipeline;
pub(crate) use rate::Rate;

use crate::config::Config;
use crate::time::Instant;
use core::net::SocketAddr;
use samara_proto::wire::Reserved;
use samara_proto::{Bitfield, PeerId, Span};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A request of ours that is not answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) span: Span,
    pub(crate) at: Instant,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) addr: SocketAddr,
    pub(crate) outgoing: bool,
    pub(crate) id: PeerId,
    pub(crate) reserved: Reserved,
    pub(crate) came: Instant,
    /// Number under which it wants metadata messages (BEP 9).
    pub(crate) ut_metadata: Option<u8>,
    /// Number under which it wants messages about parts of pieces.
    pub(crate) parts: Option<u8>,
    /// Pieces in `has` that it has only begun, and passes on as they come.
    pub(crate) coming: BTreeMap<u32, u64>,
    /// Pieces whose chains it was sent.
    pub(crate) chains: BTreeSet<u32>,
    /// Address it listens on, where known.
    pub(crate) listens: Option<SocketAddr>,
    /// The first message decides who has what (BEP 3, 6).
    pub(crate) told_pieces: bool,
    /// It has said once what it has, whole: from then on it can only have more.
    pub(crate) told_whole: bool,
    pub(crate) has: Bitfield,
    /// It came with everything: counted as a seed by the picker, not piece by piece.
    pub(crate) counted_as_seed: bool,
    /// Pieces it has that we lack.
    pub(crate) useful: u32,

    pub(crate) am_interested: bool,
    pub(crate) choking_us: bool,
    pub(crate) allowed_fast: BTreeSet<u32>,
    pub(crate) asked: VecDeque<Asked>,
    pub(crate) pipeline: Pipeline,
    pub(crate) snubbing: bool,
    /// When a block last came, or when we began to wait for one.
    pub(crate) waiting_since: Instant,
    pub(crate) from_it: Rate,
    /// Blocks that we gave up and that may still come: a cancel or a choke crosses them.
    pub(crate) crossing: u32,
    /// Blocks that came without any such excuse.
    pub(crate) unasked: u32,

    pub(crate) interested: bool,
    pub(crate) choked: bool,
    pub(crate) unchoked_at: Option<Instant>,
    /// Its requests that are not with the transport yet.
    pub(crate) requests: VecDeque<Span>,
    /// Bytes that the transport has not taken yet.
    pub(crate) serving: u64,
    /// When the transport last took something, or was given something while it had nothing.
    pub(crate) served_at: Instant,
    /// It stands in the line of those that wait, has had this much in its turn, which began then.
    pub(crate) in_line: bool,
    pub(crate) turn_bytes: u64,
    pub(crate) turn_began: Instant,
    pub(crate) to_it: Rate,
    /// Bytes that we ever sent to it, and those since we last began to serve it.
    pub(crate) given: u64,
    pub(crate) given_in_turn: u64,
    /// Bytes of the pieces that it was shown since we last began to serve it.
    pub(crate) shown_in_turn: u64,

    pub(crate) heard: Instant,
    pub(crate) said: Instant,
    /// It rejects what we ask though it does not choke us: it is not asked again before the next
    /// look at everybody.
    pub(crate) paused: bool,
}

impl Peer {
    pub(crate) fn new(
        config: &Config,
        now: Instant,
        addr: SocketAddr,
        outgoing: bool,
        id: PeerId,
        reserved: Reserved,
        pieces: u32,
    ) -> Self {
        Self {
            addr,
            outgoing,
            id,
            reserved,
            came: now,
            ut_metadata: None,
            parts: None,
            coming: BTreeMap::new(),
            chains: BTreeSet::new(),
            listens: outgoing.then_some(addr),
            told_pieces: false,
            told_whole: false,
            has: Bitfield::empty(pieces),
            counted_as_seed: false,
            useful: 0,
            am_interested: false,
            choking_us: true,
            allowed_fast: BTreeSet::new(),
            asked: VecDeque::new(),
            pipeline: Pipeline::new(config),
            snubbing: false,
            waiting_since: now,
            from_it: Rate::default(),
            crossing: 0,
            unasked: 0,
            interested: false,
            choked: true,
            unchoked_at: None,
            requests: VecDeque::new(),
            serving: 0,
            served_at: now,
            in_line: false,
            turn_bytes: 0,
            turn_began: now,
            to_it: Rate::default(),
            given: 0,
            given_in_turn: 0,
            shown_in_turn: 0,
            heard: now,
            said: now,
            paused: false,
        }
    }

    pub(crate) fn is_seed(&self) -> bool {
        self.has.is_full() && self.coming.is_empty()
    }

    /// Takes the request for exactly `span` off the list of what we wait for.
    pub(crate) fn take_asked(&mut self, span: Span) -> Option<Asked> {
        // Blocks come in the order they were asked for: the first is nearly always the one.
        let at = self.asked.iter().position(|asked| asked.span == span)?;
        self.asked.remove(at)
    }

    /// Nanoseconds until the last request out would be answered at the present rate; `None` if that
    /// is unknown or the peer does not answer.
    pub(crate) fn backlog(&self) -> Option<crate::time::Duration> {
        if self.snubbing || self.choking_us || self.pipeline.rate() == 0 {
            return None;
        }
        let bytes: u64 = self
            .asked
            .iter()
            .map(|asked| u64::from(asked.span.length))
            .sum();
        Some(crate::time::time_for(bytes, self.pipeline.rate()))
    }

    /// Window of bytes that may be with the transport: an eighth of a second of what the peer takes. On an uplink
    /// of 20 Mbit/s shared by four, 128 KiB here and 128 in each socket were half a second: efficiency 0.82 on real
    /// sockets instead of 0.88.
    pub(crate) fn serve_window(&self, config: &Config, now: Instant) -> u64 {
        (self.to_it.recent(now) / 8).clamp(config.serve_window_min, config.serve_window_max)
    }
}

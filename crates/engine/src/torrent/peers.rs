//! Connections: who comes, who goes, whom to dial.

use super::{DEPARTED_MAX, Identity, Torrent};
use crate::candidates;
use crate::fault::{PeerFault, Proof};
use crate::io::{Event, Goodbye, Output, Outputs, PeerKey, Phase};
use crate::peer::Peer;
use crate::time::{Duration, Instant};
use bytes::Bytes;
use core::cmp::Reverse;
use core::net::SocketAddr;
use samara_proto::PeerId;
use samara_proto::wire::{ExtendedHandshake, Message, PARTS_ID, Reserved, UT_METADATA_ID};

/// Pause before a peer that did something wrong is dialled again.
const FAULT_PAUSE: Duration = Duration::from_secs(120);

/// A peer that is served and was shown a piece has this long to ask for it; one that does not react to
/// single pieces is shown everything.
const UNMOVED_AFTER: Duration = Duration::from_secs(2);

/// Clients that look at what others have only every ten seconds or so (Transmission, seen with 3.00: a
/// piece a second when shown one by one). They are shown everything from the start.
const SLOW_TO_LOOK: [&[u8; 3]; 1] = [b"-TR"];

/// A peer has this long to become of use before it makes room for others.
const USELESS_AFTER: Duration = Duration::from_secs(10);

/// A second connection of a peer takes the place of one that has been quiet for this long. Shorter than what
/// a change of address takes to be noticed by anything else ([`Config::silence_max`](crate::Config)), longer
/// than a busy peer is ever quiet.
const TWIN_QUIET: Duration = Duration::from_secs(10);

/// Shortest time that a peer without a block snubs us, however fast the transfer is.
const SNUB_MIN: Duration = Duration::from_secs(3);

/// Who is at the other end: address, whether we dialled, peer id, what it understands.
type Caller = (SocketAddr, bool, PeerId, Reserved);

impl Torrent {
    pub(super) fn on_peer_up(
        &mut self,
        now: Instant,
        key: PeerKey,
        (addr, outgoing, id, reserved): Caller,
        out: &mut Outputs,
    ) {
        if outgoing {
            self.candidates.connected(addr);
        }
        if let Some(why) = self.reason_to_refuse(now, (addr, outgoing, id, reserved), out) {
            out.push(Output::Hangup { peer: key, why });
            if outgoing {
                self.candidates.gone(now, addr, FAULT_PAUSE, false);
            }
            if why == Goodbye::Fault(PeerFault::OurOwnPeerId) && outgoing {
                self.candidates.forget(addr);
            }
            return;
        }
        let pieces = self.geometry.pieces();
        let peer = Peer::new(&self.config, now, addr, outgoing, id, reserved, pieces);
        if self.identities.len() >= DEPARTED_MAX {
            self.identities.pop_first();
        }
        self.identities.insert(
            addr,
            Identity {
                id,
                listens: peer.listens,
            },
        );
        self.peers.insert(key, peer);
        out.push(Output::Event(Event::PeerConnected { addr }));
        self.greet(now, key, out);
        if self.reveal.is_partial(key) && self.has_slot() {
            // It sees nothing to be interested in: the first move is ours.
            self.set_choked(now, key, false, out);
        }
    }

    /// Whether the caller is turned away. Makes room where the new connection is the better one.
    fn reason_to_refuse(
        &mut self,
        now: Instant,
        (addr, outgoing, id, _): Caller,
        out: &mut Outputs,
    ) -> Option<Goodbye> {
        if id == self.spec.peer_id {
            return Some(Goodbye::Fault(PeerFault::OurOwnPeerId));
        }
        if matches!(self.phase, Phase::Leaving | Phase::Stopped) {
            return Some(Goodbye::Leaving);
        }
        if self.candidates.is_banned(addr, Some(id)) {
            return Some(Goodbye::Fault(PeerFault::CorruptBlock));
        }
        let twin = self
            .peers
            .iter()
            .find(|(_, peer)| peer.id == id)
            .map(|(key, peer)| (*key, peer.outgoing, now.since(peer.heard)));
        if let Some((twin, twin_outgoing, quiet)) = twin {
            // Both ends dialled at once: both keep the connection that the greater id dialled. A peer
            // that was given another address, or has slept, comes again while its old connection looks
            // open to us; one that has just been heard is not thrown out by who borrows its name.
            let keep_new = quiet > TWIN_QUIET
                || (twin_outgoing != outgoing && outgoing == (self.spec.peer_id > id));
            if !keep_new {
                return Some(Goodbye::Fault(PeerFault::Duplicate));
            }
            self.hang_up(now, twin, Goodbye::Fault(PeerFault::Duplicate), out);
        }
        let crowd = self
            .peers
            .values()
            .filter(|peer| candidates::network(peer.addr.ip()) == candidates::network(addr.ip()));
        if !candidates::is_shared(addr.ip()) && crowd.count() >= self.config.peers_per_address {
            return Some(Goodbye::Surplus);
        }
        let full = self.peers.len() >= self.config.peers_max;
        (full && !self.shed_useless(now, out)).then_some(Goodbye::Surplus)
    }

    /// Hangs up on the peer that has been of no use either way for longest; false if there is none. In a
    /// swarm where all lack the same piece, this lets the one in that has it.
    fn shed_useless(&mut self, now: Instant, out: &mut Outputs) -> bool {
        let useless = self.peers.iter().filter(|(_, peer)| {
            peer.useful == 0 && !peer.interested && now.since(peer.came) > USELESS_AFTER
        });
        let oldest = useless
            .min_by_key(|(_, peer)| peer.came)
            .map(|(key, _)| *key);
        if let Some(key) = oldest {
            self.hang_up(now, key, Goodbye::Surplus, out);
        }
        oldest.is_some()
    }

    /// Another torrent needs a connection that this one can spare: the one of least use goes, and of
    /// several the one that came last.
    pub(super) fn on_make_room(&mut self, now: Instant, out: &mut Outputs) {
        if self.shed_useless(now, out) {
            return;
        }
        let least = self.peers.iter().min_by_key(|(_, peer)| {
            let rate = peer.from_it.rolling(now).max(peer.to_it.rolling(now));
            (rate, peer.useful, peer.interested, Reverse(peer.came))
        });
        if let Some(key) = least.map(|(key, _)| *key) {
            self.hang_up(now, key, Goodbye::Surplus, out);
        }
    }

    /// The first things we say: what we have (BEP 3, 6), and what we understand (BEP 10).
    fn greet(&mut self, now: Instant, key: PeerKey, out: &mut Outputs) {
        let Some(peer) = self.peers.get(&key) else {
            return;
        };
        let (fast, extended) = (peer.reserved.fast(), peer.reserved.extended());
        let have = self.picker.have();
        let slow = SLOW_TO_LOOK.iter().any(|name| peer.id.0.starts_with(*name));
        let hiding = self.reveal.is_hiding() && !slow;
        let first = match (have.count(), fast) {
            (0, true) => Some(Message::HaveNone),
            (0, false) => None,
            (_, true) if hiding => Some(Message::HaveNone),
            (_, false) if hiding => None,
            (_, true) if have.is_full() => Some(Message::HaveAll),
            _ => Some(Message::Bitfield(Bytes::from(have.to_wire()))),
        };
        if hiding {
            self.reveal.came(key);
        }
        if let Some(message) = first {
            self.send(now, key, message, out);
        }
        if extended {
            let raw = self.spec.info.raw.len();
            let hello = ExtendedHandshake {
                ut_metadata: (raw > 0).then_some(UT_METADATA_ID),
                parts: self.understands_parts().then_some(PARTS_ID),
                metadata_size: (raw > 0).then_some(raw as u64),
                client: Some(concat!("Samara ", env!("CARGO_PKG_VERSION")).to_owned()),
                port: (self.spec.listen_port != 0).then_some(self.spec.listen_port),
                request_queue: Some(self.config.request_queue as u32),
                // Who has nothing to give and wants nothing is hung up on.
                upload_only: self.phase == Phase::Seeding && !hiding,
            };
            self.send(
                now,
                key,
                Message::Extended {
                    id: 0,
                    payload: hello.encode(),
                },
                out,
            );
        }
    }

    /// Shows a peer the pieces that it should see now, if we do not show everything to it anyway.
    pub(super) fn show(&mut self, now: Instant, key: PeerKey, out: &mut Outputs) {
        if !self.reveal.is_partial(key) {
            return;
        }
        let Some(peer) = self.peers.get(&key) else {
            return;
        };
        let hiding = self.reveal.is_hiding();
        let lacking = self.peers.values().filter(|peer| !peer.is_seed()).count();
        let contended = hiding && lacking > self.choker.slots();
        let turn = self.hiding_turn(now);
        if hiding && peer.choked || contended && peer.shown_in_turn >= turn {
            // What it is shown and cannot ask for, nobody gets.
            return;
        }
        // Half a piece, or what the peer takes in a quarter of a second; while others wait for their
        // turn, no more than a turn's worth.
        let half = u64::from(self.geometry.piece_length() / 2).max(peer.to_it.recent(now) / 4);
        let ahead = if contended {
            (peer.to_it.recent(now) / 4).clamp(1, turn - peer.shown_in_turn)
        } else {
            half
        };
        let again = self.shows_again(now);
        let show = self.reveal.next(key, &peer.has, ahead, again);
        if let Some(peer) = self.peers.get_mut(&key) {
            let shown = show
                .iter()
                .map(|piece| u64::from(self.geometry.data_len(*piece)));
            peer.shown_in_turn += shown.sum::<u64>();
        }
        for piece in show {
            self.send(now, key, Message::Have(piece), out);
        }
    }

    /// Once a second: is there still something to hide?
    pub(super) fn look_after_what_is_shown(&mut self, now: Instant, out: &mut Outputs) {
        if self.reveal.is_hiding() {
            let others = self.swarm.seeds.is_some_and(|seeds| seeds > 1)
                || self.peers.values().any(Peer::is_seed);
            if others || self.reveal.all_given() || self.picker.copies_thousandths() >= 1000 {
                return self.stop_hiding(now, out);
            }
        }
        self.show_to_all(now, out);
    }

    /// From now on everything is shown.
    pub(super) fn stop_hiding(&mut self, now: Instant, out: &mut Outputs) {
        self.reveal.stop_hiding();
        self.show_to_all(now, out);
    }

    fn show_to_all(&mut self, now: Instant, out: &mut Outputs) {
        if self.reveal.is_idle() {
            return;
        }
        let keys: Vec<PeerKey> = self.peers.keys().copied().collect();
        for key in keys {
            if self.reveal.is_waiting_for(key)
                && self.peers.get(&key).is_some_and(|peer| {
                    let waited = peer.unchoked_at.map(|at| now.since(at));
                    let idle = peer.given_in_turn == 0 && peer.requests.is_empty();
                    !peer.choked && idle && waited.is_some_and(|waited| waited > UNMOVED_AFTER)
                })
            {
                self.reveal.open_up(key);
            }
            self.show(now, key, out);
        }
    }

    pub(super) fn send(&mut self, now: Instant, key: PeerKey, message: Message, out: &mut Outputs) {
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.said = now;
            out.push(Output::Send { peer: key, message });
        }
    }

    pub(super) fn on_peer_down(&mut self, now: Instant, key: PeerKey, out: &mut Outputs) {
        if let Some(addr) = self.detach(now, key, Duration::ZERO) {
            out.push(Output::Event(Event::PeerGone { addr, fault: None }));
            self.dial(now, out);
        }
    }

    pub(super) fn hang_up(&mut self, now: Instant, key: PeerKey, why: Goodbye, out: &mut Outputs) {
        let fault = if let Goodbye::Fault(fault) = why {
            Some(fault)
        } else {
            None
        };
        let pause = if fault.is_some() {
            FAULT_PAUSE
        } else {
            Duration::ZERO
        };
        if let Some(addr) = self.detach(now, key, pause) {
            out.push(Output::Hangup { peer: key, why });
            out.push(Output::Event(Event::PeerGone { addr, fault }));
        }
    }

    /// Takes a peer out of all rooms. From here on nothing that it says is heard.
    fn detach(&mut self, now: Instant, key: PeerKey, pause: Duration) -> Option<SocketAddr> {
        let peer = self.peers.remove(&key)?;
        self.uplink.gone(key, peer.serving);
        self.picker.peer_gone(key);
        for asked in &peer.asked {
            self.picker.release(key, asked.span);
        }
        if peer.counted_as_seed {
            self.picker.seed_changed(false);
        } else {
            self.picker.peer_left(&peer.has);
        }
        self.choker.forget(key);
        self.reveal.gone(key);
        self.news.gone(key);
        self.parts.gone(key);
        if let Some(listens) = peer.listens {
            self.candidates.gone(now, listens, pause, peer.is_seed());
        }
        self.refill = true;
        if !peer.choked {
            self.rechoke_soon(now);
        }
        Some(peer.addr)
    }

    /// The peer at `addr` is not spoken to again, whether it is still here or not.
    pub(super) fn ban(
        &mut self,
        now: Instant,
        addr: SocketAddr,
        (fault, proof): (PeerFault, Proof),
        out: &mut Outputs,
    ) {
        let identity = self.identities.get(&addr).copied();
        let (id, listens) = (identity.map(|i| i.id), identity.and_then(|i| i.listens));
        self.candidates.ban(addr, listens, id);
        out.push(Output::Event(Event::PeerBanned { addr, fault, proof }));
        let banned = self.peers.iter().filter(|(_, peer)| {
            peer.addr == addr || self.candidates.is_banned(peer.addr, Some(peer.id))
        });
        let banned: Vec<PeerKey> = banned.map(|(key, _)| *key).collect();
        for key in banned {
            self.hang_up(now, key, Goodbye::Fault(fault), out);
        }
    }

    pub(super) fn on_dial_failed(&mut self, now: Instant, addr: SocketAddr, out: &mut Outputs) {
        self.candidates.failed(now, addr);
        self.dial(now, out);
    }

    pub(super) fn on_candidates(&mut self, now: Instant, addrs: &[SocketAddr], out: &mut Outputs) {
        for addr in addrs {
            self.candidates.add(now, *addr);
        }
        self.dial(now, out);
    }

    /// The peer says that it listens on another port than it calls from.
    pub(super) fn on_listens(&mut self, now: Instant, key: PeerKey, port: u16) {
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        if peer.listens.is_some() {
            return;
        }
        let listens = SocketAddr::new(peer.addr.ip(), port);
        peer.listens = Some(listens);
        if let Some(identity) = self.identities.get_mut(&peer.addr) {
            identity.listens = Some(listens);
        }
        self.candidates.listens(now, listens);
    }

    /// Dials addresses while we want more connections.
    pub(super) fn dial(&mut self, now: Instant, out: &mut Outputs) {
        if matches!(self.phase, Phase::Leaving | Phase::Stopped) {
            return;
        }
        let dialling = self.candidates.dialling();
        let missing = self
            .config
            .peers_wanted
            .saturating_sub(self.peers.len() + dialling);
        let want = missing.min(self.config.dials_max.saturating_sub(dialling));
        if want == 0 {
            return;
        }
        let seeds_too = self.phase == Phase::Downloading;
        for addr in self.candidates.take(now, want, seeds_too) {
            out.push(Output::Dial(addr));
        }
    }

    pub(super) fn housekeeping(&mut self, now: Instant, out: &mut Outputs) {
        let snub_after = self
            .rechoke_period(now)
            .times(6)
            .clamp(SNUB_MIN, self.config.snub_max);
        let keys: Vec<PeerKey> = self.peers.keys().copied().collect();
        for key in keys {
            let Some(peer) = self.peers.get_mut(&key) else {
                continue;
            };
            peer.paused = false;
            if now.since(peer.heard) > self.config.silence_max {
                self.on_fault(now, key, PeerFault::Silent, out);
                continue;
            }
            let waits = !peer.asked.is_empty();
            if waits && now.since(peer.waiting_since) > snub_after {
                self.on_snubbed(now, key, out);
            }
            if self
                .peers
                .get(&key)
                .is_some_and(|p| now.since(p.said) > self.config.keep_alive)
            {
                self.send(now, key, Message::KeepAlive, out);
            }
        }
        self.news.hurry(now);
        self.fill_all(now, out);
        let starving = self.phase == Phase::Downloading
            && self.peers.len() >= self.config.peers_wanted
            && self.peers.values().all(|peer| peer.useful == 0);
        if starving {
            self.shed_useless(now, out);
        }
        self.dial(now, out);
        self.look_after_parts(now, out);
        self.look_after_what_is_shown(now, out);
        self.look_after_the_swarm(now, out);
    }
}

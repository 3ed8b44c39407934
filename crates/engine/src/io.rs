//! The driving contract: facts in, wishes out, both plain data.
//!
//! A driver waits for one fact or for the deadline, calls [`crate::Torrent::handle`], and performs
//! every output in order. The obligations, by number, so that drivers and tests can name them:
//!
//! 1. `now` never goes backwards between calls.
//! 2. Every [`Output::Dial`] is answered by one [`Input::PeerUp`] or one [`Input::DialFailed`].
//! 3. After `PeerUp` there is exactly one [`Input::PeerDown`] for that key, also after
//!    [`Output::Hangup`]. Keys are not used again.
//! 4. [`Output::Keep`] only ever comes out of the call that handled the [`Input::Block`] for the same
//!    span; without it the payload is dropped. The driver holds kept payload until the piece's
//!    [`Output::Verify`] or [`Output::Forget`].
//! 5. Every [`Output::Verify`] is answered by one [`Input::PieceDone`], every [`Output::CheckFiles`] by
//!    one [`Input::FilesChecked`], every [`Output::Announce`] by one [`Input::Announced`], also on
//!    failure and after a time-out.
//! 6. Every [`Output::Serve`] of a live connection is answered by [`Input::Served`] with its length once its bytes are
//!    with the transport; answers may be added up.
//! 7. [`Output::ServeHeld`] only ever names a block that was kept and whose piece was neither verified nor forgotten since.
//! 8. Every [`Output::CheckPart`] is answered by one [`Input::PartDone`], every [`Output::Chain`] by one [`Input::Chained`].
//! 9. [`Input::Tick`] is said when the deadline has come. Saying it early does no harm.

use crate::fault::{PeerFault, Proof};
use crate::rng::Seed;
use crate::time::{Duration, Instant};
use core::net::SocketAddr;
use samara_proto::metainfo::Info;
use samara_proto::wire::{Message, Reserved};
use samara_proto::{Bitfield, PeerId, Sha1, Span};
use std::sync::Arc;

/// One connection, as the driver numbers them. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerKey(pub u32);

/// One tracker of the torrent: its place in [`Spec::trackers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrackerKey {
    /// Tier (BEP 12).
    pub tier: u16,
    /// Place in the tier as it was given.
    pub place: u16,
}

/// What a torrent is, at the moment it starts.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The torrent.
    pub info: Arc<Info>,
    /// What we call ourselves.
    pub peer_id: PeerId,
    /// Port that we listen on, told to trackers and peers; 0 if we do not listen.
    pub listen_port: u16,
    /// Pieces that are on disk and verified.
    pub have: Bitfield,
    /// Whether the whole files were checked in an earlier run (only of interest if `have` is full).
    pub files_checked: bool,
    /// Trackers by tier; addresses stay with the driver, the engine only counts.
    pub trackers: Vec<usize>,
    /// Addresses to try at once (`x.pe` of a magnet link, or given by the user).
    pub candidates: Vec<SocketAddr>,
    /// Source of all random choices.
    pub seed: Seed,
}

/// How long to stay when the download is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeedGoal {
    /// Until everybody who asked has a full copy: the swarm's counts and our connections say so.
    Everyone,
    /// Leave at once.
    None,
    /// Until told to stop.
    Forever,
    /// Until this many thousandths of the torrent's bytes have been uploaded.
    Ratio(u32),
    /// For this long after completion.
    Time(Duration),
}

/// A fact.
#[derive(Clone, Debug)]
pub enum Input {
    /// The deadline has come, or the run begins.
    Tick,
    /// A connection is up: both handshakes are done, and the info-hash is ours.
    PeerUp {
        /// The connection.
        peer: PeerKey,
        /// The other end.
        addr: SocketAddr,
        /// Whether this answers an [`Output::Dial`].
        outgoing: bool,
        /// What the peer calls itself.
        peer_id: PeerId,
        /// What the peer understands.
        reserved: Reserved,
    },
    /// A dial came to nothing.
    DialFailed {
        /// The address that was dialled.
        addr: SocketAddr,
    },
    /// A connection is gone, whoever closed it.
    PeerDown {
        /// The connection.
        peer: PeerKey,
    },
    /// Connections are scarce and this torrent has more than its part: the one of least use is to go.
    MakeRoom,
    /// A peer said something.
    Message {
        /// The connection.
        peer: PeerKey,
        /// What it said.
        message: Message,
    },
    /// A block's payload is in the driver's memory.
    Block {
        /// The connection.
        peer: PeerKey,
        /// Where it says the bytes belong.
        span: Span,
    },
    /// A peer sent what is no message.
    Malformed {
        /// The connection.
        peer: PeerKey,
    },
    /// Payload was handed to the transport.
    Served {
        /// The connection.
        peer: PeerKey,
        /// Bytes of payload since the last time.
        bytes: u64,
    },
    /// A block that was to be served could not be read.
    ServeFailed {
        /// The connection.
        peer: PeerKey,
        /// What was to be read.
        span: Span,
    },
    /// Answers [`Output::Verify`].
    PieceDone {
        /// The piece.
        piece: u32,
        /// What came of it.
        outcome: PieceOutcome,
    },
    /// Answers [`Output::CheckPart`].
    PartDone {
        /// The piece.
        piece: u32,
        /// Where the part begins in it.
        from: u32,
        /// Whether it is right.
        good: bool,
    },
    /// Answers [`Output::Chain`].
    Chained {
        /// The piece.
        piece: u32,
        /// The chaining values before every part but the first; none if the piece could not be read.
        values: Vec<Sha1>,
    },
    /// Answers [`Output::CheckFiles`].
    FilesChecked(FilesOutcome),
    /// Answers [`Output::Announce`].
    Announced {
        /// Who was asked.
        tracker: TrackerKey,
        /// What it said; `None` if it could not be reached, or refused.
        answer: Option<Answer>,
    },
    /// Pieces that were on disk and are not any more: somebody else wrote to a file, or cut it. They are
    /// fetched again.
    PiecesLost(Vec<u32>),
    /// The disk has failed without having been asked for a piece: what was written cannot be made durable,
    /// a file is gone. The text says how.
    DiskFailed(String),
    /// Addresses of peers from elsewhere.
    Candidates(Vec<SocketAddr>),
    /// Leave politely: tell the trackers, hang up, say [`Output::Stopped`].
    Stop,
}

/// What came of a piece that was to be verified and written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PieceOutcome {
    /// It is right, and it is on disk. With a digest a block if they were asked for.
    Good(Vec<u64>),
    /// It fails its checksum; nothing was written. With a digest a block.
    Bad(Vec<u64>),
    /// The disk failed; the text says how. The bytes are lost.
    Disk(String),
}

/// What came of checking whole files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilesOutcome {
    /// Every file is as its hash says.
    Good,
    /// These pieces are not what they were when they were verified: they are fetched again.
    BadPieces(Vec<u32>),
    /// A file differs though all of its pieces are right: the torrent contradicts itself.
    Contradiction(String),
    /// The disk failed; the text says how.
    Disk(String),
}

/// What a tracker answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Ask again after this long.
    pub interval: Duration,
    /// Do not ask again before this.
    pub min_interval: Option<Duration>,
    /// Seeds in the swarm.
    pub seeds: Option<u32>,
    /// Leeches in the swarm.
    pub leeches: Option<u32>,
    /// Full copies made so far.
    pub completed: Option<u32>,
    /// Where the peers are.
    pub peers: Vec<SocketAddr>,
    /// Something for the user.
    pub warning: Option<String>,
}

/// Why an announce is made (BEP 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnnounceEvent {
    /// The first one.
    Started,
    /// The usual one.
    Periodic,
    /// The download has become complete.
    Completed,
    /// We are leaving.
    Stopped,
}

/// What to tell a tracker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announce {
    /// Whom.
    pub tracker: TrackerKey,
    /// Why.
    pub event: AnnounceEvent,
    /// Payload sent in this run, bytes.
    pub uploaded: u64,
    /// Payload received in this run that was kept, bytes.
    pub downloaded: u64,
    /// Bytes still missing.
    pub left: u64,
    /// Peers wanted.
    pub num_want: u32,
}

/// Why we close a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goodbye {
    /// It did something wrong.
    Fault(PeerFault),
    /// Both have everything.
    BothSeeds,
    /// We leave the swarm.
    Leaving,
    /// There are more useful ones than we may keep.
    Surplus,
}

/// A wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Connect to an address and shake hands.
    Dial(SocketAddr),
    /// Close a connection; what was to be sent may be lost.
    Hangup {
        /// The connection.
        peer: PeerKey,
        /// Why.
        why: Goodbye,
    },
    /// Send a message.
    Send {
        /// The connection.
        peer: PeerKey,
        /// The message.
        message: Message,
    },
    /// Send the bytes of a span from disk.
    Serve {
        /// The connection.
        peer: PeerKey,
        /// What to send.
        span: Span,
    },
    /// Send the bytes of a block that is held.
    ServeHeld {
        /// The connection.
        peer: PeerKey,
        /// What to send.
        span: Span,
    },
    /// Hold the payload of the block that is being handled.
    Keep {
        /// Where it belongs.
        span: Span,
    },
    /// All blocks of the piece are held: check them, and write them if they are right.
    Verify {
        /// The piece.
        piece: u32,
        /// Whether a digest of each block is wanted with a good outcome (with a bad one always).
        digests: bool,
    },
    /// Blocks of a piece from `from` up to `to`, a part of it, are held: hash them, beginning with the chaining value `before`.
    /// They are right if `after` comes out, or the piece's hash if that is `None` and the part is the last one.
    CheckPart {
        /// The piece.
        piece: u32,
        /// Where the part begins in it.
        from: u32,
        /// Where it ends.
        to: u32,
        /// SHA-1's chaining value before it.
        before: Sha1,
        /// The one after it.
        after: Option<Sha1>,
    },
    /// Read a piece that is on disk, and say SHA-1's chaining values before each of its parts but the first.
    Chain {
        /// The piece.
        piece: u32,
        /// Bytes of a part.
        step: u32,
    },
    /// Drop whatever is held for the piece.
    Forget {
        /// The piece.
        piece: u32,
    },
    /// The piece is verified and written: note it in the journal.
    Record {
        /// The piece.
        piece: u32,
    },
    /// All pieces are written: check every whole file from what is on disk.
    CheckFiles,
    /// Ask a tracker.
    Announce(Announce),
    /// Something that a user may want to know.
    Event(Event),
    /// The torrent has left; nothing more will come.
    Stopped,
}

/// What a driver gives [`crate::Torrent::handle`] to be filled.
pub type Outputs = Vec<Output>;

/// Something that a user may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A peer is connected.
    PeerConnected {
        /// Its address.
        addr: SocketAddr,
    },
    /// A peer is gone.
    PeerGone {
        /// Its address.
        addr: SocketAddr,
        /// What it did wrong, if that is why.
        fault: Option<PeerFault>,
    },
    /// A peer will not be spoken to again.
    PeerBanned {
        /// Its address.
        addr: SocketAddr,
        /// What it did.
        fault: PeerFault,
        /// What shows it.
        proof: Proof,
    },
    /// A piece is here, verified and written.
    PieceVerified {
        /// The piece.
        piece: u32,
    },
    /// A piece failed its checksum and will be fetched again.
    PieceRejected {
        /// The piece.
        piece: u32,
        /// Who sent blocks of it.
        peers: Vec<SocketAddr>,
    },
    /// What a tracker says to people.
    TrackerWarning(String),
    /// Pieces are all here, files are being checked.
    Checking,
    /// Everything is here and checked.
    Complete,
    /// The goal of seeding is reached; the torrent leaves.
    GoalReached,
    /// It cannot go on: the disk failed. Everything verified so far is kept.
    DiskFailed(String),
    /// It cannot go on: the torrent contradicts itself.
    Contradiction(String),
}

/// When to say [`Input::Tick`] next, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// The moment.
    pub at: Instant,
    /// What it is for.
    pub why: Reason,
}

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Tracker.
    Announce,
    /// Choices of whom to serve.
    Rechoke,
    /// An uplink that may be stuck or idle.
    Uplink,
    /// Peers to be told of new pieces.
    News,
    /// Connections to be made.
    Dial,
    /// Peers to be checked: silent, snubbing, keep-alive.
    Housekeeping,
    /// The end of seeding, or of a polite goodbye.
    Leave,
}

/// What the torrent is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Some pieces are missing.
    Downloading,
    /// All pieces are here, files are being checked.
    Checking,
    /// Everything is here.
    Seeding,
    /// Saying goodbye.
    Leaving,
    /// Gone.
    Stopped,
}

/// Numbers for people, taken at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// What it is doing.
    pub phase: Phase,
    /// Pieces that are here.
    pub pieces_have: u32,
    /// Pieces of the torrent.
    pub pieces: u32,
    /// Bytes that are here and verified.
    pub bytes_have: u64,
    /// Bytes of the torrent.
    pub bytes: u64,
    /// Payload sent in this run.
    pub uploaded: u64,
    /// Payload received and kept in this run.
    pub downloaded: u64,
    /// Payload received in vain: duplicates of the endgame, and unasked.
    pub wasted: u64,
    /// Payload of pieces that failed their checksum.
    pub rejected: u64,
    /// Bytes a second sent, over the last seconds.
    pub up_rate: u64,
    /// Bytes a second received, over the last seconds.
    pub down_rate: u64,
    /// Connected peers.
    pub peers: u32,
    /// Connected peers that have everything.
    pub peer_seeds: u32,
    /// Peers that we serve.
    pub unchoked: u32,
    /// Peers that serve us.
    pub unchoking_us: u32,
    /// Seeds in the swarm by the tracker's count.
    pub swarm_seeds: Option<u32>,
    /// Leeches in the swarm by the tracker's count.
    pub swarm_leeches: Option<u32>,
    /// Distributed copies we can see among connected peers, ourselves left out, in thousandths.
    pub availability: u32,
    /// Whether a tracker has answered so far.
    pub tracker_answered: bool,
}

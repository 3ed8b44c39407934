//! What a peer can do wrong, and the one function from fault to sanction.

use core::fmt;

/// A peer broke the protocol or its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerFault {
    /// Bytes that are not a message, or a message longer than its kind may be.
    Malformed,
    /// A bitfield of the wrong length, or with spare bits set.
    BadBitfield,
    /// A piece index beyond the torrent.
    PieceOutOfRange,
    /// A request for bytes that are not in the torrent, or longer than 128 KiB.
    BadRequest,
    /// A request for a piece that we do not have and never announced.
    RequestForMissing,
    /// More requests waiting than we said we would keep.
    RequestFlood,
    /// A block that nobody asked this peer for.
    UnaskedBlock,
    /// Many unasked blocks: they cost bandwidth and may be an attack.
    UnaskedBlocks,
    /// A Fast extension message without having said that it speaks it (BEP 6).
    FastNotNegotiated,
    /// A reject of what was not asked (BEP 6 says to close).
    UnaskedReject,
    /// An extension message that cannot be read.
    BadExtension,
    /// It sent a piece, all of it, that fails its checksum.
    CorruptPiece,
    /// It sent a block that differs from the right one: proven when the piece was good later.
    CorruptBlock,
    /// It took back a piece that it had claimed: nobody loses pieces that were verified, so that one of the
    /// two was a lie.
    ClaimTakenBack,
    /// It was part of too many failed pieces, though which block was bad is not proven.
    ManyCorruptPieces,
    /// It is us.
    OurOwnPeerId,
    /// A second connection of the same peer.
    Duplicate,
    /// Nothing was heard for longer than two minutes and more.
    Silent,
}

/// What is done about a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sanction {
    /// Counted, nothing else.
    Ignore,
    /// The connection is closed; the address may be tried again later.
    Disconnect,
    /// The connection is closed and the address is not spoken to again.
    Ban,
}

impl PeerFault {
    /// What is done about it. This is the only place that decides.
    #[must_use]
    pub fn sanction(self) -> Sanction {
        match self {
            // A block may arrive just after its cancel or a choke: that is nobody's fault. Some old
            // clients reject twice.
            Self::UnaskedBlock | Self::UnaskedReject | Self::BadExtension => Sanction::Ignore,
            Self::Malformed
            | Self::BadBitfield
            | Self::PieceOutOfRange
            | Self::BadRequest
            | Self::RequestForMissing
            | Self::RequestFlood
            | Self::UnaskedBlocks
            | Self::FastNotNegotiated
            | Self::Duplicate
            | Self::Silent => Sanction::Disconnect,
            Self::CorruptPiece
            | Self::CorruptBlock
            | Self::ClaimTakenBack
            | Self::ManyCorruptPieces
            | Self::OurOwnPeerId => Sanction::Ban,
        }
    }
}

/// What a ban rests on, kept so that whoever is banned, or runs the machine, can check it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// It gave every block of this piece, and the piece fails its checksum.
    Piece {
        /// The piece.
        piece: u32,
    },
    /// It gave this block, and the piece that passed its checksum later has another.
    Block {
        /// The piece.
        piece: u32,
        /// Number of the block in it.
        block: u32,
        /// Digest of what it gave.
        gave: u64,
        /// Digest of what is right.
        right: u64,
    },
    /// It claimed this piece, and said later that it has not got it.
    Claim {
        /// The piece.
        piece: u32,
    },
    /// The fault speaks for itself.
    Itself,
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Piece { piece } => write!(f, "all of piece {piece} came from it"),
            Self::Block {
                piece,
                block,
                gave,
                right,
            } => write!(
                f,
                "block {block} of piece {piece} was {gave:016x}, {right:016x} is right"
            ),
            Self::Claim { piece } => write!(f, "piece {piece}"),
            Self::Itself => f.write_str("the connection itself"),
        }
    }
}

impl fmt::Display for PeerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "sent bytes that are not a legal message",
            Self::BadBitfield => "sent a bitfield that does not fit the torrent",
            Self::PieceOutOfRange => "named a piece beyond the torrent",
            Self::BadRequest => "asked for bytes that are not in the torrent",
            Self::RequestForMissing => "asked for a piece that was never announced",
            Self::RequestFlood => "sent more requests than fit the queue",
            Self::UnaskedBlock => "sent a block that was not asked for",
            Self::UnaskedBlocks => "sent many blocks that were not asked for",
            Self::FastNotNegotiated => "used the Fast extension without offering it",
            Self::UnaskedReject => "rejected what was not asked for",
            Self::BadExtension => "sent an extension message that cannot be read",
            Self::CorruptPiece => "sent a piece that fails its checksum",
            Self::CorruptBlock => "sent a block that was proven wrong",
            Self::ClaimTakenBack => "took back a piece that it had claimed to have",
            Self::ManyCorruptPieces => "took part in too many failed pieces",
            Self::OurOwnPeerId => "is this very client",
            Self::Duplicate => "is connected already",
            Self::Silent => "was silent for too long",
        })
    }
}

//! Everything that a recording is made of, to bytes and back.

use super::RecordError;
use crate::config::Config;
use crate::io::{Answer, FilesOutcome, Input, PeerKey, PieceOutcome, SeedGoal, Spec, TrackerKey};
use crate::rng::Seed;
use crate::time::{Duration, Instant};
use bytes::{Bytes, BytesMut};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use samara_proto::metainfo::{Info, NamePolicy};
use samara_proto::wire::{Decoder, Frame, Message, Reserved};
use samara_proto::{Bitfield, PeerId, Sha1, Span};
use std::sync::Arc;

type Read<T> = Result<T, RecordError>;

/// Bytes that are being read from the front.
#[derive(Debug)]
pub(super) struct Cut<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cut<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn take(&mut self, count: usize) -> Read<&'a [u8]> {
        let end = self.at.checked_add(count);
        let part = end.and_then(|end| self.bytes.get(self.at..end));
        let part = part.ok_or(RecordError::BreaksOff(self.at))?;
        self.at += count;
        Ok(part)
    }

    pub(super) fn fixed<const N: usize>(&mut self) -> Read<[u8; N]> {
        let at = self.at;
        let part = self.take(N)?;
        part.try_into().map_err(|_| RecordError::Odd(at))
    }

    pub(super) fn byte(&mut self) -> Read<u8> {
        self.fixed::<1>().map(|[byte]| byte)
    }

    fn odd<T>(&self) -> Read<T> {
        Err(RecordError::Odd(self.at))
    }
}

/// Something with a form in bytes.
pub(super) trait Field: Sized {
    fn put(&self, out: &mut Vec<u8>);
    fn get(from: &mut Cut<'_>) -> Read<Self>;
}

impl Field for u64 {
    fn put(&self, out: &mut Vec<u8>) {
        let mut rest = *self;
        while rest >= 0x80 {
            out.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        out.push(rest as u8);
    }

    fn get(from: &mut Cut<'_>) -> Read<Self> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = from.byte()?;
            number |= Self::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        from.odd()
    }
}

macro_rules! number {
    ($($kind:ty),*) => {$(
        impl Field for $kind {
            fn put(&self, out: &mut Vec<u8>) {
                (*self as u64).put(out);
            }

            fn get(from: &mut Cut<'_>) -> Read<Self> {
                let number = u64::get(from)?;
                Self::try_from(number).or_else(|_| from.odd())
            }
        }
    )*};
}

number!(u16, u32, usize);

impl Field for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn get(from: &mut Cut<'_>) -> Read<Self> {
        Ok(from.byte()? != 0)
    }
}

/// A struct whose fields follow each other. Naming all of them makes the compiler ask for new ones here; a
/// new one is a new [`super::VERSION`].
macro_rules! fields {
    ($kind:ident { $($name:ident),* $(,)? }) => {
        impl Field for $kind {
            fn put(&self, out: &mut Vec<u8>) {
                let Self { $($name),* } = self;
                $($name.put(out);)*
            }

            fn get(from: &mut Cut<'_>) -> Read<Self> {
                Ok(Self { $($name: Field::get(from)?),* })
            }
        }
    };
}

/// A struct around one thing.
macro_rules! wrapper {
    ($($kind:ident),*) => {$(
        impl Field for $kind {
            fn put(&self, out: &mut Vec<u8>) {
                self.0.put(out);
            }

            fn get(from: &mut Cut<'_>) -> Read<Self> {
                Ok(Self(Field::get(from)?))
            }
        }
    )*};
}

wrapper!(PeerKey, Seed, PeerId, Reserved, Sha1);

impl<const N: usize> Field for [u8; N] {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self);
    }

    fn get(from: &mut Cut<'_>) -> Read<Self> {
        from.fixed()
    }
}

impl Field for Duration {
    fn put(&self, out: &mut Vec<u8>) {
        self.as_nanos().put(out);
    }

    fn get(from: &mut Cut<'_>) -> Read<Self> {
        u64::get(from).map(Self::from_nanos)
    }
}

impl Field for Instant {
    fn put(&self, out: &mut Vec<u8>) {
        self.as_nanos().put(out);
    }

    fn get(from: &mut Cut<'_>) -> Read<Self> {
        u64::get(from).map(Self::from_nanos)
    }
}

impl<T: Field> Field for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.len().put(out);
        self.iter().for_each(|one| one.put(out));
    }

    fn get(from: &mut Cut<'_>) -> Read<Self> {
        let count = usize::get(from)?;
        // No room is made for what is claimed: it has to be there.
        (0..count).map(|_| T::get(from)).collect()
    }
}

impl<T: Field> Field for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(it) = self {
            it.put(out);
        }
    }

    fn get(from: &mut Cut<'_>) -> Read<Self> {
        bool::get(from)?.then(|| T::get(from)).transpose()
    }
}

impl Field for Bytes {
    fn put(&self, out: &mut Vec<u8>) {
        self.len().put(out);
        out.extend(self);
    }

    fn get(from: &mut Cut<'_>) -> Read<Self> {
        let count = usize::get(from)?;
        from.take(count).map(Self::copy_from_slice)
    }
}

impl Field for String {
    fn put(&self, out: &mut Vec<u8>) {
        Bytes::copy_from_slice(self.as_bytes()).put(out);
    }

    fn get(from: &mut Cut<'_>) -> Read<Self> {
        let bytes = Bytes::get(from)?;
        Self::from_utf8(bytes.into()).or_else(|_| from.odd())
    }
}

impl Field for SocketAddr {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_ipv6().put(out);
        match self.ip() {
            IpAddr::V4(ip) => ip.octets().put(out),
            IpAddr::V6(ip) => ip.octets().put(out),
        }
        self.port().put(out);
        // Link-local addresses are nothing without their interface.
        if let Self::V6(v6) = self {
            v6.flowinfo().put(out);
            v6.scope_id().put(out);
        }
    }

    fn get(from: &mut Cut<'_>) -> Read<Self> {
        if !bool::get(from)? {
            let ip = Ipv4Addr::from(from.fixed::<4>()?);
            return Ok(Self::new(ip.into(), u16::get(from)?));
        }
        let ip = Ipv6Addr::from(from.fixed::<16>()?);
        let (port, flow, scope) = (u16::get(from)?, u32::get(from)?, u32::get(from)?);
        Ok(core::net::SocketAddrV6::new(ip, port, flow, scope).into())
    }
}

impl Field for Bitfield {
    fn put(&self, out: &mut Vec<u8>) {
        self.len().put(out);
        Bytes::from(self.to_wire()).put(out);
    }

    fn get(from: &mut Cut<'_>) -> Read<Self> {
        let pieces = u32::get(from)?;
        let bits = Bytes::get(from)?;
        Self::from_wire(&bits, pieces).map_or_else(|| from.odd(), Ok)
    }
}

impl Field for Message {
    fn put(&self, out: &mut Vec<u8>) {
        let mut bytes = BytesMut::new();
        self.encode(&mut bytes);
        bytes.freeze().put(out);
    }

    fn get(from: &mut Cut<'_>) -> Read<Self> {
        let mut bytes = BytesMut::from(&Bytes::get(from)?[..]);
        match Decoder::new(u32::MAX).decode(&mut bytes) {
            Ok(Some(Frame::Message(message))) => Ok(message),
            _ => from.odd(),
        }
    }
}

/// The raw dictionary: everything about the torrent grows from it.
impl Field for Arc<Info> {
    fn put(&self, out: &mut Vec<u8>) {
        self.raw.put(out);
    }

    fn get(from: &mut Cut<'_>) -> Read<Self> {
        let info = Info::from_bytes_with(Bytes::get(from)?, NamePolicy::Local);
        let info = info.map_err(|error| RecordError::Torrent(error.to_string()))?;
        Ok(Self::new(info))
    }
}

fields!(Spec {
    info,
    peer_id,
    listen_port,
    have,
    files_checked,
    trackers,
    candidates,
    seed,
});

fields!(Config {
    peers_max,
    peers_per_address,
    peers_wanted,
    dials_max,
    upload_slots,
    part_slots,
    upload_slots_max,
    part_min,
    super_seed,
    optimistic_slots,
    rechoke_max,
    rechoke_min,
    rechokes_per_transfer,
    optimistic_rounds,
    snub_max,
    random_first,
    request_queue,
    pipeline_min,
    pipeline_max,
    memory,
    endgame_copies,
    serve_window_min,
    serve_window_max,
    have_wait,
    silence_max,
    keep_alive,
    num_want,
    seed_goal,
    linger,
});

fields!(Span {
    piece,
    offset,
    length
});
fields!(TrackerKey { tier, place });
fields!(Answer {
    interval,
    min_interval,
    seeds,
    leeches,
    completed,
    peers,
    warning
});

/// An enum: a byte for the kind, then what belongs to it.
macro_rules! kinds {
    ($kind:ident, $read:ident: $($tag:literal => $name:ident $(($($one:ident),*))? $({$($field:ident),*})?,)*) => {
        impl Field for $kind {
            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$name $(($($one),*))? $({$($field),*})? => {
                        out.push($tag);
                        $($($one.put(out);)*)?
                        $($($field.put(out);)*)?
                    })*
                }
            }

            fn get(from: &mut Cut<'_>) -> Read<Self> {
                let tag = from.byte()?;
                $read(tag, from)
            }
        }

        /// What follows the byte for the kind.
        pub(super) fn $read(tag: u8, from: &mut Cut<'_>) -> Read<$kind> {
            Ok(match tag {
                $($tag => {
                    $($(let $one = Field::get(from)?;)*)?
                    $($(let $field = Field::get(from)?;)*)?
                    $kind::$name $(($($one),*))? $({$($field),*})?
                })*
                _ => return from.odd(),
            })
        }
    };
}

kinds!(SeedGoal, seed_goal:
    0 => Everyone,
    1 => None,
    2 => Forever,
    3 => Ratio(thousandths),
    4 => Time(length),
);
kinds!(PieceOutcome, piece_outcome:
    0 => Good(digests),
    1 => Bad(digests),
    2 => Disk(text),
);
kinds!(FilesOutcome, files_outcome:
    0 => Good,
    1 => BadPieces(pieces),
    2 => Contradiction(text),
    3 => Disk(text),
);
kinds!(Input, input:
    0 => Tick,
    1 => PeerUp { peer, addr, outgoing, peer_id, reserved },
    2 => DialFailed { addr },
    3 => PeerDown { peer },
    4 => Message { peer, message },
    5 => Block { peer, span },
    6 => Malformed { peer },
    7 => Served { peer, bytes },
    8 => ServeFailed { peer, span },
    9 => PieceDone { piece, outcome },
    10 => FilesChecked(outcome),
    11 => Announced { tracker, answer },
    12 => Candidates(addrs),
    13 => Stop,
    14 => PiecesLost(pieces),
    15 => DiskFailed(text),
    16 => MakeRoom,
    17 => PartDone { piece, from, good },
    18 => Chained { piece, values },
);

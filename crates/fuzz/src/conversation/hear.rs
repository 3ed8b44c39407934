//! What the input makes happen: to connections, and to what the driver answers.

use super::World;
use arbitrary::{Result, Unstructured};
use bytes::{Bytes, BytesMut};
use samara_engine::{Answer, Duration, FilesOutcome, Input, PeerKey, PieceOutcome};
use samara_proto::wire::{
    Decoder, ExtendedHandshake, Frame, HashRange, MAX_BLOCK, Message, MetadataMessage, PARTS_ID,
    PartsMessage, Reserved,
};
use samara_proto::{BLOCK, Bitfield, PeerId, Sha1, Sha256, Span};
use std::net::SocketAddr;

/// Few addresses, so that they meet: public, private, and ones that are none.
fn address(u: &mut Unstructured<'_>) -> Result<SocketAddr> {
    let n: u8 = u.arbitrary()?;
    let port = 6881 + u16::from(n % 3);
    Ok(match n {
        0..=99 => SocketAddr::from(([50, 0, 0, n % 8], port)),
        100..=199 => SocketAddr::from(([10, 0, 0, n % 8], port)),
        200..=229 => {
            let ip: [u16; 8] = [0x2a00, 0, 0, 0, 0, 0, 0, u16::from(n % 4)];
            SocketAddr::from((ip, port))
        }
        _ => SocketAddr::from((u.arbitrary::<[u8; 4]>()?, u.arbitrary()?)),
    })
}

fn addresses(u: &mut Unstructured<'_>) -> Result<Vec<SocketAddr>> {
    (0..u.arbitrary::<u8>()? % 8).map(|_| address(u)).collect()
}

impl World {
    fn pick(&self, u: &mut Unstructured<'_>) -> Result<Option<PeerKey>> {
        let live: Vec<PeerKey> = self.wires.keys().copied().collect();
        let at = usize::from(u.arbitrary::<u8>()?);
        Ok((!live.is_empty()).then(|| live[at % live.len()]))
    }

    pub(super) fn step(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let kind = u.arbitrary::<u8>()?;
        match kind % 32 {
            0..=2 => {
                let millis = [1, 50, 500, 3000, 30_000, 200_000];
                let wait = millis[usize::from(u.arbitrary::<u8>()? % 6)];
                self.now = self.now + Duration::from_millis(wait);
                self.say(Input::Tick);
            }
            3..=5 => self.come(u)?,
            6 => {
                if let Some(peer) = self.pick(u)? {
                    self.wires.remove(&peer);
                    self.say(Input::PeerDown { peer });
                }
            }
            7 | 8 => {
                self.answer_engine(u)?;
                self.answer_parts(kind >= 224);
            }
            9 => {
                let addrs = addresses(u)?;
                self.say(Input::Candidates(addrs));
            }
            10 => self.raw(u)?,
            11..=15 => self.give(u)?,
            16..=18 => self.verdict(u)?,
            19 => {
                if let Some(peer) = self.pick(u)? {
                    self.say(Input::Malformed { peer });
                }
            }
            20 if kind == 0xd4 => self.say(Input::MakeRoom),
            20 if kind == 0xf4 => self.say(Input::Stop),
            _ => {
                if let Some(peer) = self.pick(u)? {
                    let message = self.message(u)?;
                    self.hear(peer, message);
                }
            }
        }
        Ok(())
    }

    fn come(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let outgoing = !self.dialling.is_empty() && u.arbitrary()?;
        let addr = if outgoing {
            self.dialling.swap_remove(0)
        } else {
            address(u)?
        };
        if outgoing && u.arbitrary()? {
            self.say(Input::DialFailed { addr });
            return Ok(());
        }
        let reserved = if u.arbitrary()? {
            Reserved::ours(false)
        } else {
            Reserved(u.arbitrary()?)
        };
        let id = PeerId([u.arbitrary::<u8>()? % 12; 20]);
        self.connect(addr, outgoing, id, reserved);
        Ok(())
    }

    /// Facts that answer what the engine asked of its driver.
    fn answer_engine(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        if let Some(tracker) = self.announces.pop() {
            let answer = if u.arbitrary()? {
                Some(Answer {
                    interval: Duration::from_secs(u64::from(u.arbitrary::<u16>()?)),
                    seeds: u.arbitrary()?,
                    leeches: u.arbitrary()?,
                    completed: u.arbitrary()?,
                    peers: addresses(u)?,
                    ..Answer::default()
                })
            } else {
                None
            };
            self.say(Input::Announced { tracker, answer });
        }
        if let Some(peer) = self.pick(u)?
            && let Some(wire) = self.wires.get_mut(&peer)
        {
            let bytes = core::mem::take(&mut wire.serving);
            if bytes > 0 {
                self.say(Input::Served { peer, bytes });
            }
        }
        Ok(())
    }

    fn verdict(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let how = u.arbitrary::<u8>()?;
        if self.checking {
            self.checking = false;
            let outcome = if how % 8 == 0 {
                let piece = u32::from(how / 8) % self.geometry.pieces();
                self.have.clear(piece);
                self.withdrew = true;
                FilesOutcome::BadPieces(vec![piece, u32::MAX])
            } else {
                FilesOutcome::Good
            };
            self.say(Input::FilesChecked(outcome));
        } else if let Some(piece) = self.verifying.pop_first() {
            let bad = how % 4 == 0 && self.is_tainted(piece);
            let outcome = match how {
                255 => PieceOutcome::Disk("full".into()),
                _ if bad => PieceOutcome::Bad(self.digests(piece, true)),
                _ => PieceOutcome::Good(self.digests(piece, false)),
            };
            self.decide(piece, outcome);
        }
        Ok(())
    }

    /// A block: what was asked for, or something else.
    fn give(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let Some(peer) = self.pick(u)? else {
            return Ok(());
        };
        let wire = self.wires.get(&peer);
        let asked = wire.map_or(&[][..], |wire| wire.asked.as_slice());
        let at = usize::from(u.arbitrary::<u8>()?);
        let span = if at < 224 && !asked.is_empty() {
            asked[at % asked.len()]
        } else {
            let span = self.span(u)?;
            // What the decoder lets through.
            let length = span.length.min(MAX_BLOCK);
            Span { length, ..span }
        };
        self.block_from(peer, span);
        Ok(())
    }

    /// Bytes as they come over a connection.
    fn raw(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let Some(peer) = self.pick(u)? else {
            return Ok(());
        };
        let len = usize::from(u.arbitrary::<u8>()?).min(u.len());
        let mut buf = BytesMut::from(u.bytes(len)?);
        let decoder = Decoder::new(self.geometry.pieces());
        loop {
            match decoder.decode(&mut buf) {
                Ok(Some(Frame::Message(message))) => self.hear(peer, message),
                Ok(Some(Frame::Block { span, .. })) => self.block_from(peer, span),
                Ok(None) => return Ok(()),
                Err(_) => {
                    self.say(Input::Malformed { peer });
                    return Ok(());
                }
            }
        }
    }

    pub(super) fn hear(&mut self, peer: PeerKey, message: Message) {
        let pieces = self.geometry.pieces();
        if let Some(wire) = self.wires.get_mut(&peer) {
            match &message {
                Message::Have(piece) => {
                    wire.claims.insert(*piece);
                }
                Message::Bitfield(bits) => {
                    let bits = Bitfield::from_wire(bits, pieces);
                    wire.claims.extend(bits.iter().flat_map(Bitfield::iter));
                }
                Message::Extended {
                    id: PARTS_ID,
                    payload,
                } => {
                    if let Some(PartsMessage::Coming { piece }) = PartsMessage::decode(payload) {
                        wire.claims.insert(piece);
                    }
                }
                Message::HaveAll => wire.claims.extend(0..pieces),
                Message::AllowedFast(piece) => {
                    wire.allowed.insert(*piece);
                }
                Message::Request(span) => wire.wants.push(*span),
                Message::Choke if !wire.fast => wire.asked.clear(),
                Message::Reject(span) => wire.asked.retain(|asked| asked != span),
                _ => {}
            }
        }
        self.say(Input::Message { peer, message });
    }

    fn span(&self, u: &mut Unstructured<'_>) -> Result<Span> {
        let piece = u32::from(u.arbitrary::<u8>()?) % (self.geometry.pieces() + 1);
        let block = u32::from(u.arbitrary::<u8>()? % 8);
        let exists = piece < self.geometry.pieces() && block < self.geometry.blocks(piece);
        let usual = if exists {
            self.geometry.block_span(piece, block)
        } else {
            Span {
                piece,
                offset: block * BLOCK,
                length: BLOCK,
            }
        };
        let (offset, length) = (u32::MAX, u32::MAX);
        Ok(match u.arbitrary::<u8>()? {
            0..=200 => usual,
            201..=210 => Span { length: 0, ..usual },
            211..=220 => Span { length, ..usual },
            221..=230 => Span { offset, ..usual },
            231..=240 => Span {
                piece: u32::MAX,
                ..usual
            },
            _ => Span {
                piece: u.arbitrary()?,
                offset: u.arbitrary()?,
                length: u.arbitrary()?,
            },
        })
    }

    fn piece(&self, u: &mut Unstructured<'_>) -> Result<u32> {
        Ok(match u.arbitrary::<u8>()? {
            255 => u32::MAX,
            n => u32::from(n) % (self.geometry.pieces() + 1),
        })
    }

    fn message(&self, u: &mut Unstructured<'_>) -> Result<Message> {
        Ok(match u.arbitrary::<u8>()? % 24 {
            0 => Message::KeepAlive,
            1 => Message::Choke,
            2..=4 => Message::Unchoke,
            5 => Message::Interested,
            6 => Message::NotInterested,
            7 | 8 => Message::Have(self.piece(u)?),
            9 | 10 => {
                let wrong = usize::from(u.arbitrary::<u8>()? == 0);
                let len = self.geometry.pieces().div_ceil(8) as usize + wrong;
                Message::Bitfield(Bytes::copy_from_slice(u.bytes(len.min(u.len()))?))
            }
            11..=13 => Message::Request(self.span(u)?),
            14 => Message::Cancel(self.span(u)?),
            15 => Message::HaveAll,
            16 => Message::HaveNone,
            17 => Message::Reject(self.span(u)?),
            18 => Message::AllowedFast(self.piece(u)?),
            19 => Message::Suggest(self.piece(u)?),
            20 | 21 => self.parts_message(u)?,
            _ => extended(u)?,
        })
    }

    fn parts_message(&self, u: &mut Unstructured<'_>) -> Result<Message> {
        let piece = self.piece(u)?;
        let message = match u.arbitrary::<u8>()? % 4 {
            0 => PartsMessage::Gone { piece },
            1 => PartsMessage::Coming { piece },
            _ => {
                let step = 2 * BLOCK;
                let blocks = (piece < self.geometry.pieces()).then(|| self.geometry.blocks(piece));
                let count = blocks.unwrap_or(3).div_ceil(2) - u32::from(u.arbitrary::<u8>()? < 240);
                PartsMessage::Chain {
                    piece,
                    step,
                    values: vec![Sha1([2; 20]); count as usize],
                }
            }
        };
        let payload = message.encode();
        let id = PARTS_ID;
        Ok(Message::Extended { id, payload })
    }
}

fn extended(u: &mut Unstructured<'_>) -> Result<Message> {
    Ok(match u.arbitrary::<u8>()? % 4 {
        0 => {
            let id = u.arbitrary::<u8>()? % 4;
            let len = usize::from(u.arbitrary::<u8>()? % 32).min(u.len());
            let payload = Bytes::copy_from_slice(u.bytes(len)?);
            Message::Extended { id, payload }
        }
        1 => {
            let hello = ExtendedHandshake {
                ut_metadata: Some(u.arbitrary()?),
                parts: Some(u.arbitrary()?),
                metadata_size: Some(u64::from(u.arbitrary::<u32>()?)),
                port: Some(u.arbitrary()?),
                request_queue: Some(u.arbitrary()?),
                ..ExtendedHandshake::default()
            };
            let payload = hello.encode();
            Message::Extended { id: 0, payload }
        }
        2 => {
            let piece = u.arbitrary()?;
            let payload = MetadataMessage::Request { piece }.encode();
            Message::Extended { id: 2, payload }
        }
        _ => Message::HashRequest(HashRange {
            root: Sha256([1; 32]),
            base_layer: u.arbitrary()?,
            index: u.arbitrary()?,
            length: u.arbitrary()?,
            proof_layers: u.arbitrary()?,
        }),
    })
}

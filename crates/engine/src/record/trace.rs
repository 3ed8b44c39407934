//! One number for a whole run: two runs are the same if it is.

use crate::io::{Event, Output};
use crate::time::Instant;
use bytes::BytesMut;
use samara_proto::Span;

/// A hash over every output of every engine, with its moment.
#[derive(Clone, Debug)]
pub struct Trace {
    state: u64,
    outputs: u64,
    scratch: BytesMut,
}

impl Default for Trace {
    fn default() -> Self {
        Self {
            state: 0x9e37_79b9_7f4a_7c15,
            outputs: 0,
            scratch: BytesMut::new(),
        }
    }
}

impl Trace {
    /// An engine said something.
    pub fn note(&mut self, now: Instant, host: u32, output: &Output) {
        self.outputs += 1;
        self.word(now.as_nanos());
        self.word(u64::from(host));
        match output {
            Output::Dial(addr) => self.text(1, &addr.to_string()),
            Output::Hangup { peer, why } => {
                self.word(u64::from(peer.0));
                self.text(2, &format!("{why:?}"));
            }
            Output::Send { peer, message } => {
                self.words(3, &[u64::from(peer.0)]);
                let mut bytes = core::mem::take(&mut self.scratch);
                bytes.clear();
                message.encode(&mut bytes);
                self.bytes(&bytes);
                self.scratch = bytes;
            }
            Output::Serve { peer, span } => {
                self.words(4, &[u64::from(peer.0)]);
                self.span(*span);
            }
            Output::ServeHeld { peer, span } => {
                self.words(11, &[u64::from(peer.0)]);
                self.span(*span);
            }
            Output::Keep { span } => {
                self.word(5);
                self.span(*span);
            }
            Output::Verify { piece, digests } => {
                self.words(6, &[u64::from(*piece), u64::from(*digests)]);
            }
            Output::Forget { piece } => self.words(7, &[u64::from(*piece)]),
            Output::Record { piece } => self.words(8, &[u64::from(*piece)]),
            Output::Event(Event::PieceVerified { piece }) => self.words(9, &[u64::from(*piece)]),
            // Rare: the form for people is unambiguous enough.
            rare => self.text(10, &format!("{rare:?}")),
        }
    }

    /// The number.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.state
    }

    /// Outputs so far.
    #[must_use]
    pub fn outputs(&self) -> u64 {
        self.outputs
    }

    /// SplitMix64's finaliser over state and word: every bit of both counts.
    fn word(&mut self, word: u64) {
        let mut z = self.state.rotate_left(23) ^ word.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        self.state = z ^ (z >> 31);
    }

    fn words(&mut self, tag: u64, words: &[u64]) {
        self.word(tag);
        words.iter().for_each(|word| self.word(*word));
    }

    fn span(&mut self, span: Span) {
        self.word(u64::from(span.piece));
        self.word(u64::from(span.offset) << 32 | u64::from(span.length));
    }

    fn text(&mut self, tag: u64, text: &str) {
        self.word(tag);
        self.bytes(text.as_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            for (to, from) in word.iter_mut().zip(chunk) {
                *to = *from;
            }
            self.word(u64::from_le_bytes(word));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::PeerKey;
    use samara_proto::wire::Message;

    fn hash(outputs: &[(u64, u32, Output)]) -> u64 {
        let mut trace = Trace::default();
        for (at, host, output) in outputs {
            trace.note(Instant::from_nanos(*at), *host, output);
        }
        trace.hash()
    }

    #[test]
    fn moment_host_order_and_content_all_count() {
        let send = |peer, message| Output::Send {
            peer: PeerKey(peer),
            message,
        };
        let one = (1, 0, send(0, Message::Have(1)));
        let two = (1, 0, send(0, Message::Have(2)));
        let base = hash(&[one.clone(), two.clone()]);
        assert_eq!(base, hash(&[one.clone(), two.clone()]));
        assert_ne!(base, hash(&[two.clone(), one.clone()]));
        assert_ne!(base, hash(&[(2, 0, one.2.clone()), two.clone()]));
        assert_ne!(base, hash(&[(1, 1, one.2.clone()), two.clone()]));
        assert_ne!(base, hash(&[(1, 0, send(1, Message::Have(1))), two]));
        assert_ne!(base, hash(&[one]));
    }
}

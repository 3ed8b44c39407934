//! What parcels carry. A large world holds hundreds of thousands of them, so this is 16 bytes: what is said
//! often stands in it, the rest in a box.

use samara_proto::Span;
use samara_proto::wire::Message;

/// What a parcel carries.
#[derive(Debug)]
pub(crate) enum Cargo {
    /// [`Message::Choke`].
    Choke,
    /// [`Message::Unchoke`].
    Unchoke,
    /// [`Message::Interested`].
    Interested,
    /// [`Message::NotInterested`].
    NotInterested,
    /// [`Message::Have`].
    Have(u32),
    /// [`Message::Request`].
    Request(Span),
    /// [`Message::Cancel`].
    Cancel(Span),
    /// [`Message::Reject`].
    Reject(Span),
    /// Any other message.
    Rare(Box<Message>),
    /// A block that is right.
    Block(Span),
    /// A block with a flaw, which is not 0.
    Flawed(Box<(Span, u64)>),
}

/// What comes out of a parcel.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// A message.
    Message(Message),
    /// A block; a flaw of 0 says that it is right.
    Block(Span, u64),
}

impl Cargo {
    /// A block; a flaw of 0 says that it is right.
    pub(crate) fn block(span: Span, flaw: u64) -> Self {
        match flaw {
            0 => Self::Block(span),
            _ => Self::Flawed(Box::new((span, flaw))),
        }
    }

    /// A message.
    pub(crate) fn message(message: Message) -> Self {
        match message {
            Message::Choke => Self::Choke,
            Message::Unchoke => Self::Unchoke,
            Message::Interested => Self::Interested,
            Message::NotInterested => Self::NotInterested,
            Message::Have(piece) => Self::Have(piece),
            Message::Request(span) => Self::Request(span),
            Message::Cancel(span) => Self::Cancel(span),
            Message::Reject(span) => Self::Reject(span),
            rare => Self::Rare(Box::new(rare)),
        }
    }

    /// What was put in.
    pub(crate) fn unpack(self) -> Content {
        Content::Message(match self {
            Self::Block(span) => return Content::Block(span, 0),
            Self::Flawed(block) => return Content::Block(block.0, block.1),
            Self::Choke => Message::Choke,
            Self::Unchoke => Message::Unchoke,
            Self::Interested => Message::Interested,
            Self::NotInterested => Message::NotInterested,
            Self::Have(piece) => Message::Have(piece),
            Self::Request(span) => Message::Request(span),
            Self::Cancel(span) => Message::Cancel(span),
            Self::Reject(span) => Message::Reject(span),
            Self::Rare(message) => *message,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_out_and_takes_sixteen_bytes() {
        let span = Span {
            piece: 1,
            offset: 2,
            length: 3,
        };
        for message in [
            Message::KeepAlive,
            Message::Choke,
            Message::Unchoke,
            Message::Interested,
            Message::NotInterested,
            Message::Have(7),
            Message::Bitfield(bytes::Bytes::from_static(&[1, 2])),
            Message::Request(span),
            Message::Cancel(span),
            Message::Reject(span),
            Message::HaveAll,
        ] {
            let out = Cargo::message(message.clone()).unpack();
            assert_eq!(out, Content::Message(message));
        }
        for flaw in [0, 9] {
            let out = Cargo::block(span, flaw).unpack();
            assert_eq!(out, Content::Block(span, flaw));
        }
        assert_eq!(size_of::<Cargo>(), 16);
    }
}

//! One connection: two tasks that move bytes and decide nothing.
//!
//! ```text
//!   socket -> reader: frames of one read, as a batch ---> torrent task ---> parcels of one turn -> writer -> socket
//!             (bounded channel: a slow torrent task            |                (limit on bytes that wait:
//!              stops the reading, and TCP tells the peer)      +-- Served <---   OUTBOX_MAX)
//! ```

mod buffers;
mod link;
mod reader;
mod source;
mod writer;

pub(crate) use buffers::{Buffers, Receiving};
pub(crate) use link::{Link, LinkParts};
pub(crate) use reader::{Batch, End};

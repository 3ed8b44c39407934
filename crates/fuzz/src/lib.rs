//! What Samara is fuzzed with: for every target a function from bytes to nothing, that panics when a
//! property does not hold.
//!
//! The functions live here, and not beside libFuzzer, so that ordinary tests can replay the fixed corpus
//! (`fuzz/corpus`, one folder a target) with the compiler that everybody has. `fuzz/` holds the shells
//! around them; `cargo xtask fuzz` runs those. Rooms that are private to their crate have their functions
//! there (`samara_engine::fuzz`, behind `cfg(fuzzing)`), with their replay beside them.
//!
//! | target | property |
//! | --- | --- |
//! | `bencode` | what is read is written back byte for byte |
//! | `metainfo` | what is accepted is safe to lay out, and survives being written |
//! | `magnet` | what is read is written and read back the same |
//! | `wire` | a stream means the same however it is cut; messages survive being written |
//! | `extension` | the same, for extension handshakes and metadata messages |
//! | `query` | announce and scrape requests survive being written |
//! | `reply` | announce and scrape replies survive being written; limits hold |
//! | `udp` | packets survive being written; what is peeked at is what is read |
//! | `snapshot` | a tracker's saved swarms never break its books, and are saved as they were restored |
//! | `swarm` | any history of announces, expiry and limits keeps the tracker's books |
//! | `metadata` | any history of answers fetches the info dictionary if one peer is honest |
//! | `conversation` | whatever peers say, in any order: limits hold, books balance, the contract is kept |

pub mod codecs;
pub mod conversation;
pub mod metadata;
pub mod swarm;

/// What is fuzzed: panics when a property does not hold.
pub type Check = fn(&[u8]);

/// Targets whose functions are here, by name.
pub const TARGETS: [(&str, Check); 12] = [
    ("bencode", codecs::bencode),
    ("metainfo", codecs::metainfo),
    ("magnet", codecs::magnet),
    ("wire", codecs::wire),
    ("extension", codecs::extension),
    ("query", codecs::query),
    ("reply", codecs::reply),
    ("udp", codecs::udp),
    ("snapshot", swarm::snapshot),
    ("swarm", swarm::history),
    ("metadata", metadata::fetch),
    ("conversation", conversation::conversation),
];

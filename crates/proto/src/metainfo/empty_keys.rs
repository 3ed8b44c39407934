//! The info-hash that aria2 computes of a hybrid torrent.
//!
//! aria2 (1.36 and 1.37) decodes the info dictionary, encodes it again and hashes that. It drops
//! entries whose key is empty on the way (`XmlRpcRequestParserController::popStructFrame`), and in a
//! v2 file tree each file is one (BEP 52). So it asks for a hybrid torrent under a hash that nobody
//! else has; its v1 half it reads and checks rightly.

use super::{Info, Version};
use crate::bencode::{self, Value};
use crate::hash::{InfoHash, Sha1};
use sha1::Digest;

impl Info {
    /// Every info-hash under which somebody may look for this torrent: [`Info::info_hashes`], and
    /// for a hybrid the one that aria2 computes. Hashes all of [`Info::raw`]: ask once.
    pub fn names_in_swarms(&self) -> impl Iterator<Item = InfoHash> {
        self.info_hashes().chain(self.hash_without_empty_keys())
    }

    /// The SHA-1 of the info dictionary written without its empty keys, on every level: the
    /// info-hash under which aria2 looks for this torrent. `None` where that is the true one, and for
    /// v2 torrents, which aria2 cannot use. Hashes all of [`Info::raw`]: ask once.
    #[must_use]
    pub fn hash_without_empty_keys(&self) -> Option<InfoHash> {
        if self.version != Version::Hybrid {
            return None;
        }
        let value = bencode::parse(&self.raw).ok()?;
        let mut hasher = sha1::Sha1::new();
        write(&mut hasher, &value);
        let hash = Sha1(hasher.finalize().into());
        (Some(hash) != self.hash_v1).then(|| hash.into())
    }
}

/// Recurses as deep as values nest: at most [`bencode::MAX_DEPTH`].
fn write(out: &mut sha1::Sha1, value: &Value<'_>) {
    match value {
        Value::Int(int) => out.update(format!("i{int}e")),
        Value::Bytes(bytes) => write_bytes(out, bytes),
        Value::List(list) => {
            out.update(b"l");
            list.iter().for_each(|value| write(out, value));
            out.update(b"e");
        }
        Value::Dict(dict) => {
            out.update(b"d");
            for (key, value) in dict.iter().filter(|(key, _)| !key.is_empty()) {
                write_bytes(out, key);
                write(out, value);
            }
            out.update(b"e");
        }
    }
}

fn write_bytes(out: &mut sha1::Sha1, bytes: &[u8]) {
    out.update(format!("{}:", bytes.len()));
    out.update(bytes);
}

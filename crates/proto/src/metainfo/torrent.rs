//! The torrent file: what goes around the info dictionary.

use super::error::MetainfoError;
use super::names::text;
use super::{
    Info, MAX_TORRENT_BYTES, MAX_URL_BYTES, MAX_URLS, Metainfo, NamePolicy, Version, budget, info,
    tree,
};
use crate::bencode::{self, Dict, Encoder, Value};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

impl Metainfo {
    /// Reads a torrent file.
    ///
    /// A v2 torrent must have the piece layers of all its files. A hybrid may lack `piece layers`
    /// altogether (some clients save what came from a magnet link so): its v1 hashes do instead.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MetainfoError> {
        Self::from_bytes_with(bytes, NamePolicy::Portable)
    }

    /// Reads a torrent file as [`Metainfo::from_bytes`] does, with other rules for names.
    pub fn from_bytes_with(bytes: &[u8], names: NamePolicy) -> Result<Self, MetainfoError> {
        if bytes.len() > MAX_TORRENT_BYTES {
            return Err(MetainfoError::TooLarge(bytes.len()));
        }
        budget::check(bytes)?;
        let value = bencode::parse(bytes)?;
        let dict = value.as_dict().ok_or(MetainfoError::NotADictionary)?;
        let inner = match dict.get("info") {
            None => return Err(MetainfoError::Missing("info")),
            Some(value) => value.as_dict().ok_or(MetainfoError::WrongType("info"))?,
        };
        let mut info = info::read(inner, Bytes::copy_from_slice(inner.raw()), names)?;
        if info.version != Version::V1 {
            let piece_length = info.geometry.piece_length();
            match dict.get("piece layers") {
                Some(Value::Dict(layers)) => {
                    tree::fill_layers(&mut info.files, layers, piece_length)?;
                }
                None if info.version == Version::Hybrid => {}
                None => return Err(MetainfoError::Missing("piece layers")),
                Some(_) => return Err(MetainfoError::WrongType("piece layers")),
            }
        }
        Ok(Self {
            info,
            trackers: trackers(dict),
            web_seeds: web_seeds(dict),
            comment: free_text(dict, "comment"),
            created_by: free_text(dict, "created by"),
            created_at: dict.int("creation date"),
        })
    }

    /// A torrent of `info` alone: what is left to say when it came from a magnet link.
    #[must_use]
    pub fn from_info(info: Info) -> Self {
        Self {
            info,
            trackers: Vec::new(),
            web_seeds: Vec::new(),
            comment: None,
            created_by: None,
            created_at: None,
        }
    }

    /// Writes the torrent file. The info dictionary is written exactly as it came, so the info-hash
    /// stays. A hybrid of which not all layers are known is written without `piece layers`.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.dict(|d| {
            let mut urls = self.trackers.iter().flatten();
            if let Some(first) = urls.next() {
                d.key("announce").bytes(first);
            }
            if urls.next().is_some() {
                d.key("announce-list").list(|tiers| {
                    for tier in self.trackers.iter().filter(|tier| !tier.is_empty()) {
                        tiers.list(|urls| tier.iter().for_each(|url| urls.bytes(url)));
                    }
                });
            }
            if let Some(comment) = &self.comment {
                d.key("comment").bytes(comment);
            }
            if let Some(program) = &self.created_by {
                d.key("created by").bytes(program);
            }
            if let Some(seconds) = self.created_at {
                d.key("creation date").int(seconds);
            }
            d.key("info").raw(&self.info.raw);
            if self.info.has_layers() {
                // Files of the same content share one layer.
                let layers: BTreeMap<&[u8], &super::File> = self
                    .info
                    .files
                    .iter()
                    .filter(|file| !file.layer.is_empty())
                    .filter_map(|file| Some((&file.root.as_ref()?.0[..], file)))
                    .collect();
                d.key("piece layers").dict(|d| {
                    for (root, file) in layers {
                        let hashes = file.layer.iter().flat_map(|hash| hash.0);
                        d.key(root).bytes(hashes.collect::<Vec<u8>>());
                    }
                });
            }
            match self.web_seeds.as_slice() {
                [] => {}
                [one] => d.key("url-list").bytes(one),
                many => d
                    .key("url-list")
                    .list(|urls| many.iter().for_each(|url| urls.bytes(url))),
            }
        });
        out.finish()
    }

    /// The same torrent with other trackers, by tier. What cannot be a tracker is left out, as it is
    /// when a torrent is read.
    #[must_use]
    pub fn with_trackers(mut self, tiers: Vec<Vec<String>>) -> Self {
        let mut kept = Tiers::default();
        for tier in &tiers {
            kept.add(tier.iter().map(String::as_str));
        }
        self.trackers = kept.tiers;
        self
    }
}

/// Text for people. Bytes that are not UTF-8 are replaced; empty is the same as none.
fn free_text(dict: &Dict<'_>, key: &str) -> Option<String> {
    let utf8 = dict.bytes(&format!("{key}.utf-8"));
    let bytes = utf8.or_else(|| dict.bytes(key))?;
    (!bytes.is_empty()).then(|| text(bytes).into_owned())
}

/// Trackers by tier, each URL once in all, at most [`MAX_URLS`].
#[derive(Default)]
struct Tiers {
    tiers: Vec<Vec<String>>,
    seen: BTreeSet<String>,
}

impl Tiers {
    fn add<'a>(&mut self, urls: impl Iterator<Item = &'a str>) {
        let mut tier = Vec::new();
        for url in urls.map(str::trim) {
            let wanted = is_tracker_url(url);
            if wanted && self.seen.len() < MAX_URLS && self.seen.insert(url.to_owned()) {
                tier.push(url.to_owned());
            }
        }
        if !tier.is_empty() {
            self.tiers.push(tier);
        }
    }
}

/// BEP 12: `announce-list` counts where it is there and says anything, else `announce`. A list of
/// plain strings is taken as one tier each: some sites write that.
fn trackers(dict: &Dict<'_>) -> Vec<Vec<String>> {
    let mut kept = Tiers::default();
    for tier in dict.list("announce-list").unwrap_or_default() {
        match tier {
            Value::List(urls) => kept.add(urls.iter().filter_map(url_text)),
            other => kept.add(url_text(other).into_iter()),
        }
    }
    if kept.tiers.is_empty() {
        kept.add(dict.get("announce").and_then(url_text).into_iter());
    }
    kept.tiers
}

/// BEP 19: one string or a list of them.
fn web_seeds(dict: &Dict<'_>) -> Vec<String> {
    let mut kept = Vec::new();
    let mut seen = BTreeSet::new();
    let urls = match dict.get("url-list") {
        Some(Value::List(urls)) => urls.as_slice(),
        Some(one) => core::slice::from_ref(one),
        None => &[],
    };
    for url in urls.iter().filter_map(url_text).map(str::trim) {
        if kept.len() < MAX_URLS && is_web_seed_url(url) && seen.insert(url) {
            kept.push(url.to_owned());
        }
    }
    kept
}

fn url_text<'a>(value: &Value<'a>) -> Option<&'a str> {
    core::str::from_utf8(value.as_bytes()?).ok()
}

/// Whether `url` can be asked as a tracker: http, https or udp.
#[must_use]
pub fn is_tracker_url(url: &str) -> bool {
    is_url(url, &["http://", "https://", "udp://"])
}

/// Whether `url` can be asked as a web seed: http or https.
#[must_use]
pub fn is_web_seed_url(url: &str) -> bool {
    is_url(url, &["http://", "https://"])
}

/// Whether `url` begins with one of `schemes`, has something after it, is not too long, and has
/// nothing that could break out of a request line.
fn is_url(url: &str, schemes: &[&str]) -> bool {
    url.len() <= MAX_URL_BYTES
        && !url.chars().any(|c| c.is_control() || c == ' ')
        && schemes.iter().any(|scheme| {
            url.len() > scheme.len()
                && url
                    .get(..scheme.len())
                    .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        })
}

//! Scrape: the counts of swarms without joining them (BEP 48).

use super::announce::read_info_hash;
use super::loose::LooseDict;
use super::reply::{Refusal, ReplyError};
use super::{MAX_REPLY, MAX_SCRAPE, QueryError, percent};
use crate::bencode::Encoder;
use crate::hash::InfoHash;

/// Which swarms are asked about.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ScrapeRequest {
    /// At most [`MAX_SCRAPE`]; empty asks for all, which trackers need not answer.
    pub info_hashes: Vec<InfoHash>,
}

/// The counts of one swarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ScrapeCounts {
    /// Seeds.
    pub complete: u32,
    /// How often it was downloaded to the end.
    pub downloaded: u32,
    /// Leeches.
    pub incomplete: u32,
    /// Leeches that want more than they have (BEP 21); `None` if the tracker does not say.
    pub downloaders: Option<u32>,
}

/// The counts of all swarms that were asked about and are known.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ScrapeReply {
    /// In the order of the reply.
    pub files: Vec<(InfoHash, ScrapeCounts)>,
    /// Seconds that must pass before the next scrape (`flags`, `min_request_interval`).
    pub min_request_interval: Option<u32>,
}

/// The scrape address that belongs to an announce address: `announce` becomes `scrape` where it
/// begins the text after the last slash, and otherwise there is none (BEP 48).
#[must_use]
pub fn scrape_url(announce: &str) -> Option<String> {
    let (before, after) = announce.rsplit_once('/')?;
    let after = after.strip_prefix("announce")?;
    Some(format!("{before}/scrape{after}"))
}

impl ScrapeRequest {
    /// The query, without `?`.
    #[must_use]
    pub fn to_query(&self) -> String {
        let mut out = String::new();
        for hash in self.info_hashes.iter().take(MAX_SCRAPE) {
            if !out.is_empty() {
                out.push('&');
            }
            out.push_str("info_hash=");
            percent::encode(&hash.0, &mut out);
        }
        out
    }

    /// The address to ask, for a tracker's `announce` URL; `None` if it has no scrape.
    #[must_use]
    pub fn to_url(&self, announce: &str) -> Option<String> {
        Some(percent::append(&scrape_url(announce)?, &self.to_query()))
    }

    /// Reads a query, with or without its `?`.
    pub fn from_query(query: &str) -> Result<Self, QueryError> {
        let info_hashes = percent::pairs(query)
            .filter(|(name, _)| *name == "info_hash")
            .take(MAX_SCRAPE)
            .map(|(_, raw)| read_info_hash(raw))
            .collect::<Result<_, _>>()?;
        Ok(Self { info_hashes })
    }
}

impl ScrapeReply {
    /// The bytes to send.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut e = Encoder::new();
        e.dict(|d| {
            d.key("files").dict(|files| {
                for (hash, counts) in &self.files {
                    files.key(hash.0).dict(|d| {
                        d.key("complete").int(counts.complete.into());
                        d.key("downloaded").int(counts.downloaded.into());
                        if let Some(downloaders) = counts.downloaders {
                            d.key("downloaders").int(downloaders.into());
                        }
                        d.key("incomplete").int(counts.incomplete.into());
                    });
                }
            });
            if let Some(seconds) = self.min_request_interval {
                d.key("flags")
                    .dict(|d| d.key("min_request_interval").int(seconds.into()));
            }
        });
        e.finish()
    }

    /// Reads a reply. Counts that are missing are 0; at most [`MAX_SCRAPE`] swarms are read.
    pub fn decode(bytes: &[u8]) -> Result<Self, ReplyError> {
        if bytes.len() > MAX_REPLY {
            return Err(ReplyError::TooLong);
        }
        let dict = LooseDict::read(bytes).ok_or(ReplyError::NotBencode)?;
        if let Some(refusal) = Refusal::read(&dict) {
            return Err(ReplyError::Refused(refusal));
        }
        let files = dict.dict("files").ok_or(ReplyError::Missing("files"))?;
        let files = files
            .iter()
            .filter_map(|(key, raw)| {
                let counts = LooseDict::read(raw)?;
                let count = |key| counts.count(key).unwrap_or(0);
                let counts = ScrapeCounts {
                    complete: count("complete"),
                    downloaded: count("downloaded"),
                    incomplete: count("incomplete"),
                    downloaders: counts.count("downloaders"),
                };
                Some((InfoHash::from_slice(key)?, counts))
            })
            .take(MAX_SCRAPE)
            .collect();
        let flags = dict.dict("flags");
        Ok(Self {
            files,
            min_request_interval: flags.and_then(|flags| flags.count("min_request_interval")),
        })
    }

    /// The counts of one swarm.
    #[must_use]
    pub fn get(&self, hash: InfoHash) -> Option<ScrapeCounts> {
        let found = self.files.iter().find(|(name, _)| *name == hash)?;
        Some(found.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bencode;

    #[test]
    fn the_examples_of_bep_48() {
        for (announce, scrape) in [
            (
                "http://example.com/announce",
                Some("http://example.com/scrape"),
            ),
            (
                "http://example.com/x/announce",
                Some("http://example.com/x/scrape"),
            ),
            (
                "http://example.com/announce.php",
                Some("http://example.com/scrape.php"),
            ),
            ("http://example.com/a", None),
            (
                "http://example.com/announce?x2%0644",
                Some("http://example.com/scrape?x2%0644"),
            ),
            ("http://example.com/announce?x=2/4", None),
            ("http://example.com/x%064announce", None),
            ("announce", None),
        ] {
            assert_eq!(scrape_url(announce).as_deref(), scrape, "{announce}");
        }
    }

    #[test]
    fn requests_round_trip() {
        for n in [0, 1, 3, MAX_SCRAPE] {
            let sent = ScrapeRequest {
                info_hashes: (0..n).map(|n| InfoHash([n as u8; 20])).collect(),
            };
            assert_eq!(ScrapeRequest::from_query(&sent.to_query()), Ok(sent));
        }
        let many = "info_hash=aaaaaaaaaaaaaaaaaaaa&".repeat(MAX_SCRAPE + 5);
        let read = ScrapeRequest::from_query(&many).expect("valid");
        assert_eq!(read.info_hashes.len(), MAX_SCRAPE);
        assert!(ScrapeRequest::from_query("info_hash=a").is_err());
        let one = ScrapeRequest {
            info_hashes: vec![InfoHash([b'a'; 20])],
        };
        assert_eq!(
            one.to_url("http://t/announce?k=1").as_deref(),
            Some("http://t/scrape?k=1&info_hash=aaaaaaaaaaaaaaaaaaaa")
        );
    }

    #[test]
    fn replies_round_trip_and_untidy_ones_are_read() {
        let counts = ScrapeCounts {
            complete: 1,
            downloaded: 2,
            incomplete: 3,
            downloaders: Some(2),
        };
        let reply = ScrapeReply {
            files: vec![(InfoHash([1; 20]), counts), (InfoHash([0xff; 20]), counts)],
            min_request_interval: Some(60),
        };
        let bytes = reply.encode();
        bencode::parse(&bytes).expect("canonical");
        assert_eq!(ScrapeReply::decode(&bytes), Ok(reply.clone()));
        assert_eq!(reply.get(InfoHash([0xff; 20])), Some(counts));
        for end in 0..bytes.len() {
            assert!(ScrapeReply::decode(&bytes[..end]).is_err());
        }
        let untidy = b"d5:filesd20:bbbbbbbbbbbbbbbbbbbbd10:incompletei4e8:completei-1ee\
                       20:aaaaaaaaaaaaaaaaaaaadee1:xi1ee";
        let read = ScrapeReply::decode(untidy).expect("read");
        assert_eq!(read.files.len(), 2);
        assert_eq!(
            read.get(InfoHash([b'b'; 20])).map(|c| c.incomplete),
            Some(4)
        );
        assert_eq!(
            ScrapeReply::decode(b"de"),
            Err(ReplyError::Missing("files"))
        );
        assert!(matches!(
            ScrapeReply::decode(b"d14:failure reason2:noe"),
            Err(ReplyError::Refused(_))
        ));
    }
}

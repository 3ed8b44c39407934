//! Where a torrent comes from: a file, an http(s) address, or a magnet link.

use crate::exit::{Exit, Failure};
use samara_proto::magnet::Magnet;
use samara_proto::metainfo::{MAX_TORRENT_BYTES, Metainfo, NamePolicy};
use std::path::Path;

/// What the user named.
#[derive(Debug)]
pub enum Source {
    /// A .torrent file that was read.
    Torrent(Box<Metainfo>),
    /// An address of one.
    Url(String),
    /// A magnet link.
    Magnet(Box<Magnet>),
}

impl Source {
    /// Looks at the text; reads the file if it is one.
    pub fn of(text: &str, names: NamePolicy) -> Result<Self, Failure> {
        let starts = |prefix: &str| {
            text.get(..prefix.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        };
        if starts("magnet:") {
            let magnet = text.parse().map_err(|err| Failure::new(Exit::Usage, err))?;
            return Ok(Self::Magnet(Box::new(magnet)));
        }
        if starts("http://") || starts("https://") {
            return Ok(Self::Url(text.to_owned()));
        }
        read(Path::new(text), names).map(|metainfo| Self::Torrent(Box::new(metainfo)))
    }
}

/// The torrent in the file at `path`.
pub fn read(path: &Path, names: NamePolicy) -> Result<Metainfo, Failure> {
    let fail = |why: &dyn std::fmt::Display| {
        Failure::failed(format!("cannot read {}: {why}", path.display()))
    };
    let found = std::fs::metadata(path).map_err(|err| fail(&err))?;
    if found.is_dir() {
        return Err(fail(&"it is a folder, not a .torrent file"));
    }
    // Looked at before reading: a mistyped name may be a disk image.
    if found.len() > MAX_TORRENT_BYTES as u64 {
        return Err(fail(&format!(
            "{} bytes are too many for a .torrent file",
            found.len()
        )));
    }
    let bytes = std::fs::read(path).map_err(|err| fail(&err))?;
    parse(&bytes, &path.display().to_string(), names)
}

/// The torrent in `bytes`, which came from `place`.
pub fn parse(bytes: &[u8], place: &str, names: NamePolicy) -> Result<Metainfo, Failure> {
    Metainfo::from_bytes_with(bytes, names)
        .map_err(|err| Failure::failed(format!("{place} is not a torrent that can be used: {err}")))
}

/// Trackers as `-t` gives them: each a tier, commas join one tier.
pub fn tiers(flags: &[String]) -> Vec<Vec<String>> {
    flags
        .iter()
        .map(|tier| {
            tier.split(',')
                .map(str::trim)
                .filter(|url| !url.is_empty())
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .filter(|tier| !tier.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_told_apart() {
        assert!(matches!(
            Source::of("HTTP://h/a.torrent", NamePolicy::Portable),
            Ok(Source::Url(_))
        ));
        assert!(matches!(
            Source::of("https://h/a.torrent", NamePolicy::Portable),
            Ok(Source::Url(_))
        ));
        let link = format!("magnet:?xt=urn:btih:{}", "ab".repeat(20));
        assert!(matches!(
            Source::of(&link, NamePolicy::Portable),
            Ok(Source::Magnet(_))
        ));
        assert_eq!(
            Source::of("magnet:?dn=x", NamePolicy::Portable)
                .expect_err("no hash")
                .exit,
            Exit::Usage
        );
        let missing =
            Source::of("/does/not/exist.torrent", NamePolicy::Portable).expect_err("missing");
        assert!(
            missing
                .to_string()
                .starts_with("cannot read /does/not/exist.torrent: "),
            "{missing}"
        );
        assert!(
            Source::of("/", NamePolicy::Portable)
                .expect_err("folder")
                .to_string()
                .contains("is a folder")
        );
    }

    #[test]
    fn commas_join_a_tier() {
        let flags = [
            "http://a/announce, http://b/announce".to_owned(),
            "http://c/announce".to_owned(),
            ",".to_owned(),
        ];
        assert_eq!(
            tiers(&flags),
            [
                vec!["http://a/announce", "http://b/announce"],
                vec!["http://c/announce"]
            ]
        );
    }
}

//! `samara info`: what a torrent holds.

use super::App;
use crate::args;
use crate::exit::Failure;
use crate::load::Source;
use crate::out::units::{Bytes, count, grouped};
use crate::out::{Event, escape};
use crate::peerless;
use samara_proto::magnet::Magnet;
use samara_proto::metainfo::{Metainfo, Version};
use serde::Serialize;

/// Files that are listed unless all are asked for.
const FILES_SHOWN: usize = 20;

/// A torrent, whole, as `--json` shows it.
#[derive(Serialize, Debug, Clone)]
pub struct Described {
    name: String,
    format: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    info_hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    info_hash_v2: Option<String>,
    bytes: u64,
    pieces: u32,
    piece_length: u32,
    private: bool,
    trackers: Vec<Vec<String>>,
    web_seeds: Vec<String>,
    comment: Option<String>,
    created_by: Option<String>,
    created_at: Option<i64>,
    magnet: String,
    files: Vec<DescribedFile>,
}

#[derive(Serialize, Debug, Clone)]
struct DescribedFile {
    path: String,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha1: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pieces_root: Option<String>,
    executable: bool,
}

/// Shows it.
pub async fn run(app: &App, args: args::Info) -> Result<(), Failure> {
    let metainfo = match Source::of(&args.torrent, app.settings.names)? {
        Source::Torrent(metainfo) => *metainfo,
        Source::Url(url) => peerless::fetch(app, &url).await?,
        Source::Magnet(magnet) => peerless::resolve(app, &magnet).await?,
    };
    app.out.event(&Event::Info(Box::new(describe(&metainfo))));
    app.out.result(&text(&metainfo, args.all));
    Ok(())
}

fn describe(metainfo: &Metainfo) -> Described {
    let info = &metainfo.info;
    Described {
        name: info.name.clone(),
        format: format(info.version),
        info_hash: info.hash_v1.map(|hash| hash.to_string()),
        info_hash_v2: info.hash_v2.map(|hash| hash.to_string()),
        bytes: info.total(),
        pieces: info.geometry.pieces(),
        piece_length: info.geometry.piece_length(),
        private: info.private,
        trackers: metainfo.trackers.clone(),
        web_seeds: metainfo.web_seeds.clone(),
        comment: metainfo.comment.clone(),
        created_by: metainfo.created_by.clone(),
        created_at: metainfo.created_at,
        magnet: Magnet::of(metainfo).to_string(),
        files: info
            .files
            .iter()
            .map(|file| DescribedFile {
                path: file.path.join("/"),
                bytes: file.length,
                sha1: file.sha1.map(|hash| hash.to_string()),
                pieces_root: file.root.map(|hash| hash.to_string()),
                executable: file.executable,
            })
            .collect(),
    }
}

fn format(version: Version) -> &'static str {
    match version {
        Version::V1 => "v1",
        Version::V2 => "v2",
        Version::Hybrid => "hybrid",
    }
}

fn text(metainfo: &Metainfo, all: bool) -> String {
    let info = &metainfo.info;
    let mut lines = Vec::new();
    let mut line = |key: &str, value: &str| lines.push(format!("{key:<14}{}", escape(value)));
    line("name", &info.name);
    line("format", format(info.version));
    if let Some(hash) = info.hash_v1 {
        line("info-hash", &hash.to_string());
    }
    if let Some(hash) = info.hash_v2 {
        line("info-hash v2", &hash.to_string());
    }
    let files = count(info.files.len() as u64, "file");
    line(
        "size",
        &format!(
            "{} ({} bytes) in {files}",
            Bytes(info.total()),
            grouped(info.total())
        ),
    );
    let geometry = &info.geometry;
    line(
        "pieces",
        &format!(
            "{} of {}",
            grouped(geometry.pieces().into()),
            Bytes(geometry.piece_length().into())
        ),
    );
    if info.private {
        line("private", "yes: only the trackers say who the peers are");
    }
    for (at, tier) in metainfo.trackers.iter().enumerate() {
        line(if at == 0 { "trackers" } else { "" }, &tier.join(", "));
    }
    for (at, url) in metainfo.web_seeds.iter().enumerate() {
        line(if at == 0 { "web seeds" } else { "" }, url);
    }
    if let Some(comment) = &metainfo.comment {
        line("comment", comment);
    }
    if let Some(by) = &metainfo.created_by {
        line("made by", by);
    }
    if let Some(at) = metainfo.created_at {
        line("made at", &date(at));
    }
    line("magnet", &Magnet::of(metainfo).to_string());
    let shown = if all { info.files.len() } else { FILES_SHOWN };
    for file in info.files.iter().take(shown) {
        lines.push(format!(
            "{:>12}  {}",
            Bytes(file.length).to_string(),
            escape(&file.path.join("/"))
        ));
    }
    if info.files.len() > shown {
        lines.push(format!(
            "{:>12}  and {} more; --all lists them",
            "",
            count((info.files.len() - shown) as u64, "file")
        ));
    }
    lines.join("\n")
}

/// Seconds since 1970 as a date and time of day in UTC (days to a civil date: Hinnant, "chrono-compatible
/// low-level date algorithms").
fn date(seconds: i64) -> String {
    // Year 9999; what is later or before 1970 is somebody's joke.
    if !(0..253_402_300_800).contains(&seconds) {
        return format!("{seconds} s after 1970");
    }
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn dates() {
        assert_eq!(date(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(date(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(date(1_735_689_599), "2024-12-31 23:59:59 UTC");
        assert_eq!(date(-5), "-5 s after 1970");
        assert_eq!(date(i64::MAX), "9223372036854775807 s after 1970");
    }
}

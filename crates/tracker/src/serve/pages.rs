//! The status page and its figures.

use super::families::Families;
use super::handle::{Handle, Named};
use crate::swarm::{Stats, SwarmStats};
use std::fmt::Write as _;
use std::time::Duration;

/// `/`: a page that a person can read, without scripts.
pub(super) fn status(handle: &Handle) -> String {
    let stats = handle.stats();
    let mut page = String::from(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <meta http-equiv=\"refresh\" content=\"5\"><title>Samara tracker</title>\
         <style>body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;\
         padding:0 1rem;color-scheme:light dark}td,th{padding:.2rem 1rem .2rem 0;\
         text-align:left}code{font-size:.85em}</style></head><body>\n\
         <h1>Samara tracker</h1>\n<table>\n",
    );
    for (name, value) in [
        ("Up for", uptime(handle.uptime())),
        ("Swarms", stats.swarms.to_string()),
        (
            "Swarms in which everyone has it",
            stats.complete.to_string(),
        ),
        ("Swarms that wait for a seed", stats.seedless.to_string()),
        ("Peers", (stats.seeds + stats.leeches).to_string()),
        ("Seeds", stats.seeds.to_string()),
        ("Leeches", stats.leeches.to_string()),
        ("Waiting for a seed", stats.waiting.to_string()),
        ("Completed downloads", stats.downloaded.to_string()),
        ("Announces answered", stats.announces.to_string()),
        ("Announces a second", handle.load().0.to_string()),
        ("Announces refused", stats.refusals.to_string()),
        ("Scrapes answered", stats.scrapes.to_string()),
        ("Packets over UDP", handle.udp_stats().received.to_string()),
    ] {
        // Writing to a String cannot fail.
        let _ = writeln!(page, "<tr><th>{name}</th><td>{value}</td></tr>");
    }
    if let Some(shared) = handle.shared_stats() {
        let _ = writeln!(
            page,
            "<tr><th>Shared store</th><td>{}</td></tr>",
            shared.words()
        );
    }
    page.push_str("</table>\n");
    let named = handle.named();
    if !named.is_empty() {
        page.push_str(
            "<h2>Torrents</h2>\n<table>\n<tr><th>Name</th><th>Seeds</th><th>Leeches</th>\
             <th>Waiting</th><th>Completed</th><th>State</th><th>Info-hash</th></tr>\n",
        );
        for Named {
            info_hash,
            name,
            stats,
        } in named
        {
            let _ = writeln!(
                page,
                "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
                 <td><code>{info_hash}</code></td></tr>",
                html(&name),
                stats.seeds,
                stats.leeches,
                stats.waiting,
                stats.downloaded,
                state(&stats).1,
            );
        }
        page.push_str("</table>\n");
    }
    page.push_str("</body></html>\n");
    page
}

/// `/stats.json`: the same for programs.
pub(super) fn stats_json(handle: &Handle) -> String {
    let Stats {
        swarms,
        seeds,
        leeches,
        waiting,
        complete,
        seedless,
        announces,
        scrapes,
        refusals,
        downloaded,
        evictions,
    } = handle.stats();
    let torrents: Vec<String> = handle
        .named()
        .iter()
        .map(|named| {
            let stats = named.stats;
            format!(
                "{{\"name\":{},\"info_hash\":\"{}\",\"seeds\":{},\"leeches\":{},\"waiting\":{},\
                 \"downloaded\":{},\"state\":\"{}\"}}",
                json(&named.name),
                named.info_hash,
                stats.seeds,
                stats.leeches,
                stats.waiting,
                stats.downloaded,
                state(&stats).0,
            )
        })
        .collect();
    let (rate, stretch) = handle.load();
    format!(
        "{{\"uptime_seconds\":{},\"swarms\":{swarms},\"swarms_complete\":{complete},\
         \"swarms_seedless\":{seedless},\"announces_per_second\":{rate},\
         \"interval_percent\":{stretch},\"peers\":{},\"seeds\":{seeds},\
         \"leeches\":{leeches},\"waiting\":{waiting},\"downloaded\":{downloaded},\
         \"announces\":{announces},\"scrapes\":{scrapes},\"refusals\":{refusals},\
         \"evictions\":{evictions},\"shared\":{},\"torrents\":[{}]}}\n",
        handle.uptime().as_secs(),
        seeds + leeches,
        handle
            .shared_stats()
            .map_or_else(|| "null".into(), |shared| shared.json()),
        torrents.join(","),
    )
}

/// `/metrics`: the same for Prometheus (text format 0.0.4).
// long: one family of numbers after the other
pub(super) fn metrics(handle: &Handle) -> String {
    let stats = handle.stats();
    let udp = handle.udp_stats();
    let mut out = String::new();
    let mut families = Families::new(&mut out, "samara_tracker_");
    let leeches = stats.leeches - stats.waiting.min(stats.leeches);
    let help = "Time since the tracker was started.";
    families.gauge("uptime_seconds", help, handle.uptime().as_secs());
    families.gauge("swarms", "Swarms known.", stats.swarms);
    let help = "Swarms in which everyone has it, and those with leeches and no seed.";
    let states = [
        ("{state=\"complete\"}", stats.complete),
        ("{state=\"seedless\"}", stats.seedless),
    ];
    families.add("swarm_states", "gauge", help, &states);
    let (rate, stretch) = handle.load();
    let help = "Announces a second over the last half minute.";
    families.gauge("announce_rate", help, rate);
    let help = "Length of intervals for that rate, in per cent of what they would be.";
    families.gauge("interval_percent", help, stretch);
    let peers = [
        ("{role=\"seed\"}", stats.seeds),
        ("{role=\"leech\"}", leeches),
        ("{role=\"waiting\"}", stats.waiting),
    ];
    let help = "Peers in all swarms, by what they are.";
    families.add("peers", "gauge", help, &peers);
    let announces = [
        ("{result=\"answered\"}", stats.announces),
        ("{result=\"refused\"}", stats.refusals),
    ];
    let help = "Announces over HTTP and UDP.";
    families.counters("announces_total", help, &announces);
    for (name, help, value) in [
        ("scrapes_total", "Scrapes over HTTP and UDP.", stats.scrapes),
        ("downloads_total", "Downloads completed.", stats.downloaded),
        (
            "evictions_total",
            "Peers and swarms that made room for others.",
            stats.evictions,
        ),
        (
            "udp_packets_total",
            "Packets that came over UDP.",
            udp.received,
        ),
        ("udp_unsent_total", "Answers not sent.", udp.unsent),
    ] {
        families.counters(name, help, &[("", value)]);
    }
    let requests = [
        ("{action=\"connect\"}", udp.connects),
        ("{action=\"announce\"}", udp.announces),
        ("{action=\"scrape\"}", udp.scrapes),
    ];
    let help = "Requests over UDP that were answered.";
    families.counters("udp_requests_total", help, &requests);
    let dropped = [
        ("{reason=\"malformed\"}", udp.malformed),
        ("{reason=\"connection_id\"}", udp.bad_ids),
        ("{reason=\"limit\"}", udp.limited),
    ];
    let help = "Packets that were not answered.";
    families.counters("udp_dropped_total", help, &dropped);
    let seen = handle.see();
    if let Some(keys) = &seen.live.keys {
        families.gauge("keys", "Keys of a private tracker.", keys.len() as u64);
        let counts: Vec<_> = keys
            .counts()
            .map(|(name, count)| (format!("{{owner={}}}", json(name)), count))
            .collect();
        let counts: Vec<_> = counts.iter().map(|(name, n)| (name.as_str(), *n)).collect();
        let help = "Announces and scrapes of those who have a key, by its owner.";
        families.counters("key_requests_total", help, &counts);
    }
    let guard = handle.guard_stats();
    let limited = [
        ("{what=\"request\",limit=\"address\"}", guard.address),
        ("{what=\"request\",limit=\"network\"}", guard.network),
        ("{what=\"announce\",limit=\"peer\"}", guard.peer),
        (
            "{what=\"connection\",limit=\"address\"}",
            guard.address_connections,
        ),
        (
            "{what=\"connection\",limit=\"network\"}",
            guard.network_connections,
        ),
    ];
    let help = "Requests and connections turned away because of a limit.";
    families.counters("limited_total", help, &limited);
    if let Some(shared) = handle.shared_stats() {
        shared.metrics(&mut out);
    }
    out
}

/// How a swarm is, for programs and for people.
fn state(stats: &SwarmStats) -> (&'static str, &'static str) {
    match stats {
        _ if stats.is_complete() => ("complete", "everyone has it"),
        _ if stats.is_seedless() => ("seedless", "waits for a seed"),
        _ if stats.leeches > 0 => ("active", "being downloaded"),
        _ => ("empty", "nobody is there"),
    }
}

fn uptime(uptime: Duration) -> String {
    let seconds = uptime.as_secs();
    let (days, hours) = (seconds / 86_400, seconds / 3_600 % 24);
    let (minutes, seconds) = (seconds / 60 % 60, seconds % 60);
    match days {
        0 => format!("{hours}:{minutes:02}:{seconds:02}"),
        1 => format!("1 day {hours}:{minutes:02}:{seconds:02}"),
        _ => format!("{days} days {hours}:{minutes:02}:{seconds:02}"),
    }
}

/// Text for HTML. Control characters, and those that turn the direction of text, become U+FFFD: a
/// name must not be able to dress up the page.
fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => out.push('\u{fffd}'),
            _ if char.is_control() => out.push('\u{fffd}'),
            _ => out.push(char),
        }
    }
    out
}

/// A JSON string, quotes included.
fn json(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            _ if char.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(char));
            }
            _ => out.push(char),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::ServeConfig;
    use samara_proto::InfoHash;

    #[test]
    fn attack_05_names_are_escaped() {
        let handle = Handle::new(&ServeConfig::default()).expect("no files");
        let name = "<script>\"a\\b\u{202e}\n&'";
        handle.register(InfoHash([0xab; 20]), name, None);
        let page = status(&handle);
        assert!(page.contains("&lt;script&gt;&quot;a\\b\u{fffd}\u{fffd}&amp;&#39;"));
        assert!(!page.contains("<script>"));
        let stats = stats_json(&handle);
        assert!(stats.contains(r#""name":"<script>\"a\\b"#), "{stats}");
        assert!(stats.contains("\\u000a&'\""), "{stats}");
    }

    /// Every line is a comment or a name with a number, and every name has been explained.
    #[test]
    fn metrics_are_what_prometheus_reads() {
        let text = metrics(&Handle::new(&ServeConfig::default()).expect("no files"));
        let mut explained = String::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                explained = rest.split(' ').next().expect("a name").to_owned();
            } else if !line.starts_with("# HELP ") {
                let (name, value) = line.rsplit_once(' ').expect("a value");
                assert_eq!(name.split('{').next(), Some(explained.as_str()));
                assert!(value.parse::<u64>().is_ok(), "{line}");
            }
        }
        assert!(text.contains("\nsamara_tracker_peers{role=\"seed\"} 0\n"));
    }

    #[test]
    fn uptimes() {
        let text = |seconds| uptime(Duration::from_secs(seconds));
        assert_eq!(text(59), "0:00:59");
        assert_eq!(text(86_400 + 3_661), "1 day 1:01:01");
        assert_eq!(text(9 * 86_400), "9 days 0:00:00");
    }
}

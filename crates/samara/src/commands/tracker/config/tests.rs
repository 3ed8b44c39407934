//! What is printed is what is read.

use super::*;
use std::fs;

fn read(text: &str) -> Result<Config, Failure> {
    let name = format!("samara-tracker-config-{}-{:p}", std::process::id(), text);
    let path = std::env::temp_dir().join(name);
    fs::write(&path, text).expect("written");
    let config = Config::new(Some(&path), &args::Tracker::default());
    fs::remove_file(path).expect("removed");
    config
}

/// A value for every key that is not its default: the compiler sees to it that none is left out.
fn unusual() -> Config {
    let path = |name: &str| Some(PathBuf::from(name));
    let span = |seconds| Said(Span(Duration::from_secs(seconds)));
    let addr = |text: &str| Said(text.parse::<SocketAddr>().expect("an address"));
    let nets = |texts: &[&str]| {
        let net = |text: &&str| Said(text.parse().expect("a network"));
        texts.iter().map(net).collect()
    };
    Config {
        http: Http {
            listen: addr("[::1]:7000"),
            max_connections: 7,
            head_timeout: span(61),
            connection_life: span(7_200),
            max_head: 9_000,
            pages_for: nets(&["10.0.0.0/8", "::1"]),
        },
        https: Https {
            listen: Some(addr("0.0.0.0:443")),
            cert: path("/a \"b\"\\c\u{1}.pem"),
            key: path("key.pem"),
        },
        udp: Udp {
            listen: vec![addr("0.0.0.0:1"), addr("[::]:2")],
            workers: 3,
            id_life: span(300),
            secret: Some(Said(
                "00112233445566778899aabbccddeefF"
                    .parse()
                    .expect("a secret"),
            )),
        },
        state: State {
            file: path("/state"),
            save_every: Said(Span(Duration::from_millis(1_500))),
            shared: Some(Said(
                "redis+cluster://a:1,b:2?prefix=p".parse().expect("a store"),
            )),
        },
        access: Access {
            allow: path("allow"),
            deny: path("deny"),
            keys: path("keys"),
            proxies: nets(&["192.0.2.0/24"]),
            proxy_header: Said(ProxyHeader::Forwarded),
            trust_ip: Said(TrustIp::Always),
        },
        limits: Limited {
            address_per_second: 1,
            address_burst: 2,
            network_per_second: 3,
            network_burst: 4,
            peer_per_second: 5,
            peer_burst: 6,
            address_connections: 7,
            network_connections: 8,
        },
        policy: Policy {
            allow_seedless: true,
            waiting_interval: span(3),
            shortest_interval: span(4),
            longest_interval: span(86_400),
            jitter_percent: 11,
            announces_per_second: 12,
            wanted_rate: 20,
            default_numwant: 13,
            max_numwant: 14,
            max_torrents: 15,
            max_peers: 16,
            max_peers_per_torrent: 17,
            max_peers_per_address: 18,
            empty_life: span(19),
        },
        log: Log {
            level: Said(Level::Trace),
            format: Said(Format::Json),
        },
    }
}

#[test]
fn what_is_printed_reads_back_as_the_same() {
    for config in [Config::default(), unusual()] {
        let text = config.print();
        assert_eq!(read(&text).expect("valid"), config, "{text}");
        // A reason and a default for every key, and no line that does not fit a page.
        let keys = text.lines().filter(|line| line.contains(" = ")).count();
        let defaults = text.lines().filter(|l| l.starts_with("# Default: "));
        assert_eq!(keys, defaults.count());
        assert!(text.lines().all(|line| line.len() <= 120), "{text}");
    }
}

#[test]
fn the_examples_in_comments_can_be_taken_as_they_are() {
    let text: String = Config::default()
        .print()
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(key) if key.contains(" = ") => format!("{key}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let config = read(&text).expect("valid");
    assert!(config.https.listen.is_some() && config.access.keys.is_some());
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    for (text, line, part) in [
        ("[http]\nlissen = \"x\"\n", 2, "lissen"),
        ("\n[htpp]\n", 2, "htpp"),
        ("[http]\nlisten = \"here\"\n", 2, "socket address"),
        (
            "[access]\n\nproxies = [\"10.0.0.0/99\"]",
            3,
            "is not a network",
        ),
        (
            "[policy]\nwaiting-interval = \"soon\"",
            2,
            "not a length of time",
        ),
        (
            "[access]\ntrust-ip = \"maybe\"",
            2,
            "never, loopback, always",
        ),
        ("[limits]\naddress-burst = -1", 2, "-1"),
        ("[log]\nlevel = \"loud\"", 2, "error, warn, info"),
        ("= =", 1, "line 1"),
    ] {
        let failure = read(text).expect_err(text);
        assert_eq!(failure.exit, Exit::Usage);
        let said = failure.to_string();
        assert!(said.contains(&format!("line {line}:")), "{said}");
        assert!(said.contains(part) && !said.contains('\n'), "{said}");
    }
    for text in [
        "[https]\nlisten = \"0.0.0.0:1\"",
        "[policy]\nshortest-interval = \"0s\"",
        "[policy]\nshortest-interval = \"2h\"\nlongest-interval = \"1h\"",
        "[policy]\njitter-percent = 51",
        "[http]\nmax-connections = 0",
    ] {
        assert_eq!(read(text).expect_err(text).exit, Exit::Usage);
    }
}

#[test]
fn flags_win_and_what_needs_a_restart_is_known() {
    let flags = args::Tracker {
        http: Some(([127, 0, 0, 1], 5).into()),
        workers: Some(2),
        allow_seedless: true,
        ..args::Tracker::default()
    };
    let config = Config::new(None, &flags).expect("valid");
    let serve = config.serve();
    assert_eq!(
        (serve.listen, serve.workers),
        (([127, 0, 0, 1], 5).into(), 2)
    );
    assert!(serve.policy.allow_seedless);
    let mut other = config.clone();
    other.limits.address_burst = 1;
    other.policy.max_peers = 1;
    assert_eq!(other.needs_restart(&config), [""; 0]);
    other.http.listen = Said(USUAL);
    other.log.level = Said(Level::Error);
    assert_eq!(other.needs_restart(&config), ["http.listen", "log"]);
    let serve = unusual().serve();
    assert_eq!(serve.limits.peer.burst, 6);
    assert_eq!(serve.policy.longest_interval, 86_400_000);
    assert!(serve.https.is_some());
}

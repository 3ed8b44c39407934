//! `samara tracker` as an operator runs it: settings in a file, reload by signal, keys, HTTPS, the log.

use super::data::{assert_same, folder, noise, write};
use super::namespace::Namespace;
use super::process::{Process, run, samara, until};
use super::swarm::create;
use serde_json::Value;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

const KEY: &str = "0123456789abcdef-KEY";

/// The body of the answer to a GET.
fn get(addr: &str, target: &str) -> String {
    let mut stream = TcpStream::connect(addr).expect("connects");
    write!(stream, "GET {target} HTTP/1.0\r\n\r\n").expect("sends");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("answered");
    let text = String::from_utf8_lossy(&answer).into_owned();
    let (_, body) = text.split_once("\r\n\r\n").expect("a head");
    body.to_owned()
}

fn announce(addr: &str, path: &str, hash: u8) -> String {
    let hash = format!("%{hash:02X}").repeat(20);
    let peer = "a".repeat(20);
    get(
        addr,
        &format!("{path}?info_hash={hash}&peer_id={peer}&port=1&left=0"),
    )
}

#[test]
fn what_print_config_prints_is_taken_and_says_the_same_again() {
    let work = folder();
    let file = work.path().join("tracker.toml");
    let flags = [
        "tracker",
        "--print-config",
        "--udp",
        "127.0.0.1:5",
        "--state",
        "s",
    ];
    let first = run(&mut samara(flags)).expect_code(0).stdout;
    assert!(first.contains("listen = [\"127.0.0.1:5\"]") && first.contains("\nfile = \"s\"\n"));
    fs::write(&file, &first).expect("written");
    let again = run(samara(["tracker", "--print-config", "--config"]).arg(&file)).expect_code(0);
    assert_eq!(again.stdout, first);
    let wrong = first.replace("max-head", "max-haed");
    fs::write(&file, wrong).expect("written");
    let refused = run(samara(["tracker", "--config"]).arg(&file)).expect_code(2);
    let line = first
        .lines()
        .position(|line| line.starts_with("max-head"))
        .expect("there")
        + 1;
    assert!(
        refused.stderr.contains(&format!("line {line}:")),
        "{}",
        refused.stderr
    );
    assert!(refused.stderr.contains("max-haed"), "{}", refused.stderr);
}

#[test]
fn a_signal_has_settings_lists_and_keys_read_again() {
    let work = folder();
    let path = |name: &str| work.path().join(name);
    let write = |name: &str, text: &str| fs::write(path(name), text).expect("written");
    let settings = |listen: &str| {
        let text = format!(
            "[http]\nlisten = \"{listen}\"\n[access]\ndeny = \"deny\"\nkeys = \"keys\"\n\
             [policy]\nallow-seedless = true\n[log]\nlevel = \"info\"\nformat = \"json\"\n"
        );
        fs::write(path("t.toml"), text).expect("written");
    };
    settings("127.0.0.1:0");
    write("deny", &format!("{}\n", "01".repeat(20)));
    write("keys", &format!("{KEY} alice\n"));
    let tracker = Process::start(
        samara(["--json", "tracker", "--config", "t.toml"]).current_dir(work.path()),
    );
    let ready = tracker.wait_event("ready");
    let addr = ready["listen"].as_str().expect("an address").to_owned();
    let with_key = format!("/{KEY}/announce");
    assert!(announce(&addr, "/announce", 2).contains("is private"));
    assert!(announce(&addr, &with_key, 1).contains("does not serve this torrent"));
    assert!(announce(&addr, &with_key, 2).contains("8:completei1e"));

    write("deny", &format!("{}\n", "02".repeat(20)));
    write("keys", "another-key-that-is-long bob\n");
    settings("127.0.0.1:1");
    tracker.signal("HUP");
    let warned = tracker.wait_event("warning");
    let words = warned["message"].as_str().expect("words");
    assert!(words.contains("need a restart: http.listen"), "{words}");
    assert!(announce(&addr, &with_key, 1).contains("does not know your key"));
    let with_key = "/another-key-that-is-long/announce";
    assert!(announce(&addr, with_key, 2).contains("does not serve this torrent"));
    assert!(announce(&addr, with_key, 1).contains("8:completei1e"));

    // What is wrong changes nothing, as often as it comes.
    write("keys", "no\n");
    for times in 1..=3 {
        tracker.signal("HUP");
        let story = || format!("{times} warnings about a key");
        until(story, || {
            let wrong = |event: &&Value| {
                let words = event["message"].as_str().unwrap_or_default();
                event["event"] == "warning" && words.contains("line 1 begins with no key")
            };
            (tracker.events().iter().filter(wrong).count() == times).then_some(())
        });
        assert!(announce(&addr, with_key, 1).contains("8:completei1e"));
    }
    let ended = tracker.interrupt().expect_code(0);
    // One object a line, and no key in any.
    assert!(ended.stderr.lines().count() >= 2, "{}", ended.stderr);
    for line in ended.stderr.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|err| panic!("{err}: {line}"));
        assert!(
            line["level"].is_string() && line["timestamp"].is_string(),
            "{line}"
        );
    }
    for text in [&ended.stderr, &ended.stdout] {
        assert!(
            !text.contains(KEY) && !text.contains("another-key"),
            "{text}"
        );
    }
}

/// A certificate for an address, and its key.
fn certificate(work: &Path, name: &str, ip: &str) -> (PathBuf, PathBuf) {
    let (cert, key) = (
        work.join(format!("{name}.pem")),
        work.join(format!("{name}.key")),
    );
    let mut openssl = Command::new("openssl");
    openssl
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ])
        .args(["-nodes", "-days", "2", "-subj", &format!("/CN={name}")])
        .args(["-addext", &format!("subjectAltName=IP:{ip}")])
        // rustls takes no certificate of an authority for that of a server.
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&cert);
    run(&mut openssl).expect_code(0);
    (cert, key)
}

/// A certificate that nobody vouches for, and one for another address: neither tracker is told anything.
#[test]
fn attack_04_a_tracker_with_a_bad_certificate_is_not_asked() {
    let work = folder();
    let data = write(work.path().join("src/data.bin"), noise(100_000, 6));
    for (name, ip, vouched) in [("self", "127.0.0.1", false), ("other", "127.0.0.9", true)] {
        let (cert, key) = certificate(work.path(), name, ip);
        let mut tracker = samara(["--json", "tracker", "--http", "127.0.0.1:0"]);
        tracker.args(["--https", "127.0.0.1:0", "--tls-cert"]);
        let tracker = Process::start(tracker.arg(&cert).arg("--tls-key").arg(&key));
        let ready = tracker.wait_event("ready");
        let url = ready["announce_https"].as_str().expect("an address");
        let torrent = work.path().join(format!("{name}.torrent"));
        let torrent = create(&data, &torrent, url, &[]);
        let mut seed = samara(["--json", "--listen", "127.0.0.2:0", "seed"]);
        if vouched {
            seed.env("SSL_CERT_FILE", &cert);
        }
        seed.arg(&torrent)
            .arg("--data")
            .arg(work.path().join("src"));
        let seed = Process::start(&mut seed);
        let failed = seed.wait_event("tracker_failed");
        let text = failed["message"].as_str().unwrap_or_default();
        assert!(text.contains("certificate"), "{failed}");
        seed.kill();
    }
}

/// Samara seeds, aria2 downloads, and both have nothing but an address that begins with https. The certificate
/// is replaced without a restart.
#[test]
fn aria2_and_samara_meet_over_https() {
    let (space, work) = (Namespace::new(), folder());
    let here = Namespace::address(1);
    let (cert, key) = certificate(work.path(), "one", &here);
    let url = format!("https://{here}:6970");
    let tracker = Process::start(
        space
            .samara(["--json", "tracker", "--http", &format!("{here}:6969")])
            .args(["--https", &format!("{here}:6970")])
            .arg("--tls-cert")
            .arg(&cert)
            .arg("--tls-key")
            .arg(&key),
    );
    let ready = tracker.wait_event("ready");
    assert_eq!(ready["announce_https"], format!("{url}/announce"));
    let data = write(work.path().join("src/data.bin"), noise(3_000_001, 5));
    let torrent = work.path().join("t.torrent");
    let torrent = create(&data, &torrent, &format!("{url}/announce"), &[]);
    let seed = Process::start(
        space
            .samara([
                "--json",
                "--listen",
                "10.88.0.2:6881",
                "seed",
                "--seed",
                "forever",
            ])
            .env("SSL_CERT_FILE", &cert)
            .arg(&torrent)
            .arg("--data")
            .arg(data.parent().expect("a folder")),
    );
    seed.wait_event("tracker");
    let curl = |cert: &Path, page: &str| {
        let mut curl = space.command("curl");
        curl.args(["-sS", "--cacert"])
            .arg(cert)
            .arg(format!("{url}{page}"));
        run(&mut curl)
    };
    assert_eq!(curl(&cert, "/health").expect_code(0).stdout, "ok\n");
    let into = work.path().join("into");
    let aria2 = Process::start(
        space
            .command("aria2c")
            .env("HOME", work.path())
            .arg(format!("--dir={}", into.display()))
            .arg(format!("--ca-certificate={}", cert.display()))
            .args([
                "--no-conf=true",
                "--enable-dht=false",
                "--disable-ipv6=true",
            ])
            .args([
                "--bt-enable-lpd=false",
                "--listen-port=6889",
                "--seed-time=0",
            ])
            .arg(&torrent),
    );
    aria2.end().expect_code(0);
    assert_same(&data, &into.join("data.bin"));

    let (new_cert, new_key) = certificate(work.path(), "two", &here);
    assert_ne!(curl(&new_cert, "/health").code, Some(0));
    fs::copy(new_cert, &cert).expect("copied");
    fs::copy(new_key, &key).expect("copied");
    tracker.signal("HUP");
    let story = || "the new certificate".to_owned();
    until(story, || {
        (curl(&cert, "/health").code == Some(0)).then_some(())
    });
    tracker.interrupt().expect_code(0);
}

/// Swarms and counts of downloads are there again after a graceful end.
#[test]
fn a_restart_forgets_nobody() {
    let work = folder();
    let state = work.path().join("state");
    let start = || {
        let flags = ["--json", "tracker", "--http", "127.0.0.1:0", "--state"];
        let tracker = Process::start(samara(flags).arg(&state));
        let ready = tracker.wait_event("ready");
        let addr = ready["listen"].as_str().expect("an address").to_owned();
        (tracker, addr)
    };
    let (tracker, addr) = start();
    let said = |left: u32, event: &str| {
        let hash = "%07".repeat(20);
        let peer = "a".repeat(20);
        format!("/announce?info_hash={hash}&peer_id={peer}&port=1&left={left}&event={event}")
    };
    get(&addr, &said(5, "started"));
    get(&addr, &said(0, "completed"));
    tracker.signal("TERM");
    tracker.end().expect_code(0);
    let (tracker, addr) = start();
    let scrape = get(&addr, &format!("/scrape?info_hash={}", "%07".repeat(20)));
    assert!(scrape.contains("8:completei1e10:downloadedi1e"), "{scrape}");
    let json: Value = serde_json::from_str(&get(&addr, "/stats.json")).expect("JSON");
    assert_eq!(
        (&json["swarms_complete"], &json["seeds"]),
        (&1.into(), &1.into())
    );
    tracker.interrupt().expect_code(0);
}

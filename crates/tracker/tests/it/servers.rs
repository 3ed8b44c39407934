//! Redis servers of a test's own, on loopback. They keep nothing on disk but what a cluster's nodes and
//! Sentinels know of each other.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

/// Long enough for a loaded machine; nothing waits for it to pass.
const PATIENCE: Duration = Duration::from_secs(40);

/// Waits until something is so.
#[track_caller]
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < end, "in vain: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    let probe = TcpListener::bind("127.0.0.1:0").expect("a port");
    probe.local_addr().expect("bound").port()
}

/// A server; it ends with the test.
#[derive(Debug)]
pub struct Redis {
    pub port: u16,
    folder: PathBuf,
    flags: Vec<String>,
    child: Option<Child>,
}

impl Redis {
    /// Starts one, with these flags besides the usual.
    pub fn start(flags: &[&str]) -> Self {
        let usual = [
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--loglevel",
            "warning",
        ];
        let all = usual.iter().chain(flags);
        Self::with(all.map(|flag| (*flag).to_owned()).collect(), None)
    }

    /// Starts a Sentinel that watches the server at `master`.
    pub fn sentinel(master: u16) -> Self {
        let settings = format!(
            "bind 127.0.0.1\nsentinel monitor mymaster 127.0.0.1 {master} 2\n\
             sentinel down-after-milliseconds mymaster 500\n\
             sentinel failover-timeout mymaster 3000\n"
        );
        Self::with(vec!["--sentinel".into()], Some(settings))
    }

    fn with(flags: Vec<String>, settings: Option<String>) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("samara-redis-{}-{next}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).expect("a folder");
        if let Some(settings) = settings {
            fs::write(folder.join("settings"), settings).expect("written");
        }
        let mut server = Self {
            port: free_port(),
            folder,
            flags,
            child: None,
        };
        server.run();
        server
    }

    /// Starts it again where it was.
    pub fn run(&mut self) {
        let mut command = Command::new("redis-server");
        let settings = self.folder.join("settings");
        if settings.exists() {
            command.arg(settings);
        }
        let child = command
            .args(["--port", &self.port.to_string(), "--dir"])
            .arg(&self.folder)
            .args(&self.flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(child.expect("redis-server: scripts/test-tools.sh installs it"));
        until("the server answers", || {
            let answer = self.ask("PING");
            answer.contains("PONG") || answer.contains("NOAUTH")
        });
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("killed");
            child.wait().expect("gone");
        }
    }

    /// Stops it where it stands, or lets it go on.
    pub fn signal(&self, signal: &str) {
        let child = self.child.as_ref().expect("it runs");
        let sent = Command::new("kill")
            .args([signal, &child.id().to_string()])
            .status();
        assert!(sent.expect("kill").success());
    }

    /// Its answer: a line, or the text that it announces; empty if there is none.
    pub fn ask(&self, command: &str) -> String {
        let addr = SocketAddr::from(([127, 0, 0, 1], self.port));
        let Ok(mut stream) = TcpStream::connect_timeout(&addr, Duration::from_secs(1)) else {
            return String::new();
        };
        let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
        let _ = stream.write_all(format!("{command}\r\n").as_bytes());
        let mut input = BufReader::new(stream);
        let mut line = String::new();
        let _ = input.read_line(&mut line);
        let len = line.strip_prefix('$').map(str::trim);
        if let Some(len) = len.and_then(|len| len.parse().ok()) {
            let mut value = vec![0; len];
            let _ = input.read_exact(&mut value);
            return String::from_utf8_lossy(&value).into_owned();
        }
        line.trim_end().to_owned()
    }

    /// How many keys it has.
    pub fn keys(&self) -> usize {
        let answer = self.ask("DBSIZE");
        answer.trim_start_matches(':').parse().unwrap_or(0)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A cluster of three.
pub fn cluster() -> Vec<Redis> {
    let node = |_| {
        let bus = free_port().to_string();
        Redis::start(&[
            "--cluster-enabled",
            "yes",
            "--cluster-port",
            &bus,
            "--cluster-node-timeout",
            "1000",
            "--cluster-require-full-coverage",
            "no",
        ])
    };
    let nodes: Vec<Redis> = (0..3).map(node).collect();
    let made = Command::new("redis-cli")
        .args(["--cluster", "create", "--cluster-yes"])
        .args(nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)))
        .output()
        .expect("redis-cli: scripts/test-tools.sh installs it");
    let words = String::from_utf8_lossy(&made.stdout);
    assert!(made.status.success(), "{words}");
    for node in &nodes {
        until("the cluster stands", || {
            node.ask("CLUSTER INFO").contains("cluster_state:ok")
        });
    }
    nodes
}

//! A child process with its lines, and `samara` in particular.

use serde_json::Value;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Long enough for a loaded machine with two cores; nothing waits for it to pass.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A command line of the program under test.
pub fn samara<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_samara"));
    command.args(args);
    command
}

/// What a process that has ended said.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// The JSON object of this event, if there was one.
    pub fn event(&self, name: &str) -> Option<Value> {
        self.events().find(|event| event["event"] == name)
    }

    pub fn events(&self) -> impl Iterator<Item = Value> + '_ {
        self.stdout.lines().map(|line| {
            serde_json::from_str(line).unwrap_or_else(|err| panic!("not JSON ({err}): {line}"))
        })
    }

    /// Fails the test unless the exit code is this.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "stdout:\n{}\nstderr:\n{}",
            self.stdout,
            self.stderr
        );
        self
    }
}

/// Runs to the end.
#[track_caller]
pub fn run(command: &mut Command) -> Ended {
    Process::start(command).end()
}

#[derive(Default)]
struct Said {
    lines: Vec<String>,
    closed: bool,
}

/// A running process. It is killed when it is dropped.
pub struct Process {
    child: Child,
    what: String,
    said: Arc<(Mutex<Said>, Condvar)>,
    readers: Vec<thread::JoinHandle<()>>,
    stderr: Arc<Mutex<String>>,
}

impl Process {
    #[track_caller]
    pub fn start(command: &mut Command) -> Self {
        let what = format!("{command:?}");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|err| {
            panic!("cannot start {what}: {err}; scripts/test-tools.sh installs what the tests need")
        });
        let said: Arc<(Mutex<Said>, Condvar)> = Arc::default();
        let stderr: Arc<Mutex<String>> = Arc::default();
        let (out, err) = (
            child.stdout.take().expect("piped"),
            child.stderr.take().expect("piped"),
        );
        let shared = Arc::clone(&said);
        let out = thread::spawn(move || {
            for line in BufReader::new(out).split(b'\n').map_while(Result::ok) {
                let mut said = shared.0.lock().expect("not poisoned");
                said.lines.push(String::from_utf8_lossy(&line).into_owned());
                shared.1.notify_all();
            }
            shared.0.lock().expect("not poisoned").closed = true;
            shared.1.notify_all();
        });
        let text = Arc::clone(&stderr);
        let err = thread::spawn(move || {
            let mut err = err;
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = err.read(&mut buffer) {
                text.lock()
                    .expect("not poisoned")
                    .push_str(&String::from_utf8_lossy(&buffer[..n]));
            }
        });
        Self {
            child,
            what,
            said,
            readers: vec![out, err],
            stderr,
        }
    }

    /// The first line of stdout, from the beginning, that `pick` makes something of.
    #[track_caller]
    pub fn wait_line<T>(&self, expected: &str, mut pick: impl FnMut(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = 0;
        let mut said = self.said.0.lock().expect("not poisoned");
        loop {
            while let Some(line) = said.lines.get(seen) {
                if let Some(found) = pick(line) {
                    return found;
                }
                seen += 1;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if said.closed || left.is_zero() {
                drop(said);
                panic!("did not say: {expected}\n{}", self.story());
            }
            said = self
                .said
                .1
                .wait_timeout(said, left)
                .expect("not poisoned")
                .0;
        }
    }

    /// The first JSON event of this name.
    #[track_caller]
    pub fn wait_event(&self, name: &str) -> Value {
        self.wait_event_that(name, |_| true)
    }

    /// The first JSON event of this name for which `is` holds.
    #[track_caller]
    pub fn wait_event_that(&self, name: &str, is: impl Fn(&Value) -> bool) -> Value {
        self.wait_line(name, |line| {
            let event: Value = serde_json::from_str(line).ok()?;
            (event["event"] == name && is(&event)).then_some(event)
        })
    }

    /// What it has said as JSON so far.
    pub fn events(&self) -> Vec<Value> {
        let said = self.said.0.lock().expect("not poisoned");
        said.lines
            .iter()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// For a failed test: all but the progress, of which there may be a lot.
    pub fn story(&self) -> String {
        let said = self.said.0.lock().expect("not poisoned");
        let mut lines: Vec<&str> = said
            .lines
            .iter()
            .map(String::as_str)
            .filter(|line| !line.contains(r#""event":"progress""#))
            .collect();
        lines.extend(
            said.lines
                .iter()
                .rev()
                .find(|line| line.contains(r#""event":"progress""#))
                .map(String::as_str),
        );
        format!(
            "{}\nstdout:\n{}\nstderr:\n{}",
            self.what,
            lines.join("\n"),
            self.stderr()
        )
    }

    pub fn stderr(&self) -> String {
        self.stderr.lock().expect("not poisoned").clone()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its number.
    #[track_caller]
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.id().to_string()])
            .status()
            .expect("kill runs");
        assert!(sent.success(), "cannot signal {}", self.what);
    }

    /// SIGINT, and what it said until it ended.
    #[track_caller]
    pub fn interrupt(self) -> Ended {
        self.signal("INT");
        self.end()
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits until it ends by itself.
    #[track_caller]
    pub fn end(self) -> Ended {
        self.end_within(PATIENCE)
    }

    /// The same for what takes long by its nature.
    #[track_caller]
    pub fn end_within(mut self, patience: Duration) -> Ended {
        let deadline = Instant::now() + patience;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("waits") {
                break status;
            }
            if Instant::now() > deadline {
                panic!("does not end: {}", self.story());
            }
            thread::sleep(Duration::from_millis(10));
        };
        for reader in self.readers.drain(..) {
            reader.join().expect("reader ends");
        }
        let mut stdout = self.said.0.lock().expect("not poisoned").lines.join("\n");
        if !stdout.is_empty() {
            stdout.push('\n');
        }
        Ended {
            code: status.code(),
            stdout,
            stderr: self.stderr(),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Asks again and again until `is` gives something.
#[track_caller]
pub fn until<T>(what: impl Fn() -> String, mut is: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = is() {
            return found;
        }
        assert!(Instant::now() < deadline, "did not come: {}", what());
        thread::sleep(Duration::from_millis(50));
    }
}

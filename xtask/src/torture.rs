//! `cargo xtask torture`: a download that is killed (SIGKILL) at random moments, again and again, and has to
//! end with every byte right. What was fetched in vain is counted at the seed, which cannot be fooled.

use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Files of the torrent, MiB: small, large, and some pieces across two of them.
const FILES: [(&str, usize); 3] = [("a", 5), ("deep/b", 40), ("deep/c", 19)];
/// Rate of the download: its 64 MiB live through about a dozen kills.
const RATE: &str = "24M";
/// A process is killed after at most this long: while it opens its files, downloads, commits, or closes.
const LIFE_MAX: Duration = Duration::from_millis(700);
/// A download that is not killed ends within this.
const PATIENCE: Duration = Duration::from_secs(120);

pub const USAGE: &str = "\
cargo xtask torture [--kills N] [--seed S] [--binary PATH]
                           kill a download N times (200), and compare what it ends with; Linux";

/// A process that ends with us.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Options {
    kills: u64,
    seed: u64,
    binary: Option<PathBuf>,
}

fn options(args: &[&str]) -> Result<Options, String> {
    let mut options = Options {
        kills: 200,
        seed: 1,
        binary: None,
    };
    let mut args = args.iter();
    while let Some(flag) = args.next() {
        let value = args.next().ok_or_else(|| format!("{flag} needs a value"))?;
        let number = || {
            value
                .parse()
                .map_err(|_| format!("{flag} {value}: not a number"))
        };
        match *flag {
            "--kills" => options.kills = number()?,
            "--seed" => options.seed = number()?,
            "--binary" => options.binary = Some(PathBuf::from(value)),
            _ => return Err(format!("unknown flag {flag}\n{USAGE}")),
        }
    }
    Ok(options)
}

/// splitmix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

pub fn run(root: &Path, args: &[&str]) -> Result<(), String> {
    let options = options(args)?;
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => build(root)?,
    };
    let work = std::env::temp_dir().join(format!("samara-torture-{}", std::process::id()));
    fs::create_dir_all(&work).map_err(|error| format!("{}: {error}", work.display()))?;
    let done = torture(&binary, &work, &options);
    let _ = fs::remove_dir_all(&work);
    done
}

fn build(root: &Path) -> Result<PathBuf, String> {
    super::step("cargo", &["build", "-p", "samara"])?;
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok(target.join("debug/samara"))
}

fn torture(binary: &Path, work: &Path, options: &Options) -> Result<(), String> {
    let mut random = options.seed;
    let mut size = 0;
    for (name, mib) in FILES {
        let path = work.join("src/data").join(name);
        let folder = path.parent().unwrap_or(&path);
        fs::create_dir_all(folder).map_err(|error| error.to_string())?;
        let words = (0..(mib << 20) / 8).map(|_| next(&mut random).to_le_bytes());
        let bytes: Vec<u8> = words.flatten().collect();
        size += bytes.len() as u64;
        fs::write(&path, bytes).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let (_tracker, mut said) = start(binary, &["tracker", "--http", "127.0.0.1:0"])?;
    let ready = event(&mut said, "ready")?;
    let announce = ready["announce"].as_str().unwrap_or_default().to_owned();
    let (torrent, source) = (work.join("t.torrent"), work.join("src"));
    let (torrent, data) = (text(&torrent), text(&source.join("data")));
    let create = ["create", "--piece-size", "128KiB", "-t", &announce, "-o"];
    finished(
        binary,
        &[&create[..], &[torrent.as_str(), data.as_str()]].concat(),
    )?;
    let seeding = ["--listen", "127.0.0.2:0", "seed", "--seed", "forever"];
    let at = ["--data", &text(&source), &torrent];
    let (seed, mut seed_said) = start(binary, &[&seeding[..], &at].concat())?;
    event(&mut seed_said, "ready")?;

    let into = work.join("out");
    let (mut kills, mut downloads) = (0, 0);
    let begun = Instant::now();
    while kills < options.kills {
        // A download: killed until it ends by itself, or enough were killed.
        loop {
            let life = Duration::from_micros(next(&mut random) % LIFE_MAX.as_micros() as u64);
            let last = kills >= options.kills;
            if survives(binary, &torrent, &into, if last { PATIENCE } else { life })? {
                break;
            }
            if last {
                return Err(format!("not done after {PATIENCE:?} without a kill"));
            }
            kills += 1;
        }
        compare(&source.join("data"), &into.join("data"))?;
        fs::remove_dir_all(&into).map_err(|error| error.to_string())?;
        downloads += 1;
        println!("{kills} kills, {downloads} downloads, all bytes right");
    }
    let uploaded = leave(seed, &mut seed_said)?;
    let again = uploaded.saturating_sub(size * downloads);
    println!(
        "{kills} kills in {} s, seed {}: {downloads} downloads of {} MiB finished and equal byte for byte; \
         fetched again {:.1} MiB in all, {:.2} MiB a kill",
        begun.elapsed().as_secs(),
        options.seed,
        size >> 20,
        again as f64 / f64::from(1 << 20),
        again as f64 / f64::from(1 << 20) / kills.max(1) as f64,
    );
    Ok(())
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn start(binary: &Path, args: &[&str]) -> Result<(Running, BufReader<ChildStdout>), String> {
    let mut child = Command::new(binary)
        .arg("--json")
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("cannot run {}: {error}", binary.display()))?;
    let out = child.stdout.take().ok_or("no pipe")?;
    Ok((Running(child), BufReader::new(out)))
}

/// The next event of this name.
fn event(said: &mut BufReader<ChildStdout>, name: &str) -> Result<Value, String> {
    let mut heard = Vec::new();
    for line in said.lines().map_while(Result::ok) {
        let event: Value = serde_json::from_str(&line).unwrap_or_default();
        if event["event"] == name {
            return Ok(event);
        }
        heard.push(line);
    }
    Err(format!("it ended without \"{name}\": {heard:?}"))
}

fn finished(binary: &Path, args: &[&str]) -> Result<(), String> {
    let output = Command::new(binary).args(args).output();
    let output = output.map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// Runs the download, and kills it after `life`. True if it ended well before that.
fn survives(binary: &Path, torrent: &str, into: &Path, life: Duration) -> Result<bool, String> {
    let into = text(into);
    let get = ["get", torrent, "-o", &into, "--seed", "none"];
    let how = ["--listen", "127.0.0.3:0", "--down-limit", RATE];
    // Nobody reads what it says, which is less than a pipe holds.
    let (mut leech, mut said) = start(binary, &[&how[..], &get[..]].concat())?;
    let until = Instant::now() + life;
    loop {
        match leech.0.try_wait().map_err(|error| error.to_string())? {
            Some(status) if status.success() => return Ok(true),
            Some(status) => {
                let error = event(&mut said, "error").unwrap_or_default();
                return Err(format!("it failed ({status}): {}", error["message"]));
            }
            None if Instant::now() >= until => return Ok(false),
            None => sleep(Duration::from_millis(1)),
        }
    }
}

/// Interrupts the seed; what it has sent.
fn leave(mut seed: Running, said: &mut BufReader<ChildStdout>) -> Result<u64, String> {
    let id = seed.0.id().to_string();
    Command::new("kill")
        .args(["-INT", &id])
        .status()
        .map_err(|error| error.to_string())?;
    let stopped = event(said, "stopped")?;
    let _ = seed.0.wait();
    stopped["uploaded"]
        .as_u64()
        .ok_or_else(|| "no count of bytes".into())
}

fn compare(original: &Path, copy: &Path) -> Result<(), String> {
    for (name, _) in FILES {
        let read = |folder: &Path| {
            let path = folder.join(name);
            fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))
        };
        if read(original)? != read(copy)? {
            return Err(format!("{} differs", copy.join(name).display()));
        }
    }
    Ok(())
}

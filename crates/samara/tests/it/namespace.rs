//! A network of its own for a test: other clients refuse peers in 127.0.0.0/8, and nothing that they
//! send may leave this machine.

use super::process::samara;
use std::ffi::OsStr;
use std::process::Command;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

const PREFIX: &str = "samara-it-";

/// A network namespace with nothing but a loopback that has the addresses 10.88.0.1 to 10.88.0.9.
/// Removed when it is dropped.
pub struct Namespace(String);

impl Namespace {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        static SWEEP: Once = Once::new();
        SWEEP.call_once(sweep);
        let name = format!(
            "{PREFIX}{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        ip(&["netns", "add", &name]);
        let space = Self(name);
        ip(&["-n", &space.0, "link", "set", "lo", "up"]);
        for last in 1..=9 {
            ip(&[
                "-n",
                &space.0,
                "addr",
                "add",
                &format!("{}/32", Self::address(last)),
                "dev",
                "lo",
            ]);
        }
        space
    }

    /// Adds 2001:db8:88::1 to ::9 to the loopback, and a way to everywhere: Transmission uses IPv6 only
    /// where it seems to lead out.
    pub fn add_ipv6(&self) {
        for last in 1..=9 {
            let address = format!("{}/128", Self::address_v6(last));
            ip(&["-n", &self.0, "addr", "add", &address, "dev", "lo", "nodad"]);
        }
        ip(&["-n", &self.0, "-6", "route", "add", "default", "dev", "lo"]);
    }

    pub fn address_v6(last: u8) -> String {
        format!("2001:db8:88::{last}")
    }

    pub fn address(last: u8) -> String {
        format!("10.88.0.{last}")
    }

    /// Any program inside.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0]).arg(program);
        command
    }

    /// The program under test, inside.
    pub fn samara<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let plain = samara(args);
        let mut command = self.command(plain.get_program());
        command.args(plain.get_args());
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).output();
    }
}

#[track_caller]
fn ip(args: &[&str]) {
    let output = Command::new("ip")
        .args(args)
        .output()
        .unwrap_or_else(|err| panic!("cannot run ip (package iproute2): {err}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "ip {}: {said}(the tests with other clients make network namespaces, which needs root)",
        args.join(" ")
    );
}

/// Removes what a test run that was killed has left.
fn sweep() {
    let Ok(listed) = Command::new("ip").args(["netns", "list"]).output() else {
        return;
    };
    for name in String::from_utf8_lossy(&listed.stdout)
        .lines()
        .filter_map(|line| line.split_whitespace().next())
    {
        let owner = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next());
        if let Some(owner) = owner
            && !std::path::Path::new("/proc").join(owner).exists()
        {
            let _ = Command::new("ip").args(["netns", "del", name]).output();
        }
    }
}

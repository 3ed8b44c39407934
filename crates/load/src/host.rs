//! What the tracker under load takes of its machine (Linux).

use std::fs;

/// Seconds of processor time, and resident memory.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) cpu: f64,
    pub(crate) resident: u64,
}

/// Clock ticks a second of `/proc/PID/stat`: 100 on every Linux (USER_HZ).
const TICKS: f64 = 100.0;

/// `None` if there is no such process, or no `/proc`.
pub(crate) fn usage(pid: u32) -> Option<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    // The name, in brackets, may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11);
    let ticks: u64 = times.next()?.parse::<u64>().ok()? + times.next()?.parse::<u64>().ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(Usage {
        cpu: ticks as f64 / TICKS,
        resident: kib * 1024,
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn of_this_process() {
        let usage = usage(std::process::id()).expect("a process");
        assert!(usage.resident > 100_000 && usage.cpu >= 0.0, "{usage:?}");
        assert!(super::usage(u32::MAX).is_none());
    }
}

//! How to see that a file is not what it was, without reading it.

use rustix::fs::Stat;

/// What changes when a file is written or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// Length in bytes.
    pub size: u64,
    /// Time of the last write, nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Number of the file in its file system: another one when the file was replaced.
    pub inode: u64,
}

impl Fingerprint {
    #[allow(
        clippy::useless_conversion,
        clippy::unnecessary_cast,
        reason = "the widths differ between architectures"
    )]
    pub(crate) fn of(stat: &Stat) -> Self {
        Self {
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime_ns: (stat.st_mtime as i64)
                .saturating_mul(1_000_000_000)
                .saturating_add(i64::try_from(stat.st_mtime_nsec).unwrap_or(0)),
            inode: stat.st_ino as u64,
        }
    }
}

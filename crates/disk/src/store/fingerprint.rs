//! How to see that a file is not what it was, without reading it.

use rustix::fs::Stat;

/// What changes when a file is written or replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint {
    /// Length in bytes.
    pub size: u64,
    /// Time of the last write, nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Time of the last change of anything about the file, nanoseconds since 1970. Programs can set the
    /// time of the last write back (`cp -p`, `rsync -t --inplace`, `touch -r`), and nobody can set this
    /// one. It also moves when the mode, the owner, the name or the number of links changes: then the
    /// file is hashed once for nothing.
    pub ctime_ns: i64,
    /// Number of the file in its file system: another one when the file was replaced. 0: no file.
    pub inode: u64,
}

impl Fingerprint {
    #[allow(
        clippy::useless_conversion,
        clippy::unnecessary_cast,
        reason = "the widths differ between architectures"
    )]
    pub(crate) fn of(stat: &Stat) -> Self {
        let nanos =
            |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
        Self {
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime_ns: nanos(
                stat.st_mtime as i64,
                i64::try_from(stat.st_mtime_nsec).unwrap_or(0),
            ),
            ctime_ns: nanos(
                stat.st_ctime as i64,
                i64::try_from(stat.st_ctime_nsec).unwrap_or(0),
            ),
            inode: stat.st_ino as u64,
        }
    }
}

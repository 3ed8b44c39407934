//! How the program ends: the one table of exit codes, and failures that carry theirs.

use std::fmt;

/// Exit codes that scripts rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Failed; one line says what and where.
    Failed = 1,
    /// Wrong usage.
    Usage = 2,
    /// The data does not match its checksum.
    Mismatch = 3,
    /// Interrupted before it was done (128 + SIGINT).
    Interrupted = 130,
}

/// An ending that is not a good one, with what to tell the user in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The code.
    pub exit: Exit,
    message: String,
}

impl Failure {
    /// `message` says what, where, and what to do.
    pub fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self {
            exit,
            message: message.to_string(),
        }
    }

    /// The usual one: exit code 1.
    pub fn failed(message: impl fmt::Display) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// Interrupted; there is nothing to say.
    pub fn interrupted() -> Self {
        Self::new(Exit::Interrupted, "")
    }
}

impl fmt::Display for Failure {
    /// Escaped: it may hold names from torrents and words of trackers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::out::escape(&self.message))
    }
}

impl std::error::Error for Failure {}

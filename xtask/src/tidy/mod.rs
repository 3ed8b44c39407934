//! The rules, one a file. Each is a function from the workspace's folder to what is wrong, and has a
//! test that plants a violation.

mod arrows;
mod functions;
mod pages;
mod rooms;
mod source;
mod unsafety;
mod words;

use std::fmt;
use std::path::Path;

/// One violation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// File, below the workspace's folder.
    pub file: String,
    /// Line from 1; 0 if the file as a whole is meant.
    pub line: usize,
    /// The rule, and what to do.
    pub what: String,
}

impl Finding {
    fn new(file: impl Into<String>, line: usize, what: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            line,
            what: what.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.what),
            line => write!(f, "{}:{line}: {}", self.file, self.what),
        }
    }
}

/// Every rule over the workspace at `root`.
pub fn all(root: &Path) -> Result<Vec<Finding>, String> {
    let sources = source::read_all(root)?;
    let mut findings = arrows::check(&arrows::metadata(root)?);
    findings.extend(rooms::check(&sources));
    findings.extend(functions::check(&sources));
    findings.extend(unsafety::check(&sources));
    findings.extend(words::check(&sources));
    findings.extend(pages::architecture(root));
    findings.extend(pages::bep_coverage(root));
    findings.extend(pages::clippy_files(root));
    findings.sort();
    findings.dedup();
    Ok(findings)
}

#[cfg(test)]
pub mod testing {
    use super::source::Source;

    /// A file as the rules see it.
    pub fn source(path: &str, text: &str) -> Source {
        Source::new(path.to_owned(), text.to_owned())
    }
}

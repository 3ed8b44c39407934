//! What `/metrics` is made of: the text format of Prometheus (version 0.0.4).

use std::fmt::Write as _;

/// Families of figures, one after the other.
#[derive(Debug)]
pub(super) struct Families<'a> {
    out: &'a mut String,
    prefix: &'static str,
}

impl<'a> Families<'a> {
    /// Appends to `out` families whose names begin with `prefix`.
    pub(super) fn new(out: &'a mut String, prefix: &'static str) -> Self {
        Self { out, prefix }
    }

    /// One family: what it is, and its figures, each with its labels in braces, if it has any.
    pub(super) fn add(&mut self, name: &str, kind: &str, help: &str, values: &[(&str, u64)]) {
        let Self { out, prefix } = self;
        // Writing to a String cannot fail.
        let _ = writeln!(out, "# HELP {prefix}{name} {help}");
        let _ = writeln!(out, "# TYPE {prefix}{name} {kind}");
        for (labels, value) in values {
            let _ = writeln!(out, "{prefix}{name}{labels} {value}");
        }
    }

    /// What there is now.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.add(name, "gauge", help, &[("", value)]);
    }

    /// What there was since the start, by `labels`.
    pub(super) fn counters(&mut self, name: &str, help: &str, values: &[(&str, u64)]) {
        self.add(name, "counter", help, values);
    }
}

//! Results of the literature, run with Samara's engine, and set side by side.
//!
//! Every row says what was published, what is found here, and whether it holds within the tolerance that the
//! row was written with. [`Size::Quick`] is the same in small, for the tests; [`Size::Full`] is what the
//! table in `docs/simulation.md` shows.

mod bharambe;
mod discrete;
mod missing;
mod policy;
mod service;

pub use bharambe::{knee, sizes};
pub use discrete::{optimum, tiny_cases};
pub use missing::missing_piece;
pub use policy::policies;
pub use service::{equal_service, fluid_bound, super_seeding};

use core::fmt;

/// How large the settings are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Seconds.
    Quick,
    /// As published; minutes to an hour.
    Full,
}

/// A line of the table.
#[derive(Clone, Debug)]
pub struct Row {
    /// Whose result.
    pub source: &'static str,
    /// What was run.
    pub setting: String,
    /// What was published.
    pub published: String,
    /// What was found.
    pub found: String,
    /// Whether that is the same result.
    pub holds: bool,
}

/// The head of the table.
pub const TABLE_HEAD: &str =
    "| source | setting | published | found | holds |\n| --- | --- | --- | --- | --- |";

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let holds = if self.holds { "yes" } else { "**no**" };
        write!(
            f,
            "| {} | {} | {} | {} | {holds} |",
            self.source, self.setting, self.published, self.found
        )
    }
}

/// A part of the suite.
pub type Part = fn(Size) -> Vec<Row>;

/// All of it, in the order of the table, each with the name that `--suite` knows it by.
pub const PARTS: [(&str, Part); 8] = [
    ("optimum", tiny_cases),
    ("sizes", sizes),
    ("knee", knee),
    ("policies", policies),
    ("service", equal_service),
    ("copies", super_seeding),
    ("bound", fluid_bound),
    ("missing", missing_piece),
];

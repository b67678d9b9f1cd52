//! The outcome of a benchmark: for people, for programs, and as a picture.

pub mod baseline;
mod json;
mod plot;
mod table;

use super::machine::Machine;
use super::samples::Row;
use super::targets::{Outcome, outcomes};

pub use json::to_json;
pub use plot::to_svg;
pub use table::to_table;

/// Everything that was measured.
#[derive(Clone, Debug)]
pub struct Report {
    /// Where.
    pub machine: Machine,
    /// The command that measures it again.
    pub command: String,
    /// The part of the time in which the host of this virtual machine ran something else.
    pub stolen: f64,
    /// The scenarios.
    pub rows: Vec<Row>,
    /// The targets.
    pub targets: Vec<Outcome>,
}

impl Report {
    pub(super) fn new(machine: Machine, command: String, stolen: f64, rows: Vec<Row>) -> Self {
        let targets = outcomes(&rows);
        Self { machine, command, stolen, rows, targets }
    }
}

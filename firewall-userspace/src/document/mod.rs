//! Policy files: what an operator writes down as the wanted policy, in YAML, TOML or JSON of one shape.
//!
//! `plan` and `apply` read them, `export` and `import` write them; [`schema.json`](SCHEMA) describes the shape for
//! editors. A file goes through three steps: its text becomes a tree in which every value knows where it stands
//! (`yaml`, `json`, `toml`, `tree`); `read` takes the tree apart and collects everything that is wrong; `report` shows it. This
//! module must not know what is stored or in force.

mod json;
mod problem;
mod read;
mod report;
mod source;
mod stored;
#[cfg(test)]
pub(crate) mod tests;
mod toml;
mod tree;
mod write;
mod yaml;

use crate::model::Document;

pub use report::{Color, DocumentErrors, Finding, Warnings};
pub use source::Input;
pub use stored::of_stored;
pub use write::{WriteError, write_json, write_toml, write_yaml};

/// The JSON Schema (draft 2020-12) of a policy file.
pub const SCHEMA: &str = include_str!("schema.json");

/// The version of the shape, which every file states.
const VERSION: i64 = 1;

/// What files say, and what in them may not be what was meant.
#[derive(Debug)]
pub struct Reading {
    /// The documents of all the files as one.
    pub document: Document,
    /// For whoever wrote them.
    pub warnings: Warnings,
}

/// [`read_with_warnings`] for tests, which look at the document alone.
#[cfg(test)]
pub(crate) fn read(inputs: &[Input]) -> Result<Document, DocumentErrors> {
    read_with_warnings(inputs).map(|reading| reading.document)
}

/// Reads policy files, and takes them as one document. Everything that is wrong is found at once.
pub fn read_with_warnings(inputs: &[Input]) -> Result<Reading, DocumentErrors> {
    read::read(source::load(inputs))
}

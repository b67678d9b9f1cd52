//! Where a command's outcome goes: data to stdout, everything else to stderr.

use std::fmt::Display;
use std::io::{self, Write};

use serde::Serialize;
use serde_json::json;

use super::error::CliError;
use super::global::{Format, GlobalOptions};
use super::table::Table;
use crate::operations::{Changed, Leftover};

/// The outcome of one command.
pub(super) struct Output {
    format: Format,
    quiet: bool,
    data: Box<dyn Write>,
}

impl Output {
    pub(super) fn new(options: &GlobalOptions, data: Box<dyn Write>) -> Self {
        Self { format: options.output, quiet: options.quiet, data }
    }

    pub(super) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// One JSON document.
    pub(super) fn json(&mut self, document: &impl Serialize) -> Result<(), CliError> {
        serde_json::to_writer_pretty(&mut self.data, document).map_err(io::Error::from)?;
        self.line("")
    }

    /// One table.
    pub(super) fn table(&mut self, table: &Table) -> Result<(), CliError> {
        Ok(table.write_to(&mut self.data)?)
    }

    /// The rows that a table has so far, where there are enough of them that its columns line up. Then it has none.
    pub(super) fn full_table(&mut self, table: &mut Table) -> Result<(), CliError> {
        Ok(table.write_if_full(&mut self.data)?)
    }

    /// One line of data.
    pub(super) fn line(&mut self, line: impl Display) -> Result<(), CliError> {
        Ok(writeln!(self.data, "{line}")?)
    }

    /// A file as it is, with its last line break.
    pub(super) fn text(&mut self, text: &str) -> Result<(), CliError> {
        Ok(self.data.write_all(text.as_bytes())?)
    }

    /// The end of a command that has nothing to show. People see it by the absence of an error.
    pub(super) fn done(&mut self) -> Result<(), CliError> {
        if self.is_json() {
            return self.json(&json!({ "Return": true }));
        }
        Ok(())
    }

    /// A message for the person at the terminal about something that went as asked.
    pub(super) fn note(&self, message: impl Display) {
        if !self.quiet {
            say(message);
        }
    }

    /// A message about something that went as asked but may not be what was meant.
    pub(super) fn warn(&self, message: impl Display) {
        if !self.quiet {
            say(format_args!("warning: {message}"));
        }
    }

    /// What a change came to. What is left to do of it is a warning: it is in force.
    pub(super) fn made<T>(&self, changed: Changed<T>) -> T {
        self.leftovers(&changed.leftovers);
        changed.outcome
    }

    /// What is left to do of something that is done.
    pub(super) fn leftovers(&self, leftovers: &[Leftover]) {
        leftovers.iter().for_each(|left| self.warn(left));
    }

    /// Hands over what was written so far.
    pub(super) fn flush(&mut self) -> Result<(), CliError> {
        Ok(self.data.flush()?)
    }
}

/// One line on stderr. Nobody is left to tell if that cannot be written.
pub(super) fn say(message: impl Display) {
    let _ = writeln!(io::stderr(), "{message}");
}

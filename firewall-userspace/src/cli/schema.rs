//! `sgfw schema`: the shape of policy files, for editors and checkers.

use super::error::CliError;
use super::output::Output;
use crate::document;

pub(super) fn run(output: &mut Output) -> Result<(), CliError> {
    output.text(document::SCHEMA)
}

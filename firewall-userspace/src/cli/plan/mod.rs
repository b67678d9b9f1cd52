//! `sgfw plan`: what policy files would change, and what that would mean for traffic. Nothing is changed.

mod effect;
mod help;
mod json;
mod text;
mod words;

use std::fs;
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};

use super::error::{CliError, ExitStatus};
use super::output::Output;
use crate::document::{Input, read_with_warnings};
use crate::model::Document;
use crate::operations::Instance;
use crate::operations::queries::plan::{self, Difference};

pub(super) use help::{plan_help, saved_plan_help};

/// Show what policy files would change, and what that would mean for traffic
///
/// A section that the files lack is left alone. Of groups and prefix lists, what the files do not list is deleted; interfaces
/// that they do not list stay as they are. The effect is computed on the compiled policies: which packets may begin a flow
/// that might not before, whatever the rules look like.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("input").args(["files"]).required(true)), after_help = "\
Examples:
  sgfw plan -f policy.yaml
  sgfw plan -f groups.yaml interfaces.yaml -O change.plan
  sgfw export | sgfw plan -f - --detailed-exitcode

Exit status, besides those of every command:
  0  done
  2  with --detailed-exitcode: there are changes")]
pub(super) struct Plan {
    #[command(flatten)]
    files: PolicyFiles,
    /// End with 2 where there are changes
    #[arg(long)]
    detailed_exitcode: bool,
    /// Save the plan, for `sgfw apply`
    #[arg(short = 'O', long, value_name = "PLAN")]
    out: Option<PathBuf>,
}

/// What is said about a difference besides itself.
pub(super) struct Titles {
    /// What the line of counts begins with.
    pub(super) counts: &'static str,
    /// The line in the place of everything where there is no difference.
    pub(super) no_changes: &'static str,
}

pub(super) const TITLES: Titles =
    Titles { counts: "Plan", no_changes: "No changes: what is stored is what the document says." };

/// Where a document is.
#[derive(Debug, Args)]
pub(super) struct PolicyFiles {
    /// Policy files, directories of them, or - for standard input, taken as one document
    #[arg(short, long = "file", value_name = "FILE|DIR|-", num_args = 1..)]
    files: Vec<PathBuf>,
}

impl Plan {
    pub(super) fn run(self, instance: &Instance, output: &mut Output) -> Result<ExitStatus, CliError> {
        let plan = plan::plan(instance, self.files.read(output)?)?;
        if let Some(path) = &self.out {
            save(&plan, path)?;
        }
        show(&TITLES, &plan.difference, output)?;
        if self.detailed_exitcode && !plan.difference.changes.is_empty() {
            return Ok(ExitStatus::ChangesPending);
        }
        Ok(ExitStatus::Done)
    }
}

impl PolicyFiles {
    pub(super) fn read(&self, output: &Output) -> Result<Document, CliError> {
        let inputs: Vec<Input> = self.files.iter().cloned().map(Input::from).collect();
        let reading = read_with_warnings(&inputs)?;
        for warning in reading.warnings.iter() {
            output.warn(warning);
        }
        Ok(reading.document)
    }

    /// Whether standard input is taken, so that nobody can be asked.
    pub(super) fn take_stdin(&self) -> bool {
        self.files.iter().any(|file| file.as_os_str() == "-")
    }
}

/// Shows what tells two states apart, and ends with a line of counts.
pub(super) fn show(titles: &Titles, difference: &Difference, output: &mut Output) -> Result<(), CliError> {
    if output.is_json() {
        return output.json(&json::difference(difference));
    }
    text::show(titles, difference, output)
}

fn save(plan: &plan::Plan, path: &Path) -> Result<(), CliError> {
    let bytes =
        plan.saved.to_bytes().map_err(|source| CliError::SavedPlan { path: path.to_owned(), source })?;
    fs::write(path, bytes).map_err(|source| CliError::CannotWriteFile { path: path.to_owned(), source })
}

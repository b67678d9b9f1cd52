//! `sgfw apply`: makes everything be as policy files say, or as a saved plan does.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};

use super::error::CliError;
use super::output::Output;
use super::plan::{self, PolicyFiles};
use crate::apply::Instance;
use crate::apply::document;
use crate::plan::SavedPlan;

/// Make groups, rules, prefix lists and interfaces be as policy files say, in one change
///
/// Shows the plan, and asks before it is carried out. Without a terminal nobody can be asked, and --yes is needed. A plan
/// that was saved with `sgfw plan -O` was seen already: it is carried out without asking, and only if nothing was changed
/// since it was made.
#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("what").args(["files", "saved", "plan"]).required(true)),
    after_help = "\
Examples:
  sgfw apply -f policy.yaml
  sgfw apply -f /etc/sgfw/policy.d --yes
  sgfw plan -f policy.yaml -O change.plan && sgfw apply change.plan"
)]
pub(super) struct Apply {
    #[command(flatten)]
    files: PolicyFiles,
    /// A plan that `sgfw plan -O` has saved
    #[arg(value_name = "PLAN")]
    saved: Option<PathBuf>,
    /// The same
    #[arg(long, value_name = "PLAN")]
    plan: Option<PathBuf>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Show the plan and change nothing
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
}

impl Apply {
    pub(super) fn run(self, instance: &Instance, output: &mut Output) -> Result<(), CliError> {
        let (plan, is_seen) = match self.saved.as_deref().or(self.plan.as_deref()) {
            Some(path) => (document::resume(instance, &read_plan(path)?)?, true),
            None => (document::plan(instance, self.files.read(output)?)?, false),
        };
        plan::show(&plan, output)?;
        if self.dry_run || plan.changes.is_empty() {
            return Ok(());
        }
        if !is_seen && !self.yes {
            output.flush()?;
            self.ask()?;
        }
        document::apply(instance, &plan.saved)?;
        output.note("applied");
        Ok(())
    }

    fn ask(&self) -> Result<(), CliError> {
        let can_ask = !self.files.take_stdin() && io::stdin().is_terminal() && io::stderr().is_terminal();
        if !can_ask {
            return Err(CliError::NobodyToAsk);
        }
        // Whoever cannot see the question will not say yes.
        let _ = write!(io::stderr(), "Apply this plan? [y/N] ");
        let mut answer = String::new();
        io::stdin().read_line(&mut answer).map_err(CliError::Output)?;
        match answer.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => Ok(()),
            _ => Err(CliError::Declined),
        }
    }
}

fn read_plan(path: &Path) -> Result<SavedPlan, CliError> {
    let bytes =
        fs::read(path).map_err(|source| CliError::CannotReadFile { path: path.to_owned(), source })?;
    SavedPlan::from_bytes(&bytes).map_err(|source| CliError::SavedPlan { path: path.to_owned(), source })
}

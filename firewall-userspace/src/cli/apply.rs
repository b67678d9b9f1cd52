//! `sgfw apply`: makes everything be as policy files say, or as a saved plan does.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgGroup, Args};

use super::call::Call;
use super::dry_run::WOULD_SUCCEED;
use super::error::CliError;
use super::flows_option::{FlowsOption, tell_fate};
use super::output::Output;
use super::plan::{self, PolicyFiles};
use crate::operations::commands::document;
use crate::operations::queries::plan as plans;
use crate::operations::{ChangeOptions, Operator};
use crate::plan::SavedPlan;

/// Enough to open a second connection and to type `sgfw confirm` in it.
const CONFIRM_TIMEOUT_OVER_SSH: Duration = Duration::from_secs(60);

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
  sgfw apply -f policy.yaml --confirm-timeout 60s
  sgfw apply -f policy.d --yes
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
    /// Take the change back by itself after this time, unless `sgfw confirm` makes it stay. The deadline is kept by the
    /// programs in the kernel: it passes with every process dead and the connection lost. 0s for a change that stays [default:
    /// 60s in an interactive shell over SSH, else 0s]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    confirm_timeout: Option<Duration>,
    #[command(flatten)]
    flows: FlowsOption,
    /// Show the plan, find out whether it would be refused, and change nothing
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
}

impl Apply {
    pub(super) fn run(self, call: Call<'_>, output: &mut Output) -> Result<(), CliError> {
        let (plan, is_seen) = match self.saved.as_deref().or(self.plan.as_deref()) {
            Some(path) => (plans::resume(call.instance, &read_plan(path)?)?, true),
            None => (plans::plan(call.instance, self.files.read(output)?)?, false),
        };
        plan::show(&plan::TITLES, &plan.difference, output)?;
        if plan.difference.changes.is_empty() {
            return Ok(());
        }
        if !is_seen && !self.yes && !self.dry_run {
            output.flush()?;
            self.ask()?;
        }
        let confirm_within = self.confirm_within(call.options.operator);
        let options = self.flows.choose(call.options);
        let options = ChangeOptions { dry_run: self.dry_run, confirm_within, ..options };
        let changed = document::apply(call.instance, options, &plan.saved, &plan.difference.changes)?;
        output.leftovers(&changed.leftovers);
        // The plan has shown them.
        tell_fate(&changed.orphaned_flows, options, output);
        match confirm_within {
            _ if self.dry_run => output.note(WOULD_SUCCEED),
            Some(within) => output.note(format_args!(
                "applied for {}: `sgfw confirm` makes it stay",
                humantime::format_duration(within)
            )),
            None => output.note("applied"),
        }
        Ok(())
    }

    /// How long the change is in force unless it is confirmed.
    fn confirm_within(&self, operator: &Operator) -> Option<Duration> {
        let is_interactive = || io::stdin().is_terminal() && operator.session.is_some();
        let default = || if is_interactive() { CONFIRM_TIMEOUT_OVER_SSH } else { Duration::ZERO };
        Some(self.confirm_timeout.unwrap_or_else(default)).filter(|within| !within.is_zero())
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

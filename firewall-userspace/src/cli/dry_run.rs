//! `--dry-run`: the changes of a noun, tried out.

use clap::{Args, Subcommand};

use super::call::Call;
use super::error::CliError;
use super::output::Output;
use crate::operations::ChangeOptions;

/// The AWS API says so by an error, `DryRunOperation`; here it is the outcome that was asked for.
pub(super) const WOULD_SUCCEED: &str = "DryRunOperation: it would have succeeded; nothing is changed";

/// The verbs of a noun whose changes all know dry runs.
#[derive(Debug, Args)]
pub(super) struct DryRunnable<C: Subcommand> {
    #[command(subcommand)]
    command: C,
    /// Find out what a change would do and whether it would be refused, and change nothing. Ids of new resources that are
    /// shown are not those that the change would give
    #[arg(long, global = true, display_order = 100)]
    dry_run: bool,
}

impl<C: Subcommand> DryRunnable<C> {
    /// Runs the verb.
    pub(super) fn run(
        self,
        call: Call<'_>,
        output: &mut Output,
        run: impl FnOnce(C, Call<'_>, &mut Output) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        let options = ChangeOptions { dry_run: self.dry_run, ..call.options };
        run(self.command, Call { options, ..call }, output)?;
        if self.dry_run {
            output.note(WOULD_SUCCEED);
        }
        Ok(())
    }
}

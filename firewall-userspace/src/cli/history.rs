//! `sgfw confirm`, `sgfw rollback` and `sgfw history`: what was changed, and how to go back.

use clap::{Args, Subcommand};
use serde_json::json;

use super::call::Call;
use super::error::CliError;
use super::flows_option::{add_flows, tell_flows};
use super::output::Output;
use super::plan::{self, Titles};
use super::table::Table;
use crate::operations::Instance;
use crate::operations::commands::confirm::confirm;
use crate::operations::commands::rollback::{RolledBack, rollback};
use crate::operations::queries::history::{self as queries, Generation};

const TITLES: Titles =
    Titles { counts: "Changes", no_changes: "No changes of groups, prefix lists or interfaces." };

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sgfw apply -f policy.yaml --confirm-timeout 60s
  sgfw confirm")]
pub(super) struct Confirm {}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sgfw rollback
  sgfw history list
  sgfw rollback 12")]
pub(super) struct Rollback {
    /// The generation to go back to, as `sgfw history` lists them; the last but one if there is none
    #[arg(value_name = "GENERATION")]
    generation: Option<u64>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the changes, the newest first
    #[command(after_help = "\
Examples:
  sgfw history list
  sgfw history list -o json | jq '.Generations[0]'")]
    List,
    /// Show a change: who made it, when and how, and what it changed
    #[command(after_help = "\
Examples:
  sgfw history show 12")]
    Show {
        /// The generation, as `sgfw history list` has it
        generation: u64,
    },
    /// Show what was changed between two generations
    #[command(after_help = "\
Examples:
  sgfw history diff 8 12
  sgfw history diff 8")]
    Diff {
        /// The earlier one
        from: u64,
        /// The later one; what is stored now if there is none
        to: Option<u64>,
    },
}

impl Confirm {
    pub(super) fn run(self, instance: &Instance, output: &mut Output) -> Result<(), CliError> {
        let confirmed = confirm(instance)?;
        output.leftovers(&confirmed.leftovers);
        if output.is_json() {
            return output
                .json(&json!({ "Generation": confirmed.generation, "CutFlows": confirmed.cut_flows }));
        }
        output.note(format_args!("generation {} stays", confirmed.generation));
        Ok(())
    }
}

impl Rollback {
    pub(super) fn run(self, call: Call<'_>, output: &mut Output) -> Result<(), CliError> {
        let RolledBack { generation, orphaned_flows, leftovers } =
            rollback(call.instance, call.options, self.generation)?;
        output.leftovers(&leftovers);
        tell_flows(&orphaned_flows, call.options, output);
        if output.is_json() {
            let mut outcome = json!({ "Generation": generation });
            add_flows(&mut outcome, &orphaned_flows, call.options);
            return output.json(&outcome);
        }
        match self.generation {
            Some(to) => output.note(format_args!(
                "generation {generation} takes back what was changed after generation {to}"
            )),
            None => output.note(format_args!("generation {generation} takes back the last change")),
        }
        Ok(())
    }
}

impl Command {
    pub(super) fn run(self, instance: &Instance, output: &mut Output) -> Result<(), CliError> {
        match self {
            Self::List => list(instance, output),
            Self::Show { generation } => show(generation, instance, output),
            Self::Diff { from, to } => diff(from, to, instance, output),
        }
    }
}

fn list(instance: &Instance, output: &mut Output) -> Result<(), CliError> {
    let history = queries::history(instance)?;
    if output.is_json() {
        let generations = history.iter().map(|generation| {
            json!({
                "Generation": generation.number,
                "Time": time(generation),
                "User": generation.author.user,
                "Command": generation.author.command,
            })
        });
        return output.json(&json!({ "Generations": generations.collect::<Vec<_>>() }));
    }
    let mut table = Table::new(&["#GENERATION", "TIME", "USER", "COMMAND"]);
    for generation in &history {
        table.row([
            generation.number.to_string(),
            time(generation),
            generation.author.user.clone(),
            generation.author.command.clone(),
        ]);
    }
    output.table(&table)
}

fn show(number: u64, instance: &Instance, output: &mut Output) -> Result<(), CliError> {
    let (generation, difference) = queries::generation(instance, number)?;
    if !output.is_json() {
        output.line(format_args!(
            "Generation {number}, {} by {}",
            time(&generation),
            generation.author.user
        ))?;
        output.line(format_args!("Command: {}", generation.author.command))?;
        output.line("")?;
    }
    plan::show(&TITLES, &difference, output)
}

fn diff(from: u64, to: Option<u64>, instance: &Instance, output: &mut Output) -> Result<(), CliError> {
    plan::show(&TITLES, &queries::difference_between(instance, from, to)?, output)
}

/// RFC 3339, in UTC.
fn time(generation: &Generation) -> String {
    humantime::format_rfc3339_seconds(generation.at).to_string()
}

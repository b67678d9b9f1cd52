//! `sgfw confirm`, `sgfw rollback` and `sgfw history`: what was changed, and how to go back.

use clap::{Args, Subcommand};
use serde_json::json;

use super::error::CliError;
use super::output::Output;
use super::table::Table;
use crate::apply::{Instance, confirm};
use crate::store::Generation;

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
}

impl Confirm {
    pub(super) fn run(self, instance: &Instance, output: &mut Output) -> Result<(), CliError> {
        let confirmed = confirm::confirm(instance)?;
        if output.is_json() {
            return output
                .json(&json!({ "Generation": confirmed.generation, "CutFlows": confirmed.cut_flows }));
        }
        output.note(format_args!("generation {} stays", confirmed.generation));
        Ok(())
    }
}

impl Rollback {
    pub(super) fn run(self, instance: &Instance, output: &mut Output) -> Result<(), CliError> {
        let generation = confirm::rollback(instance, self.generation)?;
        if output.is_json() {
            return output.json(&json!({ "Generation": generation }));
        }
        output.note(format_args!("generation {generation} says what was said before"));
        Ok(())
    }
}

impl Command {
    pub(super) fn run(self, instance: &Instance, output: &mut Output) -> Result<(), CliError> {
        match self {
            Self::List => list(instance, output),
        }
    }
}

fn list(instance: &Instance, output: &mut Output) -> Result<(), CliError> {
    let history = instance.read(|snapshot| Ok(snapshot.history()?))?;
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

/// RFC 3339, in UTC.
fn time(generation: &Generation) -> String {
    humantime::format_rfc3339_seconds(generation.at).to_string()
}

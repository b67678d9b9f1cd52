//! `sgfw repair`: what is stored is in force again.

use clap::Args;
use serde_json::{Value, json};

use super::call::Call;
use super::error::CliError;
use super::output::Output;
use super::table::Table;
use crate::operations::commands::repair::{self, Outcome, Repaired, Repairs};
use crate::operations::with_sources;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sgfw repair
  sgfw repair -o json | jq '.Interfaces[] | select(.Outcome != \"in-force\")'")]
pub(super) struct Repair {}

impl Repair {
    pub(super) fn run(self, call: Call<'_>, output: &mut Output) -> Result<(), CliError> {
        let Repairs { interfaces: repaired, leftovers } =
            repair::repair(call.instance, call.options.operator)?;
        output.leftovers(&leftovers);
        if output.is_json() {
            output.json(&json!({ "Interfaces": repaired.iter().map(json).collect::<Vec<_>>() }))?;
        } else {
            output.table(&table(&repaired))?;
        }
        match repaired.into_iter().find_map(failure) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

fn failure(repaired: Repaired) -> Option<CliError> {
    match repaired.outcome {
        Outcome::Failed(source) => {
            Some(CliError::NotRepaired { interface: repaired.interface.name, source: Box::new(source) })
        }
        Outcome::InForce(_) | Outcome::Attached(_) | Outcome::NoInterface => None,
    }
}

fn json(repaired: &Repaired) -> Value {
    let attachment = match &repaired.outcome {
        Outcome::InForce(attachment) | Outcome::Attached(attachment) => Some(attachment),
        Outcome::NoInterface | Outcome::Failed(_) => None,
    };
    let message = match &repaired.outcome {
        Outcome::Failed(error) => Some(with_sources(error)),
        Outcome::InForce(_) | Outcome::Attached(_) | Outcome::NoInterface => None,
    };
    json!({
        "NetworkInterfaceId": repaired.interface.id.to_string(),
        "Name": repaired.interface.name,
        "Outcome": outcome(&repaired.outcome),
        "IngressHook": attachment.map(|attachment| attachment.ingress.name()),
        "EgressHook": attachment.map(|attachment| attachment.egress.name()),
        "Message": message,
    })
}

fn table(repaired: &[Repaired]) -> Table {
    let mut table = Table::new(&["INTERFACE", "INTERFACE ID", "OUTCOME"]);
    for Repaired { interface, outcome: of_interface } in repaired {
        let said = match of_interface {
            Outcome::Failed(error) => format!("failed: {}", with_sources(error)),
            Outcome::InForce(_) | Outcome::Attached(_) | Outcome::NoInterface => {
                outcome(of_interface).replace('-', " ")
            }
        };
        table.row([interface.name.clone(), interface.id.to_string(), said]);
    }
    table
}

const fn outcome(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::InForce(_) => "in-force",
        Outcome::Attached(_) => "attached-again",
        Outcome::NoInterface => "no-interface",
        Outcome::Failed(_) => "failed",
    }
}

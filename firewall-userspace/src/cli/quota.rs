//! `sgfw quota`: how much there may be of what.

use std::collections::BTreeMap;

use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::call::Call;
use super::error::CliError;
use super::output::Output;
use super::table::Table;
use crate::model::{Quota, Quotas};
use crate::operations::Instance;
use crate::operations::commands::quotas;
use crate::operations::queries::quotas as quota_queries;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the quotas: what is set, what AWS has by default, and the most that is used anywhere
    ///
    /// Rules are counted as in AWS: for each direction and address family; a group as peer counts in both families, a
    /// prefix list as many times as it has room for entries.
    #[command(after_help = "\
Examples:
  sgfw quota list")]
    List,
    /// Set quotas: a change that would exceed one is refused from then on; what exceeds it already stays
    #[command(after_help = "\
Examples:
  sgfw quota set --preset aws
  sgfw quota set rules-per-security-group=200 security-groups-per-interface=10")]
    Set {
        /// All of a preset, before those that are given one by one
        #[arg(long, value_enum)]
        preset: Option<Preset>,
        /// The quotas
        #[arg(value_name = "QUOTA=N", required_unless_present = "preset", value_parser = quota_value)]
        quotas: Vec<(Quota, u64)>,
    },
    /// Make quotas unlimited again, as they all are at first
    #[command(after_help = "\
Examples:
  sgfw quota reset
  sgfw quota reset rules-per-security-group")]
    Reset {
        /// The quotas; all of them if there are none
        #[arg(value_name = "QUOTA")]
        quotas: Vec<String>,
    },
    /// List what is accepted here and would exceed a default quota of AWS
    #[command(after_help = "\
Examples:
  sgfw quota check
  sgfw quota check -o json | jq '.Exceeded | length'")]
    Check,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Preset {
    /// The default quotas of AWS
    Aws,
}

impl Command {
    pub(super) fn run(self, call: Call<'_>, output: &mut Output) -> Result<(), CliError> {
        match self {
            Self::List => list(call.instance, output),
            Self::Set { preset, quotas } => {
                let mut all = match preset {
                    Some(Preset::Aws) => Quotas::aws().iter().collect(),
                    None => Vec::new(),
                };
                all.extend(quotas);
                show(&output.made(quotas::set(call.instance, call.options, &all)?), output)
            }
            Self::Reset { quotas } if quotas.is_empty() => {
                show(&output.made(quotas::reset(call.instance, call.options, &Quota::ALL)?), output)
            }
            Self::Reset { quotas } => {
                let quotas = quotas.iter().map(|quota| quota.parse()).collect::<Result<Vec<Quota>, _>>()?;
                show(&output.made(quotas::reset(call.instance, call.options, &quotas)?), output)
            }
            Self::Check => check(call.instance, output),
        }
    }
}

fn quota_value(text: &str) -> Result<(Quota, u64), String> {
    let names = Quota::ALL.map(Quota::name).join(", ");
    let expected = || format!("write QUOTA=N; the quotas are {names}");
    let (quota, value) = text.split_once('=').ok_or_else(expected)?;
    let value: u32 = value.parse().map_err(|_| expected())?;
    Ok((quota.parse().map_err(|_| expected())?, value.into()))
}

fn list(instance: &Instance, output: &mut Output) -> Result<(), CliError> {
    let (quotas, usages) = quota_queries::usage(instance)?;
    let mut most: BTreeMap<Quota, u64> = BTreeMap::new();
    for usage in &usages {
        let most = most.entry(usage.subject.quota()).or_default();
        *most = usage.used.max(*most);
    }
    let most = |quota| most.get(&quota).copied().unwrap_or(0);
    if output.is_json() {
        let row = |quota: Quota| {
            json!({
                "QuotaName": quota.name(), "Value": quotas.get(quota), "AwsDefault": quota.aws_value(),
                "MostUsed": most(quota),
            })
        };
        return output.json(&json!({ "Quotas": Quota::ALL.map(row) }));
    }
    let mut table = Table::new(&["QUOTA", "#VALUE", "#AWS DEFAULT", "#MOST USED"]);
    for quota in Quota::ALL {
        table.row([
            quota.name().to_owned(),
            quotas.get(quota).map_or_else(|| "unlimited".to_owned(), |value| value.to_string()),
            quota.aws_value().to_string(),
            most(quota).to_string(),
        ]);
    }
    output.table(&table)
}

/// The outcome of a change: what is set now.
fn show(quotas: &Quotas, output: &mut Output) -> Result<(), CliError> {
    if !output.is_json() {
        return Ok(());
    }
    let value = |quota: Quota| json!({ "QuotaName": quota.name(), "Value": quotas.get(quota) });
    output.json(&json!({ "Return": true, "Quotas": Quota::ALL.map(value) }))
}

fn check(instance: &Instance, output: &mut Output) -> Result<(), CliError> {
    let excesses = quota_queries::check_aws(instance)?;
    if output.is_json() {
        let excesses: Vec<Value> = excesses
            .iter()
            .map(|excess| {
                json!({
                    "QuotaName": excess.usage.subject.quota().name(), "Used": excess.usage.used,
                    "Limit": excess.limit, "Message": excess.to_string(),
                })
            })
            .collect();
        return output.json(&json!({ "Exceeded": excesses }));
    }
    if excesses.is_empty() {
        output.note("everything fits the default quotas of AWS");
    }
    let mut table = Table::new(&["QUOTA", "#USED", "#LIMIT", "WHERE"]);
    for excess in &excesses {
        table.row([
            excess.usage.subject.quota().name().to_owned(),
            excess.usage.used.to_string(),
            excess.limit.to_string(),
            excess.usage.to_string(),
        ]);
    }
    output.table(&table)
}

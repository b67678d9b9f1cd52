//! `sgfw tag`: tags of groups, rules and prefix lists.

use clap::Subcommand;
use serde_json::json;

use super::aws;
use super::call::Call;
use super::error::CliError;
use super::output::Output;
use super::table::Table;
use crate::model::{ResourceReference, TagKey, TagValue, Tags};
use crate::operations::Instance;
use crate::operations::commands::tags;
use crate::operations::queries::tags::all_tags;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Set tags of a resource, those of a known key anew
    #[command(after_help = "\
Examples:
  sgfw tag set web env=production owner=payments
  sgfw tag set sgr-0123456789abcdef0 ticket=NET-7")]
    Set {
        /// Id or ARN of a group, a rule or a prefix list, or the name of a group
        resource: String,
        /// The tags
        #[arg(required = true, value_name = "KEY=VALUE")]
        tags: Vec<String>,
    },
    /// Remove tags of a resource by key; keys that it does not have do not matter
    #[command(after_help = "\
Examples:
  sgfw tag remove web env owner")]
    Remove {
        /// Id or ARN of a group, a rule or a prefix list, or the name of a group
        resource: String,
        /// The keys
        #[arg(required = true, value_name = "KEY")]
        keys: Vec<String>,
    },
    /// List the tags of every group, rule and prefix list
    #[command(after_help = "\
Examples:
  sgfw tag list
  sgfw tag list -o json | jq '.Tags[] | select(.ResourceType == \"security-group\")'")]
    List,
}

impl Command {
    pub(super) fn run(self, call: Call<'_>, output: &mut Output) -> Result<(), CliError> {
        match self {
            Self::Set { resource, tags } => {
                let resource: ResourceReference = resource.parse()?;
                show(
                    &output.made(tags::set(call.instance, call.options, &resource, &parse_tags(&tags)?)?),
                    output,
                )
            }
            Self::Remove { resource, keys } => {
                let resource: ResourceReference = resource.parse()?;
                let keys = keys.iter().map(|key| key.parse()).collect::<Result<Vec<TagKey>, _>>()?;
                show(&output.made(tags::remove(call.instance, call.options, &resource, &keys)?), output)
            }
            Self::List => list(call.instance, output),
        }
    }
}

/// Reads tags as they are written on the command line.
pub(super) fn parse_tags(texts: &[String]) -> Result<Vec<(TagKey, TagValue)>, CliError> {
    let parse = |text: &String| {
        let (key, value) = text.split_once('=').ok_or(CliError::Usage("a tag is written KEY=VALUE"))?;
        Ok((key.parse()?, value.parse()?))
    };
    texts.iter().map(parse).collect()
}

/// Tags for people.
pub(super) fn tag_texts(tags: &Tags) -> Vec<String> {
    tags.iter().map(|(key, value)| format!("{key}={value}")).collect()
}

/// The outcome of a change: the tags that the resource has now.
fn show(tags: &Tags, output: &mut Output) -> Result<(), CliError> {
    if output.is_json() {
        return output.json(&json!({ "Return": true, "Tags": aws::tags(tags) }));
    }
    Ok(())
}

fn list(instance: &Instance, output: &mut Output) -> Result<(), CliError> {
    let tagged = all_tags(instance)?;
    if output.is_json() {
        let tags: Vec<_> = tagged.iter().flat_map(|(resource, tags)| aws::tags_of(*resource, tags)).collect();
        return output.json(&json!({ "Tags": tags }));
    }
    let mut table = Table::new(&["RESOURCE", "KEY", "VALUE"]);
    for (resource, tags) in &tagged {
        for (key, value) in tags.iter() {
            table.row([resource.to_string(), key.to_string(), value.to_string()]);
        }
    }
    output.table(&table)
}

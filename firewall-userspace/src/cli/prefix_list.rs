//! `sgfw prefix-list`: named sets of prefixes that rules refer to.

use clap::{ArgGroup, Args, Subcommand};
use ipnet::IpNet;
use serde_json::{Value, json};

use super::aws;
use super::call::Call;
use super::error::CliError;
use super::flows_option::{FlowsOption, add_flows, tell_flows};
use super::group::parse_prefixes;
use super::output::Output;
use super::table::Table;
use super::tag::{parse_tags, tag_texts};
use crate::model::{
    AddressFamily, Description, PrefixList, PrefixListEntry, PrefixListName, PrefixListReference, Tags,
};
use crate::operations::commands::prefix_lists::{self, CreateRequest, Properties, Target};
use crate::operations::queries::prefix_lists::{self as queries, Referrer};
use crate::operations::{ChangeOptions, Changed, Instance};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Create a prefix list and print its id
    #[command(after_help = "\
Examples:
  sgfw prefix-list create offices --address-family ipv4 --max-entries 20 198.51.100.0/24 203.0.113.0/24
  sgfw prefix-list create offices --address-family ipv4 --max-entries 20 198.51.100.0/24=Berlin --tag owner=net")]
    Create(Create),
    /// List the prefix lists
    #[command(after_help = "\
Examples:
  sgfw prefix-list list")]
    List,
    /// Show a prefix list with its entries
    #[command(after_help = "\
Examples:
  sgfw prefix-list show offices
  sgfw prefix-list show offices --version 3")]
    Show {
        /// Name, id or ARN
        prefix_list: String,
        /// The entries of this version instead of the current one
        #[arg(long, value_name = "N")]
        version: Option<u64>,
    },
    /// Delete a prefix list that no rule refers to
    #[command(after_help = "\
Examples:
  sgfw prefix-list delete offices")]
    Delete {
        /// Name, id or ARN
        prefix_list: String,
    },
    /// Add entries, as a new version of the list, and print its number
    #[command(after_help = "\
Examples:
  sgfw prefix-list add-entry offices 192.0.2.0/24 \"198.51.100.0/24=Berlin, second floor\"")]
    AddEntry {
        #[command(flatten)]
        target: TargetArguments,
        /// The entries, each with its description if it has one
        #[arg(required = true, value_name = "PREFIX[=TEXT]")]
        entries: Vec<String>,
    },
    /// Remove entries, as a new version of the list, and print its number
    #[command(after_help = "\
Examples:
  sgfw prefix-list remove-entry offices 192.0.2.0/24")]
    RemoveEntry {
        #[command(flatten)]
        target: TargetArguments,
        /// The entries
        #[arg(required = true, value_name = "PREFIX")]
        entries: Vec<String>,
        #[command(flatten)]
        flows: FlowsOption,
    },
    /// Change the name of a prefix list, or how many entries it may have. That is no new version
    #[command(
        group(ArgGroup::new("properties").args(["name", "max_entries"]).multiple(true).required(true)),
        after_help = "\
Examples:
  sgfw prefix-list modify offices --max-entries 50
  sgfw prefix-list modify offices --name sites"
    )]
    Modify {
        #[command(flatten)]
        target: TargetArguments,
        /// Its new name
        #[arg(long)]
        name: Option<String>,
        /// How many entries it may have
        #[arg(long, value_name = "N")]
        max_entries: Option<u32>,
    },
    /// Go back to the entries of an old version, as a new version, and print its number
    #[command(after_help = "\
Examples:
  sgfw prefix-list restore offices --version 3
  sgfw prefix-list restore offices --version 3 --current-version 7")]
    Restore {
        #[command(flatten)]
        target: TargetArguments,
        /// The version whose entries are wanted
        #[arg(long, value_name = "N")]
        version: u64,
        #[command(flatten)]
        flows: FlowsOption,
    },
    /// List the versions of a prefix list that are kept, which are the last thousand
    #[command(after_help = "\
Examples:
  sgfw prefix-list history offices")]
    History {
        /// Name, id or ARN
        prefix_list: String,
    },
    /// List the rules that refer to a prefix list
    #[command(after_help = "\
Examples:
  sgfw prefix-list references offices
  sgfw prefix-list references offices -o json | jq -r '.PrefixListAssociations[].ResourceId'")]
    References {
        /// Name, id or ARN
        prefix_list: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// Name of the new prefix list
    name: String,
    /// ipv4 or ipv6; a list is never mixed
    #[arg(long, value_name = "FAMILY")]
    address_family: String,
    /// How many entries the list may have
    #[arg(long, value_name = "N")]
    max_entries: u32,
    /// Its first entries, each with its description if it has one
    #[arg(value_name = "PREFIX[=TEXT]")]
    entries: Vec<String>,
    /// A tag of the list; repeat it for more
    #[arg(long = "tag", value_name = "KEY=VALUE")]
    tags: Vec<String>,
}

/// The prefix list that is to be changed.
#[derive(Debug, Args)]
pub(super) struct TargetArguments {
    /// Name, id or ARN
    prefix_list: String,
    /// Refuse if this is not its current version: somebody else has changed it
    #[arg(long, value_name = "N")]
    current_version: Option<u64>,
}

impl Command {
    pub(super) fn run(self, call: Call<'_>, output: &mut Output) -> Result<(), CliError> {
        match self {
            Self::Create(create) => create.run(call, output),
            Self::List => list_all(call.instance, output),
            Self::Show { prefix_list, version } => {
                show(&prefix_list.parse()?, version, call.instance, output)
            }
            Self::Delete { prefix_list } => {
                output.made(prefix_lists::delete(call.instance, call.options, &prefix_list.parse()?)?);
                output.done()
            }
            Self::AddEntry { target, entries } => {
                let entries = parse_entries(&entries, output)?;
                show_version(
                    &output.made(prefix_lists::add_entries(
                        call.instance,
                        call.options,
                        &target.parse()?,
                        entries,
                    )?),
                    output,
                )
            }
            Self::RemoveEntry { target, entries, flows } => {
                let prefixes = parse_prefixes(&entries, output)?;
                let options = flows.choose(call.options);
                let changed =
                    prefix_lists::remove_entries(call.instance, options, &target.parse()?, &prefixes)?;
                show_version_and_flows(&changed, options, output)
            }
            Self::Modify { target, name, max_entries } => {
                let name: Option<PrefixListName> = name.map(|name| name.parse()).transpose()?;
                let properties = Properties { name, max_entries };
                let list = output.made(prefix_lists::modify(
                    call.instance,
                    call.options,
                    &target.parse()?,
                    &properties,
                )?);
                if output.is_json() {
                    return show_version(&list, output);
                }
                Ok(())
            }
            Self::Restore { target, version, flows } => {
                let options = flows.choose(call.options);
                let changed = prefix_lists::restore(call.instance, options, &target.parse()?, version)?;
                show_version_and_flows(&changed, options, output)
            }
            Self::History { prefix_list } => history(&prefix_list.parse()?, call.instance, output),
            Self::References { prefix_list } => references(&prefix_list.parse()?, call.instance, output),
        }
    }
}

impl Create {
    fn run(self, call: Call<'_>, output: &mut Output) -> Result<(), CliError> {
        let family: AddressFamily = self.address_family.parse()?;
        let mut tags = Tags::default();
        tags.set(parse_tags(&self.tags)?)?;
        let request = CreateRequest {
            name: self.name.parse()?,
            family,
            max_entries: self.max_entries,
            entries: parse_entries(&self.entries, output)?,
            tags,
        };
        let list = output.made(prefix_lists::create(call.instance, call.options, request)?);
        if output.is_json() {
            return show_version(&list, output);
        }
        output.line(list.id)
    }
}

impl TargetArguments {
    fn parse(&self) -> Result<Target, CliError> {
        Ok(Target { list: self.prefix_list.parse()?, current_version: self.current_version })
    }
}

/// Reads entries `PREFIX` or `PREFIX=DESCRIPTION`.
fn parse_entries(texts: &[String], output: &Output) -> Result<Vec<PrefixListEntry>, CliError> {
    let parts: Vec<(&str, Option<&str>)> = texts
        .iter()
        .map(|text| text.split_once('=').map_or((text.as_str(), None), |(prefix, text)| (prefix, Some(text))))
        .collect();
    let prefixes: Vec<String> = parts.iter().map(|(prefix, _)| (*prefix).to_owned()).collect();
    let prefixes: Vec<IpNet> = parse_prefixes(&prefixes, output)?;
    let entry = |(prefix, (_, description)): (IpNet, &(&str, Option<&str>))| {
        let description: Option<Description> =
            description.filter(|text| !text.is_empty()).map(str::parse).transpose()?;
        Ok(PrefixListEntry { prefix, description })
    };
    prefixes.into_iter().zip(&parts).map(entry).collect()
}

fn list_all(instance: &Instance, output: &mut Output) -> Result<(), CliError> {
    let lists = queries::prefix_lists(instance)?;
    if output.is_json() {
        let lists: Vec<_> = lists.iter().map(aws::ManagedPrefixList::new).collect();
        return output.json(&json!({ "PrefixLists": lists }));
    }
    let mut table = Table::new(&["PREFIX LIST ID", "NAME", "FAMILY", "#ENTRIES", "#MAX ENTRIES", "#VERSION"]);
    for list in &lists {
        table.row([
            list.id.to_string(),
            list.name.to_string(),
            list.family.to_string(),
            list.entries.len().to_string(),
            list.max_entries.to_string(),
            list.version.to_string(),
        ]);
    }
    output.table(&table)
}

fn show(
    reference: &PrefixListReference,
    version: Option<u64>,
    instance: &Instance,
    output: &mut Output,
) -> Result<(), CliError> {
    let list = queries::at_version(instance, reference, version)?;
    if output.is_json() {
        return output.json(&json!({ "PrefixLists": [aws::ManagedPrefixList::new(&list)] }));
    }
    let tags = tag_texts(&list.tags);
    output.line(format_args!("Prefix list id: {}", list.id))?;
    output.line(format_args!("Name:           {}", list.name))?;
    output.line(format_args!("Family:         {}", list.family))?;
    output.line(format_args!("Version:        {}", list.version))?;
    output.line(format_args!("Entries:        {} of at most {}", list.entries.len(), list.max_entries))?;
    output.line(format_args!("Tags:           {}", or_none(&tags)))?;
    output.line("")?;
    let mut table = Table::new(&["PREFIX", "DESCRIPTION"]);
    for entry in &list.entries {
        let description = entry.description.as_ref().map(Description::to_string);
        table.row([entry.prefix.to_string(), description.unwrap_or_default()]);
    }
    output.table(&table)
}

fn history(
    reference: &PrefixListReference,
    instance: &Instance,
    output: &mut Output,
) -> Result<(), CliError> {
    let versions = queries::versions(instance, reference)?;
    if output.is_json() {
        let versions: Vec<Value> = versions
            .iter()
            .map(|version| {
                json!({
                    "Version": version.version, "Entries": version.entries, "Added": version.added,
                    "Removed": version.removed,
                })
            })
            .collect();
        return output.json(&json!({ "Versions": versions }));
    }
    let mut table = Table::new(&["#VERSION", "#ENTRIES", "#ADDED", "#REMOVED"]);
    for version in &versions {
        table.row([
            version.version.to_string(),
            version.entries.to_string(),
            version.added.to_string(),
            version.removed.to_string(),
        ]);
    }
    output.table(&table)
}

fn references(
    reference: &PrefixListReference,
    instance: &Instance,
    output: &mut Output,
) -> Result<(), CliError> {
    let referrers = queries::referrers(instance, reference)?;
    if output.is_json() {
        let association = |Referrer { group, rules, .. }: &Referrer| {
            let rules: Vec<String> = rules.iter().map(ToString::to_string).collect();
            json!({ "ResourceId": group.to_string(), "SecurityGroupRuleIds": rules })
        };
        let associations: Vec<Value> = referrers.iter().map(association).collect();
        return output.json(&json!({ "PrefixListAssociations": associations }));
    }
    let mut table = Table::new(&["GROUP ID", "GROUP", "RULE ID"]);
    for Referrer { group, name, rules } in &referrers {
        for rule in rules {
            table.row([group.to_string(), name.to_string(), rule.to_string()]);
        }
    }
    output.table(&table)
}

fn or_none(items: &[String]) -> String {
    if items.is_empty() { "none".to_owned() } else { items.join(", ") }
}

fn show_version(list: &PrefixList, output: &mut Output) -> Result<(), CliError> {
    if output.is_json() {
        return output.json(&version_json(list));
    }
    output.line(list.version)
}

fn show_version_and_flows(
    changed: &Changed<PrefixList>,
    options: ChangeOptions<'_>,
    output: &mut Output,
) -> Result<(), CliError> {
    let Changed { outcome: list, orphaned_flows, leftovers } = changed;
    output.leftovers(leftovers);
    tell_flows(orphaned_flows, options, output);
    if output.is_json() {
        let mut outcome = version_json(list);
        add_flows(&mut outcome, orphaned_flows, options);
        return output.json(&outcome);
    }
    output.line(list.version)
}

fn version_json(list: &PrefixList) -> Value {
    json!({ "PrefixList": aws::ManagedPrefixList::new(list) })
}

//! `sgfw prefix-list`: named sets of prefixes that rules refer to.

use clap::Subcommand;
use serde_json::json;

use super::aws;
use super::error::CliError;
use super::group::parse_prefixes;
use super::output::Output;
use super::table::Table;
use crate::apply::{Instance, prefix_lists};
use crate::model::{PrefixList, PrefixListReference};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Create a prefix list and print its id
    #[command(after_help = "\
Examples:
  sgfw prefix-list create offices --address-family ipv4 --max-entries 20 198.51.100.0/24 203.0.113.0/24")]
    Create {
        /// Name of the new prefix list
        name: String,
        /// ipv4 or ipv6; a list is never mixed
        #[arg(long, value_name = "FAMILY")]
        address_family: String,
        /// How many entries the list may have
        #[arg(long, value_name = "N")]
        max_entries: u32,
        /// Its first entries
        #[arg(value_name = "PREFIX")]
        entries: Vec<String>,
    },
    /// List the prefix lists
    #[command(after_help = "\
Examples:
  sgfw prefix-list list")]
    List,
    /// Show a prefix list with its entries
    #[command(after_help = "\
Examples:
  sgfw prefix-list show offices")]
    Show {
        /// Name or id
        prefix_list: String,
    },
    /// Delete a prefix list that no rule refers to
    #[command(after_help = "\
Examples:
  sgfw prefix-list delete offices")]
    Delete {
        /// Name or id
        prefix_list: String,
    },
    /// Add entries, as a new version of the list, and print its number
    #[command(after_help = "\
Examples:
  sgfw prefix-list add-entry offices 192.0.2.0/24")]
    AddEntry {
        /// Name or id
        prefix_list: String,
        /// The entries
        #[arg(required = true, value_name = "PREFIX")]
        entries: Vec<String>,
    },
    /// Remove entries, as a new version of the list, and print its number
    #[command(after_help = "\
Examples:
  sgfw prefix-list remove-entry offices 192.0.2.0/24")]
    RemoveEntry {
        /// Name or id
        prefix_list: String,
        /// The entries
        #[arg(required = true, value_name = "PREFIX")]
        entries: Vec<String>,
    },
}

impl Command {
    pub(super) fn run(self, instance: &Instance, output: &mut Output) -> Result<(), CliError> {
        match self {
            Self::Create { name, address_family, max_entries, entries } => {
                let entries = parse_prefixes(&entries, output)?;
                let (name, family) = (name.parse()?, address_family.parse()?);
                let list = prefix_lists::create(instance, name, family, max_entries, entries)?;
                if output.is_json() {
                    return output.json(&json!({ "PrefixList": aws::ManagedPrefixList::new(&list) }));
                }
                output.line(list.id)
            }
            Self::List => list_all(instance, output),
            Self::Show { prefix_list } => show(&prefix_list.parse()?, instance, output),
            Self::Delete { prefix_list } => {
                prefix_lists::delete(instance, &prefix_list.parse()?)?;
                output.done()
            }
            Self::AddEntry { prefix_list, entries } => {
                let entries = parse_prefixes(&entries, output)?;
                let list = prefix_lists::add_entries(instance, &prefix_list.parse()?, entries)?;
                show_version(&list, output)
            }
            Self::RemoveEntry { prefix_list, entries } => {
                let entries = parse_prefixes(&entries, output)?;
                let list = prefix_lists::remove_entries(instance, &prefix_list.parse()?, &entries)?;
                show_version(&list, output)
            }
        }
    }
}

fn list_all(instance: &Instance, output: &mut Output) -> Result<(), CliError> {
    let lists = instance.read(|snapshot| Ok(snapshot.prefix_lists()?))?;
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

fn show(reference: &PrefixListReference, instance: &Instance, output: &mut Output) -> Result<(), CliError> {
    let lists = instance.read(|snapshot| Ok(snapshot.prefix_lists()?))?;
    let list = reference.find(&lists)?;
    if output.is_json() {
        return output.json(&json!({ "PrefixLists": [aws::ManagedPrefixList::new(list)] }));
    }
    output.line(format_args!("Prefix list id: {}", list.id))?;
    output.line(format_args!("Name:           {}", list.name))?;
    output.line(format_args!("Family:         {}", list.family))?;
    output.line(format_args!("Version:        {}", list.version))?;
    output.line(format_args!("Entries:        {} of at most {}", list.entries.len(), list.max_entries))?;
    output.line("")?;
    let mut table = Table::new(&["PREFIX"]);
    list.entries.iter().for_each(|entry| table.row([entry.to_string()]));
    output.table(&table)
}

fn show_version(list: &PrefixList, output: &mut Output) -> Result<(), CliError> {
    if output.is_json() {
        return output.json(&json!({ "PrefixList": aws::ManagedPrefixList::new(list) }));
    }
    output.line(list.version)
}

//! `sgfw group`: security groups and their declared members.

use clap::Subcommand;
use firewall_common::abi::Direction;
use ipnet::IpNet;
use serde_json::json;

use super::aws;
use super::call::Call;
use super::error::CliError;
use super::flows_option::{FlowsOption, done_with_flows};
use super::output::Output;
use super::rule::rule_table;
use super::table::Table;
use super::tag::{parse_tags, tag_texts};
use crate::model::{Cidr, Description, Filters, GroupFilter, GroupName, GroupReference, Tags};
use crate::operations::Instance;
use crate::operations::commands::groups;
use crate::operations::queries::groups::{self as queries, GroupRow};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Create a group that admits nothing in and everything out, and print its id
    #[command(after_help = "\
Examples:
  sgfw group create web --description \"web tier\"
  sgfw group create app --description \"app tier\" --tag Name=app --tag env=production")]
    Create {
        /// Name of the new group
        name: String,
        /// What the group is for
        #[arg(long, value_name = "TEXT")]
        description: String,
        /// A tag of the group; repeat it for more
        #[arg(long = "tag", value_name = "KEY=VALUE")]
        tags: Vec<String>,
    },
    /// List the groups
    ///
    /// Filters are those of AWS: description, group-id, group-name, tag:KEY, tag-key, and for what a rule of the group
    /// has ip-permission.X and egress.ip-permission.X, with X one of cidr, ipv6-cidr, from-port, to-port, protocol,
    /// group-id, group-name, prefix-list-id. Values of one filter are alternatives, filters must all hold, different ones
    /// by different rules if need be; * stands for any text.
    #[command(after_help = "\
Examples:
  sgfw group list
  sgfw group list --filter tag:env=production --filter ip-permission.cidr=0.0.0.0/0
  sgfw group list -o json | jq '.SecurityGroups[].GroupName'")]
    List {
        /// Show only what has the value; repeat it for more
        #[arg(long = "filter", value_name = "NAME=VALUE")]
        filters: Vec<String>,
    },
    /// Show a group with its rules, members and interfaces
    #[command(after_help = "\
Examples:
  sgfw group show web
  sgfw group show sg-0123456789abcdef0 -o json")]
    Show {
        /// Name, id or ARN
        group: String,
    },
    /// Delete a group that no interface carries and no other group refers to
    #[command(after_help = "\
Examples:
  sgfw group delete web")]
    Delete {
        /// Name, id or ARN
        group: String,
    },
    /// Declare addresses as members of a group: hosts that rules mean when they name the group as peer
    ///
    /// Addresses of interfaces that carry the group are members without being declared.
    #[command(after_help = "\
Examples:
  sgfw group add-member lb 10.0.1.10/32 2001:db8:1::10/128")]
    AddMember {
        /// Name, id or ARN
        group: String,
        /// Addresses
        #[arg(required = true, value_name = "PREFIX")]
        prefixes: Vec<String>,
    },
    /// Take declared members out of a group
    #[command(after_help = "\
Examples:
  sgfw group remove-member lb 10.0.1.10/32")]
    RemoveMember {
        /// Name, id or ARN
        group: String,
        /// Addresses, as they were declared
        #[arg(required = true, value_name = "PREFIX")]
        prefixes: Vec<String>,
        #[command(flatten)]
        flows: FlowsOption,
    },
}

impl Command {
    pub(super) fn run(self, call: Call<'_>, output: &mut Output) -> Result<(), CliError> {
        match self {
            Self::Create { name, description, tags } => {
                let mut all = Tags::default();
                all.set(parse_tags(&tags)?)?;
                create(name.parse()?, Description::of_group(&description)?, all, call, output)
            }
            Self::List { filters } => list(&Filters::parse(&filters)?, call.instance, output),
            Self::Show { group } => show(&group.parse()?, call.instance, output),
            Self::Delete { group } => {
                output.made(groups::delete(call.instance, call.options, &group.parse()?)?);
                output.done()
            }
            Self::AddMember { group, prefixes } => {
                let prefixes = parse_prefixes(&prefixes, output)?;
                output.made(groups::add_members(call.instance, call.options, &group.parse()?, &prefixes)?);
                output.done()
            }
            Self::RemoveMember { group, prefixes, flows } => {
                let prefixes = parse_prefixes(&prefixes, output)?;
                let options = flows.choose(call.options);
                let changed = groups::remove_members(call.instance, options, &group.parse()?, &prefixes)?;
                output.leftovers(&changed.leftovers);
                done_with_flows(&changed.orphaned_flows, options, output)
            }
        }
    }
}

/// Reads prefixes; host bits are cleared with a warning.
pub(super) fn parse_prefixes(texts: &[String], output: &Output) -> Result<Vec<IpNet>, CliError> {
    let cidrs = texts.iter().map(|text| text.parse()).collect::<Result<Vec<Cidr>, _>>()?;
    warn_about_host_bits(&cidrs, output);
    Ok(cidrs.into_iter().map(Cidr::canonical).collect())
}

/// An operator who wrote host bits may have meant one host.
fn warn_about_host_bits(cidrs: &[Cidr], output: &Output) {
    for cidr in cidrs.iter().filter(|cidr| cidr.has_host_bits()) {
        output.warn(format_args!(
            "{} has bits set beyond its prefix length; taken as {}, as AWS does",
            cidr.written(),
            cidr.canonical()
        ));
    }
}

fn create(
    name: GroupName,
    description: Description,
    tags: Tags,
    call: Call<'_>,
    output: &mut Output,
) -> Result<(), CliError> {
    let group = output.made(groups::create(call.instance, call.options, name, description, tags)?);
    if output.is_json() {
        return output.json(&json!({
            "GroupId": group.id.to_string(),
            "SecurityGroupArn": group.id.arn(),
            "Tags": aws::tags(&group.tags),
        }));
    }
    output.line(group.id)
}

fn list(filters: &Filters<GroupFilter>, instance: &Instance, output: &mut Output) -> Result<(), CliError> {
    let groups = queries::groups(instance, filters)?;
    if output.is_json() {
        let groups: Vec<_> = groups.iter().map(aws::Group::new).collect();
        return output.json(&json!({ "SecurityGroups": groups }));
    }
    let mut table =
        Table::new(&["GROUP ID", "NAME", "#INGRESS", "#EGRESS", "#MEMBERS", "INTERFACES", "DESCRIPTION"]);
    for GroupRow { group, members, carriers } in &groups {
        let rules =
            |direction| group.rules.iter().filter(|rule| rule.direction == direction).count().to_string();
        table.row([
            group.id.to_string(),
            group.name.to_string(),
            rules(Direction::Ingress),
            rules(Direction::Egress),
            members.len().to_string(),
            carriers.join(", "),
            group.description.to_string(),
        ]);
    }
    output.table(&table)
}

fn show(reference: &GroupReference, instance: &Instance, output: &mut Output) -> Result<(), CliError> {
    let (row, rules) = queries::group(instance, reference)?;
    if output.is_json() {
        return output.json(&json!({ "SecurityGroups": [aws::Group::new(&row)] }));
    }
    let GroupRow { group, members, carriers } = &row;
    let members: Vec<String> = members.iter().map(ToString::to_string).collect();
    output.line(format_args!("Group id:    {}", group.id))?;
    output.line(format_args!("Name:        {}", group.name))?;
    output.line(format_args!("Description: {}", group.description))?;
    output.line(format_args!("Tags:        {}", or_none(&tag_texts(&group.tags))))?;
    output.line(format_args!("Members:     {}", or_none(&members)))?;
    output.line(format_args!("Interfaces:  {}", or_none(carriers)))?;
    output.line("")?;
    output.table(&rule_table(&rules))
}

fn or_none(items: &[String]) -> String {
    if items.is_empty() { "none".to_owned() } else { items.join(", ") }
}

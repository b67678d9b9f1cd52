//! `sgfw rule`: rules of security groups.

mod arguments;
mod table;

use clap::{ArgGroup, Subcommand};
use serde_json::{Value, json};

use super::aws;
use super::call::Call;
use super::error::CliError;
use super::flows_option::{FlowsOption, add_flows, tell_flows};
use super::output::Output;
use super::tag::parse_tags;
use crate::model::{Description, Filters, GroupReference, RuleFilter, RuleId, SecurityRule, Tags};
use crate::operations::commands::rules::{self, Modification, RuleSelection};
use crate::operations::queries::rules::rules as rule_rows;
use crate::operations::queries::tracking::Tracking;
use crate::operations::{Changed, Instance};

use arguments::{PeerArguments, RuleArguments, ServiceArguments, warn_about_useless_rules};
pub(super) use table::{ports, rule_table};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Add rules to a group, one for each peer, all or none, and print their ids
    #[command(
        group(ArgGroup::new("needed_direction").args(["ingress", "egress"]).required(true)),
        group(ArgGroup::new("needed_protocol").args(["protocol"]).required(true)),
        group(
            ArgGroup::new("needed_peer").args(["cidr", "source_group", "prefix_list"]).multiple(true).required(true)
        ),
        after_help = "\
Examples:
  sgfw rule authorize web --ingress --protocol tcp --port 443 --cidr 0.0.0.0/0 --cidr ::/0
  sgfw rule authorize app --ingress --protocol tcp --port 8080 --source-group web
  sgfw rule authorize app --ingress --protocol icmp --icmp-type 8 --cidr 10.0.0.0/8 --description ping
  sgfw rule authorize app --egress --protocol all --prefix-list offices --tag ticket=NET-7"
    )]
    Authorize {
        /// Name, id or ARN of the group
        group: String,
        #[command(flatten)]
        rule: RuleArguments,
        /// What the rules are for
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
        /// A tag of each rule; repeat it for more
        #[arg(long = "tag", value_name = "KEY=VALUE")]
        tags: Vec<String>,
    },
    /// Remove rules, all or none: by id, or those of a group that have exactly the given properties
    ///
    /// Flows that a removed rule has admitted live on until they end or fall silent, as in AWS.
    #[command(after_help = "\
Examples:
  sgfw rule revoke sgr-0123456789abcdef0
  sgfw rule revoke web --ingress --protocol tcp --port 443 --cidr 0.0.0.0/0 --cidr ::/0
  sgfw rule revoke sgr-0123456789abcdef0 --flows cut --dry-run")]
    Revoke {
        /// Ids or ARNs of rules, or with --protocol the name, id or ARN of one group
        #[arg(required = true, value_name = "SGR|GROUP")]
        targets: Vec<String>,
        #[command(flatten)]
        rule: RuleArguments,
        #[command(flatten)]
        flows: FlowsOption,
    },
    /// Replace what a rule admits; it keeps its id, direction and tags
    ///
    /// As in AWS: the peer stays of its kind (an IPv4 prefix, an IPv6 prefix, a group or a prefix list), and a description
    /// that is left out is removed.
    #[command(
        group(ArgGroup::new("needed_protocol").args(["protocol"]).required(true)),
        group(
            ArgGroup::new("needed_peer").args(["cidr", "source_group", "prefix_list"]).multiple(true).required(true)
        ),
        after_help = "\
Examples:
  sgfw rule modify sgr-0123456789abcdef0 --protocol tcp --port 8443 --cidr 203.0.113.0/24 --description office"
    )]
    Modify {
        /// Id or ARN of the rule
        #[arg(value_name = "SGR")]
        rule: String,
        #[command(flatten)]
        service: ServiceArguments,
        #[command(flatten)]
        peers: PeerArguments,
        /// What the rule is for
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
        #[command(flatten)]
        flows: FlowsOption,
    },
    /// Replace the description of rules, all or none, or remove it where none is given
    #[command(after_help = "\
Examples:
  sgfw rule update-description sgr-0123456789abcdef0 --description \"office network\"
  sgfw rule update-description web --ingress --protocol tcp --port 443 --cidr 0.0.0.0/0")]
    UpdateDescription {
        /// Ids or ARNs of rules, or with --protocol the name, id or ARN of one group
        #[arg(required = true, value_name = "SGR|GROUP")]
        targets: Vec<String>,
        #[command(flatten)]
        rule: RuleArguments,
        /// What the rules are for
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
    },
    /// List the rules of a group, or of all
    ///
    /// TRACKING tells whether flows are kept for the traffic that a rule admits on the attached interfaces: `tracked`,
    /// `untracked` where AWS keeps none because both directions are open to any peer, `partly`, or `-` on no interface.
    ///
    /// Filters are group-id, security-group-rule-id and tag:KEY. Values of one filter are alternatives, filters must all
    /// hold; * stands for any text.
    #[command(after_help = "\
Examples:
  sgfw rule list
  sgfw rule list web
  sgfw rule list --filter tag:ticket=NET-7 --filter tag:ticket=NET-8
  sgfw rule list -o json | jq '.SecurityGroupRules[] | select(.IsEgress | not)'")]
    List {
        /// Name, id or ARN
        group: Option<String>,
        /// Show only what has the value; repeat it for more
        #[arg(long = "filter", value_name = "NAME=VALUE")]
        filters: Vec<String>,
    },
}

impl Command {
    pub(super) fn run(self, call: Call<'_>, output: &mut Output) -> Result<(), CliError> {
        match self {
            Self::Authorize { group, rule, description, tags } => {
                let description = parse_description(description)?;
                let mut all = Tags::default();
                all.set(parse_tags(&tags)?)?;
                authorize(&group.parse()?, &rule, description.as_ref(), &all, call, output)
            }
            Self::Revoke { targets, rule, flows } => {
                let options = flows.choose(call.options);
                let Changed { outcome: revoked, orphaned_flows, leftovers } =
                    rules::revoke(call.instance, options, &selection(&targets, &rule, output)?)?;
                output.leftovers(&leftovers);
                tell_flows(&orphaned_flows, options, output);
                if output.is_json() {
                    let revoked: Vec<_> = revoked.iter().map(aws::RevokedRule::new).collect();
                    let mut outcome = json!({ "Return": true, "RevokedSecurityGroupRules": revoked });
                    add_flows(&mut outcome, &orphaned_flows, options);
                    return output.json(&outcome);
                }
                revoked.iter().try_for_each(|rule| output.line(rule.id))
            }
            Self::Modify { rule, service, peers, description, flows } => {
                let description = parse_description(description)?;
                let (service, peers) = (service.parse(output)?, peers.parse(output)?);
                warn_about_useless_rules(service, &peers, call.instance, output)?;
                let modification = Modification { service, peers, description };
                let options = flows.choose(call.options);
                let Changed { outcome: rule, orphaned_flows, leftovers } =
                    rules::modify(call.instance, options, rule.parse()?, &modification)?;
                output.leftovers(&leftovers);
                tell_flows(&orphaned_flows, options, output);
                if output.is_json() {
                    let mut outcome = rules_json(&[rule]);
                    add_flows(&mut outcome, &orphaned_flows, options);
                    return output.json(&outcome);
                }
                output.line(rule.id)
            }
            Self::UpdateDescription { targets, rule, description } => {
                let description = parse_description(description)?;
                let selection = selection(&targets, &rule, output)?;
                show_changed(
                    &output.made(rules::describe(
                        call.instance,
                        call.options,
                        &selection,
                        description.as_ref(),
                    )?),
                    output,
                )
            }
            Self::List { group, filters } => {
                let group: Option<GroupReference> = group.map(|group| group.parse()).transpose()?;
                list(group.as_ref(), &Filters::parse(&filters)?, call.instance, output)
            }
        }
    }
}

/// AWS: an empty description is none.
fn parse_description(text: Option<String>) -> Result<Option<Description>, CliError> {
    Ok(text.filter(|text| !text.is_empty()).map(|text| text.parse()).transpose()?)
}

/// Rules by id, or those of a group by their properties.
fn selection(targets: &[String], rule: &RuleArguments, output: &Output) -> Result<RuleSelection, CliError> {
    match (rule.request(output)?, targets) {
        (Some(request), [group]) => Ok(RuleSelection::Properties(group.parse()?, request)),
        (Some(_), _) => Err(CliError::Usage("rules are named by properties in one group at a time")),
        (None, ids) => {
            Ok(RuleSelection::Ids(ids.iter().map(|id| id.parse()).collect::<Result<Vec<RuleId>, _>>()?))
        }
    }
}

fn authorize(
    group: &GroupReference,
    rule: &RuleArguments,
    description: Option<&Description>,
    tags: &Tags,
    call: Call<'_>,
    output: &mut Output,
) -> Result<(), CliError> {
    let request = rule.request(output)?.ok_or(CliError::Usage("--ingress or --egress is missing"))?;
    warn_about_useless_rules(request.service, &request.peers, call.instance, output)?;
    show_changed(
        &output.made(rules::authorize(call.instance, call.options, group, &request, description, tags)?),
        output,
    )
}

/// Rules as they are now.
fn show_changed(rules: &[SecurityRule], output: &mut Output) -> Result<(), CliError> {
    if output.is_json() {
        return output.json(&rules_json(rules));
    }
    rules.iter().try_for_each(|rule| output.line(rule.id))
}

fn rules_json(rules: &[SecurityRule]) -> Value {
    let rules: Vec<_> = rules.iter().map(aws::Rule::new).collect();
    json!({ "Return": true, "SecurityGroupRules": rules })
}

fn list(
    group: Option<&GroupReference>,
    filters: &Filters<RuleFilter>,
    instance: &Instance,
    output: &mut Output,
) -> Result<(), CliError> {
    let rules = rule_rows(instance, group, filters)?;
    if output.is_json() {
        let rules: Vec<_> = rules
            .iter()
            .map(|row| aws::ListedRule::new(&row.rule, row.tracking.map(Tracking::name)))
            .collect();
        return output.json(&json!({ "SecurityGroupRules": rules }));
    }
    output.table(&rule_table(&rules))
}

//! `sgfw rule`: rules of security groups.

use std::collections::BTreeMap;

use clap::{ArgGroup, Args, Subcommand};
use firewall_common::abi::Direction;
use serde_json::json;

use super::aws;
use super::error::CliError;
use super::group::{names, parse_prefixes};
use super::output::Output;
use super::table::Table;
use crate::apply::Instance;
use crate::apply::rules::{self, Peers, RuleRequest};
use crate::apply::status::{self, Tracking};
use crate::model::{
    Cidr, Description, GroupReference, IcmpSelector, Peer, PortRange, PrefixList, Protocol, RuleId,
    SecurityGroup, SecurityRule, Service,
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Add rules to a group, one for each peer, all or none, and print their ids
    #[command(
        group(ArgGroup::new("needed_direction").args(["ingress", "egress"]).required(true)),
        group(ArgGroup::new("needed_protocol").args(["protocol"]).required(true)),
        group(ArgGroup::new("needed_peer").args(["cidr", "source_group", "prefix_list"]).required(true)),
        after_help = "\
Examples:
  sgfw rule authorize web --ingress --protocol tcp --port 443 --cidr 0.0.0.0/0 --cidr ::/0
  sgfw rule authorize app --ingress --protocol tcp --port 8080 --source-group web
  sgfw rule authorize app --ingress --protocol icmp --icmp-type 8 --cidr 10.0.0.0/8 --description ping
  sgfw rule authorize app --egress --protocol all --prefix-list offices"
    )]
    Authorize {
        /// Name or id of the group
        group: String,
        #[command(flatten)]
        rule: RuleArguments,
        /// What the rules are for
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
    },
    /// Remove rules, all or none: by id, or those of a group that have exactly the given properties
    ///
    /// Flows that a removed rule has admitted live on until they end or fall silent, as in AWS.
    #[command(after_help = "\
Examples:
  sgfw rule revoke sgr-0123456789abcdef0
  sgfw rule revoke web --ingress --protocol tcp --port 443 --cidr 0.0.0.0/0 --cidr ::/0")]
    Revoke {
        /// Ids of rules, or with --protocol the name or id of one group
        #[arg(required = true, value_name = "SGR|GROUP")]
        targets: Vec<String>,
        #[command(flatten)]
        rule: RuleArguments,
    },
    /// List the rules of a group, or of all
    ///
    /// TRACKING tells whether flows are kept for the traffic that a rule admits on the attached interfaces: `tracked`,
    /// `untracked` where AWS keeps none because both directions are open to any peer, `partly`, or `-` on no interface.
    #[command(after_help = "\
Examples:
  sgfw rule list
  sgfw rule list web
  sgfw rule list -o json | jq '.SecurityGroupRules[] | select(.IsEgress | not)'")]
    List {
        /// Name or id
        group: Option<String>,
    },
}

/// The properties of rules.
#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("direction").args(["ingress", "egress"]).requires_all(["protocol", "peer"])),
    group(ArgGroup::new("peer").args(["cidr", "source_group", "prefix_list"]).requires_all(["protocol", "direction"])),
)]
pub(super) struct RuleArguments {
    /// Traffic that arrives
    #[arg(long)]
    ingress: bool,
    /// Traffic that leaves
    #[arg(long)]
    egress: bool,
    /// tcp, udp, icmp, icmpv6, all, or a protocol number
    #[arg(long, requires_all = ["direction", "peer"])]
    protocol: Option<String>,
    /// Destination port or ports, for tcp and udp
    #[arg(long, value_name = "P|P-Q", requires = "protocol")]
    port: Option<String>,
    /// ICMP type, and code; every one if left out
    #[arg(long, value_name = "T[/CODE]", requires = "protocol", allow_hyphen_values = true)]
    icmp_type: Option<String>,
    /// The other end: an address prefix. Repeat it for more rules
    #[arg(long, value_name = "PREFIX")]
    cidr: Vec<String>,
    /// The other end: the members of a group, given by name or id
    #[arg(long, value_name = "GROUP")]
    source_group: Option<String>,
    /// The other end: the entries of a prefix list, given by name or id
    #[arg(long, value_name = "PREFIX-LIST")]
    prefix_list: Option<String>,
}

impl Command {
    pub(super) fn run(self, instance: &Instance, output: &mut Output) -> Result<(), CliError> {
        match self {
            Self::Authorize { group, rule, description } => {
                let description: Option<Description> = description.map(|text| text.parse()).transpose()?;
                authorize(&group.parse()?, &rule, description.as_ref(), instance, output)
            }
            Self::Revoke { targets, rule } => revoke(&targets, &rule, instance, output),
            Self::List { group } => {
                let group: Option<GroupReference> = group.map(|group| group.parse()).transpose()?;
                list(group.as_ref(), instance, output)
            }
        }
    }
}

impl RuleArguments {
    /// `None` if there are none: clap has seen that they come together.
    fn request(&self, output: &Output) -> Result<Option<RuleRequest>, CliError> {
        let Some(protocol) = &self.protocol else {
            return Ok(None);
        };
        let protocol: Protocol = protocol.parse()?;
        let ports: Option<PortRange> = self.port.as_deref().map(str::parse).transpose()?;
        let icmp: Option<IcmpSelector> = self.icmp_type.as_deref().map(str::parse).transpose()?;
        let service = Service::new(protocol, ports, icmp)?;
        let direction = if self.egress { Direction::Egress } else { Direction::Ingress };
        Ok(Some(RuleRequest { direction, service, peers: self.peers(output)? }))
    }

    fn peers(&self, output: &Output) -> Result<Peers, CliError> {
        if let Some(group) = &self.source_group {
            return Ok(Peers::Group(group.parse()?));
        }
        if let Some(list) = &self.prefix_list {
            return Ok(Peers::PrefixList(list.parse()?));
        }
        Ok(Peers::Cidrs(parse_prefixes(&self.cidr, output)?))
    }
}

/// Rules for people.
pub(super) fn rule_table(
    rules: &[SecurityRule],
    groups: &[SecurityGroup],
    prefix_lists: &[PrefixList],
    tracking: &BTreeMap<RuleId, Tracking>,
) -> Table {
    let group_names = names(groups);
    let mut table = Table::new(&[
        "RULE ID",
        "GROUP",
        "DIRECTION",
        "PROTOCOL",
        "PORTS",
        "PEER",
        "TRACKING",
        "DESCRIPTION",
    ]);
    for rule in rules {
        let peer_name = match rule.peer {
            Peer::Cidr(_) => None,
            Peer::Group(id) => group_names.get(&id).cloned(),
            Peer::PrefixList(id) => {
                prefix_lists.iter().find(|list| list.id == id).map(|list| list.name.to_string())
            }
        };
        table.row([
            rule.id.to_string(),
            group_names.get(&rule.group).cloned().unwrap_or_default(),
            rule.direction.name().to_owned(),
            rule.service.protocol().to_string(),
            ports(rule.service),
            peer_name.map_or_else(|| rule.peer.to_string(), |name| format!("{} ({name})", rule.peer)),
            tracking.get(&rule.id).map_or("-", |tracking| tracking.name()).to_owned(),
            rule.description.as_ref().map(ToString::to_string).unwrap_or_default(),
        ]);
    }
    table
}

/// The ports, or the ICMP type and code, for people.
pub(super) fn ports(service: Service) -> String {
    match (service.ports(), service.icmp()) {
        (Some(ports), _) if ports == PortRange::ALL => "all".to_owned(),
        (Some(ports), _) => ports.to_string(),
        (None, Some(IcmpSelector::Type(icmp_type))) => format!("type {icmp_type}"),
        (None, Some(IcmpSelector::TypeCode(icmp_type, code))) => format!("type {icmp_type} code {code}"),
        (None, Some(IcmpSelector::All) | None) => "all".to_owned(),
    }
}

/// An operator who wrote host bits may have meant one host.
pub(super) fn warn_about_host_bits(cidrs: &[Cidr], output: &Output) {
    for cidr in cidrs.iter().filter(|cidr| cidr.has_host_bits()) {
        output.warn(format_args!(
            "{} has bits set beyond its prefix length; taken as {}, as AWS does",
            cidr.written(),
            cidr.canonical()
        ));
    }
}

fn authorize(
    group: &GroupReference,
    rule: &RuleArguments,
    description: Option<&Description>,
    instance: &Instance,
    output: &mut Output,
) -> Result<(), CliError> {
    let request = rule.request(output)?.ok_or(CliError::Usage("--protocol is missing"))?;
    if request.service.is_echo_that_never_occurs() {
        output.warn("echo requests and replies have code 0; a rule for another code admits no ping");
    }
    let rules = rules::authorize(instance, group, &request, description)?;
    if output.is_json() {
        let rules: Vec<_> = rules.iter().map(aws::Rule::new).collect();
        return output.json(&json!({ "Return": true, "SecurityGroupRules": rules }));
    }
    rules.iter().try_for_each(|rule| output.line(rule.id))
}

fn revoke(
    targets: &[String],
    rule: &RuleArguments,
    instance: &Instance,
    output: &mut Output,
) -> Result<(), CliError> {
    let revoked = match (rule.request(output)?, targets) {
        (Some(request), [group]) => rules::revoke(instance, &group.parse()?, &request)?,
        (Some(_), _) => {
            return Err(CliError::Usage("rules are revoked by properties from one group at a time"));
        }
        (None, ids) => {
            let ids = ids.iter().map(|id| id.parse()).collect::<Result<Vec<RuleId>, _>>()?;
            rules::revoke_by_id(instance, &ids)?
        }
    };
    if output.is_json() {
        let revoked: Vec<_> = revoked.iter().map(aws::RevokedRule::new).collect();
        return output.json(&json!({ "Return": true, "RevokedSecurityGroupRules": revoked }));
    }
    revoked.iter().try_for_each(|rule| output.line(rule.id))
}

fn list(group: Option<&GroupReference>, instance: &Instance, output: &mut Output) -> Result<(), CliError> {
    let (groups, prefix_lists) =
        instance.read(|snapshot| Ok((snapshot.groups()?, snapshot.prefix_lists()?)))?;
    let rules = match group {
        Some(reference) => reference.find(&groups)?.rules.clone(),
        None => groups.iter().flat_map(|group| group.rules.clone()).collect(),
    };
    let tracking = status::tracking(instance)?;
    if output.is_json() {
        let rules: Vec<_> = rules
            .iter()
            .map(|rule| aws::ListedRule::new(rule, tracking.get(&rule.id).map(|tracking| tracking.name())))
            .collect();
        return output.json(&json!({ "SecurityGroupRules": rules }));
    }
    output.table(&rule_table(&rules, &groups, &prefix_lists, &tracking))
}

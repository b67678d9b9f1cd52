//! How rules are described on the command line, and what is noteworthy about a description.

use clap::{ArgGroup, Args};
use firewall_common::abi::Direction;

use super::super::error::CliError;
use super::super::group::parse_prefixes;
use super::super::output::Output;
use crate::model::{AddressFamily, IcmpSelector, PortRange, Protocol, Service};
use crate::operations::Instance;
use crate::operations::commands::rules::{Peers, RuleRequest};
use crate::operations::queries::prefix_lists::prefix_lists;

/// The properties of rules, all of them or none.
#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("direction").args(["ingress", "egress"]).requires_all(["protocol", "peer"])),
    group(ArgGroup::new("service").args(["protocol"]).requires_all(["direction", "peer"])),
    group(
        ArgGroup::new("other_end")
            .args(["cidr", "source_group", "prefix_list"])
            .multiple(true)
            .requires_all(["protocol", "direction"])
    ),
)]
pub(in crate::cli) struct RuleArguments {
    /// Traffic that arrives
    #[arg(long)]
    ingress: bool,
    /// Traffic that leaves
    #[arg(long)]
    egress: bool,
    #[command(flatten)]
    service: ServiceArguments,
    #[command(flatten)]
    peers: PeerArguments,
}

/// Protocol, and ports or ICMP type and code.
#[derive(Debug, Args)]
pub(in crate::cli) struct ServiceArguments {
    /// tcp, udp, icmp, icmpv6, all, or a protocol number
    #[arg(long, allow_hyphen_values = true)]
    protocol: Option<String>,
    /// Destination port or ports, for tcp and udp
    #[arg(long, value_name = "P|P-Q", requires = "protocol", allow_hyphen_values = true)]
    port: Option<String>,
    /// ICMP type, and code; every one if left out
    #[arg(long, value_name = "T[/CODE]", requires = "protocol", allow_hyphen_values = true)]
    icmp_type: Option<String>,
}

/// The other ends, a rule for each.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("peer").args(["cidr", "source_group", "prefix_list"]).multiple(true)))]
pub(in crate::cli) struct PeerArguments {
    /// The other end: an address prefix. Repeat it for more rules
    #[arg(long, value_name = "PREFIX")]
    cidr: Vec<String>,
    /// The other end: the members of a group, given by name, id or ARN. Repeat it for more rules
    #[arg(long, value_name = "GROUP")]
    source_group: Vec<String>,
    /// The other end: the entries of a prefix list, given by name, id or ARN. Repeat it for more rules
    #[arg(long, value_name = "PREFIX-LIST")]
    prefix_list: Vec<String>,
}

impl RuleArguments {
    /// `None` if there are none: clap has seen that they come together.
    pub(super) fn request(&self, output: &Output) -> Result<Option<RuleRequest>, CliError> {
        if !self.ingress && !self.egress {
            return Ok(None);
        }
        let direction = if self.egress { Direction::Egress } else { Direction::Ingress };
        let (service, peers) = (self.service.parse(output)?, self.peers.parse(output)?);
        Ok(Some(RuleRequest { direction, service, peers }))
    }
}

impl ServiceArguments {
    pub(super) fn parse(&self, output: &Output) -> Result<Service, CliError> {
        let protocol = self.protocol.as_deref().ok_or(CliError::Usage("--protocol is missing"))?;
        let protocol: Protocol = protocol.parse()?;
        let mut ports: Option<PortRange> = self.port.as_deref().map(str::parse).transpose()?;
        if ports.is_some() && protocol.ignores_ports() {
            output.warn(format_args!(
                "a rule for protocol {protocol} means every port; --port is ignored, as AWS does"
            ));
            ports = None;
        }
        let icmp: Option<IcmpSelector> = self.icmp_type.as_deref().map(str::parse).transpose()?;
        Ok(Service::new(protocol, ports, icmp)?)
    }
}

impl PeerArguments {
    pub(super) fn parse(&self, output: &Output) -> Result<Peers, CliError> {
        Ok(Peers {
            cidrs: parse_prefixes(&self.cidr, output)?,
            groups: self.source_group.iter().map(|group| group.parse()).collect::<Result<_, _>>()?,
            prefix_lists: self.prefix_list.iter().map(|list| list.parse()).collect::<Result<_, _>>()?,
        })
    }
}

/// AWS takes rules that admit nothing without a word.
pub(super) fn warn_about_useless_rules(
    service: Service,
    peers: &Peers,
    instance: &Instance,
    output: &Output,
) -> Result<(), CliError> {
    if service.has_code_that_never_occurs() {
        output.warn(format_args!(
            "no host sends such an {} message, the rule admits nothing; without the code it admits all of the type, and \
             a ping is type 8 (icmpv6: 128) code 0",
            service.protocol()
        ));
    }
    let mut families: Vec<(String, AddressFamily)> =
        peers.cidrs.iter().map(|prefix| (prefix.to_string(), AddressFamily::of(prefix))).collect();
    if !peers.prefix_lists.is_empty() {
        let lists = prefix_lists(instance)?;
        for reference in &peers.prefix_lists {
            families.push((reference.to_string(), reference.find(&lists)?.family));
        }
    }
    for (peer, family) in families.into_iter().filter(|(_, family)| !service.is_of(*family)) {
        output.warn(format_args!(
            "{family} has no {}, the rule for {peer} admits nothing; icmp is a protocol of IPv4, icmpv6 of IPv6",
            service.protocol()
        ));
    }
    Ok(())
}

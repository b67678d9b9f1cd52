//! The chain of one interface in one direction.

use std::collections::BTreeMap;

use firewall_common::abi::Direction;
use ipnet::IpNet;

use super::sets::{Family, PeerSet, Sets};
use super::{difference, line};
use crate::interchange::omission::{NftablesDifference, Omissions};
use crate::model::{
    DocumentGroup, DocumentInterface, DocumentPeer, Exemptions, IcmpErrors, IcmpSelector, InterfaceOptions,
    PortRange, Service,
};

/// Admits live connections, exempt traffic, and what a rule of any of the groups admits; drops the rest.
pub(super) fn chain(
    name: &str,
    interface: &DocumentInterface,
    groups: &[&DocumentGroup],
    direction: Direction,
    sets: &mut Sets<'_>,
    omissions: &mut Omissions,
) -> String {
    let options = interface.options.clone().unwrap_or_default();
    let mut chain = format!("\tchain {name} {{\n");
    add_tracking(&mut chain, &options);
    add_exemptions(&mut chain, options.exemptions, direction);
    for (service, peers) in by_service(groups, direction) {
        let mut prefixes = Vec::new();
        for peer in peers {
            let set = match peer {
                DocumentPeer::Cidr(prefix) => {
                    prefixes.push(*prefix);
                    continue;
                }
                DocumentPeer::Group(group) => {
                    if sets.is_carried(group) {
                        let peer = format!("peer {group}");
                        difference(omissions, interface, &peer, NftablesDifference::CarriedGroupAsPeer);
                    }
                    sets.of_group(group)
                }
                DocumentPeer::PrefixList(list) => sets.of_prefix_list(list),
            };
            match set {
                Some(set) => add_rule(&mut chain, direction, service, &set),
                None => {
                    let peer = format!("peer {}", peer_name(peer));
                    difference(omissions, interface, &peer, NftablesDifference::UnknownPeer);
                }
            }
        }
        add_rule(&mut chain, direction, service, &PeerSet::Listed(prefixes));
    }
    line(&mut chain, "counter drop");
    chain + "\t}\n\n"
}

/// Live connections, and errors about them.
fn add_tracking(chain: &mut String, options: &InterfaceOptions) {
    line(
        chain,
        match options.icmp_errors {
            IcmpErrors::Related => "ct state { established, related } return",
            IcmpErrors::RulesOnly => "ct state established return",
        },
    );
    if options.tcp_strict {
        line(chain, "tcp flags & (fin | syn | rst | ack) != syn drop");
    }
}

/// What a host loses its address or its neighbours without.
fn add_exemptions(chain: &mut String, exemptions: Exemptions, direction: Direction) {
    if exemptions.neighbor_discovery {
        line(
            chain,
            "icmpv6 type { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, nd-redirect } \
             icmpv6 code 0 ip6 hoplimit 255 return",
        );
    }
    if exemptions.multicast_listener {
        line(
            chain,
            "icmpv6 type { mld-listener-query, mld-listener-report, mld-listener-done, mld2-listener-report } \
             ip6 hoplimit 1 return",
        );
    }
    if exemptions.dhcp_client {
        let (v4, v6) = match direction {
            Direction::Ingress => ("udp sport 67 udp dport 68", "udp sport 547 udp dport 546"),
            Direction::Egress => ("udp sport 68 udp dport 67", "udp sport 546 udp dport 547"),
        };
        line(chain, &format!("meta nfproto ipv4 {v4} return"));
        line(chain, &format!("meta nfproto ipv6 {v6} return"));
    }
}

/// The peers of the rules of all the groups, by service.
fn by_service<'g>(
    groups: &[&'g DocumentGroup],
    direction: Direction,
) -> BTreeMap<Service, Vec<&'g DocumentPeer>> {
    let mut by_service: BTreeMap<Service, Vec<&DocumentPeer>> = BTreeMap::new();
    let rules = groups.iter().flat_map(|group| &group.rules);
    for rule in rules.filter(|rule| rule.direction == direction) {
        by_service.entry(rule.service).or_default().push(&rule.peer);
    }
    by_service
}

/// A line for each family that both the service and the set have.
fn add_rule(chain: &mut String, direction: Direction, service: Service, set: &PeerSet) {
    for family in Family::ALL.into_iter().filter(|family| service.is_of(family.address_family())) {
        if let Some(peer) = set.expression(family, direction) {
            let words: Vec<String> = [peer, expression(service), "return".to_owned()]
                .into_iter()
                .filter(|word| !word.is_empty())
                .collect();
            line(chain, &words.join(" "));
        }
    }
}

fn expression(service: Service) -> String {
    match service {
        Service::All => String::new(),
        Service::Tcp(ports) => ports_expression("tcp", ports),
        Service::Udp(ports) => ports_expression("udp", ports),
        Service::Icmp(selector) => icmp_expression("icmp", "icmp", selector),
        Service::Icmpv6(selector) => icmp_expression("icmpv6", "ipv6-icmp", selector),
        Service::Protocol(protocol) => format!("meta l4proto {}", protocol.number()),
    }
}

fn ports_expression(protocol: &str, ports: PortRange) -> String {
    if ports == PortRange::ALL {
        return format!("meta l4proto {protocol}");
    }
    format!("{protocol} dport {ports}")
}

fn icmp_expression(name: &str, protocol: &str, selector: IcmpSelector) -> String {
    match selector {
        IcmpSelector::All => format!("meta l4proto {protocol}"),
        IcmpSelector::Type(icmp_type) => format!("{name} type {icmp_type}"),
        IcmpSelector::TypeCode(icmp_type, code) => format!("{name} type {icmp_type} {name} code {code}"),
    }
}

fn peer_name(peer: &DocumentPeer) -> String {
    match peer {
        DocumentPeer::Cidr(prefix) => IpNet::to_string(prefix),
        DocumentPeer::Group(group) => group.to_string(),
        DocumentPeer::PrefixList(list) => list.to_string(),
    }
}

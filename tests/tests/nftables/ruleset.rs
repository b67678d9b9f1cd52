//! A policy as a ruleset of nftables, for a router between the host and everybody else.

use firewall_common::abi::Direction;
use firewall_tests::scenario::{Peer, Policy, Rule};
use firewall_userspace::model::{IcmpSelector, PortRange, Service};
use ipnet::IpNet;

use super::network::{INSIDE, MARKER_PORT, OUTSIDE};

/// The ruleset, in the place of whatever is in force.
pub(crate) fn ruleset(policy: &Policy) -> String {
    let carried = policy.interfaces.values().flat_map(|interface| &interface.groups);
    let rules = carried.filter_map(|name| policy.groups.get(name)).flat_map(|group| &group.rules);
    let mut accepts = Vec::new();
    for rule in rules {
        accepts.extend(peers(policy, &rule.peer).iter().filter_map(|peer| accept(rule, *peer)));
    }
    format!(
        "flush ruleset\n\
         table inet filter {{\n\
         chain forward {{\n\
         type filter hook forward priority filter\n\
         policy drop\n\
         udp sport {MARKER_PORT} udp dport {MARKER_PORT} accept\n\
         ct state established,related accept\n\
         {}\n\
         }}\n\
         }}\n",
        accepts.join("\n")
    )
}

fn peers(policy: &Policy, peer: &Peer) -> Vec<IpNet> {
    match peer {
        Peer::Cidr(prefix) => vec![*prefix],
        Peer::Group(name) => policy.groups.get(name).map(|group| group.members.clone()).unwrap_or_default(),
        Peer::PrefixList(name) => policy.prefix_lists.get(name).cloned().unwrap_or_default(),
    }
}

/// A rule for one prefix; none where the protocol is not of the prefix's family.
fn accept(rule: &Rule, peer: IpNet) -> Option<String> {
    let (link, side) = match rule.direction {
        Direction::Ingress => (OUTSIDE, "saddr"),
        Direction::Egress => (INSIDE, "daddr"),
    };
    let is_ipv6 = peer.addr().is_ipv6();
    let peer = match (peer.prefix_len(), is_ipv6) {
        (0, false) => "meta nfproto ipv4".to_owned(),
        (0, true) => "meta nfproto ipv6".to_owned(),
        (_, false) => format!("ip {side} {peer}"),
        (_, true) => format!("ip6 {side} {peer}"),
    };
    let service = match rule.service {
        Service::All => String::new(),
        Service::Tcp(range) => ports("tcp", range),
        Service::Udp(range) => ports("udp", range),
        Service::Icmp(selector) if !is_ipv6 => icmp("icmp", "icmp", selector),
        Service::Icmpv6(selector) if is_ipv6 => icmp("icmpv6", "ipv6-icmp", selector),
        Service::Icmp(_) | Service::Icmpv6(_) => return None,
        Service::Protocol(protocol) => format!("meta l4proto {}", protocol.number()),
    };
    Some(format!("iifname to-{link} {peer} {service} accept"))
}

fn ports(protocol: &str, range: PortRange) -> String {
    if range == PortRange::ALL {
        return format!("meta l4proto {protocol}");
    }
    format!("{protocol} dport {}-{}", range.first(), range.last())
}

fn icmp(name: &str, protocol: &str, selector: IcmpSelector) -> String {
    match selector {
        IcmpSelector::All => format!("meta l4proto {protocol}"),
        IcmpSelector::Type(icmp_type) => format!("{name} type {icmp_type}"),
        IcmpSelector::TypeCode(icmp_type, code) => format!("{name} type {icmp_type} {name} code {code}"),
    }
}

//! Random policies within what an nftables ruleset can say the same way.

use std::collections::BTreeMap;

use firewall_common::abi::Direction;
use firewall_tests::scenario::{Group, Interface, Peer, Policy, Rule};
use firewall_userspace::model::{IcmpSelector, InterfaceOptions, PortRange, Service};
use ipnet::IpNet;
use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use super::conversations::SERVER_PORTS;

const GROUPS: [&str; 3] = [Policy::MAIN_GROUP, "g1", "g2"];
const LIST: &str = "pl-1";
const PREFIXES: [&str; 12] = [
    "0.0.0.0/0",
    "0.0.0.0/0",
    "203.0.113.0/24",
    "203.0.113.5/32",
    "198.51.100.0/25",
    "10.0.0.0/8",
    "128.0.0.0/1",
    "::/0",
    "::/0",
    "2001:db8:1::/48",
    "2001:db8::/32",
    "2001:db8:ffff::5/128",
];

/// A policy of up to three groups, all of which one interface carries.
pub(crate) fn policy(random: &mut StdRng) -> Policy {
    let mut groups = BTreeMap::new();
    for name in &GROUPS[..random.random_range(1..=GROUPS.len())] {
        let members = (0..random.random_range(0..3)).map(|_| prefix(random)).collect();
        let rules = (0..random.random_range(0..6)).map(|_| rule(random)).collect();
        groups.insert((*name).to_owned(), Group { members, rules });
    }
    let interface =
        Interface { zone: 1, groups: groups.keys().cloned().collect(), options: InterfaceOptions::default() };
    // The entries of a list are of one family.
    let mut entries: Vec<IpNet> = (0..random.random_range(0..4)).map(|_| prefix(random)).collect();
    entries.retain(|entry| entry.addr().is_ipv4());
    Policy {
        interfaces: BTreeMap::from([(0, interface)]),
        groups,
        prefix_lists: BTreeMap::from([(LIST.to_owned(), entries)]),
        ..Policy::default()
    }
}

fn rule(random: &mut StdRng) -> Rule {
    let direction = if random.random_bool(0.5) { Direction::Ingress } else { Direction::Egress };
    let peer = match random.random_range(0..10) {
        0..7 => Peer::Cidr(prefix(random)),
        7..9 => Peer::Group(pick(random, &GROUPS).to_owned()),
        _ => Peer::PrefixList(LIST.to_owned()),
    };
    Rule { direction, service: service(random), peer }
}

fn service(random: &mut StdRng) -> Service {
    let (a, b) = (pick(random, &SERVER_PORTS), pick(random, &SERVER_PORTS));
    let ports = match random.random_range(0..4) {
        0 => PortRange::ALL,
        1 => PortRange::new(a.min(b), a.max(b)).unwrap(),
        _ => PortRange::new(a, a).unwrap(),
    };
    match random.random_range(0..10) {
        0 => Service::All,
        1..5 => Service::Tcp(ports),
        5..8 => Service::Udp(ports),
        8 => Service::Icmp(pick(
            random,
            &[IcmpSelector::All, IcmpSelector::Type(8), IcmpSelector::TypeCode(8, 0)],
        )),
        _ => Service::Icmpv6(pick(
            random,
            &[IcmpSelector::All, IcmpSelector::Type(128), IcmpSelector::TypeCode(1, 4)],
        )),
    }
}

fn prefix(random: &mut StdRng) -> IpNet {
    pick(random, &PREFIXES).parse().unwrap()
}

fn pick<T: Copy>(random: &mut StdRng, from: &[T]) -> T {
    *from.choose(random).expect("nothing is picked from an empty list")
}

//! Large policies: a prefix list of a hundred thousand entries beside a wide rule around them all, and twenty thousand rules.
//! Each entry and each rule counts, and nothing between them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use firewall_common::abi::{Direction, HALVES, map};
use firewall_common::reason::Reason;
use firewall_tests::packets::{Frame, Packet, Transport};
use firewall_tests::prog::{Harness, Ingress, can_load_programs};
use firewall_tests::scenario::{Arrival, Firewall as _, Peer, Policy, Rule};
use firewall_userspace::model::{PortRange, Service};
use ipnet::IpNet;

const ENTRIES: u32 = 100_000;
/// With `SGFW_SOAK=1`.
const ENTRIES_OF_SOAK: u32 = 1_000_000;

const RULES: u32 = 20_000;
/// The ports that the rules are for by turns.
const PORTS: u32 = 20;

/// How many entries and rules are probed.
const PROBED: usize = 100;

/// What a prefix may take in the kernel, and what a cell may, in each of the two halves (`docs/decisions.md`, "Targets").
const BYTES_PER_PREFIX: u64 = 200 * HALVES as u64;
const BYTES_PER_CELL: u64 = 64 * HALVES as u64;

/// Open to the list.
const LISTED: u16 = 443;
/// Open to the prefix around it.
const WIDE: u16 = 53;
/// The first one that is open to hosts of [`RULES`].
const FIRST_PORT: u16 = 1000;

const FAMILIES: [(&str, &str); 2] = [("pl-v4", "10.0.0.0/8"), ("pl-v6", "2001:db8::/32")];

#[test]
fn every_entry_of_a_long_prefix_list_counts() {
    if !can_load_programs() {
        return;
    }
    let is_soak = std::env::var_os("SGFW_SOAK").is_some_and(|value| value == "1");
    let entries = if is_soak { ENTRIES_OF_SOAK } else { ENTRIES };
    let mut harness = Harness::new(Ingress::Xdp).unwrap();
    harness.publish(&lists(entries)).unwrap();
    for map in [map::ADDRESSES_V4, map::INTERVALS_V4, map::ADDRESSES_V6] {
        let bytes = harness.memory_of(map).unwrap();
        assert!(bytes <= BYTES_PER_PREFIX * u64::from(entries), "{map} has {bytes} bytes");
    }
    for entry in (0..entries).step_by(entries as usize / PROBED).chain([entries - 1]) {
        for is_ipv6 in [false, true] {
            for (place, expected) in
                [(0, Reason::Rule), (1, Reason::Rule), (2, Reason::NoRule), (3, Reason::NoRule)]
            {
                let peer = address(is_ipv6, 4 * entry + place);
                assert_eq!(decide(&mut harness, peer, LISTED), expected, "{peer}");
                assert_eq!(decide(&mut harness, peer, WIDE), Reason::Rule, "{peer}");
            }
        }
    }
}

#[test]
fn every_one_of_many_rules_counts_for_its_port() {
    if !can_load_programs() {
        return;
    }
    let mut harness = Harness::new(Ingress::Xdp).unwrap();
    harness.publish(&rules()).unwrap();
    let bytes = harness.memory_of(map::CELLS).unwrap();
    assert!(bytes <= BYTES_PER_CELL * u64::from(2 * RULES), "the cells have {bytes} bytes");
    for rule in (0..RULES).step_by(RULES as usize / PROBED).chain([RULES - 1]) {
        for is_ipv6 in [false, true] {
            let host = address(is_ipv6, rule);
            assert_eq!(decide(&mut harness, host, port(rule)), Reason::Rule, "{host}");
            assert_eq!(decide(&mut harness, host, port(rule + 1)), Reason::NoRule, "{host}");
        }
    }
    for is_ipv6 in [false, true] {
        assert_eq!(decide(&mut harness, address(is_ipv6, RULES), port(RULES)), Reason::NoRule);
    }
}

/// Where they are the same they are copied from the half in force, and else made anew.
#[test]
fn ipv6_addresses_are_those_of_the_policy_whatever_was_in_force_before() {
    if !can_load_programs() {
        return;
    }
    let policy = |listed: IpAddr, wide: &[&str]| {
        let wide = wide.iter().map(|prefix| udp_rule(WIDE, Peer::Cidr(prefix.parse().unwrap())));
        let mut policy = Policy::default();
        policy.groups.get_mut(Policy::MAIN_GROUP).unwrap().rules =
            wide.chain([udp_rule(LISTED, Peer::Cidr(listed.into()))]).collect();
        policy
    };
    let [one, other] = [1, 2].map(|number| address(true, number));
    let mut harness = Harness::new(Ingress::Xdp).unwrap();
    let mut publish = |listed, wide: &[&str]| {
        harness.forget_state().unwrap();
        harness.publish(&policy(listed, wide)).unwrap();
        for peer in [one, other] {
            let expected = if peer == listed { Reason::Rule } else { Reason::NoRule };
            assert_eq!(decide(&mut harness, peer, LISTED), expected, "{peer} {listed}");
        }
        let expected = if wide.is_empty() { Reason::NoRule } else { Reason::Rule };
        assert_eq!(decide(&mut harness, address(false, 1), WIDE), expected);
    };
    publish(one, &[]);
    publish(one, &["10.0.0.0/8"]);
    publish(one, &["10.0.0.0/8", "10.0.0.0/9"]);
    publish(other, &["10.0.0.0/8"]);
    publish(one, &["10.0.0.0/8"]);
    publish(one, &[]);
}

/// Each time the arenas become larger, and a policy that has become smaller again leaves nothing of the larger one.
#[test]
fn a_policy_that_has_outgrown_its_arenas_is_whole_and_so_is_a_small_one_after_it() {
    if !can_load_programs() {
        return;
    }
    let mut harness = Harness::new(Ingress::Tc).unwrap();
    let mut bytes = Vec::new();
    for entries in [10, 5_000, 40_000, 10, 20] {
        harness.forget_state().unwrap();
        harness.publish(&lists(entries)).unwrap();
        for is_ipv6 in [false, true] {
            for (entry, expected) in
                [(0, Reason::Rule), (entries - 1, Reason::Rule), (entries, Reason::NoRule)]
            {
                let peer = address(is_ipv6, 4 * entry);
                assert_eq!(decide(&mut harness, peer, LISTED), expected, "{peer} of {entries}");
                assert_eq!(decide(&mut harness, peer, WIDE), Reason::Rule, "{peer} of {entries}");
            }
        }
        bytes.push(harness.memory_of(map::ADDRESSES_V6).unwrap());
    }
    assert!(bytes[..3].is_sorted_by(|smaller, larger| smaller < larger), "{bytes:?}");
    assert_eq!([bytes[3], bytes[4]], [bytes[2]; 2]);
}

/// An entry is the first two of four addresses.
fn lists(entries: u32) -> Policy {
    let mut policy = Policy::default();
    let mut rules = Vec::new();
    for (is_ipv6, (name, around)) in [false, true].into_iter().zip(FAMILIES) {
        let length = if is_ipv6 { 127 } else { 31 };
        let entry = |number| IpNet::new(address(is_ipv6, 4 * number), length).unwrap();
        policy.prefix_lists.insert(name.to_owned(), (0..entries).map(entry).collect());
        rules.push(udp_rule(LISTED, Peer::PrefixList(name.to_owned())));
        rules.push(udp_rule(WIDE, Peer::Cidr(around.parse().unwrap())));
    }
    policy.groups.get_mut(Policy::MAIN_GROUP).unwrap().rules = rules;
    policy
}

/// For each of many hosts of either family one port.
fn rules() -> Policy {
    let mut policy = Policy::default();
    let rule = |is_ipv6, number| udp_rule(port(number), Peer::Cidr(address(is_ipv6, number).into()));
    let rules =
        [false, true].into_iter().flat_map(|is_ipv6| (0..RULES).map(move |number| rule(is_ipv6, number)));
    policy.groups.get_mut(Policy::MAIN_GROUP).unwrap().rules = rules.collect();
    policy
}

fn port(rule: u32) -> u16 {
    FIRST_PORT + u16::try_from(rule % PORTS).unwrap()
}

fn udp_rule(port: u16, peer: Peer) -> Rule {
    Rule { direction: Direction::Ingress, service: Service::Udp(PortRange::new(port, port).unwrap()), peer }
}

fn address(is_ipv6: bool, number: u32) -> IpAddr {
    if is_ipv6 {
        let first = u128::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0));
        Ipv6Addr::from(first + u128::from(number)).into()
    } else {
        Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 0)) + number).into()
    }
}

/// How the first datagram of a flow ends.
fn decide(harness: &mut Harness, peer: IpAddr, port: u16) -> Reason {
    let host: IpAddr = if peer.is_ipv6() { "fd88::10" } else { "172.16.0.10" }.parse().unwrap();
    let transport = Transport::Udp { source_port: 40_000, destination_port: port, data: 8 };
    let arrival = Arrival::new(0, Direction::Ingress);
    harness.decide(arrival, &Frame::ip(Packet::new(peer, host, transport))).unwrap()
}

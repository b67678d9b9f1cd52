//! A prefix list of forty thousand entries beside a wide rule around them all: each entry counts, and nothing between
//! them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use firewall_common::abi::Direction;
use firewall_common::reason::Reason;
use firewall_tests::packets::{Frame, Packet, Transport};
use firewall_tests::prog::{Harness, Ingress, can_load_programs};
use firewall_tests::scenario::{Arrival, Firewall as _, Peer, Policy, Rule};
use firewall_userspace::model::{PortRange, Service};
use ipnet::IpNet;

/// Two intervals each, so that the tree of IPv4 has three levels.
const ENTRIES: u32 = 40_000;

/// Open to the list.
const LISTED: u16 = 443;
/// Open to the prefix around it.
const WIDE: u16 = 53;

const FAMILIES: [(&str, &str); 2] = [("pl-v4", "10.0.0.0/8"), ("pl-v6", "2001:db8::/32")];

#[test]
fn every_entry_of_a_long_prefix_list_counts() {
    if !can_load_programs() {
        return;
    }
    let mut harness = Harness::new(Ingress::Xdp).unwrap();
    harness.publish(&policy()).unwrap();
    for entry in (0..ENTRIES).step_by(389).chain([ENTRIES - 1]) {
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

/// An entry is the first two of four addresses.
fn policy() -> Policy {
    let mut policy = Policy::default();
    let rule = |port, peer| Rule {
        direction: Direction::Ingress,
        service: Service::Udp(PortRange::new(port, port).unwrap()),
        peer,
    };
    let mut rules = Vec::new();
    for (is_ipv6, (name, around)) in [false, true].into_iter().zip(FAMILIES) {
        let length = if is_ipv6 { 127 } else { 31 };
        let entry = |number| IpNet::new(address(is_ipv6, 4 * number), length).unwrap();
        policy.prefix_lists.insert(name.to_owned(), (0..ENTRIES).map(entry).collect());
        rules.push(rule(LISTED, Peer::PrefixList(name.to_owned())));
        rules.push(rule(WIDE, Peer::Cidr(around.parse().unwrap())));
    }
    policy.groups.get_mut(Policy::MAIN_GROUP).unwrap().rules = rules;
    policy
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
    let arrival = Arrival { slot: 0, direction: Direction::Ingress };
    harness.decide(arrival, &Frame::ip(Packet::new(peer, host, transport))).unwrap()
}

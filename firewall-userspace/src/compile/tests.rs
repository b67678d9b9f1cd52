use std::net::IpAddr;

use firewall_common::abi::{Be16, Direction, ServiceIndex, UNTRACKED};

use super::*;
use crate::model::{PrefixListName, Protocol, RuleId};

/// Rules in a short notation: `in tcp 22 10.0.0.0/8`, `out all - ::/0`, `in icmp 8/0 pl:office`, `in tcp 1-9 sg:app`.
#[derive(Default)]
struct Fixture {
    input: PolicyInput,
}

impl Fixture {
    /// One group with these rules on slot 0.
    fn new(rules: &[&str]) -> Self {
        let mut fixture = Self::default();
        let group = fixture.group("web", rules);
        fixture.attach(0, &[group]);
        fixture
    }

    fn group(&mut self, name: &str, rules: &[&str]) -> GroupId {
        let mut group = SecurityGroup::new(name.parse().unwrap(), "test".parse().unwrap()).unwrap();
        group.rules = rules.iter().map(|rule| self.rule(group.id, rule)).collect();
        let id = group.id;
        self.input.groups.push(group);
        id
    }

    fn rule(&self, group: GroupId, text: &str) -> SecurityRule {
        let [direction, protocol, selector, peer] = text.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let protocol: Protocol = protocol.parse().unwrap();
        let is_icmp = matches!(protocol, Protocol::Icmp | Protocol::Icmpv6);
        let selector = Some(selector).filter(|text| *text != "-");
        let ports = selector.filter(|_| !is_icmp).map(|text| text.parse().unwrap());
        let icmp = selector.filter(|_| is_icmp).map(|text| text.parse().unwrap());
        SecurityRule {
            id: RuleId::random().unwrap(),
            group,
            direction: if direction == "in" { Direction::Ingress } else { Direction::Egress },
            service: Service::new(protocol, ports, icmp).unwrap(),
            peer: self.peer(peer),
            description: None,
        }
    }

    fn peer(&self, text: &str) -> Peer {
        if let Some(name) = text.strip_prefix("sg:") {
            let group = self.input.groups.iter().find(|group| group.name.as_str() == name).unwrap();
            return Peer::Group(group.id);
        }
        if let Some(name) = text.strip_prefix("pl:") {
            let list = self.input.prefix_lists.iter().find(|list| list.name.as_str() == name).unwrap();
            return Peer::PrefixList(list.id);
        }
        Peer::Cidr(text.parse().unwrap())
    }

    fn prefix_list(&mut self, name: &str, family: AddressFamily, entries: Vec<IpNet>) {
        let name: PrefixListName = name.parse().unwrap();
        let max_entries = u32::try_from(entries.len()).unwrap();
        self.input.prefix_lists.push(PrefixList::new(name, family, max_entries, entries).unwrap());
    }

    fn attach(&mut self, slot: u32, groups: &[GroupId]) {
        let groups = groups.to_vec();
        self.input.interfaces.push(InterfaceInput {
            slot,
            zone: 1,
            groups,
            options: InterfaceOptions::default(),
        });
    }

    fn tables(&self) -> CompiledPolicy {
        compile(&self.input, &mut RuleSetIds::default()).unwrap()
    }

    /// The value of the cell of a packet on `slot`, looked up as the programs do; 0 is a deny.
    fn cell(&self, slot: u32, direction: Direction, peer: &str, service: ServiceIndex) -> u32 {
        let tables = self.tables();
        let policy = tables.interfaces.iter().find(|interface| interface.slot == slot).unwrap().policy;
        let class = match peer.parse().unwrap() {
            IpAddr::V4(peer) => {
                longest_match(&tables.addresses_v4, |prefix| prefix.contains(&peer), Ipv4Net::prefix_len)
            }
            IpAddr::V6(peer) => {
                longest_match(&tables.addresses_v6, |prefix| prefix.contains(&peer), Ipv6Net::prefix_len)
            }
        };
        let key = CellKey::new(policy, direction, class, tables.services[service.get() as usize]);
        tables.cells.iter().find(|(cell, _)| *cell == key).map_or(0, |(_, value)| *value)
    }

    fn admits(&self, peer: &str, service: ServiceIndex) -> bool {
        self.cell(0, Direction::Ingress, peer, service) != 0
    }

    fn is_untracked(&self, peer: &str, service: ServiceIndex) -> bool {
        self.cell(0, Direction::Ingress, peer, service) & UNTRACKED != 0
    }
}

fn longest_match<N>(table: &[(N, u32)], contains: impl Fn(&N) -> bool, length: fn(&N) -> u8) -> u32 {
    let matching = table.iter().filter(|(prefix, _)| contains(prefix));
    matching.max_by_key(|(prefix, _)| length(prefix)).map_or(0, |(_, class)| *class)
}

fn tcp(port: u16) -> ServiceIndex {
    ServiceIndex::tcp(Be16::new(port))
}

fn udp(port: u16) -> ServiceIndex {
    ServiceIndex::udp(Be16::new(port))
}

#[test]
fn a_narrow_rule_does_not_hide_the_wide_rule_around_it() {
    let fixture = Fixture::new(&["in tcp 22 10.0.0.0/8", "in tcp 80 10.1.0.0/16", "in tcp 443 0.0.0.0/0"]);
    for port in [22, 80, 443] {
        assert!(fixture.admits("10.1.2.3", tcp(port)), "{port}");
    }
    assert!(!fixture.admits("10.2.0.1", tcp(80)));
    assert!(fixture.admits("10.2.0.1", tcp(22)));
    assert!(!fixture.admits("192.0.2.1", tcp(22)));
    assert!(fixture.admits("192.0.2.1", tcp(443)));
}

#[test]
fn both_ends_of_a_port_range_are_in_it_and_their_neighbours_are_not() {
    let fixture = Fixture::new(&["in tcp 7000-8000 0.0.0.0/0", "in udp 0-65535 0.0.0.0/0"]);
    for (port, admitted) in
        [(6999, false), (7000, true), (8000, true), (8001, false), (0, false), (65535, false)]
    {
        assert_eq!(fixture.admits("192.0.2.1", tcp(port)), admitted, "{port}");
    }
    assert!(fixture.admits("192.0.2.1", udp(0)) && fixture.admits("192.0.2.1", udp(65535)));
}

#[test]
fn overlapping_port_ranges_admit_their_union() {
    let fixture = Fixture::new(&["in tcp 10-20 0.0.0.0/0", "in tcp 15-30 0.0.0.0/0", "in tcp 20 0.0.0.0/0"]);
    let admitted: Vec<u16> = (0..40).filter(|port| fixture.admits("192.0.2.1", tcp(*port))).collect();
    assert_eq!(admitted, (10..=30).collect::<Vec<_>>());
}

#[test]
fn icmp_rules_select_by_type_and_code_and_stay_in_their_family() {
    let fixture = Fixture::new(&["in icmp 3/4 0.0.0.0/0", "in icmp 8 0.0.0.0/0", "in icmpv6 128/0 ::/0"]);
    assert!(fixture.admits("192.0.2.1", ServiceIndex::icmp(3, 4)));
    assert!(!fixture.admits("192.0.2.1", ServiceIndex::icmp(3, 3)));
    assert!(fixture.admits("192.0.2.1", ServiceIndex::icmp(8, 7)));
    assert!(fixture.admits("2001:db8::1", ServiceIndex::icmpv6(128, 0)));
    assert!(!fixture.admits("2001:db8::1", ServiceIndex::icmpv6(129, 0)));
}

#[test]
fn an_icmp_rule_for_the_other_family_matches_nothing_not_even_fragments() {
    let fixture = Fixture::new(&["in icmp - ::/0", "in icmpv6 - 0.0.0.0/0"]);
    assert!(!fixture.admits("2001:db8::1", ServiceIndex::every_port(1)));
    assert!(!fixture.admits("2001:db8::1", ServiceIndex::icmpv6(128, 0)));
    assert!(!fixture.admits("192.0.2.1", ServiceIndex::every_port(58)));
    assert!(!fixture.admits("192.0.2.1", ServiceIndex::icmp(8, 0)));
}

#[test]
fn all_protocols_is_not_protocol_0() {
    let everything = Fixture::new(&["in all - 192.0.2.0/24"]);
    let hop_by_hop = Fixture::new(&["in 0 - 192.0.2.0/24"]);
    for service in
        [tcp(22), udp(53), ServiceIndex::icmp(8, 0), ServiceIndex::other(47), ServiceIndex::other(255)]
    {
        assert!(everything.admits("192.0.2.1", service), "{service:?}");
        assert!(!hop_by_hop.admits("192.0.2.1", service), "{service:?}");
    }
    assert!(hop_by_hop.admits("192.0.2.1", ServiceIndex::other(0)));
}

#[test]
fn only_rules_for_every_port_admit_what_has_no_port() {
    let fixture = Fixture::new(&["in udp 53 0.0.0.0/0", "in tcp 0-65535 0.0.0.0/0"]);
    assert!(!fixture.admits("192.0.2.1", ServiceIndex::every_port(17)));
    assert!(fixture.admits("192.0.2.1", ServiceIndex::every_port(6)));
}

#[test]
fn a_group_stands_for_its_members_and_an_empty_one_for_nobody() {
    let mut fixture = Fixture::default();
    let app = fixture.group("app", &["in tcp 22 0.0.0.0/0"]);
    let nobody = fixture.group("nobody", &[]);
    let db = fixture.group("db", &["in tcp 5432 sg:app", "in tcp 22 sg:nobody"]);
    let members = ["10.0.1.20/32", "2001:db8:1::20/128"].map(|member| member.parse().unwrap());
    fixture.input.members.insert(app, members.to_vec());
    fixture.input.members.insert(nobody, Vec::new());
    fixture.attach(0, &[db]);
    assert!(fixture.admits("10.0.1.20", tcp(5432)));
    assert!(fixture.admits("2001:db8:1::20", tcp(5432)));
    assert!(!fixture.admits("10.0.1.21", tcp(5432)));
    // Rules of the referenced group are not inherited.
    assert!(!fixture.admits("10.0.1.20", tcp(22)));
}

#[test]
fn a_prefix_list_is_one_class_however_long_it_is() {
    let mut fixture = Fixture::default();
    let entries = (0..1000).map(|i| format!("10.{}.{}.0/24", i / 250, i % 250).parse().unwrap()).collect();
    fixture.prefix_list("office", AddressFamily::Ipv4, entries);
    let group = fixture.group("web", &["in tcp 22 pl:office"]);
    fixture.attach(0, &[group]);
    let tables = fixture.tables();
    assert_eq!((tables.addresses_v4.len(), tables.cells.len()), (1000, 1));
    assert!(fixture.admits("10.3.249.7", tcp(22)));
}

#[test]
fn the_groups_of_an_interface_are_pooled_and_interfaces_keep_apart() {
    let mut fixture = Fixture::default();
    let ssh = fixture.group("ssh", &["in tcp 22 0.0.0.0/0"]);
    let web = fixture.group("web", &["in tcp 80 0.0.0.0/0"]);
    fixture.attach(0, &[ssh, web]);
    fixture.attach(1, &[web]);
    fixture.attach(2, &[web, ssh]);
    let admits = |slot, port| fixture.cell(slot, Direction::Ingress, "192.0.2.1", tcp(port)) != 0;
    assert_eq!([admits(0, 22), admits(0, 80)], [true, true]);
    assert_eq!([admits(1, 22), admits(1, 80)], [false, true]);
    let policies: Vec<u16> = fixture.tables().interfaces.iter().map(|interface| interface.policy).collect();
    assert_eq!(policies[0], policies[2], "the same groups in another order are the same policy");
}

#[test]
fn the_direction_of_a_rule_counts() {
    let fixture = Fixture::new(&["out tcp 443 0.0.0.0/0"]);
    assert!(!fixture.admits("192.0.2.1", tcp(443)));
    assert!(fixture.cell(0, Direction::Egress, "192.0.2.1", tcp(443)) != 0);
}

#[test]
fn traffic_open_to_any_peer_both_ways_is_untracked() {
    let fixture = Fixture::new(&["in tcp 80 0.0.0.0/0", "in tcp 22 192.0.2.0/24", "out all - 0.0.0.0/0"]);
    assert!(fixture.is_untracked("192.0.2.1", tcp(80)));
    assert!(!fixture.is_untracked("192.0.2.1", tcp(22)));
    // A narrow rule beside the open one changes nothing (spec case 97).
    let both = Fixture::new(&["in tcp 22 192.0.2.0/24", "in tcp 22 0.0.0.0/0", "out all - 0.0.0.0/0"]);
    assert!(both.is_untracked("192.0.2.1", tcp(22)));
}

#[test]
fn what_is_not_literally_any_peer_on_every_port_is_tracked() {
    let cases: [&[&str]; 6] = [
        // Spec cases 90, 92, 93, 94, 98, and a reverse rule that names a peer.
        &["in tcp 80 0.0.0.0/0", "out tcp 443 0.0.0.0/0"],
        &["in tcp 80 0.0.0.0/0", "out tcp 1024-65535 0.0.0.0/0"],
        &["in tcp 80 0.0.0.0/0", "out udp 0-65535 0.0.0.0/0"],
        &["in tcp 80 0.0.0.0/0", "out all - ::/0"],
        &["in tcp 80 0.0.0.0/1", "in tcp 80 128.0.0.0/1", "out all - 0.0.0.0/0"],
        &["in tcp 80 0.0.0.0/0", "out all - 10.0.0.0/8"],
    ];
    for rules in cases {
        let fixture = Fixture::new(rules);
        assert!(fixture.admits("10.0.0.1", tcp(80)), "{rules:?}");
        assert!(!fixture.is_untracked("10.0.0.1", tcp(80)), "{rules:?}");
    }
}

#[test]
fn icmp_and_other_protocols_are_always_tracked() {
    let fixture = Fixture::new(&["in all - 0.0.0.0/0", "out all - 0.0.0.0/0"]);
    assert!(fixture.is_untracked("192.0.2.1", tcp(1)) && fixture.is_untracked("192.0.2.1", udp(1)));
    for service in [ServiceIndex::icmp(8, 0), ServiceIndex::other(50), ServiceIndex::every_port(6)] {
        assert!(
            fixture.admits("192.0.2.1", service) && !fixture.is_untracked("192.0.2.1", service),
            "{service:?}"
        );
    }
}

#[test]
fn a_rule_set_keeps_its_id_whatever_is_added_later() {
    let mut fixture = Fixture::new(&["in tcp 22 0.0.0.0/0"]);
    let mut ids = RuleSetIds::default();
    let before = compile(&fixture.input, &mut ids).unwrap().cells;
    assert_eq!(ids.added().len(), 1);

    let mut known: RuleSetIds = ids.added().iter().cloned().collect();
    let rule = fixture.rule(fixture.input.groups[0].id, "in tcp 80 0.0.0.0/0");
    fixture.input.groups[0].rules.insert(0, rule);
    let after = compile(&fixture.input, &mut known).unwrap().cells;
    assert_eq!(known.added().len(), 1, "only the new set is new");
    assert!(after.iter().any(|(_, id)| *id == before[0].1));
    assert_eq!(after.len(), 2);
}

use std::net::IpAddr;

use firewall_common::abi::{Be16, Direction, EXEMPT, RULE_SET, ServiceIndex, UNTRACKED};

use super::*;
use crate::model::{PrefixListEntry, PrefixListName, Protocol, RuleId, Service, Tags};

/// Rules in a short notation: `in tcp 22 10.0.0.0/8`, `out all - ::/0`, `in icmp 8/0 pl:office`, `in tcp 1-9 sg:app`.
#[derive(Default)]
struct Fixture {
    input: PolicyInput<'static>,
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
        self.input.groups.to_mut().push(group);
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
            tags: Tags::default(),
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
        let entries = entries.into_iter().map(PrefixListEntry::from).collect();
        self.input.prefix_lists.to_mut().push(PrefixList::new(name, family, max_entries, entries).unwrap());
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

    /// Makes an interface track traffic of these peers always.
    fn always_track(&mut self, slot: usize, prefixes: &[&str]) {
        let prefixes = prefixes.iter().map(|prefix| prefix.parse().unwrap());
        self.input.interfaces[slot].options.always_track = prefixes.collect();
    }

    /// Exempts servers, in the notation of rules: `tcp 80 192.0.2.1/32`.
    fn exempt(&mut self, text: &str) {
        let [protocol, ports, prefix] = text.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let ports = Some(ports).filter(|text| *text != "-").map(|ports| ports.parse().unwrap());
        let service = Service::new(protocol.parse().unwrap(), ports, None).unwrap();
        self.input.exempt_addresses.push(ExemptProperties { service, prefix: prefix.parse().unwrap() });
    }

    fn tables(&self) -> CompiledPolicy {
        compile(&self.input, &mut RuleSetIds::default()).unwrap()
    }

    /// The value of the cell of a packet on `slot`, looked up as the programs do; 0 is a deny.
    fn cell(&self, slot: u32, direction: Direction, peer: &str, service: ServiceIndex) -> u32 {
        let tables = self.tables();
        tables.lookup(slot).unwrap().cell(direction, peer.parse().unwrap(), service)
    }

    fn admits(&self, peer: &str, service: ServiceIndex) -> bool {
        self.cell(0, Direction::Ingress, peer, service) != 0
    }

    fn is_untracked(&self, peer: &str, service: ServiceIndex) -> bool {
        let is_untracked = self.cell(0, Direction::Ingress, peer, service) & UNTRACKED != 0;
        // The programs trust the one without a look at the other.
        let is_ipv6 = peer.parse::<IpAddr>().unwrap().is_ipv6();
        assert!(is_untracked || !self.is_untracked_for_every_peer(0, is_ipv6, service));
        is_untracked
    }

    fn is_untracked_for_every_peer(&self, slot: usize, is_ipv6: bool, service: ServiceIndex) -> bool {
        let tables = self.tables();
        let class = tables.services[service.get() as usize];
        tables.interfaces[slot].untracked.contains(Direction::Ingress, is_ipv6, class)
    }
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
    // A narrow rule beside the open one changes nothing (`docs/semantics.md`, case 97).
    let both = Fixture::new(&["in tcp 22 192.0.2.0/24", "in tcp 22 0.0.0.0/0", "out all - 0.0.0.0/0"]);
    assert!(both.is_untracked("192.0.2.1", tcp(22)));
}

#[test]
fn what_is_untracked_for_every_peer_is_named_by_service() {
    let rules =
        ["in tcp 22 192.0.2.0/24", "in tcp 80 0.0.0.0/0", "in udp 80 0.0.0.0/0", "out tcp 0-65535 0.0.0.0/0"];
    let fixture = Fixture::new(&rules);
    let named = |fixture: &Fixture, service| {
        [false, true].map(|is_ipv6| fixture.is_untracked_for_every_peer(0, is_ipv6, service))
    };
    assert_eq!(named(&fixture, tcp(80)), [true, false]);
    assert_eq!([tcp(22), udp(80), tcp(81)].map(|service| named(&fixture, service)), [[false; 2]; 3]);
    // And nothing else: no egress, no IPv6.
    let tables = fixture.tables();
    let mut expected = UntrackedServices::default();
    expected.insert(Direction::Ingress, false, tables.services[tcp(80).get() as usize]);
    assert_eq!(tables.interfaces[0].untracked, expected);
}

#[test]
fn services_that_are_untracked_for_every_peer_are_named_however_many_others_there_are() {
    let narrow = (1000..1100).map(|port| format!("in tcp {port} 192.0.2.0/24"));
    let open = ["in tcp 2000 0.0.0.0/0", "out all - 0.0.0.0/0"].map(str::to_owned);
    let rules: Vec<String> = narrow.chain(open).collect();
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    let fixture = Fixture::new(&rules);
    assert!(fixture.is_untracked_for_every_peer(0, false, tcp(2000)));
    assert!(fixture.admits("192.0.2.1", tcp(1050)) && !fixture.is_untracked("192.0.2.1", tcp(1050)));
}

#[test]
fn services_that_there_is_no_room_to_name_are_untracked_by_their_cells() {
    let ports = 2000..2040;
    let open = ports.clone().map(|port| format!("in tcp {port} 0.0.0.0/0"));
    // Each port is a class of its own by a rule of its own besides.
    let narrow = ports.clone().map(|port| format!("in tcp {port} 192.0.2.0/24"));
    let rules: Vec<String> = open.chain(narrow).chain(["out all - 0.0.0.0/0".to_owned()]).collect();
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    let fixture = Fixture::new(&rules);
    let named = ports.clone().filter(|port| fixture.is_untracked_for_every_peer(0, false, tcp(*port)));
    assert_eq!(named.count(), usize::from(UntrackedServices::CLASSES));
    assert!(ports.into_iter().all(|port| fixture.is_untracked("198.51.100.1", tcp(port))));
}

#[test]
fn what_is_not_literally_any_peer_on_every_port_is_tracked() {
    let cases: [&[&str]; 6] = [
        // `docs/semantics.md`, cases 90, 92, 93, 94 and 98, and a reverse rule that names a peer.
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
    assert_eq!(ids.added().count(), 1);

    let mut known: RuleSetIds = ids.added().map(|(id, rules)| (id, rules.to_vec())).collect();
    let rule = fixture.rule(fixture.input.groups[0].id, "in tcp 80 0.0.0.0/0");
    fixture.input.groups.to_mut()[0].rules.insert(0, rule);
    let after = compile(&fixture.input, &mut known).unwrap().cells;
    assert_eq!(known.added().count(), 1, "only the new set is new");
    assert!(after.iter().any(|(_, id)| *id == before[0].1));
    assert_eq!(after.len(), 2);
}

#[test]
fn a_set_whose_number_would_be_read_as_a_bit_is_refused() {
    let fixture = Fixture::new(&["in tcp 22 0.0.0.0/0"]);
    let mut last = RuleSetIds::default().after(RULE_SET - 1);
    assert_eq!(compile(&fixture.input, &mut last).unwrap().cells[0].1 & RULE_SET, RULE_SET);
    let mut none = RuleSetIds::default().after(RULE_SET);
    let error = compile(&fixture.input, &mut none).unwrap_err();
    assert!(matches!(error, CompileError::NoMoreRuleSets { .. }), "{error}");
}

#[test]
fn always_tracked_peers_are_tracked_where_others_are_not() {
    let mut fixture =
        Fixture::new(&["in tcp 80 0.0.0.0/0", "in tcp 80 ::/0", "out all - 0.0.0.0/0", "out all - ::/0"]);
    fixture.always_track(0, &["10.0.0.0/8"]);
    assert!(fixture.admits("10.1.2.3", tcp(80)) && !fixture.is_untracked("10.1.2.3", tcp(80)));
    assert!(fixture.is_untracked("192.0.2.1", tcp(80)));
    assert!(fixture.is_untracked("2001:db8::1", tcp(80)));
    // A rule for a part of the prefix does not take that part out of it.
    let rule = fixture.rule(fixture.input.groups[0].id, "in tcp 22 10.1.0.0/16");
    fixture.input.groups.to_mut()[0].rules.push(rule);
    assert!(!fixture.is_untracked("10.1.2.3", tcp(80)));

    fixture.input.interfaces[0].options.always_track = InterfaceOptions::track_every_peer();
    for peer in ["10.1.2.3", "192.0.2.1", "2001:db8::1"] {
        assert!(fixture.admits(peer, tcp(80)) && !fixture.is_untracked(peer, tcp(80)), "{peer}");
    }
}

#[test]
fn what_one_interface_always_tracks_another_with_the_same_groups_does_not() {
    let mut fixture = Fixture::new(&["in tcp 80 0.0.0.0/0", "out all - 0.0.0.0/0"]);
    let groups = fixture.input.interfaces[0].groups.clone();
    fixture.attach(1, &groups);
    fixture.always_track(1, &["0.0.0.0/0"]);
    let is_untracked = |slot| fixture.cell(slot, Direction::Ingress, "192.0.2.1", tcp(80)) & UNTRACKED != 0;
    assert_eq!([is_untracked(0), is_untracked(1)], [true, false]);
    let is_named = |slot| fixture.is_untracked_for_every_peer(slot, false, tcp(80));
    assert_eq!([is_named(0), is_named(1)], [true, false]);
}

#[test]
fn an_exempt_server_is_exempt_on_every_interface_whatever_its_rules() {
    let mut fixture = Fixture::new(&["out udp 53 192.0.2.0/24", "out tcp 443 0.0.0.0/0"]);
    let closed = fixture.group("closed", &[]);
    fixture.attach(1, &[closed]);
    fixture.exempt("udp 53 192.0.2.53/32");
    let cell = |slot, direction, peer, service| fixture.cell(slot, direction, peer, service);
    for slot in [0, 1] {
        assert!(cell(slot, Direction::Egress, "192.0.2.53", udp(53)) & EXEMPT != 0, "slot {slot}");
        for (direction, peer, service) in [
            (Direction::Egress, "192.0.2.53", tcp(53)),
            (Direction::Egress, "192.0.2.53", udp(54)),
            (Direction::Egress, "192.0.2.54", udp(53)),
            // The host as the server is not meant.
            (Direction::Ingress, "192.0.2.53", udp(53)),
        ] {
            assert_eq!(cell(slot, direction, peer, service) & EXEMPT, 0, "{peer} {service:?}");
        }
    }
    // The rules around the exemption stay what they are.
    assert!(cell(0, Direction::Egress, "192.0.2.53", udp(53)) & RULE_SET != 0);
    assert!(cell(0, Direction::Egress, "192.0.2.53", tcp(443)) & RULE_SET != 0);
    assert_eq!(cell(1, Direction::Egress, "192.0.2.53", udp(53)) & RULE_SET, 0);
    assert!(fixture.tables().interfaces.iter().all(|interface| interface.has_exempt_addresses));
}

#[test]
fn without_exempt_addresses_there_is_nothing_to_look_for() {
    let fixture = Fixture::new(&["out udp 53 192.0.2.53/32"]);
    assert!(!fixture.tables().interfaces[0].has_exempt_addresses);
}

#[test]
fn exempt_protocols_without_ports_are_exempt_both_ways() {
    let mut fixture = Fixture::new(&[]);
    fixture.exempt("47 - 192.0.2.1/32");
    fixture.exempt("all - 192.0.2.2/32");
    let is_exempt = |direction, peer, service| fixture.cell(0, direction, peer, service) & EXEMPT != 0;
    for direction in [Direction::Ingress, Direction::Egress] {
        assert!(is_exempt(direction, "192.0.2.1", ServiceIndex::other(47)));
        assert!(!is_exempt(direction, "192.0.2.1", ServiceIndex::icmp(8, 0)));
        assert!(is_exempt(direction, "192.0.2.2", ServiceIndex::icmp(8, 0)));
    }
    // A reply of TCP or UDP is known by its source port, which no cell of its own direction names.
    assert!(is_exempt(Direction::Egress, "192.0.2.2", tcp(80)));
    assert!(!is_exempt(Direction::Ingress, "192.0.2.2", tcp(80)));
}

#[test]
fn an_exemption_that_can_match_nothing_exempts_nothing() {
    let mut fixture = Fixture::new(&[]);
    fixture.exempt("icmp - 2001:db8::1/128");
    assert!(fixture.tables().cells.is_empty() && !fixture.tables().interfaces[0].has_exempt_addresses);
}

#[test]
fn a_flow_is_tracked_by_the_rules_that_admit_its_first_packet() {
    let fixture = Fixture::new(&["in tcp 22 10.0.0.0/8", "in tcp 80 0.0.0.0/0", "out all - 0.0.0.0/0"]);
    let tables = fixture.tables();
    let tracked_by = |slot, direction, peer: &str, service| {
        tables.lookup(slot).and_then(|policy| policy.tracked_by(direction, peer.parse().unwrap(), service))
    };
    let ssh = tracked_by(0, Direction::Ingress, "10.1.2.3", tcp(22)).unwrap();
    assert_ne!(Some(ssh), tracked_by(0, Direction::Egress, "10.1.2.3", tcp(22)));
    assert_eq!(tracked_by(0, Direction::Ingress, "192.0.2.1", tcp(22)), None);
    assert_eq!(tracked_by(1, Direction::Ingress, "10.1.2.3", tcp(22)), None);
    // Untracked.
    assert!(fixture.admits("192.0.2.1", tcp(80)));
    assert_eq!(tracked_by(0, Direction::Ingress, "192.0.2.1", tcp(80)), None);
}

/// The error of compiling a policy of which so many cells and matches are too many.
fn refused(fixture: &Fixture, cells: usize, matches: usize) -> CompileError {
    compile_within(Limits { cells, matches }, &fixture.input, &mut RuleSetIds::default()).unwrap_err()
}

/// Rules for one prefix each, on the same port or each on its own, with one around them all for every port.
fn hosts_below_a_wide_rule(hosts: usize, port_of: impl Fn(usize) -> usize) -> Fixture {
    let mut rules = vec!["in tcp 0-65535 10.0.0.0/8".to_owned()];
    rules.extend((0..hosts).map(|host| format!("in tcp {} 10.0.0.{host}/32", port_of(host))));
    Fixture::new(&rules.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn the_number_of_cells_is_what_matches_and_not_the_product_of_the_classes() {
    let rules: Vec<String> =
        (0..100).map(|host| format!("in tcp {} 10.0.0.{host}/32", 1000 + host)).collect();
    let fixture = Fixture::new(&rules.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(fixture.tables().cells.len(), 100, "every host has its own port");
    // The wide rule matches each of 100 ports, the ports between them and what has no port, for each of 101 classes.
    let fixture = hosts_below_a_wide_rule(100, |host| 1000 + host);
    assert_eq!(fixture.tables().cells.len(), 101 * 102);
    let fixture = hosts_below_a_wide_rule(100, |_| 1000);
    assert_eq!(fixture.tables().cells.len(), 101 * 3);
}

#[test]
fn a_policy_of_too_many_cells_is_refused_with_the_groups_that_need_them() {
    let fixture = hosts_below_a_wide_rule(100, |host| 1000 + host);
    match refused(&fixture, 101 * 102 - 1, usize::MAX) {
        CompileError::TooManyCells { groups, limit } => {
            assert_eq!((groups[0].as_str(), limit), ("web", 101 * 102 - 1));
        }
        error => panic!("{error}"),
    }
    let limits = Limits { cells: 101 * 102, matches: usize::MAX };
    compile_within(limits, &fixture.input, &mut RuleSetIds::default()).unwrap();
}

#[test]
fn rules_ports_and_prefixes_that_overlap_too_often_are_refused() {
    let fixture = hosts_below_a_wide_rule(100, |host| 1000 + host);
    let error = refused(&fixture, usize::MAX, 101 * 102);
    assert!(matches!(error, CompileError::TooManyMatches { .. }), "{error}");
    let nested: Vec<String> = (0..100).map(|port| format!("in tcp {port}-1000 10.0.0.0/8")).collect();
    let error = refused(&Fixture::new(&nested.iter().map(String::as_str).collect::<Vec<_>>()), 1000, 1000);
    assert!(matches!(error, CompileError::NestedPorts { .. }), "{error}");
    let nested: Vec<String> = (0..32).map(|length| format!("in tcp 22 0.0.0.0/{length}")).collect();
    let error = refused(&Fixture::new(&nested.iter().map(String::as_str).collect::<Vec<_>>()), 1000, 500);
    assert!(matches!(error, CompileError::NestedPrefixes { .. }), "{error}");
}

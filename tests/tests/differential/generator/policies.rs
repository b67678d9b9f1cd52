//! Groups, rules, prefix lists and interfaces.

use firewall_tests::scenario::{Group, Interface, Management, Peer, Policy, Rule};
use firewall_userspace::model::{
    ExemptProperties, Exemption, FlowTimeouts, IcmpErrors, IcmpSelector, InterfaceOptions, ManagementService,
    PortRange, Protocol, Service,
};
use ipnet::IpNet;
use rand::RngExt as _;

use super::{Generator, ICMP_TYPES, ICMPV6_TYPES, PORTS, PROTOCOLS_V4, PROTOCOLS_V6};

const PREFIX_LENGTHS_V4: [u8; 7] = [0, 0, 1, 8, 24, 31, 32];
const PREFIX_LENGTHS_V6: [u8; 6] = [0, 0, 1, 48, 64, 128];
/// See [`WAITS`](super::WAITS).
const TIMEOUTS: [u32; 5] = [30, 52, 60, 97, 350];
const DOUBTS: [u32; 3] = [97, 350, 603];
/// The group that every policy has.
pub(crate) const FIRST_GROUP: &str = "main";
const GROUPS: [&str; 5] = [FIRST_GROUP, "g1", "g2", "g3", "g4"];
const LISTS: [&str; 2] = ["pl-1", "pl-2"];

impl Generator {
    pub(crate) fn policy(&mut self) -> Policy {
        let mut policy = Policy::default();
        for name in &GROUPS[..self.random.random_range(1..=GROUPS.len())] {
            let group = self.group();
            policy.groups.insert((*name).to_owned(), group);
        }
        for name in LISTS {
            let is_ipv6 = self.chance(30);
            let entries = (0..self.random.random_range(0..4)).map(|_| self.prefix(is_ipv6)).collect();
            policy.prefix_lists.insert(name.to_owned(), entries);
        }
        if self.chance(30) {
            policy.exempt = (0..self.random.random_range(1..3)).map(|_| self.exempt()).collect();
        }
        if self.chance(50) {
            policy.management = (0..self.random.random_range(1..3)).map(|_| self.management()).collect();
        }
        let names: Vec<String> = policy.groups.keys().cloned().collect();
        policy.interfaces.insert(0, self.interface(1, &names));
        if self.chance(30) {
            let zone = self.random.random_range(1..=2);
            policy.interfaces.insert(1, self.interface(zone, &names));
        }
        policy
    }

    /// A policy that admits nothing yet, whose first interface has the first group alone.
    pub(crate) fn policy_without_rules(&mut self) -> Policy {
        let mut policy = self.policy();
        policy.exempt.clear();
        policy.groups.values_mut().for_each(|group| group.rules.clear());
        if let Some(interface) = policy.interfaces.get_mut(&0) {
            interface.groups = vec![FIRST_GROUP.to_owned()];
            interface.options.always_track.clear();
        }
        policy
    }

    fn group(&mut self) -> Group {
        let mut group = Group::default();
        for _ in 0..self.random.random_range(0..3) {
            let is_ipv6 = self.chance(30);
            group.members.push(self.prefix(is_ipv6));
        }
        for _ in 0..self.random.random_range(0..5) {
            group.rules.push(self.rule());
        }
        if self.chance(30) {
            let direction = self.direction();
            let any = |prefix: &str| Peer::Cidr(prefix.parse().unwrap());
            for peer in [any("0.0.0.0/0"), any("::/0")] {
                group.rules.push(Rule { direction, service: Service::All, peer });
            }
        }
        group
    }

    fn interface(&mut self, zone: u16, names: &[String]) -> Interface {
        let groups = names.iter().filter(|_| self.chance(60)).cloned().collect();
        let mut options = InterfaceOptions { tcp_strict: self.chance(15), ..InterfaceOptions::default() };
        if self.chance(15) {
            options.icmp_errors = IcmpErrors::RulesOnly;
        }
        if self.chance(20) {
            let is_ipv6 = self.chance(50);
            options.always_track.insert(self.prefix(is_ipv6));
        }
        if self.chance(40) {
            options.exemptions.set(self.pick(&Exemption::ALL), false);
        }
        if self.chance(30) {
            options.timeouts = FlowTimeouts {
                tcp_established: self.pick(&TIMEOUTS),
                udp: self.pick(&TIMEOUTS),
                udp_stream: self.pick(&TIMEOUTS),
                ..options.timeouts
            };
        }
        options.timeouts.tcp_doubt = self.pick(&DOUBTS);
        Interface { zone, groups, options }
    }

    fn exempt(&mut self) -> ExemptProperties {
        let is_ipv6 = self.chance(30);
        let prefix = self.prefix(is_ipv6);
        ExemptProperties { service: self.service(), prefix }
    }

    fn management(&mut self) -> Management {
        let is_ipv6 = self.chance(30);
        let (prefix, ports) = (self.prefix(is_ipv6), self.ports());
        let service =
            if self.chance(70) { ManagementService::Tcp(ports) } else { ManagementService::Udp(ports) };
        Management { service, prefix }
    }

    /// One rule more or less, or other members.
    pub(crate) fn change(&mut self, policy: &mut Policy) {
        let name = self.pick(&policy.groups.keys().cloned().collect::<Vec<_>>());
        let (rule, is_ipv6) = (self.rule(), self.chance(30));
        let member = self.prefix(is_ipv6);
        let choice = self.random.random_range(0..4);
        let Some(group) = policy.groups.get_mut(&name) else {
            return;
        };
        match choice {
            0 => group.rules.push(rule),
            1 => group.members.push(member),
            2 => drop(group.members.pop()),
            _ if group.rules.is_empty() => {}
            _ => drop(group.rules.remove(self.random.random_range(0..group.rules.len()))),
        }
    }

    fn rule(&mut self) -> Rule {
        Rule { direction: self.direction(), service: self.service(), peer: self.peer() }
    }

    fn service(&mut self) -> Service {
        match self.random.random_range(0..10) {
            0 => Service::All,
            1..4 => Service::Tcp(self.ports()),
            4..6 => Service::Udp(self.ports()),
            6 => Service::Icmp(self.selector(&ICMP_TYPES)),
            7 => Service::Icmpv6(self.selector(&ICMPV6_TYPES)),
            _ => {
                let number =
                    if self.chance(50) { self.pick(&PROTOCOLS_V4) } else { self.pick(&PROTOCOLS_V6) };
                Service::new(Protocol::from_number(number), None, None).unwrap()
            }
        }
    }

    fn ports(&mut self) -> PortRange {
        let (a, b) = (self.pick(&PORTS), self.pick(&PORTS));
        match self.random.random_range(0..4) {
            0 => PortRange::ALL,
            1 => PortRange::new(a.min(b), a.max(b)).unwrap(),
            _ => PortRange::new(a, a).unwrap(),
        }
    }

    fn selector(&mut self, types: &[u8]) -> IcmpSelector {
        let icmp_type = self.pick(types);
        match self.random.random_range(0..3) {
            0 => IcmpSelector::All,
            1 => IcmpSelector::Type(icmp_type),
            _ => IcmpSelector::TypeCode(icmp_type, self.random.random_range(0..2)),
        }
    }

    fn peer(&mut self) -> Peer {
        match self.random.random_range(0..10) {
            0..7 => {
                let is_ipv6 = self.chance(30);
                Peer::Cidr(self.prefix(is_ipv6))
            }
            7..9 => Peer::Group(self.pick(&GROUPS).to_owned()),
            _ => Peer::PrefixList(self.pick(&LISTS).to_owned()),
        }
    }

    fn prefix(&mut self, is_ipv6: bool) -> IpNet {
        let length = if is_ipv6 { self.pick(&PREFIX_LENGTHS_V6) } else { self.pick(&PREFIX_LENGTHS_V4) };
        IpNet::new(self.address(is_ipv6), length).unwrap().trunc()
    }
}

//! How rules, peers and services are called in a plan.

use std::collections::{BTreeMap, BTreeSet};

use firewall_common::abi::Direction;

use crate::model::{GroupId, Peer, PrefixListId, RuleId, SecurityRule, Service, Tags};
use crate::operations::queries::plan::Difference;
use crate::plan::{IcmpRange, ServiceRange, State};

/// Names of everything that a plan speaks of, before and after.
pub(super) struct Words<'p> {
    groups: BTreeMap<GroupId, &'p str>,
    prefix_lists: BTreeMap<PrefixListId, &'p str>,
    rules: BTreeMap<RuleId, &'p SecurityRule>,
    interfaces: BTreeMap<u32, &'p str>,
    audited: BTreeSet<u32>,
}

impl<'p> Words<'p> {
    pub(super) fn new(difference: &'p Difference) -> Self {
        let mut words = Self {
            groups: BTreeMap::new(),
            prefix_lists: BTreeMap::new(),
            rules: BTreeMap::new(),
            interfaces: BTreeMap::new(),
            audited: difference.audited().map(|interface| interface.slot).collect(),
        };
        // What changes is called by its new name.
        words.learn(&difference.before);
        words.learn(&difference.after);
        words
    }

    fn learn(&mut self, state: &'p State) {
        self.groups.extend(state.groups.iter().map(|group| (group.id, group.name.as_str())));
        self.prefix_lists.extend(state.prefix_lists.iter().map(|list| (list.id, list.name.as_str())));
        self.rules.extend(state.groups.iter().flat_map(|group| &group.rules).map(|rule| (rule.id, rule)));
        let interfaces = state.interfaces.iter();
        self.interfaces.extend(interfaces.map(|interface| (interface.slot, interface.name.as_str())));
    }

    pub(super) fn group(&self, group: GroupId) -> &'p str {
        self.groups.get(&group).copied().unwrap_or_default()
    }

    pub(super) fn groups(&self, groups: &[GroupId]) -> String {
        groups.iter().map(|group| self.group(*group)).collect::<Vec<_>>().join(", ")
    }

    /// The interfaces in some slots.
    pub(super) fn interfaces(&self, slots: &[u32]) -> Vec<&'p str> {
        slots.iter().filter_map(|slot| self.interfaces.get(slot)).copied().collect()
    }

    /// The same where it is said what their packets meet, which is nothing in audit mode.
    pub(super) fn deciding_interfaces(&self, slots: &[u32]) -> String {
        let named = slots.iter().filter_map(|slot| {
            let name = self.interfaces.get(slot)?;
            let mode = if self.audited.contains(slot) { " (audited)" } else { "" };
            Some(format!("{name}{mode}"))
        });
        named.collect::<Vec<_>>().join(", ")
    }

    /// `ingress tcp 443 from 0.0.0.0/0`.
    pub(super) fn rule(&self, rule: &SecurityRule) -> String {
        let (direction, preposition) = (rule.direction.name(), preposition(rule.direction));
        format!("{direction} {} {preposition} {}", service(rule.service), self.peer(rule.peer))
    }

    /// The same with its group, for rules that stand by themselves.
    pub(super) fn rule_of_group(&self, rule: RuleId) -> String {
        match self.rules.get(&rule) {
            Some(rule) => format!("{} in group {}", self.rule(rule), self.group(rule.group)),
            None => rule.to_string(),
        }
    }

    fn peer(&self, peer: Peer) -> String {
        match peer {
            Peer::Cidr(prefix) => prefix.to_string(),
            Peer::Group(group) => format!("group {}", self.group(group)),
            Peer::PrefixList(list) => {
                format!("prefix list {}", self.prefix_lists.get(&list).copied().unwrap_or_default())
            }
        }
    }
}

/// `from` or `to` the peer.
pub(super) const fn preposition(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "from",
        Direction::Egress => "to",
    }
}

/// `Name=web, env=test`.
pub(super) fn tags(tags: &Tags) -> String {
    if tags.is_empty() {
        return "none".to_owned();
    }
    tags.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(", ")
}

/// The service of a rule in the words for ranges of services.
fn service(service: Service) -> ServiceRange {
    match service {
        Service::All => ServiceRange::All,
        Service::Tcp(ports) => ServiceRange::Tcp { first: ports.first(), last: ports.last() },
        Service::Udp(ports) => ServiceRange::Udp { first: ports.first(), last: ports.last() },
        Service::Icmp(selector) => ServiceRange::Icmp(IcmpRange::from(selector)),
        Service::Icmpv6(selector) => ServiceRange::Icmpv6(IcmpRange::from(selector)),
        Service::Protocol(protocol) => {
            ServiceRange::Protocols { first: protocol.number(), last: protocol.number() }
        }
    }
}

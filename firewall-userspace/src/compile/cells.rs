//! The cells: which rules match for each pair of classes.

use std::collections::BTreeMap;

use firewall_common::abi::{CellKey, Direction, UNTRACKED};

use super::addresses::AddressClasses;
use super::services::{ClassKind, ServiceClasses};
use super::{FamilyPeer, FamilyRule, Policy, RuleSetIds};
use crate::model::{PortRange, Service};

/// Fills the cells of all policies.
pub(super) fn fill(
    policies: &[Policy<'_>],
    addresses: &AddressClasses,
    services: &ServiceClasses,
    rule_sets: &mut RuleSetIds,
) -> Vec<(CellKey, u32)> {
    let mut cells = Vec::new();
    for policy in policies {
        for direction in [Direction::Ingress, Direction::Egress] {
            let table = DirectionTable::new(policy, direction);
            for (class, peers) in (1..).zip(&addresses.peers) {
                for (service_class, rules) in table.matching(peers.iter(), services) {
                    let key = CellKey::new(policy.number, direction, class, service_class);
                    let kind = services.kinds[usize::from(service_class) - 1];
                    let untracked = if table.is_untracked(&rules, kind) { UNTRACKED } else { 0 };
                    let rule_set = rule_sets.id_of(rules.iter().map(|rule| rule.rule.id).collect());
                    cells.push((key, rule_set | untracked));
                }
            }
        }
    }
    cells
}

/// The rules of one policy and direction, by peer.
struct DirectionTable<'p, 'a> {
    by_peer: BTreeMap<FamilyPeer, Vec<&'p FamilyRule<'a>>>,
    /// The services that the other direction opens to any peer, as (is IPv6, service).
    open_reverse: Vec<(bool, Service)>,
}

impl<'p, 'a> DirectionTable<'p, 'a> {
    fn new(policy: &'p Policy<'a>, direction: Direction) -> Self {
        let mut by_peer: BTreeMap<FamilyPeer, Vec<&FamilyRule<'a>>> = BTreeMap::new();
        let mut open_reverse = Vec::new();
        for rule in &policy.rules {
            if rule.rule.direction == direction {
                by_peer.entry(rule.peer).or_default().push(rule);
            } else if rule.peer.is_any() {
                open_reverse.push((rule.peer.is_ipv6, rule.rule.service));
            }
        }
        Self { by_peer, open_reverse }
    }

    /// The rules that match addresses contained in `peers`, by service class.
    fn matching<'t>(
        &'t self,
        peers: impl Iterator<Item = &'t FamilyPeer>,
        services: &ServiceClasses,
    ) -> BTreeMap<u16, Vec<&'p FamilyRule<'a>>> {
        let mut matching: BTreeMap<u16, Vec<&FamilyRule<'a>>> = BTreeMap::new();
        for rule in peers.filter_map(|peer| self.by_peer.get(peer)).flatten() {
            for class in services.classes_of.get(&rule.rule.service).into_iter().flatten() {
                matching.entry(*class).or_default().push(rule);
            }
        }
        matching
    }

    /// AWS, "Untracked connections": TCP or UDP that a rule for `0.0.0.0/0` or `::/0` admits is not tracked where the
    /// other direction has a rule that admits any peer of the family on every port of the protocol.
    fn is_untracked(&self, rules: &[&FamilyRule<'_>], kind: ClassKind) -> bool {
        rules.iter().filter(|rule| rule.peer.is_any()).any(|rule| {
            self.open_reverse
                .iter()
                .any(|(is_ipv6, service)| *is_ipv6 == rule.peer.is_ipv6 && opens_every_port(*service, kind))
        })
    }
}

fn opens_every_port(service: Service, kind: ClassKind) -> bool {
    match (service, kind) {
        (Service::All, ClassKind::Tcp | ClassKind::Udp) => true,
        (Service::Tcp(ports), ClassKind::Tcp) | (Service::Udp(ports), ClassKind::Udp) => {
            ports == PortRange::ALL
        }
        _ => false,
    }
}

//! The cells: which rules match for each pair of classes.

use std::collections::{BTreeMap, BTreeSet};

use firewall_common::abi::{CellKey, Direction, EXEMPT, UNTRACKED};

use super::addresses::AddressClasses;
use super::services::{ClassKind, ServiceClasses};
use super::{FamilyPeer, FamilyRule, Policy, RuleSetIds};
use crate::model::{ExemptProperties, PortRange, Service};

/// Fills the cells of all policies.
pub(super) fn fill(
    policies: &[Policy<'_>],
    exempt: &[ExemptProperties],
    addresses: &AddressClasses,
    services: &ServiceClasses,
    rule_sets: &mut RuleSetIds,
) -> Vec<(CellKey, u32)> {
    let mut cells = Vec::new();
    for policy in policies {
        for direction in [Direction::Ingress, Direction::Egress] {
            let table = DirectionTable::new(policy, direction);
            for (class, peers) in (1..).zip(&addresses.peers) {
                let mut values = table.values(peers, services, rule_sets);
                for service_class in exempt_classes(exempt, direction, peers, services) {
                    *values.entry(service_class).or_insert(0) |= EXEMPT;
                }
                let key = |service_class| CellKey::new(policy.number, direction, class, service_class);
                cells.extend(values.into_iter().map(|(service_class, value)| (key(service_class), value)));
            }
        }
    }
    cells
}

/// The service classes that are exempt in a direction for addresses contained in `peers`.
///
/// What leaves for an exempt server is. Of what arrives, the programs know the replies of TCP and UDP by their source
/// port; other protocols have none, so that they are exempt both ways.
fn exempt_classes(
    exempt: &[ExemptProperties],
    direction: Direction,
    peers: &BTreeSet<FamilyPeer>,
    services: &ServiceClasses,
) -> BTreeSet<u16> {
    exempt
        .iter()
        .filter(|exempt| peers.contains(&FamilyPeer::cidr(exempt.prefix)))
        .filter_map(|exempt| services.classes_of.get(&exempt.service))
        .flatten()
        .copied()
        .filter(|class| direction == Direction::Egress || services.kind(*class) == ClassKind::Other)
        .collect()
}

/// The rules of one policy and direction, by peer.
struct DirectionTable<'p, 'a> {
    by_peer: BTreeMap<FamilyPeer, Vec<&'p FamilyRule<'a>>>,
    /// The services that the other direction opens to any peer, as (is IPv6, service).
    open_reverse: Vec<(bool, Service)>,
    always_track: &'p BTreeSet<FamilyPeer>,
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
        Self { by_peer, open_reverse, always_track: &policy.always_track }
    }

    /// The values of the cells of addresses contained in `peers`, by service class.
    fn values(
        &self,
        peers: &BTreeSet<FamilyPeer>,
        services: &ServiceClasses,
        rule_sets: &mut RuleSetIds,
    ) -> BTreeMap<u16, u32> {
        let is_always_tracked = !self.always_track.is_disjoint(peers);
        let mut values = BTreeMap::new();
        for (service_class, rules) in self.matching(peers.iter(), services) {
            let is_untracked = !is_always_tracked && self.is_untracked(&rules, services.kind(service_class));
            let rule_set = rule_sets.id_of(rules.iter().map(|rule| rule.rule.id).collect());
            values.insert(service_class, if is_untracked { rule_set | UNTRACKED } else { rule_set });
        }
        values
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

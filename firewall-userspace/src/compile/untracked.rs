//! What is admitted without state.
//!
//! AWS, "Untracked connections": TCP or UDP that a rule for `0.0.0.0/0` or `::/0` admits is not tracked where the other
//! direction has a rule that admits any peer of the family on every port of the protocol.
//!
//! Cells say so for each peer. Where no peer of an interface is always tracked, the services alone say it, and the
//! programs need not look for the peer ([`UntrackedServices`]).

use std::collections::{BTreeSet, HashSet};

use firewall_common::abi::{Direction, UntrackedServices};

use super::services::{ClassKind, ServiceClasses};
use super::{FamilyPeer, Policy};
use crate::model::{PortRange, Service};

/// Those that AWS leaves untracked.
const KINDS: [ClassKind; 2] = [ClassKind::Tcp, ClassKind::Udp];

/// What a policy opens to any peer on every port of a protocol, as (is IPv6, kind).
pub(super) struct OpenToAll {
    ingress: HashSet<(bool, ClassKind)>,
    egress: HashSet<(bool, ClassKind)>,
}

impl OpenToAll {
    pub(super) fn of(policy: &Policy<'_>, peers: &[FamilyPeer]) -> Self {
        let opened_in = |direction| {
            let rules = policy.rules.iter().filter(move |rule| rule.rule.direction == direction);
            let open = rules.filter(|rule| peers[rule.peer as usize].is_any());
            open.flat_map(|rule| {
                let kinds = KINDS.into_iter().filter(|kind| opens_every_port(rule.rule.service, *kind));
                kinds.map(|kind| (peers[rule.peer as usize].is_ipv6, kind))
            })
            .collect()
        };
        Self { ingress: opened_in(Direction::Ingress), egress: opened_in(Direction::Egress) }
    }

    /// Whether what a rule of this direction and peer admits, of this kind, is untracked.
    pub(super) fn leaves_untracked(&self, direction: Direction, peer: &FamilyPeer, kind: ClassKind) -> bool {
        let reverse = match direction {
            Direction::Ingress => &self.egress,
            Direction::Egress => &self.ingress,
        };
        peer.is_any() && reverse.contains(&(peer.is_ipv6, kind))
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

/// The rules that leave what they admit untracked, whoever the peer is.
pub(super) struct UntrackedRules {
    /// By number of the policy, from 1.
    of_policies: Vec<Vec<UntrackedRule>>,
}

/// Such a rule, and one kind of what it admits.
struct UntrackedRule {
    direction: Direction,
    is_ipv6: bool,
    kind: ClassKind,
    /// Number of its service.
    service: u32,
}

/// Finds them in all policies.
pub(super) fn rules(policies: &[Policy<'_>], peers: &[FamilyPeer]) -> UntrackedRules {
    UntrackedRules { of_policies: policies.iter().map(|policy| rules_of(policy, peers)).collect() }
}

fn rules_of(policy: &Policy<'_>, peers: &[FamilyPeer]) -> Vec<UntrackedRule> {
    if !policy.always_track.is_empty() {
        return Vec::new();
    }
    let open = OpenToAll::of(policy, peers);
    let of_rule = |rule: &super::FamilyRule<'_>| {
        let (peer, direction, service) = (peers[rule.peer as usize], rule.rule.direction, rule.service);
        let untracked = KINDS.map(|kind| open.leaves_untracked(direction, &peer, kind).then_some(kind));
        let kinds = untracked.into_iter().flatten();
        kinds.map(move |kind| UntrackedRule { direction, is_ipv6: peer.is_ipv6, kind, service })
    };
    policy.rules.iter().flat_map(of_rule).collect()
}

impl UntrackedRules {
    /// The services that are untracked somewhere.
    pub(super) fn services(&self) -> BTreeSet<u32> {
        self.of_policies.iter().flatten().map(|rule| rule.service).collect()
    }

    /// The classes that are untracked in a policy.
    pub(super) fn classes(&self, policy: u16, services: &ServiceClasses) -> UntrackedServices {
        let mut untracked = UntrackedServices::default();
        for rule in &self.of_policies[usize::from(policy) - 1] {
            for class in services.classes_of(rule.service) {
                if services.kind(*class) == rule.kind {
                    untracked.insert(rule.direction, rule.is_ipv6, *class);
                }
            }
        }
        untracked
    }
}

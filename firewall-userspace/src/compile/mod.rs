//! From security groups to tables.
//!
//! The rules of all groups of an interface are pooled into one *policy*, of both directions. Then two partitions are
//! made over all policies at once: of addresses into *address classes*, two addresses being in one class where the same
//! peers contain them, and of (protocol, port) into *service classes*, likewise. A rule is a peer and a service, so the
//! rules that match a packet depend on its two classes alone; each pair of classes that any rule matches is a *cell*,
//! whose value names the set of all rules that match. There are no priorities to preserve, so this is exact.
//!
//! Three things that are no rules take part in the partitions: exempt addresses and management prefixes, each of which sets a
//! bit in cells of every policy, and the peers whose traffic an interface always tracks, which keep another bit out of the cells of its policy.
//!
//! Called by `apply` before every publication. Pure: knows the model and the ABI, and neither aya nor the store.

mod addresses;
mod cells;
mod hashed;
mod intervals;
mod lookup;
mod numbering;
mod rule_sets;
mod services;
mod untracked;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use firewall_common::abi::{CellKey, RULE_SET, UntrackedServices};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

pub use hashed::PrefixTable;
pub use intervals::AddressIndex;
pub use lookup::InterfaceLookup;
pub use rule_sets::RuleSetIds;

use cells::Partitions;
use numbering::Numbering;

use crate::model::{
    AddressFamily, ExemptProperties, GroupId, GroupName, InterfaceOptions, ManagementProperties, Peer,
    PrefixList, SecurityGroup, SecurityRule, Service,
};

/// Everything that decides what the tables hold.
#[derive(Clone, Debug, Default)]
pub struct PolicyInput<'a> {
    /// The attached interfaces.
    pub interfaces: Vec<InterfaceInput>,
    /// Every group, with its rules.
    pub groups: Cow<'a, [SecurityGroup]>,
    /// Every prefix list.
    pub prefix_lists: Cow<'a, [PrefixList]>,
    /// Addresses of the members of each group: of interfaces that carry it, and those declared. A group that is
    /// missing has no members.
    pub members: BTreeMap<GroupId, Vec<IpNet>>,
    /// Servers that every interface may talk to whatever its rules say.
    pub exempt_addresses: Vec<ExemptProperties>,
    /// From where connections that rules admit pass even where their flows have no place, on every interface.
    pub management_prefixes: Vec<ManagementProperties>,
}

/// One attached interface.
#[derive(Clone, Debug)]
pub struct InterfaceInput {
    /// Slot in the maps.
    pub slot: u32,
    /// Zone of its flows.
    pub zone: u16,
    /// The groups it carries.
    pub groups: Vec<GroupId>,
    /// How its traffic is treated apart from the rules.
    pub options: InterfaceOptions,
}

/// Tables that can be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompiledPolicy {
    /// Interfaces, with the policy of each.
    pub interfaces: Vec<CompiledInterface>,
    /// IPv4 prefixes and their address classes, by address and then by length; longest match decides.
    pub addresses_v4: Vec<(Ipv4Net, u32)>,
    /// IPv6 prefixes and their address classes, by address and then by length; longest match decides.
    pub addresses_v6: Vec<(Ipv6Net, u32)>,
    /// Service classes by [`ServiceIndex`](firewall_common::abi::ServiceIndex); as long as the whole index space.
    pub services: Vec<u16>,
    /// Rule set ids, with the bits of the ABI, by policy, direction, address class and service class. A missing
    /// cell is a deny.
    pub cells: Vec<(CellKey, u32)>,
}

/// One interface in the tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompiledInterface {
    /// Slot in the maps.
    pub slot: u32,
    /// Zone of its flows.
    pub zone: u16,
    /// Number of its policy; interfaces with the same groups that always track the same peers share one. Never 0.
    pub policy: u16,
    /// Whether its policy has cells with the exempt bit.
    pub has_exempt_addresses: bool,
    /// What its policy leaves untracked whoever the peer is.
    pub untracked: UntrackedServices,
    /// How its traffic is treated apart from the rules.
    pub options: InterfaceOptions,
}

/// A policy that the tables cannot hold.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// More kinds of services than the tables can number.
    #[error("the rules distinguish more than {limit} kinds of services (protocol and port ranges)")]
    TooManyServices {
        /// How many there may be.
        limit: usize,
    },
    /// More interfaces with different policies than the tables can number.
    #[error("more than {limit} interfaces with different groups or always-tracked peers")]
    TooManyPolicies {
        /// How many there may be.
        limit: usize,
    },
    /// Prefixes that lie in the prefixes of too many other peers.
    #[error("the peers of the rules lie in each other more than {limit} times")]
    NestedPrefixes {
        /// How many times they may.
        limit: usize,
    },
    /// Port ranges that lie in too many others.
    #[error("the port ranges of the rules lie in each other more than {limit} times")]
    NestedPorts {
        /// How many times they may.
        limit: usize,
    },
    /// More pairs of addresses and services than the tables can hold.
    #[error(
        "the rules of {} distinguish more than {limit} combinations of peers and services, with those of other interfaces",
        list(groups)
    )]
    TooManyCells {
        /// The groups of the interface that is one too many.
        groups: Vec<GroupName>,
        /// How many there may be.
        limit: usize,
    },
    /// Every number that a set of rules can have was given: none is given twice.
    #[error("all {limit} numbers of rule sets have been given")]
    NoMoreRuleSets {
        /// How many there are.
        limit: u32,
    },
    /// Rules that match together too often.
    #[error("the rules of {} overlap more than {limit} times, with those of other interfaces", list(groups))]
    TooManyMatches {
        /// The groups of the interface that is one too many.
        groups: Vec<GroupName>,
        /// How many times they may.
        limit: usize,
    },
}

fn list(groups: &[GroupName]) -> String {
    let names: Vec<String> = groups.iter().map(|name| format!("'{name}'")).collect();
    names.join(", ")
}

/// Compiles. Rule sets that `rule_sets` does not know yet are added to it.
///
/// # Errors
///
/// [`CompileError`] where a table is too small.
pub fn compile(input: &PolicyInput<'_>, rule_sets: &mut RuleSetIds) -> Result<CompiledPolicy, CompileError> {
    compile_within(LIMITS, input, rule_sets)
}

/// How much there may be. What rules distinguish grows with their product where wide and narrow ones overlap, so there is
/// an end to it, before anything is put into force.
#[derive(Clone, Copy)]
struct Limits {
    /// Cells. One takes up to 34 bytes in each half of its arena.
    cells: usize,
    /// How many times rules match in cells, prefixes lie in each other, and ports belong to services, each counted by
    /// itself. One takes up to 32 bytes while the policy is compiled.
    matches: usize,
}

/// A quarter of a gigabyte in the kernel, and up to half a gigabyte in user space.
const LIMITS: Limits = Limits { cells: 1 << 22, matches: 1 << 24 };

fn compile_within(
    limits: Limits,
    input: &PolicyInput<'_>,
    rule_sets: &mut RuleSetIds,
) -> Result<CompiledPolicy, CompileError> {
    let mut numbers = Numbers::default();
    let (policies, mut interfaces) = pool(input, &mut numbers)?;
    let exempt: Vec<NamedPeer> = input
        .exempt_addresses
        .iter()
        .filter(|exempt| exempt.can_match())
        .map(|exempt| numbers.exempt(exempt))
        .collect();
    let management: Vec<NamedPeer> =
        input.management_prefixes.iter().map(|prefix| numbers.management(prefix)).collect();
    let named = cells::Named { exempt: &exempt, management: &management };
    let peers = numbers.peers.values();
    let addresses = addresses::partition(peers, input, limits)?;
    let untracked = untracked::rules(&policies, peers);
    let services = services::partition(numbers.services.values(), &untracked.services(), limits)?;
    let partitions = Partitions { peers, addresses: &addresses, services: &services };
    let cells = cells::fill(&policies, named, &partitions, limits, rule_sets)?;
    if rule_sets.highest() > RULE_SET {
        // It would be read as a bit that passes packets.
        return Err(CompileError::NoMoreRuleSets { limit: RULE_SET });
    }
    for interface in &mut interfaces {
        interface.untracked = untracked.classes(interface.policy, &services);
    }
    Ok(CompiledPolicy {
        interfaces,
        addresses_v4: addresses.v4,
        addresses_v6: addresses.v6,
        services: services.indexes,
        cells,
    })
}

/// The peers and services of all policies.
#[derive(Default)]
struct Numbers {
    peers: Numbering<FamilyPeer>,
    services: Numbering<Service>,
}

/// The pooled rules of one combination of groups and always-tracked peers.
struct Policy<'a> {
    number: u16,
    groups: Vec<&'a GroupName>,
    /// By their ids.
    rules: Vec<FamilyRule<'a>>,
    /// Numbers of peers.
    always_track: BTreeSet<u32>,
}

/// A rule for one address family. The families are disjoint: `0.0.0.0/0` admits no IPv6, `icmp` means ICMP in IPv4 and
/// `icmpv6` ICMPv6 in IPv6, whatever the peer.
#[derive(Clone, Copy)]
struct FamilyRule<'a> {
    rule: &'a SecurityRule,
    /// Number of its peer in the family.
    peer: u32,
    /// Number of its service.
    service: u32,
}

/// An exempt address or a management prefix, as the numbers of its peer and its service.
#[derive(Clone, Copy)]
struct NamedPeer {
    peer: u32,
    service: u32,
}

impl Policy<'_> {
    /// For messages.
    fn group_names(&self) -> Vec<GroupName> {
        self.groups.iter().map(|name| (*name).clone()).collect()
    }
}

impl Numbers {
    fn exempt(&mut self, exempt: &ExemptProperties) -> NamedPeer {
        self.named(exempt.prefix, exempt.service)
    }

    fn management(&mut self, prefix: &ManagementProperties) -> NamedPeer {
        self.named(prefix.prefix, prefix.service.into())
    }

    fn named(&mut self, prefix: IpNet, service: Service) -> NamedPeer {
        let peer = self.peers.number(FamilyPeer::cidr(prefix));
        NamedPeer { peer, service: self.services.number(service) }
    }

    fn policy<'a>(
        &mut self,
        number: u16,
        groups: &[&'a SecurityGroup],
        always_track: BTreeSet<u32>,
    ) -> Policy<'a> {
        let mut rules: Vec<FamilyRule<'a>> = Vec::new();
        for rule in groups.iter().flat_map(|group| &group.rules) {
            let families = [AddressFamily::Ipv4, AddressFamily::Ipv6].into_iter();
            rules.extend(
                families.filter(|family| applies_to(rule, *family)).map(|family| self.rule(rule, family)),
            );
        }
        rules.sort_unstable_by_key(|rule| rule.rule.id);
        Policy { number, groups: groups.iter().map(|group| &group.name).collect(), rules, always_track }
    }

    fn rule<'a>(&mut self, rule: &'a SecurityRule, family: AddressFamily) -> FamilyRule<'a> {
        let peer = FamilyPeer { is_ipv6: family == AddressFamily::Ipv6, peer: rule.peer };
        FamilyRule { rule, peer: self.peers.number(peer), service: self.services.number(rule.service) }
    }
}

/// The addresses of one family that a peer stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct FamilyPeer {
    is_ipv6: bool,
    peer: Peer,
}

impl FamilyPeer {
    fn cidr(prefix: IpNet) -> Self {
        Self { is_ipv6: AddressFamily::of(&prefix) == AddressFamily::Ipv6, peer: Peer::Cidr(prefix) }
    }

    /// AWS speaks of `0.0.0.0/0` and `::/0` to the letter: two halves, or a prefix list with everything in it, are not
    /// "any peer".
    fn is_any(&self) -> bool {
        matches!(self.peer, Peer::Cidr(prefix) if prefix.prefix_len() == 0)
    }
}

fn pool<'a>(
    input: &'a PolicyInput<'_>,
    numbers: &mut Numbers,
) -> Result<(Vec<Policy<'a>>, Vec<CompiledInterface>), CompileError> {
    let groups: HashMap<GroupId, &SecurityGroup> =
        input.groups.iter().map(|group| (group.id, group)).collect();
    let has_exempt_addresses = input.exempt_addresses.iter().any(ExemptProperties::can_match);
    let mut known: BTreeMap<(BTreeSet<GroupId>, BTreeSet<u32>), u16> = BTreeMap::new();
    let mut policies = Vec::new();
    let mut interfaces = Vec::new();
    for interface in &input.interfaces {
        let carried: BTreeSet<GroupId> = interface.groups.iter().copied().collect();
        let always_track = interface.options.always_track.iter().copied().map(FamilyPeer::cidr);
        let always_track: BTreeSet<u32> = always_track.map(|peer| numbers.peers.number(peer)).collect();
        let key = (carried, always_track);
        let number = match known.get(&key) {
            Some(number) => *number,
            None => {
                let number = u16::try_from(known.len() + 1)
                    .map_err(|_| CompileError::TooManyPolicies { limit: usize::from(u16::MAX) })?;
                let groups: Vec<&SecurityGroup> =
                    key.0.iter().filter_map(|id| groups.get(id)).copied().collect();
                policies.push(numbers.policy(number, &groups, key.1.clone()));
                known.insert(key, number);
                number
            }
        };
        interfaces.push(CompiledInterface {
            slot: interface.slot,
            zone: interface.zone,
            policy: number,
            has_exempt_addresses,
            // Known once the services have classes.
            untracked: UntrackedServices::default(),
            options: interface.options.clone(),
        });
    }
    Ok((policies, interfaces))
}

fn applies_to(rule: &SecurityRule, family: AddressFamily) -> bool {
    let by_peer = match rule.peer {
        Peer::Cidr(prefix) => AddressFamily::of(&prefix) == family,
        Peer::Group(_) | Peer::PrefixList(_) => true,
    };
    by_peer && rule.service.is_of(family)
}

#[cfg(test)]
mod tests;

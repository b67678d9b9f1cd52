//! From security groups to tables.
//!
//! The rules of all groups of an interface are pooled into one *policy* per direction. Then two partitions are made
//! over all policies at once: of addresses into *address classes*, two addresses being in one class where the same
//! peers contain them, and of (protocol, port) into *service classes*, likewise. A rule is a peer and a service, so the
//! rules that match a packet depend on its two classes alone; each pair of classes that any rule matches is a *cell*,
//! whose value names the set of all rules that match. There are no priorities to preserve, so this is exact.
//!
//! Two things that are no rules take part in the partitions: exempt addresses, which set a bit in cells of every policy,
//! and the peers whose traffic an interface always tracks, which keep another bit out of the cells of its policy.
//!
//! Called by `apply` before every publication. Pure: knows the model and the ABI, and neither aya nor the store.

mod addresses;
mod cells;
mod intervals;
mod lookup;
mod rule_sets;
mod services;

use std::collections::{BTreeMap, BTreeSet};

use firewall_common::abi::CellKey;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

pub use lookup::InterfaceLookup;
pub use rule_sets::RuleSetIds;

use crate::model::{
    AddressFamily, ExemptProperties, GroupId, InterfaceOptions, Peer, PrefixList, SecurityGroup, SecurityRule,
};

/// Everything that decides what the tables hold.
#[derive(Clone, Debug, Default)]
pub struct PolicyInput {
    /// The attached interfaces.
    pub interfaces: Vec<InterfaceInput>,
    /// Every group, with its rules.
    pub groups: Vec<SecurityGroup>,
    /// Every prefix list.
    pub prefix_lists: Vec<PrefixList>,
    /// Addresses of the members of each group: of interfaces that carry it, and those declared. A group that is
    /// missing has no members.
    pub members: BTreeMap<GroupId, Vec<IpNet>>,
    /// Servers that every interface may talk to whatever its rules say.
    pub exempt_addresses: Vec<ExemptProperties>,
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
    /// Rule set ids, with the untracked and the exempt bit, by cell. A missing cell is a deny.
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
}

/// Compiles. Rule sets that `rule_sets` does not know yet are added to it.
///
/// # Errors
///
/// [`CompileError`] where a table is too small.
pub fn compile(input: &PolicyInput, rule_sets: &mut RuleSetIds) -> Result<CompiledPolicy, CompileError> {
    let (policies, interfaces) = pool(input)?;
    let rules = family_rules(&policies);
    let exempt: Vec<ExemptProperties> =
        input.exempt_addresses.iter().copied().filter(ExemptProperties::can_match).collect();
    let mut peers: BTreeSet<FamilyPeer> = rules.iter().map(|rule| rule.peer).collect();
    peers.extend(policies.iter().flat_map(|policy| &policy.always_track));
    peers.extend(exempt.iter().map(|exempt| FamilyPeer::cidr(exempt.prefix)));
    let addresses = addresses::partition(&peers, input);
    let named = rules.iter().map(|rule| rule.rule.service).chain(exempt.iter().map(|exempt| exempt.service));
    let services = services::partition(named)?;
    let cells = cells::fill(&policies, &exempt, &addresses, &services, rule_sets);
    Ok(CompiledPolicy {
        interfaces,
        addresses_v4: addresses.v4,
        addresses_v6: addresses.v6,
        services: services.indexes,
        cells,
    })
}

/// The pooled rules of one combination of groups and always-tracked peers.
struct Policy<'a> {
    number: u16,
    rules: Vec<FamilyRule<'a>>,
    always_track: BTreeSet<FamilyPeer>,
}

/// A rule for one address family. The families are disjoint: `0.0.0.0/0` admits no IPv6, `icmp` means ICMP in IPv4 and
/// `icmpv6` ICMPv6 in IPv6, whatever the peer.
#[derive(Clone, Copy)]
struct FamilyRule<'a> {
    rule: &'a SecurityRule,
    peer: FamilyPeer,
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

fn pool(input: &PolicyInput) -> Result<(Vec<Policy<'_>>, Vec<CompiledInterface>), CompileError> {
    let groups: BTreeMap<GroupId, &SecurityGroup> =
        input.groups.iter().map(|group| (group.id, group)).collect();
    let mut numbers: BTreeMap<(BTreeSet<GroupId>, BTreeSet<FamilyPeer>), u16> = BTreeMap::new();
    let mut policies = Vec::new();
    let mut interfaces = Vec::new();
    for interface in &input.interfaces {
        let carried: BTreeSet<GroupId> = interface.groups.iter().copied().collect();
        let always_track: BTreeSet<FamilyPeer> =
            interface.options.always_track.iter().copied().map(FamilyPeer::cidr).collect();
        let key = (carried, always_track);
        let number = match numbers.get(&key) {
            Some(number) => *number,
            None => {
                let number = u16::try_from(numbers.len() + 1)
                    .map_err(|_| CompileError::TooManyPolicies { limit: usize::from(u16::MAX) })?;
                let (carried, always_track) = &key;
                let pooled = carried.iter().filter_map(|id| groups.get(id)).flat_map(|group| &group.rules);
                let rules = pooled.flat_map(by_family).collect();
                policies.push(Policy { number, rules, always_track: always_track.clone() });
                numbers.insert(key, number);
                number
            }
        };
        interfaces.push(CompiledInterface {
            slot: interface.slot,
            zone: interface.zone,
            policy: number,
            has_exempt_addresses: input.exempt_addresses.iter().any(ExemptProperties::can_match),
            options: interface.options.clone(),
        });
    }
    Ok((policies, interfaces))
}

fn family_rules<'a>(policies: &[Policy<'a>]) -> Vec<FamilyRule<'a>> {
    policies.iter().flat_map(|policy| policy.rules.iter().copied()).collect()
}

fn by_family(rule: &SecurityRule) -> impl Iterator<Item = FamilyRule<'_>> {
    [AddressFamily::Ipv4, AddressFamily::Ipv6].into_iter().filter(|family| applies_to(rule, *family)).map(
        move |family| {
            let peer = FamilyPeer { is_ipv6: family == AddressFamily::Ipv6, peer: rule.peer };
            FamilyRule { rule, peer }
        },
    )
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

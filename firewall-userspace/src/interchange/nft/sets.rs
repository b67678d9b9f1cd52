//! Sets of addresses: groups and prefix lists have named ones, prefixes of rules stand in the line of the rule.

use std::collections::{BTreeMap, HashSet};

use firewall_common::abi::Direction;
use ipnet::IpNet;

use super::{find_group, groups_of};
use crate::interchange::identifier::Identifiers;
use crate::model::{AddressFamily, Document, GroupReference, PrefixListReference};

/// The sets that rules use.
pub(super) struct Sets<'d> {
    document: &'d Document,
    carried: HashSet<&'d str>,
    identifiers: Identifiers,
    /// The sets that were used, by what they stand for.
    used: BTreeMap<String, NamedSet>,
}

/// A named set: one in the ruleset for each family that it has addresses of.
#[derive(Clone, Debug)]
pub(super) struct NamedSet {
    name: String,
    prefixes: Vec<IpNet>,
}

/// The peers of a rule.
pub(super) enum PeerSet {
    Named(NamedSet),
    Listed(Vec<IpNet>),
}

/// IPv4 or IPv6, with the words for it.
#[derive(Clone, Copy)]
pub(super) enum Family {
    Ipv4,
    Ipv6,
}

impl<'d> Sets<'d> {
    pub(super) fn new(document: &'d Document) -> Self {
        let interfaces = document.interfaces.iter().flatten();
        let carried = interfaces.flat_map(|interface| groups_of(interface, document));
        Self {
            document,
            carried: carried.map(|group| group.name.as_str()).collect(),
            identifiers: Identifiers::default(),
            used: BTreeMap::new(),
        }
    }

    /// Whether an interface carries the group.
    pub(super) fn is_carried(&self, reference: &GroupReference) -> bool {
        find_group(reference, self.document).is_some_and(|group| self.carried.contains(group.name.as_str()))
    }

    /// The declared members of a group.
    pub(super) fn of_group(&mut self, reference: &GroupReference) -> Option<PeerSet> {
        let group = find_group(reference, self.document)?;
        Some(self.named(format!("group_{}", group.name), || group.members.iter().copied().collect()))
    }

    /// The entries of a prefix list.
    pub(super) fn of_prefix_list(&mut self, reference: &PrefixListReference) -> Option<PeerSet> {
        let list = self.document.prefix_lists.iter().flatten().find(|list| match reference {
            PrefixListReference::Id(id) => list.id == Some(*id),
            PrefixListReference::Name(name) => list.name == *name,
        })?;
        let prefixes = || list.entries.iter().map(|entry| entry.prefix).collect();
        Some(self.named(format!("list_{}", list.name), prefixes))
    }

    /// What the chains refer to.
    pub(super) fn declarations(&self) -> String {
        let mut declarations = String::new();
        for set in self.used.values() {
            for family in Family::ALL {
                let prefixes = family.of(&set.prefixes);
                if prefixes.is_empty() || family.is_every_address(&prefixes) {
                    continue;
                }
                declarations += &format!(
                    "\tset {} {{\n\t\ttype {}\n\t\tflags interval\n\t\telements = {{ {} }}\n\t}}\n\n",
                    family.set_name(&set.name),
                    family.set_type(),
                    joined(&prefixes),
                );
            }
        }
        declarations
    }

    fn named(&mut self, key: String, prefixes: impl FnOnce() -> Vec<IpNet>) -> PeerSet {
        let identifiers = &mut self.identifiers;
        let set = self
            .used
            .entry(key)
            .or_insert_with_key(|key| NamedSet { name: identifiers.give(key), prefixes: prefixes() });
        PeerSet::Named(set.clone())
    }
}

impl PeerSet {
    /// What matches its addresses of a family; none if it has none.
    pub(super) fn expression(&self, family: Family, direction: Direction) -> Option<String> {
        let (Self::Named(NamedSet { prefixes, .. }) | Self::Listed(prefixes)) = self;
        let prefixes = family.of(prefixes);
        if prefixes.is_empty() {
            return None;
        }
        if family.is_every_address(&prefixes) {
            return Some(format!("meta nfproto {}", family.nfproto()));
        }
        let side = match direction {
            Direction::Ingress => "saddr",
            Direction::Egress => "daddr",
        };
        let set = match self {
            Self::Named(set) => format!("@{}", family.set_name(&set.name)),
            Self::Listed(_) => format!("{{ {} }}", joined(&prefixes)),
        };
        Some(format!("{} {side} {set}", family.header()))
    }
}

impl Family {
    pub(super) const ALL: [Self; 2] = [Self::Ipv4, Self::Ipv6];

    pub(super) const fn address_family(self) -> AddressFamily {
        match self {
            Self::Ipv4 => AddressFamily::Ipv4,
            Self::Ipv6 => AddressFamily::Ipv6,
        }
    }

    /// Those of the family, without any that is in another: the elements of an interval set must not overlap.
    fn of(self, prefixes: &[IpNet]) -> Vec<IpNet> {
        let of_family = prefixes.iter().filter(|prefix| AddressFamily::of(prefix) == self.address_family());
        IpNet::aggregate(&of_family.copied().collect())
    }

    fn is_every_address(self, aggregated: &[IpNet]) -> bool {
        aggregated.iter().any(|prefix| prefix.prefix_len() == 0)
    }

    fn set_name(self, name: &str) -> String {
        match self {
            Self::Ipv4 => format!("{name}_v4"),
            Self::Ipv6 => format!("{name}_v6"),
        }
    }

    const fn header(self) -> &'static str {
        match self {
            Self::Ipv4 => "ip",
            Self::Ipv6 => "ip6",
        }
    }

    const fn nfproto(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        }
    }

    const fn set_type(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4_addr",
            Self::Ipv6 => "ipv6_addr",
        }
    }
}

fn joined(prefixes: &[IpNet]) -> String {
    prefixes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

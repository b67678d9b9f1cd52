//! What the tables say about one packet, found as the programs find it.
//!
//! Asked by `apply` about connections that are open already and about those that must stay possible, and by the compiler's
//! own tests.

use std::collections::BTreeSet;
use std::net::IpAddr;

use firewall_common::abi::{CellKey, Direction, EXEMPT, RULE_SET, ServiceIndex, UNTRACKED};
use ipnet::IpNet;

use super::CompiledPolicy;

/// The policy of one interface, for many lookups. The tables are sorted, so that nothing but the lengths needs an index.
#[derive(Debug)]
pub struct InterfaceLookup<'a> {
    policy: u16,
    tables: &'a CompiledPolicy,
    /// The prefix lengths that occur, by family.
    lengths_v4: BTreeSet<u8>,
    lengths_v6: BTreeSet<u8>,
}

impl CompiledPolicy {
    /// The policy of the interface at `slot`; `None` if there is no interface.
    #[must_use]
    pub fn lookup(&self, slot: u32) -> Option<InterfaceLookup<'_>> {
        let policy = self.interfaces.iter().find(|interface| interface.slot == slot)?.policy;
        Some(InterfaceLookup {
            policy,
            tables: self,
            lengths_v4: self.addresses_v4.iter().map(|(prefix, _)| prefix.prefix_len()).collect(),
            lengths_v6: self.addresses_v6.iter().map(|(prefix, _)| prefix.prefix_len()).collect(),
        })
    }
}

impl InterfaceLookup<'_> {
    /// The value of the cell of a packet; 0 is a deny.
    #[must_use]
    pub fn cell(&self, direction: Direction, peer: IpAddr, service: ServiceIndex) -> u32 {
        self.cell_of_classes(direction, self.address_class(peer.into()), self.service_class(service))
    }

    /// The rule set that admits the first packet of a flow; `None` where no rule does, and where no state is kept
    /// because replies pass without it.
    #[must_use]
    pub fn tracked_by(&self, direction: Direction, peer: IpAddr, service: ServiceIndex) -> Option<u32> {
        let cell = self.cell(direction, peer, service);
        let rule_set = cell & RULE_SET;
        (rule_set != 0 && cell & (UNTRACKED | EXEMPT) == 0).then_some(rule_set)
    }

    /// The parts of `prefix` whose addresses no rule admits as peers, for at least one of the services.
    #[must_use]
    pub fn denied(
        &self,
        direction: Direction,
        prefix: IpNet,
        services: impl Iterator<Item = ServiceIndex>,
    ) -> Vec<IpNet> {
        let service_classes: BTreeSet<u16> = services.map(|service| self.service_class(service)).collect();
        let is_denied = |address_class| {
            service_classes.iter().any(|service_class| {
                self.cell_of_classes(direction, address_class, *service_class) & RULE_SET == 0
            })
        };
        let mut denied = Vec::new();
        let class = self.address_class(prefix);
        select(prefix, class, &self.prefixes_inside(prefix), &is_denied, &mut denied);
        IpNet::aggregate(&denied)
    }

    fn cell_of_classes(&self, direction: Direction, address_class: u32, service_class: u16) -> u32 {
        let key = CellKey::new(self.policy, direction, address_class, service_class);
        let cells = &self.tables.cells;
        let place = cells.binary_search_by_key(&place(&key), |(other, _)| place(other));
        place.map_or(0, |place| cells[place].1)
    }

    fn service_class(&self, service: ServiceIndex) -> u16 {
        self.tables.services[service.get() as usize]
    }

    /// The class of the longest prefix that contains `prefix`.
    fn address_class(&self, prefix: IpNet) -> u32 {
        let lengths = match prefix {
            IpNet::V4(_) => &self.lengths_v4,
            IpNet::V6(_) => &self.lengths_v6,
        };
        let shorter = lengths.range(..=prefix.prefix_len()).rev();
        let containing = shorter.filter_map(|length| IpNet::new(prefix.addr(), *length).ok());
        containing.filter_map(|prefix| self.class_of_prefix(prefix.trunc())).next().unwrap_or(0)
    }

    /// The class of a prefix, if the tables have it.
    fn class_of_prefix(&self, prefix: IpNet) -> Option<u32> {
        match prefix {
            IpNet::V4(prefix) => class_of(prefix, &self.tables.addresses_v4),
            IpNet::V6(prefix) => class_of(prefix, &self.tables.addresses_v6),
        }
    }

    /// The prefixes of the tables inside `outer`, with their classes, by address and then by length.
    fn prefixes_inside(&self, outer: IpNet) -> Vec<(IpNet, u32)> {
        match outer {
            IpNet::V4(outer) => {
                let prefixes = &self.tables.addresses_v4;
                let first = prefixes.partition_point(|(prefix, _)| *prefix < outer);
                let inside = prefixes[first..].iter().take_while(|(prefix, _)| outer.contains(prefix));
                inside.map(|(prefix, class)| (IpNet::V4(*prefix), *class)).collect()
            }
            IpNet::V6(outer) => {
                let prefixes = &self.tables.addresses_v6;
                let first = prefixes.partition_point(|(prefix, _)| *prefix < outer);
                let inside = prefixes[first..].iter().take_while(|(prefix, _)| outer.contains(prefix));
                inside.map(|(prefix, class)| (IpNet::V6(*prefix), *class)).collect()
            }
        }
    }
}

/// What the cells are sorted by.
const fn place(key: &CellKey) -> (u16, u32, u16) {
    (key.policy, key.direction_and_address_class, key.service_class)
}

fn class_of<N: Ord>(prefix: N, classes: &[(N, u32)]) -> Option<u32> {
    let place = classes.binary_search_by(|(other, _)| other.cmp(&prefix)).ok()?;
    Some(classes[place].1)
}

/// Cuts `prefix`, whose addresses are of `class` where none of the prefixes `inside` says otherwise, into pieces of one
/// class each, and collects those of a wanted class.
fn select(
    prefix: IpNet,
    class: u32,
    inside: &[(IpNet, u32)],
    is_wanted: &impl Fn(u32) -> bool,
    selected: &mut Vec<IpNet>,
) {
    let (class, inside) = match inside {
        [(first, class), rest @ ..] if *first == prefix => (*class, rest),
        _ => (class, inside),
    };
    if inside.is_empty() {
        selected.extend(is_wanted(class).then_some(prefix));
        return;
    }
    // What is inside is longer, so the prefix can be halved.
    for half in prefix.subnets(prefix.prefix_len() + 1).into_iter().flatten() {
        let first = inside.partition_point(|(inner, _)| inner.network() < half.network());
        let end = inside.partition_point(|(inner, _)| inner.network() <= half.broadcast());
        select(half, class, &inside[first..end], is_wanted, selected);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Classes of prefixes in the notation `PREFIX=CLASS`, of which 7 is wanted.
    fn selected(prefix: &str, class: u32, inside: &[&str]) -> Vec<String> {
        let inside: Vec<(IpNet, u32)> = inside
            .iter()
            .map(|text| text.split_once('=').unwrap())
            .map(|(prefix, class)| (prefix.parse().unwrap(), class.parse().unwrap()))
            .collect();
        let mut selected = Vec::new();
        select(prefix.parse().unwrap(), class, &inside, &|class| class == 7, &mut selected);
        IpNet::aggregate(&selected).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_prefix_without_others_inside_is_of_one_class() {
        assert_eq!(selected("10.0.0.0/8", 7, &[]), ["10.0.0.0/8"]);
        assert_eq!(selected("10.0.0.0/8", 7, &["10.0.0.0/8=1"]), Vec::<String>::new());
        assert_eq!(selected("2001:db8::1/128", 1, &["2001:db8::1/128=7"]), ["2001:db8::1/128"]);
    }

    #[test]
    fn what_others_cover_together_does_not_count() {
        let halves = ["10.0.0.0/25=1", "10.0.0.128/25=2"];
        assert_eq!(selected("10.0.0.0/24", 7, &halves), Vec::<String>::new());
        let halves = ["0.0.0.0/1=1", "128.0.0.0/1=1", "255.255.255.255/32=7"];
        assert_eq!(selected("0.0.0.0/0", 7, &halves), ["255.255.255.255/32"]);
    }

    #[test]
    fn holes_in_holes_are_found() {
        let inside = ["10.1.0.0/16=1", "10.1.2.0/24=7", "10.1.2.3/32=1"];
        let rest = selected("10.1.0.0/16", 7, &inside);
        assert_eq!(rest.len(), 8, "{rest:?}");
        assert!(
            rest.contains(&"10.1.2.2/32".to_owned()) && !rest.contains(&"10.1.2.3/32".to_owned()),
            "{rest:?}"
        );
    }
}

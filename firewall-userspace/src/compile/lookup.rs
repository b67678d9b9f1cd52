//! What the tables say about one packet, found as the programs find it.
//!
//! Asked by `apply` about connections that are open already, and by the compiler's own tests.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use firewall_common::abi::{CellKey, Direction, EXEMPT, RULE_SET, ServiceIndex, UNTRACKED};
use ipnet::IpNet;

use super::CompiledPolicy;

/// The policy of one interface, indexed for many lookups.
#[derive(Debug)]
pub struct InterfaceLookup<'a> {
    policy: u16,
    services: &'a [u16],
    cells: HashMap<CellKey, u32>,
    address_classes: HashMap<IpNet, u32>,
    /// The prefix lengths that occur, by family.
    lengths_v4: BTreeSet<u8>,
    lengths_v6: BTreeSet<u8>,
}

impl CompiledPolicy {
    /// The policy of the interface at `slot`; `None` if there is no interface.
    #[must_use]
    pub fn lookup(&self, slot: u32) -> Option<InterfaceLookup<'_>> {
        let policy = self.interfaces.iter().find(|interface| interface.slot == slot)?.policy;
        let v4 = self.addresses_v4.iter().map(|(prefix, class)| (IpNet::V4(*prefix), *class));
        let v6 = self.addresses_v6.iter().map(|(prefix, class)| (IpNet::V6(*prefix), *class));
        Some(InterfaceLookup {
            policy,
            services: &self.services,
            cells: self.cells.iter().copied().filter(|(key, _)| key.policy == policy).collect(),
            address_classes: v4.chain(v6).collect(),
            lengths_v4: self.addresses_v4.iter().map(|(prefix, _)| prefix.prefix_len()).collect(),
            lengths_v6: self.addresses_v6.iter().map(|(prefix, _)| prefix.prefix_len()).collect(),
        })
    }
}

impl InterfaceLookup<'_> {
    /// The value of the cell of a packet; 0 is a deny.
    #[must_use]
    pub fn cell(&self, direction: Direction, peer: IpAddr, service: ServiceIndex) -> u32 {
        let service_class = self.services[service.get() as usize];
        let key = CellKey::new(self.policy, direction, self.address_class(peer), service_class);
        self.cells.get(&key).copied().unwrap_or(0)
    }

    /// The rule set that admits the first packet of a flow; `None` where no rule does, and where no state is kept
    /// because replies pass without it.
    #[must_use]
    pub fn tracked_by(&self, direction: Direction, peer: IpAddr, service: ServiceIndex) -> Option<u32> {
        let cell = self.cell(direction, peer, service);
        let rule_set = cell & RULE_SET;
        (rule_set != 0 && cell & (UNTRACKED | EXEMPT) == 0).then_some(rule_set)
    }

    /// The class of the longest prefix that contains the address.
    fn address_class(&self, address: IpAddr) -> u32 {
        let lengths = if address.is_ipv4() { &self.lengths_v4 } else { &self.lengths_v6 };
        let containing = lengths.iter().rev().filter_map(|length| IpNet::new(address, *length).ok());
        containing.filter_map(|prefix| self.address_classes.get(&prefix.trunc())).next().copied().unwrap_or(0)
    }
}

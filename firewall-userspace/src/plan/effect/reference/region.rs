//! Regions, by comparing every piece of addresses with every piece of services that a policy has a cell for, and each set of
//! peers with all others.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use firewall_common::abi::{Direction, EXEMPT, RULE_SET, UNTRACKED};

use super::super::{Region, ServiceRange, address, cell, service};
use crate::compile::CompiledPolicy;
use crate::model::AddressFamily;

/// Where two policies decide differently, by what differs.
#[derive(Default)]
pub(super) struct Regions {
    pub(super) newly_reachable: Vec<Region>,
    pub(super) no_longer_reachable: Vec<Region>,
    pub(super) newly_tracked: Vec<Region>,
    pub(super) no_longer_tracked: Vec<Region>,
}

/// Compares the policies of every interface that both have.
pub(super) fn compare(before: &CompiledPolicy, after: &CompiledPolicy) -> Regions {
    let mut slots: BTreeMap<(u16, u16), Vec<u32>> = BTreeMap::new();
    for interface in &before.interfaces {
        if let Some(same) = after.interfaces.iter().find(|same| same.slot == interface.slot) {
            slots.entry((interface.policy, same.policy)).or_default().push(interface.slot);
        }
    }
    let mut regions = Regions::default();
    for family in [AddressFamily::Ipv4, AddressFamily::Ipv6] {
        let refinement = Refinement::new(family, before, after);
        for (&policies, slots) in &slots {
            for direction in [Direction::Ingress, Direction::Egress] {
                let cells = Cells::new(before, after, policies, direction);
                for (difference, pieces) in refinement.differences(&cells) {
                    let found = refinement.regions(slots, direction, pieces);
                    regions.of(difference).extend(found);
                }
            }
        }
    }
    regions
}

/// How a packet that begins a flow is decided.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Decision {
    Denied,
    Tracked,
    /// Untracked, or exempt by its address.
    Stateless,
}

impl Decision {
    const fn of(cell: u32) -> Self {
        match cell {
            cell if cell & EXEMPT != 0 => Self::Stateless,
            cell if cell & RULE_SET == 0 => Self::Denied,
            cell if cell & UNTRACKED != 0 => Self::Stateless,
            _ => Self::Tracked,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Difference {
    NewlyReachable,
    NoLongerReachable,
    NewlyTracked,
    NoLongerTracked,
}

impl Difference {
    const fn between(before: Decision, after: Decision) -> Option<Self> {
        match (before, after) {
            (Decision::Denied, Decision::Tracked | Decision::Stateless) => Some(Self::NewlyReachable),
            (Decision::Tracked | Decision::Stateless, Decision::Denied) => Some(Self::NoLongerReachable),
            (Decision::Stateless, Decision::Tracked) => Some(Self::NewlyTracked),
            (Decision::Tracked, Decision::Stateless) => Some(Self::NoLongerTracked),
            (Decision::Denied, Decision::Denied)
            | (Decision::Tracked, Decision::Tracked)
            | (Decision::Stateless, Decision::Stateless) => None,
        }
    }
}

impl Regions {
    const fn of(&mut self, difference: Difference) -> &mut Vec<Region> {
        match difference {
            Difference::NewlyReachable => &mut self.newly_reachable,
            Difference::NoLongerReachable => &mut self.no_longer_reachable,
            Difference::NewlyTracked => &mut self.newly_tracked,
            Difference::NoLongerTracked => &mut self.no_longer_tracked,
        }
    }
}

/// The cells of one policy and direction, before and after: by address class, then by service class.
struct Cells {
    before: HashMap<u32, BTreeMap<u16, u32>>,
    after: HashMap<u32, BTreeMap<u16, u32>>,
}

impl Cells {
    fn new(
        before: &CompiledPolicy,
        after: &CompiledPolicy,
        policies: (u16, u16),
        direction: Direction,
    ) -> Self {
        Self {
            before: cells_of(before, policies.0, direction),
            after: cells_of(after, policies.1, direction),
        }
    }
}

fn cells_of(policy: &CompiledPolicy, number: u16, direction: Direction) -> HashMap<u32, BTreeMap<u16, u32>> {
    let mut cells: HashMap<u32, BTreeMap<u16, u32>> = HashMap::new();
    let wanted =
        policy.cells.iter().filter(|(key, _)| key.policy == number && cell::direction(key) == direction);
    for (key, value) in wanted {
        cells.entry(cell::address_class(key)).or_default().insert(key.service_class, *value);
    }
    cells
}

/// Number of an address piece or of a service piece.
type Piece = usize;

/// The pieces in which neither policy distinguishes addresses or services of one family.
struct Refinement {
    family: AddressFamily,
    addresses: Vec<(address::ClassPair, Vec<(u128, u128)>)>,
    services: Vec<(service::ClassPair, Vec<service::Run>)>,
    /// The service pieces by service class, before and after.
    services_before: BTreeMap<u16, Vec<Piece>>,
    services_after: BTreeMap<u16, Vec<Piece>>,
}

impl Refinement {
    fn new(family: AddressFamily, before: &CompiledPolicy, after: &CompiledPolicy) -> Self {
        let addresses = address::refine(family, before, after).into_iter().collect();
        let services: Vec<_> = service::refine(&service::possible(family), &before.services, &after.services)
            .into_iter()
            .collect();
        let (mut services_before, mut services_after) = (BTreeMap::new(), BTreeMap::new());
        for (piece, ((class_before, class_after), _)) in services.iter().enumerate() {
            services_before.entry(*class_before).or_insert_with(Vec::new).push(piece);
            services_after.entry(*class_after).or_insert_with(Vec::new).push(piece);
        }
        Self { family, addresses, services, services_before, services_after }
    }

    /// The address pieces in which each service piece is decided differently, by what differs.
    fn differences(&self, cells: &Cells) -> BTreeMap<Difference, BTreeMap<Piece, Vec<Piece>>> {
        let nothing = BTreeMap::new();
        let mut differences: BTreeMap<Difference, BTreeMap<Piece, Vec<Piece>>> = BTreeMap::new();
        for (address, ((class_before, class_after), _)) in self.addresses.iter().enumerate() {
            let before = cells.before.get(class_before).unwrap_or(&nothing);
            let after = cells.after.get(class_after).unwrap_or(&nothing);
            for service in self.named(before, after) {
                let (service_before, service_after) = self.services[service].0;
                let decision =
                    |cells: &BTreeMap<u16, u32>, class| Decision::of(cells.get(&class).copied().unwrap_or(0));
                let (was, will_be) = (decision(before, service_before), decision(after, service_after));
                if let Some(difference) = Difference::between(was, will_be) {
                    differences.entry(difference).or_default().entry(service).or_default().push(address);
                }
            }
        }
        differences
    }

    /// The service pieces for which either policy has a cell: all others are denied by both.
    fn named(&self, before: &BTreeMap<u16, u32>, after: &BTreeMap<u16, u32>) -> BTreeSet<Piece> {
        let by_before = before.keys().filter_map(|class| self.services_before.get(class));
        let by_after = after.keys().filter_map(|class| self.services_after.get(class));
        by_before.chain(by_after).flatten().copied().collect()
    }

    /// Puts pieces together: one region for each set of peers that occurs.
    fn regions(
        &self,
        slots: &[u32],
        direction: Direction,
        pieces: BTreeMap<Piece, Vec<Piece>>,
    ) -> Vec<Region> {
        let mut by_peers: BTreeMap<Vec<Piece>, Vec<Piece>> = BTreeMap::new();
        for (service, addresses) in pieces {
            by_peers.entry(addresses).or_default().push(service);
        }
        let wider = wider(&by_peers);
        let region = |(addresses, services): (&Vec<Piece>, &Vec<Piece>)| {
            let spans = addresses.iter().flat_map(|address| &self.addresses[*address].1).copied().collect();
            let peers = address::ranges(self.family, spans);
            Region {
                slots: slots.to_vec(),
                direction,
                peers,
                services: self.shortest(services, &wider[addresses]),
            }
        };
        let mut regions: Vec<Region> = by_peers.iter().map(region).collect();
        regions.sort_by(|a, b| (&a.services, &a.peers).cmp(&(&b.services, &b.peers)));
        regions
    }

    /// What wider sets of peers may reach is part of a region too. It is said twice where that is shorter: `all protocols`
    /// instead of everything around a port that is open to more peers.
    fn shortest(&self, own: &[Piece], wider: &[Piece]) -> Vec<ServiceRange> {
        let alone = self.service_ranges(own.iter());
        if alone.len() == 1 {
            return alone;
        }
        let together = self.service_ranges(own.iter().chain(wider));
        if together.len() < alone.len() { together } else { alone }
    }

    fn service_ranges<'p>(&self, services: impl Iterator<Item = &'p Piece>) -> Vec<ServiceRange> {
        let runs = services.flat_map(|service| &self.services[*service].1).copied().collect();
        service::ranges(&service::possible(self.family), runs)
    }
}

/// The services of the sets of peers that contain each set, besides its own.
fn wider(by_peers: &BTreeMap<Vec<Piece>, Vec<Piece>>) -> HashMap<&Vec<Piece>, Vec<Piece>> {
    let mut sets_with: HashMap<Piece, Vec<&Vec<Piece>>> = HashMap::new();
    for set in by_peers.keys() {
        set.iter().for_each(|address| sets_with.entry(*address).or_default().push(set));
    }
    let services_of = |set: &Vec<Piece>| {
        let with_first = set.first().and_then(|first| sets_with.get(first)).into_iter().flatten();
        let around = with_first.filter(|other| other.len() > set.len() && is_subset(set, other));
        around.flat_map(|other| &by_peers[*other]).copied().collect()
    };
    by_peers.keys().map(|set| (set, services_of(set))).collect()
}

/// Whether one ascending list holds all of the other.
fn is_subset(small: &[Piece], large: &[Piece]) -> bool {
    small.iter().all(|piece| large.binary_search(piece).is_ok())
}

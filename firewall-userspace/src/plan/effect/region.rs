//! Where two policies decide differently, in as few and as readable regions as there are.

use std::collections::BTreeMap;

use firewall_common::abi::Direction;
use foldhash::{HashMap, HashMapExt as _};

use super::decision::Difference;
use super::rows::{Rows, decision};
use super::runs::Runs;
use super::wider::Wider;
use super::work::{TooMuch, Work};
use super::{AddressRange, ServiceRange, address, service};
use crate::compile::CompiledPolicy;
use crate::model::AddressFamily;

/// Every pair of one of the peers and one of the services, on each of the interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Slots of the interfaces.
    pub slots: Vec<u32>,
    /// Direction of the packet that begins a flow.
    pub direction: Direction,
    /// Its other end: all of one family.
    pub peers: Vec<AddressRange>,
    /// What it wants.
    pub services: Vec<ServiceRange>,
}

/// Where two policies decide differently, by what differs.
#[derive(Default)]
pub(super) struct Regions {
    pub(super) newly_reachable: Vec<Region>,
    pub(super) no_longer_reachable: Vec<Region>,
    pub(super) newly_tracked: Vec<Region>,
    pub(super) no_longer_tracked: Vec<Region>,
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

/// Compares the policies of every interface that both have.
pub(super) fn compare(
    before: &CompiledPolicy,
    after: &CompiledPolicy,
    work: &mut Work,
) -> Result<Regions, TooMuch> {
    let policies_after: HashMap<u32, u16> =
        after.interfaces.iter().map(|interface| (interface.slot, interface.policy)).collect();
    let mut slots: BTreeMap<(u16, u16), Vec<u32>> = BTreeMap::new();
    for interface in &before.interfaces {
        if let Some(policy) = policies_after.get(&interface.slot) {
            slots.entry((interface.policy, *policy)).or_default().push(interface.slot);
        }
    }
    let (rows_before, rows_after) = (Rows::of_all(before), Rows::of_all(after));
    let nothing = Rows::default();
    let mut regions = Regions::default();
    for family in [AddressFamily::Ipv4, AddressFamily::Ipv6] {
        let refinement = Refinement::new(family, before, after);
        for (&(policy_before, policy_after), slots) in &slots {
            for direction in [Direction::Ingress, Direction::Egress] {
                let rows = BothRows {
                    before: rows_before.get(&Rows::of(policy_before, direction)).unwrap_or(&nothing),
                    after: rows_after.get(&Rows::of(policy_after, direction)).unwrap_or(&nothing),
                };
                let blocks = refinement.blocks(&rows);
                for (difference, columns) in refinement.differences(&rows, &blocks, work)? {
                    let found = refinement.regions(slots, direction, &blocks, columns, work)?;
                    regions.of(difference).extend(found);
                }
            }
        }
    }
    Ok(regions)
}

/// The rows of one policy and direction, before and after.
struct BothRows<'r> {
    before: &'r Rows,
    after: &'r Rows,
}

/// Number of an address piece or of a service piece.
type Piece = usize;

/// Address pieces between which neither policy distinguishes anything.
struct Block {
    before: Option<u32>,
    after: Option<u32>,
    pieces: Vec<Piece>,
}

/// The blocks in which service pieces are decided differently.
type Columns = BTreeMap<Piece, Runs>;

/// The pieces in which neither policy distinguishes addresses or services of one family.
struct Refinement {
    family: AddressFamily,
    possible: Vec<service::Run>,
    addresses: Vec<(address::ClassPair, Vec<(u128, u128)>)>,
    services: Vec<(service::ClassPair, Vec<service::Run>)>,
    /// The service pieces by service class, before and after.
    services_before: HashMap<u16, Vec<Piece>>,
    services_after: HashMap<u16, Vec<Piece>>,
}

impl Refinement {
    fn new(family: AddressFamily, before: &CompiledPolicy, after: &CompiledPolicy) -> Self {
        let possible = service::possible(family);
        let addresses = address::refine(family, before, after).into_iter().collect();
        let services: Vec<_> =
            service::refine(&possible, &before.services, &after.services).into_iter().collect();
        let (mut services_before, mut services_after) = (HashMap::new(), HashMap::new());
        for (piece, ((class_before, class_after), _)) in services.iter().enumerate() {
            services_before.entry(*class_before).or_insert_with(Vec::new).push(piece);
            services_after.entry(*class_after).or_insert_with(Vec::new).push(piece);
        }
        Self { family, possible, addresses, services, services_before, services_after }
    }

    /// The address pieces to which anything is admitted, before or after, by what is decided for them.
    fn blocks(&self, rows: &BothRows<'_>) -> Vec<Block> {
        let mut numbers: HashMap<(Option<u32>, Option<u32>), usize> = HashMap::new();
        let mut blocks: Vec<Block> = Vec::new();
        for (piece, ((class_before, class_after), _)) in self.addresses.iter().enumerate() {
            let (before, after) = (rows.before.number(*class_before), rows.after.number(*class_after));
            if before.is_none() && after.is_none() {
                continue;
            }
            let number = *numbers.entry((before, after)).or_insert(blocks.len());
            if number == blocks.len() {
                blocks.push(Block { before, after, pieces: Vec::new() });
            }
            blocks[number].pieces.push(piece);
        }
        blocks
    }

    /// The blocks in which each service piece is decided differently, by what differs.
    fn differences(
        &self,
        rows: &BothRows<'_>,
        blocks: &[Block],
        work: &mut Work,
    ) -> Result<BTreeMap<Difference, Columns>, TooMuch> {
        let mut differences: BTreeMap<Difference, Columns> = BTreeMap::new();
        for (number, block) in (0..).zip(blocks) {
            let (before, after) = (rows.before.row(block.before), rows.after.row(block.after));
            let by_before = before.iter().filter_map(|(class, _)| self.services_before.get(class));
            let by_after = after.iter().filter_map(|(class, _)| self.services_after.get(class));
            let mut named: Vec<Piece> = Vec::new();
            for pieces in by_before.chain(by_after) {
                work.pairs(pieces.len())?;
                named.extend(pieces);
            }
            // All others are denied by both.
            named.sort_unstable();
            named.dedup();
            for service in named {
                let (class_before, class_after) = self.services[service].0;
                let (was, will_be) = (decision(before, class_before), decision(after, class_after));
                if let Some(difference) = Difference::between(was, will_be) {
                    differences.entry(difference).or_default().entry(service).or_default().push(number);
                }
            }
        }
        Ok(differences)
    }

    /// Puts pieces together: one region for each set of peers that occurs.
    fn regions(
        &self,
        slots: &[u32],
        direction: Direction,
        blocks: &[Block],
        columns: Columns,
        work: &mut Work,
    ) -> Result<Vec<Region>, TooMuch> {
        let mut by_peers: HashMap<Runs, Vec<Piece>> = HashMap::new();
        for (service, peers) in columns {
            by_peers.entry(peers).or_default().push(service);
        }
        let mut wider = Wider::new(&by_peers, blocks.len());
        let mut regions = Vec::with_capacity(by_peers.len());
        for (peers, services) in &by_peers {
            let services = self.shortest(peers, services, &mut wider, work)?;
            let peers = self.peers(peers, blocks, work)?;
            regions.push(Region { slots: slots.to_vec(), direction, peers, services });
        }
        regions.sort_unstable_by(|a, b| (&a.services, &a.peers).cmp(&(&b.services, &b.peers)));
        Ok(regions)
    }

    fn peers(&self, peers: &Runs, blocks: &[Block], work: &mut Work) -> Result<Vec<AddressRange>, TooMuch> {
        let pieces = peers.numbers().flat_map(|number| &blocks[number as usize].pieces);
        let mut spans = Vec::new();
        for piece in pieces {
            let of_piece = &self.addresses[*piece].1;
            work.steps(of_piece.len())?;
            spans.extend(of_piece);
        }
        let ranges = address::ranges(self.family, spans);
        work.ranges(ranges.len())?;
        Ok(ranges)
    }

    /// What wider sets of peers may reach is part of a region too. It is said twice where that is shorter: `all protocols`
    /// instead of everything around a port that is open to more peers.
    fn shortest(
        &self,
        peers: &Runs,
        own: &[Piece],
        wider: &mut Wider<'_>,
        work: &mut Work,
    ) -> Result<Vec<ServiceRange>, TooMuch> {
        let alone = self.service_ranges(own.iter());
        if alone.len() == 1 {
            return Ok(alone);
        }
        let more = wider.services(peers, work)?;
        let together = self.service_ranges(own.iter().chain(&more));
        Ok(if together.len() < alone.len() { together } else { alone })
    }

    fn service_ranges<'p>(&self, services: impl Iterator<Item = &'p Piece>) -> Vec<ServiceRange> {
        let runs = services.flat_map(|service| &self.services[*service].1).copied().collect();
        service::ranges(&self.possible, runs)
    }
}

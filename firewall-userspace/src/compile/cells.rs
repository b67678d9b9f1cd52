//! The cells: which rules match for each pair of classes.
//!
//! The work and the memory are bounded by what matches, not by the product of the classes: a pair that no rule matches is
//! never looked at, and where too much matches, compiling ends with an error before anything is filled.

use firewall_common::abi::{CellKey, Direction, EXEMPT, MANAGEMENT, UNTRACKED};

use super::addresses::AddressClasses;
use super::services::{ClassKind, ServiceClasses};
use super::untracked::OpenToAll;
use super::{CompileError, FamilyPeer, Limits, NamedPeer, Policy, RuleSetIds};
use crate::model::RuleId;

/// What the classes mean.
pub(super) struct Partitions<'p> {
    /// By number.
    pub(super) peers: &'p [FamilyPeer],
    pub(super) addresses: &'p AddressClasses,
    pub(super) services: &'p ServiceClasses,
}

/// What sets a bit in the cells of every policy.
#[derive(Clone, Copy)]
pub(super) struct Named<'n> {
    pub(super) exempt: &'n [NamedPeer],
    pub(super) management: &'n [NamedPeer],
}

/// Fills the cells of all policies: by policy, direction, address class and service class.
pub(super) fn fill(
    policies: &[Policy<'_>],
    named: Named<'_>,
    partitions: &Partitions<'_>,
    limits: Limits,
    rule_sets: &mut RuleSetIds,
) -> Result<Vec<(CellKey, u32)>, CompileError> {
    let classes_by_peer = partitions.addresses.by_peer(partitions.peers.len());
    let mut cells = Cells { cells: Vec::new(), matches: 0, limits };
    for policy in policies {
        let open = OpenToAll::of(policy, partitions.peers);
        for direction in [Direction::Ingress, Direction::Egress] {
            let mut table = DirectionTable::new(policy, &open, direction, named, partitions, limits)?;
            for class in table.classes(&classes_by_peer) {
                table.fill(class, rule_sets, &mut cells)?;
            }
        }
    }
    Ok(cells.cells)
}

struct Cells {
    cells: Vec<(CellKey, u32)>,
    /// How many matches they are made of.
    matches: usize,
    limits: Limits,
}

/// Something that matches the addresses of a peer, and one service class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Match {
    service_class: u16,
    what: Matching,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Matching {
    /// The rule at this place in its policy.
    Rule(u32),
    Exemption,
    Management,
}

/// The rules of one policy and direction, by peer.
struct DirectionTable<'p, 'a> {
    policy: &'p Policy<'a>,
    direction: Direction,
    /// By number of the peer.
    matches: Vec<(u32, Match)>,
    open: &'p OpenToAll,
    partitions: &'p Partitions<'p>,
    /// The id of the set of each rule alone, once it is known; 0 until then. Most cells are of one rule.
    alone: Vec<u32>,
}

impl<'p, 'a> DirectionTable<'p, 'a> {
    fn new(
        policy: &'p Policy<'a>,
        open: &'p OpenToAll,
        direction: Direction,
        named: Named<'_>,
        partitions: &'p Partitions<'p>,
        limits: Limits,
    ) -> Result<Self, CompileError> {
        let mut matches = Vec::new();
        for (place, rule) in (0..).zip(&policy.rules) {
            if rule.rule.direction == direction {
                let classes = partitions.services.classes_of(rule.service);
                check_matches(matches.len() + classes.len(), limits, policy)?;
                let what = Matching::Rule(place);
                matches
                    .extend(classes.iter().map(|class| (rule.peer, Match { service_class: *class, what })));
            }
        }
        matches.extend(exemptions(named.exempt, direction, partitions.services));
        if direction == Direction::Ingress {
            matches.extend(matches_of(named.management, Matching::Management, partitions.services));
        }
        matches.sort_unstable();
        let alone = vec![0; policy.rules.len()];
        Ok(Self { policy, direction, matches, open, partitions, alone })
    }

    /// The address classes for which there are cells.
    fn classes(&self, classes_by_peer: &[Vec<u32>]) -> Vec<u32> {
        let peers = self.matches.chunk_by(|(one, _), (other, _)| one == other).map(|same| same[0].0);
        let mut classes: Vec<u32> = peers.flat_map(|peer| &classes_by_peer[peer as usize]).copied().collect();
        classes.sort_unstable();
        classes.dedup();
        classes
    }

    /// Fills the cells of one address class.
    fn fill(
        &mut self,
        class: u32,
        rule_sets: &mut RuleSetIds,
        cells: &mut Cells,
    ) -> Result<(), CompileError> {
        let peers = self.partitions.addresses.peers_of(class);
        let of_peers: Vec<&[(u32, Match)]> = peers.iter().map(|peer| self.of_peer(*peer)).collect();
        cells.matches += of_peers.iter().map(|matches| matches.len()).sum::<usize>();
        check_matches(cells.matches, cells.limits, self.policy)?;
        let mut matches: Vec<Match> = of_peers.into_iter().flatten().map(|(_, found)| *found).collect();
        matches.sort_unstable();
        let is_always_tracked = peers.iter().any(|peer| self.policy.always_track.contains(peer));
        for matches in matches.chunk_by(|one, other| one.service_class == other.service_class) {
            let service_class = matches[0].service_class;
            let mut value = self.value(matches, self.partitions.services.kind(service_class), rule_sets);
            if is_always_tracked {
                value &= !UNTRACKED;
            }
            let key = CellKey::new(self.policy.number, self.direction, class, service_class);
            cells.cells.push((key, value));
        }
        if cells.cells.len() > cells.limits.cells {
            return Err(CompileError::TooManyCells {
                groups: self.policy.group_names(),
                limit: cells.limits.cells,
            });
        }
        Ok(())
    }

    fn of_peer(&self, peer: u32) -> &[(u32, Match)] {
        let start = self.matches.partition_point(|(other, _)| *other < peer);
        let length = self.matches[start..].iter().take_while(|(other, _)| *other == peer).count();
        &self.matches[start..start + length]
    }

    /// The value of the cell in which these match.
    fn value(&mut self, matches: &[Match], kind: ClassKind, rule_sets: &mut RuleSetIds) -> u32 {
        let mut value = 0;
        // In ascending order, as the rules of a policy are.
        let mut places: Vec<u32> = Vec::with_capacity(matches.len());
        for Match { what, .. } in matches {
            match what {
                Matching::Exemption => value |= EXEMPT,
                Matching::Management => value |= MANAGEMENT,
                Matching::Rule(place) => {
                    places.push(*place);
                    let peer = &self.partitions.peers[self.policy.rules[*place as usize].peer as usize];
                    if self.open.leaves_untracked(self.direction, peer, kind) {
                        value |= UNTRACKED;
                    }
                }
            }
        }
        value | self.rule_set(&places, rule_sets)
    }

    /// The id of the set of the rules at these places of the policy; 0 if there are none.
    fn rule_set(&mut self, places: &[u32], rule_sets: &mut RuleSetIds) -> u32 {
        let id_at = |place: &u32| self.policy.rules[*place as usize].rule.id;
        match places {
            [] => 0,
            [place] => {
                let known = &mut self.alone[*place as usize];
                if *known == 0 {
                    *known = rule_sets.id_of(&[id_at(place)]);
                }
                *known
            }
            _ => rule_sets.id_of(&places.iter().map(id_at).collect::<Vec<RuleId>>()),
        }
    }
}

/// What is exempt in a direction, by peer.
///
/// What leaves for an exempt server is. Of what arrives, the programs know the replies of TCP and UDP by their source
/// port; other protocols have none, so that they are exempt both ways.
fn exemptions(
    exempt: &[NamedPeer],
    direction: Direction,
    services: &ServiceClasses,
) -> impl Iterator<Item = (u32, Match)> {
    let is_exempt = move |class| direction == Direction::Egress || services.kind(class) == ClassKind::Other;
    matches_of(exempt, Matching::Exemption, services).filter(move |(_, found)| is_exempt(found.service_class))
}

fn matches_of(
    named: &[NamedPeer],
    what: Matching,
    services: &ServiceClasses,
) -> impl Iterator<Item = (u32, Match)> {
    named.iter().flat_map(move |named| {
        let classes = services.classes_of(named.service).iter();
        classes.map(move |class| (named.peer, Match { service_class: *class, what }))
    })
}

fn check_matches(matches: usize, limits: Limits, policy: &Policy<'_>) -> Result<(), CompileError> {
    if matches > limits.matches {
        return Err(CompileError::TooManyMatches { groups: policy.group_names(), limit: limits.matches });
    }
    Ok(())
}

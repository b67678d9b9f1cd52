//! Rules without which the policies would admit the same.
//!
//! Judged by the tables: a rule is redundant on an interface where in each cell that it matches another one matches too.
//! It is so now; other members of a group or entries of a prefix list may make it needed.
//!
//! The sets of rules that match in some cell are numbered, and of each rule it is noted in which sets it is, as runs. What
//! covers a rule is in each of its sets, so it is looked for in the smallest one alone.

use std::collections::BTreeMap;

use firewall_common::abi::RULE_SET;
use foldhash::{HashMap, HashMapExt as _, HashSet};

use super::runs::Runs;
use super::work::{TooMuch, Work};
use super::{CompiledState, address, cell};
use crate::model::RuleId;

/// A rule that another rule makes redundant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedundantRule {
    /// The rule.
    pub rule: RuleId,
    /// The one that admits all that it does.
    pub covered_by: RuleId,
    /// How much more that one admits.
    pub redundancy: Redundancy,
    /// Slots of the interfaces on which it is so.
    pub slots: Vec<u32>,
}

/// How two rules overlap of which one is redundant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Redundancy {
    /// Both admit the same.
    Duplicate,
    /// The other one admits more.
    Shadowed,
}

/// Place of a rule in [`CompiledState::rules`].
type Position = u32;

/// The redundant rules of every interface, in the order of the groups.
pub(super) fn find(state: &CompiledState, work: &mut Work) -> Result<Vec<RedundantRule>, TooMuch> {
    let mut slots: BTreeMap<u16, Vec<u32>> = BTreeMap::new();
    for interface in &state.policy.interfaces {
        slots.entry(interface.policy).or_default().push(interface.slot);
    }
    let positions: HashMap<RuleId, Position> = state.rules.iter().copied().zip(0..).collect();
    let sets = rule_sets_by_policy(state);
    let mut found: BTreeMap<(Position, Position, Redundancy), Vec<u32>> = BTreeMap::new();
    for (policy, slots) in slots {
        let ids = sets.get(&policy).map_or(&[][..], Vec::as_slice);
        let sets = ids.iter().filter_map(|id| state.rule_sets.get(id)).map(Vec::as_slice);
        for row in Sets::new(sets, &positions).redundant(work)? {
            found.entry(row).or_default().extend(&slots);
        }
    }
    let row = |((rule, covered_by, redundancy), slots)| RedundantRule {
        rule: state.rules[rule as usize],
        covered_by: state.rules[covered_by as usize],
        redundancy,
        slots,
    };
    Ok(found.into_iter().map(row).collect())
}

/// The ids of the sets of rules that match anything on the interfaces of each policy, ascending.
fn rule_sets_by_policy(state: &CompiledState) -> BTreeMap<u16, Vec<u32>> {
    // A prefix all of whose addresses are in longer ones has a class that no address is in.
    let classes: HashSet<u32> = address::classes(&state.policy);
    let mut ids: BTreeMap<u16, Vec<u32>> = BTreeMap::new();
    for (key, value) in &state.policy.cells {
        if classes.contains(&cell::address_class(key)) {
            ids.entry(key.policy).or_default().push(value & RULE_SET);
        }
    }
    for ids in ids.values_mut() {
        ids.sort_unstable();
        ids.dedup();
    }
    ids
}

/// The sets of rules of one policy.
struct Sets {
    /// The rules of each, ascending.
    members: Vec<Vec<Position>>,
    places: HashMap<Position, Place>,
}

/// Where a rule is.
#[derive(Default)]
struct Place {
    /// The numbers of its sets.
    sets: Runs,
    /// The smallest of these sets.
    smallest: usize,
}

impl Sets {
    fn new<'s>(sets: impl Iterator<Item = &'s [RuleId]>, positions: &HashMap<RuleId, Position>) -> Self {
        let positions_of = |set: &[RuleId]| {
            let mut set: Vec<Position> = set.iter().filter_map(|rule| positions.get(rule)).copied().collect();
            set.sort_unstable();
            set
        };
        let members: Vec<Vec<Position>> = sets.map(positions_of).collect();
        let mut places: HashMap<Position, Place> = HashMap::new();
        for (number, set) in members.iter().enumerate() {
            for rule in set {
                let place =
                    places.entry(*rule).or_insert_with(|| Place { sets: Runs::default(), smallest: number });
                // There are fewer sets than cells.
                place.sets.push(u32::try_from(number).unwrap_or(u32::MAX));
                if set.len() < members[place.smallest].len() {
                    place.smallest = number;
                }
            }
        }
        Self { members, places }
    }

    /// The redundant rules, each with the first one that admits more, or else the first one that admits the same. Of rules
    /// that admit the same the first one is not redundant.
    fn redundant(&self, work: &mut Work) -> Result<Vec<(Position, Position, Redundancy)>, TooMuch> {
        // The first rule in the same sets, and the first one that is in these and in others.
        let mut known: HashMap<&Runs, (Position, Option<Position>)> = HashMap::new();
        let mut redundant = Vec::new();
        let mut rules: Vec<(&Position, &Place)> = self.places.iter().collect();
        rules.sort_unstable_by_key(|(rule, _)| **rule);
        for (rule, place) in rules {
            let (first, wider) = match known.get(&place.sets) {
                Some(known) => *known,
                None => {
                    let found = (*rule, self.wider(place, work)?);
                    known.insert(&place.sets, found);
                    found
                }
            };
            match wider {
                Some(wider) => redundant.push((*rule, wider, Redundancy::Shadowed)),
                None if first < *rule => redundant.push((*rule, first, Redundancy::Duplicate)),
                None => {}
            }
        }
        Ok(redundant)
    }

    /// The first rule that is in all sets in which a rule is, and in others.
    fn wider(&self, place: &Place, work: &mut Work) -> Result<Option<Position>, TooMuch> {
        let count = place.sets.count();
        for candidate in &self.members[place.smallest] {
            work.steps(place.sets.pieces())?;
            let sets = &self.places[candidate].sets;
            if sets.count() > count && sets.contains_all(&place.sets) {
                return Ok(Some(*candidate));
            }
        }
        Ok(None)
    }
}

//! Redundant rules, by comparing each set with what was left of each of its rules.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use firewall_common::abi::RULE_SET;

use super::super::{CompiledState, Redundancy, RedundantRule, address, cell};
use crate::model::{AddressFamily, RuleId};

/// The redundant rules of every interface, in the order of the groups.
pub(super) fn find(state: &CompiledState) -> Vec<RedundantRule> {
    let mut slots: BTreeMap<u16, Vec<u32>> = BTreeMap::new();
    for interface in &state.policy.interfaces {
        slots.entry(interface.policy).or_default().push(interface.slot);
    }
    let position: HashMap<RuleId, usize> =
        state.rules.iter().enumerate().map(|(position, rule)| (*rule, position)).collect();
    let sets = rule_sets_by_policy(state);
    let mut found: BTreeMap<(usize, usize, Redundancy), Vec<u32>> = BTreeMap::new();
    for (policy, slots) in slots {
        let sets = sets.get(&policy).into_iter().flatten().copied();
        for (rule, covered_by, redundancy) in redundant(sets, &position) {
            found.entry((rule, covered_by, redundancy)).or_default().extend(&slots);
        }
    }
    let row = |((rule, covered_by, redundancy), slots): ((usize, usize, Redundancy), _)| RedundantRule {
        rule: state.rules[rule],
        covered_by: state.rules[covered_by],
        redundancy,
        slots,
    };
    found.into_iter().map(row).collect()
}

/// The sets of rules that match anything on the interfaces of each policy.
fn rule_sets_by_policy(state: &CompiledState) -> BTreeMap<u16, Vec<&[RuleId]>> {
    // A prefix all of whose addresses are in longer ones has a class that no address is in.
    let classes: HashSet<u32> = [AddressFamily::Ipv4, AddressFamily::Ipv6]
        .into_iter()
        .flat_map(|family| address::refine(family, &state.policy, &state.policy).into_keys())
        .map(|(class, _)| class)
        .collect();
    let mut ids: BTreeMap<u16, BTreeSet<u32>> = BTreeMap::new();
    for (key, value) in &state.policy.cells {
        if classes.contains(&cell::address_class(key)) {
            ids.entry(key.policy).or_default().insert(value & RULE_SET);
        }
    }
    let rules_of = |ids: BTreeSet<u32>| {
        ids.into_iter().filter_map(|id| state.rule_sets.get(&id)).map(Vec::as_slice).collect()
    };
    ids.into_iter().map(|(policy, ids)| (policy, rules_of(ids))).collect()
}

/// The redundant rules of one policy by their positions, each with one that covers it. Of rules that admit the same the
/// first one is not redundant.
fn redundant<'s>(
    sets: impl Iterator<Item = &'s [RuleId]>,
    position: &HashMap<RuleId, usize>,
) -> Vec<(usize, usize, Redundancy)> {
    // The rules that are in every set in which a rule is.
    let mut always_with: HashMap<usize, Vec<usize>> = HashMap::new();
    for set in sets {
        let mut set: Vec<usize> = set.iter().filter_map(|rule| position.get(rule)).copied().collect();
        set.sort_unstable();
        for rule in &set {
            match always_with.get_mut(rule) {
                Some(others) => others.retain(|other| set.binary_search(other).is_ok()),
                None => {
                    let others = set.iter().copied().filter(|other| other != rule).collect();
                    always_with.insert(*rule, others);
                }
            }
        }
    }
    let judge = |(&rule, others): (&usize, &Vec<usize>)| {
        let is_same = |other: &usize| always_with.get(other).is_some_and(|others| others.contains(&rule));
        if let Some(wider) = others.iter().find(|other| !is_same(other)) {
            return Some((rule, *wider, Redundancy::Shadowed));
        }
        let first = others.first().filter(|first| **first < rule)?;
        Some((rule, *first, Redundancy::Duplicate))
    };
    always_with.iter().filter_map(judge).collect()
}

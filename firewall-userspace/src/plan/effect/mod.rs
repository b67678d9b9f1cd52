//! What a change means for traffic, computed on compiled policies and not on the texts of rules.
//!
//! Both policies partition addresses and services. The common refinement of the two partitions has pieces in which
//! neither distinguishes anything, so that comparing their cells piece by piece is exact: a packet that begins a flow is
//! in a region of [`Effect::newly_reachable`] if and only if the rules admit it after the change and did not before.
//!
//! What is compared are runs and rows, not single classes, and there is an end to it (`work.rs`): where two policies
//! distinguish more than anybody would read, a part of the effect is left out and [`Effect::left_out`] says so.
//!
//! Not compared: fragments whose first one was not seen, and what passes whatever the rules say by the kind of packet.

mod address;
mod cell;
mod decision;
mod redundant;
#[cfg(test)]
mod reference;
mod region;
mod rows;
mod runs;
mod service;
mod wider;
mod work;

use std::collections::BTreeMap;

use crate::compile::{CompileError, CompiledPolicy, PolicyInput, RuleSetIds, compile};
use crate::model::RuleId;

pub use address::AddressRange;
pub use redundant::{Redundancy, RedundantRule};
pub use region::Region;
pub use service::{IcmpRange, ServiceRange};

use work::Work;

/// A policy as the tables would hold it.
#[derive(Clone, Debug)]
pub struct CompiledState {
    /// The tables.
    pub policy: CompiledPolicy,
    /// The rules of each set that a cell names.
    pub rule_sets: BTreeMap<u32, Vec<RuleId>>,
    /// Every rule, in the order of the groups.
    pub rules: Vec<RuleId>,
}

/// What a change means for traffic on the interfaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effect {
    /// What may begin a flow that might not before.
    pub newly_reachable: Vec<Region>,
    /// What might begin a flow and may not any more.
    pub no_longer_reachable: Vec<Region>,
    /// What is admitted before and after, and keeps state from now on.
    pub newly_tracked: Vec<Region>,
    /// What is admitted before and after, and keeps no state any more.
    pub no_longer_tracked: Vec<Region>,
    /// Rules that admit nothing which another rule of the same interfaces does not admit.
    pub redundant_rules: Vec<RedundantRule>,
    /// What there was too much of.
    pub left_out: LeftOut,
}

/// The parts of an effect that are empty because there was too much to find: nothing is known of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Everything but redundant rules.
    pub reachability: bool,
    /// Redundant rules.
    pub redundant_rules: bool,
}

impl CompiledState {
    /// Compiles, with numbers of rule sets that mean nothing outside.
    ///
    /// # Errors
    ///
    /// [`CompileError`] where a table is too small.
    pub fn new(input: &PolicyInput<'_>) -> Result<Self, CompileError> {
        let mut ids = RuleSetIds::default();
        let policy = compile(input, &mut ids)?;
        let rules = input.groups.iter().flat_map(|group| &group.rules).map(|rule| rule.id).collect();
        let rule_sets = ids.added().map(|(id, rules)| (id, rules.to_vec())).collect();
        Ok(Self { policy, rule_sets, rules })
    }
}

impl Effect {
    /// The effect of going from one policy to the other, on the interfaces that both have.
    #[must_use]
    pub fn between(before: &CompiledState, after: &CompiledState) -> Self {
        Self::within(Work::default, before, after)
    }

    /// The same with as much work for each part.
    fn within(work: impl Fn() -> Work, before: &CompiledState, after: &CompiledState) -> Self {
        let regions = region::compare(&before.policy, &after.policy, &mut work());
        let redundant_rules = redundant::find(after, &mut work());
        let left_out = LeftOut { reachability: regions.is_err(), redundant_rules: redundant_rules.is_err() };
        let regions = regions.unwrap_or_default();
        Self {
            newly_reachable: regions.newly_reachable,
            no_longer_reachable: regions.no_longer_reachable,
            newly_tracked: regions.newly_tracked,
            no_longer_tracked: regions.no_longer_tracked,
            redundant_rules: redundant_rules.unwrap_or_default(),
            left_out,
        }
    }
}

#[cfg(test)]
mod tests;

//! Rule sets that nothing names any more.
//!
//! What names one: a cell of the policy that is about to be in force, a cell of the one in force, to which the programs or the
//! operator may go back, and a flow. A generation further back names its sets by their rules: gone back to, it is compiled,
//! and what is not known gets a new id. Counters name none.

use std::collections::HashSet;

use firewall_common::abi::RULE_SET;

use super::OperationError;
use crate::compile::{CompiledPolicy, RuleSetIds};
use crate::datapath::Datapath;
use crate::store::Transaction;

/// Rows that may always stay. To read all cells and all flows takes longer than to read these.
const SLACK: usize = 1000;
/// How many times the rows that the policy needs may be stored besides.
const FACTOR: usize = 2;

/// Forgets what nothing names, where there are more than [`SLACK`] rows besides [`FACTOR`] times those that the policy needs.
///
/// To be called when the policy is prepared: nothing works by the one before that in force any more, so that every flow
/// which it has begun is in the flow table.
pub(super) fn collect(
    transaction: &Transaction<'_>,
    datapath: &Datapath,
    policy: &CompiledPolicy,
    rule_sets: &RuleSetIds,
) -> Result<(), OperationError> {
    let mut named: HashSet<u32> = policy.cells.iter().map(|(_, cell)| cell & RULE_SET).collect();
    let (mut stored, mut needed) = (0, 0);
    for (id, rules) in rule_sets.sizes() {
        stored += rules;
        needed += if named.contains(&id) { rules } else { 0 };
    }
    if stored <= SLACK + FACTOR * needed {
        return Ok(());
    }
    named.extend(datapath.cells()?.into_iter().map(|cell| cell & RULE_SET));
    named.extend(datapath.rule_sets_of_flows()?);
    Ok(transaction.retain_rule_sets(&named, rule_sets.highest())?)
}

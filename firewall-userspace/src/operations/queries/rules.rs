//! Rules, with the names of what they refer to.

use std::collections::BTreeMap;

use super::tracking::{Tracking, tracking};
use crate::model::{Filters, GroupReference, Peer, PrefixList, RuleFilter, SecurityGroup, SecurityRule};
use crate::operations::{Instance, OperationError};

/// A rule, and what people want to know beside it.
#[derive(Clone, Debug)]
pub struct RuleRow {
    /// The rule.
    pub rule: SecurityRule,
    /// The name of its group.
    pub group: String,
    /// The name of its peer, where that has one.
    pub peer: Option<String>,
    /// Whether flows are kept for what it admits; `None` on no interface.
    pub tracking: Option<Tracking>,
}

/// The rules of a group, or of all, that filters let through.
///
/// # Errors
///
/// [`OperationError::Model`] where there is no such group, and others where store or maps cannot be read.
pub fn rules(
    instance: &Instance,
    group: Option<&GroupReference>,
    filters: &Filters<RuleFilter>,
) -> Result<Vec<RuleRow>, OperationError> {
    let (groups, prefix_lists) =
        instance.read(|snapshot| Ok((snapshot.groups()?, snapshot.prefix_lists()?)))?;
    let mut rules: Vec<SecurityRule> = match group {
        Some(reference) => reference.find(&groups)?.rules.clone(),
        None => groups.iter().flat_map(|group| group.rules.clone()).collect(),
    };
    rules.retain(|rule| filters.matches(rule));
    rows(instance, rules, &groups, &prefix_lists)
}

/// Rules as rows.
pub(super) fn rows(
    instance: &Instance,
    rules: Vec<SecurityRule>,
    groups: &[SecurityGroup],
    prefix_lists: &[PrefixList],
) -> Result<Vec<RuleRow>, OperationError> {
    let tracking = tracking(instance)?;
    let groups: BTreeMap<_, _> = groups.iter().map(|group| (group.id, &group.name)).collect();
    let lists: BTreeMap<_, _> = prefix_lists.iter().map(|list| (list.id, &list.name)).collect();
    let row = |rule: SecurityRule| RuleRow {
        group: groups.get(&rule.group).map(ToString::to_string).unwrap_or_default(),
        peer: match rule.peer {
            Peer::Cidr(_) => None,
            Peer::Group(id) => groups.get(&id).map(ToString::to_string),
            Peer::PrefixList(id) => lists.get(&id).map(ToString::to_string),
        },
        tracking: tracking.get(&rule.id).copied(),
        rule,
    };
    Ok(rules.into_iter().map(row).collect())
}

//! Groups, with their members and the interfaces that carry them.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::rules::{RuleRow, rows};
use crate::model::{Filters, GroupFilter, GroupId, GroupReference, Interface, SecurityGroup};
use crate::operations::{Instance, OperationError};

/// A group, and who is in it.
#[derive(Clone, Debug)]
pub struct GroupRow {
    /// The group with its rules.
    pub group: SecurityGroup,
    /// Its declared members.
    pub members: Vec<IpNet>,
    /// The names of the interfaces that carry it.
    pub carriers: Vec<String>,
}

/// The groups that filters let through.
///
/// # Errors
///
/// [`OperationError::Store`] where the store cannot be read.
pub fn groups(instance: &Instance, filters: &Filters<GroupFilter>) -> Result<Vec<GroupRow>, OperationError> {
    instance.read(|snapshot| {
        let (all, interfaces) = (snapshot.groups()?, snapshot.interfaces()?);
        let mut members = snapshot.members()?;
        let wanted: Vec<bool> = all.iter().map(|group| filters.matches(group, &all)).collect();
        let groups = all.into_iter().zip(wanted).filter(|(_, is_wanted)| *is_wanted);
        Ok(groups.map(|(group, _)| row(group, &mut members, &interfaces)).collect())
    })
}

/// One group, and its rules as rows.
///
/// # Errors
///
/// [`OperationError::Model`] where there is none, [`OperationError::Store`] where the store cannot be read.
pub fn group(
    instance: &Instance,
    reference: &GroupReference,
) -> Result<(GroupRow, Vec<RuleRow>), OperationError> {
    let (row, groups, prefix_lists) = instance.read(|snapshot| {
        let groups = snapshot.groups()?;
        let group = reference.find(&groups)?.clone();
        let row = row(group, &mut snapshot.members()?, &snapshot.interfaces()?);
        Ok((row, groups, snapshot.prefix_lists()?))
    })?;
    let rules = rows(instance, row.group.rules.clone(), &groups, &prefix_lists)?;
    Ok((row, rules))
}

/// The names of all groups.
///
/// # Errors
///
/// [`OperationError::Store`] where the store cannot be read.
pub fn group_names(instance: &Instance) -> Result<BTreeMap<GroupId, String>, OperationError> {
    instance.read(|snapshot| Ok(names(&snapshot.groups()?)))
}

/// Names of groups, to show beside their ids.
#[must_use]
pub fn names(groups: &[SecurityGroup]) -> BTreeMap<GroupId, String> {
    groups.iter().map(|group| (group.id, group.name.to_string())).collect()
}

fn row(
    group: SecurityGroup,
    members: &mut BTreeMap<GroupId, Vec<IpNet>>,
    interfaces: &[Interface],
) -> GroupRow {
    let carriers = interfaces.iter().filter(|interface| interface.groups.contains(&group.id));
    GroupRow {
        members: members.remove(&group.id).unwrap_or_default(),
        carriers: carriers.map(|interface| interface.name.clone()).collect(),
        group,
    }
}

//! Groups and their declared members.

use std::collections::HashSet;

use ipnet::IpNet;

use crate::model::{Description, GroupName, GroupReference, ModelError, SecurityGroup, Tags};
use crate::operations::{ChangeOptions, Changed, Instance, OperationError};

/// Creates a group.
pub fn create(
    instance: &Instance,
    options: ChangeOptions<'_>,
    name: GroupName,
    description: Description,
    tags: Tags,
) -> Result<Changed<SecurityGroup>, OperationError> {
    let group = SecurityGroup { tags, ..SecurityGroup::new(name, description)? };
    let changed = instance.change(options, |transaction| {
        if transaction.groups()?.iter().any(|existing| existing.name.collides_with(&group.name)) {
            return Err(ModelError::DuplicateGroup { name: group.name.clone() }.into());
        }
        transaction.insert_group(&group)?;
        Ok(())
    })?;
    Ok(changed.map(|()| group))
}

/// Deletes a group that nothing depends on.
pub fn delete(
    instance: &Instance,
    options: ChangeOptions<'_>,
    reference: &GroupReference,
) -> Result<Changed<()>, OperationError> {
    instance.change(options, |transaction| {
        let groups = transaction.groups()?;
        let group = reference.find(&groups)?;
        group.check_deletable(&groups, &transaction.interfaces()?)?;
        transaction.delete_group(group.id)?;
        Ok(())
    })
}

/// Declares prefixes as members of a group: hosts that sgfw does not run on, or does not see from here.
pub fn add_members(
    instance: &Instance,
    options: ChangeOptions<'_>,
    reference: &GroupReference,
    prefixes: &[IpNet],
) -> Result<Changed<()>, OperationError> {
    instance.change(options, |transaction| {
        let groups = transaction.groups()?;
        let group = reference.find(&groups)?;
        let members = transaction.members()?.remove(&group.id).unwrap_or_default();
        let mut known: HashSet<IpNet> = members.into_iter().collect();
        for &prefix in prefixes {
            if !known.insert(prefix) {
                return Err(ModelError::DuplicateMember { group: group.name.clone(), prefix }.into());
            }
        }
        transaction.insert_members(group.id, prefixes)?;
        Ok(())
    })
}

/// Takes declared members out of a group.
pub fn remove_members(
    instance: &Instance,
    options: ChangeOptions<'_>,
    reference: &GroupReference,
    prefixes: &[IpNet],
) -> Result<Changed<()>, OperationError> {
    instance.change_with_flows(options, |transaction| {
        let groups = transaction.groups()?;
        let group = reference.find(&groups)?;
        let members = transaction.members()?.remove(&group.id).unwrap_or_default();
        if let Some(&prefix) = prefixes.iter().find(|prefix| !members.contains(prefix)) {
            return Err(ModelError::MemberNotFound { group: group.name.clone(), prefix }.into());
        }
        transaction.delete_members(group.id, prefixes)?;
        Ok(())
    })
}

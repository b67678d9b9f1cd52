//! Prefix lists and their versions.

use crate::model::{GroupId, GroupName, PrefixList, PrefixListReference, PrefixListVersion, RuleId};
use crate::operations::commands::prefix_lists::entries_of;
use crate::operations::{Instance, OperationError};

/// A prefix list with the entries of an old version, or else of the current one.
pub fn at_version(
    instance: &Instance,
    reference: &PrefixListReference,
    version: Option<u64>,
) -> Result<PrefixList, OperationError> {
    instance.read(|snapshot| {
        let mut list = reference.find(&snapshot.prefix_lists()?)?.clone();
        if let Some(version) = version {
            list.entries = entries_of(snapshot, &list, version)?;
            list.version = version;
        }
        Ok(list)
    })
}

/// The versions of a prefix list that are kept, the oldest first.
pub fn versions(
    instance: &Instance,
    reference: &PrefixListReference,
) -> Result<Vec<PrefixListVersion>, OperationError> {
    instance.read(|snapshot| {
        let lists = snapshot.prefix_lists()?;
        Ok(snapshot.prefix_list_versions(reference.find(&lists)?)?)
    })
}

/// The prefix lists.
///
/// # Errors
///
/// [`OperationError::Store`] where the store cannot be read.
pub fn prefix_lists(instance: &Instance) -> Result<Vec<PrefixList>, OperationError> {
    instance.read(|snapshot| Ok(snapshot.prefix_lists()?))
}

/// A group with rules that refer to a prefix list.
#[derive(Clone, Debug)]
pub struct Referrer {
    /// Its id.
    pub group: GroupId,
    /// Its name.
    pub name: GroupName,
    /// The rules.
    pub rules: Vec<RuleId>,
}

/// The groups with rules that refer to a prefix list.
///
/// # Errors
///
/// [`OperationError::Model`] where there is none, [`OperationError::Store`] where the store cannot be read.
pub fn referrers(
    instance: &Instance,
    reference: &PrefixListReference,
) -> Result<Vec<Referrer>, OperationError> {
    let (lists, groups) = instance.read(|snapshot| Ok((snapshot.prefix_lists()?, snapshot.groups()?)))?;
    let list = reference.find(&lists)?;
    let referrers = groups.iter().map(|group| Referrer {
        group: group.id,
        name: group.name.clone(),
        rules: list.referrers(std::slice::from_ref(group)).map(|(_, rule)| rule.id).collect(),
    });
    Ok(referrers.filter(|referrer| !referrer.rules.is_empty()).collect())
}

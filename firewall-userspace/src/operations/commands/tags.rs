//! Tags of groups, rules and prefix lists.

use crate::model::{ModelError, PrefixListReference, Resource, ResourceReference, TagKey, TagValue, Tags};
use crate::operations::{ChangeOptions, Changed, Instance, OperationError};
use crate::store::Snapshot;

/// Sets tags of a resource, and returns all that it has then.
pub fn set(
    instance: &Instance,
    options: ChangeOptions<'_>,
    reference: &ResourceReference,
    tags: &[(TagKey, TagValue)],
) -> Result<Changed<Tags>, OperationError> {
    change(instance, options, reference, |all| all.set(tags.iter().cloned()))
}

/// Removes tags of a resource by key, and returns what is left. AWS does not mind keys that are not there.
pub fn remove(
    instance: &Instance,
    options: ChangeOptions<'_>,
    reference: &ResourceReference,
    keys: &[TagKey],
) -> Result<Changed<Tags>, OperationError> {
    change(instance, options, reference, |all| {
        all.remove(keys);
        Ok(())
    })
}

fn change(
    instance: &Instance,
    options: ChangeOptions<'_>,
    reference: &ResourceReference,
    change: impl FnOnce(&mut Tags) -> Result<(), ModelError>,
) -> Result<Changed<Tags>, OperationError> {
    instance.change(options, |transaction| {
        let (resource, mut tags) = find(transaction, reference)?;
        change(&mut tags)?;
        transaction.replace_tags(resource, &tags)?;
        Ok(tags)
    })
}

fn find(snapshot: &Snapshot<'_>, reference: &ResourceReference) -> Result<(Resource, Tags), OperationError> {
    Ok(match reference {
        ResourceReference::Group(group) => {
            let groups = snapshot.groups()?;
            let group = group.find(&groups)?;
            (Resource::Group(group.id), group.tags.clone())
        }
        ResourceReference::Rule(rule) => {
            let mut rules = snapshot.groups()?.into_iter().flat_map(|group| group.rules);
            let found = rules.find(|known| known.id == *rule);
            let found = found.ok_or(ModelError::RuleIdNotFound { rule: *rule })?;
            (Resource::Rule(found.id), found.tags)
        }
        ResourceReference::PrefixList(list) => {
            let lists = snapshot.prefix_lists()?;
            let list = PrefixListReference::Id(*list).find(&lists)?;
            (Resource::PrefixList(list.id), list.tags.clone())
        }
    })
}

//! Prefix lists.

use ipnet::IpNet;

use super::{ApplyError, Instance};
use crate::model::{AddressFamily, ModelError, PrefixList, PrefixListName, PrefixListReference};

/// Creates a prefix list.
pub fn create(
    instance: &Instance,
    name: PrefixListName,
    family: AddressFamily,
    max_entries: u32,
    entries: Vec<IpNet>,
) -> Result<PrefixList, ApplyError> {
    let list = PrefixList::new(name, family, max_entries, entries)?;
    instance.change(|transaction| {
        if transaction.prefix_lists()?.iter().any(|existing| existing.name == list.name) {
            return Err(ModelError::DuplicatePrefixList { name: list.name.clone() }.into());
        }
        transaction.insert_prefix_list(&list)?;
        Ok(())
    })?;
    Ok(list)
}

/// Deletes a prefix list that no rule refers to.
pub fn delete(instance: &Instance, reference: &PrefixListReference) -> Result<(), ApplyError> {
    instance.change(|transaction| {
        let lists = transaction.prefix_lists()?;
        let list = reference.find(&lists)?;
        list.check_deletable(&transaction.groups()?)?;
        transaction.delete_prefix_list(list.id)?;
        Ok(())
    })
}

/// Adds entries, as a new version.
pub fn add_entries(
    instance: &Instance,
    reference: &PrefixListReference,
    entries: Vec<IpNet>,
) -> Result<PrefixList, ApplyError> {
    modify(instance, reference, |list| list.add_entries(entries))
}

/// Removes entries, as a new version.
pub fn remove_entries(
    instance: &Instance,
    reference: &PrefixListReference,
    entries: &[IpNet],
) -> Result<PrefixList, ApplyError> {
    modify(instance, reference, |list| list.remove_entries(entries))
}

fn modify(
    instance: &Instance,
    reference: &PrefixListReference,
    modification: impl FnOnce(&mut PrefixList) -> Result<(), ModelError>,
) -> Result<PrefixList, ApplyError> {
    instance.change(|transaction| {
        let mut list = reference.find(&transaction.prefix_lists()?)?.clone();
        modification(&mut list)?;
        transaction.replace_entries(&list)?;
        Ok(list)
    })
}

//! Prefix lists.

use ipnet::IpNet;

use crate::model::{
    AddressFamily, ModelError, PrefixList, PrefixListEntry, PrefixListName, PrefixListReference, Tags,
};
use crate::operations::{ChangeOptions, Changed, Instance, OperationError};
use crate::store::{Snapshot, Transaction};

/// What `prefix-list create` asks for.
#[derive(Clone, Debug)]
pub struct CreateRequest {
    /// Name of the new list.
    pub name: PrefixListName,
    /// The family of every entry.
    pub family: AddressFamily,
    /// How many entries it may have.
    pub max_entries: u32,
    /// The entries of its first version.
    pub entries: Vec<PrefixListEntry>,
    /// Tags.
    pub tags: Tags,
}

/// A prefix list that is to be changed.
#[derive(Clone, Debug)]
pub struct Target {
    /// The list.
    pub list: PrefixListReference,
    /// The version that the change was made up for; another current version is an error.
    pub current_version: Option<u64>,
}

/// What of a prefix list is to change, apart from its entries. AWS changes size and entries in separate calls, too.
#[derive(Clone, Debug, Default)]
pub struct Properties {
    /// Its name.
    pub name: Option<PrefixListName>,
    /// How many entries it may have.
    pub max_entries: Option<u32>,
}

/// Creates a prefix list.
pub fn create(
    instance: &Instance,
    options: ChangeOptions<'_>,
    request: CreateRequest,
) -> Result<Changed<PrefixList>, OperationError> {
    let CreateRequest { name, family, max_entries, entries, tags } = request;
    let list = PrefixList { tags, ..PrefixList::new(name, family, max_entries, entries)? };
    let changed = instance.change(options, |transaction| {
        check_name_is_free(transaction, &list.name)?;
        transaction.insert_prefix_list(&list)?;
        Ok(())
    })?;
    Ok(changed.map(|()| list))
}

/// Deletes a prefix list that no rule refers to.
pub fn delete(
    instance: &Instance,
    options: ChangeOptions<'_>,
    reference: &PrefixListReference,
) -> Result<Changed<()>, OperationError> {
    instance.change(options, |transaction| {
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
    options: ChangeOptions<'_>,
    target: &Target,
    entries: Vec<PrefixListEntry>,
) -> Result<Changed<PrefixList>, OperationError> {
    instance.change(options, change_of_entries(target, |_, list| Ok(list.add_entries(entries)?)))
}

/// Removes entries, as a new version.
pub fn remove_entries(
    instance: &Instance,
    options: ChangeOptions<'_>,
    target: &Target,
    prefixes: &[IpNet],
) -> Result<Changed<PrefixList>, OperationError> {
    instance
        .change_with_flows(options, change_of_entries(target, |_, list| Ok(list.remove_entries(prefixes)?)))
}

/// Goes back to the entries of an old version, as a new version.
pub fn restore(
    instance: &Instance,
    options: ChangeOptions<'_>,
    target: &Target,
    version: u64,
) -> Result<Changed<PrefixList>, OperationError> {
    instance.change_with_flows(
        options,
        change_of_entries(target, |transaction, list| {
            let entries = entries_of(transaction, list, version)?;
            Ok(list.restore(entries)?)
        }),
    )
}

/// Changes the name or the size, which is no new version.
pub fn modify(
    instance: &Instance,
    options: ChangeOptions<'_>,
    target: &Target,
    properties: &Properties,
) -> Result<Changed<PrefixList>, OperationError> {
    instance.change(options, |transaction| {
        let mut list = target.find(transaction)?;
        if let Some(name) = properties.name.as_ref().filter(|name| **name != list.name) {
            check_name_is_free(transaction, name)?;
            list.name = name.clone();
        }
        if let Some(max_entries) = properties.max_entries {
            list.resize(max_entries)?;
        }
        transaction.update_prefix_list(&list)?;
        Ok(list)
    })
}

impl Target {
    fn find(&self, snapshot: &Snapshot<'_>) -> Result<PrefixList, OperationError> {
        let list = self.list.find(&snapshot.prefix_lists()?)?.clone();
        if let Some(version) = self.current_version {
            list.check_version(version)?;
        }
        Ok(list)
    }
}

fn change_of_entries(
    target: &Target,
    change: impl FnOnce(&Transaction<'_>, &mut PrefixList) -> Result<(), OperationError>,
) -> impl FnOnce(&Transaction<'_>) -> Result<PrefixList, OperationError> {
    move |transaction| {
        let mut list = target.find(transaction)?;
        change(transaction, &mut list)?;
        transaction.replace_entries(&list)?;
        Ok(list)
    }
}

/// The entries of an old version.
pub(in crate::operations) fn entries_of(
    snapshot: &Snapshot<'_>,
    list: &PrefixList,
    version: u64,
) -> Result<Vec<PrefixListEntry>, OperationError> {
    let entries = snapshot.prefix_list_entries(list, version)?;
    Ok(entries.ok_or_else(|| ModelError::VersionNotFound { list: list.name.clone(), version })?)
}

fn check_name_is_free(snapshot: &Snapshot<'_>, name: &PrefixListName) -> Result<(), OperationError> {
    if snapshot.prefix_lists()?.iter().any(|existing| existing.name == *name) {
        return Err(ModelError::DuplicatePrefixList { name: name.clone() }.into());
    }
    Ok(())
}

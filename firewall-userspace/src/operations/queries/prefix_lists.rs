//! Prefix lists and their versions.

use crate::model::{PrefixList, PrefixListReference, PrefixListVersion};
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

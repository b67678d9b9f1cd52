//! Management prefixes. That one is admitted is checked where every change is (see `lockout`), this one included.

use crate::model::{ManagementPrefix, ManagementProperties, ModelError, RuleId};
use crate::operations::{ChangeOptions, Changed, Instance, OperationError};

/// Declares management prefixes, all or none.
pub fn add(
    instance: &Instance,
    options: ChangeOptions<'_>,
    new: Vec<ManagementProperties>,
) -> Result<Changed<Vec<ManagementPrefix>>, OperationError> {
    instance.change(options, |transaction| {
        let mut known: Vec<ManagementProperties> =
            transaction.management_prefixes()?.into_iter().map(|known| known.properties).collect();
        let mut added = Vec::new();
        for properties in new {
            if known.contains(&properties) {
                return Err(ModelError::DuplicateManagementPrefix { properties }.into());
            }
            known.push(properties.clone());
            added.push(ManagementPrefix::new(properties)?);
        }
        transaction.insert_management_prefixes(&added)?;
        Ok(added)
    })
}

/// Takes back the declarations with exactly these properties, all or none.
pub fn remove(
    instance: &Instance,
    options: ChangeOptions<'_>,
    properties: &[ManagementProperties],
) -> Result<Changed<Vec<ManagementPrefix>>, OperationError> {
    instance.change(options, |transaction| {
        let mut prefixes = transaction.management_prefixes()?;
        let is_missing =
            |wanted: &&ManagementProperties| prefixes.iter().all(|known| known.properties != **wanted);
        if let Some(missing) = properties.iter().find(is_missing) {
            return Err(ModelError::ManagementPrefixNotFound { properties: missing.clone() }.into());
        }
        prefixes.retain(|known| properties.contains(&known.properties));
        let rules: Vec<RuleId> = prefixes.iter().map(|known| known.rule).collect();
        transaction.delete_management_prefixes(&rules)?;
        Ok(prefixes)
    })
}

//! Management prefixes.

use crate::model::ManagementPrefix;
use crate::operations::{Instance, OperationError};

/// From where the operator must always be able to open a new connection.
///
/// # Errors
///
/// [`OperationError::Store`] where the store cannot be read.
pub fn management_prefixes(instance: &Instance) -> Result<Vec<ManagementPrefix>, OperationError> {
    instance.read(|snapshot| Ok(snapshot.management_prefixes()?))
}

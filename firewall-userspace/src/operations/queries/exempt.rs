//! Exempt addresses.

use crate::model::ExemptAddress;
use crate::operations::{Instance, OperationError};

/// Servers that every interface may talk to whatever its rules say.
///
/// # Errors
///
/// [`OperationError::Store`] where the store cannot be read.
pub fn exempt_addresses(instance: &Instance) -> Result<Vec<ExemptAddress>, OperationError> {
    instance.read(|snapshot| Ok(snapshot.exempt_addresses()?))
}

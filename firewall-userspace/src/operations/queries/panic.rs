//! Panic mode.

use crate::operations::{Instance, OperationError};

/// Whether panic mode is on.
///
/// # Errors
///
/// [`OperationError::Store`] where the store cannot be read.
pub fn is_panic(instance: &Instance) -> Result<bool, OperationError> {
    instance.read(|snapshot| Ok(snapshot.is_panic()?))
}

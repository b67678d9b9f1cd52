//! Panic mode, turned on and off.

use crate::operations::{ChangeOptions, Changed, Instance, OperationError};

/// Turns panic mode on or off. `None` where it is as it is to be.
///
/// # Errors
///
/// [`OperationError`] where the change is refused or fails.
pub fn set(
    instance: &Instance,
    options: ChangeOptions<'_>,
    is_on: bool,
) -> Result<Option<Changed<()>>, OperationError> {
    if instance.read(|snapshot| Ok(snapshot.is_panic()?))? == is_on {
        return Ok(None);
    }
    instance.change(options, |transaction| Ok(transaction.set_panic(is_on)?)).map(Some)
}

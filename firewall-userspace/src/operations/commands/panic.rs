//! Panic mode, turned on and off.

use crate::operations::{ChangeOptions, Instance, OperationError};

/// Turns panic mode on or off, and tells whether that is a change.
pub fn set(instance: &Instance, options: ChangeOptions<'_>, is_on: bool) -> Result<bool, OperationError> {
    if instance.read(|snapshot| Ok(snapshot.is_panic()?))? == is_on {
        return Ok(false);
    }
    instance.change(options, |transaction| Ok(transaction.set_panic(is_on)?))?;
    Ok(true)
}

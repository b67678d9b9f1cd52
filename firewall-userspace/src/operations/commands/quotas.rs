//! Quotas, set and reset.

use crate::model::{Quota, Quotas};
use crate::operations::{ChangeOptions, Changed, Instance, OperationError};

/// Sets quotas. What exceeds them already stays.
pub fn set(
    instance: &Instance,
    options: ChangeOptions<'_>,
    quotas: &[(Quota, u64)],
) -> Result<Changed<Quotas>, OperationError> {
    change(instance, options, |all| quotas.iter().for_each(|(quota, value)| all.set(*quota, *value)))
}

/// Makes quotas unlimited again.
pub fn reset(
    instance: &Instance,
    options: ChangeOptions<'_>,
    quotas: &[Quota],
) -> Result<Changed<Quotas>, OperationError> {
    change(instance, options, |all| quotas.iter().for_each(|quota| all.reset(*quota)))
}

fn change(
    instance: &Instance,
    options: ChangeOptions<'_>,
    change: impl FnOnce(&mut Quotas),
) -> Result<Changed<Quotas>, OperationError> {
    instance.change(options, |transaction| {
        let mut quotas = transaction.quotas()?;
        change(&mut quotas);
        transaction.replace_quotas(&quotas)?;
        Ok(quotas)
    })
}

//! Quotas: which are set, what they are used for, and that no change exceeds one.

use super::{ApplyError, Instance};
use crate::model::{Quota, QuotaExcess, QuotaUsage, Quotas};
use crate::store::{Snapshot, Transaction};

/// The quotas that are set, and how much there is of everything that has one.
pub fn usage(instance: &Instance) -> Result<(Quotas, Vec<QuotaUsage>), ApplyError> {
    instance.read(|snapshot| Ok((snapshot.quotas()?, usage_in(snapshot)?)))
}

/// What is accepted here and would not fit the default quotas of AWS.
pub fn check_aws(instance: &Instance) -> Result<Vec<QuotaExcess>, ApplyError> {
    Ok(Quotas::aws().excesses(&instance.read(usage_in)?))
}

/// Sets quotas. What exceeds them already stays.
pub fn set(instance: &Instance, quotas: &[(Quota, u64)]) -> Result<Quotas, ApplyError> {
    change(instance, |all| quotas.iter().for_each(|(quota, value)| all.set(*quota, *value)))
}

/// Makes quotas unlimited again.
pub fn reset(instance: &Instance, quotas: &[Quota]) -> Result<Quotas, ApplyError> {
    change(instance, |all| quotas.iter().for_each(|quota| all.reset(*quota)))
}

/// Makes a change in a transaction and refuses it if it exceeds a quota that was set before.
pub(super) fn within<T>(
    transaction: &Transaction<'_>,
    change: impl FnOnce(&Transaction<'_>) -> Result<T, ApplyError>,
) -> Result<T, ApplyError> {
    let quotas = transaction.quotas()?;
    if quotas.is_empty() {
        return change(transaction);
    }
    let before = usage_in(transaction)?;
    let outcome = change(transaction)?;
    quotas.check(&before, &usage_in(transaction)?)?;
    Ok(outcome)
}

fn change(instance: &Instance, change: impl FnOnce(&mut Quotas)) -> Result<Quotas, ApplyError> {
    instance.change(|transaction| {
        let mut quotas = transaction.quotas()?;
        change(&mut quotas);
        transaction.replace_quotas(&quotas)?;
        Ok(quotas)
    })
}

fn usage_in(snapshot: &Snapshot<'_>) -> Result<Vec<QuotaUsage>, ApplyError> {
    Ok(QuotaUsage::of(&snapshot.groups()?, &snapshot.interfaces()?, &snapshot.prefix_lists()?))
}

//! No change exceeds a quota.

use crate::model::QuotaUsage;
use crate::operations::OperationError;
use crate::store::{Snapshot, Transaction};

/// Makes a change in a transaction and refuses it if it exceeds a quota that was set before.
pub(in crate::operations) fn within<T>(
    transaction: &Transaction<'_>,
    change: impl FnOnce(&Transaction<'_>) -> Result<T, OperationError>,
) -> Result<T, OperationError> {
    let quotas = transaction.quotas()?;
    if quotas.is_empty() {
        return change(transaction);
    }
    let before = usage_in(transaction)?;
    let outcome = change(transaction)?;
    quotas.check(&before, &usage_in(transaction)?)?;
    Ok(outcome)
}

/// How much there is of everything that has a quota.
pub(in crate::operations) fn usage_in(snapshot: &Snapshot<'_>) -> Result<Vec<QuotaUsage>, OperationError> {
    Ok(QuotaUsage::of(&snapshot.groups()?, &snapshot.interfaces()?, &snapshot.prefix_lists()?))
}

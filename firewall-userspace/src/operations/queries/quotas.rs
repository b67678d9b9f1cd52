//! Which quotas are set, and what they are used for.

use crate::model::{QuotaExcess, QuotaUsage, Quotas};
use crate::operations::guard::quotas::usage_in;
use crate::operations::{Instance, OperationError};

/// The quotas that are set, and how much there is of everything that has one.
pub fn usage(instance: &Instance) -> Result<(Quotas, Vec<QuotaUsage>), OperationError> {
    instance.read(|snapshot| Ok((snapshot.quotas()?, usage_in(snapshot)?)))
}

/// What is accepted here and would not fit the default quotas of AWS.
pub fn check_aws(instance: &Instance) -> Result<Vec<QuotaExcess>, OperationError> {
    Ok(Quotas::aws().excesses(&instance.read(usage_in)?))
}

//! What must hold before a policy is put into force: the pins are ours, we are where they are, the operator stays able to
//! come back, and no quota is exceeded.

pub(super) mod lockout;
pub(super) mod quotas;

use std::collections::BTreeSet;

use super::{Instance, OperationError};
use crate::host;
use crate::store::Snapshot;

/// Publishing what one state directory says would replace the policy of interfaces that another one has attached.
pub(super) fn check_ownership(
    instance: &Instance,
    snapshot: &Snapshot<'_>,
    pinned: &BTreeSet<u32>,
) -> Result<(), OperationError> {
    let known: BTreeSet<u32> = snapshot.interfaces()?.iter().map(|interface| interface.slot).collect();
    if pinned.is_subset(&known) {
        return Ok(());
    }
    Err(OperationError::ForeignPins { bpffs: instance.bpffs.clone(), state_dir: instance.state_dir.clone() })
}

/// Group references match addresses of interfaces of this host. In another network namespace those of the same names
/// would be read, and references would silently match other addresses.
pub(super) fn check_namespace(snapshot: &Snapshot<'_>, pinned: &BTreeSet<u32>) -> Result<(), OperationError> {
    if pinned.is_empty() || snapshot.namespace()? == host::current_namespace()? {
        return Ok(());
    }
    Err(OperationError::OtherNamespace)
}

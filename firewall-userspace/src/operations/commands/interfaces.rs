//! The groups that interfaces carry, and their options.

use firewall_common::abi::DEFAULT_FLOW_ENTRIES;

use crate::model::{GroupId, GroupReference, Interface, InterfaceOptions, ModelError};
use crate::operations::{ChangeOptions, Changed, Instance, OperationError};
use crate::store::Snapshot;

/// Replaces the groups of an interface.
pub fn set_groups(
    instance: &Instance,
    options: ChangeOptions<'_>,
    name: &str,
    groups: &[GroupReference],
) -> Result<Changed<Interface>, OperationError> {
    instance.change_with_flows(options, |transaction| {
        let groups = resolve_groups(transaction, name, groups)?;
        let interface = Interface { groups, ..stored_interface(transaction, name)? };
        transaction.save_interface(&interface)?;
        Ok(interface)
    })
}

/// Changes how the traffic of an interface is treated apart from the rules.
pub fn change_options(
    instance: &Instance,
    options: ChangeOptions<'_>,
    name: &str,
    change: impl FnOnce(&mut InterfaceOptions) -> Result<(), ModelError>,
) -> Result<Changed<Interface>, OperationError> {
    instance.change(options, |transaction| {
        let mut interface = stored_interface(transaction, name)?;
        change(&mut interface.options)?;
        transaction.save_interface(&interface)?;
        Ok(interface)
    })
}

/// The size of a flow table that is made: that which it had, as long as any interface is stored that worked by it.
pub(super) fn flow_entries(snapshot: &Snapshot<'_>) -> Result<u32, OperationError> {
    if snapshot.interfaces()?.is_empty() {
        return Ok(DEFAULT_FLOW_ENTRIES);
    }
    Ok(snapshot.flow_entries()?.unwrap_or(DEFAULT_FLOW_ENTRIES))
}

/// The interface of that name.
pub(super) fn stored_interface(snapshot: &Snapshot<'_>, name: &str) -> Result<Interface, OperationError> {
    let mut interfaces = snapshot.interfaces()?.into_iter();
    interfaces
        .find(|interface| interface.name == name)
        .ok_or_else(|| OperationError::NotAttached { interface: name.to_owned() })
}

/// The ids of groups, each once.
pub(super) fn resolve_groups(
    snapshot: &Snapshot<'_>,
    interface: &str,
    references: &[GroupReference],
) -> Result<Vec<GroupId>, OperationError> {
    let all = snapshot.groups()?;
    let mut groups = Vec::new();
    for reference in references {
        let id = reference.find(&all)?.id;
        if !groups.contains(&id) {
            groups.push(id);
        }
    }
    if groups.is_empty() {
        return Err(ModelError::NoGroups { interface: interface.to_owned() }.into());
    }
    Ok(groups)
}

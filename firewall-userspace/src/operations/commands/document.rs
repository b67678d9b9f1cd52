//! Making everything be as a document says.

use crate::model::{GroupId, Resource, SecurityGroup, SecurityRule};
use crate::operations::{ChangeOptions, Changed, Instance, OperationError};
use crate::plan::{Change, Changes, SavedPlan};
use crate::store::Transaction;

/// Makes the store, and the policy in force, be as a plan says, which comes to these changes: one change, one generation, even where nothing
/// differs. Refused if anything was changed since the plan was made.
pub fn apply(
    instance: &Instance,
    options: ChangeOptions<'_>,
    plan: &SavedPlan,
    changes: &Changes,
) -> Result<Changed<()>, OperationError> {
    instance.change_with_flows(options, |transaction| {
        // What was compared is what is stored still, so that the changes are those that were shown.
        let default_group = default_group(&transaction.groups()?)?;
        check_current(plan, instance, default_group, transaction.generation()?)?;
        carry_out(changes, transaction)
    })
}

/// Refuses a plan that was made of anything but what is stored.
pub(in crate::operations) fn check_current(
    plan: &SavedPlan,
    instance: &Instance,
    default_group: GroupId,
    generation: u64,
) -> Result<(), OperationError> {
    if plan.default_group != default_group {
        return Err(OperationError::PlanOfOtherInstance { state_dir: instance.state_dir.clone() });
    }
    if plan.generation != generation {
        return Err(OperationError::PlanOutdated { made_on: plan.generation, generation });
    }
    Ok(())
}

/// The group `default`, which every store has and no other store has under the same id.
pub(in crate::operations) fn default_group(groups: &[SecurityGroup]) -> Result<GroupId, OperationError> {
    let default = groups.iter().find(|group| group.name.is_default());
    default.map(|group| group.id).ok_or(OperationError::NoDefaultGroup)
}

/// Deletes rules first and inserts them last, so that the groups and lists they refer to can be deleted in between, and
/// exist when rules are inserted.
fn carry_out(changes: &Changes, transaction: &Transaction<'_>) -> Result<(), OperationError> {
    let rules = || changes.groups.iter().flat_map(|change| &change.rules);
    let old_rules: Vec<SecurityRule> = rules().filter_map(Change::before).cloned().collect();
    transaction.delete_rules(&old_rules)?;
    for change in &changes.prefix_lists {
        if let Change::Delete(list) = change {
            transaction.delete_prefix_list(list.id)?;
        }
    }
    for change in &changes.prefix_lists {
        match change {
            Change::Add(list) => transaction.insert_prefix_list(list)?,
            Change::Update { before, after } => {
                transaction.update_prefix_list(after)?;
                if before.version != after.version {
                    transaction.replace_entries(after)?;
                }
                if before.tags != after.tags {
                    transaction.replace_tags(Resource::PrefixList(after.id), &after.tags)?;
                }
            }
            Change::Delete(_) => {}
        }
    }
    for change in &changes.groups {
        match &change.group {
            Change::Add(group) => {
                transaction.insert_group(&SecurityGroup { rules: Vec::new(), ..group.clone() })?;
            }
            Change::Update { after, .. } => {
                transaction.replace_tags(Resource::Group(after.id), &after.tags)?;
            }
            Change::Delete(_) => {}
        }
    }
    let new_rules: Vec<SecurityRule> = rules().filter_map(Change::after).cloned().collect();
    transaction.insert_rules(&new_rules)?;
    for change in &changes.groups {
        let group = change.group.newest().id;
        transaction.delete_members(group, &change.removed_members)?;
        transaction.insert_members(group, &change.added_members)?;
    }
    for interface in changes.interfaces.iter().filter_map(Change::after) {
        transaction.save_interface(interface)?;
    }
    // Last, for until then an interface may carry it.
    for change in &changes.groups {
        if let Change::Delete(group) = &change.group {
            transaction.delete_group(group.id)?;
        }
    }
    Ok(())
}

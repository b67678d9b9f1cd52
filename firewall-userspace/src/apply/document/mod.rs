//! Documents: what one would change, and changing it.

use super::orphans::{self, Zones};
use super::publish::{check_namespace, policy_input};
use super::status::{self, Flow};
use super::{ApplyError, Changed, Instance};
use crate::datapath::Datapath;
use crate::model::{Document, ExemptAddress, GroupId, Interface, Resource, SecurityGroup, SecurityRule};
use crate::plan::{Change, Changes, CompiledState, Effect, SavedPlan, State, desired};
use crate::store::{Snapshot, Store, Transaction};

/// What a document would change.
#[derive(Debug)]
pub struct Plan {
    /// The document, and what it was compared with.
    pub saved: SavedPlan,
    /// What is stored beside what would be.
    pub difference: Difference,
}

/// Two states beside each other.
#[derive(Debug)]
pub struct Difference {
    /// Generation of the state before.
    pub generation: u64,
    /// What is stored, or was.
    pub before: State,
    /// What would be, or was later.
    pub after: State,
    /// What tells them apart.
    pub changes: Changes,
    /// What it means for traffic.
    pub effect: Effect,
    /// Live flows that would go on though no rule would let them begin any more, as in AWS.
    pub orphaned_flows: Vec<Flow>,
}

impl Difference {
    /// The interfaces that are in audit mode afterwards: nothing is dropped on them, whatever the effect says.
    pub fn audited(&self) -> impl Iterator<Item = &Interface> {
        self.after.interfaces.iter().filter(|interface| interface.options.audit)
    }

    /// The interfaces that leave audit mode.
    pub fn audited_no_longer(&self) -> impl Iterator<Item = &Interface> {
        let was_audited =
            |id| self.before.interfaces.iter().any(|before| before.id == id && before.options.audit);
        self.after
            .interfaces
            .iter()
            .filter(move |interface| !interface.options.audit && was_audited(interface.id))
    }
}

/// Compares a document with what is stored.
pub fn plan(instance: &Instance, document: Document) -> Result<Plan, ApplyError> {
    compare(instance, document, |_, _| Ok(()))
}

/// Compares the document of a saved plan with what is stored, which must be what it was made of.
pub fn resume(instance: &Instance, saved: &SavedPlan) -> Result<Plan, ApplyError> {
    compare(instance, saved.document.clone(), |default_group, generation| {
        check_current(saved, instance, default_group, generation)
    })
}

/// What was changed between two generations. Members of groups that are interfaces are those of today.
pub fn difference(instance: &Instance, from: u64, to: u64) -> Result<Difference, ApplyError> {
    let store = Store::open(&instance.state_dir, instance.lock_timeout)?;
    let (interfaces, known) =
        instance.read(|snapshot| Ok((snapshot.interfaces()?, snapshot.interface_addresses()?)))?;
    let datapath = instance.datapath(&interfaces)?;
    let attachments = datapath.as_ref().map(Datapath::attachments).transpose()?.unwrap_or_default();
    let (before, exempt_before) = state_at(&store, from)?;
    let (after, exempt_after) = state_at(&store, to)?;
    let changes = Changes::between(&before, &after);
    let effect = Effect::between(
        &CompiledState::new(&policy_input(&before, &exempt_before, &attachments, &known)?)?,
        &CompiledState::new(&policy_input(&after, &exempt_after, &attachments, &known)?)?,
    );
    Ok(Difference { generation: from, before, after, changes, effect, orphaned_flows: Vec::new() })
}

fn state_at(store: &Store, generation: u64) -> Result<(State, Vec<ExemptAddress>), ApplyError> {
    let mut past = store.at(generation)?;
    let snapshot = past.snapshot()?;
    Ok((state(&snapshot)?, snapshot.exempt_addresses()?))
}

/// Makes the store, and the policy in force, be as a plan says: one change, one generation, even where nothing
/// differs. Refused if anything was changed since the plan was made.
pub fn apply(instance: &Instance, plan: &Plan) -> Result<Changed<()>, ApplyError> {
    instance.change_with_flows(|transaction| {
        // What was compared is what is stored still, so that the changes are those that were shown.
        let default_group = default_group(&transaction.groups()?)?;
        check_current(&plan.saved, instance, default_group, transaction.generation()?)?;
        carry_out(&plan.difference.changes, transaction)
    })
}

fn compare(
    instance: &Instance,
    document: Document,
    check: impl FnOnce(GroupId, u64) -> Result<(), ApplyError>,
) -> Result<Plan, ApplyError> {
    let interfaces = instance.read(|snapshot| Ok(snapshot.interfaces()?))?;
    let datapath = instance.datapath(&interfaces)?;
    let attachments = datapath.as_ref().map(Datapath::attachments).transpose()?.unwrap_or_default();
    let pinned = datapath.as_ref().map(Datapath::pinned_slots).transpose()?.unwrap_or_default();
    let (before, exempt, known, generation) = instance.read(|snapshot| {
        check_namespace(snapshot, &pinned)?;
        let (exempt, known) = (snapshot.exempt_addresses()?, snapshot.interface_addresses()?);
        Ok((state(snapshot)?, exempt, known, snapshot.generation()?))
    })?;
    let default_group = default_group(&before.groups)?;
    check(default_group, generation)?;
    let after = desired(&before, &document)?;
    let changes = Changes::between(&before, &after);
    let compiled_before = CompiledState::new(&policy_input(&before, &exempt, &attachments, &known)?)?;
    let compiled_after = CompiledState::new(&policy_input(&after, &exempt, &attachments, &known)?)?;
    let effect = Effect::between(&compiled_before, &compiled_after);
    let orphaned_flows = match datapath {
        Some(_) if !changes.is_empty() => {
            orphaned(status::flows(instance)?.flows, &before.interfaces, &compiled_before, &compiled_after)
        }
        _ => Vec::new(),
    };
    let saved = SavedPlan { default_group, generation, document };
    Ok(Plan { saved, difference: Difference { generation, before, after, changes, effect, orphaned_flows } })
}

/// Refuses a plan that was made of anything but what is stored.
fn check_current(
    plan: &SavedPlan,
    instance: &Instance,
    default_group: GroupId,
    generation: u64,
) -> Result<(), ApplyError> {
    if plan.default_group != default_group {
        return Err(ApplyError::PlanOfOtherInstance { state_dir: instance.state_dir.clone() });
    }
    if plan.generation != generation {
        return Err(ApplyError::PlanOutdated { made_on: plan.generation, generation });
    }
    Ok(())
}

/// What is stored, as far as documents speak of it.
pub(super) fn state(snapshot: &Snapshot<'_>) -> Result<State, ApplyError> {
    Ok(State {
        groups: snapshot.groups()?,
        members: snapshot.members()?,
        prefix_lists: snapshot.prefix_lists()?,
        interfaces: snapshot.interfaces()?,
    })
}

/// The group `default`, which every store has and no other store has under the same id.
fn default_group(groups: &[SecurityGroup]) -> Result<GroupId, ApplyError> {
    let default = groups.iter().find(|group| group.name.is_default());
    default.map(|group| group.id).ok_or(ApplyError::NoDefaultGroup)
}

/// Deletes rules first and inserts them last, so that the groups and lists they refer to can be deleted in between, and
/// exist when rules are inserted.
fn carry_out(changes: &Changes, transaction: &Transaction<'_>) -> Result<(), ApplyError> {
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

/// The flows that an interface of their zone would have let begin before, and none would after.
fn orphaned(
    flows: Vec<Flow>,
    interfaces: &[Interface],
    before: &CompiledState,
    after: &CompiledState,
) -> Vec<Flow> {
    let before = Zones::new(interfaces, &before.policy);
    let had_rule = flows.into_iter().filter(|flow| before.admit(&flow.row)).collect();
    orphans::without_rule(had_rule, interfaces, &after.policy)
}

#[cfg(test)]
mod tests;

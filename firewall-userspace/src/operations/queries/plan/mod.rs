//! What a document would change, and what was changed between two generations.

use crate::datapath::Datapath;
use crate::model::{Document, ExemptAddress, GroupId, Interface};
use crate::operations::commands::document::{check_current, default_group};
use crate::operations::flows::{Names, OrphanedFlows, Zones, is_here, orphaned_by_change};
use crate::operations::guard::check_namespace;
use crate::operations::policy::{policy_input, state};
use crate::operations::{Instance, OperationError};
use crate::plan::{Changes, CompiledState, Effect, SavedPlan, State, desired};
use crate::store::Store;

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
    pub orphaned_flows: OrphanedFlows,
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
pub fn plan(instance: &Instance, document: Document) -> Result<Plan, OperationError> {
    compare(instance, document, |_, _| Ok(()))
}

/// Compares the document of a saved plan with what is stored, which must be what it was made of.
pub fn resume(instance: &Instance, saved: &SavedPlan) -> Result<Plan, OperationError> {
    compare(instance, saved.document.clone(), |default_group, generation| {
        check_current(saved, instance, default_group, generation)
    })
}

/// What was changed between two generations. Members of groups that are interfaces are those of today.
pub fn difference(instance: &Instance, from: u64, to: u64) -> Result<Difference, OperationError> {
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
    Ok(Difference {
        generation: from,
        before,
        after,
        changes,
        effect,
        orphaned_flows: OrphanedFlows::default(),
    })
}

fn state_at(store: &Store, generation: u64) -> Result<(State, Vec<ExemptAddress>), OperationError> {
    let mut past = store.at(generation)?;
    let snapshot = past.snapshot()?;
    Ok((state(&snapshot)?, snapshot.exempt_addresses()?))
}

fn compare(
    instance: &Instance,
    document: Document,
    check: impl FnOnce(GroupId, u64) -> Result<(), OperationError>,
) -> Result<Plan, OperationError> {
    let interfaces = instance.read(|snapshot| Ok(snapshot.interfaces()?))?;
    let datapath = instance.datapath(&interfaces)?;
    let attachments = datapath.as_ref().map(Datapath::attachments).transpose()?.unwrap_or_default();
    let pinned = datapath.as_ref().map(Datapath::pinned_slots).transpose()?.unwrap_or_default();
    let (before, exempt, known, generation, rule_sets, namespace) = instance.read(|snapshot| {
        check_namespace(snapshot, &pinned)?;
        let (exempt, known) = (snapshot.exempt_addresses()?, snapshot.interface_addresses()?);
        let (rule_sets, namespace) = (snapshot.rule_sets()?, snapshot.namespace()?);
        Ok((state(snapshot)?, exempt, known, snapshot.generation()?, rule_sets, namespace))
    })?;
    let default_group = default_group(&before.groups)?;
    check(default_group, generation)?;
    let after = desired(&before, &document)?;
    let changes = Changes::between(&before, &after);
    let compiled_before = CompiledState::new(&policy_input(&before, &exempt, &attachments, &known)?)?;
    let compiled_after = CompiledState::new(&policy_input(&after, &exempt, &attachments, &known)?)?;
    let effect = Effect::between(&compiled_before, &compiled_after);
    let orphaned_flows = match datapath {
        Some(datapath) if !changes.is_empty() => {
            let interfaces = &before.interfaces;
            let names = Names { interfaces, rule_sets: &rule_sets };
            let zones =
                [&compiled_before, &compiled_after].map(|state| Zones::new(interfaces, &state.policy));
            let [before, after] = &zones;
            orphaned_by_change(&datapath, is_here(namespace)?, &names, (before, after), None)?
        }
        _ => OrphanedFlows::default(),
    };
    let saved = SavedPlan { default_group, generation, document };
    Ok(Plan { saved, difference: Difference { generation, before, after, changes, effect, orphaned_flows } })
}

#[cfg(test)]
mod tests;

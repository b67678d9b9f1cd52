//! One change, from what is stored to what is in force.
//!
//! *Read → old policy → change → new policy → compare → publish*. Every command that changes what is stored goes this way,
//! but for attaching and detaching, which have programs to handle besides.

use super::confirm::lock;
use super::flows::{Names, OrphanedFlows, Zones, is_here, orphaned_by_change};
use super::guard::quotas;
use super::policy::Stored;
use super::publish::Published;
use super::{ChangeOptions, Instance, Leftover, OperationError, publish};
use crate::compile::CompiledPolicy;
use crate::datapath::Datapath;
use crate::store::Transaction;

/// A change that was made, or would be.
#[must_use = "what is left to do is to be told"]
#[derive(Debug)]
pub struct Changed<T> {
    /// What it came to.
    pub outcome: T,
    /// The live flows that it concerns, because no rule admits them afterwards: those that have lost their rule by it, or
    /// every one if flows are cut.
    pub orphaned_flows: OrphanedFlows,
    /// What is left to do of it, though it is in force.
    pub leftovers: Vec<Leftover>,
}

impl<T> Changed<T> {
    /// The same change, said in another way.
    pub(super) fn map<U>(self, map: impl FnOnce(T) -> U) -> Changed<U> {
        let Self { outcome, orphaned_flows, leftovers } = self;
        Changed { outcome: map(outcome), orphaned_flows, leftovers }
    }
}

impl Instance {
    /// Makes one change and puts it into force, unless it is a dry run.
    pub(super) fn change<T>(
        &self,
        options: ChangeOptions<'_>,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, OperationError>,
    ) -> Result<Changed<T>, OperationError> {
        self.change_live(options, false, change)
    }

    /// As [`change`](Self::change), for what may take the rule of live flows.
    pub(super) fn change_with_flows<T>(
        &self,
        options: ChangeOptions<'_>,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, OperationError>,
    ) -> Result<Changed<T>, OperationError> {
        self.change_live(options, true, change)
    }

    /// Makes one change, which may take the rule of live flows where it `concerns_flows`.
    fn change_live<T>(
        &self,
        options: ChangeOptions<'_>,
        concerns_flows: bool,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, OperationError>,
    ) -> Result<Changed<T>, OperationError> {
        let (mut store, lock) = lock(self)?;
        let interfaces = store.snapshot()?.interfaces()?;
        let Some(mut datapath) = self.datapath(&interfaces)? else {
            let transaction = store.begin(&lock)?;
            let outcome = quotas::within(&transaction, change)?;
            if !options.dry_run {
                publish::commit_unpublished(options, transaction)?;
            }
            return Ok(Changed { outcome, orphaned_flows: OrphanedFlows::default(), leftovers: Vec::new() });
        };
        let before = store.snapshot()?.generation()?;
        let transaction = store.begin(&lock)?;
        let attachments = datapath.attachments()?;
        // Compiling for nothing is what takes the time.
        let old = match concerns_flows && datapath.has_flows()? {
            true => {
                let stored = Stored::read(&transaction)?;
                let policy = stored.policy(&attachments)?;
                Some((stored, policy))
            }
            false => None,
        };
        let outcome = quotas::within(&transaction, change)?;
        let checked = publish::check(self, options, &transaction, &datapath, &attachments)?;
        let orphaned_flows = match &old {
            Some(old) => orphaned(&datapath, old, &transaction, &checked.policy, options)?,
            None => OrphanedFlows::default(),
        };
        drop(old);
        if options.dry_run {
            return Ok(Changed { outcome, orphaned_flows, leftovers: Vec::new() });
        }
        let Published { leftovers, .. } =
            publish::put_into_force(options, transaction, &mut datapath, checked, &attachments)
                .map_err(|failure| publish::take_back(failure, &mut store, &lock, before, |_| Ok(())))?;
        Ok(Changed { outcome, orphaned_flows, leftovers })
    }
}

/// The live flows that no rule admits after a change.
fn orphaned(
    datapath: &Datapath,
    (old, policy_before): &(Stored, CompiledPolicy),
    transaction: &Transaction<'_>,
    policy_after: &CompiledPolicy,
    options: ChangeOptions<'_>,
) -> Result<OrphanedFlows, OperationError> {
    let interfaces = transaction.interfaces()?;
    let before = Zones::new(&old.state.interfaces, policy_before);
    let after = Zones::new(&interfaces, policy_after);
    let names = Names { interfaces: &interfaces, rule_sets: &old.rule_sets };
    orphaned_by_change(datapath, is_here(old.namespace)?, &names, (&before, &after), options.cut_after)
}

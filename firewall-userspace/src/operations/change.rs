//! One change, from what is stored to what is in force.
//!
//! *Read → old policy → change → new policy → compare → publish*. Every command that changes what is stored goes this way,
//! but for attaching and detaching, which have programs to handle besides.

use super::confirm::lock;
use super::flows::{self, Flow};
use super::guard::quotas;
use super::publish::Published;
use super::{ChangeOptions, Instance, Leftover, OperationError, publish};
use crate::datapath::Datapath;
use crate::store::{Snapshot, Transaction};

/// A change that was made, or would be.
#[must_use = "what is left to do is to be told"]
#[derive(Debug)]
pub struct Changed<T> {
    /// What it came to.
    pub outcome: T,
    /// The live flows that it concerns, because no rule admits them afterwards: those that have lost their rule by it, or
    /// every one if flows are cut.
    pub orphaned_flows: Vec<Flow>,
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
        self.change_live(options, |_, _| Ok(Vec::new()), change)
    }

    /// As [`change`](Self::change), for what may take the rule of live flows.
    pub(super) fn change_with_flows<T>(
        &self,
        options: ChangeOptions<'_>,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, OperationError>,
    ) -> Result<Changed<T>, OperationError> {
        let at_stake = |snapshot: &Snapshot<'_>, datapath: &Datapath| {
            flows::at_stake(snapshot, datapath, options.cut_after)
        };
        self.change_live(options, at_stake, change)
    }

    /// Makes one change that may take the rule of the flows `at_stake`.
    fn change_live<T>(
        &self,
        options: ChangeOptions<'_>,
        at_stake: impl FnOnce(&Snapshot<'_>, &Datapath) -> Result<Vec<Flow>, OperationError>,
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
            return Ok(Changed { outcome, orphaned_flows: Vec::new(), leftovers: Vec::new() });
        };
        let before = store.snapshot()?.generation()?;
        let transaction = store.begin(&lock)?;
        let at_stake = at_stake(&transaction, &datapath)?;
        let outcome = quotas::within(&transaction, change)?;
        let attachments = datapath.attachments()?;
        let checked = publish::check(self, options, &transaction, &datapath, &attachments)?;
        let orphaned_flows = flows::without_rule(at_stake, &transaction.interfaces()?, &checked.policy);
        if options.dry_run {
            return Ok(Changed { outcome, orphaned_flows, leftovers: Vec::new() });
        }
        let Published { leftovers, .. } =
            publish::put_into_force(options, transaction, &mut datapath, checked, &attachments)
                .map_err(|failure| publish::take_back(failure, &mut store, &lock, before, |_| Ok(())))?;
        Ok(Changed { outcome, orphaned_flows, leftovers })
    }
}

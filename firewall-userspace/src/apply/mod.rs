//! Changes: each one is a transaction from what the operator asks for to what the kernel enforces.
//!
//! Every command that changes what is stored goes through [`Instance::change`], or through [`interfaces::attach`] and
//! [`interfaces::detach`], which have links to handle besides. What changes the kernel alone does not: migration,
//! reload, repair, confirming, cutting and expiring flows. The steps of a change: take the write lock, begin a store
//! transaction, make the change in it, check the quotas, compile the whole policy, fill the idle half of the maps,
//! commit the store, flip the generation. A failure before the flip leaves the old policy in force and the store as it
//! was. After the flip the new policy is in force, even if what follows fails.
//!
//! One window remains: a process that is killed between the commit and the flip leaves a store that is newer than the
//! kernel. `sgfw status` compares the generations and says so; the next change publishes both, and so does `sgfw repair`.
//!
//! This module knows `store`, `compile`, `datapath` and `host`; it must not know how anything is typed or shown.

pub mod confirm;
pub mod document;
mod error;
pub mod exempt;
pub mod groups;
pub mod interfaces;
mod lockout;
pub mod management;
mod migrate;
pub mod orphans;
pub mod panic;
pub mod prefix_lists;
mod publish;
pub mod quotas;
pub mod reload;
pub mod repair;
pub mod rules;
pub mod status;
pub mod tags;
mod takeover;

use std::path::PathBuf;
use std::time::Duration;

use crate::datapath::Datapath;
use crate::host;
use crate::model::Interface;
use crate::store::{Author, Snapshot, Store, Transaction, WriteLock};
use status::Flow;

pub use error::{ApplyError, with_sources};

/// One sgfw: a state directory and a directory of pins that belong together.
#[derive(Clone, Debug)]
pub struct Instance {
    /// Where the store is.
    pub state_dir: PathBuf,
    /// Where maps and links are pinned.
    pub bpffs: PathBuf,
    /// How long to wait for another process that is changing the instance.
    pub lock_timeout: Duration,
    /// Whether a change may lock out the operator who makes it over SSH.
    pub allow_lockout: bool,
    /// Who makes the changes, for the history.
    pub author: Author,
    /// How long a change is in force unless it is confirmed; `None` for one that stays.
    pub confirm_within: Option<Duration>,
    /// How long after a change the flows that no rule admits any more are cut; `None` to keep them.
    pub cut_after: Option<Duration>,
    /// Whether [`change`](Self::change) only finds out what a change would do and whether it would be refused.
    pub dry_run: bool,
}

/// A change that was made, or would be.
#[derive(Debug)]
pub struct Changed<T> {
    /// What it came to.
    pub outcome: T,
    /// The live flows that it concerns, because no rule admits them afterwards: those that have lost their rule by it, or
    /// every one if flows are cut.
    pub orphaned_flows: Vec<Flow>,
}

impl Instance {
    /// Reads from the store.
    pub fn read<T>(
        &self,
        query: impl FnOnce(&Snapshot<'_>) -> Result<T, ApplyError>,
    ) -> Result<T, ApplyError> {
        let mut store = Store::open(&self.state_dir, self.lock_timeout)?;
        if store.snapshot()?.unconfirmed()?.is_some() {
            // So that a change that was not confirmed in time is not shown. Whoever may not settle that, or finds another
            // process at it, sees the store as it is.
            let _ = Self { lock_timeout: Duration::ZERO, ..self.clone() }.lock();
        }
        query(&store.snapshot()?)
    }

    /// Makes one change and puts it into force, unless it is a dry run.
    pub fn change<T>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, ApplyError>,
    ) -> Result<T, ApplyError> {
        Ok(self.change_live(|_, _| Ok(Vec::new()), change)?.outcome)
    }

    /// As [`change`](Self::change), for what may take the rule of live flows.
    pub fn change_with_flows<T>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, ApplyError>,
    ) -> Result<Changed<T>, ApplyError> {
        let at_stake = |snapshot: &Snapshot<'_>, datapath: &Datapath| {
            orphans::at_stake(snapshot, datapath, self.cut_after)
        };
        self.change_live(at_stake, change)
    }

    /// Makes one change that may take the rule of the flows `at_stake`.
    fn change_live<T>(
        &self,
        at_stake: impl FnOnce(&Snapshot<'_>, &Datapath) -> Result<Vec<Flow>, ApplyError>,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, ApplyError>,
    ) -> Result<Changed<T>, ApplyError> {
        let (mut store, lock) = self.lock()?;
        let interfaces = store.snapshot()?.interfaces()?;
        let Some(mut datapath) = self.datapath(&interfaces)? else {
            let transaction = store.begin(&lock)?;
            let outcome = quotas::within(&transaction, change)?;
            if !self.dry_run {
                publish::commit_unpublished(self, transaction)?;
            }
            return Ok(Changed { outcome, orphaned_flows: Vec::new() });
        };
        let before = store.snapshot()?.generation()?;
        let transaction = store.begin(&lock)?;
        let at_stake = at_stake(&transaction, &datapath)?;
        let outcome = quotas::within(&transaction, change)?;
        let attachments = datapath.attachments()?;
        let checked = publish::check(self, &transaction, &datapath, &attachments)?;
        let orphaned_flows = orphans::without_rule(at_stake, &transaction.interfaces()?, &checked.policy);
        let changed = Changed { outcome, orphaned_flows };
        if self.dry_run {
            return Ok(changed);
        }
        match publish::put_into_force(self, transaction, &mut datapath, checked, &attachments) {
            Ok(_) => Ok(changed),
            Err(error) => {
                // Only a publication that failed after the commit has anything to take back.
                store.undo_after(before, &lock)?;
                Err(error)
            }
        }
    }

    /// The store, and the lock that a change needs. While a change waits to be confirmed there is none.
    fn lock(&self) -> Result<(Store, WriteLock), ApplyError> {
        let (mut store, lock) = self.lock_unsettled()?;
        match confirm::settle(self, &mut store, &lock)? {
            Some(pending) => Err(pending.into()),
            None => Ok((store, lock)),
        }
    }

    /// As [`lock`](Self::lock), whatever waits to be confirmed.
    fn lock_unsettled(&self) -> Result<(Store, WriteLock), ApplyError> {
        // Opening first: it creates the state directory, in which the lock is.
        let store = Store::open(&self.state_dir, self.lock_timeout)?;
        let lock = WriteLock::acquire(&self.state_dir, self.lock_timeout)?;
        Ok((store, lock))
    }

    /// The data plane, if anything is attached. Without interfaces the store is all there is, and needs no privilege.
    pub fn datapath(&self, interfaces: &[Interface]) -> Result<Option<Datapath>, ApplyError> {
        if interfaces.is_empty() {
            return Ok(None);
        }
        host::require_root()?;
        Ok(Datapath::open(&self.bpffs)?)
    }
}

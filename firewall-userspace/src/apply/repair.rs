//! Putting into force again what is stored.
//!
//! Called by `sgfw repair`, after a reboot, a device made anew, pins that somebody removed, or a change that was
//! interrupted. The store wins: it has what was acknowledged, and what was committed. Nothing is decided here about what
//! is allowed; that was done when it was stored, so that the guard against locking oneself out does not apply.

use firewall_common::abi::DEFAULT_FLOW_ENTRIES;

use super::interfaces::attach_programs;
use super::publish::{Published, check_namespace, check_ownership, publish};
use super::{ApplyError, Instance, confirm};
use crate::datapath::{Attachment, Datapath};
use crate::host;
use crate::model::Interface;
use crate::store::{Store, WriteLock};

/// An interface after the repair.
#[derive(Debug)]
pub struct Repaired {
    /// As it is stored.
    pub interface: Interface,
    /// What was found or done.
    pub outcome: Outcome,
}

/// What was found or done.
#[derive(Debug)]
pub enum Outcome {
    /// Its programs were there.
    InForce(Attachment),
    /// It has programs again.
    Attached(Attachment),
    /// There is no such interface.
    NoInterface,
    /// It has no programs still.
    Failed(ApplyError),
}

/// Attaches again every stored interface that exists and has lost its programs, and publishes what is stored if it is not
/// in force. Where all is well it does nothing.
pub fn repair(instance: &Instance) -> Result<Vec<Repaired>, ApplyError> {
    let (mut store, lock) = instance.lock_unsettled()?;
    let interfaces = store.snapshot()?.interfaces()?;
    if !interfaces.is_empty() {
        host::require_root()?;
        host::require_supported_kernel()?;
    }
    // Before anything that asks the maps.
    let attachments = complete_maps(instance, &mut store)?;
    if let Some(pending) = confirm::settle(instance, &mut store, &lock)? {
        return Err(pending.into());
    }
    // Of the generation that is settled.
    let interfaces = store.snapshot()?.interfaces()?;
    let found: Vec<Found> =
        interfaces.into_iter().map(|interface| Found::new(interface, &attachments)).collect();
    let has_lost = found.iter().any(|found| matches!(found.programs, FoundPrograms::Lost));
    let stored = store.snapshot()?.generation()?;
    let existing = Datapath::open(&instance.bpffs)?.filter(|_| !found.is_empty());
    let is_in_force = match &existing {
        Some(datapath) => datapath.generation()? == stored,
        None => true,
    };
    if is_in_force && !has_lost {
        return Ok(found.into_iter().map(Found::unchanged).collect());
    }

    let mut datapath = match existing {
        Some(datapath) if !has_lost => datapath,
        // It also makes anew the directory of the links.
        _ => Datapath::create(&instance.bpffs, DEFAULT_FLOW_ENTRIES)?,
    };
    let published = publish_stored(instance, &mut store, &lock, &mut datapath)?;
    Ok(found.into_iter().map(|found| found.attached_again(&mut datapath, &published)).collect())
}

/// What was allowed when it was stored is put into force, and stays.
fn publish_stored(
    instance: &Instance,
    store: &mut Store,
    lock: &WriteLock,
    datapath: &mut Datapath,
) -> Result<Published, ApplyError> {
    let before = store.snapshot()?.generation()?;
    let transaction = store.begin(lock)?;
    if datapath.pinned_slots()?.is_empty() {
        transaction.set_namespace(host::current_namespace()?)?;
    }
    let unguarded =
        Instance { allow_lockout: true, confirm_within: None, cut_after: None, ..instance.clone() };
    let published = publish(&unguarded, transaction, datapath);
    if published.is_err() {
        store.undo_after(before, lock)?;
    }
    published
}

/// Makes map pins that are gone anew, and returns the attachments whose programs work by the pinned maps.
fn complete_maps(instance: &Instance, store: &mut Store) -> Result<Vec<Attachment>, ApplyError> {
    let damaged = Datapath::damaged(&instance.bpffs)?;
    let is_damaged = damaged.is_some();
    let existing = match damaged {
        Some(datapath) => Some(datapath),
        None => Datapath::open(&instance.bpffs)?,
    };
    let Some(datapath) = existing else {
        return Ok(Vec::new());
    };
    let (snapshot, pinned) = (store.snapshot()?, datapath.pinned_slots()?);
    check_ownership(instance, &snapshot, &pinned)?;
    check_namespace(&snapshot, &pinned)?;
    if is_damaged {
        Datapath::create(&instance.bpffs, DEFAULT_FLOW_ENTRIES)?;
        return Ok(Vec::new());
    }
    Ok(datapath.attachments()?)
}

struct Found {
    interface: Interface,
    programs: FoundPrograms,
}

enum FoundPrograms {
    InForce(Attachment),
    Lost,
    NoInterface,
}

impl Found {
    fn new(interface: Interface, attachments: &[Attachment]) -> Self {
        let attachment = attachments.iter().find(|attachment| attachment.slot == interface.slot);
        let programs = match attachment {
            Some(attachment) => FoundPrograms::InForce(attachment.clone()),
            None if host::index_of(&interface.name).is_ok() => FoundPrograms::Lost,
            None => FoundPrograms::NoInterface,
        };
        Self { interface, programs }
    }

    fn attached_again(self, datapath: &mut Datapath, published: &Published) -> Repaired {
        if !matches!(self.programs, FoundPrograms::Lost) {
            return self.unchanged();
        }
        let interface = self.interface;
        let attached = datapath
            .detach(interface.slot)
            .map_err(ApplyError::from)
            .and_then(|()| attach_programs(datapath, interface.clone(), published));
        let outcome =
            attached.map_or_else(Outcome::Failed, |attached| Outcome::Attached(attached.attachment));
        Repaired { interface, outcome }
    }

    fn unchanged(self) -> Repaired {
        let outcome = match self.programs {
            FoundPrograms::InForce(attachment) => Outcome::InForce(attachment),
            FoundPrograms::Lost | FoundPrograms::NoInterface => Outcome::NoInterface,
        };
        Repaired { interface: self.interface, outcome }
    }
}

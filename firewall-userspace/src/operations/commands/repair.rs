//! Putting into force again what is stored.
//!
//! Called by `sgfw repair`, after a reboot, a device made anew, pins that somebody removed, or a change that was
//! interrupted. The store wins: it has what was acknowledged, and what was committed. Repair does not judge the policy
//! again; that happened when it was stored. The lock-out guard therefore does not run.

use std::collections::BTreeSet;

use super::interfaces::flow_entries;
use super::open_connections::{Attached, attach_programs, attach_tracking};
use crate::datapath::{Attachment, Datapath, LivePrograms};
use crate::host;
use crate::model::Interface;
use crate::operations::guard::{check_namespace, check_ownership};
use crate::operations::publish::{Published, publish_stored};
use crate::operations::{Instance, Leftover, OperationError, Operator, confirm};
use crate::store::Store;

/// What `repair` has found and done.
#[derive(Debug)]
pub struct Repairs {
    /// Every stored interface.
    pub interfaces: Vec<Repaired>,
    /// What is left to do of the publication.
    pub leftovers: Vec<Leftover>,
}

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
    Failed(OperationError),
}

/// Attaches again every stored interface that exists and has lost its programs, and publishes what is stored if it is not
/// in force. Where all is well it does nothing.
pub fn repair(instance: &Instance, operator: &Operator) -> Result<Repairs, OperationError> {
    let (mut store, lock) = instance.lock_unsettled()?;
    let interfaces = store.snapshot()?.interfaces()?;
    if !interfaces.is_empty() {
        host::require_root()?;
    }
    // Before anything that asks the maps.
    let programs = complete_maps(instance, &mut store)?;
    if let Some(pending) = confirm::settle(instance, &mut store, &lock)? {
        return Err(pending.into());
    }
    // Of the generation that is settled.
    let interfaces = store.snapshot()?.interfaces()?;
    let found: Vec<Found> =
        interfaces.into_iter().map(|interface| Found::new(interface, &programs)).collect();
    let has_lost = found.iter().any(Found::has_lost);
    let stored = store.snapshot()?.generation()?;
    let existing = Datapath::open(&instance.bpffs)?.filter(|_| !found.is_empty());
    if let Some(datapath) = &existing {
        datapath.finish_replacement()?;
    }
    let is_in_force = match &existing {
        Some(datapath) => datapath.generation()? == stored,
        None => true,
    };
    if is_in_force && !has_lost {
        let interfaces = found.into_iter().map(Found::unchanged).collect();
        return Ok(Repairs { interfaces, leftovers: Vec::new() });
    }
    if has_lost {
        host::require_no_preempt_rt()?;
    }

    let mut datapath = match existing {
        Some(datapath) if !has_lost => datapath,
        // It also makes anew the directory of the links.
        _ => create(instance, &mut store)?,
    };
    let published = publish_stored(instance, operator, &mut store, &lock, &mut datapath)?;
    let interfaces = found.into_iter().map(|found| found.attached_again(&mut datapath, &published)).collect();
    Ok(Repairs { interfaces, leftovers: published.leftovers })
}

/// What interfaces have of their programs, before the repair.
#[derive(Default)]
struct Survivors {
    programs: Vec<LivePrograms>,
    /// The slots of those that their programs do not know.
    unknown: BTreeSet<u32>,
    /// Whether they work by maps that nobody can reach any more.
    are_stale: bool,
}

impl Survivors {
    /// Whether those of a slot, if none is missing, decide as they should.
    fn are_right(&self, slot: u32) -> bool {
        !self.are_stale && !self.unknown.contains(&slot)
    }
}

/// Makes map pins that are gone anew, and returns what interfaces have of their programs.
fn complete_maps(instance: &Instance, store: &mut Store) -> Result<Survivors, OperationError> {
    let damaged = Datapath::damaged(&instance.bpffs)?;
    let is_damaged = damaged.is_some();
    let existing = match damaged {
        Some(datapath) => Some(datapath),
        None => Datapath::open(&instance.bpffs)?,
    };
    let Some(datapath) = existing else {
        return Ok(Survivors::default());
    };
    let (snapshot, pinned) = (store.snapshot()?, datapath.pinned_slots()?);
    check_ownership(instance, &snapshot, &pinned)?;
    check_namespace(&snapshot, &pinned)?;
    drop(snapshot);
    if is_damaged {
        create(instance, store)?;
    }
    let programs = datapath.live_programs()?;
    let unknown = datapath.unknown_slots(&programs)?;
    Ok(Survivors { programs, unknown, are_stale: is_damaged })
}

fn create(instance: &Instance, store: &mut Store) -> Result<Datapath, OperationError> {
    Ok(Datapath::create(&instance.bpffs, flow_entries(&store.snapshot()?)?)?)
}

struct Found {
    interface: Interface,
    programs: FoundPrograms,
}

enum FoundPrograms {
    InForce(Attachment),
    /// One of the two, or both that are stale or do not know their interface.
    Incomplete {
        live: LivePrograms,
        are_stale: bool,
    },
    Lost,
    NoInterface,
}

impl Found {
    fn new(interface: Interface, programs: &Survivors) -> Self {
        let are_stale = programs.are_stale;
        let live = programs.programs.iter().find(|live| live.slot == interface.slot);
        let programs = match live {
            Some(live) => match live.attachment().filter(|_| programs.are_right(live.slot)) {
                Some(attachment) => FoundPrograms::InForce(attachment),
                None => FoundPrograms::Incomplete { live: live.clone(), are_stale },
            },
            None if host::index_of(&interface.name).is_ok() => FoundPrograms::Lost,
            None => FoundPrograms::NoInterface,
        };
        Self { interface, programs }
    }

    const fn has_lost(&self) -> bool {
        matches!(self.programs, FoundPrograms::Incomplete { .. } | FoundPrograms::Lost)
    }

    fn attached_again(self, datapath: &mut Datapath, published: &Published) -> Repaired {
        let interface = self.interface.clone();
        let attached = match &self.programs {
            FoundPrograms::InForce(_) | FoundPrograms::NoInterface => return self.unchanged(),
            FoundPrograms::Lost => datapath
                .detach(interface.slot)
                .map_err(OperationError::from)
                .and_then(|()| attach_programs(datapath, interface.clone(), published)),
            FoundPrograms::Incomplete { live, are_stale } => {
                completed(datapath, &interface, live, *are_stale, published)
            }
        };
        let outcome =
            attached.map_or_else(Outcome::Failed, |attached| Outcome::Attached(attached.attachment));
        Repaired { interface, outcome }
    }

    fn unchanged(self) -> Repaired {
        let outcome = match self.programs {
            FoundPrograms::InForce(attachment) => Outcome::InForce(attachment),
            FoundPrograms::Incomplete { .. } | FoundPrograms::Lost | FoundPrograms::NoInterface => {
                Outcome::NoInterface
            }
        };
        Repaired { interface: self.interface, outcome }
    }
}

/// What is there of the programs goes on, or gives way to a new one in one step: no direction is opened.
fn completed(
    datapath: &mut Datapath,
    interface: &Interface,
    live: &LivePrograms,
    are_stale: bool,
    published: &Published,
) -> Result<Attached, OperationError> {
    // It may have been renamed since it was attached.
    let name = host::name_of(live.ifindex).unwrap_or_else(|| interface.name.clone());
    let found = Interface { name, ..interface.clone() };
    attach_tracking(datapath, found, published, |datapath, found| {
        let Interface { name, ingress_hook, log_drops, .. } = found;
        let attached = datapath.attach_missing(live, name, *ingress_hook, *log_drops)?;
        if are_stale {
            datapath.reload(&attached.attachment, name, *log_drops, datapath)?;
        }
        Ok(attached)
    })
}

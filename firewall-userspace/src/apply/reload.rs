//! New programs on attached interfaces.
//!
//! Called by `interface reload`. Nothing is stored and nothing published: the maps stay as they are. Only where the
//! programs are of another ABI the maps are made anew.

use super::interfaces::stored_interface;
use super::migrate;
use super::publish::{check_namespace, check_ownership};
use super::status::{InterfaceStatus, Programs};
use super::{ApplyError, Instance};
use crate::datapath::{Attachment, Datapath};
use crate::host;
use crate::model::Interface;
use crate::store::Snapshot;

/// What `interface reload` has done.
#[derive(Debug, Default)]
pub struct Reloaded {
    /// The interfaces that have new programs.
    pub interfaces: Vec<InterfaceStatus>,
    /// Flows that were lost: there was no room for them, or their addresses were not recorded.
    pub lost_flows: u64,
}

/// Puts the programs of this build in the place of those on the interfaces `names`, or on every attached one if no name
/// is given. All interfaces are checked before the first one is touched. What another version of sgfw has attached is
/// taken over as a whole, whatever the names.
pub fn reload(
    instance: &Instance,
    names: &[String],
    flow_entries: Option<u32>,
) -> Result<Reloaded, ApplyError> {
    host::require_root()?;
    // Held to the end: nothing may be attached or detached meanwhile.
    let (mut store, lock) = instance.lock()?;
    if let Some(other) = Datapath::other_version(&instance.bpffs)? {
        if other.has_links()? {
            return migrate::take_over(instance, &mut store, &lock, other, flow_entries);
        }
        // Of a run that was killed when only this was left to do.
        other.remove()?;
    }
    let snapshot = store.snapshot()?;
    let datapath = Datapath::open(&instance.bpffs)?;
    let pinned = datapath.as_ref().map(Datapath::pinned_slots).transpose()?.unwrap_or_default();
    check_ownership(instance, &snapshot, &pinned)?;
    check_namespace(&snapshot, &pinned)?;
    let attachments = datapath.as_ref().map(Datapath::attachments).transpose()?.unwrap_or_default();
    let wanted = wanted(&snapshot, names, &attachments)?;

    let Some(datapath) = datapath else {
        return Ok(Reloaded::default());
    };
    let mut reloaded = Vec::new();
    for (interface, attachment) in wanted {
        // It may have been renamed since it was attached.
        let name = host::name_of(attachment.ifindex).unwrap_or_else(|| interface.name.clone());
        datapath.reload(&attachment, &name, interface.log_drops, &datapath)?;
        reloaded.push(InterfaceStatus { interface, programs: Programs::Attached(attachment) });
    }
    Ok(Reloaded { interfaces: reloaded, lost_flows: 0 })
}

fn wanted(
    snapshot: &Snapshot<'_>,
    names: &[String],
    attachments: &[Attachment],
) -> Result<Vec<(Interface, Attachment)>, ApplyError> {
    let attached = |interface: Interface| {
        let attachment = attachments.iter().find(|attachment| attachment.slot == interface.slot)?;
        Some((interface, attachment.clone()))
    };
    if names.is_empty() {
        return Ok(snapshot.interfaces()?.into_iter().filter_map(attached).collect());
    }
    let named = |name: &String| {
        attached(stored_interface(snapshot, name)?)
            .ok_or_else(|| ApplyError::NotAttached { interface: name.clone() })
    };
    names.iter().map(named).collect()
}

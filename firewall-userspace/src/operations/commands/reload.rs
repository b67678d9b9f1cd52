//! New programs on attached interfaces.
//!
//! Called by `interface reload`. Nothing is published: the maps stay as they are. Where the programs are of another ABI the maps
//! are made anew, and where another size is asked for those of the flow table are.

use super::interfaces::stored_interface;
use super::upgrade::{Upgraded, upgrade};
use crate::datapath::{Attachment, Datapath};
use crate::host;
use crate::model::Interface;
use crate::operations::confirm::lock;
use crate::operations::guard::{check_namespace, check_ownership};
use crate::operations::{Instance, Leftover, OperationError, Operator};
use crate::store::Snapshot;

/// What `interface reload` has done.
#[derive(Debug, Default)]
pub struct Reloaded {
    /// The interfaces that have new programs.
    pub interfaces: Vec<(Interface, Attachment)>,
    /// Flows that were lost: there was no room for them, or their addresses were not recorded.
    pub lost_flows: u64,
    /// What is left to do of a publication, where there was one.
    pub leftovers: Vec<Leftover>,
}

/// Puts the programs of this build in the place of those on the interfaces `names`, or on every attached one if no name
/// is given. All interfaces are checked before the first one is touched. What another version of sgfw has attached is
/// taken over as a whole, whatever the names.
pub fn reload(
    instance: &Instance,
    operator: &Operator,
    names: &[String],
    flow_entries: Option<u32>,
) -> Result<Reloaded, OperationError> {
    host::require_root()?;
    // Held to the end: nothing may be attached or detached meanwhile.
    let (mut store, lock) = lock(instance)?;
    if let Some(other) = Datapath::other_version(&instance.bpffs)? {
        if other.has_pins()? {
            let Upgraded { interfaces, lost_flows, leftovers } =
                upgrade(instance, operator, &mut store, &lock, other, flow_entries)?;
            return Ok(Reloaded { interfaces, lost_flows, leftovers });
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
    let unfinished = datapath.finish_replacement()?;
    let Some(entries) = flow_entries else {
        let interfaces = replace_programs(&datapath, wanted)?;
        return Ok(Reloaded { interfaces, lost_flows: unfinished, leftovers: Vec::new() });
    };
    check_complete(&snapshot, &datapath)?;
    drop(snapshot);
    let (interfaces, lost) = match datapath.resize(entries)? {
        Some(lost) => (wanted, lost),
        None => (replace_programs(&datapath, wanted)?, 0),
    };
    let transaction = store.begin(&lock)?;
    transaction.set_flow_entries(datapath.flow_entries()?)?;
    transaction.commit()?;
    Ok(Reloaded { interfaces, lost_flows: unfinished + lost, leftovers: Vec::new() })
}

fn replace_programs(
    datapath: &Datapath,
    wanted: Vec<(Interface, Attachment)>,
) -> Result<Vec<(Interface, Attachment)>, OperationError> {
    let mut reloaded = Vec::new();
    datapath.forget_programs()?;
    for (interface, attachment) in wanted {
        // It may have been renamed since it was attached.
        let name = host::name_of(attachment.ifindex).unwrap_or_else(|| interface.name.clone());
        datapath.reload(&attachment, &name, interface.log_drops, datapath)?;
        reloaded.push((interface, attachment));
    }
    Ok(reloaded)
}

/// Refuses where an interface has one of its programs left.
fn check_complete(snapshot: &Snapshot<'_>, datapath: &Datapath) -> Result<(), OperationError> {
    let incomplete = datapath.live_programs()?.into_iter().find(|live| live.attachment().is_none());
    let Some(live) = incomplete else {
        return Ok(());
    };
    let stored = snapshot.interfaces()?.into_iter().find(|interface| interface.slot == live.slot);
    let name = host::name_of(live.ifindex).or(stored.map(|interface| interface.name));
    Err(OperationError::IncompleteAttachment { interface: name.unwrap_or_default() })
}

fn wanted(
    snapshot: &Snapshot<'_>,
    names: &[String],
    attachments: &[Attachment],
) -> Result<Vec<(Interface, Attachment)>, OperationError> {
    let attached = |interface: Interface| {
        let attachment = attachments.iter().find(|attachment| attachment.slot == interface.slot)?;
        Some((interface, attachment.clone()))
    };
    if names.is_empty() {
        return Ok(snapshot.interfaces()?.into_iter().filter_map(attached).collect());
    }
    let named = |name: &String| {
        attached(stored_interface(snapshot, name)?)
            .ok_or_else(|| OperationError::NotAttached { interface: name.clone() })
    };
    names.iter().map(named).collect()
}

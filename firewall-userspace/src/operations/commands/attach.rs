//! Attaching an interface.

use std::collections::BTreeSet;
use std::path::PathBuf;

use firewall_common::abi::MAX_INTERFACES;

use super::interfaces::{flow_entries, resolve_groups};
use super::open_connections::{Attached, attach_programs};
use crate::datapath::Datapath;
use crate::host;
use crate::model::{GroupReference, IngressHook, Interface, InterfaceId, InterfaceOptions};
use crate::operations::confirm::lock;
use crate::operations::guard::{check_namespace, check_ownership, quotas};
use crate::operations::publish::{Published, publish, publish_for, take_back};
use crate::operations::{ChangeOptions, Guard, Instance, OperationError, Operator};
use crate::store::Transaction;

/// What `interface attach` asks for.
#[derive(Clone, Debug)]
pub struct AttachRequest {
    /// Name of the interface.
    pub interface: String,
    /// The groups that it is to carry.
    pub groups: Vec<GroupReference>,
    /// Where to decide ingress packets.
    pub ingress_hook: IngressHook,
    /// Whether to log each dropped packet.
    pub log_drops: bool,
    /// Whether to begin in audit mode. An interface that was in it when it lost its programs is in it again anyway.
    pub audit: bool,
    /// For how many live flows the flow table is to have room, if it is still to be made.
    pub flow_entries: Option<u32>,
    /// Where to mount a bpf filesystem first, if none is mounted there.
    pub mount_bpffs: Option<PathBuf>,
}

/// Attaches an interface: from then on its packets are decided by the rules of its groups. An interface that was
/// attached once and has lost its programs (a reboot, a device made anew) keeps its id.
///
/// The policy is in force before the first packet meets a program, so there is no moment without one. Connections
/// that are open go on where the rules would have let them begin.
pub fn attach(
    instance: &Instance,
    operator: &Operator,
    guard: Guard,
    request: &AttachRequest,
) -> Result<Attached, OperationError> {
    host::require_root()?;
    if let Some(mount_point) = &request.mount_bpffs {
        host::mount_bpffs(mount_point)?;
    }
    let ifindex = host::index_of(&request.interface)?;
    host::require_no_preempt_rt()?;
    let (mut store, lock) = lock(instance)?;
    if store.snapshot()?.interfaces()?.is_empty() {
        // They would have the flows, and the size, of what was attached before.
        Datapath::remove_unused(&instance.bpffs)?;
    }
    let existing = Datapath::open(&instance.bpffs)?;
    let pinned = existing.as_ref().map(Datapath::pinned_slots).transpose()?.unwrap_or_default();
    let attachments = existing.as_ref().map(Datapath::attachments).transpose()?.unwrap_or_default();
    let before = store.snapshot()?.generation()?;
    let transaction = store.begin(&lock)?;
    check_ownership(instance, &transaction, &pinned)?;
    check_namespace(&transaction, &pinned)?;
    if existing.is_some() && request.flow_entries.is_some() {
        return Err(OperationError::FlowTablesExist);
    }
    if attachments.iter().any(|attachment| attachment.ifindex == ifindex) {
        return Err(OperationError::AlreadyAttached { interface: request.interface.clone() });
    }
    transaction.set_namespace(host::current_namespace()?)?;
    let flow_entries = match request.flow_entries {
        Some(entries) => entries,
        None => flow_entries(&transaction)?,
    };
    let interface = wanted_interface(&transaction, request)?;
    quotas::within(&transaction, |transaction| Ok(transaction.save_interface(&interface)?))?;

    let mut datapath = match existing {
        Some(datapath) => datapath,
        None => Datapath::create(&instance.bpffs, flow_entries)?,
    };
    let published =
        publish_for(instance, ChangeOptions::new(operator, guard), transaction, &mut datapath, &attachments);
    let is_published = published.is_ok();
    let attached = published.and_then(|published| {
        let attached = attach_programs(&mut datapath, interface.clone(), &published)?;
        Ok(Attached { leftovers: published.leftovers, ..attached })
    });
    attached.map_err(|failure| {
        take_back(failure, &mut store, &lock, before, |store| {
            if pinned.is_empty() {
                return Ok(datapath.remove()?);
            }
            if is_published {
                // Flows of connections taken over: another interface may get the zone.
                datapath.forget_flows(interface.zone)?;
                // What was in force before comes back, even if it locks the operator out: that was allowed then.
                let unguarded = ChangeOptions::new(operator, Guard::Off);
                // Undoing is told by the failure alone.
                let Published { .. } = publish(instance, unguarded, store.begin(&lock)?, &mut datapath)?;
            }
            Ok(())
        })
    })
}

/// The interface as it is to be stored: with the id, slot and zone that it had, or with new ones.
fn wanted_interface(
    transaction: &Transaction<'_>,
    request: &AttachRequest,
) -> Result<Interface, OperationError> {
    let name = &request.interface;
    let groups = resolve_groups(transaction, name, &request.groups)?;
    let AttachRequest { ingress_hook, log_drops, audit, .. } = *request;
    let stored = transaction.interfaces()?;
    if let Some(known) = stored.iter().find(|interface| interface.name == *name) {
        let options = InterfaceOptions { audit: known.options.audit || audit, ..known.options.clone() };
        return Ok(Interface { groups, ingress_hook, log_drops, options, ..known.clone() });
    }
    let used: BTreeSet<u32> = stored.iter().map(|interface| interface.slot).collect();
    let slot = (0..MAX_INTERFACES)
        .find(|slot| !used.contains(slot))
        .ok_or(OperationError::NoFreeSlot { slots: MAX_INTERFACES })?;
    let (id, zone) = (InterfaceId::random()?, transaction.allocate_zone()?);
    let options = InterfaceOptions { audit, ..InterfaceOptions::default() };
    Ok(Interface { id, name: name.clone(), slot, zone, ingress_hook, log_drops, groups, options })
}

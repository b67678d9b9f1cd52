//! Attaching and detaching interfaces, and the groups that they carry.

use std::collections::BTreeSet;

use firewall_common::abi::{DEFAULT_FLOW_ENTRIES, MAX_INTERFACES};

use super::publish::{Published, check_namespace, check_ownership, commit_unpublished, publish, publish_for};
use super::takeover::take_over;
use super::{ApplyError, Changed, Instance, quotas};
use crate::datapath::{Attachment, Datapath, FilterBefore, NewAttachment};
use crate::host;
use crate::model::{
    GroupId, GroupReference, IngressHook, Interface, InterfaceId, InterfaceOptions, ModelError,
};
use crate::store::{Snapshot, Transaction};

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
}

/// What `interface attach` has done.
#[derive(Debug)]
pub struct Attached {
    /// The interface as it is stored.
    pub interface: Interface,
    /// Its programs.
    pub attachment: Attachment,
    /// Why native XDP was refused, in the driver's words, where it was tried.
    pub native_xdp_refused: Option<String>,
    /// The filters of others that decide before ours.
    pub filters_before: Vec<FilterBefore>,
    /// How many connections that were open already are tracked now. Failing to find them does not
    /// fail the attachment.
    pub taken_over: Result<usize, ApplyError>,
}

/// Attaches an interface: from then on its packets are decided by the rules of its groups. An interface that was
/// attached once and has lost its programs (a reboot, a device made anew) keeps its id.
///
/// The policy is in force before the first packet meets a program, so there is no moment without one. Connections
/// that are open go on where the rules would have let them begin.
pub fn attach(instance: &Instance, request: &AttachRequest) -> Result<Attached, ApplyError> {
    host::require_root()?;
    let ifindex = host::index_of(&request.interface)?;
    host::require_no_preempt_rt()?;
    let (mut store, lock) = instance.lock()?;
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
        return Err(ApplyError::FlowTablesExist);
    }
    if attachments.iter().any(|attachment| attachment.ifindex == ifindex) {
        return Err(ApplyError::AlreadyAttached { interface: request.interface.clone() });
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
    let published = publish_for(instance, transaction, &mut datapath, &attachments);
    let is_published = published.is_ok();
    let attached =
        published.and_then(|published| attach_programs(&mut datapath, interface.clone(), &published));
    attached.map_err(|failure| {
        let undone = store.undo_after(before, &lock).map_err(ApplyError::from).and_then(|()| {
            if pinned.is_empty() {
                return Ok(datapath.remove()?);
            }
            if is_published {
                // Flows of connections taken over: another interface may get the zone.
                datapath.forget_flows(interface.zone)?;
                // What was in force before comes back, even if it locks the operator out: that was allowed then.
                let unguarded = Instance { allow_lockout: true, ..instance.clone() };
                publish(&unguarded, store.begin(&lock)?, &mut datapath)?;
            }
            Ok(())
        });
        with_undo(failure, undone)
    })
}

/// Detaches an interface: its traffic is open from then on. When the last one goes, so do all maps and pins.
///
/// Its flows are forgotten. Attached again, it tracks the open connections anew that its rules admit.
///
/// The programs go first. The other way round their packets would meet a policy that does not know them, and drop.
pub fn detach(instance: &Instance, name: &str) -> Result<(), ApplyError> {
    host::require_root()?;
    let (mut store, lock) = instance.lock()?;
    let before = store.snapshot()?.generation()?;
    let transaction = store.begin(&lock)?;
    let interface = stored_interface(&transaction, name)?;
    transaction.delete_interface(interface.id)?;
    let Some(mut datapath) = Datapath::open(&instance.bpffs)? else {
        return commit_unpublished(instance, transaction);
    };
    let mut others = datapath.pinned_slots()?;
    let had_pins = others.remove(&interface.slot);
    check_filters(&transaction, &datapath, &interface)?;
    datapath.detach(interface.slot)?;
    if others.is_empty() {
        commit_unpublished(instance, transaction)?;
        return Ok(datapath.remove()?);
    }
    publish_detached(instance, transaction, &mut datapath, &interface, &others).map_err(|failure| {
        let undone = store.undo_after(before, &lock).map_err(ApplyError::from).and_then(|()| {
            if had_pins {
                datapath.attach(interface.slot, name, interface.ingress_hook, interface.log_drops)?;
            }
            Ok(())
        });
        with_undo(failure, undone)
    })
}

/// Replaces the groups of an interface.
pub fn set_groups(
    instance: &Instance,
    name: &str,
    groups: &[GroupReference],
) -> Result<Changed<Interface>, ApplyError> {
    instance.change_with_flows(|transaction| {
        let groups = resolve_groups(transaction, name, groups)?;
        let interface = Interface { groups, ..stored_interface(transaction, name)? };
        transaction.save_interface(&interface)?;
        Ok(interface)
    })
}

/// Changes how the traffic of an interface is treated apart from the rules.
pub fn change_options(
    instance: &Instance,
    name: &str,
    change: impl FnOnce(&mut InterfaceOptions) -> Result<(), ModelError>,
) -> Result<Interface, ApplyError> {
    instance.change(|transaction| {
        let mut interface = stored_interface(transaction, name)?;
        change(&mut interface.options)?;
        transaction.save_interface(&interface)?;
        Ok(interface)
    })
}

/// The size of a flow table that is made: that which it had, as long as any interface is stored that worked by it.
pub(super) fn flow_entries(snapshot: &Snapshot<'_>) -> Result<u32, ApplyError> {
    if snapshot.interfaces()?.is_empty() {
        return Ok(DEFAULT_FLOW_ENTRIES);
    }
    Ok(snapshot.flow_entries()?.unwrap_or(DEFAULT_FLOW_ENTRIES))
}

pub(super) fn stored_interface(snapshot: &Snapshot<'_>, name: &str) -> Result<Interface, ApplyError> {
    let mut interfaces = snapshot.interfaces()?.into_iter();
    interfaces
        .find(|interface| interface.name == name)
        .ok_or_else(|| ApplyError::NotAttached { interface: name.to_owned() })
}

fn resolve_groups(
    snapshot: &Snapshot<'_>,
    interface: &str,
    references: &[GroupReference],
) -> Result<Vec<GroupId>, ApplyError> {
    let all = snapshot.groups()?;
    let mut groups = Vec::new();
    for reference in references {
        let id = reference.find(&all)?.id;
        if !groups.contains(&id) {
            groups.push(id);
        }
    }
    if groups.is_empty() {
        return Err(ModelError::NoGroups { interface: interface.to_owned() }.into());
    }
    Ok(groups)
}

/// The interface as it is to be stored: with the id, slot and zone that it had, or with new ones.
fn wanted_interface(transaction: &Transaction<'_>, request: &AttachRequest) -> Result<Interface, ApplyError> {
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
        .ok_or(ApplyError::NoFreeSlot { slots: MAX_INTERFACES })?;
    let (id, zone) = (InterfaceId::random()?, transaction.allocate_zone()?);
    let options = InterfaceOptions { audit, ..InterfaceOptions::default() };
    Ok(Interface { id, name: name.clone(), slot, zone, ingress_hook, log_drops, groups, options })
}

/// Attaches both programs.
pub(super) fn attach_programs(
    datapath: &mut Datapath,
    interface: Interface,
    published: &Published,
) -> Result<Attached, ApplyError> {
    // Another interface may have had the slot.
    datapath.reset_counters(interface.slot)?;
    tracking_open_connections(datapath, interface, published, |datapath, interface| {
        let Interface { slot, name, ingress_hook, log_drops, .. } = interface;
        Ok(datapath.attach(*slot, name, *ingress_hook, *log_drops)?)
    })
}

/// Runs `attach`. Connections that are open are tracked from before the first program sees a packet.
pub(super) fn tracking_open_connections(
    datapath: &mut Datapath,
    interface: Interface,
    published: &Published,
    attach: impl FnOnce(&mut Datapath, &Interface) -> Result<NewAttachment, ApplyError>,
) -> Result<Attached, ApplyError> {
    let before = take_over(datapath, &interface, published);
    let NewAttachment { attachment, native_xdp_refused, filters_before } = attach(datapath, &interface)?;
    // Once more, for those that were opened meanwhile.
    let taken_over = before.and_then(|before| Ok(before + take_over(datapath, &interface, published)?));
    Ok(Attached { interface, attachment, native_xdp_refused, filters_before, taken_over })
}

/// In another network namespace a filter would be left, and nobody would know it.
fn check_filters(
    snapshot: &Snapshot<'_>,
    datapath: &Datapath,
    interface: &Interface,
) -> Result<(), ApplyError> {
    let pins = datapath.filter_pins(interface.slot)?;
    if pins.is_empty() || snapshot.namespace()? == host::current_namespace()? {
        return Ok(());
    }
    Err(ApplyError::FiltersInOtherNamespace { interface: interface.name.clone(), pins })
}

fn publish_detached(
    instance: &Instance,
    transaction: Transaction<'_>,
    datapath: &mut Datapath,
    interface: &Interface,
    others: &BTreeSet<u32>,
) -> Result<(), ApplyError> {
    datapath.forget_flows(interface.zone)?;
    if let Err(ApplyError::OtherNamespace) = check_namespace(&transaction, others) {
        // The namespace may be gone, and there must be a way to be rid of what was attached in it. The policy of the
        // others stays as it is until a change is made in theirs.
        return Ok(transaction.commit()?);
    }
    publish(instance, transaction, datapath)?;
    Ok(())
}

fn with_undo(failure: ApplyError, undone: Result<(), ApplyError>) -> ApplyError {
    match undone {
        Ok(()) => failure,
        Err(undoing) => ApplyError::NotUndone { failure: Box::new(failure), undoing: Box::new(undoing) },
    }
}

//! From a store transaction to a policy in force.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::{ApplyError, Instance, lockout, panic};
use crate::compile::{CompiledPolicy, InterfaceInput, PolicyInput, RuleSetIds, compile};
use crate::datapath::{Attachment, Datapath};
use crate::host;
use crate::model::{GroupId, Interface};
use crate::store::{Snapshot, Transaction};

/// A policy in force.
pub(super) struct Published {
    pub(super) policy: CompiledPolicy,
    pub(super) generation: u64,
}

/// Compiles what the transaction holds, commits it and puts it into force. The transaction's generation becomes that of
/// the policy.
pub(super) fn publish(
    instance: &Instance,
    transaction: Transaction<'_>,
    datapath: &mut Datapath,
) -> Result<Published, ApplyError> {
    let pinned = datapath.pinned_slots()?;
    check_ownership(instance, &transaction, &pinned)?;
    check_namespace(&transaction, &pinned)?;
    let attachments = datapath.attachments()?;
    publish_for(instance, transaction, datapath, &attachments)
}

/// As [`publish`], for interfaces with these programs.
pub(super) fn publish_for(
    instance: &Instance,
    transaction: Transaction<'_>,
    datapath: &mut Datapath,
    attachments: &[Attachment],
) -> Result<Published, ApplyError> {
    let mut rule_sets = RuleSetIds::from_iter(transaction.rule_sets()?);
    let mut policy = compile(&policy_input(&transaction, attachments)?, &mut rule_sets)?;
    if !instance.allow_lockout {
        lockout::check(&transaction, &policy)?;
    }
    if transaction.is_panic()? {
        // What is stored was compiled all the same: panic mode must be able to end.
        policy = compile_panic(&transaction, &mut rule_sets)?;
        if !instance.allow_lockout {
            lockout::check_panic(&transaction, &policy)?;
        }
    }
    for (id, rules) in rule_sets.added() {
        transaction.insert_rule_set(*id, rules)?;
    }
    let prepared = datapath.prepare(&policy, transaction.generation()?)?;
    let generation = prepared.generation();
    transaction.set_generation(generation)?;
    transaction.commit()?;
    prepared.activate(None)?;
    Ok(Published { policy, generation })
}

fn compile_panic(snapshot: &Snapshot<'_>, rule_sets: &mut RuleSetIds) -> Result<CompiledPolicy, ApplyError> {
    let input = panic::policy_input(&snapshot.interfaces()?, &snapshot.management_prefixes()?)?;
    Ok(compile(&input, rule_sets)?)
}

/// Commits a change that has nothing to be put into force in.
pub(super) fn commit_unpublished(transaction: Transaction<'_>) -> Result<(), ApplyError> {
    transaction.set_generation(transaction.generation()? + 1)?;
    Ok(transaction.commit()?)
}

/// Publishing what one state directory says would replace the policy of interfaces that another one has attached.
pub(super) fn check_ownership(
    instance: &Instance,
    snapshot: &Snapshot<'_>,
    pinned: &BTreeSet<u32>,
) -> Result<(), ApplyError> {
    let known: BTreeSet<u32> = snapshot.interfaces()?.iter().map(|interface| interface.slot).collect();
    if pinned.is_subset(&known) {
        return Ok(());
    }
    Err(ApplyError::ForeignPins { bpffs: instance.bpffs.clone(), state_dir: instance.state_dir.clone() })
}

/// Group references match addresses of interfaces of this host. In another network namespace those of the same names
/// would be read, and references would silently match other addresses.
pub(super) fn check_namespace(snapshot: &Snapshot<'_>, pinned: &BTreeSet<u32>) -> Result<(), ApplyError> {
    if pinned.is_empty() || snapshot.namespace()? == host::current_namespace()? {
        return Ok(());
    }
    Err(ApplyError::OtherNamespace)
}

fn policy_input(
    transaction: &Transaction<'_>,
    attachments: &[Attachment],
) -> Result<PolicyInput, ApplyError> {
    let interfaces = transaction.interfaces()?;
    let exempt_addresses = transaction.exempt_addresses()?;
    let mut members = transaction.members()?;
    add_interface_addresses(&mut members, &interfaces, attachments)?;
    let input_of = |interface: &Interface| InterfaceInput {
        slot: interface.slot,
        zone: interface.zone,
        groups: interface.groups.clone(),
        options: interface.options.clone(),
    };
    Ok(PolicyInput {
        interfaces: interfaces.iter().map(input_of).collect(),
        groups: transaction.groups()?,
        prefix_lists: transaction.prefix_lists()?,
        members,
        exempt_addresses: exempt_addresses.into_iter().map(|address| address.properties).collect(),
    })
}

/// The addresses of an interface are members of the groups that it carries (AWS: a group reference matches "the private
/// IP addresses of the network interfaces that are associated with the group").
fn add_interface_addresses(
    members: &mut BTreeMap<GroupId, Vec<IpNet>>,
    interfaces: &[Interface],
    attachments: &[Attachment],
) -> Result<(), ApplyError> {
    for interface in interfaces {
        let attachment = attachments.iter().find(|attachment| attachment.slot == interface.slot);
        // An attached interface may have been renamed since.
        let name = attachment.and_then(|attachment| host::name_of(attachment.ifindex));
        let addresses = host::addresses(name.as_deref().unwrap_or(&interface.name))?;
        for group in &interface.groups {
            members.entry(*group).or_default().extend_from_slice(&addresses);
        }
    }
    Ok(())
}

//! From a store transaction to a policy in force.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use ipnet::IpNet;

use super::document::state;
use super::{ApplyError, Instance, lockout, orphans, panic};
use crate::compile::{CompiledPolicy, InterfaceInput, PolicyInput, RuleSetIds, compile};
use crate::datapath::{Attachment, Datapath};
use crate::host;
use crate::model::{ExemptAddress, GroupId, Interface, InterfaceId};
use crate::plan::State;
use crate::store::{Snapshot, Transaction, UnconfirmedGeneration};

/// The addresses that interfaces had when the policy was last published.
pub(super) type KnownAddresses = BTreeMap<InterfaceId, Vec<IpNet>>;

/// A policy in force.
pub(super) struct Published {
    pub(super) policy: CompiledPolicy,
    pub(super) generation: u64,
}

/// A policy that may be put into force.
pub(super) struct Checked {
    pub(super) policy: CompiledPolicy,
    rule_sets: RuleSetIds,
}

/// Compiles what the transaction holds, commits it and puts it into force. The transaction's generation becomes that of
/// the policy.
pub(super) fn publish(
    instance: &Instance,
    transaction: Transaction<'_>,
    datapath: &mut Datapath,
) -> Result<Published, ApplyError> {
    let attachments = datapath.attachments()?;
    publish_for(instance, transaction, datapath, &attachments)
}

/// As [`publish`], for interfaces that have the programs of another version.
pub(super) fn publish_for(
    instance: &Instance,
    transaction: Transaction<'_>,
    datapath: &mut Datapath,
    attachments: &[Attachment],
) -> Result<Published, ApplyError> {
    let checked = check(instance, &transaction, datapath, attachments)?;
    put_into_force(instance, transaction, datapath, checked, attachments)
}

/// Commits a policy that was checked and puts it into force.
pub(super) fn put_into_force(
    instance: &Instance,
    transaction: Transaction<'_>,
    datapath: &mut Datapath,
    Checked { policy, rule_sets }: Checked,
    attachments: &[Attachment],
) -> Result<Published, ApplyError> {
    remember_kernel(&transaction, datapath, attachments)?;
    for (id, rules) in rule_sets.added() {
        transaction.insert_rule_set(id, rules)?;
    }
    let prepared = datapath.prepare(&policy, transaction.generation()?)?;
    let generation = prepared.generation();
    record(instance, &transaction, generation)?;
    let interfaces = transaction.interfaces()?;
    transaction.commit()?;
    prepared.activate(instance.confirm_within)?;
    if let (None, Some(delay)) = (instance.confirm_within, instance.cut_after) {
        orphans::cut(datapath, &policy, &interfaces, delay)?;
    }
    Ok(Published { policy, generation })
}

/// Compiles what the transaction holds, and refuses what must not be put into force.
pub(super) fn check(
    instance: &Instance,
    transaction: &Transaction<'_>,
    datapath: &Datapath,
    attachments: &[Attachment],
) -> Result<Checked, ApplyError> {
    let pinned = datapath.pinned_slots()?;
    check_ownership(instance, transaction, &pinned)?;
    check_namespace(transaction, &pinned)?;
    let (mut policy, mut rule_sets) = compiled(transaction, attachments)?;
    if !instance.allow_lockout {
        lockout::check(transaction, &policy)?;
    }
    if transaction.is_panic()? {
        // What is stored was compiled all the same: panic mode must be able to end.
        policy = compile_panic(transaction, &mut rule_sets)?;
        if !instance.allow_lockout {
            lockout::check_panic(transaction, &policy)?;
        }
    }
    Ok(Checked { policy, rule_sets })
}

fn compile_panic(snapshot: &Snapshot<'_>, rule_sets: &mut RuleSetIds) -> Result<CompiledPolicy, ApplyError> {
    let input = panic::policy_input(&snapshot.interfaces()?, &snapshot.management_prefixes()?)?;
    Ok(compile(&input, rule_sets)?)
}

/// Commits a change that has nothing to be put into force in.
pub(super) fn commit_unpublished(
    instance: &Instance,
    transaction: Transaction<'_>,
) -> Result<(), ApplyError> {
    record(instance, &transaction, transaction.generation()? + 1)?;
    Ok(transaction.commit()?)
}

/// The policy that what is stored makes. Its rule sets have the ids that they have in the kernel.
pub(super) fn policy_in_force(
    snapshot: &Snapshot<'_>,
    datapath: &Datapath,
) -> Result<CompiledPolicy, ApplyError> {
    let (policy, mut rule_sets) = compiled(snapshot, &datapath.attachments()?)?;
    if snapshot.is_panic()? {
        return compile_panic(snapshot, &mut rule_sets);
    }
    Ok(policy)
}

fn compiled(
    snapshot: &Snapshot<'_>,
    attachments: &[Attachment],
) -> Result<(CompiledPolicy, RuleSetIds), ApplyError> {
    let mut rule_sets = RuleSetIds::from_iter(snapshot.rule_sets()?);
    let known = snapshot.interface_addresses()?;
    let state = state(snapshot)?;
    let mut input = policy_input(&state, &snapshot.exempt_addresses()?, attachments, &known)?;
    let prefixes = snapshot.management_prefixes()?;
    input.management_prefixes = prefixes.into_iter().map(|prefix| prefix.properties).collect();
    Ok((compile(&input, &mut rule_sets)?, rule_sets))
}

/// Gives the change its generation, and the time until which it is to be confirmed.
fn record(instance: &Instance, transaction: &Transaction<'_>, generation: u64) -> Result<(), ApplyError> {
    let previous = transaction.generation()?;
    transaction.set_generation(generation, &instance.author)?;
    if let Some(within) = instance.confirm_within {
        let until = SystemTime::now() + within;
        let cut_after = instance.cut_after;
        transaction.set_unconfirmed(&UnconfirmedGeneration { generation, previous, until, cut_after })?;
    }
    Ok(())
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

/// What a state compiles from on this host. An interface that is gone has the addresses by which it is `known`.
pub(super) fn policy_input<'s>(
    state: &'s State,
    exempt_addresses: &[ExemptAddress],
    attachments: &[Attachment],
    known: &KnownAddresses,
) -> Result<PolicyInput<'s>, ApplyError> {
    let mut members = state.members.clone();
    add_interface_addresses(&mut members, &state.interfaces, attachments, known)?;
    let input_of = |interface: &Interface| InterfaceInput {
        slot: interface.slot,
        zone: interface.zone,
        groups: interface.groups.clone(),
        options: interface.options.clone(),
    };
    Ok(PolicyInput {
        interfaces: state.interfaces.iter().map(input_of).collect(),
        groups: Cow::Borrowed(&state.groups),
        prefix_lists: Cow::Borrowed(&state.prefix_lists),
        members,
        exempt_addresses: exempt_addresses.iter().map(|address| address.properties).collect(),
        ..PolicyInput::default()
    })
}

/// The addresses of an interface are members of the groups that it carries (AWS: a group reference matches "the private
/// IP addresses of the network interfaces that are associated with the group").
///
/// Those of one that is gone stay: a rule for the group must not silently match fewer peers because a device went down.
fn add_interface_addresses(
    members: &mut BTreeMap<GroupId, Vec<IpNet>>,
    interfaces: &[Interface],
    attachments: &[Attachment],
    known: &KnownAddresses,
) -> Result<(), ApplyError> {
    let present = host::addresses_by_name()?;
    for interface in interfaces {
        let addresses = match addresses(interface, attachments, &present) {
            Some(addresses) => addresses,
            None => known.get(&interface.id).map(Vec::as_slice).unwrap_or_default(),
        };
        for group in &interface.groups {
            members.entry(*group).or_default().extend_from_slice(addresses);
        }
    }
    Ok(())
}

/// Remembers what a reboot takes away: the addresses of every interface, and the size of the flow table.
fn remember_kernel(
    transaction: &Transaction<'_>,
    datapath: &Datapath,
    attachments: &[Attachment],
) -> Result<(), ApplyError> {
    transaction.set_flow_entries(datapath.flow_entries()?)?;
    let present = host::addresses_by_name()?;
    for interface in transaction.interfaces()? {
        if let Some(addresses) = addresses(&interface, attachments, &present) {
            transaction.save_interface_addresses(interface.id, addresses)?;
        }
    }
    Ok(())
}

/// The addresses that an interface has; `None` if it is gone.
fn addresses<'p>(
    interface: &Interface,
    attachments: &[Attachment],
    present: &'p BTreeMap<String, Vec<IpNet>>,
) -> Option<&'p [IpNet]> {
    let attachment = attachments.iter().find(|attachment| attachment.slot == interface.slot);
    // An attached interface may have been renamed since.
    let attached = attachment.and_then(|attachment| host::name_of(attachment.ifindex));
    present.get(attached.as_ref().unwrap_or(&interface.name)).map(Vec::as_slice)
}

//! What is stored, as a policy: state → input → compiled.

mod panic;

use std::borrow::Cow;
use std::collections::BTreeMap;

use ipnet::IpNet;

use super::OperationError;
use crate::compile::{CompiledPolicy, InterfaceInput, PolicyInput, RuleSetIds, compile};
use crate::datapath::{Attachment, Datapath};
use crate::host;
use crate::model::{ExemptAddress, GroupId, Interface, InterfaceId};
use crate::plan::State;
use crate::store::Snapshot;

/// The addresses that interfaces had when the policy was last published.
pub(super) type KnownAddresses = BTreeMap<InterfaceId, Vec<IpNet>>;

/// What is stored, as far as documents speak of it.
pub(super) fn state(snapshot: &Snapshot<'_>) -> Result<State, OperationError> {
    Ok(State {
        groups: snapshot.groups()?,
        members: snapshot.members()?,
        prefix_lists: snapshot.prefix_lists()?,
        interfaces: snapshot.interfaces()?,
    })
}

/// The policy that what is stored makes, by the addresses that the host has now. Its rule sets have the ids that they have in the kernel.
pub(super) fn policy_stored(
    snapshot: &Snapshot<'_>,
    datapath: &Datapath,
) -> Result<CompiledPolicy, OperationError> {
    let (policy, mut rule_sets) = compiled(snapshot, &datapath.attachments()?)?;
    if snapshot.is_panic()? {
        return compile_panic(snapshot, &mut rule_sets);
    }
    Ok(policy)
}

pub(super) fn compiled(
    snapshot: &Snapshot<'_>,
    attachments: &[Attachment],
) -> Result<(CompiledPolicy, RuleSetIds), OperationError> {
    let mut rule_sets =
        RuleSetIds::from_iter(snapshot.rule_sets()?).after(snapshot.highest_deleted_rule_set()?);
    let known = snapshot.interface_addresses()?;
    let state = state(snapshot)?;
    let mut input = policy_input(&state, &snapshot.exempt_addresses()?, attachments, &known)?;
    let prefixes = snapshot.management_prefixes()?;
    input.management_prefixes = prefixes.into_iter().map(|prefix| prefix.properties).collect();
    Ok((compile(&input, &mut rule_sets)?, rule_sets))
}

/// The policy of panic mode.
pub(super) fn compile_panic(
    snapshot: &Snapshot<'_>,
    rule_sets: &mut RuleSetIds,
) -> Result<CompiledPolicy, OperationError> {
    let input = panic::policy_input(&snapshot.interfaces()?, &snapshot.management_prefixes()?)?;
    Ok(compile(&input, rule_sets)?)
}

/// What a state compiles from on this host. An interface that is gone has the addresses by which it is `known`.
pub(super) fn policy_input<'s>(
    state: &'s State,
    exempt_addresses: &[ExemptAddress],
    attachments: &[Attachment],
    known: &KnownAddresses,
) -> Result<PolicyInput<'s>, OperationError> {
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
) -> Result<(), OperationError> {
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

/// The addresses that an interface has; `None` if it is gone.
pub(super) fn addresses<'p>(
    interface: &Interface,
    attachments: &[Attachment],
    present: &'p BTreeMap<String, Vec<IpNet>>,
) -> Option<&'p [IpNet]> {
    let attachment = attachments.iter().find(|attachment| attachment.slot == interface.slot);
    // An attached interface may have been renamed since.
    let attached = attachment.and_then(|attachment| host::name_of(attachment.ifindex));
    present.get(attached.as_ref().unwrap_or(&interface.name)).map(Vec::as_slice)
}

//! What is stored, as a policy: state → input → compiled.

mod panic;

use std::borrow::Cow;
use std::collections::BTreeMap;

use ipnet::IpNet;

use super::OperationError;
use crate::compile::{self, CompileError, CompiledPolicy, InterfaceInput, PolicyInput, RuleSetIds};
use crate::datapath::{Attachment, Datapath};
use crate::host;
use crate::model::{ExemptAddress, GroupId, Interface, InterfaceId, ManagementPrefix, RuleId};
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

/// All that a policy is made of, read and closed: nothing of the store is held while it is compiled or the kernel is read.
pub(super) struct Stored {
    pub(super) state: State,
    pub(super) rule_sets: BTreeMap<u32, Vec<RuleId>>,
    highest_deleted_rule_set: u32,
    known: KnownAddresses,
    exempt_addresses: Vec<ExemptAddress>,
    management_prefixes: Vec<ManagementPrefix>,
    is_panic: bool,
    pub(super) namespace: u64,
}

impl Stored {
    pub(super) fn read(snapshot: &Snapshot<'_>) -> Result<Self, OperationError> {
        Ok(Self {
            state: state(snapshot)?,
            rule_sets: snapshot.rule_sets()?,
            highest_deleted_rule_set: snapshot.highest_deleted_rule_set()?,
            known: snapshot.interface_addresses()?,
            exempt_addresses: snapshot.exempt_addresses()?,
            management_prefixes: snapshot.management_prefixes()?,
            is_panic: snapshot.is_panic()?,
            namespace: snapshot.namespace()?,
        })
    }

    /// The policy that this makes, by the addresses that the host has now. Its rule sets have the ids that they have in the
    /// kernel. It is compiled once: in panic mode what would be in force without it is not.
    pub(super) fn policy(&self, attachments: &[Attachment]) -> Result<CompiledPolicy, OperationError> {
        if self.is_panic {
            return self.compile_panic(&mut self.rule_set_ids());
        }
        Ok(self.compiled(attachments)?.0)
    }

    /// What this makes apart from panic mode.
    pub(super) fn compiled(
        &self,
        attachments: &[Attachment],
    ) -> Result<(CompiledPolicy, RuleSetIds), OperationError> {
        let mut rule_sets = self.rule_set_ids();
        let mut input = policy_input(&self.state, &self.exempt_addresses, attachments, &self.known)?;
        let prefixes = self.management_prefixes.iter();
        input.management_prefixes = prefixes.map(|prefix| prefix.properties.clone()).collect();
        Ok((compile(&input, &mut rule_sets)?, rule_sets))
    }

    /// The policy of panic mode.
    pub(super) fn compile_panic(&self, rule_sets: &mut RuleSetIds) -> Result<CompiledPolicy, OperationError> {
        let input = panic::policy_input(&self.state.interfaces, &self.management_prefixes)?;
        Ok(compile(&input, rule_sets)?)
    }

    fn rule_set_ids(&self) -> RuleSetIds {
        let stored = self.rule_sets.iter().map(|(id, rules)| (*id, rules.clone()));
        stored.collect::<RuleSetIds>().after(self.highest_deleted_rule_set)
    }
}

/// The policy that what is stored makes.
pub(super) fn policy_stored(
    snapshot: &Snapshot<'_>,
    datapath: &Datapath,
) -> Result<CompiledPolicy, OperationError> {
    Stored::read(snapshot)?.policy(&datapath.attachments()?)
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

/// Compiles. A change does so once for what was there before it, if flows are concerned, and once for what it makes.
fn compile(input: &PolicyInput<'_>, rule_sets: &mut RuleSetIds) -> Result<CompiledPolicy, CompileError> {
    #[cfg(test)]
    COMPILED.with(|compiled| compiled.set(compiled.get() + 1));
    compile::compile(input, rule_sets)
}

#[cfg(test)]
thread_local! {
    /// How often this thread has compiled.
    pub(super) static COMPILED: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

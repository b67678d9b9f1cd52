//! From a store transaction to a policy in force.

use std::time::SystemTime;

use super::guard::{check_namespace, check_ownership, lockout};
use super::policy::{addresses, compile_panic, compiled};
use super::{ChangeOptions, Guard, Instance, OperationError, Operator, flows};
use crate::compile::{CompiledPolicy, RuleSetIds};
use crate::datapath::{Attachment, Datapath};
use crate::host;
use crate::store::{Store, Transaction, UnconfirmedGeneration, WriteLock};

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
    options: ChangeOptions<'_>,
    transaction: Transaction<'_>,
    datapath: &mut Datapath,
) -> Result<Published, OperationError> {
    let attachments = datapath.attachments()?;
    publish_for(instance, options, transaction, datapath, &attachments)
}

/// As [`publish`], for interfaces that have the programs of another version.
pub(super) fn publish_for(
    instance: &Instance,
    options: ChangeOptions<'_>,
    transaction: Transaction<'_>,
    datapath: &mut Datapath,
    attachments: &[Attachment],
) -> Result<Published, OperationError> {
    let checked = check(instance, options, &transaction, datapath, attachments)?;
    put_into_force(options, transaction, datapath, checked, attachments)
}

/// Commits a policy that was checked and puts it into force.
pub(super) fn put_into_force(
    options: ChangeOptions<'_>,
    transaction: Transaction<'_>,
    datapath: &mut Datapath,
    Checked { policy, rule_sets }: Checked,
    attachments: &[Attachment],
) -> Result<Published, OperationError> {
    remember_kernel(&transaction, datapath, attachments)?;
    for (id, rules) in rule_sets.added() {
        transaction.insert_rule_set(id, rules)?;
    }
    let prepared = datapath.prepare(&policy, transaction.generation()?)?;
    let generation = prepared.generation();
    record(options, &transaction, generation)?;
    let interfaces = transaction.interfaces()?;
    transaction.commit()?;
    prepared.activate(options.confirm_within)?;
    if let (None, Some(delay)) = (options.confirm_within, options.cut_after) {
        flows::cut(datapath, &policy, &interfaces, delay)?;
    }
    Ok(Published { policy, generation })
}

/// Compiles what the transaction holds, and refuses what must not be put into force.
pub(super) fn check(
    instance: &Instance,
    options: ChangeOptions<'_>,
    transaction: &Transaction<'_>,
    datapath: &Datapath,
    attachments: &[Attachment],
) -> Result<Checked, OperationError> {
    let session = options.operator.session;
    let pinned = datapath.pinned_slots()?;
    check_ownership(instance, transaction, &pinned)?;
    check_namespace(transaction, &pinned)?;
    let (mut policy, mut rule_sets) = compiled(transaction, attachments)?;
    if options.guard == Guard::On {
        lockout::check(transaction, &policy, session)?;
    }
    if transaction.is_panic()? {
        // What is stored was compiled all the same: panic mode must be able to end.
        policy = compile_panic(transaction, &mut rule_sets)?;
        if options.guard == Guard::On {
            lockout::check_panic(transaction, &policy, session)?;
        }
    }
    Ok(Checked { policy, rule_sets })
}

/// Commits a change that has nothing to be put into force in.
pub(super) fn commit_unpublished(
    options: ChangeOptions<'_>,
    transaction: Transaction<'_>,
) -> Result<(), OperationError> {
    record(options, &transaction, transaction.generation()? + 1)?;
    Ok(transaction.commit()?)
}

/// What was allowed when it was stored is put into force, and stays.
pub(super) fn publish_stored(
    instance: &Instance,
    operator: &Operator,
    store: &mut Store,
    lock: &WriteLock,
    datapath: &mut Datapath,
) -> Result<Published, OperationError> {
    let before = store.snapshot()?.generation()?;
    let transaction = store.begin(lock)?;
    if datapath.pinned_slots()?.is_empty() {
        transaction.set_namespace(host::current_namespace()?)?;
    }
    let published = publish(instance, ChangeOptions::new(operator, Guard::Off), transaction, datapath);
    if published.is_err() {
        store.undo_after(before, lock)?;
    }
    published
}

/// Gives the change its generation, and the time until which it is to be confirmed.
fn record(
    options: ChangeOptions<'_>,
    transaction: &Transaction<'_>,
    generation: u64,
) -> Result<(), OperationError> {
    let previous = transaction.generation()?;
    transaction.set_generation(generation, &options.operator.author)?;
    if let Some(within) = options.confirm_within {
        let until = SystemTime::now() + within;
        let cut_after = options.cut_after;
        transaction.set_unconfirmed(&UnconfirmedGeneration { generation, previous, until, cut_after })?;
    }
    Ok(())
}

/// Remembers what a reboot takes away: the addresses of every interface, and the size of the flow table.
fn remember_kernel(
    transaction: &Transaction<'_>,
    datapath: &Datapath,
    attachments: &[Attachment],
) -> Result<(), OperationError> {
    transaction.set_flow_entries(datapath.flow_entries()?)?;
    let present = host::addresses_by_name()?;
    for interface in transaction.interfaces()? {
        if let Some(addresses) = addresses(&interface, attachments, &present) {
            transaction.save_interface_addresses(interface.id, addresses)?;
        }
    }
    Ok(())
}

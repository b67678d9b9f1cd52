//! From a store transaction to a policy in force.

use std::time::SystemTime;

use super::guard::{check_namespace, check_ownership, lockout};
use super::policy::{Stored, addresses};
use super::{ChangeOptions, Guard, Instance, Leftover, OperationError, Operator, flows, rule_sets};
use crate::compile::{CompiledPolicy, RuleSetIds};
use crate::datapath::{Attachment, Datapath, DatapathError};
use crate::host;
use crate::store::{Store, Transaction, UnconfirmedGeneration, WriteLock};

/// A policy in force.
#[must_use = "what is left to do is to be told"]
pub(super) struct Published {
    pub(super) policy: CompiledPolicy,
    pub(super) generation: u64,
    pub(super) leftovers: Vec<Leftover>,
}

/// A policy that may be put into force.
pub(super) struct Checked {
    pub(super) policy: CompiledPolicy,
    rule_sets: RuleSetIds,
    /// Whether rule sets that nothing names may go.
    collects: bool,
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
    // Flows of another version, which are copied afterwards, name sets too.
    let checked = Checked { collects: false, ..checked };
    put_into_force(options, transaction, datapath, checked, attachments)
}

/// Commits a policy that was checked and puts it into force. A failure leaves what was in force before, and for
/// [`take_back`] to undo the store; once the generation word is written there is none.
pub(super) fn put_into_force(
    options: ChangeOptions<'_>,
    transaction: Transaction<'_>,
    datapath: &mut Datapath,
    Checked { policy, rule_sets, collects }: Checked,
    attachments: &[Attachment],
) -> Result<Published, OperationError> {
    remember_kernel(&transaction, datapath, attachments)?;
    for (id, rules) in rule_sets.added() {
        transaction.insert_rule_set(id, rules)?;
    }
    let prepared = datapath.prepare(&policy, transaction.generation()?)?;
    if collects {
        rule_sets::collect(&transaction, prepared.datapath(), &policy, &rule_sets)?;
    }
    let generation = prepared.generation();
    record(options, &transaction, generation)?;
    let interfaces = transaction.interfaces()?;
    transaction.commit()?;
    let activated = prepared.activate(options.confirm_within);
    let mut leftovers = after_the_word(activated, || has_word_of(datapath, generation))?;
    if let (None, Some(delay)) = (options.confirm_within, options.cut_after) {
        let (_, left) = flows::cut_or_leave(datapath, &policy, &interfaces, delay);
        leftovers.extend(left);
    }
    Ok(Published { policy, generation, leftovers })
}

/// Tells what failed before the generation word was written, which is an error, from what failed after it, which is left to
/// do. Where that cannot be seen nothing is taken back: a store that is newer than the kernel is told by `sgfw status` and
/// mended by `sgfw repair`, a kernel that has what no store knows is not.
pub(super) fn after_the_word(
    written: Result<(), DatapathError>,
    is_written: impl FnOnce() -> Result<bool, DatapathError>,
) -> Result<Vec<Leftover>, OperationError> {
    let Err(failure) = written else {
        return Ok(Vec::new());
    };
    match is_written() {
        Ok(true) => Ok(vec![Leftover::Readers(failure.into())]),
        Ok(false) => Err(failure.into()),
        Err(looking) => Err(OperationError::Unseen {
            failure: Box::new(failure.into()),
            looking: Box::new(looking.into()),
        }),
    }
}

fn has_word_of(datapath: &Datapath, generation: u64) -> Result<bool, DatapathError> {
    let unconfirmed = datapath.unconfirmed()?.map(|unconfirmed| unconfirmed.generation);
    Ok(unconfirmed == Some(generation) || datapath.generation()? == generation)
}

/// Takes back what is stored after a generation, and then, by `undo`, what was done beside the store. This is the one place where
/// a failure is undone: it stays the first thing that is said, whatever becomes of undoing it.
pub(super) fn take_back(
    failure: OperationError,
    store: &mut Store,
    lock: &WriteLock,
    before: u64,
    undo: impl FnOnce(&mut Store) -> Result<(), OperationError>,
) -> OperationError {
    if matches!(failure, OperationError::Unseen { .. }) {
        return failure;
    }
    let undone = store.undo_after(before, lock).map_err(OperationError::from).and_then(|()| undo(store));
    match undone {
        Ok(()) => failure,
        Err(undoing) => OperationError::NotUndone { failure: Box::new(failure), undoing: Box::new(undoing) },
    }
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
    let stored = Stored::read(transaction)?;
    let (mut policy, mut rule_sets) = stored.compiled(attachments)?;
    if options.guard == Guard::On {
        lockout::check(transaction, &policy, session)?;
    }
    if transaction.is_panic()? {
        // What is stored was compiled all the same: panic mode must be able to end.
        policy = stored.compile_panic(&mut rule_sets)?;
        if options.guard == Guard::On {
            lockout::check_panic(transaction, &policy, session)?;
        }
    }
    Ok(Checked { policy, rule_sets, collects: true })
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
    publish(instance, ChangeOptions::new(operator, Guard::Off), transaction, datapath)
        .map_err(|failure| take_back(failure, store, lock, before, |_| Ok(())))
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn failure() -> DatapathError {
        DatapathError::AwaitingConfirmation
    }

    #[test]
    fn what_fails_before_the_word_is_an_error_and_what_fails_after_it_is_left_to_do() {
        assert!(after_the_word(Ok(()), || Err(failure())).unwrap().is_empty(), "nobody looks");
        let before = after_the_word(Err(failure()), || Ok(false)).unwrap_err();
        assert!(matches!(before, OperationError::Datapath(_)), "{before}");
        let after = after_the_word(Err(failure()), || Ok(true)).unwrap();
        assert!(matches!(after[..], [Leftover::Readers(_)]), "{after:?}");
        let unseen = after_the_word(Err(failure()), || Err(failure())).unwrap_err();
        assert!(matches!(unseen, OperationError::Unseen { .. }), "{unseen}");
    }

    #[test]
    fn undoing_never_hides_what_failed_first_and_undoes_nothing_that_may_be_in_force() {
        let directory = tempfile::tempdir().unwrap();
        let instance = Instance {
            state_dir: directory.path().to_owned(),
            bpffs: directory.path().to_owned(),
            lock_timeout: Duration::from_secs(5),
        };
        let (mut store, lock) = instance.lock_unsettled().unwrap();
        let operator = Operator::default();
        let options = ChangeOptions::new(&operator, Guard::On);
        let change = |store: &mut Store| commit_unpublished(options, store.begin(&lock).unwrap()).unwrap();
        change(&mut store);
        let unseen = OperationError::Unseen {
            failure: Box::new(OperationError::OtherNamespace),
            looking: Box::new(OperationError::OtherNamespace),
        };
        let error = take_back(unseen, &mut store, &lock, 0, |_| panic!("nothing is undone"));
        assert!(matches!(error, OperationError::Unseen { .. }), "{error}");
        assert_eq!(store.snapshot().unwrap().generation().unwrap(), 1);
        let undo = |_: &mut Store| Err(OperationError::NothingToConfirm);
        let error = take_back(OperationError::OtherNamespace, &mut store, &lock, 0, undo);
        assert!(
            matches!(&error, OperationError::NotUndone { failure, .. } if matches!(**failure, OperationError::OtherNamespace)),
            "{error}"
        );
        assert_eq!(store.snapshot().unwrap().generation().unwrap(), 0);
    }
}

//! Detaching an interface.

use std::collections::BTreeSet;

use super::interfaces::stored_interface;
use crate::datapath::Datapath;
use crate::host;
use crate::model::Interface;
use crate::operations::confirm::lock;
use crate::operations::guard::check_namespace;
use crate::operations::publish::{commit_unpublished, publish, take_back};
use crate::operations::{ChangeOptions, Guard, Instance, Leftover, OperationError, Operator};
use crate::store::{Snapshot, Transaction};

/// Detaches an interface: its traffic is open from then on. When the last one goes, so do all maps and pins.
///
/// Its flows are forgotten. Attached again, it tracks the open connections anew that its rules admit.
///
/// The programs go first. The other way round their packets would meet a policy that does not know them, and drop.
pub fn detach(
    instance: &Instance,
    operator: &Operator,
    guard: Guard,
    name: &str,
) -> Result<Vec<Leftover>, OperationError> {
    host::require_root()?;
    let options = ChangeOptions::new(operator, guard);
    let (mut store, lock) = lock(instance)?;
    let before = store.snapshot()?.generation()?;
    let transaction = store.begin(&lock)?;
    let interface = stored_interface(&transaction, name)?;
    transaction.delete_interface(interface.id)?;
    let Some(mut datapath) = Datapath::open(&instance.bpffs)? else {
        commit_unpublished(options, transaction)?;
        return Ok(Vec::new());
    };
    let mut others = datapath.pinned_slots()?;
    let had_pins = others.remove(&interface.slot);
    check_filters(&transaction, &datapath, &interface)?;
    datapath.detach(interface.slot)?;
    if others.is_empty() {
        commit_unpublished(options, transaction)?;
        datapath.remove()?;
        return Ok(Vec::new());
    }
    publish_detached(instance, options, transaction, &mut datapath, &interface, &others).map_err(|failure| {
        take_back(failure, &mut store, &lock, before, |_| {
            if had_pins {
                datapath.attach(interface.slot, name, interface.ingress_hook, interface.log_drops)?;
            }
            Ok(())
        })
    })
}

/// In another network namespace a filter would be left, and nobody would know it.
fn check_filters(
    snapshot: &Snapshot<'_>,
    datapath: &Datapath,
    interface: &Interface,
) -> Result<(), OperationError> {
    let pins = datapath.filter_pins(interface.slot)?;
    if pins.is_empty() || snapshot.namespace()? == host::current_namespace()? {
        return Ok(());
    }
    Err(OperationError::FiltersInOtherNamespace { interface: interface.name.clone(), pins })
}

fn publish_detached(
    instance: &Instance,
    options: ChangeOptions<'_>,
    transaction: Transaction<'_>,
    datapath: &mut Datapath,
    interface: &Interface,
    others: &BTreeSet<u32>,
) -> Result<Vec<Leftover>, OperationError> {
    datapath.forget_flows(interface.zone)?;
    if let Err(OperationError::OtherNamespace) = check_namespace(&transaction, others) {
        // The namespace may be gone, and there must be a way to be rid of what was attached in it. The policy of the
        // others stays as it is until a change is made in theirs.
        transaction.commit()?;
        return Ok(Vec::new());
    }
    Ok(publish(instance, options, transaction, datapath)?.leftovers)
}

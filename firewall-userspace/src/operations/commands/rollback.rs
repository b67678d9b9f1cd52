//! Going back to an earlier generation.

use crate::operations::confirm::{Standing, fall_back, finish, follow_as, make_sure, open, standing};
use crate::operations::flows::OrphanedFlows;
use crate::operations::{ChangeOptions, Instance, Leftover, OperationError};

/// What `rollback` has done.
#[derive(Debug)]
pub struct RolledBack {
    /// The new generation, which says what the old one said.
    pub generation: u64,
    /// The live flows that have lost their rule by it.
    pub orphaned_flows: OrphanedFlows,
    /// What is left to do.
    pub leftovers: Vec<Leftover>,
}

/// Goes back: from a change that waits to be confirmed to the one before it, else to the generation `to`, or the last
/// but one.
pub fn rollback(
    instance: &Instance,
    options: ChangeOptions<'_>,
    to: Option<u64>,
) -> Result<RolledBack, OperationError> {
    let (mut store, lock) = instance.lock_unsettled()?;
    let unconfirmed = store.snapshot()?.unconfirmed()?;
    if let Some(unconfirmed) = unconfirmed {
        let mut datapath = open(instance, &mut store)?;
        match standing(datapath.as_mut(), &unconfirmed)? {
            Standing::Pending(pending) if to.is_none_or(|to| to == unconfirmed.previous) => {
                let back = |datapath| fall_back(datapath, unconfirmed.generation);
                let (fell_back, leftovers) = datapath.as_mut().map(back).transpose()?.unzip();
                follow_as(&mut store, &lock, &unconfirmed, fell_back, &options.operator.author)?;
                make_sure(instance, options.operator, &mut store, &lock, datapath.as_mut())?;
                let generation = fell_back.unwrap_or(pending.generation + 1);
                let leftovers = leftovers.unwrap_or_default();
                return Ok(RolledBack { generation, orphaned_flows: OrphanedFlows::default(), leftovers });
            }
            Standing::Pending(pending) => return Err(pending.into()),
            standing => finish(instance, standing, &mut store, &lock, &unconfirmed, datapath.as_mut())?,
        }
    }
    drop((store, lock));
    let changed = instance.change_with_flows(options, |transaction| {
        let history = transaction.history()?;
        let found = match to {
            Some(to) => history.iter().find(|generation| generation.number == to),
            None => history.get(1),
        };
        let to = found.ok_or(OperationError::UnknownGeneration { generation: to })?.number;
        if transaction.has_attached_since(to)? {
            return Err(OperationError::AttachedSince { generation: to });
        }
        // Who goes back does not mean to end a panic.
        let is_panic = transaction.is_panic()?;
        transaction.rewind_to(to)?;
        if transaction.is_panic()? != is_panic {
            transaction.set_panic(is_panic)?;
        }
        Ok(())
    })?;
    let generation = instance.read(|snapshot| Ok(snapshot.generation()?))?;
    Ok(RolledBack { generation, orphaned_flows: changed.orphaned_flows, leftovers: changed.leftovers })
}

//! Making a change stay.

use crate::operations::confirm::{Standing, finish, open, standing};
use crate::operations::policy::policy_stored;
use crate::operations::publish::after_the_word;
use crate::operations::{Instance, Leftover, OperationError, flows};

/// What `confirm` has done.
#[derive(Debug)]
pub struct Confirmed {
    /// The generation that stays.
    pub generation: u64,
    /// How many flows were cut, or will be, as the change had asked.
    pub cut_flows: u64,
    /// What is left to do.
    pub leftovers: Vec<Leftover>,
}

/// Makes the change that waits to be confirmed stay.
pub fn confirm(instance: &Instance) -> Result<Confirmed, OperationError> {
    let (mut store, lock) = instance.lock_unsettled()?;
    let Some(unconfirmed) = store.snapshot()?.unconfirmed()? else {
        return Err(OperationError::NothingToConfirm);
    };
    let mut leftovers = Vec::new();
    let mut datapath = open(instance, &mut store)?;
    match standing(datapath.as_mut(), &unconfirmed)? {
        over @ Standing::Over { .. } => {
            finish(instance, over, &mut store, &lock, &unconfirmed, datapath.as_mut())?;
            return Err(OperationError::NotConfirmedInTime { generation: unconfirmed.generation });
        }
        Standing::Pending(_) => {
            if let Some(datapath) = &mut datapath {
                let confirmed = datapath.confirm();
                leftovers = after_the_word(confirmed, || {
                    Ok(datapath.unconfirmed()?.is_none() && datapath.generation()? == unconfirmed.generation)
                })?;
            }
        }
        Standing::Confirmed => {}
    }
    let transaction = store.begin(&lock)?;
    transaction.delete_unconfirmed()?;
    let policy = match &datapath {
        Some(datapath) => Some(policy_stored(&transaction, datapath)?),
        None => None,
    };
    let interfaces = transaction.interfaces()?;
    transaction.commit()?;
    let cut_flows = match (&mut datapath, policy, unconfirmed.cut_after) {
        (Some(datapath), Some(policy), Some(delay)) => {
            let (cut_flows, left) = flows::cut_or_leave(datapath, &policy, &interfaces, delay);
            leftovers.extend(left);
            cut_flows
        }
        _ => 0,
    };
    Ok(Confirmed { generation: unconfirmed.generation, cut_flows, leftovers })
}

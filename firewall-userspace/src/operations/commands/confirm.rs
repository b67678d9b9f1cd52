//! Making a change stay.

use crate::operations::confirm::{Standing, finish, open, standing};
use crate::operations::policy::policy_stored;
use crate::operations::{Instance, OperationError, flows};

/// What `confirm` has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmed {
    /// The generation that stays.
    pub generation: u64,
    /// How many flows were cut, or will be, as the change had asked.
    pub cut_flows: u64,
}

/// Makes the change that waits to be confirmed stay.
pub fn confirm(instance: &Instance) -> Result<Confirmed, OperationError> {
    let (mut store, lock) = instance.lock_unsettled()?;
    let Some(unconfirmed) = store.snapshot()?.unconfirmed()? else {
        return Err(OperationError::NothingToConfirm);
    };
    let mut datapath = open(instance, &mut store)?;
    match standing(datapath.as_mut(), &unconfirmed)? {
        over @ Standing::Over { .. } => {
            finish(instance, over, &mut store, &lock, &unconfirmed, datapath.as_mut())?;
            return Err(OperationError::NotConfirmedInTime { generation: unconfirmed.generation });
        }
        Standing::Pending(_) => {
            if let Some(datapath) = &mut datapath {
                datapath.confirm()?;
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
        (Some(datapath), Some(policy), Some(delay)) => flows::cut(datapath, &policy, &interfaces, delay)?,
        _ => 0,
    };
    Ok(Confirmed { generation: unconfirmed.generation, cut_flows })
}

//! Where one sgfw is.

use std::path::PathBuf;
use std::time::Duration;

use super::OperationError;
use crate::datapath::Datapath;
use crate::host;
use crate::model::Interface;
use crate::store::{Store, WriteLock};

/// One sgfw: a state directory and a directory of pins that belong together.
#[derive(Clone, Debug)]
pub struct Instance {
    /// Where the store is.
    pub state_dir: PathBuf,
    /// Where maps and links are pinned.
    pub bpffs: PathBuf,
    /// How long to wait for another process that is changing the instance.
    pub lock_timeout: Duration,
}

impl Instance {
    /// The store, and the lock of those who change it, whatever waits to be confirmed.
    pub(super) fn lock_unsettled(&self) -> Result<(Store, WriteLock), OperationError> {
        // Opening first: it creates the state directory, in which the lock is.
        let store = Store::open(&self.state_dir, self.lock_timeout)?;
        let lock = WriteLock::acquire(&self.state_dir, self.lock_timeout)?;
        Ok((store, lock))
    }

    /// The data plane, if anything is attached. Without interfaces the store is all there is, and needs no privilege.
    pub(super) fn datapath(&self, interfaces: &[Interface]) -> Result<Option<Datapath>, OperationError> {
        if interfaces.is_empty() {
            return Ok(None);
        }
        host::require_root()?;
        Ok(Datapath::open(&self.bpffs)?)
    }
}

/// Moves the calling thread into a network namespace, by the name that `ip netns` gives it. Threads started later are in it too,
/// earlier ones are not: call it before there are any.
///
/// # Errors
///
/// [`OperationError::Host`] where there is none, or the process may not enter it.
pub fn enter_namespace(name: &str) -> Result<(), OperationError> {
    Ok(host::enter_namespace(name)?)
}

//! The live flows.

use crate::operations::flows::{Flow, Names, Zones, each_flow, is_here};
use crate::operations::policy::Stored;
use crate::operations::{Instance, OperationError};

/// Calls `visit` with each live flow, until it fails. Returns how many there are besides whose addresses are not recorded.
///
/// There may be millions: none is kept, and they come in no order. The store is closed before the first is read.
///
/// # Errors
///
/// [`OperationError`] where the store or the kernel cannot be read, and what `visit` returns.
pub fn flows<E: From<OperationError>>(
    instance: &Instance,
    visit: impl FnMut(Flow) -> Result<(), E>,
) -> Result<u64, E> {
    let stored = instance.read(Stored::read)?;
    let interfaces = &stored.state.interfaces;
    let Some(datapath) = instance.datapath(interfaces)? else {
        return Ok(0);
    };
    let has_flows = datapath.has_flows().map_err(OperationError::from)?;
    if !has_flows {
        // Compiling for nothing is what takes the time.
        return Ok(datapath.each_flow(|_| Ok::<_, OperationError>(()))?);
    }
    let attachments = datapath.attachments().map_err(OperationError::from)?;
    let policy = stored.policy(&attachments)?;
    let names = Names { interfaces, rule_sets: &stored.rule_sets };
    each_flow(&datapath, is_here(stored.namespace)?, &names, &Zones::new(interfaces, &policy), visit)
}

//! The live flows.

use crate::operations::flows::{LiveFlows, live_flows};
use crate::operations::{Instance, OperationError};

/// The live flows.
pub fn flows(instance: &Instance) -> Result<LiveFlows, OperationError> {
    instance.read(|snapshot| match instance.datapath(&snapshot.interfaces()?)? {
        Some(datapath) => live_flows(snapshot, &datapath),
        None => Ok(LiveFlows::default()),
    })
}

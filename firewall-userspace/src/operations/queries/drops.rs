//! Dropped packets, while they are dropped.

use std::collections::BTreeMap;

use firewall_common::abi::Direction;
use firewall_common::reason::Reason;

use crate::datapath::Datapath;
use crate::datapath::log::{DropLine, stream};
use crate::operations::{Instance, OperationError};

/// The interfaces that log what is dropped on them.
#[derive(Debug)]
pub struct DropLog {
    datapath: Datapath,
    interfaces: BTreeMap<u32, String>,
}

/// A dropped packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DroppedPacket {
    /// Name of the interface; `None` for one that was attached since.
    pub interface: Option<String>,
    /// Direction, seen from the host.
    pub direction: Direction,
    /// Why.
    pub reason: Reason,
    /// What the packet was, as far as it could be read: `tcp 203.0.113.5:40000 > 10.0.0.5:22`.
    pub packet: Option<String>,
}

/// What is dropped from now on; `None` where no attached interface logs it.
///
/// # Errors
///
/// [`OperationError`] where store or pins cannot be read.
pub fn drop_log(instance: &Instance) -> Result<Option<DropLog>, OperationError> {
    let interfaces = instance.read(|snapshot| Ok(snapshot.interfaces()?))?;
    let datapath = instance.datapath(&interfaces)?;
    let logging = interfaces.into_iter().filter(|interface| interface.log_drops);
    let interfaces: BTreeMap<u32, String> =
        logging.map(|interface| (interface.slot, interface.name)).collect();
    Ok(datapath.filter(|_| !interfaces.is_empty()).map(|datapath| DropLog { datapath, interfaces }))
}

impl DropLog {
    /// Calls `tell` for each packet, until the programs are gone or the caller stops polling.
    ///
    /// # Errors
    ///
    /// [`OperationError::Datapath`] where the logs of the attached programs cannot be opened.
    pub async fn follow(
        &self,
        tell: impl Fn(DroppedPacket) + Clone + Send + Sync + 'static,
    ) -> Result<(), OperationError> {
        let interfaces = self.interfaces.clone();
        let named = move |line: DropLine| {
            tell(DroppedPacket {
                interface: interfaces.get(&line.slot).cloned(),
                direction: line.direction,
                reason: line.reason,
                packet: line.packet,
            });
        };
        Ok(stream(&self.datapath, named).await?)
    }
}

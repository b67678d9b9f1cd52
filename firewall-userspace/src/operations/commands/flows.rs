//! Flows cut, and places of ended ones given back.

use std::collections::HashMap;
use std::time::Duration;

use firewall_common::flow_table::life::Socket;

use crate::datapath::{Ask, Datapath, ExpiredFlows};
use crate::host::{self, TcpStage};
use crate::operations::confirm::lock;
use crate::operations::flows::cut;
use crate::operations::policy::Stored;
use crate::operations::{Instance, OperationError};

/// What a sweep has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Flows that had ended, and whose places are free now.
    pub removed: u64,
    /// Flows that the operator has given time, which is over.
    pub cut: u64,
    /// Flows whose sockets were asked for.
    pub asked: u64,
}

/// Cuts, after `delay`, every flow that is orphaned now. Returns how many there are.
pub fn cut_orphaned(instance: &Instance, delay: Duration) -> Result<u64, OperationError> {
    // Locked, so that the policy by which the flows are judged is and stays the one in force.
    let (mut store, _lock) = lock(instance)?;
    let stored = Stored::read(&store.snapshot()?)?;
    match instance.datapath(&stored.state.interfaces)? {
        Some(mut datapath) => {
            let policy = stored.policy(&datapath.attachments()?)?;
            cut(&mut datapath, &policy, &stored.state.interfaces, delay)
        }
        None => Ok(0),
    }
}

/// Sweeps ended flows out of the flow table, and settles doubts about those of sockets. Nothing is stored, so no lock is taken.
pub fn expire(instance: &Instance) -> Result<Swept, OperationError> {
    let (interfaces, namespace) =
        instance.read(|snapshot| Ok((snapshot.interfaces()?, snapshot.namespace()?)))?;
    let Some(datapath) = instance.datapath(&interfaces)? else {
        return Ok(Swept::default());
    };
    // In another network namespace their sockets would all be missing.
    let is_here = host::current_namespace()? == namespace;
    let sockets = if is_here { host::tcp_connections()? } else { HashMap::new() };
    let has_socket = |local, remote| sockets.contains_key(&(local, remote));
    let ExpiredFlows { removed, cut, asks } = datapath.expire_flows(has_socket)?;
    let asked = if is_here { settle(&datapath, &asks)? } else { 0 };
    Ok(Swept { removed, cut, asked })
}

/// Asks for the sockets of flows, and returns for how many. Now, since what was not there before may have come.
fn settle(datapath: &Datapath, asks: &[Ask]) -> Result<u64, OperationError> {
    if asks.is_empty() {
        return Ok(0);
    }
    let connections = host::tcp_connections()?;
    datapath.settle_flows(asks, |ask| match connections.get(&(ask.local, ask.remote)) {
        Some(TcpStage::Connected) => Socket::Connected,
        Some(TcpStage::Opening) => Socket::Opening,
        Some(TcpStage::TimeWait) => Socket::TimeWait,
        None => Socket::None,
    })?;
    Ok(asks.len() as u64)
}

//! Taking over interfaces that a version of sgfw with another ABI has attached.
//!
//! Called by `interface reload`. At every moment each interface is decided by the old programs or by the new ones, by the
//! policy that the store has. A run that is interrupted leaves both sets of pins; the next one goes on from there.

use crate::datapath::{Attachment, Datapath, OtherVersion};
use crate::host::{self, TcpStage};
use crate::model::Interface;
use crate::operations::guard::{check_namespace, check_ownership};
use crate::operations::publish::{Published, publish_for, take_back};
use crate::operations::{ChangeOptions, Guard, Instance, Leftover, OperationError, Operator};
use crate::store::{Store, WriteLock};

/// What was taken over.
pub(super) struct Upgraded {
    /// The interfaces with their new programs.
    pub(super) interfaces: Vec<(Interface, Attachment)>,
    /// Flows for which there was no room.
    pub(super) lost_flows: u64,
    /// What is left to do of the publication.
    pub(super) leftovers: Vec<Leftover>,
}

/// Puts this version's programs, maps and policy in the place of those of another version, and takes their flows along.
/// Counters begin anew.
pub(super) fn upgrade(
    instance: &Instance,
    operator: &Operator,
    store: &mut Store,
    lock: &WriteLock,
    other: OtherVersion,
    flow_entries: Option<u32>,
) -> Result<Upgraded, OperationError> {
    // Before anything is made: pins of this version may be there, of a run that was interrupted, and must stay.
    other.check_readable()?;
    let before = store.snapshot()?.generation()?;
    let transaction = store.begin(lock)?;
    let pinned = other.datapath().pinned_slots()?;
    check_ownership(instance, &transaction, &pinned)?;
    check_namespace(&transaction, &pinned)?;
    let interfaces = transaction.interfaces()?;
    let attachments = other.datapath().attachments()?;
    let flow_entries = match flow_entries {
        Some(entries) => entries,
        None => other.flow_entries()?,
    };
    let mut datapath = Datapath::create(&instance.bpffs, flow_entries)?;
    // What is in force stays in force, even if it locks the operator out: that was allowed then.
    let unguarded = ChangeOptions::new(operator, Guard::Off);
    let Published { leftovers, .. } =
        publish_for(instance, unguarded, transaction, &mut datapath, &attachments)
            .map_err(|failure| take_back(failure, store, lock, before, |_| Ok(())))?;
    // Before any program of this version runs.
    other.copy_flows(&datapath)?;
    for attachment in &attachments {
        let Some(interface) = interfaces.iter().find(|interface| interface.slot == attachment.slot) else {
            continue;
        };
        let name = host::name_of(attachment.ifindex).unwrap_or_else(|| interface.name.clone());
        datapath.reload(attachment, &name, interface.log_drops, other.datapath())?;
    }
    // What found no room before finds none now, unless a place has become free.
    let lost_flows = other.copy_flows(&datapath)?;
    let connections = host::tcp_connections()?;
    datapath.back_flows(|local, remote| connections.get(&(local, remote)) == Some(&TcpStage::Connected))?;
    other.hand_over_pins(&datapath)?;
    let stored = |attachment: Attachment| {
        let interface = interfaces.iter().find(|interface| interface.slot == attachment.slot)?;
        Some((interface.clone(), attachment))
    };
    Ok(Upgraded { interfaces: attachments.into_iter().filter_map(stored).collect(), lost_flows, leftovers })
}

//! The guard against locking oneself out.
//!
//! A change is refused if the operator who makes it over SSH could not open that connection again afterwards. The
//! connection that is open proves nothing: it is tracked, and outlives the rule that admitted it.

use firewall_common::abi::{Be16, Direction, RULE_SET, ServiceIndex};
use ipnet::IpNet;

use super::ApplyError;
use crate::compile::CompiledPolicy;
use crate::host::{self, SshSession};
use crate::model::Interface;
use crate::store::Snapshot;

/// Refuses a policy that does not admit the operator's SSH connection as a new one. Without such a connection, or where
/// it does not come in by a protected interface, there is nothing to guard.
pub(super) fn check(snapshot: &Snapshot<'_>, policy: &CompiledPolicy) -> Result<(), ApplyError> {
    let Some(session) = host::ssh_session() else {
        return Ok(());
    };
    for interface in snapshot.interfaces()? {
        if is_entrance(&interface, &session) && !admits(policy, &interface, &session) {
            return Err(ApplyError::WouldLockOut { interface: interface.name, session });
        }
    }
    Ok(())
}

/// An interface that is not there has no addresses and lets nobody in.
fn is_entrance(interface: &Interface, session: &SshSession) -> bool {
    let addresses = host::addresses(&interface.name).unwrap_or_default();
    addresses.contains(&IpNet::from(session.server.ip()))
}

fn admits(policy: &CompiledPolicy, interface: &Interface, session: &SshSession) -> bool {
    let Some(lookup) = policy.lookup(interface.slot) else {
        return false;
    };
    let service = ServiceIndex::tcp(Be16::new(session.server.port()));
    lookup.cell(Direction::Ingress, session.client.ip(), service) & RULE_SET != 0
}

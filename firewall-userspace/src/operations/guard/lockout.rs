//! The guard against locking oneself out.
//!
//! A change is refused if the operator who makes it over SSH could not open that connection again afterwards, or if new
//! connections from a management prefix would not be admitted. The connection that is open proves nothing: it is tracked,
//! and outlives the rule that admitted it. An interface in audit mode drops nothing and locks nobody out.

use firewall_common::abi::{Be16, Direction, RULE_SET, ServiceIndex};
use ipnet::IpNet;

use crate::compile::{CompiledPolicy, InterfaceLookup};
use crate::host;
use crate::model::{Interface, ManagementPrefix, ManagementProperties, ManagementService};
use crate::operations::{OperationError, SshSession};
use crate::store::Snapshot;

/// Refuses a policy that does not admit the operator's SSH connection as a new one, or not all addresses of a management
/// prefix. Where a connection does not come in by a protected interface there is nothing to guard.
pub(in crate::operations) fn check(
    snapshot: &Snapshot<'_>,
    policy: &CompiledPolicy,
    session: Option<SshSession>,
) -> Result<(), OperationError> {
    if let Some((interface, session)) = locked_out(snapshot, policy, session)? {
        return Err(OperationError::WouldLockOut { interface, session });
    }
    let prefixes = snapshot.management_prefixes()?;
    for interface in snapshot.interfaces()? {
        check_management(snapshot, policy, &interface, &prefixes)?;
    }
    Ok(())
}

/// Refuses the policy of panic mode if it does not admit the operator's SSH connection as a new one.
pub(in crate::operations) fn check_panic(
    snapshot: &Snapshot<'_>,
    policy: &CompiledPolicy,
    session: Option<SshSession>,
) -> Result<(), OperationError> {
    match locked_out(snapshot, policy, session)? {
        Some((interface, session)) => Err(OperationError::PanicWouldLockOut { interface, session }),
        None => Ok(()),
    }
}

/// The operator's SSH connection and the interface by which it comes in, if the policy would drop a new one.
fn locked_out(
    snapshot: &Snapshot<'_>,
    policy: &CompiledPolicy,
    session: Option<SshSession>,
) -> Result<Option<(String, SshSession)>, OperationError> {
    let Some(session) = session else {
        return Ok(None);
    };
    // One that is not there has no addresses and lets nobody in.
    let addresses = host::addresses_by_name().unwrap_or_default();
    let is_entrance = |interface: &Interface| {
        let server = IpNet::from(session.server.ip());
        addresses.get(&interface.name).is_some_and(|addresses| addresses.contains(&server))
    };
    let interfaces = snapshot.interfaces()?.into_iter();
    let entrances = interfaces.filter(|interface| is_enforced(policy, interface) && is_entrance(interface));
    let closed = entrances.into_iter().find(|entrance| !admits(policy, entrance, &session));
    Ok(closed.map(|interface| (interface.name, session)))
}

fn is_enforced(policy: &CompiledPolicy, interface: &Interface) -> bool {
    let compiled = policy.interfaces.iter().find(|compiled| compiled.slot == interface.slot);
    compiled.is_none_or(|compiled| !compiled.options.audit)
}

fn admits(policy: &CompiledPolicy, interface: &Interface, session: &SshSession) -> bool {
    let Some(lookup) = policy.lookup(interface.slot) else {
        return false;
    };
    let service = ServiceIndex::tcp(Be16::new(session.server.port()));
    lookup.cell(Direction::Ingress, session.client.ip(), service) & RULE_SET != 0
}

fn check_management(
    snapshot: &Snapshot<'_>,
    policy: &CompiledPolicy,
    interface: &Interface,
    prefixes: &[ManagementPrefix],
) -> Result<(), OperationError> {
    let properties = prefixes.iter().map(|prefix| &prefix.properties);
    let mut guarded = properties.filter(|properties| properties.interface == interface.name).peekable();
    if guarded.peek().is_none() || !is_enforced(policy, interface) {
        return Ok(());
    }
    let Some(lookup) = policy.lookup(interface.slot) else {
        return Ok(());
    };
    for properties in guarded {
        let denied = denied(&lookup, properties);
        if !denied.is_empty() {
            let groups = snapshot.groups()?;
            let carried = groups.into_iter().find(|group| interface.groups.contains(&group.id));
            return Err(OperationError::WouldCloseManagement {
                properties: properties.clone(),
                denied,
                group: carried.map(|group| group.name),
            });
        }
    }
    Ok(())
}

fn denied(lookup: &InterfaceLookup<'_>, properties: &ManagementProperties) -> Vec<IpNet> {
    let ports = properties.service.ports();
    let services = (ports.first()..=ports.last()).map(|port| match properties.service {
        ManagementService::Tcp(_) => ServiceIndex::tcp(Be16::new(port)),
        ManagementService::Udp(_) => ServiceIndex::udp(Be16::new(port)),
    });
    lookup.denied(Direction::Ingress, properties.prefix, services)
}

//! Connections that are open when an interface is attached: they live on where the rules would have let them begin.
//!
//! Without this, a connection would end wherever the rules of its replies' direction are closed, because nobody has
//! tracked it: an administrator's SSH session, with egress closed.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use firewall_common::abi::{Be16, Direction, ServiceIndex};

use super::ApplyError;
use super::publish::Published;
use crate::compile::InterfaceLookup;
use crate::datapath::{Datapath, Seed};
use crate::host::{self, Connection, ConnectionProtocol};
use crate::model::Interface;

/// Tracks the open connections of an interface that the published policy admits as new ones, by the direction in which
/// they were opened. Returns how many were not tracked yet.
pub(super) fn take_over(
    datapath: &mut Datapath,
    interface: &Interface,
    published: &Published,
) -> Result<usize, ApplyError> {
    let Some(policy) = published.policy.lookup(interface.slot) else {
        return Ok(0);
    };
    let addresses: HashSet<IpAddr> =
        host::addresses(&interface.name)?.iter().map(|prefix| prefix.addr()).collect();
    let connections = host::connections(&addresses, host::index_of(&interface.name)?)?;
    let seeds: Vec<Seed> =
        connections.into_iter().filter_map(|connection| seed(&policy, connection)).collect();
    Ok(datapath.seed_flows(&seeds, interface.zone, published.generation)?)
}

/// `None` for what no rule admits, and for what is admitted both ways without being tracked.
fn seed(policy: &InterfaceLookup<'_>, connection: Connection) -> Option<Seed> {
    let Connection { protocol, local, remote, started_by } = connection;
    let responder = match started_by {
        Direction::Ingress => local,
        Direction::Egress => remote,
    };
    let rule_set = policy.tracked_by(started_by, remote.ip(), service(protocol, responder))?;
    Some(Seed { connection, rule_set })
}

fn service(protocol: ConnectionProtocol, responder: SocketAddr) -> ServiceIndex {
    let port = Be16::new(responder.port());
    match protocol {
        ConnectionProtocol::Tcp => ServiceIndex::tcp(port),
        ConnectionProtocol::Udp => ServiceIndex::udp(port),
    }
}

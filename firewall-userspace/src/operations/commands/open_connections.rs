//! Connections that are open when an interface is attached: they live on where the rules would have let them begin.
//!
//! Without this, a connection would end wherever the rules of its replies' direction are closed, because nobody has
//! tracked it: an administrator's SSH session, with egress closed.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use firewall_common::abi::{Be16, Direction, ServiceIndex};

use crate::compile::InterfaceLookup;
use crate::datapath::{Attachment, Datapath, FilterBefore, NewAttachment, Seed};
use crate::host::{self, Connection, ConnectionProtocol};
use crate::model::Interface;
use crate::operations::publish::Published;
use crate::operations::{Leftover, OperationError};

/// What `interface attach` has done.
#[derive(Debug)]
pub struct Attached {
    /// The interface as it is stored.
    pub interface: Interface,
    /// Its programs.
    pub attachment: Attachment,
    /// Why native XDP was refused, in the driver's words, where it was tried.
    pub native_xdp_refused: Option<String>,
    /// The filters of others that decide before ours.
    pub filters_before: Vec<FilterBefore>,
    /// How many connections that were open already are tracked now. Failing to find them does not
    /// fail the attachment.
    pub taken_over: Result<usize, OperationError>,
    /// What is left to do of the publication.
    pub leftovers: Vec<Leftover>,
}

/// Attaches both programs.
pub(super) fn attach_programs(
    datapath: &mut Datapath,
    interface: Interface,
    published: &Published,
) -> Result<Attached, OperationError> {
    // Another interface may have had the slot.
    datapath.reset_counters(interface.slot)?;
    attach_tracking(datapath, interface, published, |datapath, interface| {
        let Interface { slot, name, ingress_hook, log_drops, .. } = interface;
        Ok(datapath.attach(*slot, name, *ingress_hook, *log_drops)?)
    })
}

/// Runs `attach`. Connections that are open are tracked from before the first program sees a packet.
pub(super) fn attach_tracking(
    datapath: &mut Datapath,
    interface: Interface,
    published: &Published,
    attach: impl FnOnce(&mut Datapath, &Interface) -> Result<NewAttachment, OperationError>,
) -> Result<Attached, OperationError> {
    let before = track_open_connections(datapath, &interface, published);
    let NewAttachment { attachment, native_xdp_refused, filters_before } = attach(datapath, &interface)?;
    // Once more, for those that were opened meanwhile.
    let taken_over =
        before.and_then(|before| Ok(before + track_open_connections(datapath, &interface, published)?));
    Ok(Attached {
        interface,
        attachment,
        native_xdp_refused,
        filters_before,
        taken_over,
        leftovers: Vec::new(),
    })
}

/// Tracks the open connections of an interface that the published policy admits as new ones, by the direction in which
/// they were opened. Returns how many were not tracked yet.
fn track_open_connections(
    datapath: &mut Datapath,
    interface: &Interface,
    published: &Published,
) -> Result<usize, OperationError> {
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

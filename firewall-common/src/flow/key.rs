//! Which entry of the flow tables a packet belongs to.

use crate::abi::{Address, Be16, FlowKey};
use crate::packet::icmp::Role;
use crate::packet::{Ip, Transport};

/// A packet's flow, and which end of it the packet comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowIdentity<A> {
    /// Key of the entry, the same for both directions.
    pub key: FlowKey<A>,
    /// Whether the packet's source is the first end of the key.
    pub source_is_first: bool,
}

/// The flow of a packet; `None` where it can belong to none: ICMP errors and other single messages, later fragments.
#[inline(always)]
pub fn identify<A: Address>(ip: &Ip<A>, transport: &Transport, zone: u16) -> Option<FlowIdentity<A>> {
    match transport {
        Transport::Tcp(tcp) => Some(by_order(ip, tcp.source_port, tcp.destination_port, zone)),
        Transport::Udp { source_port, destination_port } => {
            Some(by_order(ip, *source_port, *destination_port, zone))
        }
        Transport::Icmp(icmp) => by_role(ip, icmp.icmp_type, icmp.role, zone),
        // AWS: other protocols are tracked by addresses and protocol alone.
        Transport::Portless => Some(by_order(ip, Be16::new(0), Be16::new(0), zone)),
        Transport::LaterFragment => None,
    }
}

#[inline(always)]
fn by_order<A: Address>(ip: &Ip<A>, source_port: Be16, destination_port: Be16, zone: u16) -> FlowIdentity<A> {
    let source_is_second = if ip.source == ip.destination {
        source_port > destination_port
    } else {
        ip.source.is_above(&ip.destination)
    };
    if source_is_second {
        let key = key(ip.destination, ip.source, destination_port, source_port, ip.protocol, zone);
        return FlowIdentity { key, source_is_first: false };
    }
    let key = key(ip.source, ip.destination, source_port, destination_port, ip.protocol, zone);
    FlowIdentity { key, source_is_first: true }
}

/// The end that asks is first: a reply finds the entry of its query, a query of the other end has an entry of its own.
#[inline(always)]
fn by_role<A: Address>(ip: &Ip<A>, icmp_type: u8, role: Role, zone: u16) -> Option<FlowIdentity<A>> {
    match role {
        Role::Query { identifier } => {
            let query_type = Be16::new(u16::from(icmp_type));
            let key = key(ip.source, ip.destination, identifier, query_type, ip.protocol, zone);
            Some(FlowIdentity { key, source_is_first: true })
        }
        Role::Reply { identifier, query_type } => {
            let query_type = Be16::new(u16::from(query_type));
            let key = key(ip.destination, ip.source, identifier, query_type, ip.protocol, zone);
            Some(FlowIdentity { key, source_is_first: false })
        }
        Role::Error | Role::Other => None,
    }
}

#[inline(always)]
const fn key<A: Address>(
    first: A,
    second: A,
    first_port: Be16,
    second_port: Be16,
    protocol: u8,
    zone: u16,
) -> FlowKey<A> {
    FlowKey { first, second, first_port, second_port, protocol, padding: 0, zone }
}

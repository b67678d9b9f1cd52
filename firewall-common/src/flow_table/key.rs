//! Which entry of the flow tables a packet belongs to.

use crate::abi::{Address, Be16, Direction, FlowKey, query_from};
use crate::packet::icmp::Role;
use crate::packet::{Ip, Transport};

/// The key of a packet's flow, the same on both hooks; `None` where the packet can belong to none: ICMP errors and
/// other single messages, later fragments.
///
/// The local end is the destination of what arrives and the source of what leaves. It comes from the hook, never from the
/// addresses: a packet that arrives under the host's own address, which anybody can send, has another key than what the
/// host sends.
#[must_use]
#[inline(always)]
pub fn key_of<A: Address>(
    ip: &Ip<A>,
    transport: &Transport,
    direction: Direction,
    zone: u16,
) -> Option<FlowKey<A>> {
    let ends = match transport {
        Transport::Tcp(tcp) => Ends::of_ports(tcp.source_port, tcp.destination_port, direction),
        Transport::Udp { source_port, destination_port } => {
            Ends::of_ports(*source_port, *destination_port, direction)
        }
        Transport::Icmp(icmp) => Ends::of_query(icmp.icmp_type, icmp.role, direction)?,
        // AWS: other protocols are tracked by addresses and protocol alone.
        Transport::Portless => Ends::of_ports(Be16::new(0), Be16::new(0), direction),
        Transport::LaterFragment => return None,
    };
    let (local, remote) = match direction {
        Direction::Ingress => (ip.destination, ip.source),
        Direction::Egress => (ip.source, ip.destination),
    };
    let Ends { local_port, remote_port, query_from } = ends;
    Some(FlowKey { local, remote, local_port, remote_port, protocol: ip.protocol, query_from, zone })
}

/// What a key holds beside the addresses.
struct Ends {
    local_port: Be16,
    remote_port: Be16,
    query_from: u8,
}

impl Ends {
    #[inline(always)]
    const fn of_ports(source: Be16, destination: Be16, direction: Direction) -> Self {
        let (local_port, remote_port) = match direction {
            Direction::Ingress => (destination, source),
            Direction::Egress => (source, destination),
        };
        Self { local_port, remote_port, query_from: query_from::EITHER }
    }

    /// A reply finds the entry of its query; a query of the other end, of the same identifier, has one of its own.
    #[inline(always)]
    fn of_query(icmp_type: u8, role: Role, direction: Direction) -> Option<Self> {
        let (identifier, query_type, query_direction) = match role {
            Role::Query { identifier } => (identifier, icmp_type, direction),
            Role::Reply { identifier, query_type } => (identifier, query_type, direction.opposite()),
            Role::Error | Role::Other => return None,
        };
        let query_from = match query_direction {
            Direction::Ingress => query_from::REMOTE,
            Direction::Egress => query_from::LOCAL,
        };
        Some(Self { local_port: identifier, remote_port: Be16::new(u16::from(query_type)), query_from })
    }
}

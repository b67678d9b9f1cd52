//! Traffic that passes whatever the rules say, because a host without it loses its address or its neighbours.
//!
//! AWS never filters DHCP, and has no ARP or neighbour discovery on the wire to filter. Each kind can be turned off
//! per interface.

use super::read::Context;
use crate::abi::{Address, Direction, InterfaceSettings, exempt_flag};
use crate::packet::icmp::Icmp;
use crate::packet::{Ip, Transport};
use crate::reason::Reason;

const DHCPV4_SERVER: u16 = 67;
const DHCPV4_CLIENT: u16 = 68;
const DHCPV6_CLIENT: u16 = 546;
const DHCPV6_SERVER: u16 = 547;

/// Decides a frame that is not IP: no rule can admit it.
#[inline(always)]
pub(super) const fn frame(settings: &InterfaceSettings, flag: u16, exempt: Reason) -> Reason {
    if settings.exempt & flag != 0 { exempt } else { Reason::NotExempt }
}

/// The reason to pass an exempt IP packet. Everything else, exempt traffic that is turned off included, is for the
/// rules to decide.
#[inline(always)]
pub(super) fn ip<A: Address>(ip: &Ip<A>, transport: &Transport, context: &Context<'_>) -> Option<Reason> {
    let (flag, reason) = match transport {
        Transport::Udp { source_port, destination_port }
            if is_dhcp_client::<A>(context.direction, source_port.get(), destination_port.get()) =>
        {
            (exempt_flag::DHCP_CLIENT, Reason::ExemptDhcpClient)
        }
        Transport::Icmp(icmp) if A::IS_IPV6 && is_neighbor_discovery(icmp, ip.hop_limit) => {
            (exempt_flag::NEIGHBOR_DISCOVERY, Reason::ExemptNeighborDiscovery)
        }
        Transport::Icmp(icmp) if A::IS_IPV6 && is_multicast_listener(icmp, ip.hop_limit) => {
            (exempt_flag::MULTICAST_LISTENER, Reason::ExemptMulticastListener)
        }
        _ => return None,
    };
    (context.settings.exempt & flag != 0).then_some(reason)
}

#[inline(always)]
const fn is_dhcp_client<A: Address>(direction: Direction, source_port: u16, destination_port: u16) -> bool {
    let (client, server) =
        if A::IS_IPV6 { (DHCPV6_CLIENT, DHCPV6_SERVER) } else { (DHCPV4_CLIENT, DHCPV4_SERVER) };
    match direction {
        Direction::Egress => source_port == client && destination_port == server,
        Direction::Ingress => source_port == server && destination_port == client,
    }
}

/// RFC 4861 §6.1, §7.1, §8.1: receivers discard these messages unless the hop limit is 255, which no packet from
/// beyond the link can have, and the code is 0.
#[inline(always)]
const fn is_neighbor_discovery(icmp: &Icmp, hop_limit: u8) -> bool {
    matches!(icmp.icmp_type, 133..=137) && icmp.code == 0 && hop_limit == 255
}

/// RFC 2710 §3 and RFC 3810 §5: queries, reports and dones are sent with hop limit 1.
#[inline(always)]
const fn is_multicast_listener(icmp: &Icmp, hop_limit: u8) -> bool {
    matches!(icmp.icmp_type, 130..=132 | 143) && hop_limit == 1
}

//! The packet that an ICMP error is about.

use super::icmp::Role;
use super::{Extent, Family, Fragment, Ip, PacketBytes, Transport, parse_transport};

/// Length of the part of an error message before the quote.
const ERROR_HEADER: u32 = 8;

/// Reads the packet quoted by the ICMP error whose network header is `error`.
///
/// `None` where the quote cannot be read, does not identify a flow (a later fragment), or is an ICMP error itself:
/// errors are never sent about errors (RFC 1122 §3.2.2, RFC 4443 §2.4), so such a quote is forged. `None` too where
/// the error is not addressed to the sender of the quoted packet.
#[inline(always)]
pub fn quoted_packet<A: Family, P: PacketBytes + ?Sized>(
    packet: &P,
    error: &Ip<A>,
) -> Option<(Ip<A>, Transport)> {
    let quoted = A::parse(packet, error.payload + ERROR_HEADER, Extent::Quoted).ok()?;
    if quoted.source != error.destination || matches!(quoted.fragment, Fragment::Later { .. }) {
        return None;
    }
    let transport = parse_transport(packet, &quoted, Extent::Quoted).ok()?;
    if let Transport::Icmp(icmp) = transport
        && matches!(icmp.role, Role::Error | Role::Other)
    {
        return None;
    }
    Some((quoted, transport))
}

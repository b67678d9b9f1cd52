//! The transport header: ports, flags, ICMP type and code.

use super::icmp::{self, Icmp};
use super::{Extent, Fragment, Ip, PacketBytes, be16, be32};
use crate::abi::{Address, Be16, ServiceIndex};
use crate::reason::Reason;

/// IP protocol numbers that have a meaning here.
mod protocol {
    pub(super) const ICMP: u8 = 1;
    pub(super) const TCP: u8 = 6;
    pub(super) const UDP: u8 = 17;
    pub(super) const ICMPV6: u8 = 58;
}

/// The flag bits of a TCP header (RFC 9293).
pub mod tcp_flag {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 0x10;
}

/// What matters of a TCP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// Source port.
    pub source_port: Be16,
    /// Destination port.
    pub destination_port: Be16,
    /// Sequence number in host order.
    pub sequence: u32,
    /// Acknowledgement number in host order.
    pub acknowledgement: u32,
    /// Bits of [`tcp_flag`] and others.
    pub flags: u8,
    /// Bytes of data that the segment carries.
    pub data_length: u32,
}

impl Tcp {
    /// Whether a flag of [`tcp_flag`] is set.
    #[must_use]
    #[inline(always)]
    pub const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// A SYN without an ACK: the first segment of a connection.
    #[must_use]
    #[inline(always)]
    pub const fn opens(&self) -> bool {
        self.has(tcp_flag::SYN) && !self.has(tcp_flag::ACK)
    }

    /// A SYN-ACK that ends its side too: the whole answer of a server, with TCP Fast Open (RFC 7413). It belongs to the
    /// flow of the SYN that it answers, and is nothing without one.
    #[must_use]
    #[inline(always)]
    pub const fn answers_and_ends(&self) -> bool {
        self.has(tcp_flag::SYN) && self.has(tcp_flag::FIN)
    }

    /// At most one of SYN, FIN and RST, and an ACK wherever a segment neither opens nor resets: every other
    /// combination is made by scanners only (as in the kernel's `tcp_valid_flags`), but
    /// [`answers_and_ends`](Self::answers_and_ends).
    #[inline(always)]
    const fn flags_make_sense(&self) -> bool {
        match (self.has(tcp_flag::SYN), self.has(tcp_flag::RST), self.has(tcp_flag::FIN)) {
            (true, false, false) | (false, true, false) => true,
            (false, false, _) | (true, false, true) => self.has(tcp_flag::ACK),
            _ => false,
        }
    }
}

/// The transport header by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp(Tcp),
    /// UDP.
    Udp {
        /// Source port.
        source_port: Be16,
        /// Destination port.
        destination_port: Be16,
    },
    /// ICMP in IPv4, ICMPv6 in IPv6.
    Icmp(Icmp),
    /// Any other protocol.
    Portless,
    /// A fragment that carries no transport header.
    LaterFragment,
}

/// Reads the transport header of `ip`.
///
/// # Errors
///
/// The [`Reason`] to drop the packet where the header is cut or contradicts itself or the datagram's length.
#[inline(always)]
pub fn parse<A: Address, P: PacketBytes + ?Sized>(
    packet: &P,
    ip: &Ip<A>,
    extent: Extent,
) -> Result<Transport, Reason> {
    if let Fragment::Later { offset, .. } = ip.fragment {
        return later_fragment::<A>(ip.protocol, offset);
    }
    match ip.protocol {
        protocol::TCP => tcp(packet, ip, extent),
        protocol::UDP => udp(packet, ip, extent),
        protocol::ICMP if !A::IS_IPV6 => Ok(Transport::Icmp(icmp::v4(&ip.load_payload(packet)?))),
        protocol::ICMPV6 if A::IS_IPV6 => Ok(Transport::Icmp(icmp::v6(&ip.load_payload(packet)?))),
        _ => Ok(Transport::Portless),
    }
}

/// A later fragment that begins inside the transport header would overwrite what the first one was judged by
/// (RFC 1858 §4, RFC 3128).
#[inline(always)]
fn later_fragment<A: Address>(protocol: u8, offset: u32) -> Result<Transport, Reason> {
    let header = match protocol {
        protocol::TCP => 20,
        protocol::UDP => 8,
        protocol::ICMP if !A::IS_IPV6 => 8,
        protocol::ICMPV6 if A::IS_IPV6 => 8,
        _ => 0,
    };
    if offset < header {
        return Err(Reason::TinyFragment);
    }
    Ok(Transport::LaterFragment)
}

#[inline(always)]
fn tcp<A: Address, P: PacketBytes + ?Sized>(
    packet: &P,
    ip: &Ip<A>,
    extent: Extent,
) -> Result<Transport, Reason> {
    if extent == Extent::Quoted {
        // RFC 792 promises the ports and the sequence number, no flags.
        let header: [u8; 8] = ip.load_payload(packet)?;
        return Ok(Transport::Tcp(Tcp {
            source_port: be16(&header, 0),
            destination_port: be16(&header, 2),
            sequence: be32(&header, 4).get(),
            acknowledgement: 0,
            flags: tcp_flag::ACK,
            data_length: 0,
        }));
    }
    let header: [u8; 20] = ip.load_payload(packet)?;
    let header_length = u32::from(header[12] >> 4) * 4;
    if header_length < 20 {
        return Err(Reason::BadTransportHeader);
    }
    if ip.payload + header_length > ip.end {
        return match ip.fragment {
            Fragment::None => Err(Reason::BadTransportHeader),
            Fragment::First { .. } | Fragment::Later { .. } => Err(Reason::TinyFragment),
        };
    }
    let tcp = Tcp {
        source_port: be16(&header, 0),
        destination_port: be16(&header, 2),
        sequence: be32(&header, 4).get(),
        acknowledgement: be32(&header, 8).get(),
        flags: header[13],
        data_length: ip.end - (ip.payload + header_length),
    };
    if !tcp.flags_make_sense() {
        return Err(Reason::BadTransportHeader);
    }
    Ok(Transport::Tcp(tcp))
}

#[inline(always)]
fn udp<A: Address, P: PacketBytes + ?Sized>(
    packet: &P,
    ip: &Ip<A>,
    extent: Extent,
) -> Result<Transport, Reason> {
    let header: [u8; 8] = ip.load_payload(packet)?;
    let length = u32::from(be16(&header, 4).get());
    // The length of a fragmented datagram, or of a quoted one, is not that of this packet.
    let fits = length >= 8 && ip.payload + length <= ip.end;
    if extent == Extent::Whole && ip.fragment == Fragment::None && !fits {
        return Err(Reason::BadLength);
    }
    Ok(Transport::Udp { source_port: be16(&header, 0), destination_port: be16(&header, 2) })
}

impl Transport {
    /// The service that a rule would have to name to admit the packet.
    #[must_use]
    #[inline(always)]
    pub fn service<A: Address>(&self, ip: &Ip<A>) -> ServiceIndex {
        match self {
            Self::Tcp(tcp) => ServiceIndex::tcp(tcp.destination_port),
            Self::Udp { destination_port, .. } => ServiceIndex::udp(*destination_port),
            Self::Icmp(icmp) if A::IS_IPV6 => ServiceIndex::icmpv6(icmp.icmp_type, icmp.code),
            Self::Icmp(icmp) => ServiceIndex::icmp(icmp.icmp_type, icmp.code),
            Self::Portless => ServiceIndex::other(ip.protocol),
            Self::LaterFragment => ServiceIndex::every_port(ip.protocol),
        }
    }

    /// The service that a rule of the other direction names where this packet is a reply: its source port. Only
    /// TCP and UDP have one.
    #[must_use]
    #[inline(always)]
    pub fn reverse_service(&self) -> Option<ServiceIndex> {
        match self {
            Self::Tcp(tcp) => Some(ServiceIndex::tcp(tcp.source_port)),
            Self::Udp { source_port, .. } => Some(ServiceIndex::udp(*source_port)),
            Self::Icmp(_) | Self::Portless | Self::LaterFragment => None,
        }
    }
}

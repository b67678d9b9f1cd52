//! The IPv6 header and its extension headers (RFC 8200).

use bytemuck::{Pod, Zeroable};

use super::{Extent, Fragment, Ip, PacketBytes, available, be16, be32};
use crate::abi::{Be32, Ipv6};
use crate::reason::Reason;

const HEADER: u32 = 40;

/// Extension headers that are followed; a longer chain is dropped. Each real use needs one to three.
const MAX_EXTENSION_HEADERS: u32 = 8;

/// Bytes of extension headers that are followed.
const MAX_EXTENSION_BYTES: u32 = 512;

/// Of the second word of a fragment header: its offset in bytes.
const FRAGMENT_OFFSET: u32 = 0xfff8;
/// The same: more fragments follow.
const MORE_FRAGMENTS: u32 = 1;

mod next_header {
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const AUTHENTICATION: u8 = 51;
    pub(super) const DESTINATION_OPTIONS: u8 = 60;
    pub(super) const MOBILITY: u8 = 135;
}

/// Reads the header at `offset` and walks its extension headers to the transport header.
///
/// # Errors
///
/// The [`Reason`] to drop the packet where a header is cut, the payload length claims more than the frame holds, the
/// chain is longer than is followed, or there is a routing header of type 0 (RFC 5095).
#[inline(always)]
pub(super) fn parse<P: PacketBytes + ?Sized>(
    packet: &P,
    offset: u32,
    extent: Extent,
) -> Result<Ip<Ipv6>, Reason> {
    let fixed: [u8; 8] = packet.load(offset).ok_or(Reason::Truncated)?;
    if fixed[0] >> 4 != 6 {
        return Err(Reason::BadHeaderLength);
    }
    let source = packet.load(offset + 8).ok_or(Reason::Truncated)?;
    let destination = packet.load(offset + 24).ok_or(Reason::Truncated)?;
    let field = be16(&fixed, 4).get();
    let available = available(packet, offset + HEADER, extent, field);
    let payload_length = match extent {
        Extent::Whole => payload_length(field, fixed[6], available),
        Extent::Quoted => available,
    };
    if payload_length > available {
        return Err(Reason::BadLength);
    }
    let mut ip = Ip {
        source: Ipv6::from_bytes(source),
        destination: Ipv6::from_bytes(destination),
        fragment: Fragment::None,
        payload: offset + HEADER,
        end: offset + HEADER + payload_length,
        protocol: fixed[6],
        hop_limit: fixed[7],
    };
    walk_extension_headers(packet, &mut ip)?;
    Ok(ip)
}

/// A payload length of 0 in a packet of more than 64 KiB that begins with hop-by-hop options is a jumbogram
/// (RFC 2675), which is how the kernel hands over very large segments (BIG TCP).
#[inline(always)]
fn payload_length(field: u16, next_header: u8, available: u32) -> u32 {
    if field == 0 && next_header == next_header::HOP_BY_HOP && available > u32::from(u16::MAX) {
        return available;
    }
    u32::from(field)
}

#[inline(always)]
fn walk_extension_headers<P: PacketBytes + ?Sized>(packet: &P, ip: &mut Ip<Ipv6>) -> Result<(), Reason> {
    let mut walk = Walk {
        payload: ip.payload,
        end: ip.end,
        farthest: ip.payload + MAX_EXTENSION_BYTES,
        protocol: ip.protocol.into(),
        fragment: 0,
        identification: Be32::new(0),
    };
    for _ in 0..MAX_EXTENSION_HEADERS {
        if walk.is_over() {
            break;
        }
        packet.step(&mut walk)?;
    }
    // The chain may end exactly at the bound.
    if !walk.is_over() {
        return Err(Reason::TooManyExtensionHeaders);
    }
    ip.payload = walk.payload;
    ip.protocol = walk.protocol as u8;
    ip.fragment = walk.fragment();
    Ok(())
}

/// A walk along the extension headers of a packet. Words, for the reason given in [`PacketBytes::step`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, align(8))]
pub struct Walk {
    /// Offset in the frame of the header that it has come to.
    payload: u32,
    /// Offset in the frame at which the packet ends.
    end: u32,
    /// Offset in the frame of the farthest header that is followed.
    farthest: u32,
    /// Protocol of the header that it has come to.
    protocol: u32,
    /// Offset and flags of the fragment header that it has passed; 0 for none, or none that fragments anything.
    fragment: u32,
    /// Identification of that.
    identification: Be32,
}

impl Walk {
    /// Words of a walk.
    pub const WORDS: usize = size_of::<Self>() / 8;

    /// In a later fragment there is nothing to be read behind the fragment header.
    #[inline(always)]
    const fn is_over(&self) -> bool {
        !is_extension_header(self.protocol as u8) || self.fragment & FRAGMENT_OFFSET != 0
    }

    #[inline(always)]
    const fn fragment(&self) -> Fragment {
        let (offset, identification) = (self.fragment & FRAGMENT_OFFSET, self.identification);
        match self.fragment {
            0 => Fragment::None,
            _ if offset != 0 => Fragment::Later { identification, offset },
            _ => Fragment::First { identification },
        }
    }

    /// Steps over the extension header that it has come to.
    ///
    /// # Errors
    ///
    /// The [`Reason`] to drop the packet.
    #[inline(always)]
    pub fn step<P: PacketBytes + ?Sized>(&mut self, packet: &P) -> Result<(), Reason> {
        if self.payload + 8 > self.end {
            return Err(if self.fragment == 0 { Reason::Truncated } else { Reason::TinyFragment });
        }
        let header: [u8; 8] = packet.load(self.payload).ok_or(Reason::Truncated)?;
        if self.protocol == u32::from(next_header::ROUTING) && header[2] == 0 {
            return Err(Reason::RoutingHeader0);
        }
        if self.protocol == u32::from(next_header::FRAGMENT) {
            // A fragment within a fragment. Atomic ones (RFC 6946) fragment nothing and may repeat.
            if self.fragment != 0 {
                return Err(Reason::TooManyExtensionHeaders);
            }
            self.fragment = u32::from(be16(&header, 2).get()) & (FRAGMENT_OFFSET | MORE_FRAGMENTS);
            self.identification = be32(&header, 4);
        }
        self.payload += extension_length(self.protocol as u8, header[1]);
        self.protocol = header[0].into();
        if self.payload > self.end {
            return Err(Reason::Truncated);
        }
        if self.payload > self.farthest {
            return Err(Reason::TooManyExtensionHeaders);
        }
        Ok(())
    }
}

#[inline(always)]
const fn is_extension_header(protocol: u8) -> bool {
    matches!(
        protocol,
        next_header::HOP_BY_HOP
            | next_header::ROUTING
            | next_header::FRAGMENT
            | next_header::AUTHENTICATION
            | next_header::DESTINATION_OPTIONS
            | next_header::MOBILITY
    )
}

/// Length of an extension header in bytes, by its length field.
#[inline(always)]
fn extension_length(protocol: u8, field: u8) -> u32 {
    match protocol {
        // Has no such field.
        next_header::FRAGMENT => 8,
        // RFC 4302: in units of 4 bytes, minus 2.
        next_header::AUTHENTICATION => (u32::from(field) + 2) * 4,
        // RFC 8200: in units of 8 bytes, not counting the first 8.
        _ => (u32::from(field) + 1) * 8,
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    /// Destination options that say they are `units` × 8 + 8 bytes long, in front of GRE.
    fn packet(units: u8, payload_length: u16) -> std::vec::Vec<u8> {
        let mut packet = std::vec![0; usize::from(payload_length) + 40];
        packet[0] = 0x60;
        packet[4..6].copy_from_slice(&payload_length.to_be_bytes());
        packet[6] = next_header::DESTINATION_OPTIONS;
        packet[40] = 47;
        packet[41] = units;
        packet
    }

    #[test]
    fn an_extension_header_may_fill_the_packet_and_not_leave_it() {
        let ip = parse(packet(1, 16).as_slice(), 0, Extent::Whole).unwrap();
        assert_eq!((ip.protocol, ip.payload, ip.end), (47, 56, 56));
        assert_eq!(parse(packet(2, 16).as_slice(), 0, Extent::Whole).unwrap_err(), Reason::Truncated);
    }
}

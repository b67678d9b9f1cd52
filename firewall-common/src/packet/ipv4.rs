//! The IPv4 header (RFC 791).

use super::{Extent, Fragment, Ip, PacketBytes, be16};
use crate::abi::{Be32, Ipv4};
use crate::reason::Reason;

const MIN_HEADER: u32 = 20;
const MORE_FRAGMENTS: u16 = 0x2000;
const FRAGMENT_OFFSET: u16 = 0x1fff;

/// Reads the header at `offset`.
///
/// # Errors
///
/// The [`Reason`] to drop the packet where the header is cut, has an impossible length, or claims more than the frame
/// holds.
#[inline(always)]
pub(super) fn parse<P: PacketBytes + ?Sized>(
    packet: &P,
    offset: u32,
    extent: Extent,
) -> Result<Ip<Ipv4>, Reason> {
    let header: [u8; 20] = packet.load(offset).ok_or(Reason::Truncated)?;
    let header_length = u32::from(header[0] & 0x0f) * 4;
    if header[0] >> 4 != 4 || header_length < MIN_HEADER {
        return Err(Reason::BadHeaderLength);
    }
    let available = packet.length().saturating_sub(offset);
    let total_length = match extent {
        Extent::Whole => u32::from(be16(&header, 2).get()),
        Extent::Quoted => available,
    };
    if total_length < header_length || total_length > available {
        return Err(Reason::BadLength);
    }
    Ok(Ip {
        source: Ipv4::from_bytes([header[12], header[13], header[14], header[15]]),
        destination: Ipv4::from_bytes([header[16], header[17], header[18], header[19]]),
        fragment: fragment(be16(&header, 6).get(), be16(&header, 4).get()),
        payload: offset + header_length,
        end: offset + total_length,
        protocol: header[9],
        hop_limit: header[8],
    })
}

#[inline(always)]
fn fragment(flags_and_offset: u16, identification: u16) -> Fragment {
    let identification = Be32::new(u32::from(identification));
    let offset = u32::from(flags_and_offset & FRAGMENT_OFFSET) * 8;
    if offset != 0 {
        return Fragment::Later { identification, offset };
    }
    if flags_and_offset & MORE_FRAGMENTS != 0 {
        return Fragment::First { identification };
    }
    Fragment::None
}

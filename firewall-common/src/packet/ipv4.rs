//! The IPv4 header (RFC 791).

use super::{Extent, Fragment, Ip, PacketBytes, available, be16};
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
    let field = be16(&header, 2).get();
    let available = available(packet, offset, extent, field);
    let total_length = match extent {
        Extent::Whole => total_length(field, available),
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

/// The kernel hands over segments that are larger than the field can say with a length of 0 (BIG TCP, `iph_set_totlen` in
/// `net/ip.h`); nothing on a wire is that large.
#[inline(always)]
fn total_length(field: u16, available: u32) -> u32 {
    if field == 0 && available > u32::from(u16::MAX) {
        return available;
    }
    u32::from(field)
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

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    fn packet(total_length: u16, length: usize) -> std::vec::Vec<u8> {
        let mut packet = std::vec![0; length];
        packet[0] = 0x45;
        packet[2..4].copy_from_slice(&total_length.to_be_bytes());
        packet
    }

    #[test]
    fn a_length_of_zero_is_right_only_where_the_field_is_too_small() {
        let big = parse(packet(0, 70_000).as_slice(), 0, Extent::Whole).unwrap();
        assert_eq!((big.payload, big.end), (20, 70_000));
        assert_eq!(parse(packet(0, 1_500).as_slice(), 0, Extent::Whole).unwrap_err(), Reason::BadLength);
    }
}

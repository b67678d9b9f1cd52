//! The link layer: where the network header begins and of which kind it is.

use super::PacketBytes;
use crate::abi::Be16;
use crate::hint::forget;
use crate::reason::Reason;

/// What frames of an interface begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// An Ethernet header.
    Ethernet {
        /// VLAN tags that the hardware, or the kernel before this hook, has taken out of the frame.
        stripped_tags: u32,
    },
    /// The network header itself (tun, WireGuard).
    None,
}

/// What the link layer carries, and where in the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// IPv4.
    Ipv4 {
        /// Offset of the header.
        offset: u32,
    },
    /// IPv6.
    Ipv6 {
        /// Offset of the header.
        offset: u32,
    },
    /// ARP.
    Arp,
    /// Neither.
    Other,
}

const MAX_TAGS: u32 = 2;

mod ethertype {
    pub(super) const IPV4: u16 = 0x0800;
    pub(super) const ARP: u16 = 0x0806;
    pub(super) const IPV6: u16 = 0x86dd;
    pub(super) const VLAN: u16 = 0x8100;
    pub(super) const SERVICE_VLAN: u16 = 0x88a8;
    /// Tag types from before IEEE 802.1ad, still found in the field.
    pub(super) const OLD_SERVICE_VLANS: [u16; 2] = [0x9100, 0x9200];
    /// Below it the field is a length (IEEE 802.3) and an LLC header follows.
    pub(super) const FIRST: u16 = 0x0600;
}

/// Finds the network header.
///
/// # Errors
///
/// [`Reason::Truncated`] where the frame ends inside the link header, [`Reason::UnknownEncapsulation`] for more than
/// two tags and for IP inside LLC/SNAP, which hosts disagree about (CVE-2021-27853, CVE-2021-27861).
#[inline(always)]
pub fn network<P: PacketBytes + ?Sized>(packet: &P, link: Link) -> Result<Network, Reason> {
    let stripped_tags = match link {
        Link::Ethernet { stripped_tags } => stripped_tags,
        Link::None => return by_version(packet),
    };
    let mut ethertype = load_ethertype(packet, 12)?;
    let mut offset = 14;
    for _ in stripped_tags..MAX_TAGS {
        if !is_tag(ethertype) {
            break;
        }
        ethertype = load_ethertype(packet, offset + 2)?;
        offset += 4;
    }
    let offset = forget(offset);
    match ethertype {
        ethertype::IPV4 => Ok(Network::Ipv4 { offset }),
        ethertype::IPV6 => Ok(Network::Ipv6 { offset }),
        ethertype::ARP => Ok(Network::Arp),
        // One more than are followed.
        other if is_tag(other) => Err(Reason::UnknownEncapsulation),
        other if other < ethertype::FIRST && carries_ip_in_snap(packet, offset) => {
            Err(Reason::UnknownEncapsulation)
        }
        _ => Ok(Network::Other),
    }
}

#[inline(always)]
fn by_version<P: PacketBytes + ?Sized>(packet: &P) -> Result<Network, Reason> {
    // Two bytes, because the verifier learns nothing from the check that a single byte is there.
    let [first, _] = packet.load(0).ok_or(Reason::Truncated)?;
    match first >> 4 {
        4 => Ok(Network::Ipv4 { offset: 0 }),
        6 => Ok(Network::Ipv6 { offset: 0 }),
        _ => Err(Reason::BadHeaderLength),
    }
}

#[inline(always)]
fn load_ethertype<P: PacketBytes + ?Sized>(packet: &P, offset: u32) -> Result<u16, Reason> {
    packet.load(offset).map(|bytes| Be16::from_bytes(bytes).get()).ok_or(Reason::Truncated)
}

#[inline(always)]
const fn is_tag(ethertype: u16) -> bool {
    let [old, older] = ethertype::OLD_SERVICE_VLANS;
    ethertype == ethertype::VLAN
        || ethertype == ethertype::SERVICE_VLAN
        || ethertype == old
        || ethertype == older
}

/// Whether an LLC/SNAP header with the Ethernet OUI (RFC 1042) leads to IP, to ARP or to yet another tag.
#[inline(always)]
fn carries_ip_in_snap<P: PacketBytes + ?Sized>(packet: &P, offset: u32) -> bool {
    let Some([0xaa, 0xaa, 0x03, 0, 0, 0, high, low]) = packet.load::<8>(offset) else {
        return false;
    };
    let inner = u16::from_be_bytes([high, low]);
    matches!(inner, ethertype::IPV4 | ethertype::IPV6 | ethertype::ARP) || is_tag(inner)
}

//! Flow and fragment tables.

use bytemuck::{Pod, Zeroable};

use super::address::{Be16, Be32, Ipv4, Ipv6};

/// Key of a flow: one entry serves both directions and both hooks.
///
/// The ends stand by side, not by order: *local* is the destination of what arrives and the source of what leaves. On a
/// router, local is whatever the interface's own side of the link is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C, align(8))]
pub struct FlowKey<A> {
    /// Address of the local end.
    pub local: A,
    /// Address of the remote end.
    pub remote: A,
    /// Port of the local end; the identifier of an ICMP query; 0 for portless protocols.
    pub local_port: Be16,
    /// Port of the remote end; the type of an ICMP query; 0 for portless protocols.
    pub remote_port: Be16,
    /// IP protocol number.
    pub protocol: u8,
    /// A number of [`query_from`].
    pub query_from: u8,
    /// Zone of the interface, in host order.
    pub zone: u16,
}

/// Numbers of [`FlowKey::query_from`]: which end asks. Two hosts may ping each other under one identifier.
pub mod query_from {
    /// No ICMP query.
    pub const EITHER: u8 = 0;
    /// The local end asks.
    pub const LOCAL: u8 = 1;
    /// The remote end asks.
    pub const REMOTE: u8 = 2;
}

// SAFETY: repr(C); 4 + 4 + 2 + 2 + 1 + 1 + 2 = 16 bytes at alignment 8, asserted below, so there is no padding, and
// each field is Pod.
unsafe impl Pod for FlowKey<Ipv4> {}
// SAFETY: all-zero is valid for each field.
unsafe impl Zeroable for FlowKey<Ipv4> {}
// SAFETY: repr(C); 16 + 16 + 2 + 2 + 1 + 1 + 2 = 40 bytes at alignment 8, asserted below, so there is no padding,
// and each field is Pod.
unsafe impl Pod for FlowKey<Ipv6> {}
// SAFETY: all-zero is valid for each field.
unsafe impl Zeroable for FlowKey<Ipv6> {}

/// Live state of one flow.
///
/// Two CPUs may work on one entry. Every field is written by a plain store of its own word and the values a racing
/// writer may leave behind are each a state that some order of the two packets would have produced too, except that
/// a flag of one of them may be lost; the next packet of that side sets it again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, align(8))]
pub struct FlowEntry {
    /// Low 32 bits of the kernel's jiffies at the last packet, renewed at most once a second.
    pub last_seen: u32,
    /// Rule set that admitted the flow's first packet.
    pub rule_set: u32,
    /// Low 32 bits of the policy generation under which it was admitted.
    pub generation: u32,
    /// TCP before the handshake is complete: the acknowledgement number that proves that the initiator has seen the
    /// responder's SYN, in host order.
    pub handshake: u32,
    /// A [`FlowState`](crate::flow::FlowState) as its number.
    pub state: u8,
    /// Bits of [`flow_flag`].
    pub flags: u8,
    /// Always 0.
    pub padding: u16,
    /// Low 32 bits of the jiffies from which on the flow is cut: the rules decide what its initiator sends, and what
    /// its responder sends is dropped. 0 for never.
    pub cut_at: u32,
}

/// Bits of [`FlowEntry::flags`].
pub mod flow_flag {
    // Bit 0 said in versions 1 to 5 that the initiator was second in the key.
    /// The first packet was an egress packet: the local end is the initiator.
    pub const STARTED_BY_EGRESS: u8 = 1 << 1;
    /// The responder has sent something.
    pub const REPLIED: u8 = 1 << 2;
    /// The initiator has sent a FIN that no later data of its own has put in doubt.
    pub const FIN_BY_INITIATOR: u8 = 1 << 3;
    /// The responder has sent a FIN that no later data of its own has put in doubt.
    pub const FIN_BY_RESPONDER: u8 = 1 << 4;
    /// The initiator has sent a segment since a RST was seen.
    pub const ALIVE_INITIATOR: u8 = 1 << 5;
    /// The responder has sent a segment since a RST was seen.
    pub const ALIVE_RESPONDER: u8 = 1 << 6;
}

/// Key of a fragmented packet under way. IPv4 addresses stand in their mapped form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C, align(8))]
pub struct FragmentKey {
    /// Source address.
    pub source: Ipv6,
    /// Destination address.
    pub destination: Ipv6,
    /// Identification field.
    pub identification: Be32,
    /// Zone of the interface, in host order.
    pub zone: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// [`Direction`](super::Direction) as its number in the lowest bit, and 2 for IPv6: an IPv6 packet may bear
    /// addresses in the mapped form too.
    pub direction_and_family: u8,
}

/// A fragmented packet whose first fragment was admitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, align(8))]
pub struct FragmentEntry {
    /// Low 32 bits of the kernel's jiffies when the first fragment passed.
    pub first_seen: u32,
    /// Always 0.
    pub padding: u32,
}

const _: () = {
    assert!(size_of::<FlowKey<Ipv4>>() == 16);
    assert!(size_of::<FlowKey<Ipv6>>() == 40);
    assert!(size_of::<FlowEntry>() == 24);
    assert!(size_of::<FragmentKey>() == 40);
    assert!(size_of::<FragmentEntry>() == 8);
};

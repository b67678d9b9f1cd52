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

/// Words of a key, however long its addresses are. IPv4 uses the last two alone, and the others are 0.
pub const KEY_WORDS: usize = 5;

/// Bit of the last word of a key, in the byte of [`FlowKey::query_from`]: an IPv6 flow. The two families would otherwise
/// not be told apart.
pub const KEY_IS_IPV6: u64 = 0x80 << 40;

/// A key as words, for the table that holds both families.
pub type KeyWords = [u64; KEY_WORDS];

impl FlowKey<Ipv4> {
    /// As words.
    #[must_use]
    #[inline(always)]
    pub fn words(&self) -> KeyWords {
        let [ends, rest]: [u64; 2] = bytemuck::cast(*self);
        [0, 0, 0, ends, rest]
    }
}

impl FlowKey<Ipv6> {
    /// As words.
    #[must_use]
    #[inline(always)]
    pub fn words(&self) -> KeyWords {
        let mut words: KeyWords = bytemuck::cast(*self);
        words[KEY_WORDS - 1] |= KEY_IS_IPV6;
        words
    }
}

/// A key of either family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AnyFlowKey {
    /// Of an IPv4 flow.
    V4(FlowKey<Ipv4>),
    /// Of an IPv6 flow.
    V6(FlowKey<Ipv6>),
}

impl AnyFlowKey {
    /// The key that has these words.
    #[must_use]
    pub fn from_words(words: KeyWords) -> Self {
        let [w0, w1, w2, w3, w4] = words;
        if w4 & KEY_IS_IPV6 == 0 {
            return Self::V4(bytemuck::cast([w3, w4]));
        }
        Self::V6(bytemuck::cast([w0, w1, w2, w3, w4 & !KEY_IS_IPV6]))
    }

    /// As words.
    #[must_use]
    pub fn words(&self) -> KeyWords {
        match self {
            Self::V4(key) => key.words(),
            Self::V6(key) => key.words(),
        }
    }
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
    /// Until when later fragments may follow, in units of time (see [`time_shift`](crate::flow_table::layout::time_shift)).
    pub end: u32,
    /// Always 0.
    pub padding: u32,
}

const _: () = {
    assert!(size_of::<FlowKey<Ipv4>>() == 16);
    assert!(size_of::<FlowKey<Ipv6>>() == 40);
    assert!(size_of::<FragmentKey>() == 40);
    assert!(size_of::<FragmentEntry>() == 8);
};

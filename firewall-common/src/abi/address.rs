//! Numbers in network byte order, and addresses made of them.

use bytemuck::{Pod, Zeroable};

use super::flow::{FlowKey, KeyWords};

/// A 16-bit number in network byte order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
#[repr(transparent)]
pub struct Be16(u16);

impl Be16 {
    /// From a number in host order.
    #[must_use]
    #[inline(always)]
    pub const fn new(host: u16) -> Self {
        Self(host.to_be())
    }

    /// From two bytes as they stand in a packet.
    #[must_use]
    #[inline(always)]
    pub const fn from_bytes(bytes: [u8; 2]) -> Self {
        Self(u16::from_ne_bytes(bytes))
    }

    /// The number in host order.
    #[must_use]
    #[inline(always)]
    pub const fn get(self) -> u16 {
        u16::from_be(self.0)
    }
}

/// A 32-bit number in network byte order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
#[repr(transparent)]
pub struct Be32(u32);

impl Be32 {
    /// From a number in host order.
    #[must_use]
    #[inline(always)]
    pub const fn new(host: u32) -> Self {
        Self(host.to_be())
    }

    /// From four bytes as they stand in a packet.
    #[must_use]
    #[inline(always)]
    pub const fn from_bytes(bytes: [u8; 4]) -> Self {
        Self(u32::from_ne_bytes(bytes))
    }

    /// The number in host order.
    #[must_use]
    #[inline(always)]
    pub const fn get(self) -> u32 {
        u32::from_be(self.0)
    }

    /// The four bytes as they stand in a packet.
    #[must_use]
    #[inline(always)]
    pub const fn to_bytes(self) -> [u8; 4] {
        self.0.to_ne_bytes()
    }
}

/// An IPv4 address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(transparent)]
pub struct Ipv4(pub Be32);

/// An IPv6 address: two words in network byte order, because every access costs the programs per word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct Ipv6 {
    high: u64,
    low: u64,
}

impl Ipv4 {
    /// From four bytes as they stand in a packet.
    #[must_use]
    #[inline(always)]
    pub const fn from_bytes(bytes: [u8; 4]) -> Self {
        Self(Be32::from_bytes(bytes))
    }
}

impl Ipv4 {
    /// From [`Address::words`].
    #[must_use]
    #[inline(always)]
    pub const fn from_words([first, _]: [u64; 2]) -> Self {
        Self::from_bytes((first as u32).to_ne_bytes())
    }
}

impl Ipv6 {
    /// From [`Address::words`].
    #[must_use]
    #[inline(always)]
    pub const fn from_words([high, low]: [u64; 2]) -> Self {
        Self { high, low }
    }

    /// From sixteen bytes as they stand in a packet.
    #[must_use]
    #[inline(always)]
    pub const fn from_bytes(b: [u8; 16]) -> Self {
        Self {
            high: u64::from_ne_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]),
            low: u64::from_ne_bytes([b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]]),
        }
    }

    /// The sixteen bytes as they stand in a packet.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        bytemuck::cast([self.high, self.low])
    }
}

/// An address of either family.
pub trait Address: Copy + Eq {
    /// Whether this is the IPv6 family.
    const IS_IPV6: bool;

    /// As sixteen bytes, IPv4 in its mapped form, for tables that hold both families.
    fn widen(&self) -> Ipv6;

    /// As words, the bytes as they stand in a packet; IPv4 in the first four.
    fn words(&self) -> [u64; 2];

    /// The words of a key with such addresses.
    fn key_words(key: &FlowKey<Self>) -> KeyWords;
}

impl Address for Ipv4 {
    const IS_IPV6: bool = false;

    #[inline(always)]
    fn widen(&self) -> Ipv6 {
        // ::ffff:a.b.c.d
        Ipv6 { high: 0, low: (0xffff_0000_0000 | u64::from(self.0.get())).to_be() }
    }

    #[inline(always)]
    fn words(&self) -> [u64; 2] {
        [u32::from_ne_bytes(self.0.to_bytes()).into(), 0]
    }

    #[inline(always)]
    fn key_words(key: &FlowKey<Self>) -> KeyWords {
        key.words()
    }
}

impl Address for Ipv6 {
    const IS_IPV6: bool = true;

    #[inline(always)]
    fn widen(&self) -> Ipv6 {
        *self
    }

    #[inline(always)]
    fn words(&self) -> [u64; 2] {
        [self.high, self.low]
    }

    #[inline(always)]
    fn key_words(key: &FlowKey<Self>) -> KeyWords {
        key.words()
    }
}

const _: () = {
    assert!(size_of::<Ipv4>() == 4 && align_of::<Ipv4>() == 4);
    assert!(size_of::<Ipv6>() == 16 && align_of::<Ipv6>() == 8);
};

//! What a packet says about itself.
//!
//! Read by [`decide`](crate::decide) for the packet itself and, through [`quote`], for the packet that an ICMP error
//! is about. Nothing here knows about rules or flows. Whatever cannot be read for certain is an error with the
//! [`Reason`] of the drop: the parser never guesses and never skips.

pub mod icmp;
mod ipv4;
mod ipv6;
mod link;
pub mod quote;
mod transport;

pub use ipv6::Walk;
pub use link::{Link, Network, network};
pub use transport::{Tcp, Transport, parse as parse_transport, tcp_flag};

use crate::abi::{Address, Be16, Be32, Ipv4, Ipv6};
use crate::reason::Reason;

/// Headers must end this many bytes after the start of the frame; whatever needs more is dropped. A constant bound,
/// because the verifier wants one for every offset into a packet.
pub const MAX_HEADER_OFFSET: u32 = 1024;

/// Access to the bytes of one frame.
pub trait PacketBytes {
    /// Length of the frame in bytes, including parts that do not lie in linear memory.
    fn length(&self) -> u32;

    /// At most that, and cheaper to ask for: where a frame may have parts that do not lie in linear memory, the length of
    /// the one that does.
    fn known_length(&self) -> u32 {
        self.length()
    }

    /// The `N` bytes at `offset`, or `None` where the frame ends before them or `offset` is beyond
    /// [`MAX_HEADER_OFFSET`].
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]>;

    /// Steps over one IPv6 extension header. Programs call a function for it, which the verifier looks at once instead of in
    /// every round of a walk, and of whose answer it knows nothing.
    ///
    /// # Errors
    ///
    /// The [`Reason`] to drop the packet.
    fn step(&self, walk: &mut Walk) -> Result<(), Reason> {
        walk.step(self)
    }
}

/// The bytes of one frame in memory.
impl PacketBytes for [u8] {
    fn length(&self) -> u32 {
        u32::try_from(self.len()).unwrap_or(u32::MAX)
    }

    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        if offset > MAX_HEADER_OFFSET {
            return None;
        }
        let start = offset as usize;
        self.get(start..start + N)?.try_into().ok()
    }
}

/// How much of a frame can be trusted to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// A packet of its own: lengths must agree with the frame.
    Whole,
    /// A packet quoted by an ICMP error: cut anywhere after the first bytes of its transport header (RFC 792 and
    /// RFC 4443 promise no more), so its lengths say nothing about the frame.
    Quoted,
}

/// Where a packet stands in a fragmented datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// Not fragmented; an IPv6 atomic fragment (RFC 6946) counts as that.
    None,
    /// Carries the transport header.
    First {
        /// Identification field.
        identification: Be32,
    },
    /// Carries what follows it.
    Later {
        /// Identification field.
        identification: Be32,
        /// Where its payload stands in the datagram, in bytes.
        offset: u32,
    },
}

/// The network header. Aligned for the reason given in [`abi`](crate::abi).
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub struct Ip<A> {
    /// Source address.
    pub source: A,
    /// Destination address.
    pub destination: A,
    /// Fragmentation.
    pub fragment: Fragment,
    /// Offset of the transport header in the frame.
    pub payload: u32,
    /// Offset in the frame at which the datagram ends; link padding follows.
    pub end: u32,
    /// Protocol of the payload, behind any IPv6 extension headers.
    pub protocol: u8,
    /// IPv4 time to live or IPv6 hop limit.
    pub hop_limit: u8,
}

impl<A: Address> Ip<A> {
    /// Loads `N` bytes of the payload, which must lie inside the datagram and not merely inside the frame: link
    /// padding is not payload.
    #[inline(always)]
    fn load_payload<const N: usize, P: PacketBytes + ?Sized>(&self, packet: &P) -> Result<[u8; N], Reason> {
        self.must_hold(N as u32)?;
        packet.load(self.payload).ok_or(Reason::Truncated)
    }

    /// Refuses a datagram that ends before so many bytes of payload.
    #[inline(always)]
    const fn must_hold(&self, bytes: u32) -> Result<(), Reason> {
        if self.payload + bytes <= self.end {
            return Ok(());
        }
        Err(match self.fragment {
            Fragment::None => Reason::Truncated,
            Fragment::First { .. } | Fragment::Later { .. } => Reason::TinyFragment,
        })
    }
}

/// An address family whose packets can be read.
pub trait Family: Address {
    /// Reads the network header at `offset`, up to the transport header.
    ///
    /// # Errors
    ///
    /// The [`Reason`] to drop the packet.
    fn parse<P: PacketBytes + ?Sized>(packet: &P, offset: u32, extent: Extent) -> Result<Ip<Self>, Reason>;
}

impl Family for Ipv4 {
    #[inline(always)]
    fn parse<P: PacketBytes + ?Sized>(packet: &P, offset: u32, extent: Extent) -> Result<Ip<Self>, Reason> {
        ipv4::parse(packet, offset, extent)
    }
}

impl Family for Ipv6 {
    #[inline(always)]
    fn parse<P: PacketBytes + ?Sized>(packet: &P, offset: u32, extent: Extent) -> Result<Ip<Self>, Reason> {
        ipv6::parse(packet, offset, extent)
    }
}

/// Bytes of the frame from `offset` on: as many as are known to be there, if the length field of the header needs no more. A
/// field of 0 may stand for more than it can say.
#[inline(always)]
fn available<P: PacketBytes + ?Sized>(packet: &P, offset: u32, extent: Extent, field: u16) -> u32 {
    let known = packet.known_length().saturating_sub(offset);
    if extent == Extent::Whole && field != 0 && u32::from(field) <= known {
        return known;
    }
    packet.length().saturating_sub(offset)
}

/// The 16-bit number at `at` of `bytes`.
#[inline(always)]
const fn be16<const N: usize>(bytes: &[u8; N], at: usize) -> Be16 {
    Be16::from_bytes([bytes[at], bytes[at + 1]])
}

/// The 32-bit number at `at` of `bytes`.
#[inline(always)]
const fn be32<const N: usize>(bytes: &[u8; N], at: usize) -> Be32 {
    Be32::from_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

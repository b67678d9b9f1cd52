//! What the stages of a decision hand on to each other.

use bytemuck::{Pod, Zeroable};

use super::Half;
use crate::abi::{Address, Direction, FragmentKey, Ipv4, Ipv6, KeyWords, ServiceIndex};
use crate::flow_table::life::Facts;
use crate::flow_table::{Hit, Spot};
use crate::reason::Reason;

/// What rules are asked about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Question {
    /// The source of what arrives, the destination of what leaves. IPv4 in the first four bytes.
    peer: Ipv6Words,
    /// Number of the service.
    service: u32,
    /// Number of the service that the packet would be a reply of; [`Self::NONE`] if it has none.
    reverse: u32,
}

type Ipv6Words = [u64; 2];

impl Question {
    const NONE: u32 = u32::MAX;

    #[inline(always)]
    pub(super) fn new<A: Address>(peer: &A, service: ServiceIndex, reverse: Option<ServiceIndex>) -> Self {
        let reverse = match reverse {
            Some(reverse) => reverse.get(),
            None => Self::NONE,
        };
        Self { peer: peer.words(), service: service.get(), reverse }
    }

    #[inline(always)]
    pub(super) const fn service(&self) -> ServiceIndex {
        ServiceIndex::from_number(self.service)
    }

    #[inline(always)]
    pub(super) const fn reverse(&self) -> Option<ServiceIndex> {
        if self.reverse == Self::NONE { None } else { Some(ServiceIndex::from_number(self.reverse)) }
    }

    #[inline(always)]
    pub(super) fn peer_v4(&self) -> Ipv4 {
        Ipv4::from_words(self.peer)
    }

    #[inline(always)]
    pub(super) fn peer_v6(&self) -> Ipv6 {
        Ipv6::from_words(self.peer)
    }
}

/// The packet's flow: for [`track`](super::track()), and afterwards for [`begin`](super::begin()) if the rules are to say what
/// becomes of it: where a SYN is remembered beside it, or the operator has cut it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Found {
    pub(super) bucket: u32,
    pub(super) slot: u32,
    pub(super) choice: u32,
    /// 1 if there is one.
    pub(super) is_some: u32,
    pub(super) control: u64,
}

impl Found {
    #[inline(always)]
    pub(super) const fn of<P>(hit: &Hit<P>) -> Self {
        Self { bucket: hit.bucket, slot: hit.slot, choice: hit.choice, is_some: 1, control: hit.control.0 }
    }
}

/// The packet under decision: what [`read`](super::read()) has found, and what later stages add.
///
/// Programs keep it in memory of their CPU, because their stack is small and the verifier looks at each stage once, whatever
/// the one before has left in it. Nothing else runs on the CPU meanwhile: see `load_by_helper` in `firewall-ebpf`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, align(8))]
pub struct Case {
    /// Key of the packet's flow. Of an ICMP error, that of the packet that it quotes.
    pub(super) key: KeyWords,
    /// Where that flow may stand.
    pub(super) spot: Spot,
    /// The packet, as far as flows are concerned.
    pub(super) facts: Facts,
    /// What the rules are asked about.
    pub(super) question: Question,
    /// What they are asked about the packet that an ICMP error quotes.
    pub(super) quoted: Question,
    /// See [`Found`].
    pub(super) found: Found,
    /// Of a first fragment.
    pub(super) fragment: FragmentKey,
    /// Rule set that admits the packet; 0 if none does and it passes all the same where its flow has no place.
    pub(super) rule_set: u32,
    /// Low 32 bits of the generation in force, which is enough to tell apart those that live flows can have come from.
    pub(super) generation: u32,
    /// Slot of the interface, or [`UNKNOWN_INTERFACE`](crate::abi::UNKNOWN_INTERFACE).
    pub(super) slot: u32,
    /// 1 for IPv6.
    pub(super) is_ipv6: u32,
    /// Number of the [`Direction`].
    pub(super) direction: u32,
    /// Length of the frame in bytes, without what may follow an IP packet in buffers that it does not reach into.
    pub(super) length: u32,
    /// 1 for what passes without state where its flow has no place ([`MANAGEMENT`](crate::abi::MANAGEMENT)).
    pub(super) is_management: u32,
    /// Number of the [`Reason`] to drop a packet without a rule set that has a place.
    pub(super) refused: u32,
}

impl Case {
    /// Words of a case.
    pub const WORDS: usize = size_of::<Self>() / 8;

    #[inline(always)]
    pub(super) const fn half(&self) -> Half {
        Half::of_generation(self.generation as u64)
    }

    #[inline(always)]
    pub(super) const fn direction(&self) -> Direction {
        if self.direction == Direction::Ingress as u32 { Direction::Ingress } else { Direction::Egress }
    }

    /// Slot of the interface, or [`UNKNOWN_INTERFACE`](crate::abi::UNKNOWN_INTERFACE).
    #[must_use]
    #[inline(always)]
    pub const fn slot(&self) -> u32 {
        self.slot
    }

    /// Length of the frame in bytes.
    #[must_use]
    #[inline(always)]
    pub const fn length(&self) -> u32 {
        self.length
    }
}

/// What [`read`](super::read()) says about a packet, as a number that fits a register: a [`Reason`] in the lowest byte if
/// [`Self::IS_DECIDED`], and bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading(pub u32);

impl Reading {
    /// The reason stands: neither flows nor rules are asked.
    pub const IS_DECIDED: u32 = 1 << 8;
    /// The interface is in audit mode.
    pub const AUDIT: u32 = 1 << 9;
    /// It can belong to a flow.
    pub const HAS_FLOW: u32 = 1 << 10;
    /// An ICMP error.
    pub const IS_ERROR: u32 = 1 << 11;
    /// An ICMP error that passes if what it quotes does.
    pub const QUOTES: u32 = 1 << 12;
    /// The first fragment of several.
    pub const IS_FIRST_FRAGMENT: u32 = 1 << 13;
    /// A SYN-ACK with FIN: nothing without a flow.
    pub const ANSWERS_AND_ENDS: u32 = 1 << 14;

    #[inline(always)]
    pub(super) const fn has(self, bit: u32) -> bool {
        self.0 & bit != 0
    }

    #[inline(always)]
    pub(super) const fn with(self, bit: u32, is_set: bool) -> Self {
        if is_set { Self(self.0 | bit) } else { self }
    }

    #[inline(always)]
    pub(super) fn reason(self) -> Option<Reason> {
        if self.has(Self::IS_DECIDED) { Some(Reason::of_register(self.0)) } else { None }
    }
}

impl From<Reason> for Reading {
    #[inline(always)]
    fn from(reason: Reason) -> Self {
        Self(reason as u32 | Self::IS_DECIDED)
    }
}

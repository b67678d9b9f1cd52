//! What a decision needs to look up, wherever the tables live.

use crate::abi::{
    CellKey, FragmentEntry, FragmentKey, InterfaceSettings, Ipv4, Ipv6, KeyWords, ServiceIndex,
};
use crate::flow_table::Memory;
use crate::flow_table::life::Socket;

/// One of the two copies of the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Half(u32);

impl Half {
    /// The half in which a generation stands.
    #[must_use]
    #[inline(always)]
    pub const fn of_generation(generation: u64) -> Self {
        Self((generation & 1) as u32)
    }

    /// Where one of its elements stands in an arena whose halves have so many.
    #[must_use]
    #[inline(always)]
    pub const fn element(self, elements_each: u32, index: u32) -> u32 {
        self.0 * elements_each + index
    }
}

/// The tables, and what the kernel knows about the packet under decision.
pub trait Tables {
    /// The arrays of the flow table.
    type Flows: Memory;

    /// The clock, in jiffies.
    fn clock(&self) -> u64;

    /// By how many bits jiffies are shifted to be units of time.
    fn time_shift(&self) -> u32;

    /// The generation word.
    fn generation_word(&self) -> u64;

    /// When an unconfirmed generation ends, on the clock. Written before the word that makes it count.
    fn confirmation_deadline(&self) -> u64;

    /// Settings of an interface.
    fn settings(&self, half: Half, slot: u32) -> Option<&InterfaceSettings>;

    /// Service class; 0 where no rule names the service.
    fn service_class(&self, half: Half, service: ServiceIndex) -> u16;

    /// Class of an IPv4 address; 0 where no rule names it.
    fn address_class_v4(&self, half: Half, address: &Ipv4) -> u32;

    /// Class of an IPv6 address; 0 where no rule names it.
    fn address_class_v6(&self, half: Half, address: &Ipv6) -> u32;

    /// Rule set id, [`UNTRACKED`](crate::abi::UNTRACKED) and [`EXEMPT`](crate::abi::EXEMPT) bits of a cell, in a table of so
    /// many lines; 0 where no rule matches.
    fn cell(&self, half: Half, lines: u32, key: &CellKey) -> u32;

    /// A fragmented packet under way.
    fn fragment(&self, key: &FragmentKey) -> Option<FragmentEntry>;

    /// Remembers a fragmented packet. Failure is harmless: its later fragments are dropped.
    fn insert_fragment(&self, key: &FragmentKey, entry: &FragmentEntry);

    /// Forgets a fragmented packet.
    fn remove_fragment(&self, key: &FragmentKey);

    /// The flow table.
    fn flows(&self) -> &Self::Flows;

    /// What the kernel says about the socket of a flow, whose key begins at `key`, in the network namespace of the interface.
    fn socket(&self, key: SocketOf<'_, Self::Flows>) -> Socket;

    /// Adds one to an element of the map of what happened in the flow table
    /// ([`flow_event`](crate::abi::flow_event)).
    fn count_flow_event(&self, event: u32);

    /// Notes the time of a packet that found no place for its flow, if it is the first one.
    fn note_refusal(&self);

    /// Whether the egress packet under decision was received by some interface before, and not made by the host.
    fn is_forwarded(&self) -> bool;

    /// Whether it was received by the interface that it leaves by, as far as the kernel knows: a device on top of that
    /// interface (a bridge, a macvlan) hides it.
    fn was_received_here(&self) -> bool;

    /// Whether the host's routes say that the way back to the source of the egress packet under decision, the local end of
    /// its `key`, leaves by the same interface. Anything but a clear yes is a no.
    fn leads_back_here(&self, key: &KeyWords) -> bool;
}

/// The key of a flow whose socket is asked for.
pub enum SocketOf<'a, M: Memory> {
    /// The packet's own.
    Packet(&'a KeyWords),
    /// Of another flow, in its record.
    Record(M::Place),
}

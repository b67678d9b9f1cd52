//! What a decision needs to look up, wherever the tables live.

use crate::abi::{
    Address, CellKey, FlowEntry, FlowKey, FragmentEntry, FragmentKey, InterfaceSettings, Seen, ServiceIndex,
};

/// One of the two copies of the policy maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Half(u32);

impl Half {
    /// The half in which a generation stands.
    #[must_use]
    #[inline(always)]
    pub const fn of_generation(generation: u64) -> Self {
        Self((generation & 1) as u32)
    }

    /// Slot in the outer policy maps.
    #[must_use]
    #[inline(always)]
    pub const fn slot(self) -> u32 {
        self.0
    }
}

/// Which of the two flow tables of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Flows that nothing evicts.
    Assured,
    /// Flows whose initiator has not yet answered a reply; new ones push the oldest out.
    HalfOpen,
}

/// There is no room for an entry, or the table was too contended to insert one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableFull;

/// Access to one entry of a flow table, for as long as nothing is inserted into or removed from that table.
pub trait FlowHandle {
    /// A copy of the entry.
    fn read(&self) -> FlowEntry;

    /// Overwrites the entry.
    fn write(&self, entry: &FlowEntry);

    /// Overwrites [`FlowEntry::last_seen`] alone.
    fn touch(&self, now: u32);
}

/// The tables that serve both address families.
pub trait Tables {
    /// The clock, in jiffies.
    fn clock(&self) -> u64;

    /// The generation word.
    fn generation_word(&self) -> u64;

    /// When an unconfirmed generation ends, on the clock. Written before the word that makes it count.
    fn confirmation_deadline(&self) -> u64;

    /// Settings of an interface.
    fn settings(&self, half: Half, slot: u32) -> Option<&InterfaceSettings>;

    /// Service class; 0 where no rule names the service.
    fn service_class(&self, half: Half, service: ServiceIndex) -> u16;

    /// Rule set id, [`UNTRACKED`](crate::abi::UNTRACKED) and [`EXEMPT`](crate::abi::EXEMPT) bits of a cell; 0 where no
    /// rule matches.
    fn cell(&self, half: Half, key: &CellKey) -> u32;

    /// The mark of a slot of recent flows. It is another one once [`Self::draw_recent_mark`] was called, or user space
    /// has had all recent flows forgotten.
    fn recent_mark(&self, slot: u32) -> u32;

    /// Makes the mark of a slot of recent flows another one.
    fn draw_recent_mark(&self, slot: u32);

    /// A fragmented packet under way.
    fn fragment(&self, key: &FragmentKey) -> Option<FragmentEntry>;

    /// Remembers a fragmented packet. Failure is harmless: its later fragments are dropped.
    fn insert_fragment(&self, key: &FragmentKey, entry: &FragmentEntry);

    /// Forgets a fragmented packet.
    fn remove_fragment(&self, key: &FragmentKey);
}

/// The tables of one address family.
pub trait FlowTables<A: Address>: Tables {
    /// Access to an entry.
    type Handle: FlowHandle;

    /// Address class; 0 where no rule names the address.
    fn address_class(&self, half: Half, address: &A) -> u32;

    /// Whether the egress packet under decision was received by the interface that it leaves by, as far as the kernel knows:
    /// a device on top of that interface (a bridge, a macvlan) hides it.
    fn was_received_here(&self) -> bool;

    /// Whether the host's routes say that the way back to the `source` of the egress packet under decision leaves by the same
    /// interface. Anything but a clear yes is a no.
    fn leads_back_here(&self, source: &A, destination: &A) -> bool;

    /// Finds a flow.
    fn flow(&self, table: Table, key: &FlowKey<A>) -> Option<Self::Handle>;

    /// Inserts a flow, or overwrites it.
    ///
    /// # Errors
    ///
    /// [`TableFull`] where the table cannot take it.
    fn insert_flow(&self, table: Table, key: &FlowKey<A>, entry: &FlowEntry) -> Result<(), TableFull>;

    /// Removes a flow, if it is there.
    fn remove_flow(&self, table: Table, key: &FlowKey<A>);

    /// When the table of assured flows last had no room, in jiffies; 0 for never.
    fn pressure(&self) -> u32;

    /// Records that the table of assured flows has no room.
    fn set_pressure(&self, now: u32);

    /// What this CPU remembers of a flow, if it is the last one that it has seen in the slot.
    fn recent(&self, slot: u32, key: &FlowKey<A>) -> Option<Seen>;

    /// Remembers a flow as the last one that this CPU has seen in the slot.
    fn remember(&self, slot: u32, key: &FlowKey<A>, seen: Seen);

    /// A number that is another one once a flow has become assured.
    fn promotion(&self) -> u32;

    /// Makes [`Self::promotion`] another number: after a flow was inserted among the assured ones, and before it is removed
    /// from the half-open ones.
    fn mark_promotion(&self);
}

//! Types and numbers shared by the eBPF programs and user space: map keys, map values, map names and sizes.
//!
//! Every type is `#[repr(C)]`, free of implicit padding (the bytemuck derives prove it) and has its size asserted. What
//! the programs build on their stack is aligned to 8 bytes: they may be compiled to write it 8 bytes at a time, which the
//! verifier allows only at multiples of 8. A change of any layout, or of what a number in it means, must raise [`ABI_VERSION`]: pinned maps of
//! another version are never used.

mod address;
mod flow;
mod intervals;
mod policy;
mod recent;

use crate::reason::Decision;

pub use address::{Address, Be16, Be32, Ipv4, Ipv6};
pub use flow::{FlowEntry, FlowKey, FragmentEntry, FragmentKey, flow_flag, query_from};
pub use intervals::{CHILD_NODE, INTERVAL_NODE_ENTRIES, IntervalNode, class_in};
pub use policy::{
    CellKey, EXEMPT, InterfaceSettings, RULE_SET, SERVICE_CHUNK, SERVICE_CHUNKS, SERVICE_INDEXES,
    ServiceIndex, Timeouts, UNTRACKED, UntrackedServices, exempt_flag, interface_flag,
};
pub use recent::{RECENT_SLOTS, RecentFlow, Seen, recent_slot};

/// Version of everything in this module. Pins live in a directory named after it.
pub const ABI_VERSION: u32 = 6;

/// Interfaces that one instance can protect; a program's `SLOT` is below it.
pub const MAX_INTERFACES: u32 = 256;

/// Counters per interface and direction: one for each [`Reason`](crate::reason::Reason), with room for new ones.
pub const REASON_SLOTS: u32 = 64;

/// Entries of each table of assured flows, unless the operator chooses another size at first attach.
pub const DEFAULT_FLOW_ENTRIES: u32 = 262_144;

/// Entries of each table of half-open flows.
pub const HALF_OPEN_ENTRIES: u32 = 65_536;

/// Entries of the table of fragmented packets under way.
pub const FRAGMENT_ENTRIES: u32 = 8_192;

/// Names of the maps as the BPF object declares them and as they are pinned.
pub mod map {
    /// `ARRAY[3] u64`: the generation word, the deadline of an [`UNCONFIRMED`](super::UNCONFIRMED) generation as jiffies
    /// of the kernel's 64-bit clock, and how often user space has had all CPUs forget their recent flows. The lowest bit
    /// of a generation is its half; 0 means that nothing was published.
    pub const GENERATION: &str = "GENERATION";
    /// `ARRAY_OF_MAPS[3] ARRAY`: nodes of the tree IPv4 address → address class
    /// ([`IntervalNode`](super::IntervalNode)), by half.
    pub const ADDRESSES_V4: &str = "ADDRESSES_V4";
    /// `ARRAY_OF_MAPS[3] LPM_TRIE`: IPv6 prefix → address class, by half.
    pub const ADDRESSES_V6: &str = "ADDRESSES_V6";
    /// `ARRAY_OF_MAPS[3] ARRAY`: service index → service class, by half.
    pub const SERVICES: &str = "SERVICES";
    /// `ARRAY_OF_MAPS[3] HASH`: [`CellKey`](super::CellKey) → rule set id, by half.
    pub const CELLS: &str = "CELLS";
    /// `ARRAY_OF_MAPS[3] ARRAY`: slot → [`InterfaceSettings`](super::InterfaceSettings), by half.
    pub const SETTINGS: &str = "SETTINGS";
    /// `HASH`: assured IPv4 flows, which nothing evicts.
    pub const FLOWS_V4: &str = "FLOWS_V4";
    /// `HASH`: assured IPv6 flows, which nothing evicts.
    pub const FLOWS_V6: &str = "FLOWS_V6";
    /// `LRU_HASH`: IPv4 flows whose initiator has not yet answered a reply.
    pub const HALF_OPEN_V4: &str = "HALF_OPEN_V4";
    /// `LRU_HASH`: IPv6 flows whose initiator has not yet answered a reply.
    pub const HALF_OPEN_V6: &str = "HALF_OPEN_V6";
    /// `ARRAY[2] u32`: jiffies at which a table of assured flows last had no room, IPv4 and IPv6; 0 for never.
    pub const PRESSURE: &str = "PRESSURE";
    /// `ARRAY[2] u32`: a number that is drawn anew whenever a flow becomes assured, IPv4 and IPv6.
    pub const PROMOTION: &str = "PROMOTION";
    /// `PERCPU_ARRAY`: IPv4 flows that a CPU has seen last, by slot ([`RecentFlow`](super::RecentFlow)).
    pub const RECENT_V4: &str = "RECENT_V4";
    /// `PERCPU_ARRAY`: IPv6 flows that a CPU has seen last, by slot.
    pub const RECENT_V6: &str = "RECENT_V6";
    /// `ARRAY u32`: for each slot of recent flows a number that is drawn anew whenever a flow of it changes.
    pub const RECENT_MARKS: &str = "RECENT_MARKS";
    /// `LRU_HASH`: fragmented packets whose first fragment was admitted.
    pub const FRAGMENTS: &str = "FRAGMENTS";
    /// `PERCPU_ARRAY`: packets and bytes by interface slot, direction and reason.
    pub const COUNTERS: &str = "COUNTERS";
}

/// Bit of the generation word: the generation has not been confirmed. Once its deadline has passed, the generation before
/// it is in force, which stands in the other half.
pub const UNCONFIRMED: u64 = 1 << 63;

/// Index of the generation word in its map.
pub const GENERATION_WORD: u32 = 0;

/// Index of the deadline in the map of the generation word.
pub const CONFIRMATION_DEADLINE: u32 = 1;

/// Index, in the map of the generation word, of what counts how often user space has invalidated the recent flows of
/// all CPUs.
pub const RECENT_EPOCH: u32 = 2;

/// Slots of the outer policy maps: two halves, and one that programs never read. Writing the third makes the kernel
/// wait for all running programs, which is how a publisher waits out readers of the half it retired.
pub const POLICY_SLOTS: u32 = 3;

/// The slot of the outer policy maps that programs never read.
pub const BARRIER_SLOT: u32 = 2;

/// Direction of a packet, seen from the protected host. The number is part of map keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Direction {
    /// Arriving at the interface.
    Ingress = 0,
    /// Leaving by the interface.
    Egress = 1,
}

impl Direction {
    /// The other direction.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Ingress => Self::Egress,
            Self::Egress => Self::Ingress,
        }
    }

    /// `ingress` or `egress`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

/// Packets and bytes of one (interface, direction, reason), per CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Counter {
    /// Packets decided.
    pub packets: u64,
    /// Their lengths as the hook sees them, link header included.
    pub bytes: u64,
}

/// Between the counter of a reason to drop and the counter of packets that audit mode has passed in spite of it.
pub const AUDITED_OFFSET: u32 = 24;

/// Index into the map of [`Counter`]s.
#[must_use]
#[inline(always)]
pub const fn counter_index(slot: u32, direction: Direction, decision: Decision) -> u32 {
    let offset = if decision.is_audited() { AUDITED_OFFSET } else { 0 };
    (slot * 2 + direction as u32) * REASON_SLOTS + decision.reason() as u32 + offset
}

const _: () = assert!(size_of::<Counter>() == 16);

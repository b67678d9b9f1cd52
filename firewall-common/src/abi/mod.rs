//! Types and numbers shared by the eBPF programs and user space: map keys, map values, map names and sizes.
//!
//! Every type is `#[repr(C)]`, free of implicit padding (the bytemuck derives prove it) and has its size asserted. What
//! the programs build on their stack is aligned to 8 bytes: they may be compiled to write it 8 bytes at a time, which the
//! verifier allows only at multiples of 8. A change of any layout, or of what a number in it means, must raise [`ABI_VERSION`]: pinned maps of
//! another version are never used.

mod address;
mod arena;
mod flow;
mod hashed;
mod interface;
mod intervals;
mod policy;

use crate::reason::Decision;

pub use address::{Address, Be16, Be32, Ipv4, Ipv6};
pub use arena::{HALVES, LEAST_CELL_LINES, LEAST_INTERVAL_NODES, LEAST_PREFIX_LINES, RECEIPT_WORDS};
pub use flow::{
    AnyFlowKey, FlowKey, FragmentEntry, FragmentKey, KEY_IS_IPV6, KEY_WORDS, KeyWords, query_from,
};
pub use hashed::{
    CELLS_OF_LINE, CellLine, LENGTH_NODES, LINES_SEARCHED, LengthNode, PREFIXES_OF_LINE, PrefixLine,
    cell_hash, cell_in, class_in_v6, first_line, line_behind, prefix_hash, prefix_in,
};
pub use interface::{ANY_SLOT, INTERFACE_LINE_ENTRIES, INTERFACE_LINES, InterfaceEntry, UNKNOWN_INTERFACE};
pub use intervals::{
    CHILD_NODE, INTERVAL_NODE_ENTRIES, IntervalNode, UPPER_HALF_LINES, UpperHalves, class_in,
};
pub use policy::{
    CellKey, EXEMPT, InterfaceSettings, MANAGEMENT, RULE_SET, SERVICE_CHUNK, SERVICE_CHUNKS, SERVICE_INDEXES,
    ServiceIndex, UNTRACKED, UntrackedServices, exempt_flag, interface_flag,
};

/// Version of everything in this module. Pins live in a directory named after it.
pub const ABI_VERSION: u32 = 6;

/// Interfaces that one instance can protect; their slots are below it.
pub const MAX_INTERFACES: u32 = 256;

/// Counters per interface and direction: one for each [`Reason`](crate::reason::Reason), with room for new ones.
pub const REASON_SLOTS: u32 = 64;

/// Live flows of both families for which the flow table has places at the least, unless the operator chooses another number
/// at first attach.
pub const DEFAULT_FLOW_ENTRIES: u32 = 262_144;

/// Entries of the table of fragmented packets under way.
pub const FRAGMENT_ENTRIES: u32 = 8_192;

/// Names of the maps as the BPF object declares them and as they are pinned.
pub mod map {
    /// `ARRAY[2] u64`, mmap-able: the generation word, and the deadline of an [`UNCONFIRMED`](super::UNCONFIRMED) generation
    /// as jiffies of the kernel's 64-bit clock. The lowest bit of a generation is its half; 0 means that nothing was published.
    pub const GENERATION: &str = "GENERATION";
    /// `ARRAY[256] u64[8]`, mmap-able: index of an interface → its slot, and what its frames begin with
    /// ([`InterfaceEntry`](super::InterfaceEntry)).
    pub const INTERFACES: &str = "INTERFACES";
    /// Arena (an mmap-able `ARRAY` of both halves of the policy, one behind the other): upper half of an IPv4 address → address
    /// class, or number of a node ([`UpperHalves`](super::UpperHalves)).
    pub const ADDRESSES_V4: &str = "ADDRESSES_V4";
    /// Arena of any size: the nodes of [`ADDRESSES_V4`] ([`IntervalNode`](super::IntervalNode)).
    pub const INTERVALS_V4: &str = "INTERVALS_V4";
    /// Arena: the lengths of IPv6 prefixes that occur ([`LengthNode`](super::LengthNode)).
    pub const LENGTHS_V6: &str = "LENGTHS_V6";
    /// Arena of any size: IPv6 prefix → address class ([`PrefixLine`](super::PrefixLine)).
    pub const ADDRESSES_V6: &str = "ADDRESSES_V6";
    /// Arena: service index → service class.
    pub const SERVICES: &str = "SERVICES";
    /// Arena of any size: [`CellKey`](super::CellKey) → rule set id ([`CellLine`](super::CellLine)).
    pub const CELLS: &str = "CELLS";
    /// Arena: slot → [`InterfaceSettings`](super::InterfaceSettings).
    pub const SETTINGS: &str = "SETTINGS";
    /// `ARRAY_OF_MAPS[1]` that no program reads: whoever puts a map there waits until the programs that run have ended.
    pub const BARRIER: &str = "BARRIER";
    /// `ARRAY[1]` that no program reads: for which generation its publisher has waited like that.
    pub const RECEIPT: &str = "RECEIPT";
    /// `ARRAY[1]` that no program reads: the secrets and the sizes of the flow table, from which its programs' constants are
    /// set at each load ([`TableParameters`](crate::flow_table::layout::TableParameters)).
    pub const FLOW_TABLE: &str = "FLOW_TABLE";
    /// `ARRAY`, mmap-able: a filter for each bucket of the flow table ([`flow_table`](crate::flow_table)).
    pub const FLOW_FILTERS: &str = "FLOW_FILTERS";
    /// `ARRAY`, mmap-able: for each bucket the four slots of its flows ([`Line`](crate::flow_table::Line)).
    pub const FLOW_LINES: &str = "FLOW_LINES";
    /// `ARRAY`, mmap-able: for each bucket what stands beside its flows ([`Details`](crate::flow_table::layout::Details)).
    pub const FLOW_DETAILS: &str = "FLOW_DETAILS";
    /// `ARRAY`, mmap-able: for each slot the key of its flow ([`Record`](crate::flow_table::Record)).
    pub const FLOW_RECORDS: &str = "FLOW_RECORDS";
    /// `PERCPU_ARRAY[16] u64`: what happened in the flow table since it was made ([`flow_event`](super::flow_event)).
    pub const FLOW_EVENTS: &str = "FLOW_EVENTS";
    /// `LRU_HASH`: fragmented packets whose first fragment was admitted.
    pub const FRAGMENTS: &str = "FRAGMENTS";
    /// `PERCPU_ARRAY`: packets and bytes by interface slot, direction and reason; the last slot is
    /// [`UNKNOWN_INTERFACE`](super::UNKNOWN_INTERFACE).
    pub const COUNTERS: &str = "COUNTERS";
}

/// Bit of the generation word: the generation has not been confirmed. Once its deadline has passed, the generation before
/// it is in force, which stands in the other half.
pub const UNCONFIRMED: u64 = 1 << 63;

/// Index of the generation word in its map.
pub const GENERATION_WORD: u32 = 0;

/// Index of the deadline in the map of the generation word.
pub const CONFIRMATION_DEADLINE: u32 = 1;

/// Elements of the map of what happened in the flow table.
pub mod flow_event {
    /// From here on, by number of the class: flows that began in the place of one of that
    /// [`Class`](crate::flow_table::Class).
    pub const BEGUN_IN_PLACE_OF: u32 = 0;
    /// Packets dropped because all places of their flow held protected ones.
    pub const REFUSED: u32 = 12;
    /// When a CPU first refused one, as jiffies of the kernel's 64-bit clock; 0 for never.
    pub const FIRST_REFUSED_AT: u32 = 13;
    /// How many elements there are.
    pub const COUNT: u32 = 16;
}

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

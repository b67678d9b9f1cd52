//! The maps. Their names are those of [`firewall_common::abi::map`]; their contents are explained there.

use aya_ebpf::bindings::BPF_F_NO_COMMON_LRU;
use aya_ebpf::btf_maps::{Array, ArrayOfMaps, LruHashMap, PerCpuArray};
use aya_ebpf::macros::btf_map;
use firewall_common::abi::{
    CellLine, Counter, DEFAULT_FLOW_ENTRIES, FRAGMENT_ENTRIES, FragmentEntry, FragmentKey, HALVES,
    INTERFACE_LINE_ENTRIES, INTERFACE_LINES, InterfaceSettings, IntervalNode, KEY_WORDS, LEAST_CELL_LINES,
    LEAST_INTERVAL_NODES, LEAST_PREFIX_LINES, LENGTH_NODES, LengthNode, MAX_INTERFACES, PrefixLine,
    REASON_SLOTS, RECEIPT_WORDS, SERVICE_CHUNK, SERVICE_CHUNKS, UPPER_HALF_LINES, UpperHalves, flow_event,
};
use firewall_common::decide::Case;
use firewall_common::flow_table::Geometry;
use firewall_common::packet::Walk;

/// Of the template; the loader makes the arrays as large as the operator wants them.
const BUCKETS: usize = Geometry::for_entries(DEFAULT_FLOW_ENTRIES).buckets() as usize;
const FLOW_SLOTS: usize = Geometry::for_entries(DEFAULT_FLOW_ENTRIES).slots() as usize;
const FLOW_EVENT_COUNT: usize = flow_event::COUNT as usize;
const FRAGMENTED: usize = FRAGMENT_ENTRIES as usize;
/// Elements of an arena whose halves have so many.
const fn of_both(elements_each: u32) -> usize {
    (HALVES * elements_each) as usize
}
/// One slot more than there are interfaces.
const COUNTED: usize = ((MAX_INTERFACES + 1) * 2 * REASON_SLOTS) as usize;
const INTERFACE_TABLE: usize = INTERFACE_LINES as usize;
const MMAPABLE: usize = aya_ebpf::bindings::BPF_F_MMAPABLE as usize;
/// Each CPU keeps its own list of entries: a flood on one CPU does not contend with the others.
const LRU_PER_CPU: usize = BPF_F_NO_COMMON_LRU as usize;

#[btf_map]
pub static GENERATION: Array<u64, 2, MMAPABLE> = Array::new();

#[btf_map]
pub static INTERFACES: Array<[u64; INTERFACE_LINE_ENTRIES], INTERFACE_TABLE, MMAPABLE> = Array::new();

#[btf_map]
pub static ADDRESSES_V4: Array<UpperHalves, { of_both(UPPER_HALF_LINES) }, MMAPABLE> = Array::new();

#[btf_map]
pub static INTERVALS_V4: Array<IntervalNode, { of_both(LEAST_INTERVAL_NODES) }, MMAPABLE> = Array::new();

#[btf_map]
pub static LENGTHS_V6: Array<LengthNode, { of_both(LENGTH_NODES as u32) }, MMAPABLE> = Array::new();

#[btf_map]
pub static ADDRESSES_V6: Array<PrefixLine, { of_both(LEAST_PREFIX_LINES) }, MMAPABLE> = Array::new();

#[btf_map]
pub static SERVICES: Array<[u16; SERVICE_CHUNK], { of_both(SERVICE_CHUNKS) }, MMAPABLE> = Array::new();

#[btf_map]
pub static CELLS: Array<CellLine, { of_both(LEAST_CELL_LINES) }, MMAPABLE> = Array::new();

#[btf_map]
pub static SETTINGS: Array<InterfaceSettings, { of_both(MAX_INTERFACES) }, MMAPABLE> = Array::new();

/// No program reads it.
#[btf_map]
pub static BARRIER: ArrayOfMaps<Array<[u64; RECEIPT_WORDS], 1, MMAPABLE>, 1> = ArrayOfMaps::new();

#[btf_map]
pub static FLOW_FILTERS: Array<u64, BUCKETS, MMAPABLE> = Array::new();

#[btf_map]
pub static FLOW_LINES: Array<[u64; 8], BUCKETS, MMAPABLE> = Array::new();

#[btf_map]
pub static FLOW_DETAILS: Array<[u64; 8], BUCKETS, MMAPABLE> = Array::new();

#[btf_map]
pub static FLOW_RECORDS: Array<[u64; KEY_WORDS], FLOW_SLOTS, MMAPABLE> = Array::new();

#[btf_map]
pub static FLOW_EVENTS: PerCpuArray<u64, FLOW_EVENT_COUNT> = PerCpuArray::new();

#[btf_map]
pub static FRAGMENTS: LruHashMap<FragmentKey, FragmentEntry, FRAGMENTED, LRU_PER_CPU> = LruHashMap::new();

#[btf_map]
pub static COUNTERS: PerCpuArray<Counter, COUNTED> = PerCpuArray::new();

/// Bytes that one load of a packet can take.
pub const SCRATCH_BYTES: usize = 64;

/// Where helpers write the packet bytes that do not lie in linear memory. Private to the program, never pinned.
#[btf_map]
pub static SCRATCH: PerCpuArray<[u64; SCRATCH_BYTES / 8], 1> = PerCpuArray::new();

/// The walk along the extension headers of the packet. Private to the program, never pinned.
#[btf_map]
pub static WALK: PerCpuArray<[u64; Walk::WORDS], 1> = PerCpuArray::new();

/// The packet under decision. Private to the program, never pinned.
#[btf_map]
pub static CASE: PerCpuArray<[u64; Case::WORDS], 1> = PerCpuArray::new();

//! The maps. Their names are those of [`firewall_common::abi::map`]; their contents are explained there.

use aya_ebpf::bindings::{BPF_F_INNER_MAP, BPF_F_NO_COMMON_LRU};
use aya_ebpf::btf_maps::{Array, ArrayOfMaps, LruHashMap, PerCpuArray};
use aya_ebpf::macros::btf_map;
use firewall_common::abi::{
    CellLine, Counter, DEFAULT_FLOW_ENTRIES, FRAGMENT_ENTRIES, FragmentEntry, FragmentKey,
    INTERFACE_LINE_ENTRIES, INTERFACE_LINES, InterfaceSettings, IntervalNode, KEY_WORDS, LENGTH_NODES,
    LengthNode, MAX_INTERFACES, POLICY_SLOTS, PrefixLine, REASON_SLOTS, SERVICE_CHUNK, SERVICE_CHUNKS,
    UPPER_HALF_LINES, UpperHalves, flow_event,
};
use firewall_common::decide::Case;
use firewall_common::flow_table::Geometry;
use firewall_common::packet::Walk;

const SLOTS: usize = POLICY_SLOTS as usize;
/// Of the template; the loader makes the arrays as large as the operator wants them.
const BUCKETS: usize = Geometry::for_entries(DEFAULT_FLOW_ENTRIES).buckets() as usize;
const FLOW_SLOTS: usize = Geometry::for_entries(DEFAULT_FLOW_ENTRIES).slots() as usize;
const FLOW_EVENT_COUNT: usize = flow_event::COUNT as usize;
const FRAGMENTED: usize = FRAGMENT_ENTRIES as usize;
const SETTING_SLOTS: usize = MAX_INTERFACES as usize;
const UPPER_HALVES: usize = UPPER_HALF_LINES as usize;
const SERVICE_ELEMENTS: usize = SERVICE_CHUNKS as usize;
/// One slot more than there are interfaces.
const COUNTED: usize = ((MAX_INTERFACES + 1) * 2 * REASON_SLOTS) as usize;
const INTERFACE_TABLE: usize = INTERFACE_LINES as usize;
const MMAPABLE: usize = aya_ebpf::bindings::BPF_F_MMAPABLE as usize;
/// An array that may be put in the place of one of another size. The kernel does not inline lookups in it.
const ANY_SIZE: usize = BPF_F_INNER_MAP as usize;
/// Each CPU keeps its own list of entries: a flood on one CPU does not contend with the others.
const LRU_PER_CPU: usize = BPF_F_NO_COMMON_LRU as usize;

/// Words of 32 bits in the place of a structure. Where the template of an inner map has one as its value, kernels before 6.6
/// take no inner map whose value has no type, as user space makes them (`bpf_map_meta_equal`, `timer_off`).
pub type Words<const N: usize> = [u32; N];

const fn words<T>() -> usize {
    assert!(align_of::<T>() <= 8 && size_of::<T>().is_multiple_of(4));
    size_of::<T>() / 4
}

// Inner maps of a policy half. Nodes, prefixes and cells are created with as many elements as the policy needs; their sizes
// here are only those of the template. The other arrays keep their size, so the kernel can inline the lookup.
pub type AddressesV4 = Array<UpperHalves, UPPER_HALVES, MMAPABLE>;
pub type IntervalsV4 = Array<Words<{ words::<IntervalNode>() }>, 1, { ANY_SIZE | MMAPABLE }>;
pub type LengthsV6 = Array<Words<{ words::<LengthNode>() }>, LENGTH_NODES, MMAPABLE>;
pub type AddressesV6 = Array<Words<{ words::<PrefixLine>() }>, 1, { ANY_SIZE | MMAPABLE }>;
pub type Services = Array<[u16; SERVICE_CHUNK], SERVICE_ELEMENTS, MMAPABLE>;
pub type Cells = Array<Words<{ words::<CellLine>() }>, 1, { ANY_SIZE | MMAPABLE }>;
pub type Settings = Array<Words<{ words::<InterfaceSettings>() }>, SETTING_SLOTS>;

#[btf_map]
pub static GENERATION: Array<u64, 2, MMAPABLE> = Array::new();

#[btf_map]
pub static INTERFACES: Array<[u64; INTERFACE_LINE_ENTRIES], INTERFACE_TABLE, MMAPABLE> = Array::new();

#[btf_map]
pub static ADDRESSES_V4: ArrayOfMaps<AddressesV4, SLOTS> = ArrayOfMaps::new();

#[btf_map]
pub static INTERVALS_V4: ArrayOfMaps<IntervalsV4, SLOTS> = ArrayOfMaps::new();

#[btf_map]
pub static LENGTHS_V6: ArrayOfMaps<LengthsV6, SLOTS> = ArrayOfMaps::new();

#[btf_map]
pub static ADDRESSES_V6: ArrayOfMaps<AddressesV6, SLOTS> = ArrayOfMaps::new();

#[btf_map]
pub static SERVICES: ArrayOfMaps<Services, SLOTS> = ArrayOfMaps::new();

#[btf_map]
pub static CELLS: ArrayOfMaps<Cells, SLOTS> = ArrayOfMaps::new();

#[btf_map]
pub static SETTINGS: ArrayOfMaps<Settings, SLOTS> = ArrayOfMaps::new();

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

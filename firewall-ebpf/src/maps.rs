//! The maps. Their names are those of [`firewall_common::abi::map`]; their contents are explained there.

use aya_ebpf::bindings::{BPF_F_INNER_MAP, BPF_F_NO_COMMON_LRU, BPF_F_NO_PREALLOC};
use aya_ebpf::btf_maps::{Array, ArrayOfMaps, HashMap, LpmTrie, LruHashMap, PerCpuArray};
use aya_ebpf::macros::btf_map;
use firewall_common::abi::{
    CellKey, Counter, DEFAULT_FLOW_ENTRIES, FRAGMENT_ENTRIES, FlowEntry, FlowKey, FragmentEntry, FragmentKey,
    HALF_OPEN_ENTRIES, InterfaceSettings, IntervalNode, Ipv4, Ipv6, MAX_INTERFACES, POLICY_SLOTS,
    REASON_SLOTS, RECENT_SLOTS, RecentFlow, SERVICE_CHUNK, SERVICE_CHUNKS,
};

const SLOTS: usize = POLICY_SLOTS as usize;
const FLOWS: usize = DEFAULT_FLOW_ENTRIES as usize;
const HALF_OPEN: usize = HALF_OPEN_ENTRIES as usize;
const FRAGMENTED: usize = FRAGMENT_ENTRIES as usize;
const INTERFACES: usize = MAX_INTERFACES as usize;
const SERVICE_ELEMENTS: usize = SERVICE_CHUNKS as usize;
const COUNTED: usize = (MAX_INTERFACES * 2 * REASON_SLOTS) as usize;
const RECENT: usize = RECENT_SLOTS as usize;
const MMAPABLE: usize = aya_ebpf::bindings::BPF_F_MMAPABLE as usize;
/// An array that may be put in the place of one of another size. The kernel does not inline lookups in it.
const ANY_SIZE: usize = BPF_F_INNER_MAP as usize;
const NO_PREALLOC: usize = BPF_F_NO_PREALLOC as usize;
/// Each CPU keeps its own list of entries: a flood on one CPU does not contend with the others.
const LRU_PER_CPU: usize = BPF_F_NO_COMMON_LRU as usize;

// Inner maps of a policy half. Trees, tries and hashes are created with as many entries as the policy has; the sizes here
// are only those of the template. The other arrays keep their size, so the kernel can inline the lookup.
pub type AddressesV4 = Array<IntervalNode, 1, { ANY_SIZE | MMAPABLE }>;
pub type AddressesV6 = LpmTrie<Ipv6, u32, 1>;
pub type Services = Array<[u16; SERVICE_CHUNK], SERVICE_ELEMENTS, MMAPABLE>;
pub type Cells = HashMap<CellKey, u32, 1, NO_PREALLOC>;
pub type Settings = Array<InterfaceSettings, INTERFACES>;

#[btf_map]
pub static GENERATION: Array<u64, 3> = Array::new();

#[btf_map]
pub static ADDRESSES_V4: ArrayOfMaps<AddressesV4, SLOTS> = ArrayOfMaps::new();

#[btf_map]
pub static ADDRESSES_V6: ArrayOfMaps<AddressesV6, SLOTS> = ArrayOfMaps::new();

#[btf_map]
pub static SERVICES: ArrayOfMaps<Services, SLOTS> = ArrayOfMaps::new();

#[btf_map]
pub static CELLS: ArrayOfMaps<Cells, SLOTS> = ArrayOfMaps::new();

#[btf_map]
pub static SETTINGS: ArrayOfMaps<Settings, SLOTS> = ArrayOfMaps::new();

#[btf_map]
pub static FLOWS_V4: HashMap<FlowKey<Ipv4>, FlowEntry, FLOWS> = HashMap::new();

#[btf_map]
pub static FLOWS_V6: HashMap<FlowKey<Ipv6>, FlowEntry, FLOWS> = HashMap::new();

#[btf_map]
pub static HALF_OPEN_V4: LruHashMap<FlowKey<Ipv4>, FlowEntry, HALF_OPEN, LRU_PER_CPU> = LruHashMap::new();

#[btf_map]
pub static HALF_OPEN_V6: LruHashMap<FlowKey<Ipv6>, FlowEntry, HALF_OPEN, LRU_PER_CPU> = LruHashMap::new();

#[btf_map]
pub static PRESSURE: Array<u32, 2> = Array::new();

#[btf_map]
pub static PROMOTION: Array<u32, 2> = Array::new();

#[btf_map]
pub static RECENT_V4: PerCpuArray<RecentFlow<Ipv4>, RECENT> = PerCpuArray::new();

#[btf_map]
pub static RECENT_V6: PerCpuArray<RecentFlow<Ipv6>, RECENT> = PerCpuArray::new();

#[btf_map]
pub static RECENT_MARKS: Array<u32, RECENT> = Array::new();

#[btf_map]
pub static FRAGMENTS: LruHashMap<FragmentKey, FragmentEntry, FRAGMENTED, LRU_PER_CPU> = LruHashMap::new();

#[btf_map]
pub static COUNTERS: PerCpuArray<Counter, COUNTED> = PerCpuArray::new();

/// Bytes that one load of a packet can take.
pub const SCRATCH_BYTES: usize = 64;

/// Where helpers write the packet bytes that do not lie in linear memory. Private to the program, never pinned.
#[btf_map]
pub static SCRATCH: PerCpuArray<[u8; SCRATCH_BYTES], 1> = PerCpuArray::new();

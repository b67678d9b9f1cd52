//! The kernel's maps as the [`Tables`] of a decision.

use core::ptr;

use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::helpers::{bpf_get_prandom_u32, bpf_jiffies64};
use firewall_common::abi::{
    Address, CONFIRMATION_DEADLINE, CellKey, FlowEntry, FlowKey, FragmentEntry, FragmentKey, GENERATION_WORD,
    InterfaceSettings, Ipv4, Ipv6, RECENT_EPOCH, RecentFlow, SERVICE_CHUNK, Seen, ServiceIndex, class_in,
};
use firewall_common::decide::{FlowHandle, FlowTables, Half, Table, TableFull, Tables};

use crate::maps;
use crate::packet::HookPacket;

const BPF_ANY: u64 = 0;

/// The maps of this instance, and the host's routes as they are for the packet.
pub struct KernelTables<P>(pub P);

/// An element of a flow map.
///
/// The pointer stays valid memory while the program runs, but the map may give the element to another flow after a
/// removal, an eviction or an expiry on another CPU. What is written then lands in a fresh entry of that flow: it may
/// be judged once by the state of this one, of the same table. Its next packet goes on from there, but flag bits that
/// were written into the reused element stay wrong for as long as that flow lives.
pub struct Handle(*mut FlowEntry);

impl FlowHandle for Handle {
    #[inline(always)]
    fn read(&self) -> FlowEntry {
        // SAFETY: see `Handle`; volatile because other CPUs write the element.
        unsafe { ptr::read_volatile(self.0) }
    }

    #[inline(always)]
    fn write(&self, entry: &FlowEntry) {
        // SAFETY: see `Handle`. `rule_set` and `generation` never change in the life of a flow.
        unsafe {
            ptr::write_volatile(&raw mut (*self.0).last_seen, entry.last_seen);
            ptr::write_volatile(&raw mut (*self.0).handshake, entry.handshake);
            ptr::write_volatile(&raw mut (*self.0).state, entry.state);
            ptr::write_volatile(&raw mut (*self.0).flags, entry.flags);
        }
    }

    #[inline(always)]
    fn touch(&self, now: u32) {
        // SAFETY: see `Handle`.
        unsafe { ptr::write_volatile(&raw mut (*self.0).last_seen, now) }
    }
}

impl<P: HookPacket> Tables for KernelTables<P> {
    #[inline(always)]
    fn clock(&self) -> u64 {
        // SAFETY: the helper takes nothing and returns a number. The JIT inlines it.
        unsafe { bpf_jiffies64() }
    }

    #[inline(always)]
    fn generation_word(&self) -> u64 {
        generation_element(GENERATION_WORD)
    }

    #[inline(always)]
    fn confirmation_deadline(&self) -> u64 {
        generation_element(CONFIRMATION_DEADLINE)
    }

    #[inline(always)]
    fn settings(&self, half: Half, slot: u32) -> Option<&InterfaceSettings> {
        maps::SETTINGS.get_value(half.slot(), &slot)
    }

    #[inline(always)]
    fn service_class(&self, half: Half, service: ServiceIndex) -> u16 {
        let index = service.get() as usize;
        let chunk = (index / SERVICE_CHUNK) as u32;
        maps::SERVICES.get_value(half.slot(), &chunk).map_or(0, |classes| classes[index % SERVICE_CHUNK])
    }

    #[inline(always)]
    fn cell(&self, half: Half, key: &CellKey) -> u32 {
        let Some(cells) = maps::CELLS.get(half.slot()) else {
            return 0;
        };
        // SAFETY: a policy map is filled before it is published and never changed afterwards.
        unsafe { cells.get(key) }.copied().unwrap_or(0)
    }

    #[inline(always)]
    fn recent_mark(&self, slot: u32) -> u32 {
        let drawn = maps::RECENT_MARKS.get_ptr(slot).map_or(0, |mark| {
            // SAFETY: an array element; volatile because other CPUs write it.
            unsafe { ptr::read_volatile(mark) }
        });
        drawn.wrapping_add(generation_element(RECENT_EPOCH) as u32)
    }

    #[inline(always)]
    fn draw_recent_mark(&self, slot: u32) {
        if let Some(mark) = maps::RECENT_MARKS.get_ptr_mut(slot) {
            draw(mark);
        }
    }

    #[inline(always)]
    fn fragment(&self, key: &FragmentKey) -> Option<FragmentEntry> {
        // SAFETY: copied out at once; an element that another packet takes over meanwhile is at worst a younger one.
        unsafe { maps::FRAGMENTS.get(key) }.copied()
    }

    #[inline(always)]
    fn insert_fragment(&self, key: &FragmentKey, entry: &FragmentEntry) {
        let _ = maps::FRAGMENTS.insert(key, entry, BPF_ANY);
    }

    #[inline(always)]
    fn remove_fragment(&self, key: &FragmentKey) {
        let _ = maps::FRAGMENTS.remove(key);
    }
}

#[inline(always)]
fn generation_element(index: u32) -> u64 {
    maps::GENERATION.get_ptr(index).map_or(0, |element| {
        // SAFETY: an array element; volatile because user space writes it.
        unsafe { ptr::read_volatile(element) }
    })
}

/// Writes another number than before to an array element.
///
/// A random one and not a count, because programs have no atomics here. If several CPUs write at once, one value wins,
/// and it differs from what any of them read. If the same number comes up twice, or another CPU sees the write late, a
/// packet is judged by the state of a moment ago.
#[inline(always)]
fn draw(element: *mut u32) {
    // SAFETY: callers pass a pointer to an element that the kernel returned; the helper takes nothing and returns a
    // number. Volatile because other CPUs read it.
    unsafe { ptr::write_volatile(element, bpf_get_prandom_u32()) }
}

#[inline(always)]
fn address_class_v4(half: Half, address: &Ipv4) -> u32 {
    maps::ADDRESSES_V4.get(half.slot()).map_or(0, |tree| class_in(|index| tree.get(index), *address))
}

#[inline(always)]
fn address_class_v6(half: Half, address: &Ipv6) -> u32 {
    let key = HostKey::new(*address);
    maps::ADDRESSES_V6.get(half.slot()).and_then(|trie| trie.get(key.get())).copied().unwrap_or(0)
}

/// The key of one address in a trie.
///
/// The kernel wants the length in four bytes and the address right behind it. The four bytes in front of both put the
/// address on a multiple of 8, as the verifier wants every 8-byte access to the stack.
#[repr(C, align(8))]
struct HostKey {
    unused: u32,
    prefix_length: u32,
    address: Ipv6,
}

impl HostKey {
    #[inline(always)]
    const fn new(address: Ipv6) -> Self {
        Self { unused: 0, prefix_length: u8::BITS * size_of::<Ipv6>() as u32, address }
    }

    #[inline(always)]
    fn get(&self) -> &Key<Ipv6> {
        // SAFETY: `Key` is a packed length and address, which is what begins at `prefix_length`; it needs no alignment.
        unsafe { &*(&raw const self.prefix_length).cast() }
    }
}

#[inline(always)]
const fn family_index<A: Address>() -> u32 {
    A::IS_IPV6 as u32
}

/// The maps of one family.
macro_rules! flow_tables {
    ($family:ty, $address_class:ident, $assured:ident, $half_open:ident, $recent:ident) => {
        impl<P: HookPacket> FlowTables<$family> for KernelTables<P> {
            type Handle = Handle;

            #[inline(always)]
            fn address_class(&self, half: Half, address: &$family) -> u32 {
                $address_class(half, address)
            }

            #[inline(always)]
            fn was_received_here(&self) -> bool {
                self.0.was_received_here()
            }

            #[inline(always)]
            fn leads_back_here(&self, source: &$family, destination: &$family) -> bool {
                self.0.leads_back_here(source, destination)
            }

            #[inline(always)]
            fn flow(&self, table: Table, key: &FlowKey<$family>) -> Option<Handle> {
                match table {
                    Table::Assured => maps::$assured.get_ptr_mut(key),
                    Table::HalfOpen => maps::$half_open.get_ptr_mut(key),
                }
                .map(Handle)
            }

            #[inline(always)]
            fn insert_flow(
                &self,
                table: Table,
                key: &FlowKey<$family>,
                entry: &FlowEntry,
            ) -> Result<(), TableFull> {
                match table {
                    Table::Assured => maps::$assured.insert(key, entry, BPF_ANY),
                    Table::HalfOpen => maps::$half_open.insert(key, entry, BPF_ANY),
                }
                .map_err(|_| TableFull)
            }

            #[inline(always)]
            fn remove_flow(&self, table: Table, key: &FlowKey<$family>) {
                let _ = match table {
                    Table::Assured => maps::$assured.remove(key),
                    Table::HalfOpen => maps::$half_open.remove(key),
                };
            }

            #[inline(always)]
            fn pressure(&self) -> u32 {
                // SAFETY: an array element; volatile because other CPUs write it.
                maps::PRESSURE
                    .get_ptr(family_index::<$family>())
                    .map_or(0, |last| unsafe { ptr::read_volatile(last) })
            }

            #[inline(always)]
            fn set_pressure(&self, now: u32) {
                if let Some(last) = maps::PRESSURE.get_ptr_mut(family_index::<$family>()) {
                    // SAFETY: as above; the last of several CPUs to write is as good as any. 0 means never.
                    unsafe { ptr::write_volatile(last, if now == 0 { 1 } else { now }) }
                }
            }

            #[inline(always)]
            fn recent(&self, slot: u32, key: &FlowKey<$family>) -> Option<Seen> {
                // SAFETY: an element of this CPU, on which nothing else runs meanwhile: see `load_by_helper`.
                unsafe { &*maps::$recent.get_ptr(slot)? }.seen_of(key)
            }

            #[inline(always)]
            fn remember(&self, slot: u32, key: &FlowKey<$family>, seen: Seen) {
                if let Some(recent) = maps::$recent.get_ptr_mut(slot) {
                    // SAFETY: see `recent`.
                    unsafe { *recent = RecentFlow { key: *key, seen } }
                }
            }

            #[inline(always)]
            fn promotion(&self) -> u32 {
                // SAFETY: an array element; volatile because other CPUs write it.
                maps::PROMOTION
                    .get_ptr(family_index::<$family>())
                    .map_or(0, |drawn| unsafe { ptr::read_volatile(drawn) })
            }

            #[inline(always)]
            fn mark_promotion(&self) {
                if let Some(drawn) = maps::PROMOTION.get_ptr_mut(family_index::<$family>()) {
                    draw(drawn);
                }
            }
        }
    };
}

flow_tables!(Ipv4, address_class_v4, FLOWS_V4, HALF_OPEN_V4, RECENT_V4);
flow_tables!(Ipv6, address_class_v6, FLOWS_V6, HALF_OPEN_V6, RECENT_V6);

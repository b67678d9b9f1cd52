//! The kernel's maps as the [`Tables`] of a decision.

use core::ptr;

use aya_ebpf::Global;
use aya_ebpf::helpers::bpf_jiffies64;
use firewall_common::abi::{
    Address as _, CONFIRMATION_DEADLINE, CellKey, FragmentEntry, FragmentKey, GENERATION_WORD,
    InterfaceSettings, Ipv4, Ipv6, KeyWords, LENGTH_NODES, MAX_INTERFACES, SERVICE_CHUNK, SERVICE_CHUNKS,
    ServiceIndex, UPPER_HALF_LINES, cell_in, class_in, class_in_v6, flow_event, prefix_in,
};
use firewall_common::decide::{Half, SocketOf, Tables};
use firewall_common::flow_table::life::Socket;

use crate::flows::{Flows, TIME_SHIFT, socket};
use crate::maps;
use crate::packet::HookContext;

const BPF_ANY: u64 = 0;

// How many elements a half of each arena has that grows, set by the loader.

#[unsafe(no_mangle)]
static INTERVAL_NODES: Global<u32> = Global::new(0);

#[unsafe(no_mangle)]
static PREFIX_LINES: Global<u32> = Global::new(0);

#[unsafe(no_mangle)]
static CELL_LINES: Global<u32> = Global::new(0);

/// The maps of this instance, and what the kernel knows about the packet.
pub struct KernelTables<C>(pub C);

impl<C: HookContext> Tables for KernelTables<C> {
    type Flows = Flows;

    #[inline(always)]
    fn clock(&self) -> u64 {
        // SAFETY: the helper takes nothing and returns a number. The JIT inlines it.
        unsafe { bpf_jiffies64() }
    }

    #[inline(always)]
    fn time_shift(&self) -> u32 {
        TIME_SHIFT.load()
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
        // Behind those of the first half stand those of the second.
        if slot >= MAX_INTERFACES {
            return None;
        }
        maps::SETTINGS.get(half.element(MAX_INTERFACES, slot))
    }

    #[inline(always)]
    fn service_class(&self, half: Half, service: ServiceIndex) -> u16 {
        let index = service.get() as usize;
        let chunk = (index / SERVICE_CHUNK) as u32;
        let element = half.element(SERVICE_CHUNKS, chunk);
        maps::SERVICES.get(element).map_or(0, |classes| classes[index % SERVICE_CHUNK])
    }

    #[inline(always)]
    fn cell(&self, half: Half, lines: u32, key: &CellKey) -> u32 {
        cell(half.element(CELL_LINES.load(), 0), lines, key.word())
    }

    #[inline(always)]
    fn address_class_v4(&self, half: Half, address: &Ipv4) -> u32 {
        class_in(
            |line| maps::ADDRESSES_V4.get(half.element(UPPER_HALF_LINES, line)),
            |index| maps::INTERVALS_V4.get(half.element(INTERVAL_NODES.load(), index)),
            *address,
        )
    }

    #[inline(always)]
    fn address_class_v6(&self, half: Half, address: &Ipv6) -> u32 {
        let [high, low] = address.words();
        let [length, line] =
            [LENGTH_NODES as u32, PREFIX_LINES.load()].map(|elements_each| half.element(elements_each, 0));
        class_v6(length, line, high, low)
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

    #[inline(always)]
    fn flows(&self) -> &Flows {
        &Flows
    }

    #[inline(always)]
    fn socket(&self, key: SocketOf<'_, Flows>) -> Socket {
        let key = match key {
            SocketOf::Packet(key) => key.as_ptr(),
            SocketOf::Record(record) => record.cast_const(),
        };
        socket(self.0.as_ptr(), key)
    }

    #[inline(always)]
    fn count_flow_event(&self, event: u32) {
        if let Some(count) = maps::FLOW_EVENTS.get_ptr_mut(event) {
            // SAFETY: this CPU's element: see `count` in main.
            unsafe { *count += 1 }
        }
    }

    #[inline(always)]
    fn note_refusal(&self) {
        self.count_flow_event(flow_event::REFUSED);
        if let Some(first) = maps::FLOW_EVENTS.get_ptr_mut(flow_event::FIRST_REFUSED_AT) {
            // SAFETY: as above.
            unsafe {
                if *first == 0 {
                    *first = self.clock();
                }
            }
        }
    }

    #[inline(always)]
    fn is_forwarded(&self) -> bool {
        self.0.is_forwarded()
    }

    #[inline(always)]
    fn was_received_here(&self) -> bool {
        self.0.was_received_here()
    }

    #[inline(always)]
    fn leads_back_here(&self, key: &KeyWords) -> bool {
        self.0.leads_back_here(key)
    }
}

#[inline(always)]
fn generation_element(index: u32) -> u64 {
    maps::GENERATION.get_ptr(index).map_or(0, |element| {
        // SAFETY: an array element; volatile because user space writes it.
        unsafe { ptr::read_volatile(element) }
    })
}

/// The value of a cell, in the half whose lines begin at `first`. The verifier looks at this function by itself, once.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn cell(first: u32, lines: u32, key: u64) -> u32 {
    cell_in(|index| maps::CELLS.get(first + index), lines, key)
}

/// The class of an IPv6 address, by its words, in the half whose tree and lines begin there. The verifier looks at this
/// function by itself, once.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn class_v6(first_length: u32, first_line: u32, high: u64, low: u64) -> u32 {
    class_in_v6(
        |index| maps::LENGTHS_V6.get(first_length + index),
        |lines, [high, low], length| prefix_v6(first_line, lines, high, low, length),
        [high, low],
    )
}

/// The class of a prefix of IPv6, if it is known. By itself too: it would be looked at for every step of the search.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn prefix_v6(first: u32, lines: u32, high: u64, low: u64, length: u32) -> u32 {
    prefix_in(|index| maps::ADDRESSES_V6.get(first + index), lines, [high, low], length)
}

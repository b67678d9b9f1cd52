//! The flow table in the kernel's arrays, and the sockets of its flows.

use core::arch::asm;
use core::ffi::c_void;
use core::ptr;

use aya_ebpf::Global;
use aya_ebpf::bindings::bpf_sock_tuple;
use aya_ebpf::helpers::{bpf_get_prandom_u32, bpf_sk_release, bpf_skc_lookup_tcp};
use firewall_common::abi::{KEY_IS_IPV6, KEY_WORDS};
use firewall_common::flow_table::life::Socket;
use firewall_common::flow_table::{Geometry, Memory};

use crate::maps;

// Constants of the table, set by the loader: the verifier knows them, and the compiler of the kernel too.

/// Of the hash. Never shown.
#[unsafe(no_mangle)]
static SECRETS: [Global<u64>; 13] = [const { Global::new(0) }; 13];

/// See [`Geometry::near_bits`].
#[unsafe(no_mangle)]
static NEAR_BITS: Global<u32> = Global::new(0);

/// See [`Geometry::far_bits`].
#[unsafe(no_mangle)]
static FAR_BITS: Global<u32> = Global::new(0);

/// See [`Geometry::outer_bits`].
#[unsafe(no_mangle)]
static OUTER_BITS: Global<u32> = Global::new(0);

/// By how many bits jiffies are shifted to be units of time.
#[unsafe(no_mangle)]
pub static TIME_SHIFT: Global<u32> = Global::new(0);

/// 1 where the machine may reorder stores, and loads that do not depend on each other: everywhere but on x86-64.
#[unsafe(no_mangle)]
static WEAK_ORDER: Global<u32> = Global::new(1);

/// The arrays of the flow table.
///
/// All pointers are to elements that the kernel returned, which live as long as the program runs, and `word` is below their
/// size in words; volatile because other CPUs write them.
pub struct Flows;

impl Memory for Flows {
    type Place = *mut u64;

    #[inline(always)]
    fn filter(&self, bucket: u32) -> Option<*mut u64> {
        maps::FLOW_FILTERS.get_ptr_mut(bucket)
    }

    #[inline(always)]
    fn line(&self, bucket: u32) -> Option<*mut u64> {
        maps::FLOW_LINES.get_ptr_mut(bucket).map(<*mut _>::cast)
    }

    #[inline(always)]
    fn details(&self, bucket: u32) -> Option<*mut u64> {
        maps::FLOW_DETAILS.get_ptr_mut(bucket).map(<*mut _>::cast)
    }

    #[inline(always)]
    fn record(&self, slot: u32) -> Option<*mut u64> {
        maps::FLOW_RECORDS.get_ptr_mut(slot).map(<*mut _>::cast)
    }

    #[inline(always)]
    fn load(&self, place: *mut u64, word: u32) -> u64 {
        // SAFETY: see `Flows`.
        unsafe { ptr::read_volatile(place.add(word as usize)) }
    }

    #[inline(always)]
    fn load_after(&self, place: *mut u64, word: u32, earlier: u64) -> u64 {
        if WEAK_ORDER.load() == 0 {
            return self.load(place, word);
        }
        let mut dependent = place;
        // SAFETY: it adds 0. The address depends on what was loaded before, so that the machine loads in this order; the
        // kernel's compiler keeps both instructions.
        unsafe {
            asm!(
                "{earlier} &= 0",
                "{place} += {earlier}",
                earlier = inout(reg) earlier => _,
                place = inout(reg) dependent,
                options(nostack),
            );
        }
        self.load(dependent, word)
    }

    #[inline(always)]
    fn store(&self, place: *mut u64, word: u32, value: u64) {
        // SAFETY: see `Flows`.
        unsafe { ptr::write_volatile(place.add(word as usize), value) }
    }

    #[inline(always)]
    fn store_tag(&self, filter: *mut u64, slot: u32, tag: u8) {
        // SAFETY: see `Flows`; a filter has eight bytes and `slot` is below four. The lowest byte comes first: BPF has the
        // byte order of the machine, which is little-endian wherever the object is loaded.
        unsafe { ptr::write_volatile(filter.cast::<u8>().add(slot as usize), tag) }
    }

    #[inline(always)]
    fn publish(&self, place: *mut u64, word: u32, value: u64) {
        if WEAK_ORDER.load() == 0 {
            return self.store(place, word, value);
        }
        // SAFETY: see `Flows`. An exchange is a full barrier.
        unsafe {
            asm!(
                "{value} = xchg_64({word} + 0, {value})",
                word = in(reg) place.add(word as usize),
                value = inout(reg) value => _,
                options(nostack),
            );
        }
    }

    #[inline(always)]
    fn compare_exchange(&self, place: *mut u64, word: u32, old: u64, new: u64) -> u64 {
        let was;
        // SAFETY: see `Flows`. In assembly, because the target has no compare-and-exchange for Rust.
        unsafe {
            asm!(
                "r0 = cmpxchg_64({word} + 0, r0, {new})",
                word = in(reg) place.add(word as usize),
                new = in(reg) new,
                inlateout("r0") old => was,
                options(nostack),
            );
        }
        was
    }

    #[inline(always)]
    fn secret(&self, word: usize) -> u64 {
        SECRETS[word].load()
    }

    #[inline(always)]
    fn geometry(&self) -> Geometry {
        Geometry { near_bits: NEAR_BITS.load(), far_bits: FAR_BITS.load(), outer_bits: OUTER_BITS.load() }
    }

    #[inline(always)]
    fn random(&self) -> u32 {
        // SAFETY: the helper takes nothing and returns a number.
        unsafe { bpf_get_prandom_u32() }
    }
}

/// What the kernel says about the TCP socket of a flow whose key begins at `key`, in the network namespace of the interface.
///
/// The tuple is that of an arriving packet, on both hooks: source is the remote end. The lookup falls back to a listening
/// socket.
#[inline(never)]
pub fn socket(context: *mut c_void, key: *const u64) -> Socket {
    /// `bpf_sock_tuple` for the two families.
    const V4: u32 = 12;
    const V6: u32 = 36;
    /// `BPF_F_CURRENT_NETNS`: that of the device.
    const CURRENT_NETNS: u64 = u64::MAX;
    let Some(tuple) = maps::SCRATCH.get_ptr_mut(0) else {
        return Socket::None;
    };
    let tuple = tuple.cast::<u32>();
    // SAFETY: callers pass a case's key or a record: as many words; volatile because another CPU may write a record.
    let word = |word: usize| unsafe { ptr::read_volatile(key.add(word)) };
    // SAFETY: the CPU's own element has room for nine words, and nothing else uses it meanwhile.
    let set = |at: usize, value: u64| unsafe { ptr::write_volatile(tuple.add(at), value as u32) };
    let last = word(KEY_WORDS - 1);
    // The remote port comes first.
    let ports = u64::from((last as u32).rotate_left(16));
    let length = if last & KEY_IS_IPV6 != 0 {
        let (l0, l1, r0, r1) = (word(0), word(1), word(2), word(3));
        set(0, r0);
        set(1, r0 >> 32);
        set(2, r1);
        set(3, r1 >> 32);
        set(4, l0);
        set(5, l0 >> 32);
        set(6, l1);
        set(7, l1 >> 32);
        set(8, ports);
        V6
    } else {
        let ends = word(3);
        set(0, ends >> 32);
        set(1, ends);
        set(2, ports);
        V4
    };
    // SAFETY: the tuple is initialised up to `length`; what comes back is null or a socket that is ours until it is released.
    let state = unsafe {
        let socket = bpf_skc_lookup_tcp(context, tuple.cast::<bpf_sock_tuple>(), length, CURRENT_NETNS, 0);
        if socket.is_null() {
            return Socket::None;
        }
        let state = (*socket).state;
        bpf_sk_release(socket.cast());
        state
    };
    // `enum` of linux/bpf.h: BPF_TCP_ESTABLISHED and so on. BPF_TCP_CLOSE, 7, is never found.
    match state {
        1..=5 | 8 | 9 | 11 => Socket::Connected,
        6 => Socket::TimeWait,
        10 => Socket::Listening,
        12 => Socket::Opening,
        _ => Socket::None,
    }
}
